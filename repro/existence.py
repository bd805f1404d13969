"""Does a random mask hold a given network, if only it is wide enough? A construction in numbers.

The target is a small ReLU network without biases. The source has one layer more, every neuron of the target but the
outputs `width` times over, and a random mask; its weights are free. From the output back, a copy of a target neuron
needs a kept link from one of the copies of each neuron before it, and gives that link the target's weight. A link
that no copy offers is missing, and what it would carry is lost: of `width` copies none is linked with probability
(1 - density)^width, so that the width needed should grow as 1 / log(1 / (1 - density)).

The source's first layer makes the copies of the inputs. Each of its width * inputs neurons copies one input that it
has a link from, whichever still wants copies; few have none once density * inputs is above 3 or so.

Source: the statement of Gadhikar et al. 2023; as no table or code of theirs shows it in numbers, the construction
here is our own. Ours takes inputs of one sign (>= 0), for which ReLU copies an input as it is; for both signs the
first layer would be twice as wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from .errors import ReproError
from .materials import threads
from .rng import stream
from .widening import needed, rate, spread

__all__ = [
    "Source",
    "draw",
    "needed",
    "outputs",
    "present",
    "rate",
    "spread",
    "study",
    "targets",
    "unreached",
]
SIZES = (64, 10, 10, 4)  # as many inputs as an image of Digits has pixels
DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
WIDTHS = tuple(sorted({round(2 ** (step / 3)) for step in range(24)}))
POINTS = 32  # random inputs on which outputs are compared
MOST = 12.0  # scaled width beyond which hardly a link is missing


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


def draw(sizes: Sequence[int], density: float, width: int, draws: int, generator: torch.Generator) -> Source:
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


@threads(1)
def study(
    densities: Sequence[float] = DENSITIES,
    widths: Sequence[int] = WIDTHS,
    *,
    sizes: Sequence[int] = SIZES,
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure how well random masks of some densities and widths hold random targets.

    Draw k has the same target and inputs at every density and width, and a mask of its own. Widths far beyond what
    a density needs are left out, see MOST.

    Args:
        densities: of the masks, each in (0, 1].
        widths: copies of each neuron.
        sizes: of the target, inputs first.
        draws: targets and masks per density and width.
        seed: of everything that is drawn.

    Returns:
        density, width, scaled (width * log(1 / (1 - density))), seed (the draw), error (norm of the difference of
        the outputs over norm of the target's, on inputs uniform in [0, 1]) and missing (share of the links of all
        copies that are missing).

    Raises:
        ReproError: as `draw`.
    """
    weights = targets(sizes, draws, stream(seed, "existence", "targets"))
    x = torch.rand(sizes[0], POINTS, dtype=torch.float64, generator=stream(seed, "existence", "inputs"))
    wanted, made = weights[0] @ x, []
    for weight in weights[1:]:
        wanted = weight @ wanted.relu()
    for density, width in _pairs(densities, widths):
        source = draw(sizes, density, width, draws, stream(seed, "existence", repr(float(density)), width))
        off = (outputs(weights, source, x) - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
        kept = torch.cat([links.flatten(1) for links in present(source)], 1).double().mean(1)
        cell = {"density": density, "width": width, "scaled": width * rate(density), "seed": range(draws)}
        made.append(pd.DataFrame(cell | {"error": off.numpy(), "missing": 1 - kept.numpy()}))
    return pd.concat(made, ignore_index=True)


def _pairs(densities: Sequence[float], widths: Sequence[int]) -> list[tuple[float, int]]:
    """Pair densities with widths, up to the first at which the scaled width is MOST or more."""
    made = []
    for density in densities:
        few = [width for width in sorted(widths) if width * rate(density) < MOST]
        made += [(density, width) for width in sorted(widths)[: len(few) + 1]]
    return made


@threads(1)
def unreached(
    densities: Sequence[float] = DENSITIES,
    widths: Sequence[int] = WIDTHS,
    *,
    inputs: int = SIZES[0],
    draws: int = 400,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure how often no construction whatever can work: some input has no link into the only hidden layer.

    In a source of three layers of neurons (inputs, `width` hidden ones, outputs) no choice of weights then gives a
    target of one hidden neuron that looks at all inputs: the outputs do not depend on one of them. The chance of
    that falls with width on the same scale, which so is necessary. Masks of one density are cut from the widest, and
    so share their draws.

    Source: Gadhikar et al. 2023, that the factor is necessary for three layers; the argument is our own.

    Args:
        densities: of the masks, each in (0, 1].
        widths: neurons of the hidden layer, which are copies of the target's one.
        inputs: how many the target looks at.
        draws: masks per density.
        seed: of the masks.

    Returns:
        density, width, scaled, n (draws), failed (how many of the masks leave an input without a link) and exact
        (its probability, 1 - (1 - (1 - density)^width)^inputs).

    Raises:
        ReproError: when a density is not in (0, 1].
    """
    made = []
    for density in densities:
        tried = [width for _, width in _pairs([density], widths)]
        generator = stream(seed, "existence", "unreached", repr(float(density)))
        mask = torch.rand(draws, tried[-1], inputs, generator=generator) < density
        for width in tried:
            failed = draws - int(mask[:, :width].any(1).all(1).sum())
            exact = 1 - (1 - (1 - density) ** width) ** inputs
            cell = {"density": density, "width": width, "scaled": width * rate(density), "n": draws}
            made.append(cell | {"failed": failed, "exact": exact})
    return pd.DataFrame(made)
