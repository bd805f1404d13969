"""What a score works with: its context, and a copy of the network that it may do with as it likes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ..errors import pick
from ..masks import Masks
from ..models import Layer
from .select import Scores

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
        batch: `batch(size, draw)` gives as much of `size` random images, for scores that do not balance classes.
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
    batch: Callable[[int, int], tuple[Tensor, Tensor]] | None = None
    trained: Mapping[str, Tensor] | None = None
    select: Callable[[Scores, float], Masks] | None = None


def twin(model: nn.Module, bn: str, dtype: torch.dtype | None = None) -> nn.Module:
    """Copy a model for scoring, dropout off; only what `weights_of` gives will require a gradient.

    Its weights are laid out channel by channel, as batch norm on a processor adds up channels-last images
    with a hundred times the rounding error, which moves one score in a hundred across the threshold.

    Args:
        model: the network, which stays as it is.
        bn: "train" for batch norm by batch statistics, "eval" for running ones.
        dtype: another precision, if any.
    """
    copied = copy.deepcopy(model).requires_grad_(False).eval()
    copied = copied.to(dtype or next(copied.parameters()).dtype).to(memory_format=torch.contiguous_format)
    for module in copied.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(pick(TRAINING, bn, "batch norm mode"))
    return copied


def weights_of(model: nn.Module, layers: Sequence[Layer]) -> list[Tensor]:
    """Give the prunable weights, in order, and let them require a gradient."""
    return [model.get_parameter(x.name).requires_grad_(True) for x in layers]
