"""Masks the plain way: channels first, a global sort of all scores, one forward and backward pass at a time.

Written from the methods page, after Su et al. 2020 and answer42 (SNIP, GraSP, smart ratio), the code of Tanaka et al.
(SynFlow) and that of Evci et al. and its followers (ERK). Numbers kept follow those codes' thresholds.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..models import Layer
from ..pruners import Context

Plain = dict[str, Tensor]
LAST_KEEP = 0.3  # share kept of the linear layer by the smart ratio


def _weighted(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def snip(ctx: Context) -> Plain:
    """Keep the int(density x N) weights of highest |w dL/dw|, and what ties with the last of them."""
    net = copy.deepcopy(ctx.model).train()
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    x, y = ctx.sample(10, 0)
    net.zero_grad()
    cross_entropy(net(x.to(next(net.parameters()).dtype)), y).backward()
    scores = [(m.weight.detach() * m.weight.grad).abs() for m in _weighted(net)]
    together = torch.cat([s.flatten() for s in scores])
    norm = together.sum()
    together.div_(norm)
    best, _ = torch.topk(together, int(len(together) * ctx.density), sorted=True)
    return _named(ctx, [(s / norm) >= best[-1] for s in scores])


def grasp(ctx: Context, temperature: float = 200.0) -> Plain:
    """Remove the weights of highest -w (H g) down to the threshold, whose own weight stays.

    The last layer is drawn anew for scoring, the batch falls into two halves.
    """
    net = copy.deepcopy(ctx.model).train()
    for module in net.modules():
        if isinstance(module, nn.Linear):
            fresh = torch.empty(module.weight.shape)
            nn.init.xavier_normal_(fresh, generator=ctx.generator)
            module.weight.data.copy_(fresh)
    weights = [m.weight.requires_grad_(True) for m in _weighted(net)]
    x, y = ctx.sample(10, 0)
    x, middle = x.to(weights[0].dtype), len(y) // 2
    halves = [(x[:middle], y[:middle]), (x[middle:], y[middle:])]
    gradient: list[Tensor] = []
    for images, labels in halves:
        loss = cross_entropy(net(images) / temperature, labels)
        found = torch.autograd.grad(loss, weights, create_graph=False)
        gradient = [a + b for a, b in zip(gradient, found, strict=True)] if gradient else list(found)
    net.zero_grad()
    for images, labels in halves:
        loss = cross_entropy(net(images) / temperature, labels)
        found = torch.autograd.grad(loss, weights, create_graph=True)
        total = sum((a.detach() * b).sum() for a, b in zip(gradient, found, strict=True))
        assert isinstance(total, Tensor)
        total.backward()
    scores = [-w.detach() * w.grad for w in weights if w.grad is not None]
    together = torch.cat([s.flatten() for s in scores])
    norm = together.sum().abs() + 1e-10
    together.div_(norm)
    worst, _ = torch.topk(together, int(len(together) * (1 - ctx.density)), sorted=True)
    return _named(ctx, [(s / norm) <= worst[-1] for s in scores])


def synflow(ctx: Context, iterations: int = 100) -> Plain:
    """Prune in steps by |w| dR/d|w| of the absolute network, in double precision, signs put back after each."""
    net = copy.deepcopy(ctx.model).double().eval()
    weights = [m.weight.requires_grad_(True) for m in _weighted(net)]
    masks = [torch.ones_like(w) for w in weights]
    ones = torch.ones(1, *ctx.shape, dtype=torch.float64, device=weights[0].device)
    for step in range(iterations):
        scores = _flow(net, weights, masks, ones)
        together = torch.cat([s.flatten() for s in scores])
        removed = int((1 - ctx.density ** ((step + 1) / iterations)) * len(together))
        if removed >= 1:
            threshold, _ = torch.kthvalue(together, removed)
            for mask, score in zip(masks, scores, strict=True):
                mask.copy_((score > threshold).to(mask))
    return _named(ctx, [mask > 0 for mask in masks])


def _flow(net: nn.Module, weights: Sequence[Tensor], masks: Sequence[Tensor], ones: Tensor) -> list[Tensor]:
    """Score the masked network once, as a network of absolute values that gets its signs back."""
    with torch.no_grad():
        for weight, mask in zip(weights, masks, strict=True):
            weight.mul_(mask)
        signs = {name: torch.sign(value) for name, value in net.state_dict().items()}
        for value in net.state_dict().values():
            value.abs_()
    net.zero_grad()
    net(ones).sum().backward()
    scores = [(w.grad * w).detach().abs() for w in weights if w.grad is not None]
    with torch.no_grad():
        for name, value in net.state_dict().items():
            value.mul_(signs[name])
    return scores


def erk(ctx: Context) -> Plain:
    """Draw a random mask with ERK's layer densities, int(density x size) weights in each layer."""
    shares = erk_densities(ctx.layers, ctx.density)
    return _drawn(ctx, [int(p * layer.numel) for p, layer in zip(shares, ctx.layers, strict=True)])


