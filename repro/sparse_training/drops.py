"""Which living entries a mask update drops: a menu."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from ..pruners.select import top_k
from .views import View


def magnitude(view: View, k: int) -> Tensor:
    """Drop the k entries of smallest |w|; of equal ones, the first (Mocanu et al. 2018; Evci et al. 2020)."""
    return _among(view.weight.abs(), view.mask, k)


def threshold(view: View, k: int) -> Tensor:
    """Drop all whose |w| is at most the k-th smallest: ties all go, and with them every weight that is zero.

    Source: Liu et al. 2021 (GraNet) and Gadhikar et al. 2023, codes.
    """
    dropped = magnitude(view, k)
    if not k:
        return dropped
    size = view.weight.abs()
    return view.mask & (size <= size[dropped].max())


def set_signed(view: View, k: int) -> Tensor:
    """Drop the smallest positive and the largest negative weights, half of k each, an odd one being positive.

    Where one sign has too few, the other gives the rest. Source: Mocanu et al. 2018 (SET).
    """
    positive = view.mask & (view.weight > 0)
    n = int(positive.count_nonzero())
    upper = min(n, max(math.ceil(k / 2), k - (view.kept - n)))
    size = view.weight.abs()
    return _among(size, positive, upper) | _among(size, view.mask & ~positive, k - upper)


def taylor(view: View, k: int) -> Tensor:
    """Drop the k entries of smallest (w g)^2: what the loss feels least, to first order."""
    assert view.gradient is not None
    return _among((view.weight * view.gradient).square(), view.mask, k)


DROPS: dict[str, Callable[[View, int], Tensor]] = {
    "magnitude": magnitude,
    "threshold": threshold,
    "set_signed": set_signed,
    "taylor": taylor,
}


def _among(worth: Tensor, places: Tensor, k: int) -> Tensor:
    """Mark the k entries of least worth among some places, at least k."""
    return top_k((-worth).masked_fill(~places, -math.inf), k)
