"""From scores to masks: how many entries each layer keeps, and which."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ReproError, pick
from ..masks import Masks
from ..models import Layer
from ..units import entries, spread
from .allocation import ALLOCATIONS
from .ranking import Parts, at_least, highest, over, ranked, size_of, top_k

Scores = dict[str, Tensor]


def budget(total: int, density: float) -> int:
    """Count the entries to keep of `total`: density x total, halves rounded up."""
    return math.floor(total * density + 0.5)


def kept_counts(
    sizes: Mapping[str, int], densities: Mapping[str, float], total: int | None = None
) -> dict[str, int]:
    """Turn layer densities into whole counts by largest remainder, so that their sum is exact.

    Args:
        sizes: number of entries, by layer, in order; of equal remainders the earlier layer gets the entry.
        densities: fraction kept, by layer, in [0, 1].
        total: the sum wanted, within one entry per layer of the exact sum; by default that sum, rounded.

    Differs from the reference (Su et al. 2020 and answer42, codes): those cut every count down to a whole
    number and so lose up to one weight per layer.
    """
    exact = {name: round(densities[name] * size, 6) for name, size in sizes.items()}  # noise is no remainder
    counts = {name: math.floor(value) for name, value in exact.items()}
    wanted = math.floor(math.fsum(exact.values()) + 0.5) if total is None else total
    missing = wanted - sum(counts.values())
    room = [name for name, size in sizes.items() if counts[name] < size]
    if not 0 <= missing <= len(room):
        raise ReproError(f"layer densities keep {sum(exact.values()):.1f} entries, not the {wanted} wanted")
    for name in sorted(room, key=lambda name: counts[name] - exact[name])[:missing]:
        counts[name] += 1
    return counts


def _largest(parts: Parts, k: float) -> float:
    return ranked(parts, int(k)) if k >= 1 else math.inf


def _smallest(parts: Parts, k: float) -> float:
    return ranked(parts, size_of(parts) - int(k) + 1) if k >= 1 else -math.inf


def _percentile(parts: Parts, drop: float) -> float:
    return float(np.quantile(torch.cat(list(parts)).cpu().numpy(), drop / size_of(parts)))


def _at_index(parts: Parts, index: int) -> float:
    if index >= size_of(parts):
        raise ReproError("selection c6: the dense layers leave no weight for the others; raise the density")
    return ranked(parts, size_of(parts) - index)


# Each takes the scores, as vectors that rank as one, and how many entries to keep and to drop, as real numbers.
CONVENTIONS: dict[str, Callable[[Parts, float, float], list[Tensor]]] = {
    "exact": lambda parts, keep, drop: highest(parts, math.floor(keep + 0.5)),
    # SNIP of three code bases: ties at the threshold are all kept
    "c1": lambda parts, keep, drop: at_least(parts, _largest(parts, keep)),
    # GraSP: the entry at the removal threshold is kept, so at least one more than asked for
    "c2": lambda parts, keep, drop: at_least(parts, _smallest(parts, drop)),
    # Synaptic-Flow, STR: ties at the threshold are all removed
    "c3": lambda parts, keep, drop: over(parts, _smallest(parts, drop)),
    # GraNet, gradual magnitude pruning: one entry fewer than asked for
    "c4": lambda parts, keep, drop: over(parts, _largest(parts, keep)),
    # Gohil et al.: a threshold interpolated between two entries
    "c5": lambda parts, keep, drop: over(parts, _percentile(parts, drop)),
    # Su et al.'s magnitude pruning: a threshold at an index of the ascending sort, itself removed
    "c6": lambda parts, keep, drop: over(parts, _at_index(parts, int(drop))),
}


def check_finite(scores: Mapping[str, Tensor]) -> None:
    """Raise ReproError naming the first layer whose scores are not all finite numbers."""
    for name, score in scores.items():
        low, high = (bound.item() for bound in score.aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            kind = "NaN" if math.isnan(low) else "infinite"
            raise ReproError(f"{kind} scores in layer {name}: no ranking is possible; score in float64")


def choose(
    scores: Scores,
    layers: Sequence[Layer],
    density: float,
    allocation: str = "global",
    convention: str = "exact",
    *,
    allocation_options: Mapping[str, Any] | None = None,
    keep_dense: Sequence[str] = (),
    count_dense: bool = True,
    sampler: str = "exact",
    unit: str = "weight",
) -> Masks:
    """Keep the entries of highest score.

    Args:
        scores: by layer, of the weights' shapes; high means keep.
        layers: the prunable layers, in order.
        density: fraction to keep, in (0, 1].
        allocation: "global" for one threshold over all layers, else an entry of ALLOCATIONS, within whose
            layer densities the scores rank.
        convention: an entry of CONVENTIONS: "exact", or the thresholding c1 to c6 of a published code.
        allocation_options: keyword options of the allocation.
        keep_dense: roles of layers ("first", "last", "shortcut") of which everything is kept.
        count_dense: whether those layers count in the budget.
        sampler: "exact", or "bernoulli" to keep each entry by itself with its layer's density, for scores
            that are uniform in [0, 1).
        unit: "weight", or "kernel" to keep or remove whole kernels, by their mean score, within an allocation.

    Raises:
        ReproError: a density out of range or infeasible, an unknown name, a score that is no finite number.
    """
    check_finite(scores)
    pick(CONVENTIONS, convention, "selection")
    sparse = [layer for layer in layers if layer.role not in keep_dense]
    keep, drop = _shares(layers, sparse, density, count_dense)
    found = {x.name: torch.ones_like(scores[x.name], dtype=torch.bool) for x in layers if x not in sparse}
    flat = {x.name: entries(scores[x.name].detach(), unit) for x in sparse}
    if sparse and allocation == "global":
        found |= zip(flat, CONVENTIONS[convention](list(flat.values()), keep, drop), strict=True)
    elif sparse:
        share = density if len(sparse) == len(layers) else keep / sum(x.numel for x in sparse)
        densities = pick(ALLOCATIONS, allocation, "allocation")(sparse, share, **(allocation_options or {}))
        found |= _by_layer(flat, densities, keep, sampler if sampler != "exact" else convention)
    return Masks({x.name: spread(found[x.name], x.shape) for x in layers})


def _by_layer(
    flat: Mapping[str, Tensor], densities: Mapping[str, float], keep: float, how: str
) -> dict[str, Tensor]:
    if how == "bernoulli":
        return {name: score >= 1 - densities[name] for name, score in flat.items()}
    sizes = {name: score.numel() for name, score in flat.items()}
    if how != "exact":
        select = CONVENTIONS[how]
        return {n: select([flat[n]], k * densities[n], k * (1 - densities[n]))[0] for n, k in sizes.items()}
    exact = math.fsum(densities[name] * size for name, size in sizes.items())
    met = abs(exact - keep) < 1e-3  # the allocation meets the budget: round as the global budget does
    counts = kept_counts(sizes, densities, math.floor(keep + 0.5) if met else None)
    return {name: top_k(score, counts[name]) for name, score in flat.items()}


def _shares(
    layers: Sequence[Layer], sparse: Sequence[Layer], density: float, count_dense: bool
) -> tuple[float, float]:
    """Count the entries, as real numbers, that the sparse layers keep and drop."""
    if not 0 < density <= 1:
        raise ReproError(f"density must lie in (0, 1], got {density}")
    total, size = sum(x.numel for x in layers), sum(x.numel for x in sparse)
    counted = total if count_dense else size
    keep, drop = counted * density, counted * (1 - density)
    if count_dense:
        keep -= total - size
    if sparse and keep < 0.5:
        least = (total - size + 1) / total if count_dense else 1 / size
        raise ReproError(
            f"density {density:g} leaves no weight to sparse layers: the smallest is {least:.3g}"
        )
    return keep, drop
