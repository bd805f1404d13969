"""A trial of somebody's own pruner: what it does wrong comes to light before anything is trained."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..models import prunable
from ..rng import stream
from .context import Context
from .custom import Own, are_masks, call, checked
from .select import Scores, choose


class Found(NamedTuple):
    """What a trial found out: whether the function asks for images, and whether it gives masks or scores."""

    uses_data: bool
    masks: bool


class Images:
    """A sampler of noise that remembers whether it was asked."""

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        self.shape, self.classes, self.asked = tuple(shape), classes, False

    def __call__(self, per_class: int, draw: int) -> tuple[Tensor, Tensor]:
        """Give `per_class` images of each class, in order of class."""
        self.asked = True
        generator = stream(0, "trial images", per_class, draw)
        images = torch.randn(per_class * self.classes, *self.shape, generator=generator)
        return images, torch.arange(self.classes).repeat_interleave(per_class)


def trial(
    own: Own,
    function: Callable[..., Any],
    model: nn.Module,
    *,
    shape: tuple[int, int, int],
    classes: int,
    densities: Sequence[float],
    options: Mapping[str, Any],
    trained: bool = False,
) -> Found:
    """Call a function on noise, twice at the first density, and hold it to the contract of a score.

    Args:
        own: where it comes from, for messages.
        function: as `custom.load` gives it.
        model: the network to score, on the CPU; stays as it is.
        shape: of one image.
        classes: number of classes.
        densities: those that it will be asked for.
        options: its keyword options.
        trained: whether it will be given trained weights; here they are the initial ones and noise.

    Raises:
        ReproError: when it raises, breaks the contract, changes what it was given, or gives something else
            when called again.
    """
    images = Images(shape, classes)

    def context(density: float) -> Context:
        mine = copy.deepcopy(model)
        layers, noise = prunable(mine), stream(0, "trial weights")
        state = {k: v.clone() for k, v in mine.state_dict().items()} if trained else None
        for tensor in (state or {}).values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=noise), alpha=0.1)
        ctx = Context(
            mine, layers, stream(0, "trial"), shape, classes, images, density=density, trained=state
        )
        return dataclasses.replace(ctx, select=lambda scores, d: choose(scores, layers, d))

    def scores_of(density: float) -> tuple[Scores, bool]:
        ctx = context(density)
        found = call(own, function, ctx, options)
        changed = _changed(context(density), ctx)
        if changed:
            raise own.wrong(f"changes {changed}; work on a copy: copy.deepcopy(ctx.model)")
        return checked(own, found, ctx), are_masks(found)

    first, masks = scores_of(densities[0])
    again, _ = scores_of(densities[0])
    for name, score in first.items():
        if not torch.equal(score, again[name]):
            told = f"gives something else in layer {name} when called again with an equal context"
            raise own.wrong(f"{told}; draw random numbers with generator=ctx.generator")
    for density in densities[1:]:
        scores_of(density)
    return Found(images.asked, masks)


def _changed(before: Context, after: Context) -> str | None:
    """Name the first thing of a context that is not as it was."""
    if after.trained is not None and (name := _differing(before.trained or {}, after.trained)):
        return f"the trained weight {name}"
    old, new = dict(before.model.named_modules()), dict(after.model.named_modules())
    if [(n, type(m)) for n, m in old.items()] != [(n, type(m)) for n, m in new.items()]:
        return "the modules of the network"
    for name, module in new.items():
        if module.training != old[name].training:
            return f"the mode (train or eval) of {name or 'the network'}"
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
            return f"the hooks of {name or 'the network'}"
    weights = dict(after.model.named_parameters())
    if name := _differing(dict(before.model.named_parameters()), weights):
        return f"the weight {name}"
    if name := _differing(dict(before.model.named_buffers()), dict(after.model.named_buffers())):
        return f"the buffer {name}"
    for name, weight in before.model.named_parameters():
        if weight.requires_grad != weights[name].requires_grad:
            return f"requires_grad of {name}"
        if weights[name].grad is not None:
            return f"the gradient of {name}"
    return None


def _differing(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> str | None:
    """Name the first tensor that is not the same in value, shape or type, or is there only once."""
    for name in [*before, *(n for n in after if n not in before)]:
        if name not in after or name not in before:
            return name
        a, b = before[name], after[name]
        if a.dtype != b.dtype or a.device != b.device or not torch.equal(a, b):
            return name
    return None
