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
from typing import Any

from .engine.child import on_stream as _on_stream
from .engine.child import settle
from .engine.crew import deaf, devices, environment, processes
from .engine.job import Engine, Event, Job, Lanes, signs_here
from .engine.job import make as _make
from .pruners import custom

__all__ = ["Event", "Job", "Lanes", "deaf", "here", "lanes", "processes", "streams", "watched", "workers_of"]


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

    yield Lanes(submit, stop, signs_here)


@contextmanager
def streams(n: int) -> Iterator[Lanes]:
    """Make runs in `n` threads of this process, each with a stream of the GPU and captured steps of its own."""
    stop = threading.Event()
    pool = ThreadPoolExecutor(n)
    try:
        yield Lanes(lambda job: pool.submit(_on_stream, job, stop), stop, signs_here)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def lanes(kind: str, n: int) -> AbstractContextManager[Lanes]:
    """Choose workers: `n` streams for a device of kind "cuda", else `n` processes, or this one if n is 1."""
    if kind == "cuda":
        return streams(n)
    return processes(n) if n > 1 else here()


def watched(kind: str, n: int | None, engine: Engine, jobs: Sequence[Job]) -> AbstractContextManager[Lanes]:
    """Choose workers that an engine other than the usual one asks for, each in a process that can be killed.

    Args:
        kind: of the device that this process would use.
        n: runs in flight; None for what the engine finds best.
        engine: what was asked for.
        jobs: what is to be made, at least one.
    """
    runs = [job.settings for job in jobs]
    if engine.kind == "ray":
        from .engine.cluster import cluster

        return cluster(engine, n, jobs)
    if engine.gpus or kind == "cuda":
        own = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[:1]
        return devices(engine.gpus or own, engine.per_gpu or n, runs, engine.timeout)
    return processes(n or os.cpu_count() or 1, engine.timeout)


@contextmanager
def workers_of(n: int) -> Iterator[ProcessPoolExecutor]:
    """Keep `n` one-thread worker processes inside the block, for work other than runs."""
    context, given = multiprocessing.get_context("spawn"), (tuple(custom.OWN.values()),)
    pool = ProcessPoolExecutor(n, mp_context=context, initializer=settle, initargs=given)
    with environment({"OMP_NUM_THREADS": "1"}):
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


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
