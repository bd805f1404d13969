"""SynFlow: iterative pruning by the flow of ones through the network of absolute values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import pick
from .context import Context, Count, twin, weights_of
from .select import Scores, choose

PIECE = 2**18


def synflow(
    ctx: Context, *, iterations: Count = 100, schedule: Literal["exponential", "linear"] = "exponential"
) -> Scores:
    """Score |w| dR/d|w|, with R the output of the network of absolute values on an image of ones.

    Prunes step by step down to the density, scoring the masked network anew each time; sees no data.

    Source: Tanaka et al. 2020, algorithm 1.

    Args:
        iterations: number of steps.
        schedule: densities fall geometrically or evenly.

    Differs from the reference: in double precision, as single precision overflows in ResNet-32. What is
    pruned stays so even where a living weight scores 0.
    """
    density_at = pick(
        {
            "exponential": lambda share: ctx.density**share,
            "linear": lambda share: 1 - (1 - ctx.density) * share,
        },
        schedule,
        "synflow.schedule",
    )
    select = ctx.select or (lambda scores, density: choose(scores, ctx.layers, density))
    model = _absolute(ctx.model)
    weights = dict(zip((x.name for x in ctx.layers), weights_of(model, ctx.layers), strict=True))
    scores = {name: torch.zeros_like(w) for name, w in weights.items()}
    pruned: dict[str, Tensor] = {}
    for name, w in weights.items():
        w.register_post_accumulate_grad_hook(partial(_score, scores[name], pruned, name))
    ones = torch.ones(1, *ctx.shape, dtype=torch.float64, device=next(iter(weights.values())).device)
    for step in range(1, iterations + 1):
        model(ones).sum().backward()
        if step == iterations:
            break
        masks = select(scores, density_at(step / iterations))
        for name, w in weights.items():
            mask = masks[name].to(w.device)
            for part, kept in _pieces(w.detach(), mask):
                part.mul_(kept.to(part.dtype))
            pruned[name] = ~mask
    return scores


def _score(score: Tensor, pruned: Mapping[str, Tensor], name: str, weight: Tensor) -> None:
    """Turn a weight's gradient, while it is in the cache, into scores; those of pruned entries never win."""
    assert weight.grad is not None
    tensors = [score, weight.grad, weight.detach(), *([pruned[name]] if name in pruned else [])]
    for result, slope, value, *gone in _pieces(*tensors):
        torch.mul(slope, value, out=result)
        for mark in gone:
            result.sub_(mark.to(result.dtype))  # from 0, as the weight is 0, to -1
    weight.grad = None  # the next layer's takes its place


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Walk through tensors of one shape in pieces that stay in a core's cache from one operation to the next."""
    size = PIECE if tensors[0].is_cpu else tensors[0].numel()
    return zip(*(tensor.reshape(-1).split(size) for tensor in tensors), strict=True)


def _absolute(model: nn.Module) -> nn.Module:
    """Copy a network in double precision with absolute weights, running means too."""
    double = twin(model, "eval", torch.float64)
    for tensor in double.state_dict().values():
        tensor.abs_()
    for module in double.modules():
        if (
            type(module) is nn.Conv2d
            and not isinstance(module.padding, str)
            and module.groups == 1
            and module.padding_mode == "zeros"
        ):
            module.forward = partial(_convolve, module)
    return double


def _convolve(layer: nn.Conv2d, input: Tensor) -> Tensor:
    """Convolve one image as a product of matrices: in double precision much faster than the library's way."""
    kernel, stride, padding, dilation = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    assert not isinstance(padding, str)
    columns = F.unfold(input, kernel, dilation, padding, stride)
    rows = columns.squeeze(0).t().contiguous()  # one for each place
    found = F.linear(rows, layer.weight.flatten(1), layer.bias).t()
    height = (input.shape[2] + 2 * padding[0] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    return found.reshape(1, len(layer.weight), height, -1)
