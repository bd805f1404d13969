"""Flow preservation: masks changed as little as it takes for every neuron to carry a signal."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from ..errors import ReproError, pick
from ..masks import Masks
from ..models import prunable
from .mend import Mender
from .move import Mover
from .signals import Signals
from .trace import Traced

__all__ = ["dead", "repair", "repaired_count"]

HOW = {"add": "more weights are kept", "move": "as many weights are kept, layer by layer"}


def repair(
    model: nn.Module,
    masks: Masks,
    shape: tuple[int, int, int],
    how: Literal["add", "move"],
    generator: torch.Generator,
) -> Masks:
    """Change masks so that no neuron is dead: each is reached from the image and leads on to an output.

    A neuron is a channel or feature of what a layer takes, after the additions of residual blocks, or a logit. It
    is alive if in some place, a pixel, it is at the end of a path of kept weights from the image and at the
    beginning of one to an output. A shortcut without weights carries signals too: an empty filter at the end of
    its block does no harm. Biases and the shifts of normalisation count for nothing, as in `flow`.

    From the image on, each neuron that nothing reaches gets one random entry in its row of a layer before it (of a
    random one, where there are several); then, from the outputs back, each that does not lead on gets one in its
    column of a layer behind it. Only entries are drawn that help: on a small image some parts of a kernel see
    nothing but the border. Masks that need no repair come back equal.

    Source: Gadhikar et al. 2023 (random pruning with flow preservation), authors' code.
    Differs from it: theirs looks at each layer alone, so it fills filters that a shortcut serves and misses dead
    ends that span several layers; it loses repairs of the input channels of convolutions, which are written to a
    copy; and it only adds. Its report counts layers, not entries (see `repaired_count`).

    Args:
        model: the network, which stays as it is: of convolutions, linear layers, normalisation, activations that
            turn 0 into 0, pools, additions and concatenations, as torch.fx can trace it.
        masks: what is kept of each prunable weight; a layer without a mask is kept whole.
        shape: (C, H, W) of one image.
        how: "add" keeps every old entry and adds to them, so the density rises; "move" puts each new entry in the
            place of a random old one of its layer that is not needed, so each layer keeps as many as before.
        generator: what entries are drawn by.

    Raises:
        ReproError: if the network cannot be followed, if the masks are not its own, if a layer keeps too few weights
            for "move", or if neurons stay dead whatever is kept.
    """
    pick(HOW, how, "way to repair")
    _check(model, masks)
    traced, device = Traced(model, shape), next(iter(masks.values())).device
    if how == "move":
        return Mover(traced, generator, masks.to("cpu")).move().to(device)
    mender = Mender(traced, generator)
    mender.keep(masks)
    mender.mend()
    return Masks(mender.kept(masks)).to(device)


def dead(model: nn.Module, masks: Masks, shape: tuple[int, int, int]) -> dict[str, int]:
    """Count the dead neurons, see `repair`.

    Args:
        model: the network, which stays as it is.
        masks: what is kept of each prunable weight; a layer without a mask is kept whole.
        shape: (C, H, W) of one image.

    Returns:
        Parameter name of each prunable weight, in order -> how many of the neurons that the layer takes are dead,
        those left out that a layer which runs earlier takes too; and "output" -> how many logits.

    Raises:
        ReproError: if the network cannot be followed, or if the masks are not its own.
    """
    _check(model, masks)
    signals = Signals(Traced(model, shape))
    signals.keep(masks)
    signals.reach()
    signals.lead()
    return dict.fromkeys((layer.name for layer in prunable(model)), 0) | signals.counts()


def repaired_count(before: Masks, after: Masks) -> int:
    """Count the entries that a repair has set.

    Args:
        before: the masks as they were.
        after: the masks as they are now, of the same layers.
    """
    return sum(
        int((after[name] & ~mask.to(after[name].device)).count_nonzero()) for name, mask in before.items()
    )


def _check(model: nn.Module, masks: Masks) -> None:
    known = {layer.name: layer.shape for layer in prunable(model)}
    for name, mask in masks.items():
        if known.get(name) != tuple(mask.shape):
            what = (
                f"shape {tuple(mask.shape)}, not {known[name]}" if name in known else "no layer of that name"
            )
            raise ReproError(f"repair: the mask {name} does not belong to this network: {what}")
