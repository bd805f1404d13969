"""Exact ranking of many scores: the k-th largest of some vectors together, and the k highest entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Parts = Sequence[Tensor]  # vectors that rank as one, without the cost of joining them; without NaN
SAMPLE = 100_000
SMALL = 20_000  # entries of which a sample would save nothing


def size_of(parts: Parts) -> int:
    """Count the entries."""
    return sum(part.numel() for part in parts)


def _above(values: Tensor, bound: float) -> Tensor:
    """Mark the entries above a bound: on one processor core numpy is twice as fast at it as torch."""
    return torch.from_numpy(values.numpy() > bound) if values.is_cpu else values > bound


def _count(marks: Sequence[Tensor]) -> int:
    if marks[0].is_cpu:
        return sum(int(np.count_nonzero(mark.numpy())) for mark in marks)
    return int(torch.stack([mark.count_nonzero() for mark in marks]).sum())


def _positions(mark: Tensor) -> Tensor:
    return torch.from_numpy(np.flatnonzero(mark.numpy())) if mark.is_cpu else mark.nonzero().flatten()


def _bracket(parts: Parts, k: int) -> tuple[float, float]:
    """Guess two values between which the k-th largest entry lies, from every so-manieth entry."""
    size = size_of(parts)
    sample = torch.cat([part[:: max(1, size // SAMPLE)] for part in parts]).sort().values
    share, count = k / size, sample.numel()
    middle, spread = count * (1 - share), 2 + 4 * math.sqrt(count * share * (1 - share))
    first, last = math.floor(middle - spread), math.ceil(middle + spread)
    low = sample[first].item() if first >= 0 else -math.inf
    return low, sample[last].item() if last < count else math.inf


def _split(parts: Parts, k: int) -> tuple[list[Tensor], list[Tensor]]:
    """Mark entries that are surely among the k highest, and give the places of those that may be the others.

    So few entries need ranking: many times faster at 20 million, and many equal entries (pruned weights score
    alike) do no harm.
    """
    low, high = _bracket(parts, k)
    guesses: tuple[Callable[[Tensor], tuple[Tensor, Tensor]], ...] = (
        lambda part: (_above(part, low), _above(part, high)),
        lambda part: (part >= low, _above(part, low)),  # many entries equal the bound
        lambda part: (part >= -math.inf, part > math.inf),  # the sample misled
    )
    for guess in guesses:
        possible, sure = zip(*map(guess, parts), strict=True)
        if _count(sure) < k <= _count(possible):
            break
    return list(sure), [_positions(a ^ b) for a, b in zip(possible, sure, strict=True)]


def _kth(values: Tensor, k: int) -> float:
    low, high = values.aminmax()
    if low == high:  # where quick selection is slow
        return low.item()
    return values.kthvalue(values.numel() - k + 1).values.item()


def ranked(parts: Parts, k: int) -> float:
    """Find the k-th largest entry, k in 1..n."""
    sure, places = _split(parts, k)
    values = torch.cat([part[place] for part, place in zip(parts, places, strict=True)])
    return _kth(values, k - _count(sure))


def over(parts: Parts, threshold: float) -> list[Tensor]:
    """Mark the entries above a threshold."""
    return [_above(part, threshold) for part in parts]


def at_least(parts: Parts, threshold: float) -> list[Tensor]:
    """Mark the entries that reach a threshold."""
    return [part >= threshold for part in parts]


def highest(parts: Parts, k: int) -> list[Tensor]:
    """Mark the k highest entries; of equal ones, the first."""
    if k <= 0 or k >= size_of(parts):
        return [torch.full_like(part, k > 0, dtype=torch.bool) for part in parts]
    if size_of(parts) <= SMALL:
        return list(_best(torch.cat(list(parts)), k).split([part.numel() for part in parts]))
    keep, places = _split(parts, k)
    values = torch.cat([part[place] for part, place in zip(parts, places, strict=True)])
    chosen = _best(values, k - _count(keep))
    for mark, place, best in zip(keep, places, chosen.split([len(p) for p in places]), strict=True):
        mark[place[_positions(best)]] = True
    return keep


def _best(values: Tensor, k: int) -> Tensor:
    """Mark the k highest entries of a vector, k in 1..n; of equal ones, the first."""
    threshold = _kth(values, k)
    chosen = _above(values, threshold)
    chosen[_positions(values == threshold)[: k - _count([chosen])]] = True
    return chosen


def top_k(flat: Tensor, k: int) -> Tensor:
    """Mark the k highest entries of a vector; of equal entries, those of lowest index.

    Args:
        flat: scores, a vector without NaN.
        k: how many, in 0..n.
    """
    return highest([flat], k)[0]
