"""Which kept weights do anything: those on a path of kept weights from the input to the output."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .models import prunable

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)  # batch and instance norm are the first
POOLS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.MaxPool2d: lambda m: nn.AvgPool2d(m.kernel_size, m.stride, m.padding, m.ceil_mode),
    nn.AdaptiveMaxPool2d: lambda m: nn.AdaptiveAvgPool2d(m.output_size),
}


class Flow(NamedTuple):
    """What of a layer takes part.

    Args:
        effective: number of kept weights that lie on a path from the input to the output.
        units: number of output channels or neurons.
        dead: how many of them no effective weight enters.
    """

    effective: int
    units: int
    dead: int


def flow(
    model: nn.Module, masks: Mapping[str, Tensor] | None, shape: tuple[int, int, int]
) -> dict[str, Flow]:
    """Count the effective weights and the dead units of every prunable layer.

    A path leads from a pixel through kept weights, and through additions and shortcuts that have no weights, to
    an output. Where images have become so small that a part of a kernel sees the border only, the weights there
    are on no path. Biases and the shifts of batch norm count for nothing: a unit that they alone feed is dead.

    Source: Vysogorets and Kempe 2023 (effective sparsity), who count so what random pruning leaves without a
    path; computed with one pass of ones, forward and back, as for SynFlow (Tanaka et al. 2020).

    Args:
        model: the network, which stays as it is. Its activations must turn 0 into 0, as ReLU does.
        masks: what is kept of each prunable weight; None keeps everything.
        shape: (C, H, W) of one image.

    Returns:
        Parameter name of each prunable weight, in order -> Flow.
    """
    twin = _paths(model)
    names = [x.name for x in prunable(twin)]
    weights = [twin.get_parameter(name).requires_grad_(True) for name in names]
    with torch.no_grad():
        for name, weight in zip(names, weights, strict=True):
            weight.copy_(torch.ones_like(weight) if masks is None else masks[name])
    outputs = twin(torch.ones(1, *shape, dtype=torch.float64, device=weights[0].device))
    slopes = torch.autograd.grad(outputs.sum(), weights, allow_unused=True, materialize_grads=True)
    found = {}
    for name, weight, slope in zip(names, weights, slopes, strict=True):
        used = ((slope > 0) & (weight > 0)).flatten(1)
        found[name] = Flow(int(used.sum()), len(used), int((~used.any(1)).sum()))
    return found


class _Reached(torch.autograd.Function):
    """1 where something arrives, forward and back: numbers of paths would overflow in a deep network."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return (grads[0] > 0).to(grads[0].dtype)


def positive(model: nn.Module) -> nn.Module:
    """Copy a network so that with weights of 0 and 1 nothing is negative or cancels.

    Biases are 0, normalisation is left out, and max pools, which drop all paths but one, become averages.

    Args:
        model: the network, which stays as it is.
    """
    twin = copy.deepcopy(model).requires_grad_(False).eval()
    for module in twin.modules():
        if isinstance(module, NORMS):
            module.forward = _same
        elif type(module) in POOLS:
            module.forward = POOLS[type(module)](module).forward
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.zero_()
    return twin


def _paths(model: nn.Module) -> nn.Module:
    """Copy a network so that its outputs are 0 only where no path ends.

    In double precision no library takes shortcuts that leave a rounding error in place of 0.
    """
    twin = positive(model).double()
    for module in twin.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda module, inputs, output: _Reached.apply(output))
    return twin


def _same(input: Tensor) -> Tensor:
    return input
