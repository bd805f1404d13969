"""The generated part of the page Performance: tables and figures of every bench record there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .. import bench
from ..errors import ReproError
from ..report import show_figure
from ..report.moving import show_moves
from ..report.performance import (
    duels,
    rows_of,
    show_ceilings,
    show_flight,
    show_memory,
    show_precision,
    show_scaling,
    show_speed,
)
from ..report.speed_figures import figure_flight, figure_speed_ups
from ..report.stored import show_store
from .tables import plain

NOTHING = """:::{note}
Nothing was measured for this book yet. `repro bench` measures this machine, in about ten minutes on a CPU, and
`repro bench precision` compares number formats; the next `repro report` shows what they found.
:::
"""
PARTS = {  # title and table of each case that does not set our way beside the plain one
    "precision": ("bfloat16 against float32", show_precision),
    "flight": ("Runs in flight", show_flight),
    "scaling": ("Width, density and number of runs", show_scaling),
    "memory": ("Memory", show_memory),
    "moves": ("Masks that move", show_moves),
    "store": ("Many records", show_store),
    "ceiling": ("Ceilings of the device", show_ceilings),
}


def fragment(records: Iterable[Mapping[str, Any]] | None = None) -> str:
    """Write the page's part about each device.

    Args:
        records: bench records; default: those published and those of this machine.
    """
    found = list(bench.load() if records is None else records)
    return "\n".join(map(_sound, found)) or NOTHING


def _sound(record: Mapping[str, Any]) -> str:
    """Write the part of a record that a stranger may have put among the others."""
    try:
        return _device(record)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        told = f"damaged bench record ({error!r}); remove it and run `repro bench`"
        raise ReproError(f"{record['device']}: {told}") from None


def _device(record: Mapping[str, Any]) -> str:
    parts = [f"## {plain(record['device'])}\n", _circumstances(record["cases"])]
    if duels(record):
        parts += [_html(show_figure(figure_speed_ups(record))), _html(show_speed(record))]
    for case, (title, show) in PARTS.items():
        if rows_of(record, case):
            parts.append(f"### {title}\n")
            parts += [_html(show_figure(figure_flight(record)))] if case == "flight" else []
            parts.append(_html(show(record)))
    parts += [
        f"Not possible here: {plain(name)}: {plain(why)}.\n" for name, why in _impossible(record["cases"])
    ]
    return "\n".join(parts)


def _impossible(cases: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(n, c["impossible"]) for n, c in sorted(cases.items()) if not c.get("rows") and "impossible" in c]


def _html(shown: Any) -> str:
    """Embed a figure or a table: one block of HTML, which must not hold an empty line."""
    lines = [line for line in shown._repr_html_().splitlines() if line.strip()]
    return "\n".join(lines) + "\n"


def _circumstances(cases: Mapping[str, Any]) -> str:
    """Say when and how the cases were measured: each set of circumstances once, with the cases that share it."""
    groups: dict[str, list[str]] = {}
    for name, case in cases.items():
        about = case.get("environment", {})
        versions = about.get("versions", {})
        flags = ", ".join(f"{k} {v}" for k, v in sorted(case.get("flags", {}).items()))
        words = f"{str(case.get('when', ''))[:10]}, torch {versions.get('torch')}, {case.get('threads')} threads, "
        words += f"images: {case.get('data')}, commit {about.get('commit') or 'unknown'}"
        groups.setdefault(words + (f", {flags}" if flags else ""), []).append(name)
    told = (f"Measured {words}: {', '.join(sorted(names))}." for words, names in groups.items())
    return "".join(f"{plain(line)}\n\n" for line in told)
