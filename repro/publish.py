"""Finished records of this machine as one small file each, for the book or for the way to another machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from . import paths, record, seals, vet
from .errors import ReproError
from .files import write
from .grids import is_file_name, plan
from .lineage import lineage
from .progress import Waiting
from .pruners.custom import is_own
from .settings import Settings

RECORDED = "paper"  # the profile that the book shows from its records
LIVE = (
    "quick",
    "smoke",
)  # profiles that are trained where they are read; the book must not bring their records


def text(found: Mapping[str, Any]) -> str:
    """Lay a record out as JSON for small diffs: entries by name, each on a line, as each curve and each layer."""
    parts = [f"{_line(name)}: {_spread(name, found[name])}" for name in sorted(found)]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _spread(name: str, value: Any) -> str:
    if name == "curve":
        return "{\n" + ",\n".join(f" {_line(k)}: {_line(v)}" for k, v in sorted(value.items())) + "\n}"
    if name == "layers":
        return "[\n" + ",\n".join(f" {_line(layer)}" for layer in value) + "\n]"
    return _line(value)


def names(keys: Sequence[str], most: int = 5) -> str:
    """List some keys, and say how many more there are."""
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


@dataclass
class Published:
    """What became of each run that was to be published, by key; refused ones with their reason."""

    to: Path
    planned: int = 0
    written: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    differ: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    live: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Tell it in a few lines."""
        first = f"{self.to}: {len(self.written)} written, {len(self.there)} there already"
        if self.planned:
            first += f", {len(self.missing)} of {self.planned} planned runs not finished"
        told = [first]
        if self.differ:
            kept = f"kept {len(self.differ)} that differ from ours, {names(self.differ)}"
            told.append(f"{kept}; `repro publish --replace KEY` takes ours")
        if self.live:
            left = f"left out {len(self.live)} that the report trains live, {names(self.live)}"
            told.append(f"{left}; --to names another folder for them")
        if self.own:
            told.append(f"left out {len(self.own)} of pruners of your own, whose code no record holds")
        return told


class Told(Protocol):
    """What tells its outcome in lines, and holds what it refused."""

    refused: list[str]

    def lines(self) -> list[str]:
        """Tell the outcome."""
        ...


def tell(outcome: Told, most: int = 20) -> None:
    """Print an outcome; raise ReproError after naming the refused, so that the command ends with exit code 2."""
    print(*outcome.lines(), sep="\n", flush=True)
    for line in outcome.refused[:most]:
        print(f"refused: {line}", file=sys.stderr)
    if outcome.refused:
        raise ReproError(f"{len(outcome.refused)} refused, all else was done")


def publish(words: Sequence[str] = (), to: Path | None = None, *, replace: bool = False) -> Published:
    """Copy finished records of this machine's store; a second call changes nothing.

    Into the book go, without words, the runs that `params/*/paper.yaml` plan, and never runs of the profiles
    quick and smoke: the report trains those live, and would take published records for them. Into another
    folder go, without words, all finished runs.

    Args:
        words: parameter files, whose planned runs are meant; keys, or the first letters of one.
        to: the folder; by default that of the book.
        replace: take our record where a differing one is published.

    Raises:
        ReproError: when a word means nothing, all runs meant are trained live, or the folder cannot be written.
    """
    to = to or paths.records()
    store, published = record.stores()
    book = to.resolve() == published.resolve() or to.resolve().parts[-2:] == ("book", "records")
    finished = sorted(p.parent.name for p in store.glob("*/DONE"))
    keys, planned = _meant(words, finished, book)
    made, live = Published(to, planned), _live() if book else set()
    made.live = sorted(keys & live)
    if words and keys and keys <= live:
        raise ReproError(f"{words[0]}: the report trains these runs live; name another folder with --to")
    with Waiting("publishing", len(keys)) as waiting:
        for done, key in enumerate(sorted(keys - live), 1):
            if key in finished:
                _one(key, store / key / "record.json", made, replace)
            else:
                (made.there if (to / f"{key}.json").exists() else made.missing).append(key)
            waiting.update(done)
    return made


def _one(key: str, path: Path, made: Published, replace: bool) -> None:
    try:
        ours, s = vet.load(path)
        if s.key() != key:
            raise ReproError(f"its settings give key {s.key()}")
    except ReproError as error:
        if _of_own_pruner(path):
            made.own.append(key)
        else:
            made.refused.append(f"{path}: {error}")
        return
    place = made.to / f"{key}.json"
    if place.exists() and (same(place, ours) or not replace):
        (made.there if same(place, ours) else made.differ).append(key)
        return
    _writable(made.to)
    write(place, text(seals.sealed(ours)))
    made.written.append(key)


def _of_own_pruner(path: Path) -> bool:
    """Tell whether a record is of a function that only `repro check` knew, and that no other machine has."""
    try:
        return is_own(record.read(path)["settings"]["ticket"]["score"])
    except (ReproError, KeyError, TypeError):
        return False


def same(path: Path, found: Mapping[str, Any]) -> bool:
    """Tell whether the record in a file is this one; a damaged file holds another."""
    try:
        return record.read(path) == found
    except ReproError:
        return False


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise ReproError(f"{folder}: {error.strerror}; name another folder with --to") from None


def _meant(words: Sequence[str], finished: Sequence[str], book: bool) -> tuple[set[str], int]:
    """Give the keys that are meant, and the number of runs planned by parameter files."""
    files = [w for w in words if is_file_name(w)]
    if not words and book:
        files = [str(p) for p in sorted((paths.root() / "params").glob(f"*/{RECORDED}.yaml"))]
    planned = _keys(s for file in files for s in plan(file))
    keys = {_named(w, finished) for w in words if w not in files}
    return (planned | keys) if words or book else set(finished), len(planned)


def _named(word: str, finished: Sequence[str]) -> str:
    found = [key for key in finished if key.startswith(word)]
    if len(found) != 1:
        count = f"{len(found)} finished runs" if found else "no finished run"
        raise ReproError(f"{word}: {count} with this key here; `repro status` lists what there is")
    return found[0]


def _live() -> set[str]:
    """List the keys of what the live profiles train, the runs that tickets come from included."""
    files = [p for name in LIVE for p in sorted((paths.root() / "params").glob(f"*/{name}.yaml"))]
    runs = [s for file in files for s in plan(file)]
    return _keys(runs) | _keys(first for s in runs for first in lineage(s))


def _keys(runs: Iterable[Settings]) -> set[str]:
    return {s.key() for s in runs}
