"""The case of number formats: does bfloat16 reach the accuracy of float32 on real images?"""

from __future__ import annotations

from statistics import stdev

from .. import stats
from ..data.store import require
from ..errors import ReproError
from ..grids import expand
from ..paths import data as data_folder
from ..pool import run_all
from ..settings import Settings
from .material import Bench
from .store import Row

SEEDS = 5
FORMATS = ("float32", "bfloat16")


def runs(bench: Bench) -> dict[str, list[Settings]]:
    """List the runs by number format: ordinary ones, so that they are kept, resumed and never made twice."""
    seeds = list(range(bench.rounds(SEEDS)))
    base = {"recipe": "answer42", "data.name": "cifar10", **dict(bench.size.train), "seed": seeds}
    return {name: expand([base | {"precision": name}], source="bench") for name in FORMATS}


def precision(bench: Bench) -> list[Row]:
    """Train some seeds in float32 and in bfloat16 and compare final accuracies, paired by seed.

    Pairs share initial weights and the order of the data. The interval of the difference is two-sided, 95 %; it is
    set beside the standard deviation over seeds.

    Raises:
        ReproError: when CIFAR-10 is not there, or a run did not finish.
    """
    require("cifar10", data_folder())
    planned = runs(bench)
    frame = run_all([s for part in planned.values() for s in part])
    lost = frame[~frame["status"].eq("done")]
    if len(lost):
        run = lost.iloc[0]
        raise ReproError(
            f"bench: run {run['key']} of `precision` {run['status']}: {run['reason'] or 'no reason told'}"
        )
    accuracy = dict(zip(frame["key"], frame["accuracy"], strict=True))
    found = {name: [float(accuracy[s.key()]) for s in part] for name, part in planned.items()}
    first = planned["float32"][0]
    about = {"model": first.model.name, "width": first.model.options("name")["width"]}
    about |= {"images": first.data.subset or 50_000, "epochs": first.optim.epochs, "batch": first.optim.batch}
    return [about | row for row in compared(found)]


def compared(found: dict[str, list[float]]) -> list[Row]:
    """Set accuracies in two number formats side by side.

    Args:
        found: accuracies in percent by format, "float32" first, in the order of the seeds.
    """
    rows: list[Row] = []
    for name, values in found.items():
        mean, low, high = stats.interval(values)
        row: Row = {"format": name, "n": len(values), "accuracy_percent": mean, "accuracy_low": low}
        row |= {"accuracy_high": high, "deviation_points": stdev(values) if len(values) > 1 else None}
        rows.append(row | {"each_percent": values})
    pairs = [b - a for a, b in zip(*(found[name] for name in FORMATS), strict=True)]
    ends = stats.interval(pairs)
    rows[-1] |= {"difference_points": ends.mean, "difference_low": ends.low, "difference_high": ends.high}
    return [{k: None if v != v else v for k, v in row.items()} for row in rows]
