"""How many runs to keep in flight: one for each core, or on a GPU what measurement and memory allow."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from . import files, measure, paths
from .batches import first_batch, shapes
from .captured import Captured, cuda_graph
from .data import Data
from .errors import ReproError
from .materials import data_of, device, network, precision_for, total_macs
from .settings import Settings
from .text import sized

LIMIT = 2**20  # bytes of the file that keeps what was measured
LADDER = (1, 2, 4, 8, 16)
WORTH = 1.05  # more in flight must bring this factor, or the smaller number is kept
SPARE = 0.8  # share of the free memory that steps may take: evaluation and tickets need some, too
AHEAD = 8  # steps that a thread may start before the device has done them
SECONDS = 0.5  # of measuring, for each number


def number(runs: Sequence[Settings]) -> int:
    """Choose how many of `runs` to make at once; on a GPU measured once for the largest network and kept.

    Args:
        runs: what is to be made, at least one.
    """
    where = device()
    if where.type != "cuda":
        return os.cpu_count() or 1
    largest = max(runs, key=lambda s: total_macs(s, data_of(s)) * s.optim.batch)
    data = data_of(largest)
    name = _name(largest, data, where)
    path = paths.build() / "flight.json"
    known = _known(path)
    if name not in known:
        known[name] = {str(n): rate for n, rate in rates(largest, data, where).items()}
        files.write(path, json.dumps(known, indent=1, sort_keys=True) + "\n")
    return best({int(n): rate for n, rate in known[name].items()})


def _known(path: Path) -> dict[str, dict[str, float]]:
    """Read what was measured before; what of it is damaged is measured again."""
    try:
        found = json.loads(sized(path, LIMIT))
        return {
            k: v for k, v in found.items() if v and all(int(n) > 0 and rate >= 0 for n, rate in v.items())
        }
    except (ReproError, ValueError, AttributeError, TypeError, RecursionError):
        return {}


def _name(s: Settings, data: Data, where: torch.device) -> str:
    """Name what the rates are measured for; the multiply-accumulates tell width and other options of a model apart."""
    kind = f"{s.model.name} of {total_macs(s, data)} {data.shape}"
    return f"{measure.device_name(where)} {kind} {s.optim.batch} {s.precision}"


def best(measured: Mapping[int, float]) -> int:
    """Choose the smallest number in flight that no larger one beats by the factor WORTH.

    Args:
        measured: steps per second of all runs together, by the number in flight; at least one entry.
    """
    order = sorted(measured)
    return next(n for n in order if all(measured[m] < WORTH * measured[n] for m in order if m > n))


def fits(n: int, footprint: int, free: int) -> bool:
    """Tell whether `n` steps of `footprint` bytes each go into the spare part of `free` bytes."""
    return n * footprint <= SPARE * free


def rates(s: Settings, data: Data, where: torch.device) -> dict[int, float]:
    """Measure steps per second for growing numbers in flight, until memory or gain ends.

    Args:
        s: the run whose step is captured.
        data: its images.
        where: a CUDA device.

    Returns:
        At least the rate of one; 0 where even one does not fit, which the run itself will tell.
    """
    free, _ = torch.cuda.mem_get_info(where)
    found: dict[int, float] = {}
    for n in LADDER:
        torch.cuda.reset_peak_memory_stats(where)
        before = torch.cuda.memory_allocated(where)
        try:
            found[n] = throughput(s, data, n, SECONDS)
        except torch.OutOfMemoryError:
            break
        footprint = (torch.cuda.max_memory_allocated(where) - before) // n
        torch.cuda.empty_cache()
        if not fits(2 * n, footprint, free) or best(found) < n:
            break
    return found or {1: 0.0}


def throughput(s: Settings, data: Data, in_flight: int, seconds: float) -> float:
    """Measure steps per second of `in_flight` captured runs together, each on a stream and thread of its own.

    Args:
        s: the run whose step is captured.
        data: its images, on any device.
        in_flight: how many.
        seconds: how long.
    """
    where = device()
    ready, over = threading.Barrier(in_flight + 1), threading.Event()
    counts, errors = [0] * in_flight, list[BaseException]()

    def fly(i: int) -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                step, x, y = _sample(s, data, where)
                ready.wait()
                while not over.is_set():
                    step(x, y, s.optim.lr)
                    counts[i] += 1
                    if counts[i] % AHEAD == 0:
                        torch.cuda.current_stream().synchronize()
                torch.cuda.current_stream().synchronize()
            ready.wait()
        except BaseException as error:  # told by the thread that waits
            errors.append(error)
            ready.abort()

    threads = [threading.Thread(target=fly, args=(i,), daemon=True) for i in range(in_flight)]
    for thread in threads:
        thread.start()
    try:
        ready.wait()
        began = time.monotonic()
        time.sleep(seconds)
        over.set()
        ready.wait()
        spent = time.monotonic() - began
    except threading.BrokenBarrierError:
        raise next(e for e in errors if not isinstance(e, threading.BrokenBarrierError)) from None
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return sum(counts) / spent


def _sample(s: Settings, data: Data, where: torch.device) -> tuple[Captured, torch.Tensor, torch.Tensor]:
    """Make a captured step of the dense network and one batch for it."""
    model = network(s, data).to(device=where, memory_format=torch.channels_last)  # pyright: ignore
    sizes = shapes(len(data.train.labels), s.optim.batch, data.shape)[:1]
    step = Captured(model, s, None, precision_for(s, data, where), sizes, cuda_graph)
    return step, *first_batch(s, data, where)
