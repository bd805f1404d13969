"""Gradual pruning: how many weights stay at an update, in which layers, and which."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from ..pruners.ranking import highest
from .plans import Prune
from .shares import apportion
from .views import View

FEW = 0.2  # density from which "layer_plus" looks after the last layer, and that layer's density from then on


def _taylor(view: View) -> Tensor:
    assert view.gradient is not None
    return (view.weight * view.gradient).abs()


def _given(view: View) -> Tensor:
    assert view.score is not None
    return view.score


RANKS: dict[str, Callable[[View], Tensor]] = {
    "magnitude": lambda view: view.weight.abs(),  # Zhu and Gupta 2018
    "taylor": _taylor,  # Gadhikar et al. 2023, code
    "synflow": _given,  # Tanaka et al. 2020
}


def cubic(first: float, last: float, progress: float) -> float:
    """Give the density of gradual pruning: sparsity rises fast at first (Zhu and Gupta 2018, equation 1).

    Args:
        first: density at progress 0.
        last: density at progress 1.
        progress: in [0, 1].
    """
    return last + (first - last) * (1 - progress) ** 3


def prune(views: Mapping[str, View], spec: Prune, keep: int) -> dict[str, Tensor]:
    """Keep the most useful of the living weights; what is pruned stays so.

    Args:
        views: the layers that may be pruned, by name, in order.
        spec: scope and rank are used.
        keep: weights to keep in all of them together; never more than live.
    """
    keep = min(keep, sum(v.kept for v in views.values()))
    worth = [RANKS[spec.rank](v).masked_fill(~v.mask, -1.0) for v in views.values()]
    if spec.scope == "global":
        return dict(zip(views, highest(worth, keep), strict=True))
    counts = layer_counts(
        [v.mask.numel() for v in views.values()], [v.kept for v in views.values()], keep, spec.scope
    )
    return {name: highest([w], k)[0] for name, w, k in zip(views, worth, counts, strict=True)}


def layer_counts(sizes: Sequence[int], kept: Sequence[int], keep: int, scope: str) -> list[int]:
    """Count the weights that each layer keeps, so that their sum is exact.

    Every layer gets the same density; what one cannot give, as it has less already, is spread evenly over the others.
    With "layer_plus" and at most a fifth of all weights left, a fifth of the last layer is kept (all, if it has less),
    and the others share what is left.
    Source: Gadhikar et al. 2023, code (GMP_uniform, GraNet_uniform), which cuts each layer's count to a whole number.

    Args:
        sizes: weights of each layer, the last layer last.
        kept: how many of them live.
        keep: weights to keep in all layers together, at most the sum of `kept`.
        scope: "layer" or "layer_plus".
    """
    if scope == "layer_plus" and len(sizes) > 1 and keep <= FEW * sum(sizes):
        last = min(kept[-1], max(_fifth(sizes[-1]), keep - sum(kept[:-1])), keep)
        return [*layer_counts(sizes[:-1], kept[:-1], keep - last, "layer"), last]
    return apportion([n / sum(sizes) for n in sizes], keep, kept, full=1.0)


def least(sizes: Sequence[int], scope: str) -> int:
    """Count the weights below which a pruning would leave some layers nothing by its own rule.

    Args:
        sizes: weights of each layer, the last layer last.
        scope: as in `Prune`.
    """
    return _fifth(sizes[-1]) + 1 if scope == "layer_plus" and len(sizes) > 1 else 1


def _fifth(size: int) -> int:
    return math.floor(FEW * size + 0.5)
