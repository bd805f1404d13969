"""The methods that move masks while a network trains: a menu of plans, which differ in a few choices.

Every keyword of an entry is a setting (`sparse.alpha`, `sparse.grow`, ...); its default is the RigL paper's, or that
of the method's own authors where RigL has nothing to say. The options stand for the rows in which the published codes
differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Annotated, Any, Literal

from pydantic import Field

from ..units import Reduction

Part = Annotated[float, Field(gt=0, le=1)]
Unit = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Decay = Literal["cosine", "linear", "constant", "exponential"]
Drop = Literal["magnitude", "threshold", "set_signed", "taylor"]
Grow = Literal["random", "random_unfired", "gradient", "momentum"]
Redistribute = Literal["none", "nonzero", "gradient", "momentum"]
Role = Literal["first", "last", "shortcut"]
Timing = Literal["replace", "after"]


@dataclass(frozen=True)
class Regrow:
    """Drop the least useful living entries of each layer and grow as many anew; fields as in `drop_and_grow`."""

    alpha: float
    until: float
    decay: str
    power: float
    floor: float
    drop: str
    grow: str
    redistribute: str
    dense_momentum: bool
    rounding: str
    regrown: str
    noise: float
    sampling: str
    temper: bool
    kernel_drop: Reduction
    kernel_grow: Reduction

    @property
    def looks_at(self) -> set[str]:
        """Name what an update needs to see besides weights: "gradient", "momentum", "explored"."""
        found = {{"random_unfired": "explored"}.get(self.grow, self.grow), self.redistribute}
        return (found | ({"gradient"} if self.drop == "taylor" else set())) & {
            "gradient",
            "momentum",
            "explored",
        }


@dataclass(frozen=True)
class Prune:
    """Remove the smallest weights on a cubic schedule; fields as in `gmp`."""

    density: float
    until: float
    scope: str
    keep_dense: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """When masks move, and how: at every `interval`-th step from the share `begin` of the training on."""

    interval: int
    begin: float
    update: str
    regrow: Regrow | None = None
    prune: Prune | None = None

    @property
    def until(self) -> float:
        """Share of the training after which masks stay."""
        return max(part.until for part in (self.regrow, self.prune) if part)

    @property
    def dense_momentum(self) -> bool:
        """Whether the optimiser's state is kept for pruned weights too, from dense gradients at every step."""
        return bool(self.regrow and self.regrow.dense_momentum)

    @property
    def dense_gradient(self) -> bool:
        """Whether an update looks at the slope of weights that do not live."""
        return bool(self.regrow and self.regrow.grow == "gradient")


def rigl(
    *,
    alpha: Part = 0.3,
    interval: Count = 100,
    begin: Unit = 0.0,
    until: Unit = 0.75,
    decay: Decay = "cosine",
    power: Annotated[float, Field(gt=0)] = 3.0,
    floor: Unit = 0.0,
    drop: Drop = "magnitude",
    grow: Grow = "gradient",
    redistribute: Redistribute = "none",
    dense_momentum: bool = False,
    update: Timing = "replace",
    rounding: Literal["floor", "ceil"] = "floor",
    regrown: Literal["zero", "weight", "momentum", "keep"] = "zero",
    noise: Annotated[float, Field(ge=0)] = 0.0,
    sampling: Literal["exact", "bernoulli"] = "exact",
    temper: bool = False,
    kernel_drop: Reduction = "mean",
    kernel_grow: Reduction = "mean",
) -> Plan:
    """Plan updates that drop a falling fraction of each layer's living entries and grow as many.

    Args:
        alpha: fraction moved by the first update.
        interval: steps from one update to the next.
        begin: share of the training before the first update.
        until: share of the training after which masks stay.
        decay: how the fraction falls, a name in DECAYS; `power` is the exponent of "exponential".
        power: see there.
        floor: the fraction at the end of the updates.
        drop: what goes, a name in DROPS.
        grow: what comes, a name in GROWS.
        redistribute: a layer grows what it dropped ("none"), or its share of a statistic of all layers.
        dense_momentum: keep the optimiser's state of pruned weights, from dense gradients at every step.
        update: an update takes the place of the optimisation step (Evci et al.), or follows it and looks at
            the gradient from before the step (GraNet's code).
        rounding: of fraction times living entries: down (Evci et al.), or up (both replications).
        regrown: what an entry has that is dropped and grown at once: weight and momentum zero; its old "weight" and
            no momentum; its old "momentum" and weight zero (Sundar and Dwaraknath's code); or "keep" both (Evci et
            al.'s and GraNet's code). What is really new has zero for both.
        noise: deviation of the noise on |w| by which equal weights are told apart (Evci et al.'s code: 1e-5);
            at 0 the first of them goes.
        sampling: random growth of exactly so many, or of each place by itself (both replications).
        temper: a layer with fewer than 20 % of its weights pruned and more than the average share of the
            statistic moves at most the fraction that is pruned (Sundar and Dwaraknath's code). Without it, full
            layers stay as they are unless entries are redistributed.
        kernel_drop: of tickets made of whole kernels: a kernel's worth is the size of this of its weights.
        kernel_grow: likewise, of its gradients or momenta.
    """
    choice = {k: v for k, v in locals().items() if k in Regrow.__dataclass_fields__}
    return Plan(interval, begin, update, regrow=Regrow(**choice))


def variant(method: Callable[..., Plan], name: str, **defaults: Any) -> Callable[..., Plan]:
    """Make a menu entry that differs from another in the defaults of its keywords.

    Args:
        method: the other entry.
        name: of the new one.
        defaults: by keyword.
    """
    made = FunctionType(method.__code__, method.__globals__, name, method.__defaults__, method.__closure__)
    made.__kwdefaults__ = {**(method.__kwdefaults__ or {}), **defaults}
    made.__annotations__, made.__doc__, made.__module__ = method.__annotations__, method.__doc__, __name__
    return made


def gmp(
    *,
    density: Part,
    interval: Count = 100,
    begin: Unit = 0.0,
    until: Unit = 0.75,
    scope: Literal["global", "layer"] = "global",
    keep_dense: tuple[Role, ...] = ("first",),
    update: Timing = "replace",
) -> Plan:
    """Plan gradual magnitude pruning: the sparsity rises from that of the start along a cubic curve.

    Source: Zhu and Gupta 2018. Differs from the replications' codes, which stop a little short of the density asked
    for: the last update of ours reaches it.

    Args:
        density: share of the prunable weights kept at the end.
        interval: steps from one update to the next.
        begin: share of the training at which pruning begins.
        until: share of the training by which the density is reached.
        scope: one threshold for all layers, or the same density for each.
        keep_dense: roles of layers that stay as they are; they count in the density.
        update: an update takes the place of the optimisation step, or follows it.
    """
    return Plan(interval, begin, update, prune=Prune(density, until, scope, keep_dense))


def static() -> None:
    """Keep the masks as they are."""


METHODS: dict[str, Callable[..., Plan | None]] = {
    "static": static,
    "set": variant(rigl, "set", grow="random"),  # Mocanu et al. 2018
    "rigl": rigl,  # Evci et al. 2020
    "snfs": variant(
        rigl, "snfs", grow="momentum", redistribute="momentum", dense_momentum=True
    ),  # Dettmers 2019
    "rigl_sm": variant(rigl, "rigl_sm", redistribute="momentum"),  # Sundar and Dwaraknath 2021
    "rigl_sg": variant(rigl, "rigl_sg", redistribute="gradient"),
    "gmp": gmp,
}
