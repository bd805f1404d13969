"""What a mask update sees of a layer: flat vectors of its weights, or of its whole kernels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class View:
    """One layer, its entries (weights, or kernels) as vectors of length n in row-major order.

    Args:
        weight: (n,) values; those outside the mask are zero.
        mask: (n,) boolean, True where the entry lives.
        kept: number of living entries.
        gradient: (n,) slope of the loss, also where no entry lives; None if nothing looks at it.
        momentum: (n,) running mean of slopes, as the optimiser keeps it; None if nothing looks at it.
        explored: (n,) boolean, True where an entry has ever lived; None if nothing looks at it.
        score: (n,) what an entry is worth to pruning, at least 0; None if nothing looks at it.
        rows: number of output channels or neurons, each of which has n / rows entries in a row.
    """

    weight: Tensor
    mask: Tensor
    kept: int
    gradient: Tensor | None = None
    momentum: Tensor | None = None
    explored: Tensor | None = None
    score: Tensor | None = None
    rows: int = 1
