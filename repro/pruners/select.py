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
from .allocation import ALLOCATIONS

Scores = dict[str, Tensor]
SAMPLE = 20_000


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


def _ranked(flat: Tensor, k: int) -> float:
    """Find the k-th largest of a CPU vector, k in 1..n.

    A sample brackets it first, so that few entries need partitioning: many times faster at 20 million, and
    many equal entries (pruned weights score alike) do no harm.
    """
    values = flat.numpy()
    sample = np.sort(values[:: max(1, values.size // SAMPLE)])
    middle, spread = sample.size * (1 - k / values.size), 4 * math.sqrt(sample.size)
    low = sample[max(0, math.floor(middle - spread))]
    high = sample[min(sample.size - 1, math.ceil(middle + spread))]
    above = np.count_nonzero(values > high)
    within = values[(values > low) & (values <= high)]
    if above + within.size < k <= np.count_nonzero(values >= low):
        return low.item()
    if not above < k <= above + within.size:  # the sample misled
        above, within = 0, values.copy()
    within.partition(within.size - (k - above))
    return within[within.size - (k - above)].item()


def top_k(flat: Tensor, k: int) -> Tensor:
    """Mark the k highest entries of a vector; of equal entries, those of lowest index.

    Args:
        flat: scores, a vector without NaN.
        k: how many, in 0..n.
    """
    if k <= 0 or k >= flat.numel():
        return torch.full(flat.shape, k > 0, dtype=torch.bool)
    threshold = _ranked(flat, k)
    keep = flat > threshold
    ties = (flat == threshold).nonzero().flatten()
    keep[ties[: k - int(keep.count_nonzero())]] = True
    return keep


def _at_least_kth_largest(flat: Tensor, keep: float, drop: float) -> Tensor:
    """C1: SNIP of three code bases. Ties at the threshold are all kept."""
    k = int(keep)
    return flat >= _ranked(flat, k) if k >= 1 else torch.zeros(flat.shape, dtype=torch.bool)


def _at_least_kth_smallest(flat: Tensor, keep: float, drop: float) -> Tensor:
    """C2: GraSP. The entry at the removal threshold is kept, so at least one more than asked for."""
    k = int(drop)
    return flat >= _ranked(flat, flat.numel() - k + 1) if k >= 1 else torch.ones(flat.shape, dtype=torch.bool)


def _above_kth_smallest(flat: Tensor, keep: float, drop: float) -> Tensor:
    """C3: Synaptic-Flow, STR. Ties at the threshold are all removed."""
    k = int(drop)
    return flat > _ranked(flat, flat.numel() - k + 1) if k >= 1 else torch.ones(flat.shape, dtype=torch.bool)


def _above_kth_largest(flat: Tensor, keep: float, drop: float) -> Tensor:
    """C4: GraNet, gradual magnitude pruning. One entry fewer than asked for."""
    k = int(keep)
    return flat > _ranked(flat, k) if k >= 1 else torch.zeros(flat.shape, dtype=torch.bool)


def _above_percentile(flat: Tensor, keep: float, drop: float) -> Tensor:
    """C5: Gohil et al. Threshold interpolated between two entries."""
    return flat > float(np.quantile(flat.numpy(), drop / flat.numel()))


def _above_index(flat: Tensor, keep: float, drop: float) -> Tensor:
    """C6: Su et al.'s magnitude pruning. Threshold at an index of the ascending sort, itself removed."""
    index = int(drop)
    if index >= flat.numel():
        raise ReproError("selection c6: the dense layers leave no weight for the others; raise the density")
    return flat > _ranked(flat, flat.numel() - index)


CONVENTIONS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "exact": lambda flat, keep, drop: top_k(flat, math.floor(keep + 0.5)),
    "c1": _at_least_kth_largest,
    "c2": _at_least_kth_smallest,
    "c3": _above_kth_smallest,
    "c4": _above_kth_largest,
    "c5": _above_percentile,
    "c6": _above_index,
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

    Raises:
        ReproError: a density out of range or infeasible, an unknown name, a score that is no finite number.
    """
    check_finite(scores)
    pick(CONVENTIONS, convention, "selection")
    sparse = [layer for layer in layers if layer.role not in keep_dense]
    keep, drop = _shares(layers, sparse, density, count_dense)
    found = {x.name: torch.ones(x.numel, dtype=torch.bool) for x in layers}
    flat = {x.name: scores[x.name].detach().flatten().cpu() for x in sparse}
    if sparse and allocation == "global":
        chosen = CONVENTIONS[convention](torch.cat(list(flat.values())), keep, drop)
        found |= zip(flat, chosen.split([x.numel for x in sparse]), strict=True)
    elif sparse:
        share = density if len(sparse) == len(layers) else keep / sum(x.numel for x in sparse)
        densities = pick(ALLOCATIONS, allocation, "allocation")(sparse, share, **(allocation_options or {}))
        found |= _by_layer(flat, densities, keep, sampler if sampler != "exact" else convention)
    return Masks({x.name: found[x.name].reshape(x.shape) for x in layers})


def _by_layer(
    flat: Mapping[str, Tensor], densities: Mapping[str, float], keep: float, how: str
) -> dict[str, Tensor]:
    if how == "bernoulli":
        return {name: score >= 1 - densities[name] for name, score in flat.items()}
    sizes = {name: score.numel() for name, score in flat.items()}
    if how != "exact":
        select = CONVENTIONS[how]
        return {n: select(flat[n], k * densities[n], k * (1 - densities[n])) for n, k in sizes.items()}
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
