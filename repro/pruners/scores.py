"""What a weight is worth: one score per weight, high means keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ReproError, pick
from ..models import Layer
from .context import Context, Count, twin, weights_of
from .select import Scores
from .synflow import synflow

SAMPLES = 10  # images of each class, where nothing else is said
GRAPHS = 2  # second derivatives held in memory at once


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
    samples_per_class: Count = SAMPLES,
    batch_size: Annotated[int, Field(ge=2)] | None = None,
    batches: Count = 1,
    reinit: Literal["none", "xavier_normal"] = "none",
    bn: Literal["train", "eval"] = "train",
) -> Scores:
    """Score |w dL/dw|: how much the loss feels it when the weight goes.

    Source: Lee et al. 2019 (SNIP), connection sensitivity.

    Args:
        samples_per_class: images of each class in a batch (Su et al.: 10).
        batch_size: instead, so many random images of whatever classes, as in a step of training (the authors'
            code: 100, answer42: 64, Gohil et al.: 512).
        batches: how many batches; their gradients are added up before the absolute value.
        reinit: score the weights themselves, or others drawn anew for scoring (answer42, Gohil et al.).
        bn: batch norm by batch statistics, or by running ones. Dropout is always off.

    Raises:
        ReproError: both sizes of a batch are given.

    Differs from the reference: not divided by the sum of all scores, which changes no order.
    """
    if batch_size is not None and samples_per_class != SAMPLES:
        raise ReproError("snip: samples_per_class is not used with batch_size; remove one of them")
    model = twin(ctx.model, bn)
    weights = weights_of(model, ctx.layers)
    if pick({"none": False, "xavier_normal": True}, reinit, "snip.reinit"):
        _redraw(weights, ctx.generator)
    sums = [torch.zeros_like(w) for w in weights]
    for images, labels in _batches(ctx, samples_per_class, batches, weights[0], batch_size):
        loss = F.cross_entropy(model(images), labels)
        for total, slope in zip(sums, torch.autograd.grad(loss, weights), strict=True):
            total += slope
    return _named(ctx.layers, [g.mul_(w.detach()).abs_() for w, g in zip(weights, sums, strict=True)])


def grasp(
    ctx: Context,
    *,
    samples_per_class: Count = SAMPLES,
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
    model = twin(ctx.model, bn, torch.float64 if double else None)
    weights = weights_of(model, ctx.layers)
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
        losses: functions that compute a scalar from the weights. Each is called once if they are at most
            GRAPHS, whose graphs are kept for the second derivative; more are called twice, to save memory.
        weights: leaves that require a gradient.
    """
    keep = len(losses) <= GRAPHS
    kept: list[Sequence[Tensor]] = []
    gradient = [torch.zeros_like(w) for w in weights]
    for loss in losses:
        slopes = torch.autograd.grad(loss(), weights, create_graph=keep)
        kept += [slopes] if keep else []
        for total, slope in zip(gradient, slopes, strict=True):
            total += slope.detach()
    product = [torch.zeros_like(w) for w in weights]
    for loss in losses:
        slopes = kept.pop(0) if keep else torch.autograd.grad(loss(), weights, create_graph=True)
        along = torch.stack([(a * b).sum() for a, b in zip(gradient, slopes, strict=True)]).sum()
        for total, part in zip(product, torch.autograd.grad(along, weights), strict=True):
            total += part
    return [p.mul_(w.detach()) for w, p in zip(weights, product, strict=True)]


SCORES: dict[str, Callable[..., Scores]] = {
    "random": random,
    "magnitude": magnitude,
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
}


def _redraw(weights: Sequence[Tensor], generator: torch.Generator) -> None:
    for w in weights:
        fresh = torch.empty(w.shape)
        nn.init.xavier_normal_(fresh, generator=generator)
        with torch.no_grad():
            w.copy_(fresh)


def _batches(
    ctx: Context, per_class: int, batches: int, like: Tensor, size: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    if size is not None and ctx.batch is None:
        raise ReproError("batch_size: no source of random images is given; use samples_per_class")
    for draw in range(batches):
        images, labels = ctx.batch(size, draw) if size and ctx.batch else ctx.sample(per_class, draw)
        yield images.to(like).contiguous(), labels.to(like.device)


def _named(layers: Sequence[Layer], scores: Sequence[Tensor]) -> Scores:
    return {x.name: score.detach() for x, score in zip(layers, scores, strict=True)}
