"""Carry the curve of one run to where it is watched: every epoch once, however often the run is stopped.

What has been written stands in a small file beside the curves, so that a run that goes on, or was made long ago, adds
only what is missing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import checkpoint, files, paths, record
from ..errors import ReproError, pick
from ..settings import Settings
from .kinds import KINDS, Sink

Row = Mapping[str, float | None]
Report = Callable[[int, int, dict[str, float]], None]


def require(kind: str) -> None:
    """Find out before anything is trained whether curves can be written.

    Raises:
        ReproError: when the kind is unknown, or its library is not installed; one line.
    """
    pick(KINDS, kind, "tracker")
    if find_spec(kind) is None:
        raise ReproError(f"track: the library {kind} is not installed; `pip install {kind}` gets it")


def folder(kind: str, key: str = "") -> Path:
    """Where the curves of a run are, or of all runs without a key."""
    return paths.build() / "track" / kind / key


def watch(kind: str) -> str:
    """Say where the curves are and how to look at them."""
    where = folder(kind)
    return f"curves: {where}; to look at them: {KINDS[kind].look.format(folder=where)}"


class Tracker:
    """Carries the rows of one run's curve to a tracker, each once; opens nothing before there is a row to write."""

    def __init__(self, kind: str, s: Settings) -> None:
        self.kind, self.settings = kind, s
        self.sink: Sink | None = None
        self.folder = folder(kind, s.key())
        self.written, self.done = _read_state(self.folder)

    def report(self, steps: int, total: int, row: Row) -> None:
        """Take the row of a finished epoch: what `repro.train.train` tells its `report`.

        A run that is trained anew from its first epoch replaces what an earlier attempt has written.
        """
        first = self.sink is None
        if first and row["epoch"] == 1 and self.written:
            shutil.rmtree(self.folder)
            self.written, self.done = 0, False
        self._write([*(_saved(self.settings.key()) if first else []), row])

    def finish(self, made: Mapping[str, Any]) -> None:
        """Write what is missing of a finished run, by its record: epochs, final accuracies and density."""
        if self.done:
            return
        curve = made["curve"]
        self._write([dict(zip(curve, values, strict=True)) for values in zip(*curve.values(), strict=True)])
        results = {"density": made["density"], "accuracy": made["accuracy"]["final"]}
        results |= {name: made["accuracy"][name] for name in ("best", "top5", "validation")}
        self._open().summary({k: v for k, v in results.items() if v is not None})
        self._keep_state(done=True)

    def close(self) -> None:
        """Let go of the files, if any are open."""
        if self.sink:
            self.sink.close()
            self.sink = None

    def _write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            epoch = int(row["epoch"] or 0)
            if epoch > self.written:
                values = {k: v for k, v in row.items() if k != "epoch" and v is not None}
                self._open().epoch(epoch, values)
                self.written = epoch
                self._keep_state()

    def _open(self) -> Sink:
        if self.sink is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.sink = KINDS[self.kind](self.folder, self.settings, self.written)
        return self.sink

    def _keep_state(self, done: bool = False) -> None:
        self.done = done
        files.write(self.folder / "written.json", json.dumps({"epoch": self.written, "done": done}) + "\n")


@contextmanager
def _tracker(kind: str, s: Settings) -> Iterator[Tracker]:
    """Hold a run's tracker inside the block; a second process waits."""
    with files.lock(folder(kind) / f".{s.key()}.lock"):
        tracker = Tracker(kind, s)
        try:
            yield tracker
        finally:
            tracker.close()


def tracked(kind: str | None, s: Settings, make: Callable[[Report], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Make a run, its curve written while it is trained.

    Args:
        kind: an entry of `KINDS`, or None for no curves.
        s: the run.
        make: makes it, telling its epochs to the function given, and gives its record.
    """
    if kind is None:
        return make(lambda *_: None)
    with _tracker(kind, s) as tracker:
        made = make(tracker.report)
        tracker.finish(made)
    return made


def catch_up(kind: str, runs: Iterable[tuple[Settings, Mapping[str, Any]]]) -> None:
    """Write what is missing of the curves of finished runs.

    Args:
        kind: an entry of `KINDS`.
        runs: finished runs with their records.
    """
    for s, made in runs:
        with _tracker(kind, s) as tracker:
            tracker.finish(made)


def _saved(key: str) -> list[Row]:
    """Give the curve so far of a run that goes on from a checkpoint."""
    path = record.folder(key) / "checkpoint.safetensors"
    try:
        return checkpoint.read_about(path).get("curve", []) if path.exists() else []
    except ReproError:  # a damaged one is set aside when the run begins, which is then anew
        return []


def _read_state(place: Path) -> tuple[int, bool]:
    try:
        state = json.loads((place / "written.json").read_text(encoding="utf-8"))
        return int(state["epoch"]), bool(state["done"])
    except (OSError, ValueError, KeyError):
        return 0, False
