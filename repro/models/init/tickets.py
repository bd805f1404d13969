"""Schemes of works on strong tickets and on random pruning: other distributions, and biases that are not 0."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .place import Place, Weighted, he, zero_bias
from .usual import kaiming_normal_fan_in_all

APART = 0.05  # of each of the two centres of `bimodal` from 0


def signed_constant(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Weight +-sqrt(2 / fan_in), either sign as likely, bias 0 (Zhou et al. 2019; Ramanujan et al. 2020)."""
    _signs(module.weight, he(module), generator)
    zero_bias(module)


def signed_constant_bias(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Weight and bias +-sqrt(2 / fan_in), either sign as likely (Gadhikar et al.'s code for strong tickets)."""
    _signs(module.weight, he(module), generator)
    if module.bias is not None:
        _signs(module.bias, he(module), generator)


def kaiming_normal_bias(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Weight N(0, 2 / fan_in), bias N(0, place.bias_scale^2) (Fischer et al. 2021, for strong tickets).

    The scale is a product over all layers so far, so that a bias keeps its proportion to the signal that the
    weights before it let through; where batch norm brings signals back to 1, little remains of it after a few
    wide layers.
    """
    kaiming_normal_fan_in_all(module, generator, place)
    if module.bias is not None:
        nn.init.normal_(module.bias, 0.0, place.bias_scale, generator=generator)


def kaiming_normal_uniform_bias(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Weight N(0, 2 / fan_in), bias U(-b, b) with b = place.bias_scale (Gadhikar et al.'s code)."""
    kaiming_normal_fan_in_all(module, generator, place)
    if module.bias is not None:
        nn.init.uniform_(module.bias, -place.bias_scale, place.bias_scale, generator=generator)


def positive_uniform(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Weight U(0, sqrt(2 / fan_in)): none is negative; bias 0 (Gadhikar et al.'s code).

    Differs from it: theirs divides by the square root of the density, as the adjustment "scale" does here.
    """
    nn.init.uniform_(module.weight, 0.0, he(module), generator=generator)
    zero_bias(module)


def bimodal(module: Weighted, generator: torch.Generator, place: Place) -> None:
    """Weight Z X + (1 - Z) Y; Z is U(0, 1), X and Y are N(+-0.05, 2 / fan_in); bias 0 (Gadhikar et al.'s code).

    Z is drawn for each weight, so that this is no mixture of two peaks: weights are spread along the way from
    one centre to the other. Differs from their code: see `positive_uniform`; "scale" moves the centres too,
    where theirs stay.
    """
    like = module.weight
    share = nn.init.uniform_(torch.empty_like(like), generator=generator)
    right = nn.init.normal_(torch.empty_like(like), APART, he(module), generator=generator)
    left = nn.init.normal_(torch.empty_like(like), -APART, he(module), generator=generator)
    like.copy_(torch.lerp(left, right, share))
    zero_bias(module)


def _signs(tensor: Tensor, size: float, generator: torch.Generator) -> None:
    tensor.bernoulli_(0.5, generator=generator).mul_(2 * size).sub_(size)
