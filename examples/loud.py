"""Pruners of one's own, to try the battery on: `repro check examples/loud.py:loud`."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from repro.pruners import Context


def loud(ctx: Context, *, power: float = 1.0) -> dict[str, Tensor]:
    """Score |w| ** power at initialisation: our hunch, equation 1."""
    state = ctx.model.state_dict()
    return {layer.name: state[layer.name].abs() ** power for layer in ctx.layers}


def connection(ctx: Context, *, samples_per_class: int = 10) -> dict[str, Tensor]:
    """Score |w dL/dw| on one batch: SNIP in a few lines (Lee et al. 2019)."""
    model = copy.deepcopy(ctx.model)
    images, labels = ctx.sample(samples_per_class, 0)
    weights = [model.get_parameter(layer.name) for layer in ctx.layers]
    slopes = torch.autograd.grad(F.cross_entropy(model(images), labels), weights)
    scores = [(w * g).detach().abs() for w, g in zip(weights, slopes, strict=True)]
    return {layer.name: score for layer, score in zip(ctx.layers, scores, strict=True)}


def thin(ctx: Context) -> dict[str, Tensor]:
    """Keep the same share of every layer, at places drawn at random: masks instead of scores."""
    total = sum(layer.numel for layer in ctx.layers)
    left, masks = int(total * ctx.density + 0.5), {}
    for layer in ctx.layers:
        kept = round(left * layer.numel / total)
        mask = torch.zeros(layer.numel, dtype=torch.bool)
        mask[torch.randperm(layer.numel, generator=ctx.generator)[:kept]] = True
        masks[layer.name] = mask.reshape(layer.shape)
        total, left = total - layer.numel, left - kept
    return masks
