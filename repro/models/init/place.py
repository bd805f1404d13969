"""What a scheme may know of a layer besides its shape: where it stands in the network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

BIAS_FACTOR = 0.05  # Fischer et al. 2021, authors' code
Weighted = nn.Conv2d | nn.Linear


@dataclass
class Place:
    """Where a layer stands; one for a whole network, which `enter` moves on from layer to layer.

    Args:
        bias_factor: what `bias_scale` is before the first layer, at least 0.
        index: number of the layer in order of module registration, from 1 on.
        bias_scale: bias_factor times the product of sqrt(2 / fan_in) over the layers up to this one.
        half: biases of half a layer that the layer before has left for this one, shape (half its outputs,).
    """

    bias_factor: float = BIAS_FACTOR
    index: int = 0
    bias_scale: float = 0.0
    half: Tensor | None = None

    def enter(self, module: Weighted) -> None:
        """Move on to the next layer."""
        before = self.bias_scale if self.index else self.bias_factor
        self.index, self.bias_scale = self.index + 1, before * he(module)


Fill = Callable[[Weighted, torch.Generator, Place], None]


def he(module: Weighted) -> float:
    """Give sqrt(2 / fan_in), the standard deviation that keeps the size of signals through ReLU (He 2015)."""
    return math.sqrt(2 / module.weight[0].numel())


def zero_bias(module: Weighted) -> None:
    """Set the biases, if there are any, to 0."""
    if module.bias is not None:
        nn.init.zeros_(module.bias)
