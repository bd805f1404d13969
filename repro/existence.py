"""Does a random mask hold a given network, if only it is wide enough? A construction in numbers.

The target is a small ReLU network without biases. The source has one layer more, every neuron of the target but the
outputs `width` times over, and a random mask; its weights are free. From the output back, a copy of a target neuron
needs a kept link from one of the copies of each neuron before it, and gives that link the target's weight. A link
that no copy offers is missing, and what it would carry is lost: of `width` copies none is linked with probability
(1 - density)^width, so that the width needed should grow as 1 / log(1 / (1 - density)).

The source's first layer makes the copies of the inputs. Each of its width * inputs neurons copies one input that it
has a link from, whichever still wants copies.

Source: the statement of Gadhikar et al. 2023; as no table or code of theirs shows it in numbers, the construction
here is our own. Ours takes inputs of one sign (>= 0), for which ReLU copies an input as it is; for both signs the
first layer would be twice as wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .errors import ReproError
from .rng import stream

SIZES = (64, 10, 10, 4)  # as many inputs as an image of Digits has pixels
DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
WIDTHS = tuple(sorted({round(2 ** (step / 3)) for step in range(24)}))
POINTS = 32  # random inputs on which outputs are compared


class Source(NamedTuple):
    """What of many random masks the construction sees.

    Args:
        usable: (draws, inputs), how many neurons of the first layer copy each input.
        links: for each layer of the target (draws, out, copies, in): for each copy of a neuron, the number of the
            first copy of each neuron before it that has a kept link to it. Numbers beyond the copies mean none.
        width: copies of each neuron; the outputs have one.
    """

    usable: Tensor
    links: list[Tensor]
    width: int


def rate(density: float) -> float:
    """Give log(1 / (1 - density)), how fast the chance of no link falls with each copy.

    Raises:
        ReproError: when the density is not in (0, 1].
    """
    if not 0 < density <= 1:
        raise ReproError(f"density {density:g} of a random mask: give a fraction above 0 and up to 1")
    return -math.log1p(-density) if density < 1 else math.inf


def targets(sizes: Sequence[int], draws: int, generator: torch.Generator) -> list[Tensor]:
    """Draw target networks with He weights, N(0, 2 / fan_in).

    Args:
        sizes: neurons of each layer, inputs first and outputs last.
        draws: how many networks.
        generator: makes the weights, on its device.

    Returns:
        For each layer (draws, out, in), in double precision.
    """
    look = {"dtype": torch.float64, "device": generator.device, "generator": generator}
    return [torch.randn(draws, n, m, **look) * math.sqrt(2 / m) for m, n in pairwise(sizes)]


def draw(
    sizes: Sequence[int], density: float, width: int, draws: int, generator: torch.Generator
) -> Source:
    """Draw random masks of source networks, as far as the construction looks at them.

    Entries that are not looked at need no draw: where the first kept link of a group of copies stands follows the
    geometric law, and how many of some free neurons have a link from an input the binomial one.

    Args:
        sizes: of the target, inputs first.
        density: chance of each entry to be kept, in (0, 1].
        width: copies of each neuron, at least 1.
        draws: how many source networks.
        generator: makes the masks, on its device.

    Raises:
        ReproError: when there are fewer than two sizes or one copy, or the density is no fraction.
    """
    if len(sizes) < 2 or min(sizes) < 1 or width < 1 or draws < 1:
        raise ReproError(
            f"sizes {tuple(sizes)}, width {width}, draws {draws}: give at least two sizes and 1 of each"
        )
    slope, links = rate(density), []
    for depth, (before, after) in enumerate(pairwise(sizes), start=2):
        shape = (draws, after, width if depth < len(sizes) else 1, before)
        chance = 1 - torch.rand(shape, dtype=torch.float64, device=generator.device, generator=generator)
        links.append((-chance.log() / slope).floor().clamp(max=width).long())
    return Source(_deal(sizes[0], density, width, draws, generator), links, width)


def _deal(inputs: int, density: float, width: int, draws: int, generator: torch.Generator) -> Tensor:
    """Deal the neurons of the first layer out to the inputs, each to one that it has a link from.

    The neurons sit in one group per input. In each turn every group sees another input and gives it as many of its
    free neurons as have a link from it, up to `width` copies in all. Every entry of the mask is seen at most once.
    """
    free = torch.full((draws, inputs), float(width), dtype=torch.float64, device=generator.device)
    room, chance = free.clone(), torch.full_like(free, density)
    for turn in range(inputs):
        linked = torch.binomial(free, chance, generator=generator)
        given = torch.minimum(linked, room.roll(-turn, 1))
        free, room = free - given, room - given.roll(turn, 1)
    return (width - room).long()


def present(source: Source) -> list[Tensor]:
    """Tell which links of the target the copies have, as (draws, out, copies, in) for each layer."""
    first, *others = source.links
    return [first < source.usable[:, None, None], *(links < source.width for links in others)]


def outputs(weights: Sequence[Tensor], source: Source, x: Tensor) -> Tensor:
    """Compute what the source networks give out when each link that is there carries the target's weight.

    Args:
        weights: of the targets, for each layer (draws, out, in).
        source: as drawn for their sizes.
        x: (inputs, points), all >= 0.

    Returns:
        (draws, outputs, points).
    """
    carried = [w[:, :, None] * kept for w, kept in zip(weights, present(source), strict=True)]
    signal = carried[0] @ x  # all copies of an input are alike
    for weight, links in zip(carried[1:], source.links[1:], strict=True):
        places, signal = links.clamp(max=source.width - 1).flatten(1, 2), signal.relu()
        total = signal.new_zeros(*places.shape[:2], x.shape[1])
        for j in range(weight.shape[-1]):
            rows = signal[:, j].gather(1, places[..., j, None].expand_as(total))
            total += weight[..., j].flatten(1)[..., None] * rows
        signal = total.view(*links.shape[:3], -1)
    return signal.flatten(1, 2) if len(weights) == 1 else signal[:, :, 0]


def study(
    densities: Sequence[float] = DENSITIES,
    widths: Sequence[int] = WIDTHS,
    *,
    sizes: Sequence[int] = SIZES,
    draws: int = 20,
    seed: int = 0,
    most: float = 12.0,
) -> pd.DataFrame:
    """Measure how well random masks of some densities and widths hold random targets.

    Draw k has the same target and inputs at every density and width, and a mask of its own.

    Args:
        densities: of the masks, each in (0, 1].
        widths: copies of each neuron.
        sizes: of the target, inputs first.
        draws: targets and masks per density and width.
        seed: of everything that is drawn.
        most: widths with width * log(1 / (1 - density)) beyond this are left out, but for the first that is.

    Returns:
        density, width, scaled (width * log(1 / (1 - density))), seed (the draw), error (norm of the difference of
        the outputs over norm of the target's, on inputs uniform in [0, 1]) and missing (share of the links of all
        copies that are missing).

    Raises:
        ReproError: as `draw`.
    """
    weights = targets(sizes, draws, stream(seed, "existence", "targets"))
    x = torch.rand(sizes[0], POINTS, dtype=torch.float64, generator=stream(seed, "existence", "inputs"))
    wanted, made = x, []
    for depth, weight in enumerate(weights):
        wanted = weight @ (wanted.relu() if depth else wanted)
    for density in densities:
        scaled = rate(density) * np.asarray(sorted(widths))
        for width in sorted(widths)[: int((scaled <= most).sum()) + 1]:
            source = draw(sizes, density, width, draws, stream(seed, "existence", f"{density:g}", width))
            off = (outputs(weights, source, x) - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(
                dim=1
            )
            kept = torch.cat([links.flatten(1) for links in present(source)], 1).double().mean(1)
            found = {"seed": range(draws), "error": off.numpy(), "missing": 1 - kept.numpy()}
            made.append(
                pd.DataFrame({"density": density, "width": width, "scaled": rate(density) * width} | found)
            )
    return pd.concat(made, ignore_index=True)
