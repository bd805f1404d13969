"""Initial weights: a menu of schemes, each filling one convolution or linear layer from a generator.

Batch norm starts at scale 1, shift 0 with running mean 0 and variance 1, whatever the scheme.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from torch import nn

from ...errors import ReproError, pick
from . import looks_linear, tickets, usual
from .place import BIAS_FACTOR, Fill, Place, Weighted

__all__ = ["BIAS_FACTOR", "INITS", "SCALED_BIASES", "Place", "Scheme", "Weighted", "initialise_"]

Scheme = Literal[
    "kaiming_normal_fan_out",
    "kaiming_normal_fan_out_uniform_fc",
    "kaiming_normal_fan_in",
    "kaiming_normal_fan_in_all",
    "kaiming_uniform",
    "xavier_normal",
    "orthogonal",
    "signed_constant",
    "signed_constant_bias",
    "kaiming_normal_bias",
    "kaiming_normal_uniform_bias",
    "positive_uniform",
    "bimodal",
    "looks_linear",
    "looks_linear_bias",
    "looks_linear_dependent_bias",
]

INITS: dict[str, Fill] = {
    "kaiming_normal_fan_out": usual.kaiming_normal_fan_out,
    "kaiming_normal_fan_out_uniform_fc": usual.kaiming_normal_fan_out_uniform_fc,
    "kaiming_normal_fan_in": usual.kaiming_normal_fan_in,
    "kaiming_normal_fan_in_all": usual.kaiming_normal_fan_in_all,
    "kaiming_uniform": usual.kaiming_uniform,
    "xavier_normal": usual.xavier_normal,
    "orthogonal": usual.orthogonal,
    "signed_constant": tickets.signed_constant,
    "signed_constant_bias": tickets.signed_constant_bias,
    "kaiming_normal_bias": tickets.kaiming_normal_bias,
    "kaiming_normal_uniform_bias": tickets.kaiming_normal_uniform_bias,
    "positive_uniform": tickets.positive_uniform,
    "bimodal": tickets.bimodal,
    "looks_linear": looks_linear.looks_linear,
    "looks_linear_bias": looks_linear.looks_linear_bias,
    "looks_linear_dependent_bias": looks_linear.looks_linear_dependent_bias,
}
# Schemes whose biases have the scale that a network's `bias_factor` sets.
SCALED_BIASES = (
    "kaiming_normal_bias",
    "kaiming_normal_uniform_bias",
    "looks_linear_bias",
    "looks_linear_dependent_bias",
)


@torch.no_grad()
def initialise_(
    model: nn.Module, scheme: str, generator: torch.Generator, zero_gammas: Collection[str] = ()
) -> None:
    """Fill every parameter and buffer of `model` in place, in order of module registration.

    Args:
        model: network of Conv2d, Linear and BatchNorm2d layers, on the CPU; its attribute `bias_factor`, where
            it has one, is that of the schemes in `SCALED_BIASES`.
        scheme: name in `INITS`.
        generator: where all the numbers come from.
        zero_gammas: names of batch-norm modules whose scale starts at 0 instead of 1.

    Raises:
        ReproError: if the scheme is unknown, or a parameter belongs to another type of layer.
    """
    fill, place = pick(INITS, scheme, "initialisation"), Place(getattr(model, "bias_factor", BIAS_FACTOR))
    for name, module in model.named_modules():
        if isinstance(module, Weighted):
            place.enter(module)
            fill(module, generator, place)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            if module.affine:
                nn.init.constant_(module.weight, 0.0 if name in zero_gammas else 1.0)
                nn.init.zeros_(module.bias)
        elif any(True for _ in module.parameters(recurse=False)):
            raise ReproError(f"cannot initialise {name!r}: no rule for {type(module).__name__}")
