"""Many runs at once: long-lived one-thread workers on all cores, what others depend on first."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Event
from typing import Any

import pandas as pd

from . import files, paths, record
from .data.store import require
from .errors import ReproError
from .experiment import head, run
from .materials import device
from .progress import Waiting
from .settings import Settings, unique
from .tickets import pretraining
from .train import Stopped

_stop: Event | None = None


def _start_worker(stop: Event) -> None:
    global _stop
    _stop = stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent asks us to stop; a run is then saved


def _end_with_parent() -> None:
    """Leave no orphan that trains on when the parent is killed; its run goes on from the last checkpoint."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _work(s: Settings, weights: bool) -> str:
    try:
        return str(run(s, weights=weights, stop=_stop.is_set if _stop else lambda: False)["status"])
    except Stopped:
        return "stopped"


def _here(s: Settings, weights: bool, stop: Callable[[], bool]) -> str:
    try:
        return str(run(s, weights=weights, stop=stop)["status"])
    except Stopped:
        raise KeyboardInterrupt from None


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a request to save and stop; a second one stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def first(*_: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def deaf() -> Iterator[None]:
    """Start processes that ignore Ctrl-C from their first moment on: the parent alone hears it and asks them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def plan(runs: Sequence[Settings]) -> dict[str, tuple[Settings, bool]]:
    """List what must be trained: missing runs and the pre-training they need, whose weights must be kept."""
    missing = [s for s in unique(runs) if record.find(s.key()) is None]
    before = unique([p for s in missing if (p := pretraining(s))])
    weightless = [p for p in before if not (record.folder(p.key()) / "weights.safetensors").exists()]
    todo = {p.key(): (p, True) for p in weightless}
    return todo | {s.key(): (s, False) for s in missing if s.key() not in todo}


@contextmanager
def workers_of(n: int) -> Iterator[ProcessPoolExecutor]:
    """Keep `n` one-thread worker processes inside the block; leaving it asks them to save and stop."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = ProcessPoolExecutor(n, mp_context=context, initializer=_start_worker, initargs=(stop,))
    try:
        yield pool
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _each(todo: dict[str, tuple[Settings, bool]], workers: int) -> Iterator[tuple[str, Callable[[], str]]]:
    """Run everything, prerequisites before what needs them; yield each key with the function that gives its fate."""
    if workers == 1 or len(todo) == 1:
        with _interruptible() as stop:
            for key, (s, weights) in todo.items():
                yield key, partial(_here, s, weights, stop)
        return
    with workers_of(min(workers, len(todo))) as pool:
        running: dict[Future[str], str] = {}
        waiting = dict(todo)
        while waiting or running:
            for key, (s, weights) in list(waiting.items()):
                before = pretraining(s)
                if not (before and (before.key() in waiting or before.key() in running.values())):
                    with deaf():
                        running[pool.submit(_work, s, weights)] = key
                    del waiting[key]
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result


def run_all(runs: Sequence[Settings], *, train: bool = True, workers: int | None = None) -> pd.DataFrame:
    """Train what is missing of `runs` and give one table row for each; one that fails does not stop the others.

    Args:
        runs: settings, e.g. from `expand`.
        train: False only reads records; runs without one get status "missing", those that just failed "failed".
        workers: processes at once; default one for each core, one in all on a GPU.

    Raises:
        ReproError: when data are missing, a worker died, or the build folder cannot be written.
    """
    runs = unique(runs)
    todo = plan(runs) if train else {}
    failed = _train(todo, workers or (os.cpu_count() or 1 if device().type == "cpu" else 1)) if todo else {}
    frame = table(runs)
    for key, reason in failed.items():
        frame.loc[frame["key"] == key, ["status", "reason"]] = ["failed", reason]
    return frame


def _train(todo: dict[str, tuple[Settings, bool]], workers: int) -> dict[str, str]:
    """Train, showing progress; give the reasons of those that failed, by key."""
    failed: dict[str, str] = {}
    files.check_writable(paths.build())
    for name in {s.data.name for s, _ in todo.values()}:
        require(name, paths.data())
    with Waiting("training", len(todo)) as waiting:
        for done, (key, fate) in enumerate(_each(todo, workers), 1):
            try:
                status = fate()
            except ReproError as error:
                failed[key], status = str(error), "failed"
            except BrokenProcessPool:
                raise ReproError(
                    "a worker died, perhaps for want of memory; the same command goes on"
                ) from None
            waiting.update(done, f"{record.method(dict(todo[key][0].ticket))} {status}")
    return failed


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
