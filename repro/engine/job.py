"""A run to make, the signs of life that it gives meanwhile, and how its worker may end."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping, MutableSequence
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.synchronize import Event as ProcessEvent
from typing import Any, Literal, NamedTuple

import torch

from .. import files, record
from ..errors import ReproError, lacks_memory
from ..experiment import run
from ..parts import Moment
from ..settings import Settings
from ..track import tracked
from ..train import Stopped

Event = threading.Event | ProcessEvent
FULL = (torch.OutOfMemoryError, MemoryError)
KNOWN = (ReproError, *FULL)  # errors that `reason` has a line for


@dataclass(frozen=True)
class Engine:
    """What makes the runs of a batch.

    Args:
        kind: "local", this machine, or "ray", a cluster.
        gpus: names of devices as CUDA_VISIBLE_DEVICES has them, one process for each; none for the usual choice.
        per_gpu: runs in flight on each GPU; None measures it there.
        address: of the Ray cluster; None takes the one that this machine belongs to, or starts one here.
        timeout: seconds without a sign of life after which a run is tried again in a new worker; None waits.
    """

    kind: Literal["local", "ray"] = "local"
    gpus: tuple[str, ...] = ()
    per_gpu: int | None = None
    address: str | None = None
    timeout: float | None = None


class Job(NamedTuple):
    """A run to make: its settings, whether its weights must be kept and after which epochs, CPU threads, curves, where."""

    settings: Settings
    weights: bool = False
    snapshots: tuple[Moment, ...] = ()
    threads: int = 1
    track: str | None = None
    place: str = ""


Todo = dict[str, Job]


class Sign(NamedTuple):
    """The last sign of life of a run: seconds ago, and the steps done and in all at the end of its last epoch."""

    age: float
    done: int = 0
    total: int = 0


class Lanes(NamedTuple):
    """What makes runs.

    Args:
        submit: starts a run; the future gives its fate.
        stop: asks all runs to save and stop.
        signs: gives the last sign of each run in flight, by key.
        end: kills the worker of a run, by key, which then is as if it had died.
        room: how many runs each place takes, by the place's name; none where the caller decides.
        shared: whether the runs of one place share a process, and so its death.
        threads: CPU threads for each run; None shares the cores of this machine.
    """

    submit: Callable[[Job], Future[str]]
    stop: Event
    signs: Callable[[], Mapping[str, Sign]] = dict
    end: Callable[[str], None] = lambda key: None
    room: Mapping[str, int] = {}
    shared: bool = False
    threads: int | None = None


class WorkerDiedError(Exception):
    """A worker ended before its run.

    Args:
        code: its exit code as `multiprocessing` has it, minus the signal that killed it; None where it is not known.
        told: what else is known, a few words.
    """

    def __init__(self, code: int | None = None, told: str = "") -> None:
        super().__init__(code, told)
        self.code, self.told = code, told

    @property
    def killed(self) -> bool:
        """Whether it was killed as the system does it that has no memory left."""
        return self.code == -signal.SIGKILL

    def __str__(self) -> str:
        if self.code is None or self.code >= 0:
            return self.told or f"exit code {self.code}"
        try:
            name = signal.Signals(-self.code).name
        except ValueError:
            name = f"signal {-self.code}"
        return f"{name}, perhaps for want of memory" if self.killed else name


class Pulse:
    """Where a run leaves its signs of life: three numbers, in memory that another process may see.

    Args:
        cells: when the last sign was, by the clock `time.monotonic`; steps done; steps in all.
        at: where among the cells the three begin.
    """

    def __init__(self, cells: MutableSequence[float], at: int = 0) -> None:
        self.cells, self.at = cells, at

    def beat(self) -> None:
        """Give a sign."""
        self.cells[self.at] = time.monotonic()

    def tell(self, done: int, total: int) -> None:
        """Give a sign, and say how far the run is."""
        self.cells[self.at + 1], self.cells[self.at + 2] = done, total
        self.beat()

    def read(self) -> Sign:
        """Read the last sign."""
        when, done, total = (self.cells[self.at + i] for i in range(3))
        return Sign(time.monotonic() - when, int(done), int(total))


HERE: dict[str, Pulse] = {}  # the runs that this process makes itself, by key


def signs_here() -> dict[str, Sign]:
    """Give the signs of the runs that this process makes itself."""
    return {key: pulse.read() for key, pulse in list(HERE.items())}


def make(job: Job, stop: Callable[[], bool], pulse: Pulse | None = None) -> str:
    """Make a run and give its fate: the status of its record, or "stopped".

    Args:
        job: the run.
        stop: whether to save and stop, asked before each step.
        pulse: where signs of life go; by default into `HERE`.

    Raises:
        ReproError: when the run cannot be made.
        Exception: any other error of the run; its traceback is left in `error.txt` of the run's folder.
    """
    key = job.settings.key()
    kept = pulse or Pulse([0.0, 0, 0])
    if pulse is None:
        HERE[key] = kept
    kept.tell(0, 0)
    try:
        fate = _make(job, stop, kept)
    except Exception as error:
        if lacks_memory(error) and not isinstance(error, FULL):
            raise MemoryError(str(error)) from error
        if not isinstance(error, KNOWN):
            _leave_traceback(key, error)
        raise
    finally:
        if pulse is None:
            del HERE[key]
    (record.folder(key) / "error.txt").unlink(missing_ok=True)
    return fate


def _make(job: Job, stop: Callable[[], bool], pulse: Pulse) -> str:
    def asked() -> bool:
        pulse.beat()
        return stop()

    def trained(report: Callable[[int, int, dict[str, float]], None]) -> Mapping[str, Any]:
        def told(done: int, total: int, row: dict[str, float]) -> None:
            pulse.tell(done, total)
            report(done, total, row)

        given = {"weights": job.weights, "snapshots": job.snapshots, "threads_offered": job.threads}
        return run(job.settings, **given, stop=asked, report=told)

    try:
        return str(tracked(job.track, job.settings, trained)["status"])
    except Stopped:
        return "stopped"


def _leave_traceback(key: str, error: Exception) -> None:
    try:
        files.write(record.folder(key) / "error.txt", "".join(traceback.format_exception(error)))
    except ReproError:  # a full disk: the error itself is told
        return


def reason(error: BaseException, key: str) -> str:
    """Tell in one line why a run failed.

    Args:
        error: what ended it.
        key: of the run.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return "one run alone does not fit into the GPU's memory; lower optim.batch or take a smaller network"
    if isinstance(error, MemoryError):
        return "one run alone does not fit into the memory; lower optim.batch or take a smaller network"
    if isinstance(error, ReproError):
        return str(error)
    told = " ".join(str(error).split())
    kind = "" if isinstance(error, OtherError) else f"{type(error).__name__}: "
    return f"{kind}{told}; where: {record.folder(key) / 'error.txt'}"


class OtherError(Exception):
    """An error of a run in another process, of a kind that need not exist here: its kind and its message."""


def portable(error: Exception) -> Exception:
    """Give an error a form that every process can read."""
    if isinstance(error, KNOWN):
        return type(error)(str(error)) if type(error) in KNOWN else ReproError(str(error))
    return OtherError(f"{type(error).__name__}: {error}")
