"""What a weight is worth: one score per weight, high means keep."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ReproError, pick
from ..masks import Masks
from ..models import Layer
from .select import Scores, choose

Count = Annotated[int, Field(ge=1)]
TRAINING = {"train": True, "eval": False}


@dataclass(frozen=True)
class Context:
    """What a score may look at. It changes none of it: it works on a copy of the model.

    Args:
        model: the network at its initial weights.
        layers: its prunable layers, in order.
        generator: for random scores and for weights drawn anew.
        shape: of one image: channels, height, width.
        classes: number of classes.
        sample: `sample(per_class, draw)` gives normalised images and labels, `per_class` of each class in
            order of class; another `draw` is another batch.
        density: fraction of weights to keep, in (0, 1].
        trained: state after dense training, for scores that need it.
        select: masks from scores at a density, the way the final masks are chosen; for iterative scores.
    """

    model: nn.Module
    layers: tuple[Layer, ...]
    generator: torch.Generator
    shape: tuple[int, int, int]
    classes: int
    sample: Callable[[int, int], tuple[Tensor, Tensor]]
    density: float
    trained: Mapping[str, Tensor] | None = None
    select: Callable[[Scores, float], Masks] | None = None


def random(ctx: Context) -> Scores:
    """Score uniformly at random in [0, 1): within an allocation, this is a random ticket."""
    return {x.name: torch.rand(x.shape, generator=ctx.generator, dtype=torch.float64) for x in ctx.layers}


def magnitude(ctx: Context, *, of: Literal["trained", "init"] = "trained") -> Scores:
    """Score |w|: of the densely trained network that is the classical lottery ticket.

    Source: Frankle and Carbin 2019 (one-shot pruning).

    Args:
        of: the weights after dense training, or the initial ones.

    Raises:
        ReproError: trained weights are asked for and the context has none.
    """
    state = pick({"trained": ctx.trained, "init": ctx.model.state_dict()}, of, "magnitude.of")
    if state is None:
        raise ReproError("magnitude: no trained weights given; train the dense network first or use of: init")
    return {x.name: state[x.name].detach().abs() for x in ctx.layers}


def snip(
    ctx: Context,
    *,
    samples_per_class: Count = 10,
    batches: Count = 1,
    reinit: Literal["none", "xavier_normal"] = "none",
    bn: Literal["train", "eval"] = "train",
) -> Scores:
    """Score |w dL/dw|: how much the loss feels it when the weight goes.

    Source: Lee et al. 2019 (SNIP), connection sensitivity.

    Args:
        samples_per_class: images of each class in a batch.
        batches: how many batches; their gradients are added up before the absolute value.
        reinit: score the weights themselves, or others drawn anew for scoring (answer42, Gohil et al.).
        bn: batch norm by batch statistics, or by running ones. Dropout is always off.

    Differs from the reference: not divided by the sum of all scores, which changes no order.
    """
    model = _copy(ctx.model, bn)
    weights = _weights(model, ctx.layers)
    if pick({"none": False, "xavier_normal": True}, reinit, "snip.reinit"):
        _redraw(weights, ctx.generator)
    sums = [torch.zeros_like(w) for w in weights]
    for images, labels in _batches(ctx, samples_per_class, batches, weights[0]):
        loss = F.cross_entropy(model(images), labels)
        sums = [a + b for a, b in zip(sums, torch.autograd.grad(loss, weights), strict=True)]
    return _named(ctx.layers, [(w * g).abs() for w, g in zip(weights, sums, strict=True)])


def grasp(
    ctx: Context,
    *,
    samples_per_class: Count = 10,
    batches: Count = 1,
    temperature: Annotated[float, Field(gt=0)] = 200.0,
    bn: Literal["train", "eval"] = "train",
    reinit_last: bool = True,
    halves: bool = True,
    double: bool = False,
) -> Scores:
    """Score w (H g), with g the gradient and H the Hessian of the loss: keep what carries gradient flow.

    Source: Wang et al. 2020 (GraSP); their score is -w (H g), of which the largest are removed.

    Args:
        samples_per_class: images of each class in a batch.
        batches: how many batches.
        temperature: by which the outputs are divided.
        bn: batch norm by batch statistics, or by running ones. Dropout is always off.
        reinit_last: draw linear layers anew (Xavier normal) for scoring, as the authors' code does.
        halves: split each batch in two, which share no class as it is in order of class (authors' code).
        double: compute in double precision.

    Differs from the reference: not divided by the sum of all scores, which changes no order.
    """
    model = _copy(ctx.model, bn, torch.float64 if double else None)
    weights = _weights(model, ctx.layers)
    if reinit_last:
        _redraw([w for w, x in zip(weights, ctx.layers, strict=True) if x.kind == "linear"], ctx.generator)

    def loss_of(images: Tensor, labels: Tensor) -> Callable[[], Tensor]:
        return lambda: F.cross_entropy(model(images) / temperature, labels)

    losses = []
    for images, labels in _batches(ctx, samples_per_class, batches, weights[0]):
        middle = len(labels) // 2
        parts = [slice(middle), slice(middle, None)] if halves else [slice(None)]
        losses += [loss_of(images[part], labels[part]) for part in parts]
    return _named(ctx.layers, gradient_flow(losses, weights))


def gradient_flow(losses: Sequence[Callable[[], Tensor]], weights: Sequence[Tensor]) -> list[Tensor]:
    """Give w (H g) for the sum of some losses.

    Args:
        losses: functions that compute a scalar from the weights, each called twice.
        weights: leaves that require a gradient.
    """
    gradient = [torch.zeros_like(w) for w in weights]
    for loss in losses:
        gradient = [a + b for a, b in zip(gradient, torch.autograd.grad(loss(), weights), strict=True)]
    product = [torch.zeros_like(w) for w in weights]
    for loss in losses:
        slopes = torch.autograd.grad(loss(), weights, create_graph=True)
        along = torch.stack([(a * b).sum() for a, b in zip(gradient, slopes, strict=True)]).sum()
        product = [a + b for a, b in zip(product, torch.autograd.grad(along, weights), strict=True)]
    return [(w * p).detach() for w, p in zip(weights, product, strict=True)]


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
    model = _copy(ctx.model, "eval", torch.float64)
    for tensor in model.state_dict().values():
        tensor.abs_()  # running means too
    weights = _weights(model, ctx.layers)
    ones = torch.ones(1, *ctx.shape, dtype=torch.float64, device=weights[0].device)
    masks: Masks | None = None
    for step in range(1, iterations + 1):
        slopes = torch.autograd.grad(model(ones).sum(), weights)
        scores = _named(ctx.layers, [s.mul_(w.detach()) for w, s in zip(weights, slopes, strict=True)])
        if masks:
            scores = {n: score.masked_fill_(~masks[n].to(score.device), -1.0) for n, score in scores.items()}
        if step == iterations:
            return scores
        masks = select(scores, density_at(step / iterations))
        masks.apply_(model)
    raise AssertionError("iterations is at least 1")


SCORES: dict[str, Callable[..., Scores]] = {
    "random": random,
    "magnitude": magnitude,
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
}


def _copy(model: nn.Module, bn: str, dtype: torch.dtype | None = None) -> nn.Module:
    """Copy a model for scoring, dropout off; only what is asked for by `_weights` will require a gradient."""
    twin = copy.deepcopy(model).requires_grad_(False).eval()
    twin = twin.to(dtype) if dtype else twin
    for module in twin.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(pick(TRAINING, bn, "batch norm mode"))
    return twin


def _weights(model: nn.Module, layers: Sequence[Layer]) -> list[Tensor]:
    return [model.get_parameter(x.name).requires_grad_(True) for x in layers]


def _redraw(weights: Sequence[Tensor], generator: torch.Generator) -> None:
    for w in weights:
        fresh = torch.empty(w.shape)
        nn.init.xavier_normal_(fresh, generator=generator)
        with torch.no_grad():
            w.copy_(fresh)


def _batches(ctx: Context, per_class: int, batches: int, like: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for draw in range(batches):
        images, labels = ctx.sample(per_class, draw)
        yield images.to(like), labels.to(like.device)


def _named(layers: Sequence[Layer], scores: Sequence[Tensor]) -> Scores:
    return {x.name: score.detach() for x, score in zip(layers, scores, strict=True)}
