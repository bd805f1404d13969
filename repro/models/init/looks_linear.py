"""Looks-linear schemes: units come in pairs of opposite sign, so that a network with ReLU starts as a linear map.

relu(x) - relu(-x) = x: what ReLU takes from a unit its partner has. An odd number of units leaves one without a
partner. Batch norm keeps pairs opposite, but addition to a shortcut mixes units after their ReLU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .place import Place, Weighted, zero_bias


def looks_linear(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """First layer [U; -U], the others [[U, -U], [-U, U]] with an orthogonal U; bias 0.

    U has half as many outputs, and but for the first layer half as many inputs, rounded up; what is too much
    is cut off. The U of a convolution is an orthogonal (out, in k k) matrix.

    Source: Balduzzi et al. 2017; Gadhikar et al.'s code, which tiles the last layer as the others.
    Differs from the code: theirs divides by the square root of the density, as the adjustment "scale" does.
    """
    _pairs(module, generator, place)
    zero_bias(module)


def looks_linear_bias(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Weight as `looks_linear`, bias [b; -b] with b ~ N(0, place.bias_scale^2), cut to length.

    Source: Fischer et al. 2021; Gadhikar et al.'s code for strong tickets ("ortho-nonzero-bias"), which does not
    cut, and so fails where the number of outputs is odd.
    """
    half = _pairs(module, generator, place)
    if module.bias is not None:
        _opposite(module.bias, _drawn(half, generator, place))


def looks_linear_dependent_bias(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Weight as `looks_linear`; every second layer's bias takes out what the bias of the layer before puts in.

    Biases of odd layers (first, third, ...) are drawn as in `looks_linear_bias`: [b; -b]. Those of even layers
    are [-c; c], where c = U b with U summed over its kernel, over the square root of its positions. Without
    batch norm two linear layers so start as a linear map without a constant.

    "Before" means in order of module registration, as in the reference. Where the sizes do not fit (at shortcuts
    of residual networks and behind a flattened image), or the layer before has no bias, an even layer draws its
    bias as `looks_linear_bias` does; the reference fails there.

    Source: Gadhikar et al.'s code for strong tickets ("ortho-dep-bias").
    """
    half, before = _pairs(module, generator, place), place.half
    place.half = None
    if module.bias is None:
        return
    if place.index % 2 or before is None or len(before) != half.shape[1]:
        place.half = _drawn(half, generator, place)
        _opposite(module.bias, place.half)
    else:
        at = half.reshape(*half.shape[:2], -1)
        _opposite(module.bias, -(at.sum(2) @ before) / math.sqrt(at.shape[2]))


def _pairs(module: Weighted, generator: torch.Generator, place: Place) -> Tensor:
    """Fill the weight and give U, shape (half the outputs, inputs or half of them, *kernel)."""
    outputs, inputs, *kernel = module.weight.shape
    enter = inputs if place.index == 1 else math.ceil(inputs / 2)
    half = module.weight.new_empty(math.ceil(outputs / 2), enter, *kernel)
    nn.init.orthogonal_(half, generator=generator)
    both = torch.cat((half, -half))
    module.weight.copy_(torch.cat((both, -both), dim=1)[:outputs, :inputs])
    return half


def _drawn(half: Tensor, generator: torch.Generator, place: Place) -> Tensor:
    return nn.init.normal_(half.new_empty(len(half)), 0.0, place.bias_scale, generator=generator)


def _opposite(bias: Tensor, half: Tensor) -> None:
    bias.copy_(torch.cat((half, -half))[: len(bias)])
