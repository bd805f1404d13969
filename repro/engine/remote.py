"""What happens on a node of a cluster: it makes the run it is sent and, where no folder is shared, sends back its files."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ReproError
from ..pruners import custom
from ..settings import Settings
from .job import Job, Pulse, Sign, make, portable
from .parcel import Parcel, pack, unpack

BEAT = 1.0  # seconds between two words with the driver
Beat = Callable[[str, Sign | None], bool]


class Order(NamedTuple):
    """A run to make on some node.

    Args:
        job: the run.
        key: as the driver names it.
        store: the driver's build folder.
        token: a file in it that only who shares the folder sees.
        pruners: the user's own.
        parcels: the runs that this one needs, and itself, with references to their files, where no folder is shared.
    """

    job: Job
    key: str
    store: str
    token: str
    pruners: Sequence[custom.Own]
    parcels: Sequence[tuple[Settings, Any]] = ()


class Answer(NamedTuple):
    """What became of a run: its fate or the error, the node, and its files where the driver does not see them."""

    fate: str
    error: Exception | None
    node: str
    parcel: Parcel


class Bell:
    """Where runs on all nodes leave their signs, and hear that they are to stop: one for each batch."""

    def __init__(self) -> None:
        self.told: dict[str, tuple[float, Sign]] = {}
        self.stopping = False

    def beat(self, key: str, sign: Sign | None) -> bool:
        """Take the sign of a run, None at its end, and tell whether to stop."""
        if sign is None:
            self.told.pop(key, None)
        else:
            self.told[key] = time.monotonic(), sign
        return self.stopping

    def signs(self) -> dict[str, Sign]:
        """Give the last sign of each run; a node that is silent ages."""
        now = time.monotonic()
        return {key: sign._replace(age=sign.age + now - when) for key, (when, sign) in self.told.items()}

    def halt(self) -> None:
        """Ask all runs to save and stop."""
        self.stopping = True


def store_here(store: str) -> Path:
    """Choose a node's build folder: that of its own environment, else the driver's path."""
    return Path(os.environ.get("REPRO_BUILD") or store)


def sees(store: str, token: str) -> bool:
    """Tell whether this node and the driver share the folder."""
    return (store_here(store) / token).exists()


def work(
    order: Order, beat: Beat, parcels: Callable[[], Iterable[tuple[Settings, Parcel]]], node: str
) -> Answer:
    """Make a run on this node.

    Args:
        order: the run, and where things are.
        beat: tells the driver a sign of life, None at the end, and whether to stop; raises when the driver is gone.
        parcels: fetches what the order refers to.
        node: the name of this node, for messages.
    """
    shared = sees(order.store, order.token)
    os.environ["REPRO_BUILD"] = str(store_here(order.store))
    s = order.job.settings
    try:
        for own in order.pruners:
            custom.register(own)
        if s.key() != order.key:
            raise ReproError(
                f"node {node} names the run {s.key()}, not {order.key}: another version of repro"
            )
        if not shared:
            for other, parcel in parcels():
                unpack(other, parcel)
        with _heard(order.key, beat) as (pulse, asked):
            fate, error = make(order.job, asked.is_set, pulse), None
    except Exception as found:  # told to the driver
        fate, error = "failed", portable(found)
    return Answer(fate, error, node, {} if shared else pack(order.key))


@contextmanager
def _heard(key: str, beat: Beat) -> Iterator[tuple[Pulse, threading.Event]]:
    """Keep the driver informed inside the block; without a driver this process ends, so that no orphan trains on."""
    pulse, stop, over = Pulse([time.monotonic(), 0, 0]), threading.Event(), threading.Event()

    def talk() -> None:
        while not over.wait(BEAT):
            try:
                if beat(key, pulse.read()):
                    stop.set()
            except Exception:  # whatever it is, nobody hears us any more
                os._exit(1)

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    try:
        yield pulse, stop
    finally:
        over.set()
        thread.join()
        with suppress(Exception):
            beat(key, None)
