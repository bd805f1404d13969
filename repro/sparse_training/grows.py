"""Where a mask update grows new entries: a menu. Every function marks exactly k of the free places."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..pruners.select import top_k
from .views import View

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


GROWS: dict[str, Grow] = {
    "random": random,
    "random_unfired": random_unfired,
    "gradient": gradient,
    "momentum": momentum,
}


def by_chance(free: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Mark each free place by itself with probability k / free: about k of them, as two published codes do."""
    return free & (_noise(free, generator) < k / max(1, int(free.count_nonzero())))


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=like.device)


def _best(worth: Tensor, places: Tensor, k: int) -> Tensor:
    return top_k(worth.masked_fill(~places, -math.inf), k)
