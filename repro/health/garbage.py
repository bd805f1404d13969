"""What can go from the build folder, and its removal. Records of finished runs, and their settings, never do."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from .. import files, record, seals
from .finding import size as size
from .needed import Needed, needed
from .places import HOUR, held, runs, state, temporary, tickets

MOST = 30  # items that are shown


class Item(NamedTuple):
    """Something that can go: its kind, where it is, bytes, why, and the lock under which it is removed, if any."""

    kind: str
    path: Path
    size: int
    why: str
    lock: Path | None = None


class Gone(NamedTuple):
    """How many items were removed, and their bytes."""

    number: int
    size: int


def listed(*, older: float = 0.0) -> list[Item]:
    """List what can go.

    Args:
        older: only what has not changed for so many seconds; unfinished files for an hour in any case.
    """
    latest = time.time() - older
    wanted = needed() if runs() or tickets() else Needed(set(), set())
    found = [*_of_runs(wanted.files), *_of_tickets(wanted.tickets)]
    found += [_item("damaged", p, "was set aside") for p in sorted(seals.damaged().rglob("*")) if p.is_file()]
    found += [_item("temporary", p, "never finished") for p in temporary(max(older, HOUR))]
    return [item for item in found if _changed(item.path) <= latest]


def _of_runs(wanted: set[Path]) -> Iterator[Item]:
    for folder in runs():
        how, lock = state(folder), folder / "lock"
        if how == "orphan" and not held(lock):
            yield Item("orphan", folder, sum(map(_size, folder.rglob("*"))), "got to no checkpoint", lock)
        if how == "done":
            for path in sorted(folder.glob("*.safetensors")):
                if path not in wanted:
                    kind = path.stem.partition("-")[0]
                    yield _item(kind, path, "no unfinished run needs it", lock)


def _of_tickets(wanted: set[str]) -> Iterator[Item]:
    for path in tickets():
        if path.stem not in wanted:
            yield _item("ticket", path, "no unfinished run needs it", path.with_suffix(".lock"))


def _item(kind: str, path: Path, why: str, lock: Path | None = None) -> Item:
    return Item(kind, path, _size(path), why, lock)


def _size(path: Path) -> int:
    return path.lstat().st_size if path.is_symlink() or path.is_file() else 0


def _changed(path: Path) -> float:
    """Give the time of the last change of a file, or of anything in a folder but its lock."""
    inside = [p for p in path.rglob("*") if p.name != "lock"] if path.is_dir() else []
    return max((p.lstat().st_mtime for p in inside), default=path.lstat().st_mtime)


def remove(items: Sequence[Item]) -> tuple[Gone, list[Item]]:
    """Remove items, each under its lock, if they are still what they were when listed.

    Args:
        items: what `listed` gave.

    Returns:
        What has gone, and the items that are in use or have changed, which stay.

    Raises:
        ReproError: when something cannot be removed.
    """
    gone, left = [], []
    for lock, group in groupby(items, key=lambda item: item.lock):
        with ExitStack() as held_now:
            try:
                if lock and lock.parent.is_dir():
                    held_now.enter_context(files.lock(lock, wait=False))
            except files.BusyError:
                left += group
                continue
            for item in group:
                (gone if _remove(item) else left).append(item)
    for folder in sorted(seals.damaged().rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return Gone(len(gone), sum(item.size for item in gone)), left


def _remove(item: Item) -> bool:
    """Remove an item if it is still what it was; tell whether it has gone."""
    path = item.path
    if item.kind == "orphan":
        if not path.is_dir() or state(path) != "orphan":
            return False
        lock = item.lock
        for inside in path.iterdir():
            if inside != lock:
                shutil.rmtree(inside) if inside.is_dir() and not inside.is_symlink() else inside.unlink()
        if lock:
            lock.unlink(missing_ok=True)  # last: until now nobody else could begin the run
        path.rmdir()
        return True
    finished = path.parent.parent == record.stores()[0] and path.suffix == ".safetensors"
    if finished and state(path.parent) != "done":
        return False
    path.unlink(missing_ok=True)
    return True
