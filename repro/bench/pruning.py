"""Cases about pruning: the time that a mask takes, and the memory."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

from .. import measure
from ..batches import first_batch
from ..captured import make_step
from ..data import balanced_batch, normalise
from ..materials import precision_for
from ..models import prunable
from ..pruners import Context, make_masks
from ..rng import stream
from ..settings import Settings
from .material import Bench, Network, Rival, compare, fresh, random_masks, settings, title
from .reference_masks import PLAIN
from .store import Row

MASK_DENSITY = 0.1
OURS: dict[str, dict[str, Any]] = {  # arguments of make_masks that ask for what PLAIN has
    "snip": {"score": "snip"},
    "grasp": {"score": "grasp"},
    "synflow": {"score": "synflow"},
    "erk": {"score": "random", "allocation": "erk"},
    "smart_ratio": {"score": "random", "allocation": "smart_ratio"},
}
ROUNDS = {"snip": 3, "grasp": 3, "synflow": 1, "erk": 5, "smart_ratio": 5}  # SynFlow the plain way: a minute
FEW = 3  # iterations of SynFlow that show its peak of memory; the others repeat them


def context(bench: Bench, network: Network, density: float = MASK_DENSITY) -> Context:
    """Make what a score looks at: the network at its initial weights, and a fixed balanced batch of 100 images."""
    s, data = settings(network), bench.data
    model = fresh(s, data, bench.device, ours=False)
    chosen = balanced_batch(data.train, 10, data.classes, stream(0, "bench", "sample"))
    x = normalise(data.train.images[chosen], *data.constants(), torch.contiguous_format).to(bench.device)
    y = data.train.labels[chosen].to(bench.device)
    return Context(
        model=model,
        layers=prunable(model),
        generator=stream(0, "bench", "ticket"),
        shape=data.shape,
        classes=data.classes,
        sample=lambda per_class, draw: (x, y),
        density=density,
    )


def masks(bench: Bench) -> list[Row]:
    """Time whole masks, scores and selection, of a network at its initial weights.

    Both ways look at the same batch of 100 images, drawn beforehand. Both are measured without a warm-up where one
    takes longer than a few seconds.
    """
    ctx, rows = context(bench, bench.size.masks), []
    for name, plain in PLAIN.items():
        bench.tell(f"{name}, {bench.size.masks[0]}")
        ours, options = dict(OURS[name]), {}
        about = {**title(bench.size.masks), "method": name, "density": MASK_DENSITY}
        if name == "synflow":
            options = {"iterations": bench.size.synflow}
            ours["score_options"] = options
            about |= options
        format = "float64" if name == "synflow" else "float32"
        rivals = {
            "plain": Rival(lambda plain=plain, o=options: plain(ctx, **o), format),
            "ours": Rival(lambda o=ours: make_masks(ctx, **o), format),
        }
        warm_up = 0 if ROUNDS[name] == 1 else 1
        rows += compare(bench, rivals, bench.rounds(ROUNDS[name]), about, warm_up=warm_up)
    return rows


def memory(bench: Bench) -> list[Row]:
    """Measure the peak of memory, each kind of work in a process of its own.

    What counts is what comes on top of the libraries: network, gradients, activations, scores. `of_training` sets
    it against the training of a batch of 128 in the number format that runs settle on. SynFlow does few iterations.
    """
    rows: list[Row] = []
    for work in WORKS:
        bench.tell(f"memory of {work}")
        rows.append({**title(bench.size.masks), "work": work, "n": 1, **_alone(bench, work)})
    footprint = rows[0]["peak_mib"]
    return [row | {"of_training": row["peak_mib"] / footprint} for row in rows]


def _alone(bench: Bench, work: str) -> Row:
    """Do some work in a fresh process and give its peak."""
    few = dataclasses.replace(bench, tell=print, data=bench.part(200).to("cpu"))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(peak, few, work).result()


def peak(bench: Bench, work: str) -> Row:
    """Do some work in this process, which should be fresh, and give the MiB that it took at most.

    Args:
        bench: device, data and network.
        work: an entry of WORKS.
    """
    s = settings(bench.size.masks)
    if bench.device.type == "cuda":
        torch.zeros(1, device=bench.device)
    measure.reset_peak_memory(bench.device)
    before = measure.peak_memory_mb(bench.device)
    rest = WORKS[work](bench, s)
    after = measure.peak_memory_mb(bench.device)
    return {"peak_mib": after - before, "process_mib": after, **rest}


def _train(bench: Bench, s: Settings) -> Row:
    precision = precision_for(s, bench.data, bench.device, "auto")
    data = bench.part(len(bench.data.train.labels))
    model = fresh(s, data, bench.device, ours=True)
    x, y = first_batch(s, data, bench.device)
    update = make_step(model, s, random_masks(model), precision=precision, shapes=[tuple(x.shape)])
    update.model.train()
    for _ in range(3):
        update(x, y, s.optim.lr)
    bench.synchronise()
    return {"batch": len(y), "format": precision}


def _score(name: str, **options: Any) -> Callable[[Bench, Settings], Row]:
    def work(bench: Bench, s: Settings) -> Row:
        make_masks(context(bench, bench.size.masks), score=name, score_options=options)
        return {
            "batch": 1 if name == "synflow" else 100,
            "format": "float64" if name == "synflow" else "float32",
        }

    return work


WORKS: dict[str, Callable[[Bench, Settings], Row]] = {
    "training": _train,
    "snip": _score("snip"),
    "grasp": _score("grasp"),
    "synflow": _score("synflow", iterations=FEW),
}
