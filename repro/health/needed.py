"""Which weights, snapshots and tickets runs still need that are not finished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .. import paths, record
from ..errors import ReproError
from ..grids import plan
from ..keeping import kept, masks_file, weights_file
from ..lineage import Need, needs, unchecked
from ..settings import Settings, unique
from ..tickets import ticket_key
from .places import runs, settings


class Needed(NamedTuple):
    """Files in folders of runs, and keys of tickets."""

    files: set[Path]
    tickets: set[str]


def needed() -> Needed:
    """Follow every unfinished run back: what it is made from, and what that is made from unless it is here.

    Unfinished are the runs with a folder here and no record, and those that the parameter files of the project plan.
    """
    found = Needed(set(), set())
    todo = [Need(s) for s in unfinished()]
    seen: set[str] = set()
    while todo:
        s = todo.pop().settings
        if s.key() in seen:
            continue
        seen.add(s.key())
        found.tickets.update(_tickets(s))
        for need in needs(s):
            folder = record.folder(need.settings.key())
            found.files.update(
                file(folder, n) for n in (None, *need.snapshots) for file in (weights_file, masks_file)
            )
            if not kept(*need):
                found.files.update(folder / f"{part}.safetensors" for part in ("checkpoint", "masks"))
                todo.append(need)
    return found


def unfinished() -> list[Settings]:
    """List the runs without a sound record: those with a folder here, and those that parameter files plan."""
    done = set(record.load()["key"])
    here = [s for folder in runs() if folder.name not in done and (s := settings(folder))]
    planned: list[Settings] = []
    for file in sorted((paths.root() / "params").glob("*/*.yaml")):
        try:
            planned += plan(file)
        except ReproError:  # a file that asks for nothing needs nothing
            continue
    return [s for s in unique([*here, *planned]) if s.key() not in done]


def _tickets(s: Settings) -> Iterator[str]:
    """Give the keys of all tickets that making a run may fetch: its own, the unchecked one, and those it refers to."""
    if s.ticket.score is None:
        return
    yield ticket_key(s)
    if clean := unchecked(s):
        yield ticket_key(clean)
    if s.ticket.score == "mask_of" or (
        s.ticket.allocation == "induced" and s.ticket.options("allocation")["like"]
    ):
        yield from _tickets(s.source)
