"""Cases about larger work: cost against width, density and number of runs, and a whole table of runs."""

from __future__ import annotations

import os
import tempfile
import time

from ..batches import first_batch
from ..captured import make_step
from ..errors import ReproError
from ..flight import number
from ..grids import expand
from ..masks import Masks
from ..materials import data_of
from ..pool import run_all
from ..settings import Settings
from .ceilings import training_gflop
from .inflight import fleet_of, random_images, throughput
from .material import SMALL, Bench, Rival, compare, cores, formats, fresh, random_masks, seconds, settings
from .speed import plain_epoch
from .store import Row
from .timing import interleaved


def scaling(bench: Bench) -> list[Row]:
    """Measure how the cost of a step grows with width and density, and that of a table with the number of runs.

    Masks are simulated: a pruned weight is multiplied by zero like any other number. So the density should cost
    nothing, neither more nor less; these rows show it.
    """
    name, width = bench.size.networks[0]
    rows = []
    for factor in (0.5, 1.0, 2.0):
        rows += _timed(bench, settings((name, factor)), {"axis": "width", "value": factor}, None)
    for density in (1.0, 0.1, 0.02):
        about = {"axis": "density", "value": density}
        rows += _timed(bench, settings((name, width)), about, density)
    s = settings((name, width)) if bench.device.type == "cuda" else expand([SMALL], source="bench")[0]
    data = random_images(s, bench.data.shape if bench.device.type == "cuda" else (1, 8, 8))
    with fleet_of(bench) as fleet:
        for n in [n for n in bench.size.in_flight if n <= 4]:
            bench.tell(f"{n} runs")
            rates = [throughput(bench, s, data, n, fleet) for _ in range(bench.rounds(3))]
            about = {"axis": "runs", "value": n, "model": s.model.name, "batch": s.optim.batch}
            about["width"] = s.model.options("name")["width"]
            rows.append(about | {"loop": "ours"} | seconds([1000 * n / rate for rate in rates]))
    return rows


def _timed(bench: Bench, s: Settings, about: Row, density: float | None) -> list[Row]:
    bench.tell(f"{about['axis']} {about['value']}")
    data = random_images(s, bench.data.shape)
    model = fresh(s, data, bench.device, ours=True)
    masks: Masks | None = random_masks(model, density) if density else None
    x, y = first_batch(s, data, bench.device)
    precision = formats(s, data, bench.device)[-1]
    update = make_step(model, s, masks, precision=precision, shapes=[tuple(x.shape)])
    update.model.train()
    rivals = {"ours": Rival(lambda: update(x, y, s.optim.lr), precision)}
    told = about | {"model": s.model.name, "width": s.model.options("name")["width"], "batch": len(y)}
    rows = compare(bench, rivals, bench.rounds(5), told, per_turn=bench.size.per_turn)
    return [r | {"gflop_per_s": training_gflop(s, data, len(y)) / r["median_s"]} for r in rows]


def table(bench: Bench) -> list[Row]:
    """Measure a table of runs as `repro run` makes them, records and all, against epochs of the plain loop.

    Both train and evaluate after each epoch, on the same images. On a CPU the runs are those of the quick report's
    small network on digits; on a GPU they are the large networks on CIFAR-10, which must be there.
    """
    rows = []
    for base in _table_settings(bench):
        s = base[0]
        data = data_of(s).to(bench.device)
        bench.tell(f"plain epoch of {s.model.name}")
        one = plain_epoch(s, data_of(s), bench)
        times = interleaved({"": one}, bench.rounds(3), synchronise=bench.synchronise)[""]
        n = len(data.train.labels)
        about = {"model": s.model.name, "width": s.model.options("name")["width"], "batch": s.optim.batch}
        about |= {"images": n, "cores": cores()}
        plain = about | {"loop": "plain", "runs": 1, "in_flight": 1, **seconds(times)}
        rows.append(plain | {"images_per_s": n / plain["median_s"]})
        bench.tell(f"{len(base)} runs of {s.model.name}")
        spent, flying = _made(base)
        rate = n * s.optim.epochs * len(base) / spent
        ours = about | {"loop": "ours", "runs": len(base), "in_flight": flying, **seconds([spent])}
        ours |= {"images_per_s": rate, "speed_up": rate / rows[-1]["images_per_s"]}
        rows.append(ours | {"s_per_160_epochs": 160 * n / rate})
    return rows


def _table_settings(bench: Bench) -> list[list[Settings]]:
    seeds = list(range(bench.size.runs or 8 * cores()))
    if bench.device.type != "cuda":
        return [expand([SMALL | {"seed": seeds}], source="bench")]
    grid = {"optim.epochs": 2, "seed": seeds}
    found = []
    for name, width in bench.size.networks:
        base = {"recipe": "answer42", "data.name": "cifar10", "model.name": name, "model.width": width}
        found.append(expand([base | grid], source="bench"))
    return found


def _made(runs: list[Settings]) -> tuple[float, int]:
    """Make runs in a build folder of their own; give the seconds and the number in flight."""
    before = os.environ.get("REPRO_BUILD")
    with tempfile.TemporaryDirectory(prefix="repro-bench-") as folder:
        os.environ["REPRO_BUILD"] = folder
        try:
            flying = min(number(runs), len(runs))
            began = time.perf_counter()
            frame = run_all(runs)
            spent = time.perf_counter() - began
        finally:
            os.environ.pop("REPRO_BUILD") if before is None else os.environ.update(REPRO_BUILD=before)
    if not frame["status"].eq("done").all():
        raise ReproError(f"bench: runs of the table ended as {', '.join(sorted(set(frame['status'])))}")
    return spent, flying
