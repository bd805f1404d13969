"""Where a mask update grows new entries: a menu. Every function marks exactly k of the free places."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..pruners.select import top_k
from .shares import apportion, normed
from .views import View

FEWEST = 10  # entries that a neuron grows, or else none

Grow = Callable[[View, Tensor, int, torch.Generator], Tensor]


def random(view: View, free: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Grow anywhere (Mocanu et al. 2018, SET)."""
    return _best(_noise(free, generator), free, k)


def random_unfired(view: View, free: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Grow where no entry has ever lived, and anywhere once that is used up (Liu et al. 2021, ITOP)."""
    assert view.explored is not None
    return _best(_noise(free, generator) + (~view.explored).float(), free, k)


def gradient(view: View, free: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Grow where the loss has the steepest slope |g| (Evci et al. 2020, RigL)."""
    assert view.gradient is not None
    return _best(view.gradient.abs(), free, k)


def momentum(view: View, free: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Grow where the running mean of slopes is largest, |m| (Dettmers and Zettlemoyer 2019, SNFS)."""
    assert view.momentum is not None
    return _best(view.momentum.abs(), free, k)


def momentum_neuron(view: View, free: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Grow by |m| within each output neuron, which grows its share of the mean |m| over its living entries.

    Source: Dettmers and Zettlemoyer 2019, code, kept by Liu et al. 2022 (random pruning), code.

    Whole numbers come by largest remainder; what a full neuron cannot take is spread evenly over those that can.
    Neurons that would grow fewer than ten then grow none, if the others have room for all.
    Differs from the reference: that takes the mean over pruned entries too, and what full and small neurons do not
    take, and ties of |m|, it does not grow at all, so that the density falls; ours grows exactly k.
    """
    assert view.momentum is not None
    size = view.momentum.abs().reshape(view.rows, -1)
    lives, places = view.mask.reshape_as(size), free.reshape_as(size)
    means = ((size * lives).sum(1) / lives.sum(1).clamp(min=1)).tolist()
    counts = torch.tensor(_by_neuron(means, k, places.sum(1).tolist()), device=size.device)
    order = size.masked_fill(~places, -math.inf).sort(dim=1, descending=True, stable=True).indices
    best = torch.arange(size.shape[1], device=size.device) < counts[:, None]
    return torch.zeros_like(places).scatter(1, order, best).flatten()


def _by_neuron(means: list[float], k: int, room: list[int]) -> list[int]:
    """Share out k entries by the means, within the room of each neuron."""
    counts = apportion(normed(means), k, room, full=1.0)
    wide = [r if n >= FEWEST else 0 for n, r in zip(counts, room, strict=True)]
    if sum(wide) < k:
        return counts
    return apportion(normed([m if r else 0.0 for m, r in zip(means, wide, strict=True)]), k, wide, full=1.0)


GROWS: dict[str, Grow] = {
    "random": random,
    "random_unfired": random_unfired,
    "gradient": gradient,
    "momentum": momentum,
    "momentum_neuron": momentum_neuron,
}


def by_chance(free: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Mark each free place by itself with probability k / free: about k of them, as two published codes do."""
    return free & (_noise(free, generator) < k / max(1, int(free.count_nonzero())))


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=like.device)


def _best(worth: Tensor, places: Tensor, k: int) -> Tensor:
    return top_k(worth.masked_fill(~places, -math.inf), k)
