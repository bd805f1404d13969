"""Our speed beside that of a plain loop in the manner of the published codes, on this machine, as a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .. import files, paths, record
from ..errors import ReproError, pick
from ..progress import Waiting
from .store import Record, Row, find, load, merged, publish, save

if TYPE_CHECKING:
    from .material import Bench, Size

__all__ = ["bench", "compact", "load", "publish"]
Show = Callable[[str, dict[str, Any]], None]


def bench(
    names: Sequence[str] = (),
    *,
    repeats: int | None = None,
    size: Size | None = None,
    show: Show = lambda name, case: None,
) -> Record:
    """Measure cases and write each to the bench record of this device as soon as it is done.

    Args:
        names: entries of CASES; by default all but those that take long. A case that is impossible here
            is recorded as such, with the reason; one that was named raises it.
        repeats: rounds of each measurement; default: a few, as each case has it.
        size: how much work; default: what suits the device.
        show: told each case when it is done.

    Raises:
        ReproError: on an unknown case, a folder that cannot be written, or a named case that is impossible here.
    """
    from .cases import CASES, LONG

    chosen = {n: pick(CASES, n, "case of bench") for n in names or [n for n in CASES if n not in LONG]}
    files.check_writable(paths.build())
    with Waiting("bench", len(chosen)) as waiting:
        given = _bench(repeats, size, waiting)
        device = _device(given)
        made = find(device)
        for done, (name, function) in enumerate(chosen.items()):
            began, case = time.monotonic(), _circumstances(given)
            try:
                case["rows"] = function(given)
            except ReproError as error:
                if names:
                    raise
                case["impossible"] = str(error)
            case["seconds"] = round(time.monotonic() - began, 1)
            made = merged(find(device), device, name, case)
            save(made)
            waiting.update(done + 1, name)
            show(name, case if "impossible" in case else made["cases"][name])
    assert made is not None
    return made


def _bench(repeats: int | None, size: Size | None, waiting: Waiting) -> Bench:
    from ..materials import device, keep_memory
    from .material import CUDA, Bench, Size, images

    keep_memory()
    where = device()
    data, source = images()
    size = size or (CUDA if where.type == "cuda" else Size())
    return Bench(where, data, source, size, repeats, lambda words: waiting.update(waiting.done, words))


def _device(given: Bench) -> str:
    from .material import where

    return where(given.device)


def _circumstances(given: Bench) -> dict[str, Any]:
    """Describe what a measurement depends on besides the device."""
    import torch

    from ..precision import flags

    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "threads": torch.get_num_threads(),
        "data": given.source,
        "flags": flags(given.device),
        "environment": record.environment(),
    }


def compact(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Turn rows into texts of equal columns for a terminal; times and rates get three digits."""
    names = list(
        dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, list))
    )
    return [{name: _short(row.get(name)) for name in names} for row in rows]


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)
