"""A weight behind a soft threshold that is learned (STR)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from ..sparse_training import Soft

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "exponential": torch.exp}


class SoftThreshold(nn.Module):
    """The parametrization w -> sign(w) max(0, |w| - g(s)) with one number s.

    Slopes are autograd's: of w where |w| > g(s), and of s minus the sum of sign(w) g'(s) times the slope there.
    Source: Kusupati et al. 2020, equations 5 to 7.

    Args:
        spec: start, function, decay and rate of s.
        weight: the weight, whose device and type s takes.
    """

    def __init__(self, spec: Soft, weight: Tensor) -> None:
        """Put s at its start."""
        super().__init__()
        self.function = spec.function
        self.optim_group = {"weight_decay": spec.decay, "rate": spec.rate}  # read by `optim.groups`
        self.number = nn.Parameter(torch.full((), spec.start, dtype=weight.dtype, device=weight.device))

    @property
    def threshold(self) -> Tensor:
        """The threshold g(s), at least 0, a tensor without dimensions."""
        return FUNCTIONS[self.function](self.number)

    def forward(self, weight: Tensor) -> Tensor:
        """Shrink a weight, of any shape."""
        return weight.sign() * relu(weight.abs() - self.threshold)

    def alive(self, weight: Tensor) -> Tensor:
        """Mark what is above the threshold."""
        return weight.abs() > self.threshold
