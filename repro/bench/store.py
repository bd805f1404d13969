"""Bench records: one file for each device, kept apart from the records of runs. Imports no torch.

`_build/bench/<device>.json` is what was measured here, `book/records/bench/<device>.json` what was published. A case
that is measured again replaces its own rows only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import files, paths
from ..errors import ReproError
from ..text import sized

FORMAT = 1
LIMIT = 2**24  # bytes
Row = dict[str, Any]
Record = dict[str, Any]


def slug(device: str) -> str:
    """Turn the name of a device into that of a file, e.g. "AMD EPYC, 2 cores" into "amd-epyc-2-cores"."""
    plain = device.replace("(R)", " ").replace("(TM)", " ")
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "device"


def here() -> Path:
    """Where the bench records of this machine lie."""
    return paths.build() / "bench"


def published() -> Path:
    """Where the published bench records lie: a folder below that of the runs, which looks at files only."""
    return paths.records() / "bench"


def read(path: Path) -> Record:
    """Read one bench record; raise ReproError with one line when it is damaged."""
    try:
        record = json.loads(sized(path, LIMIT))
        if record.get("kind") != "bench" or record.get("format") != FORMAT:
            raise ValueError("not a bench record of this version")
        if not isinstance(record["device"], str) or not all(map(_is_case, record["cases"].values())):
            raise ValueError("device or cases are damaged")
        with_fractions(record["cases"])
    except (
        ReproError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise ReproError(f"{path}: damaged bench record ({error}); remove it and run `repro bench`") from None
    return record


def _is_case(case: object) -> bool:
    rows = case.get("rows", []) if isinstance(case, dict) else None
    return isinstance(rows, list) and all(isinstance(row, dict) for row in rows)


def merged(old: Record | None, device: str, name: str, case: Mapping[str, Any]) -> Record:
    """Lay one case upon a record; a case that turned out impossible does not replace measured rows.

    Args:
        old: the record of this device, if there is one.
        device: its name in words.
        name: of the case.
        case: what was found: rows and circumstances, or the reason why it is impossible here.
    """
    cases = dict(old["cases"]) if old else {}
    if case.get("rows") or not cases.get(name, {}).get("rows"):
        cases[name] = dict(case)
    return {"format": FORMAT, "kind": "bench", "device": device, "cases": with_fractions(cases)}


def with_fractions(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Set achieved rates against the measured ceilings of the device, where the record has some.

    Rows with `gflop_per_s` get `fraction_of_flops` (of the fastest product in the row's number format), rows with
    `gb_per_s` get `fraction_of_bytes`.
    """
    ceilings: list[Row] = cases.get("ceiling", {}).get("rows", [])
    flops: dict[str, float] = {}
    for row in ceilings:
        if "gflop_per_s" in row:
            flops[row["format"]] = max(flops.get(row["format"], 0.0), row["gflop_per_s"])
    moved = max((row["gb_per_s"] for row in ceilings if "gb_per_s" in row), default=None)
    made = {name: dict(case) for name, case in cases.items()}
    for name, case in made.items():
        if name != "ceiling" and "rows" in case:
            case["rows"] = [_against(row, flops, moved) for row in case["rows"]]
    return made


def _against(row: Row, flops: Mapping[str, float], moved: float | None) -> Row:
    plain = {k: v for k, v in row.items() if k not in ("fraction_of_flops", "fraction_of_bytes")}
    ceiling = flops.get(str(row.get("format")))
    if ceiling and row.get("gflop_per_s") is not None:
        plain["fraction_of_flops"] = row["gflop_per_s"] / ceiling
    if moved and row.get("gb_per_s") is not None:
        plain["fraction_of_bytes"] = row["gb_per_s"] / moved
    return plain


def save(record: Record, folder: Path | None = None) -> Path:
    """Write a bench record, whole or not at all; give its path."""
    path = (folder or here()) / f"{slug(record['device'])}.json"
    files.write(path, json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return path


def find(device: str) -> Record | None:
    """Read this machine's record of a device, if there is one."""
    path = here() / f"{slug(device)}.json"
    return read(path) if path.exists() else None


def combined(records: Iterable[Record]) -> list[Record]:
    """Make one record for each device, of every case the newest measurement; in order of the devices' names."""
    found: dict[str, Record] = {}
    for record in records:
        for name, case in record["cases"].items():
            mine = found.get(slug(record["device"]))
            known = mine["cases"].get(name, {}) if mine else {}
            if str(case.get("when", "")) >= str(known.get("when", "")) or not known.get("rows"):
                found[slug(record["device"])] = merged(mine, record["device"], name, case)
    return [found[name] for name in sorted(found)]


def load() -> list[Record]:
    """Read all bench records, published and of this machine, one for each device."""
    paths_of = [p for folder in (published(), here()) for p in sorted(folder.glob("*.json"))]
    return combined(read(path) for path in paths_of)


def publish(to: Path | None = None) -> list[Path]:
    """Carry this machine's bench records into the book, or into the folder `bench` of another place.

    What is there of the same device is kept case by case, unless the measurement here is newer.

    Args:
        to: the place; default: the published records of the book.

    Returns:
        The files written, in order; none when nothing was measured here.
    """
    folder = to / "bench" if to else published()
    made = []
    for path in sorted(here().glob("*.json")):
        there = folder / path.name
        both = [read(p) for p in (there, path) if p.exists()]
        made.append(save(combined(both)[0], folder))
    return made
