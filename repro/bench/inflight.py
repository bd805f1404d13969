"""The case of runs in flight: training steps per second of several runs together."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from .. import flight as on_card
from ..batches import first_batch
from ..captured import make_step
from ..data import Data, Split
from ..errors import ReproError
from ..grids import expand
from ..materials import precision_for, threads
from ..rng import stream
from ..settings import Settings
from ..workers import deaf, workers_of
from .ceilings import training_gflop
from .material import SMALL, Bench, formats, fresh, settings
from .speed import our_step, plain_loop
from .store import Row
from .timing import interleaved, spread

PATIENCE = 300.0  # seconds that workers wait for each other


def flight(bench: Bench) -> list[Row]:
    """Measure training steps per second of all runs together: 1, 2, 4 and 8 in flight, and the plain loop.

    On a CPU, runs in flight are long-lived processes of one thread, beside one run with all threads; on a GPU they
    are captured steps on streams of one process. Each run repeats a step on its own batch.
    """
    rows = []
    with fleet_of(bench) as fleet:
        for s, data in _kinds(bench):
            rates: dict[str, list[float]] = {}
            for _ in range(bench.rounds(2)):
                for name, measured in _ways(bench, s, data, fleet):
                    rates.setdefault(name, []).append(measured)
            rows += _flight_rows(bench, s, data, rates)
    return rows


def _kinds(bench: Bench) -> Iterator[tuple[Settings, Data]]:
    """Give the small network of the quick report, and the first large one; on a GPU all large ones."""
    if bench.device.type != "cuda":
        s = expand([SMALL], source="bench")[0]
        yield s, random_images(s, (1, 8, 8))
    for network in bench.size.networks[: None if bench.device.type == "cuda" else 1]:
        s = settings(network)
        yield s, random_images(s, bench.data.shape)


def random_images(s: Settings, shape: tuple[int, int, int]) -> Data:
    """Make one batch of random pixels: the time of a step does not depend on what is on them."""
    n, generator = s.optim.batch, stream(0, "bench", "batch")
    pixels = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
    split = Split(pixels, torch.arange(n) % 10)
    return Data(s.data.name, split, None, split, 10)


def _ways(
    bench: Bench, s: Settings, data: Data, fleet: ProcessPoolExecutor | None
) -> Iterator[tuple[str, float]]:
    words = f"{s.model.name}, batch {s.optim.batch}"
    bench.tell(f"plain loop, {words}")
    x, y = first_batch(s, data, bench.device)
    loop = plain_loop(s, data, bench)
    loop.model.train()
    flat = x.contiguous()
    yield "plain", _rate(lambda: loop.step(flat, y), bench)
    if fleet:
        update = our_step(s, data, bench, formats(s, data, bench.device)[-1], masked=False)
        yield "one run, all threads", _rate(lambda: update(x, y, s.optim.lr), bench)
    for n in bench.size.in_flight:
        bench.tell(f"{n} in flight, {words}")
        yield f"{n} in flight", throughput(bench, s, data, n, fleet)


def _rate(call: Callable[[], object], bench: Bench) -> float:
    """Count calls per second, over the seconds of one measurement."""
    call()
    once = interleaved({"": call}, 1, warm_up=0, synchronise=bench.synchronise)[""][0]
    turns = max(1, round(bench.size.seconds / once))
    return 1 / interleaved({"": call}, 1, warm_up=0, per_turn=turns, synchronise=bench.synchronise)[""][0]


def _flight_rows(bench: Bench, s: Settings, data: Data, rates: dict[str, list[float]]) -> list[Row]:
    settled, rows = formats(s, data, bench.device)[-1], []
    plain = spread(rates["plain"]).median
    for name, found in rates.items():
        loop, count, gflop = ("plain" if name == "plain" else "ours"), name.split()[0], spread(found)
        row: Row = {"model": s.model.name, "width": s.model.options("name")["width"], "batch": s.optim.batch}
        row |= {"image_size": data.shape[-1], "loop": loop, "way": name}
        row["in_flight"] = int(count) if count.isdecimal() else 1
        row |= {"format": "float32" if loop == "plain" else settled, "n": gflop.n}
        row |= {"steps_per_s": gflop.median, "low_steps_per_s": gflop.low, "high_steps_per_s": gflop.high}
        row["images_per_s"] = gflop.median * s.optim.batch
        row["gflop_per_s"] = training_gflop(s, data, s.optim.batch) * gflop.median
        rows.append(row if loop == "plain" else row | {"speed_up": gflop.median / plain})
    return rows


@contextmanager
def fleet_of(bench: Bench) -> Iterator[ProcessPoolExecutor | None]:
    """Keep worker processes for a CPU; a GPU needs none."""
    if bench.device.type == "cuda":
        yield None
        return
    with workers_of(max(bench.size.in_flight)) as pool:
        yield pool


def throughput(bench: Bench, s: Settings, data: Data, n: int, fleet: ProcessPoolExecutor | None) -> float:
    """Measure the steps per second of `n` dense runs together.

    Args:
        bench: gives the device and the length of the measurement.
        s: network, batch and optimiser.
        data: one batch.
        n: how many.
        fleet: at least as many idle processes; None on a GPU.
    """
    if fleet is None:
        return on_card.throughput(s, data, n, bench.size.seconds)
    with tempfile.TemporaryDirectory(prefix="repro-bench-") as folder, deaf():
        going = [fleet.submit(spin, s, data, folder, n, bench.size.seconds) for _ in range(n)]
        return sum(future.result() for future in going)


def spin(s: Settings, data: Data, folder: str, n: int, seconds: float) -> float:
    """Repeat a training step in this process with one thread; give steps per second.

    Args:
        s: network, batch and optimiser.
        data: one batch.
        folder: where processes tell each other that they are ready, and that they are done.
        n: how many processes there are.
        seconds: how long.
    """
    with threads(1):
        cpu = torch.device("cpu")
        model = fresh(s, data, cpu, ours=True)
        precision = precision_for(s, data, cpu, "auto")
        update, (x, y) = make_step(model, s, precision=precision), first_batch(s, data, cpu)
        update.model.train()
        update(x, y, s.optim.lr)
        _meet(Path(folder), "ready", n)
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            update(x, y, s.optim.lr)
            done += 1
        rate = done / (time.perf_counter() - began)
        _meet(Path(folder), "done", n, lambda: update(x, y, s.optim.lr))
    return rate


def _meet(folder: Path, what: str, n: int, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Wait until `n` processes have come to this point, doing something meanwhile."""
    (folder / f"{what}-{os.getpid()}").touch()
    began = time.monotonic()
    while len(list(folder.glob(f"{what}-*"))) < n:
        if time.monotonic() - began > PATIENCE:
            raise ReproError(f"bench: of {n} processes some did not come to be {what}; is memory short?")
        meanwhile()
        time.sleep(0.005)
