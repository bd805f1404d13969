"""The entries that are kept or removed: single weights, or whole kernels of a convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Unit = Literal["weight", "kernel"]
Reduction = Literal["mean", "max", "min"]
REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda kernels: kernels.mean(-1),
    "max": lambda kernels: kernels.amax(-1),
    "min": lambda kernels: kernels.amin(-1),
}


def entries(values: Tensor, unit: str, reduction: Reduction = "mean") -> Tensor:
    """Lay out a weight's values as one number for each entry, in row-major order.

    Args:
        values: (out, in, k, k) or (out, in); a linear layer's kernels are its weights.
        unit: "weight" or "kernel".
        reduction: name in REDUCTIONS: what stands for a kernel. Signs are kept: an absolute value is taken
            later, as in the RigL replication's code.

    Returns:
        (n,).
    """
    if unit == "kernel" and values.ndim > 2:
        values = REDUCTIONS[reduction](values.flatten(2))
    return values.flatten()


def spread(flat: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Bring a vector over entries back to a weight's shape; a kernel's number goes to all its weights.

    Args:
        flat: (n,) over the weights, or over the kernels.
        shape: of the weight.
    """
    if flat.numel() == torch.Size(shape).numel():
        return flat.reshape(shape)
    return flat.reshape(*shape[:2], *[1] * (len(shape) - 2)).expand(shape).contiguous()


def whole(mask: Tensor, unit: str) -> bool:
    """Tell whether a mask keeps or removes entries of this kind as wholes."""
    return torch.equal(spread(entries(mask, unit, "max"), mask.shape), mask)
