"""Worker processes of this machine: each supervised, so that one that dies takes only its own runs with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext
from typing import Any

from .. import flight
from ..errors import ReproError
from ..pruners import custom
from ..settings import Settings
from .child import ASKED, main
from .job import FULL, Job, Lanes, Pulse, Sign, WorkerDiedError


@contextmanager
def deaf() -> Iterator[None]:
    """Start processes that do not hear Ctrl-C from their first moment on: the parent alone hears it and asks them.

    In the parent a Ctrl-C meanwhile is not lost: it waits until the block ends.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that processes started inside the block inherit."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Worker:
    """One process, and what is in flight in it.

    Args:
        context: starts processes.
        stop: asks the runs to save and stop.
        slots: how much may be in flight at once.
        variables: of its environment, besides ours.
    """

    def __init__(self, context: SpawnContext, stop: Any, slots: int, variables: Mapping[str, str]) -> None:
        self.slots, self.dead, self.told = slots, False, ""
        self.flying: dict[int, tuple[Future[Any], str]] = {}
        self.lock = threading.Lock()
        self.cells = context.RawArray("d", 3 * slots)
        self.link, theirs = context.Pipe()
        given = (theirs, stop, self.cells, slots, tuple(custom.OWN.values()))
        self.process = context.Process(target=main, args=given, daemon=True)
        with environment({"OMP_NUM_THREADS": "1", **variables}), deaf():
            self.process.start()
        theirs.close()
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def submit(self, what: str, argument: Any, key: str = "") -> Future[Any] | None:
        """Send work to the process; None when it is dead, or has as much as it takes."""
        with self.lock:
            free = next((i for i in range(self.slots) if i not in self.flying), None)
            if self.dead or free is None:
                return None
            future: Future[Any] = Future()
            Pulse(self.cells, 3 * free).tell(0, 0)
            self.flying[free] = future, key
        with suppress(OSError):  # it died just now; who listens tells
            self.link.send((free, what, argument))
        return future

    def _listen(self) -> None:
        """Hand each answer to whoever waits for it; after the last, say of what is still in flight that it is lost."""
        while True:
            try:
                slot, good, value = self.link.recv()
            except (EOFError, OSError):
                break
            if slot is None:
                self.told = value
                continue
            with self.lock:
                future, _ = self.flying.pop(slot)
                self.dead = self.dead or (self.slots == 1 and isinstance(value, FULL))
            (future.set_result if good else future.set_exception)(value)
        self.process.join()
        with self.lock:
            self.dead = True
            lost, self.flying = [*self.flying.values()], {}
        death = WorkerDiedError(self.process.exitcode, self.told)
        for future, _ in lost:
            future.set_exception(death)

    def signs(self) -> dict[str, Sign]:
        """Give the last sign of each run in flight, by key."""
        with self.lock:
            flying = {slot: key for slot, (_, key) in self.flying.items() if key}
        return {key: Pulse(self.cells, 3 * slot).read() for slot, key in flying.items()}

    def dismiss(self) -> None:
        """Let the process end when what is in flight has ended; at once if that is nothing."""
        with self.lock:
            idle = not self.flying
        if idle:
            self.process.kill()
        with suppress(OSError):  # it has ended already
            self.link.send(None)


class Crew:
    """The worker processes of a batch, started when they are needed.

    Args:
        slots: runs at once in each process.
        places: variables of the environment at each place, by its name.
        patience: seconds that a run may take to save itself when all are asked to; None for any time.
    """

    def __init__(
        self,
        slots: int = 1,
        places: Mapping[str, Mapping[str, str]] | None = None,
        patience: float | None = None,
    ) -> None:
        with (
            deaf()
        ):  # for it keeps what it does not hear from its first moment on, and all need it to the end
            resource_tracker.ensure_running()
        self.context = multiprocessing.get_context("spawn")
        self.stop = self.context.Event()
        self.slots, self.places, self.patience = slots, places or {"": {}}, patience
        self.workers: list[tuple[str, Worker]] = []

    def submit(self, job: Job) -> Future[str]:
        """Start a run in a process at its place that has a slot free, or in a new one."""
        return self._send("run", job, job.place, job.settings.key())

    def ask(self, what: str, place: str, argument: Any = None) -> Future[Any]:
        """Ask a process at a place for its "device", or for the "number" of some runs to make there at once."""
        return self._send(what, argument, place)

    def _send(self, what: str, argument: Any, place: str, key: str = "") -> Future[Any]:
        self.workers = [(p, w) for p, w in self.workers if w.listener.is_alive()]
        for at, worker in reversed(self.workers):
            if at == place and (future := worker.submit(what, argument, key)):
                return future
        worker = Worker(self.context, self.stop, self.slots, self.places[place])
        self.workers.append((place, worker))
        future = worker.submit(what, argument, key)
        assert future
        return future

    def signs(self) -> dict[str, Sign]:
        """Give the last sign of each run in flight, by key."""
        return {key: sign for _, worker in list(self.workers) for key, sign in worker.signs().items()}

    def end(self, key: str) -> None:
        """Kill the process that makes a run."""
        for _, worker in self.workers:
            if key in worker.signs():
                worker.process.kill()

    def close(self) -> None:
        """Ask all runs to save and stop, and wait for them; whatever interrupts the waiting kills what is left."""
        self.stop.set()
        try:
            for _, worker in self.workers:
                worker.dismiss()
            for _, worker in self.workers:
                worker.listener.join(self.patience)
        finally:
            for _, worker in self.workers:
                worker.process.kill()
                worker.listener.join()


@contextmanager
def processes(n: int, patience: float | None = None) -> Iterator[Lanes]:
    """Make runs in up to `n` long-lived processes, so that imports and data are paid for once."""
    crew = Crew(patience=patience)
    try:
        yield Lanes(crew.submit, crew.stop, crew.signs, crew.end, {"": n})
    finally:
        crew.close()


@contextmanager
def devices(
    gpus: Sequence[str], per_gpu: int | None, runs: Sequence[Settings], patience: float | None = None
) -> Iterator[Lanes]:
    """Make runs on several GPUs of this machine: a process for each, which sees that one alone.

    Args:
        gpus: their names as CUDA_VISIBLE_DEVICES has them.
        per_gpu: runs in flight on each, as threads with a stream of the GPU; None measures what is best there.
        runs: what is to be made, at least one run.
        patience: see `Crew`.
    """
    most = per_gpu or max(flight.LADDER)
    crew = Crew(most, {gpu: {"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus}, patience)
    try:
        kinds = {gpu: crew.ask("device", gpu) for gpu in gpus}  # starts all of them
        for gpu, kind in kinds.items():
            if kind.result() != "cuda" and "REPRO_DEVICE" not in os.environ:
                raise ReproError(f"--gpus {gpu}: no such GPU here; `nvidia-smi -L` lists them")
        room = {gpu: per_gpu or min(most, crew.ask("number", gpu, list(runs)).result()) for gpu in gpus}
        yield Lanes(crew.submit, crew.stop, crew.signs, crew.end, room, shared=most > 1)
    finally:
        crew.close()
