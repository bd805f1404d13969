"""The case about masks that move: what an update costs beside the steps between two updates."""

from __future__ import annotations

from typing import Any

from .. import measure
from ..batches import first_batch, shapes
from ..captured import make_step
from ..materials import precision_for
from ..models import prunable
from ..mover import Mover
from ..step import Step
from .material import Bench, Network, fresh, random_masks, seconds, settings, title
from .store import Row
from .timing import interleaved, ratios, spread

INTERVAL = 100
METHODS = ("set", "rigl", "snfs")
NEVER, DUE = 0, INTERVAL - 1  # numbers of steps at which masks stay, and move


def moves(bench: Bench) -> list[Row]:
    """Time an ordinary step and an update of the masks, which takes a step's place, in turns.

    `share` is the update's surplus over a step, divided by the steps of one interval: the part of the training time
    that moving the masks takes at the published interval of 100.
    """
    rows = []
    for network in bench.size.moves:
        for method in METHODS:
            bench.tell(f"{network[0]}, {method}")
            rows.append(_one(bench, network, method))
    return rows


def _one(bench: Bench, network: Network, method: str) -> Row:
    batch = bench.size.batches[-1]
    more: dict[str, Any] = {"sparse.method": method, "sparse.interval": INTERVAL}
    more |= {"ticket.score": "random", "ticket.allocation": "erk", "ticket.density": 0.1}
    s, data = settings(network, batch, **more), bench.part(batch)
    model = fresh(s, data, bench.device, ours=True)
    masks, layers = random_masks(model), prunable(model)
    precision = precision_for(s, data, bench.device, "auto")
    step: Step = make_step(model, s, masks, precision=precision, shapes=shapes(batch, batch, data.shape))
    step.model.train()
    mover = Mover(s, step, masks, layers, measure.macs(step.model, data.shape), 10 * INTERVAL)
    x, y = first_batch(s, data, bench.device)
    works = {
        "step": lambda: mover(x, y, s.optim.lr, NEVER),
        "update": lambda: mover(x, y, s.optim.lr, DUE),
    }
    times = interleaved(works, bench.rounds(7), warm_up=2, synchronise=bench.synchronise)
    surplus = spread([(ratio - 1) / INTERVAL for ratio in ratios(times["update"], times["step"])])
    about = {**title(network), "batch": batch, "method": f"{method}:erk", "format": precision}
    spent = {"step_s": spread(times["step"]).median, **seconds(times["update"])}
    return about | spent | {"share": surplus.median, "share_low": surplus.low, "share_high": surplus.high}
