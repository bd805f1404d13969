"""Initial weights: a menu of schemes, each filling one convolution or linear layer from a generator.

Batch norm starts at scale 1, shift 0 with running mean 0 and variance 1, whatever the scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Literal

import torch
from torch import nn

from ..errors import ReproError, pick

Scheme = Literal[
    "kaiming_normal_fan_out",
    "kaiming_normal_fan_out_uniform_fc",
    "kaiming_normal_fan_in",
    "kaiming_normal_fan_in_all",
    "kaiming_uniform",
    "xavier_normal",
    "orthogonal",
]
Weighted = nn.Conv2d | nn.Linear


def kaiming_normal_fan_out(module: Weighted, generator: torch.Generator) -> None:
    """Convolution N(0, 2 / (k k C_out)), linear N(0, 0.01^2), bias 0 (He 2015, eq. 14; Su's ResNet)."""
    _normal(module, "fan_out", generator)


def kaiming_normal_fan_out_uniform_fc(module: Weighted, generator: torch.Generator) -> None:
    """Convolution N(0, 2 / (k k C_out)), linear as torch's default, bias 0 (the RigL report's wide ResNet)."""
    if isinstance(module, nn.Conv2d):
        return _normal(module, "fan_out", generator)
    bound = 1 / math.sqrt(module.in_features)
    nn.init.uniform_(module.weight, -bound, bound, generator=generator)
    return _zero_bias(module)


def kaiming_normal_fan_in(module: Weighted, generator: torch.Generator) -> None:
    """Convolution N(0, 2 / (k k C_in)), linear N(0, 0.01^2), bias 0 (He 2015, eq. 10; Su's VGG)."""
    _normal(module, "fan_in", generator)


def kaiming_normal_fan_in_all(module: Weighted, generator: torch.Generator) -> None:
    """Convolution and linear N(0, 2 / fan_in), bias 0 (the ResNet-20 of Gadhikar et al.'s code)."""
    nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    _zero_bias(module)


def kaiming_uniform(module: Weighted, generator: torch.Generator) -> None:
    """Weight and bias U(-b, b) with b = 1 / sqrt(fan_in): the default of torch."""
    bound = 1 / math.sqrt(module.weight[0].numel())
    for tensor in (module.weight, module.bias):
        if tensor is not None:
            nn.init.uniform_(tensor, -bound, bound, generator=generator)


def xavier_normal(module: Weighted, generator: torch.Generator) -> None:
    """Convolution N(0, 2 / (fan_in + fan_out)), bias 0; linear as torch's default (Gohil et al.'s code)."""
    if isinstance(module, nn.Linear):
        return kaiming_uniform(module, generator)
    nn.init.xavier_normal_(module.weight, generator=generator)
    return _zero_bias(module)


def orthogonal(module: Weighted, generator: torch.Generator) -> None:
    """Orthogonal (out, in k k) matrix, gain sqrt 2 for convolutions, else 1; bias 0 (Saxe et al. 2014)."""
    gain = math.sqrt(2) if isinstance(module, nn.Conv2d) else 1.0
    nn.init.orthogonal_(module.weight, gain=gain, generator=generator)
    _zero_bias(module)


INITS: dict[str, Callable[[Weighted, torch.Generator], None]] = {
    "kaiming_normal_fan_out": kaiming_normal_fan_out,
    "kaiming_normal_fan_out_uniform_fc": kaiming_normal_fan_out_uniform_fc,
    "kaiming_normal_fan_in": kaiming_normal_fan_in,
    "kaiming_normal_fan_in_all": kaiming_normal_fan_in_all,
    "kaiming_uniform": kaiming_uniform,
    "xavier_normal": xavier_normal,
    "orthogonal": orthogonal,
}


@torch.no_grad()
def initialise_(
    model: nn.Module, scheme: str, generator: torch.Generator, zero_gammas: Collection[str] = ()
) -> None:
    """Fill every parameter and buffer of `model` in place, in order of module registration.

    Args:
        model: network of Conv2d, Linear and BatchNorm2d layers, on the CPU.
        scheme: name in `INITS`.
        generator: where all the numbers come from.
        zero_gammas: names of batch-norm modules whose scale starts at 0 instead of 1.

    Raises:
        ReproError: if the scheme is unknown, or a parameter belongs to another type of layer.
    """
    fill = pick(INITS, scheme, "initialisation")
    for name, module in model.named_modules():
        if isinstance(module, Weighted):
            fill(module, generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            if module.affine:
                nn.init.constant_(module.weight, 0.0 if name in zero_gammas else 1.0)
                nn.init.zeros_(module.bias)
        elif any(True for _ in module.parameters(recurse=False)):
            raise ReproError(f"cannot initialise {name!r}: no rule for {type(module).__name__}")


def _normal(module: Weighted, mode: Literal["fan_in", "fan_out"], generator: torch.Generator) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01, generator=generator)
    else:
        nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu", generator=generator)
    _zero_bias(module)


def _zero_bias(module: Weighted) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)
