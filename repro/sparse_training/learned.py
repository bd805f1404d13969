"""Masks that are learned by gradients: two entries of the menu. `repro.learned` applies them.

Soft thresholds prune what they overtake (STR); scores choose a subnetwork of weights that are never trained
(edge-popup, strong tickets). Every keyword of an entry is a setting; the options stand for the rows in which the
published codes differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from .plans import Count, Part, Role

ASLEEP = -88.0  # at a lower start float32 has 0 for threshold and slope, so that only weight decay moves it


@dataclass(frozen=True)
class Soft:
    """One learned threshold for each layer; fields as in `soft_threshold`."""

    start: float
    function: str
    decay: float | None
    keep_dense: tuple[str, ...]
    rate: float


@dataclass(frozen=True)
class Popup:
    """The highest scores of each layer choose its weights; fields as in `edge_popup`."""

    density: float
    levels: int
    anneal: bool
    first: float
    scores: str
    scale_fan: bool
    biases: str
    restart: bool

    def densities(self, held: float = 1.0) -> tuple[float, ...]:
        """Give the fraction of a layer kept at each level, from the first to the last.

        Args:
            held: fraction of the layer that the source keeps, at least `density` (but for rounding).
        """
        if not self.anneal:
            return (self.density,) * self.levels
        factor, now, found = (self.density / self.first) ** (1 / self.levels), self.first, []
        for _ in range(self.levels - 1):
            now = min(now * factor, held)
            found.append(max(now, self.density))
        return (*found, self.density)

    def begins(self, length: int) -> tuple[int, ...]:
        """Give the epoch, from 0, at which each level begins; lengths of levels differ by one epoch at most.

        Args:
            length: epochs of the whole training, at least `levels`.
        """
        return tuple(i * length // self.levels for i in range(self.levels))


Learned = Soft | Popup


def soft_threshold(
    *,
    start: Annotated[float, Field(le=0)] = -200.0,
    function: Literal["sigmoid", "exponential"] = "sigmoid",
    decay: Annotated[float, Field(ge=0)] | None = None,
    keep_dense: tuple[Role, ...] = (),
    rate: Annotated[float, Field(gt=0)] = 1.0,
) -> Soft:
    """Train w as sign(w) max(0, |w| - g(s)) with a number s for each layer (STR).

    The density at the end is an outcome. At the usual start g(s) and its slope are 0 in float32: the weight decay
    of s moves it up until they are not, and so decides how much is pruned, together with rate and epochs.
    With a ticket its masks hold besides (STRConvER of Gadhikar et al.): 0 outside, thresholds within.

    Source: Kusupati et al. 2020, equation 5; Gadhikar et al. 2023, code, whose masks are no part of its state.
    Differs from their codes, whose stems may have no threshold (`keep_dense` "first") and whose classifiers are
    convolutions: ours is a linear layer and has its threshold too.

    Args:
        start: first value of s.
        function: g: "sigmoid", or "exponential" exp(s).
        decay: weight decay of s, which `optim.decay_1d` does not touch; none given: `optim.weight_decay`.
        keep_dense: roles of layers without a threshold.
        rate: factor on the learning rate of s.
    """
    return Soft(start, function, decay, keep_dense, rate)


def edge_popup(
    *,
    density: Part,
    levels: Count = 1,
    anneal: bool = False,
    first: Part = 0.6,
    scores: Literal["kaiming_uniform", "constant"] = "kaiming_uniform",
    scale_fan: bool = False,
    biases: Literal["kept", "ranked"] = "kept",
    restart: bool = True,
) -> Popup:
    """Train a score for each weight, and no weight: a layer keeps those of the largest |score| (strong tickets).

    Weights and biases stay as they start. Scale and shift of batch norm are trained as usual; the published codes
    have none (`model.bn_affine=false` where a network has the option). With a ticket only its weights can be kept.

    Source: Ramanujan et al. 2020 (hidden-networks, one level); in levels and within a random mask Gadhikar et al.
    2023. Differs from Gadhikar et al.'s code, which leaves the raw score of all that lies outside the mask in
    place of 0, so that it trains a dense network: ours keeps nothing there. Their option --scaling is left out.

    Args:
        density: fraction of each layer's entries kept at the end, of the whole layer and not of the ticket's.
        levels: parts of equal length that the epochs are split into.
        anneal: lower the density by one factor from level to level, so that the last has `density`; else all have.
            A layer whose ticket holds less than that keeps what it holds, and falls from there.
        first: the density that the factor starts from; the first level is one factor below.
        scores: where they start: "kaiming_uniform" U(-b, b), b = 1 / sqrt(fan_in), for biases sqrt(6 / fan_in);
            "constant" (Gadhikar et al.): 0.5 in convolutions, of equal scores the first win; linear layers drawn.
        scale_fan: divide weights by sqrt(density) at the start.
        biases: "kept" as they are; "ranked": those of a layer compete with its weights for its places, and are in
            every ticket (what Gadhikar et al.'s code means to do).
        restart: the learning-rate schedule, warm-up included, begins anew at each level (Gadhikar et al.); else it
            runs once over all. The optimiser's state goes on.
    """
    return Popup(density, levels, anneal, first, scores, scale_fan, biases, restart)


def rounded(density: float, entries: int) -> int:
    """Count the entries that a density keeps, halves rounded up."""
    return math.floor(density * entries + 0.5)