def erk_densities(layers: Sequence[Layer], density: float) -> list[float]:
    """Find ERK's layer densities: layers that would exceed 1 become dense, until none does."""
    dense: set[str] = set()
    while True:
        divisor = right = 0.0
        raw: dict[str, float] = {}
        for layer in layers:
            if layer.name in dense:
                right -= layer.numel * (1 - density)
            else:
                right += layer.numel * density
                raw[layer.name] = sum(layer.shape) / math.prod(layer.shape)
                divisor += raw[layer.name] * layer.numel
        if not raw:
            break
        scale, highest = right / divisor, max(raw.values())
        if scale * highest <= 1:
            break
        dense |= {name for name, value in raw.items() if value == highest}
    return [1.0 if x.name in dense else scale * raw[x.name] for x in layers]


def smart_ratio(ctx: Context) -> Plain:
    """Draw a random mask with the smart ratio of Su et al.'s code, in each layer an exact number of weights."""
    return _drawn(ctx, smart_counts(ctx.layers, ctx.density))


def smart_counts(layers: Sequence[Layer], density: float) -> list[int]:
    """Count what the smart ratio keeps of each layer; what exceeds a layer fills up those after it."""
    n, total = len(layers), sum(x.numel for x in layers)
    ratios, linear = [], [x.kind == "linear" for x in layers]
    for i, layer in enumerate(layers, 1):
        k = n - i + 1
        ratios.append((k * k + k) / (i * i if layer.family == "vgg" else 1))
    fixed = int(sum(x.numel for x, is_linear in zip(layers, linear, strict=True) if is_linear) * LAST_KEEP)
    goal = int(total * density) - fixed
    whole = sum(int(layers[i].numel * ratios[i]) for i in range(n) if not linear[i])
    carry, kept = 0, []
    for layer, ratio, is_linear in zip(layers, ratios, linear, strict=True):
        share = LAST_KEEP if is_linear else ratio * goal / whole
        if not is_linear and share >= 1:
            carry, share = carry + int((share - 1) * layer.numel), 1.0
        elif not is_linear and carry:
            room = int((1 - share) * layer.numel)
            share = share + carry / layer.numel if carry <= room else 1.0
            carry = max(0, carry - room)
        kept.append(int(share * layer.numel))
    return kept


def _drawn(ctx: Context, counts: Sequence[int]) -> Plain:
    masks = []
    for layer, count in zip(ctx.layers, counts, strict=True):
        mask = torch.zeros(layer.numel, dtype=torch.bool)
        mask[torch.randperm(layer.numel, generator=ctx.generator)[:count]] = True
        masks.append(mask.view(layer.shape))
    return _named(ctx, masks)


def _named(ctx: Context, masks: Sequence[Tensor]) -> Plain:
    return {layer.name: mask for layer, mask in zip(ctx.layers, masks, strict=True)}


PLAIN: dict[str, Callable[[Context], Plain]] = {
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
    "erk": erk,
    "smart_ratio": smart_ratio,
}
