"""One update of masks: views of the layers in, new masks out. Nothing is changed in place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .drops import DROPS
from .grows import GROWS, by_chance
from .plans import Regrow
from .shares import apportion, layer_shares
from .views import View

Views = Mapping[str, View]
ALMOST_FULL = 0.2  # share of pruned weights under which `temper` takes effect


def quotas(views: Sequence[View], regrow: Regrow, alpha: float) -> list[int]:
    """Count how many entries each layer drops.

    Args:
        views: the layers.
        regrow: rounding, temper and redistribution are used.
        alpha: fraction of the living entries to drop, in [0, 1].
    """
    fractions = [alpha] * len(views)
    if regrow.temper:
        shares = layer_shares(views, "nonzero" if regrow.redistribute == "none" else regrow.redistribute)
        for i, (view, share) in enumerate(zip(views, shares, strict=True)):
            pruned = (view.mask.numel() - view.kept) / view.mask.numel()
            if pruned < ALMOST_FULL and share > 1 / len(views):
                fractions[i] = min(pruned, alpha)
    elif regrow.redistribute == "none":
        fractions = [0.0 if v.kept == v.mask.numel() else alpha for v in views]
    whole = math.ceil if regrow.rounding == "ceil" else math.floor
    exact = [round(a * v.kept, 6) for a, v in zip(fractions, views, strict=True)]  # noise is no remainder
    return [min(v.kept, whole(x)) for v, x in zip(views, exact, strict=True)]


def drop_and_grow(
    views: Views, regrow: Regrow, alpha: float, generator: torch.Generator
) -> dict[str, tuple[Tensor, Tensor]]:
    """Drop and grow once in every layer.

    What was just dropped may grow again: candidates are all places that do not live after the drop.

    Args:
        views: the layers, by name.
        regrow: which of the living entries go, and where new ones come.
        alpha: fraction of the living entries to drop, in [0, 1].
        generator: on the device of the views, for random choices.

    Returns:
        New mask and grown entries of each layer, as boolean vectors.
    """
    layers = [_noisy(v, regrow.noise, generator) for v in views.values()]
    counts = quotas(layers, regrow, alpha)
    dropped = [
        DROPS[regrow.drop](v, k) if k else ~v.mask & v.mask for v, k in zip(layers, counts, strict=True)
    ]
    if regrow.drop == "threshold":
        counts = torch.stack([d.count_nonzero() for d in dropped]).tolist()
    left = [v.mask & ~d for v, d in zip(layers, dropped, strict=True)]
    found = {}
    for name, view, mask, k in zip(views, layers, left, _targets(layers, counts, regrow), strict=True):
        chance = regrow.sampling == "bernoulli"
        grown = by_chance(~mask, k, generator) if chance else GROWS[regrow.grow](view, ~mask, k, generator)
        found[name] = mask | grown, grown
    return found


def _noisy(view: View, noise: float, generator: torch.Generator) -> View:
    if not noise:
        return view
    jitter = torch.randn(view.weight.shape, generator=generator, device=view.weight.device)
    size = view.weight.abs() + noise * jitter.abs()
    return replace(view, weight=torch.where(view.weight > 0, size, -size))


def _targets(layers: Sequence[View], counts: Sequence[int], regrow: Regrow) -> Sequence[int]:
    """Count how many entries each layer grows."""
    if regrow.redistribute == "none":
        return counts
    room = [v.mask.numel() - v.kept + k for v, k in zip(layers, counts, strict=True)]
    return apportion(layer_shares(layers, regrow.redistribute), sum(counts), room)
