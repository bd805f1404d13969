"""Schemes that see nothing but the shape of a layer, with normal, uniform or orthogonal weights."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from .place import Place, Weighted, zero_bias


def kaiming_normal_fan_out(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Convolution N(0, 2 / (k k C_out)), linear N(0, 0.01^2), bias 0 (He 2015, eq. 14; Su's ResNet)."""
    _normal(module, "fan_out", generator)


def kaiming_normal_fan_out_uniform_fc(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Convolution N(0, 2 / (k k C_out)), linear as torch's default, bias 0 (the RigL report's wide ResNet)."""
    if isinstance(module, nn.Conv2d):
        return _normal(module, "fan_out", generator)
    bound = 1 / math.sqrt(module.in_features)
    nn.init.uniform_(module.weight, -bound, bound, generator=generator)
    return zero_bias(module)


def kaiming_normal_fan_in(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Convolution N(0, 2 / (k k C_in)), linear N(0, 0.01^2), bias 0 (He 2015, eq. 10; Su's VGG)."""
    _normal(module, "fan_in", generator)


def kaiming_normal_fan_in_all(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Convolution and linear N(0, 2 / fan_in), bias 0 (the ResNet-20 of Gadhikar et al.'s code)."""
    nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    zero_bias(module)


def kaiming_uniform(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Weight and bias U(-b, b) with b = 1 / sqrt(fan_in): the default of torch."""
    bound = 1 / math.sqrt(module.weight[0].numel())
    for tensor in (module.weight, module.bias):
        if tensor is not None:
            nn.init.uniform_(tensor, -bound, bound, generator=generator)


def xavier_normal(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Convolution N(0, 2 / (fan_in + fan_out)), bias 0; linear as torch's default (Gohil et al.'s code)."""
    if isinstance(module, nn.Linear):
        return kaiming_uniform(module, generator, place)
    nn.init.xavier_normal_(module.weight, generator=generator)
    return zero_bias(module)


def orthogonal(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Orthogonal (out, in k k) matrix, gain sqrt 2 for convolutions, else 1; bias 0 (Saxe et al. 2014)."""
    gain = math.sqrt(2) if isinstance(module, nn.Conv2d) else 1.0
    nn.init.orthogonal_(module.weight, gain=gain, generator=generator)
    zero_bias(module)


def _normal(module: Weighted, mode: Literal["fan_in", "fan_out"], generator: torch.Generator) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01, generator=generator)
    else:
        nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu", generator=generator)
    zero_bias(module)
