"""Where runs are made: in this process, in long-lived one-thread processes, or on streams of one GPU.

Each kind is a context that gives a function to submit a run and an event that asks all of them to save and stop.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.synchronize import Event as ProcessEvent
from typing import Any, NamedTuple

import torch

from .experiment import run
from .parts import Moment
from .pruners import custom
from .settings import Settings
from .track import tracked
from .train import Stopped

Event = threading.Event | ProcessEvent
_stop: ProcessEvent | None = None
_stream = threading.local()


class Job(NamedTuple):
    """A run to make: its settings, whether its weights must be kept and after which epochs, CPU threads, curves."""

    settings: Settings
    weights: bool = False
    snapshots: tuple[Moment, ...] = ()
    threads: int = 1
    track: str | None = None


class Lanes(NamedTuple):
    """What a context of workers gives: a way to start a run, and the event that asks all runs to stop."""

    submit: Callable[[Job], Future[str]]
    stop: Event


def _make(job: Job, stop: Callable[[], bool]) -> str:
    try:
        made = tracked(
            job.track,
            job.settings,
            lambda report: run(
                job.settings,
                weights=job.weights,
                snapshots=job.snapshots,
                threads_offered=job.threads,
                stop=stop,
                report=report,
            ),
        )
        return str(made["status"])
    except Stopped:
        return "stopped"


@contextmanager
def here() -> Iterator[Lanes]:
    """Make each run in this process when it is submitted; the first Ctrl-C saves it, a second stops at once."""
    stop = threading.Event()

    def submit(job: Job) -> Future[str]:
        future: Future[str] = Future()
        try:
            with _interruptible() as asked:
                future.set_result(_make(job, lambda: asked() or stop.is_set()))
                if asked():
                    raise KeyboardInterrupt
        except Exception as error:  # told to whoever asks for the result
            future.set_exception(error)
        return future

    yield Lanes(submit, stop)


@contextmanager
def processes(n: int) -> Iterator[Lanes]:
    """Make runs in `n` long-lived processes, so that imports and data are paid for once."""
    stop = multiprocessing.get_context("spawn").Event()
    with workers_of(n, stop) as pool:

        def submit(job: Job) -> Future[str]:
            with deaf():
                return pool.submit(_work, job)

        yield Lanes(submit, stop)


@contextmanager
def streams(n: int) -> Iterator[Lanes]:
    """Make runs in `n` threads of this process, each with a stream of the GPU and captured steps of its own."""
    stop = threading.Event()
    pool = ThreadPoolExecutor(n)
    try:
        yield Lanes(lambda job: pool.submit(_on_stream, job, stop), stop)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def lanes(kind: str, n: int) -> AbstractContextManager[Lanes]:
    """Choose workers: `n` streams for a device of kind "cuda", else `n` processes, or this one if n is 1."""
    if kind == "cuda":
        return streams(n)
    return processes(n) if n > 1 else here()


def _on_stream(job: Job, stop: threading.Event) -> str:
    if not hasattr(_stream, "own"):
        _stream.own = torch.cuda.Stream()
    with torch.cuda.stream(_stream.own):
        return _make(job, stop.is_set)


def _work(job: Job) -> str:
    return _make(job, _stop.is_set if _stop else lambda: False)


def _start_worker(stop: ProcessEvent, pruners: Sequence[custom.Own]) -> None:
    global _stop
    _stop = stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent asks us to stop; a run is then saved
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for own in pruners:
        custom.register(own)


def _end_with_parent() -> None:
    """Leave no orphan that trains on when the parent is killed; its run goes on from the last checkpoint."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


@contextmanager
def workers_of(n: int, stop: ProcessEvent | None = None) -> Iterator[ProcessPoolExecutor]:
    """Keep `n` one-thread worker processes inside the block; leaving it asks them to save and stop."""
    context = multiprocessing.get_context("spawn")
    stop = stop or context.Event()
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    given = (stop, tuple(custom.OWN.values()))
    pool = ProcessPoolExecutor(n, mp_context=context, initializer=_start_worker, initargs=given)
    try:
        yield pool
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


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
    """Start processes that do not hear Ctrl-C from their first moment on: the parent alone hears it and asks them.

    In the parent a Ctrl-C meanwhile is not lost: it waits until the block ends.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
