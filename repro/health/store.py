"""The health of the store: runs under way, orphans, locks, damaged and unfinished files, the index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .. import index, paths, record, seals
from ..checkpoint import read_about
from ..errors import ReproError
from .finding import Finding, few, size
from .places import held, runs, settings, state, temporary, tickets

GC = "`repro gc --yes` removes it"


def examine(deep: bool) -> Iterator[Finding]:
    """Look at this machine's store and at the published records.

    Args:
        deep: read every file and verify its checksum; else records that have changed, and the heads of tensor files.
    """
    folders = {folder: state(folder) for folder in runs()}
    busy = {folder for folder, how in folders.items() if how != "done" and held(folder / "lock")}
    yield from _records(folders, deep)
    yield from few(
        [_under_way(f, f in busy) for f, how in folders.items() if how == "under way"], "under way"
    )
    yield from _locks(busy - {f for f, how in folders.items() if how == "under way"})
    orphans = [f for f, how in folders.items() if how == "orphan" and f not in busy]
    yield from few([Finding("act", f"{f}: a run that got to no checkpoint", GC) for f in orphans], "orphans")
    for folder, how in folders.items():
        if how == "unmarked" and folder not in busy:
            yield Finding("act", f"{folder}: a record without its marker DONE", "run it again")
    yield from few([*_tensors(folders, deep)], "damaged files")
    yield from few(
        [Finding("act", f"{path}: begun and never finished", GC) for path in temporary()], "unfinished"
    )
    yield from _kept_apart()


def _records(folders: dict[Path, str], deep: bool) -> Iterator[Finding]:
    how = index.state()
    told = {
        "absent": "no index of records yet",
        "stale": "the index of records was damaged, or of another version",
    }
    if how != "sound":
        yield Finding("note", told[how], "it is made when records are first listed")
    faults = [fault.partition("; ") for fault in record.faults(deep=deep)]
    yield from few([Finding("act", what, do) for what, _, do in faults], "damaged records")
    done = sum(state == "done" for state in folders.values())
    yield Finding("ok", f"{done} finished runs in {paths.build() / 'runs'}")


def _under_way(folder: Path, busy: bool) -> Finding:
    s = settings(folder)
    try:
        about = read_about(folder / "checkpoint.safetensors")
        far = f"{len(about['curve'])} of {s.optim.length if s else '?'} epochs, {about['step']} steps"
    except (ReproError, LookupError, TypeError):
        far = "its checkpoint cannot be read"
    do = (
        f"`{s.command()}` goes on"
        if s
        else "its settings are of another version; remove it if nobody needs it"
    )
    return Finding("note", f"{folder.name} under way, {far}", "a process is making it" if busy else do)


def _locks(busy: set[Path]) -> Iterator[Finding]:
    others = [
        p for p in [*paths.build().glob("*.lock"), *(paths.build() / "tickets").glob("*.lock")] if held(p)
    ]
    for path in sorted([*(folder / "lock" for folder in busy), *others]):
        yield Finding("note", f"{path} is held", "another process is at work; nothing to do")


def _tensors(folders: dict[Path, str], deep: bool) -> Iterator[Finding]:
    """Look at all files of tensors: their heads, or all of them."""
    verify = seals.check if deep else seals.glance
    for path in [*(p for folder in folders for p in sorted(folder.glob("*.safetensors"))), *tickets()]:
        try:
            verify(path, own=True)
        except seals.DamagedError as error:
            what = str(error).partition("; ")[0]
            yield Finding("act", what, "remove it; it is made again when it is needed")


def _kept_apart() -> Iterator[Finding]:
    files = [p for p in seals.damaged().rglob("*") if p.is_file()]
    if files:
        told = f"{len(files)} damaged files were set aside in {seals.damaged()}, {size(sum(p.stat().st_size for p in files))}"
        yield Finding("note", told, "look at them; `repro gc --yes` removes them")
