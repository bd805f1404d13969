"""Records, and runs under way, from another machine into this machine's store; what is here stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import files, paths, record, underway, vet
from .checkpoint import read_about
from .errors import ReproError, line
from .keeping import mend
from .progress import Waiting
from .publish import names, same
from .settings import Settings

PARTS = ("DONE", "checkpoint.safetensors")  # what a folder holds of a run that is finished, or that can go on


@dataclass
class Taken:
    """What became of each item of a folder, by key; refused ones with their path and the reason."""

    folder: Path
    records: list[str] = field(default_factory=list)
    under_way: list[str] = field(default_factory=list)
    here: list[str] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Tell it in a few lines."""
        told = [f"{self.folder}: {len(self.records)} taken, {len(self.here)} here already"]
        if self.under_way:
            told.append(
                f"{len(self.under_way)} under way, {names(self.under_way)}: `repro run` goes on with them"
            )
        if self.ours:
            told.append(
                f"kept {len(self.ours)} of ours that differ, {names(self.ours)}; "
                "to take the other, remove its folder in the store first"
            )
        if self.busy:
            told.append(f"left alone {len(self.busy)} that another process is making, {names(self.busy)}")
        return told


def take(folder: Path) -> Taken:
    """Take in what a folder holds: `<key>.json` files, and run folders `<key>`, finished or under way.

    Nothing in it is believed: a file whose key does not follow from its settings, that is too large, damaged or
    incomplete is refused, and the others are still taken. A second call changes nothing.

    Raises:
        ReproError: when the folder is missing, holds nothing of the kind, or the store cannot be written to.
    """
    items = _items(folder)
    files.check_writable(paths.build())
    taken = Taken(folder)
    with Waiting("importing", len(items)) as waiting:
        for done, item in enumerate(items, 1):
            _take(item, taken)
            waiting.update(done)
    return taken


def _is_run(folder: Path) -> bool:
    return any((folder / part).exists() for part in PARTS)


def _items(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ReproError(f"{folder}: no such folder; give one of <key>.json files or of run folders")
    folder = folder.resolve()  # so that the name of `.` is that of the folder
    store = record.stores()[0].resolve()
    if folder == store or folder.parent == store:
        raise ReproError(f"{folder}: this is the store that records are taken into; name another folder")
    if _is_run(folder):
        return [folder]
    items = sorted([*folder.glob("*.json"), *(p for p in folder.iterdir() if _is_run(p))])
    if not items:
        hint = f"; did you mean {folder / 'runs'}?" if (folder / "runs").is_dir() else ""
        raise ReproError(f"{folder}: no records and no runs under way{hint or '; name another folder'}")
    return items


def _take(item: Path, taken: Taken) -> None:
    try:
        if item.is_dir() and not (item / "DONE").exists():
            s, step = underway.check(item)
            found = None
        else:
            found, s = vet.load(item / "record.json" if item.is_dir() else item)
            step = 0
            if s.key() != (item.name if item.is_dir() else item.stem):
                raise ReproError(f"it holds key {s.key()}; name it by that")
    except ReproError as error:
        taken.refused.append(line(f"{item}: {error}"))
        return
    try:
        fate = _keep_record(found, s, taken) if found else _keep_under_way(item, s, step, taken)
    except files.BusyError:
        fate = taken.busy
    fate.append(s.key())


def _keep_record(found: Mapping[str, Any], s: Settings, taken: Taken) -> list[str]:
    folder = record.folder(s.key())
    if ours := record.mine(s.key()):
        return taken.here if same(ours, found) else taken.ours
    with files.lock(folder / "lock", wait=False):
        if ours := record.mine(s.key()):  # another process may have made it meanwhile
            return taken.here if same(ours, found) else taken.ours
        mend(folder)
        record.begin(s.key(), s.changed())
        record.finish(s.key(), found)
        for part in ("checkpoint", "masks"):
            (folder / f"{part}.safetensors").unlink(missing_ok=True)
    return taken.records


def _keep_under_way(item: Path, s: Settings, step: int, taken: Taken) -> list[str]:
    """Copy what is needed to go on, the checkpoint last: without it the run would simply start anew."""
    folder = record.folder(s.key())
    checkpoint = folder / "checkpoint.safetensors"
    if record.find(s.key()):
        return taken.here
    with files.lock(folder / "lock", wait=False):
        mend(folder)
        if record.find(s.key()) or _further(checkpoint, step):
            return taken.here
        checkpoint.unlink(missing_ok=True)
        record.begin(s.key(), s.changed())
        masks = ("masks.safetensors",) if s.ticket.score is not None else ()  # else nobody has looked at them
        for part in (*masks, "checkpoint.safetensors"):
            files.write(folder / part, (item / part).read_bytes())
    return taken.under_way


def _further(checkpoint: Path, step: int) -> bool:
    """Tell whether our own checkpoint of the run is at least as far on."""
    try:
        return checkpoint.exists() and int(read_about(checkpoint)["step"]) >= step
    except (ReproError, KeyError, TypeError, ValueError):
        return False
