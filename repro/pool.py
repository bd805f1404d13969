"""Many runs at once: what others depend on first, as many in flight as the machine bears, within a time budget."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd

from . import files, flight, paths, record
from . import track as curves
from .data.store import require
from .engine.job import Engine, Event, Job, Todo, reason
from .engine.queue import Fate, Queue
from .errors import ReproError
from .facts import head, method_of
from .keeping import kept, moments
from .lineage import Need, needs
from .materials import device
from .parts import Moment
from .progress import Board, Look
from .settings import Settings, unique
from .workers import lanes, watched

USUAL = Engine()


def plan(runs: Sequence[Settings], weights: bool = False, snapshots: Sequence[str] = ()) -> Todo:
    """List what must be trained, in the order asked for: missing runs (or weights), each after what it needs.

    Runs that others need keep their weights.

    Args:
        runs: what is wanted.
        weights: keep the trained weights.
        snapshots: and, with `weights`, those after these moments, see `keeping.moments`.
    """
    todo: Todo = {}
    for s in unique(runs):
        after = moments(snapshots, s.optim.length)
        if not record.find(s.key()) or (weights and not kept(s, after)):
            _add(todo, Need(s, after), weights)
    return todo


def _add(todo: Todo, need: Need, weights: bool) -> None:
    """Plan a run, after what it needs itself; one that is planned already keeps its place."""
    s = need.settings
    for first in () if _under_way(s) else needs(s):
        planned = todo.get(first.settings.key())
        wanted = _all_snapshots(first, planned)
        planned_so = planned and planned.weights and {*planned.snapshots} == {*wanted}
        if not planned_so and not kept(first.settings, wanted):
            _add(todo, Need(first.settings, wanted), True)
    planned = todo.get(s.key())
    todo[s.key()] = Job(s, weights or bool(planned and planned.weights), _all_snapshots(need, planned))


def _all_snapshots(need: Need, planned: Job | None) -> tuple[Moment, ...]:
    return tuple(sorted({*need.snapshots, *(planned.snapshots if planned else ())}, key=str))


def _under_way(s: Settings) -> bool:
    """Tell whether a stopped run holds its mask already, so that it goes on without its pre-training."""
    folder = record.folder(s.key())
    return (folder / "checkpoint.safetensors").exists() and (folder / "masks.safetensors").exists()


@contextmanager
def _alarm(seconds: float | None, stop: Event) -> Iterator[None]:
    """Set `stop` when the time is up."""
    timer = threading.Timer(seconds, stop.set) if seconds is not None else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer:
            timer.cancel()


def _each(
    todo: Todo,
    workers: int | None,
    budget: float | None,
    engine: Engine = USUAL,
    watch: Callable[[Look], None] = lambda look: None,
) -> Iterator[tuple[str, Fate]]:
    """Make everything, prerequisites before what needs them; yield each key with the function that gives its fate.

    Args:
        todo: what to make.
        workers: runs in flight; None leaves it to an engine that is not the usual one.
        budget: seconds after which everything under way is saved.
        engine: what makes the runs.
        watch: given the function that says how things stand.
    """
    kind, cores = device().type, os.cpu_count() or 1
    chosen = (
        lanes(kind, workers or 1) if engine == USUAL else watched(kind, workers, engine, [*todo.values()])
    )
    with chosen as making, _alarm(budget, making.stop):
        queue = Queue(todo, making, making.room or {"": workers or 1}, cores, engine.timeout)
        watch(queue.view)
        yield from queue.each()


def run_all(
    runs: Sequence[Settings],
    *,
    train: bool = True,
    workers: int | None = None,
    budget: float | None = None,
    track: str | None = None,
    weights: bool = False,
    snapshots: Sequence[str] = (),
    engine: Engine = USUAL,
) -> pd.DataFrame:
    """Train what is missing of `runs` and give one table row for each; one that fails does not stop the others.

    Args:
        runs: settings, e.g. from `expand`.
        train: False only reads records; runs without one get status "missing", those that just failed "failed".
        workers: runs in flight; by default one for each core, or what was measured to be best on a GPU.
        budget: seconds after which everything under way is saved and stopped, with status "stopped"; the same
            call goes on from there.
        track: "tensorboard" or "wandb": write the curves of all runs, those under way epoch by epoch.
        weights: keep the trained weights, of tickets too; a finished run without them is trained again.
        snapshots: with `weights`, keep those after these moments too, e.g. ["2", "500it", "every10"].
        engine: what makes the runs: this machine's cores or GPU as `workers` says, some of its GPUs, a cluster.

    Raises:
        ReproError: when data, or a library asked for, are missing, or the build folder cannot be written.
    """
    if track:
        curves.require(track)
    runs = unique(runs)
    todo = (
        {key: job._replace(track=track) for key, job in plan(runs, weights, snapshots).items()}
        if train
        else {}
    )
    ended = _train(todo, workers, budget, engine) if todo else {}
    if track:
        curves.catch_up(track, ((s, record.read(path)) for s in runs if (path := record.find(s.key()))))
    frame = table(runs)
    for key, (status, why) in ended.items():
        frame.loc[frame["key"] == key, ["status", "reason"]] = [status, why]
    return frame


def _train(
    todo: Todo, workers: int | None, budget: float | None, engine: Engine = USUAL
) -> dict[str, tuple[str, str | None]]:
    """Train, showing progress; give status and reason of those that failed or were stopped, by key."""
    files.check_writable(paths.build())
    ended = _without_data(todo) if engine.kind == "local" else {}
    todo = {key: job for key, job in todo.items() if key not in ended}
    if engine == USUAL:
        workers = min(workers or flight.number([job.settings for job in todo.values()]), len(todo))
    with Board("training", len(todo)) as board:
        for key, fate in _each(todo, workers, budget, engine, board.watch):
            try:
                status = fate()
            except Exception as error:  # one that fails does not stop the others
                status = "failed"
                ended[key] = status, reason(error, key)
            if status == "stopped":
                ended[key] = status, "the time was up; the same command goes on"
            board.tell(f"{method_of(todo[key].settings)} {status}")
    return ended


def _without_data(todo: Todo) -> dict[str, tuple[str, str | None]]:
    """Give status and reason of the runs whose data set is not here; raise ReproError if that is all of them."""
    lacking: dict[str, ReproError] = {}
    for name in {job.settings.data.name: None for job in todo.values()}:
        try:
            require(name, paths.data())
        except ReproError as error:
            lacking[name] = error
    ended: dict[str, tuple[str, str | None]] = {
        k: ("failed", str(lacking[n])) for k, j in todo.items() if (n := j.settings.data.name) in lacking
    }
    if len(ended) == len(todo):
        raise next(iter(lacking.values()))
    return ended


def table(runs: Sequence[Settings]) -> pd.DataFrame:
    """Read the records of `runs` into a table; runs without a record have status "missing"."""
    rows: list[dict[str, Any]] = []
    for s in runs:
        path = record.find(s.key())
        if path:
            found = record.read(path)
            rows.append({"key": s.key()} | record.row(found["settings"], found, path))
        else:
            known = head(s)
            rows.append(
                {"key": s.key()} | record.row(known["settings"], None) | {"command": known["command"]}
            )
    return record.frame(rows)
