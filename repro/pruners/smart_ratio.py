"""The smart ratio: layer densities that need neither data nor weights (Su et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..errors import ReproError, pick
from ..models import Layer

FAMILIES = {  # k: height above the end of the network, i: position from 1 -> weight of a layer
    "quadratic": lambda k, i: k**2 + k,
    "linear": lambda k, i: k,
    "cubic": lambda k, i: k**3,
    "ascending": lambda k, i: i**2 + i,
    "uniform": lambda k, i: 1,
}


def smart_ratio(
    layers: Sequence[Layer],
    density: float,
    *,
    family: Literal["quadratic", "linear", "cubic", "ascending", "uniform"] = "quadratic",
    vgg_scaling: Literal["auto", "yes", "no"] = "auto",
    variant: Literal["s002", "s000"] = "s002",
    last_keep: Annotated[float, Field(ge=0, le=1)] = 0.3,
) -> dict[str, float]:
    """Give layer i of L a density proportional to (L - i + 1)^2 + (L - i + 1), and linear layers a fixed one.

    Each density times its layer's size is a whole number: the count that the published code keeps. The sum
    falls short of the budget by up to one weight per layer, and by what is clipped when densities ascend.
    A layer may end up empty, which `Masks.collapsed` reports.

    Source: Su et al. 2020; the ablations come from the authors' code.

    Args:
        layers: the layers, in order, on which the densities depend.
        density: of the network, in (0, 1].
        family: the quadratic rule of the paper, or one of the ablations.
        vgg_scaling: whether to divide by i^2 as well; "auto" does so in the VGG family, "uniform" never.
        variant: "s002", the authors' code: L counts every layer, and what does not fit into one layer fills
            up the next ones. "s000", answer42's: L counts convolutions (VGG: and three more), the linear
            layer shares in the scaling before its own density replaces it, and excess goes to the next layer.
        last_keep: fraction kept of linear layers, in [0, 1].

    Raises:
        ReproError: the linear layers alone use up the budget.
    """
    vgg = layers[0].family == "vgg"
    rule = pick(FAMILIES, family, "smart_ratio.family")
    scaled = pick({"auto": vgg, "yes": True, "no": False}, vgg_scaling, "smart_ratio.vgg_scaling")
    count = pick({"s002": _authors, "s000": _answer42}, variant, "smart_ratio.variant")
    linear = [x.kind == "linear" for x in layers]
    sizes = [x.numel for x in layers]
    _check_budget(sizes, linear, density, last_keep)
    depth = len(layers) if variant == "s002" else linear.count(False) + 3 * vgg
    positions = range(1, len(layers) + 1)
    weights = [rule(depth - i + 1, i) for i in positions]
    divisors = [i**2 if scaled and family != "uniform" else 1 for i in positions]
    kept = count(sizes, linear, weights, divisors, 1 - (1 - density), last_keep)  # theirs is 1 - pruned ratio
    return {x.name: n / x.numel for x, n in zip(layers, kept, strict=True)}


def _check_budget(sizes: list[int], linear: list[bool], density: float, last_keep: float) -> None:
    fixed = last_keep * sum(n for n, is_linear in zip(sizes, linear, strict=True) if is_linear)
    if all(linear):
        raise ReproError("smart_ratio: the sparse layers hold no convolution; use another allocation")
    if density * sum(sizes) - fixed < 1:
        least = (fixed + 1) / sum(sizes)
        raise ReproError(
            f"smart_ratio: density {density:g} is too small when linear layers keep last_keep {last_keep:g}; "
            f"the smallest is {least:.4g}; raise the density or lower last_keep"
        )


def _authors(
    sizes: list[int],
    linear: list[bool],
    weights: list[int],
    divisors: list[int],
    density: float,
    last_keep: float,
) -> list[int]:
    """Count as Su et al. do, in single precision and cut down to whole numbers at the same places.

    Their rule to stop as soon as nothing is carried is left out: ratios rise or fall throughout, so that it
    never changes a count.
    """
    single = np.float32
    n, w = [single(x) for x in sizes], [single(x) for x in weights]
    total = sum(n, single(0))
    in_linear = sum((x for x, is_linear in zip(n, linear, strict=True) if is_linear), single(0))
    goal = int(total * single(density)) - int(in_linear * single(last_keep))
    whole = sum(int(n[i] * w[i] / single(divisors[i])) for i in range(len(n)) if not linear[i])
    if len(set(weights)) == 1:
        ratios = [single(goal) / (total - in_linear)] * len(n)
    else:
        ratios = [x * single(goal / whole) / single(d) for x, d in zip(w, divisors, strict=True)]
    kept, carry = [], 0
    for size, ratio, is_linear in zip(n, ratios, linear, strict=True):
        if is_linear:
            kept.append(int(size * single(last_keep)))
        elif (room := int((single(1) - ratio) * size)) >= carry:
            kept.append(int((ratio + single(carry) / size) * size))
            carry = 0
        else:  # too small for what is carried, or above 1 by itself (room below 0)
            carry -= room
            kept.append(int(size))
    return kept


def _answer42(
    sizes: list[int],
    linear: list[bool],
    weights: list[int],
    divisors: list[int],
    density: float,
    last_keep: float,
) -> list[int]:
    """Count as answer42 do, in double precision; the excess of the layer before the last is lost."""
    n = np.array(sizes)
    ratios = np.array(weights) / np.array(divisors)
    goal = density * n.sum() - last_keep * n[linear].sum()
    ratios /= (ratios * n / goal).sum()
    kept = []
    for i, is_linear in enumerate(linear):
        if ratios[i] > 1 and i + 1 < len(n):
            ratios[i + 1] += (ratios[i] - 1) * n[i] / n[i + 1]
        kept.append(int(n[i] * (last_keep if is_linear else min(ratios[i], 1.0))))
    return kept
