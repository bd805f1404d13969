"""What happens inside a worker process: it makes the runs it is sent, gives signs of life, and never outlives its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as ProcessEvent
from typing import Any

import torch

from .. import flight
from ..materials import device
from ..pruners import custom
from .job import FULL, Job, Pulse, make, portable

ENDING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # by which schedulers announce the end of a job
ASKED = {signal.SIGINT, *ENDING}  # the parent hears these and asks its workers
_stream = threading.local()


def settle(pruners: Sequence[custom.Own]) -> None:
    """Settle a new worker process: it ends with its parent, does not hear Ctrl-C, and knows the user's pruners."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent asks us to stop; a run is then saved
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED)
    for own in pruners:
        custom.register(own)


def _end_with_parent() -> None:
    """Leave no orphan that trains on when the parent is killed; its run goes on from the last checkpoint."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def on_stream(job: Job, stop: Any, pulse: Pulse | None = None) -> str:
    """Make a run on this thread's own stream of the GPU, where there is one."""
    if device().type != "cuda":
        return make(job, stop.is_set, pulse)
    if not hasattr(_stream, "own"):
        _stream.own = torch.cuda.Stream()
    with torch.cuda.stream(_stream.own):
        return make(job, stop.is_set, pulse)


def main(link: Connection, stop: ProcessEvent, cells: Any, slots: int, pruners: Sequence[custom.Own]) -> None:
    """Live as a worker: take messages (slot, what, argument) and answer (slot, whether it went well, value).

    A worker with one slot that has run out of memory ends, which gives everything back to the system; one whose GPU is
    in error ends at once, for nothing on it would work again.

    Args:
        link: to the parent; None in it ends the worker once what is in flight has ended.
        stop: asks the runs to save and stop.
        cells: shared memory for signs of life, three numbers for each slot.
        slots: runs at once, each on a thread and stream of its own; with one, on the main thread.
        pruners: the user's own, to be known here too.
    """
    for number in ENDING:  # schedulers send them to parent and workers alike
        signal.signal(number, signal.SIG_IGN)
    settle(pruners)
    sending = threading.Lock()

    def answer(slot: int, what: str, argument: Any) -> bool:
        try:
            found, good = _do(what, argument, stop, Pulse(cells, 3 * slot)), True
        except Exception as error:  # told to whoever asks for the result
            found, good = portable(error), False
            if broken(error):
                link.send((None, False, str(found)))
                os._exit(1)
        with sending:
            link.send((slot, good, found))
        return good or not isinstance(found, FULL)

    with ThreadPoolExecutor(slots) as pool:
        while message := _next(link):
            if slots > 1:
                pool.submit(answer, *message)
            elif not answer(*message):
                return


def broken(error: Exception) -> bool:
    """Tell whether an error has left the GPU unusable for this process, whatever it makes next."""
    return "CUDA error" in str(error) and not isinstance(error, FULL)


def _next(link: Connection) -> tuple[int, str, Any] | None:
    try:
        return link.recv()
    except EOFError:  # the parent is gone
        return None


def _do(what: str, argument: Any, stop: ProcessEvent, pulse: Pulse) -> Any:
    if what == "device":
        return device().type
    return flight.number(argument) if what == "number" else on_stream(argument, stop, pulse)
