"""Runs on a Ray cluster: a task for each, on a share of a GPU or on a core, wherever there is room.

Nodes that see the driver's build folder work in it. Others work in their own, get what a run needs with its task, and
send its files back. Ray itself tries nothing again: `queue` does, as it does for workers of this machine.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from .. import files, flight, paths
from ..errors import ReproError
from ..keeping import kept
from ..lineage import needs
from ..pruners import custom
from ..settings import Settings
from . import remote
from .job import FULL, Engine, Job, Lanes, Sign, WorkerDiedError
from .parcel import pack, unpack

PATIENCE = 120.0  # seconds that the cluster may take to answer
FINEST = 10_000  # parts that Ray divides a GPU into


def require() -> None:
    """Find out before anything is trained whether Ray is there; raise ReproError with one line if not."""
    if find_spec("ray") is None:
        raise ReproError(
            "--engine ray: the library ray is not installed; `pip install 'repro-jackpot[ray]'` gets it"
        )


@contextmanager
def _joined(address: str | None) -> Iterator[Any]:
    """Be part of a cluster inside the block: the one at `address`, that of this machine, or one that is started here."""
    require()
    import ray  # pyright: ignore[reportMissingImports]

    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ReproError(f"--address {address}: no Ray cluster answers ({_first_line(error)})") from None
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class _Stop(threading.Event):
    """The event that asks all runs to stop, told to the nodes too."""

    def __init__(self, halt: Callable[[], Any]) -> None:
        super().__init__()
        self.halt = halt

    def set(self) -> None:
        """Ask."""
        super().set()
        with suppress(Exception):  # the cluster is gone, and its tasks with it
            self.halt()


class Tasks:
    """The tasks of a batch on a cluster.

    Args:
        ray: the library, connected.
        engine: what was asked for.
        n: runs in flight; None for as many as the cluster has room for when the batch begins.
        runs: what is to be made, at least one run.
    """

    def __init__(self, ray: Any, engine: Engine, n: int | None, runs: Sequence[Settings]) -> None:
        self.ray, self.store = ray, str(paths.build().resolve())
        self.token = f".seen-{uuid.uuid4().hex}"
        files.write(paths.build() / self.token, "")
        here = ray.get_runtime_context().get_node_id()
        self.bell = ray.remote(num_cpus=0)(remote.Bell).options(**self._on(here)).remote()
        self.stop = _Stop(lambda: ray.get(self.bell.halt.remote(), timeout=PATIENCE))
        self.shared = self._all_see()
        has = ray.cluster_resources()
        per_gpu = engine.per_gpu or (self._measured(runs) if has.get("GPU") else 1)
        asked = {"num_gpus": FINEST // per_gpu / FINEST, "num_cpus": 0} if has.get("GPU") else {"num_cpus": 1}
        self.task = ray.remote(max_retries=0, **asked)(_task)
        self.room = n or int(has.get("GPU", 0)) * per_gpu or int(has.get("CPU", 1))
        self.pool = ThreadPoolExecutor(self.room)
        self.refs: dict[str, Any] = {}
        self.sent: dict[Any, Any] = {}

    def _on(self, node: str) -> dict[str, Any]:
        kind = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        return {"scheduling_strategy": kind(node, soft=False)}

    def _all_see(self) -> bool:
        """Ask every node whether it sees our folder; this also finds out whether it can import us."""
        ask = self.ray.remote(num_cpus=0, max_retries=0)(remote.sees)
        nodes = [node["NodeID"] for node in self.ray.nodes() if node["Alive"]]
        try:
            asked = [ask.options(**self._on(node)).remote(self.store, self.token) for node in nodes]
            return all(self.ray.get(asked, timeout=PATIENCE))
        except self.ray.exceptions.RayError as error:
            why = _first_line(error)
            raise ReproError(
                f"--engine ray: every node needs this version of repro installed ({why})"
            ) from None

    def _measured(self, runs: Sequence[Settings]) -> int:
        ask = self.ray.remote(num_gpus=1, num_cpus=0, max_retries=0)(flight.number)
        return self.ray.get(ask.remote(list(runs)))

    def _parcels(self, s: Settings) -> list[tuple[Settings, Any]]:
        """Put what a run needs where nodes can fetch it; what changes, its own state, each time anew."""
        if self.shared:
            return []
        for need in needs(s):
            name = need.settings.key(), need.snapshots
            if name not in self.sent and kept(need.settings, need.snapshots):
                self.sent[name] = self.ray.put(pack(need.settings.key(), need.snapshots))
        found = [(n.settings, self.sent.get((n.settings.key(), n.snapshots))) for n in needs(s)]
        own = pack(s.key())
        return [(of, ref) for of, ref in found if ref] + ([(s, self.ray.put(own))] if own else [])

    def submit(self, job: Job) -> Future[str]:
        """Start a run somewhere; a thread of ours waits for it."""
        s = job.settings
        self.ray.get(
            self.bell.beat.remote(s.key(), None), timeout=PATIENCE
        )  # forget signs of an earlier attempt
        order = remote.Order(
            job, s.key(), self.store, self.token, tuple(custom.OWN.values()), self._parcels(s)
        )
        self.refs[s.key()] = self.task.remote(order, self.bell)
        return self.pool.submit(self._await, s, self.refs[s.key()])

    def _await(self, s: Settings, ref: Any) -> str:
        lost = self.ray.exceptions
        try:
            answer: remote.Answer = self.ray.get(ref)
        except lost.OutOfMemoryError:
            raise MemoryError from None
        except lost.RayTaskError as error:
            raise ReproError(f"a node cannot make it: {_first_line(error)}") from None
        except lost.RayError as error:
            raise WorkerDiedError(told=f"Ray: {type(error).__name__}: {_first_line(error)}") from None
        if answer.parcel:
            unpack(s, answer.parcel)
        if answer.error:
            known = isinstance(answer.error, FULL)
            raise answer.error if known else ReproError(f"node {answer.node}: {answer.error}")
        return answer.fate

    def signs(self) -> dict[str, Sign]:
        """Give the last sign of each run that a node has begun, by key."""
        with suppress(Exception):  # nothing is known; a run that is lost tells so itself
            return self.ray.get(self.bell.signs.remote(), timeout=PATIENCE)
        return {}

    def end(self, key: str) -> None:
        """Kill the worker that makes a run."""
        self.ray.cancel(self.refs[key], force=True)

    def close(self) -> None:
        """Ask all runs to save and stop, and wait for them; whatever interrupts the waiting kills what is left."""
        self.stop.set()
        try:
            self.pool.shutdown(wait=True, cancel_futures=True)
        finally:
            for ref in self.refs.values():
                self.ray.cancel(ref, force=True)
            (paths.build() / self.token).unlink(missing_ok=True)


def _task(order: remote.Order, bell: Any) -> remote.Answer:
    """Make a run on a node: what `remote.work` does, spoken to through Ray."""
    import ray  # pyright: ignore[reportMissingImports]

    def beat(key: str, sign: Sign | None) -> bool:
        return ray.get(bell.beat.remote(key, sign), timeout=PATIENCE)

    def parcels() -> list[tuple[Settings, Any]]:
        return [(s, ray.get(ref)) for s, ref in order.parcels]

    return remote.work(order, beat, parcels, ray.util.get_node_ip_address())


@contextmanager
def cluster(engine: Engine, n: int | None, jobs: Sequence[Job]) -> Iterator[Lanes]:
    """Make runs on a Ray cluster.

    Args:
        engine: says which, and how many runs share a GPU.
        n: runs in flight; None for as many as there is room for when the batch begins.
        jobs: what is to be made, at least one.

    Raises:
        ReproError: when Ray is not installed, no cluster answers, or a node lacks this package.
    """
    with _joined(engine.address) as ray:
        tasks = Tasks(ray, engine, n, [job.settings for job in jobs])
        try:
            yield Lanes(tasks.submit, tasks.stop, tasks.signs, tasks.end, {"": tasks.room}, threads=1)
        finally:
            tasks.close()
