"""The generated part of the page Reliability: what was tried on which machine, how often, and what survived."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import files, paths
from ..bench.store import slug
from ..errors import ReproError
from ..provenance import environment
from ..text import sized
from .tables import plain, table

FORMAT = 1
LIMIT = 2**20  # bytes
HEAD = ["what was done", "to what", "tried", "survived"]
NOTHING = """:::{note}
No reliability record is published yet. `make reliability` tries everything below on this machine, which takes about half
an hour, and writes one; the next `repro report` shows it.
:::
"""


def published() -> Path:
    """Where the records lie, one for each machine: a folder below that of the runs, which looks at files only."""
    return paths.records() / "reliability"


def publish(notes: Path, machine: str, folder: Path | None = None) -> Path:
    """Make a record of what the tests noted, with machine, commit and day; it replaces that of the same machine.

    Args:
        notes: the file that the tests wrote: counts `tried` and `survived` by what was done and to what.
        machine: its name in words.
        folder: where to; default: the published records.

    Raises:
        ReproError: when there are no notes, or they are no counts.
    """
    try:
        faults = _faults(json.loads(sized(notes, LIMIT)))
    except (ReproError, ValueError, RecursionError) as error:
        raise ReproError(f"{notes}: no notes of tests ({error}); run `make reliability`") from None
    about = environment()
    made = {"format": FORMAT, "kind": "reliability", "machine": machine, "commit": about["commit"]}
    made |= {"when": datetime.now(UTC).isoformat(timespec="seconds"), "faults": faults}
    made |= {"python": about["python"], "versions": about["versions"]}
    path = (folder or published()) / f"{slug(machine)}.json"
    files.write(path, json.dumps(made, indent=1, sort_keys=True) + "\n")
    return path


def _faults(found: Any) -> dict[str, dict[str, dict[str, int]]]:
    """Check counts by what was done and to what; raise ValueError for anything else."""
    if not isinstance(found, dict) or not found:
        raise ValueError("nothing was tried")
    for counts in (c for entries in found.values() for c in _items(entries)):
        tried, survived = (counts.get(name) for name in ("tried", "survived"))
        if type(tried) is not int or type(survived) is not int or len(counts) != 2:
            raise ValueError("not counts of tried and survived")
        if not 0 <= survived <= tried:
            raise ValueError("more survived than were tried")
    return found


def _items(entries: Any) -> list[dict[str, Any]]:
    if not isinstance(entries, dict) or not all(isinstance(counts, dict) for counts in entries.values()):
        raise ValueError("not counts of tried and survived")
    return [*entries.values()]


def read(path: Path) -> dict[str, Any]:
    """Read one record; raise ReproError with one line when it is damaged."""
    try:
        record = json.loads(sized(path, LIMIT))
        if (
            not isinstance(record, dict)
            or record.get("kind") != "reliability"
            or record.get("format") != FORMAT
        ):
            raise ValueError("not a reliability record of this version")
        if not isinstance(record.get("machine"), str):
            raise ValueError("without a machine")
        _faults(record.get("faults"))
    except (ReproError, ValueError, RecursionError) as error:
        raise ReproError(
            f"{path}: damaged reliability record ({error}); remove it and run `make reliability`"
        ) from None
    return record


def fragment(records: Iterable[Mapping[str, Any]] | None = None) -> str:
    """Write the page's part about each machine.

    Args:
        records: reliability records; default: the published ones, in order of the machines' names.
    """
    found = map(read, sorted(published().glob("*.json"))) if records is None else records
    return "\n".join(map(_machine, found)) or NOTHING


def _machine(record: Mapping[str, Any]) -> str:
    rows: list[list[Any]] = []
    for kind, entries in sorted(record["faults"].items()):
        for i, (what, counts) in enumerate(sorted(entries.items())):
            rows.append(
                ["" if i else plain(kind), plain(what), _count(counts["tried"]), _count(counts["survived"])]
            )
    tried, survived = (
        sum(c[n] for e in record["faults"].values() for c in e.values()) for n in ("tried", "survived")
    )
    versions = record.get("versions") or {}
    when = f"Tried {str(record.get('when', ''))[:10]}, commit {record.get('commit') or 'unknown'}, Python "
    when += f"{record.get('python')}, torch {versions.get('torch')}: {_count(survived)} of {_count(tried)} survived."
    return f"## {plain(record['machine'])}\n\n{plain(when)}\n\n{table(HEAD, rows)}"


def _count(n: int) -> str:
    return f"{n:,}".replace(",", " ")


def main() -> None:
    """Publish the notes in the file that the command line names, for this machine."""
    from ..bench.material import where
    from ..materials import device

    try:
        print(publish(Path(sys.argv[1]), where(device())))
    except ReproError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
