"""How the dropped entries are shared out between layers when they grow again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .views import View

FULL = 0.99  # of its free places a layer may fill

STATISTICS: dict[str, Callable[[View], Tensor]] = {
    "nonzero": lambda view: torch.tensor(float(view.kept), device=view.weight.device),
    "momentum": lambda view: _mean(view.momentum, view),
    "gradient": lambda view: _mean(view.gradient, view),
}


def _mean(values: Tensor | None, view: View) -> Tensor:
    assert values is not None
    return (values.abs() * view.mask).sum() / max(1, view.kept)


def layer_shares(views: Sequence[View], statistic: str) -> list[float]:
    """Give each layer's share of a statistic, so that they sum to one.

    Source: Dettmers and Zettlemoyer 2019 (SNFS); Sundar and Dwaraknath 2021, code.

    Args:
        views: the layers.
        statistic: "momentum" or "gradient": its mean size over the living entries; "nonzero": their number.
    """
    return normed(torch.stack([STATISTICS[statistic](view).float() for view in views]).tolist())


def normed(values: Sequence[float]) -> list[float]:
    """Divide values, at least 0, by their sum; where all are 0 they share alike."""
    total = math.fsum(values)
    return [v / total if total > 0 else 1 / len(values) for v in values]


def apportion(shares: Sequence[float], total: int, room: Sequence[int], *, full: float = FULL) -> list[int]:
    """Share out a whole number of entries: proportional to shares, within the room of each layer, exactly.

    What a layer cannot take is spread evenly over those that can; whole numbers come by largest remainder, the
    earlier layer first. A layer fills at most the share `full` of its room, unless the sum needs more.
    Differs from the reference (Sundar and Dwaraknath 2021, code), which rounds each layer by itself and
    corrects the total in later updates.

    Args:
        shares: one for each layer, of sum one.
        total: entries to share out, at most the sum of `room`.
        room: places of each layer.
        full: share of its room that a layer may fill, in (0, 1].
    """
    cap = [math.floor(full * r) for r in room]
    cap = cap if sum(cap) >= total else list(room)
    exact = _fill([share * total for share in shares], total, cap)
    counts = [min(c, math.floor(x + 1e-9)) for x, c in zip(exact, cap, strict=True)]
    while missing := total - sum(counts):
        below = [i for i, c in enumerate(cap) if counts[i] < c]
        order = sorted(below, key=lambda i: round(counts[i] - exact[i], 6))  # noise is no remainder
        for i in order[:missing]:
            counts[i] += 1
    return counts


def _fill(wanted: list[float], total: int, cap: Sequence[int]) -> list[float]:
    """Cut what exceeds the caps and spread it evenly over the layers below theirs, until none exceeds."""
    while True:
        got = [min(w, c) for w, c in zip(wanted, cap, strict=True)]
        open_layers = [i for i, c in enumerate(cap) if got[i] < c]
        over = total - math.fsum(got)
        if over < 1e-6 or not open_layers:
            return got
        for i in open_layers:
            got[i] += over / len(open_layers)
        wanted = got
