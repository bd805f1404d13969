"""A cache of the table's rows, so that fifty thousand records are listed in a second. Imports no torch.

`index.sqlite` in the build folder holds one row for each record file, known by its path, size and time of change:
what is new or changed is read, what has vanished is dropped, and nothing is ever believed that a file does not say.
It is used under a lock. A checksum beside it covers the whole file and the code that made it; where that is not
right, or the folder cannot be written to, the records themselves are read.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from . import files, paths
from .errors import ReproError
from .progress import Waiting
from .rows import PLAIN

Stamp = tuple[int, int]  # size in bytes and time of change in nanoseconds
Row = tuple[Any, ...]  # name below the store, what is wrong with it or None, then what `rows.packed` gave
CHUNK = 5_000  # rows between two times that they are safe on disk
SETTLED = 2_000_000_000  # ns: a younger file may change again without another time, so it is read again
CODE = ("index", "naming", "record", "rows", "seals")  # modules that decide what a row says
_HELD = ", ".join(["store", "name", "size", "mtime", "fault", *(f'"{name}"' for name in PLAIN), "numbers"])
_TABLE = f"CREATE TABLE IF NOT EXISTS runs ({_HELD}, PRIMARY KEY (store, name)) WITHOUT ROWID"
_PUT = f"INSERT OR REPLACE INTO runs VALUES ({', '.join('?' * (len(PLAIN) + 6))})"
_ALL = f"SELECT {_HELD.removeprefix('store, ')} FROM runs WHERE store = ? ORDER BY name"


def place() -> Path:
    """Where the index lies."""
    return paths.build() / "index.sqlite"


def state() -> str:
    """Say in a word how the index is: "absent", "sound", or "stale" when it is damaged or of another version."""
    if not place().exists():
        return "absent"
    return "sound" if _recorded() == _sum() else "stale"


def synced(store: Path, found: Mapping[str, Stamp], make: Callable[[str], Row]) -> list[Row]:
    """Give the rows of a store, ordered by name, after those that are new or changed were made.

    Args:
        store: the folder.
        found: name below it and stamp of every record that is there now.
        make: gives the values of a record, by its name; a ReproError is kept as what is wrong with it.

    Returns:
        (name, fault, *values) for each; values are None where there is a fault.
    """
    if not found and not place().exists():
        return []
    try:
        with files.lock(place().with_suffix(".lock")):
            if state() == "stale":
                _forget()
            try:
                return _synced(place(), store, found, make)
            except sqlite3.Error:
                _forget()
                return _synced(place(), store, found, make)
    except (ReproError, OSError, sqlite3.Error):  # no folder to write to
        return _synced(None, store, found, make)


def _synced(
    path: Path | None, store: Path, found: Mapping[str, Stamp], make: Callable[[str], Row]
) -> list[Row]:
    with closing(sqlite3.connect(path or ":memory:")) as db:
        db.execute("PRAGMA synchronous = OFF")  # what a power cut leaves is found by the checksum
        db.execute(_TABLE)
        where = str(store.absolute())
        rows = db.execute(_ALL, (where,)).fetchall()
        known = {row[0]: (row[1], row[2]) for row in rows}
        new = [name for name, stamp in found.items() if known.get(name) != stamp]
        gone = known.keys() - found.keys()
        if new or gone:
            db.executemany("DELETE FROM runs WHERE store = ? AND name = ?", [(where, name) for name in gone])
            for (other,) in db.execute("SELECT DISTINCT store FROM runs").fetchall():
                if not Path(other).is_dir():
                    db.execute("DELETE FROM runs WHERE store = ?", (other,))
            for told in _made(where, found, new, make):
                db.executemany(_PUT, told)
                db.commit()
                if path:
                    files.write(path.with_suffix(".sum"), _sum() + "\n")
            rows = db.execute(_ALL, (where,)).fetchall()
    return [(row[0], *row[3:]) for row in rows]


def _made(
    where: str, found: Mapping[str, Stamp], new: list[str], make: Callable[[str], Row]
) -> Iterator[list[Row]]:
    """Make rows, some thousands at a time; at least once, so that what has vanished is settled too."""
    now = time.time_ns()
    with Waiting("reading records", len(new)) as waiting:
        for begin in range(0, max(1, len(new)), CHUNK):
            made: list[Row] = []
            for name in new[begin : begin + CHUNK]:
                size, mtime = found[name]
                try:
                    told: Row = (None, *make(name))
                except ReproError as error:
                    told = (str(error), *[None] * (len(PLAIN) + 1))
                made.append((where, name, size, mtime if now - mtime > SETTLED else 0, *told))
                waiting.update(waiting.done + 1)
            yield made


def _forget() -> None:
    for end in ("", "-journal"):
        place().with_name(place().name + end).unlink(missing_ok=True)
    place().with_suffix(".sum").unlink(missing_ok=True)


def _sum() -> str:
    """Give the checksum of the index and of the code that makes rows."""
    total = hashlib.sha256()
    for name in CODE:
        total.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    with place().open("rb") as file:
        while piece := file.read(2**20):
            total.update(piece)
    return total.hexdigest()


def _recorded() -> str:
    try:
        return place().with_suffix(".sum").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
