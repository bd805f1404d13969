"""The methods that move masks while a network trains: a menu of plans, which differ in a few choices.

Every keyword of an entry is a setting (`sparse.alpha`, `sparse.grow`, ...); its default is the RigL paper's, or that
of the method's own authors where RigL has nothing to say. The options stand for the rows in which the published codes
differ.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Annotated, Any, Literal

from pydantic import Field

from ..units import Reduction
from .learned import Learned, edge_popup, soft_threshold
from .plans import (
    Count,
    Decay,
    Drop,
    Flow,
    Grow,
    Part,
    Plan,
    Prune,
    Rank,
    Redistribute,
    Regrow,
    Regrown,
    Role,
    Scope,
    Timing,
    Unit,
)


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
    regrown: Regrown = "zero",
    noise: Annotated[float, Field(ge=0)] = 0.0,
    sampling: Literal["exact", "bernoulli"] = "exact",
    temper: bool = False,
    kernel_drop: Reduction = "mean",
    kernel_grow: Reduction = "mean",
    flow: Flow = "off",
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
        flow: after an update, give each channel that nothing enters or leaves an entry: "add" it, so that the
            density rises with every update, or "move" another one of its layer, whose count stays; a layer that
            keeps too few for that ends the run. It begins at weight and momentum zero. Source: Gadhikar et al.
            2023, code; see `repro.repair`.
    """
    choice = {k: v for k, v in locals().items() if k in Regrow.__dataclass_fields__}
    return Plan(interval, begin, update, regrow=Regrow(**choice), flow=flow)


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
    scope: Scope = "global",
    keep_dense: tuple[Role, ...] = ("first",),
    rank: Rank = "magnitude",
    update: Timing = "replace",
    flow: Flow = "off",
) -> Plan:
    """Plan gradual magnitude pruning: the sparsity rises from that of the start along a cubic curve.

    Source: Zhu and Gupta 2018. Differs from the replications' codes, which stop a little short of the density asked
    for: the last update of ours reaches it.

    Args:
        density: share of the prunable weights kept at the end.
        interval: steps from one update to the next.
        begin: share of the training at which pruning begins.
        until: share of the training by which the density is reached.
        scope: one threshold for all layers ("global"), or the same density for each ("layer"); "layer_plus" is
            "layer" until a fifth of the weights is left, and then keeps a fifth of the last layer, while the others
            share the rest (GMP_uniform and GraNet_uniform of Gadhikar et al. 2023, code).
        keep_dense: roles of layers that stay as they are; they count in the density.
        rank: what a weight is worth: |w|, or |w g| with the gradient of the batch ("taylor": what Gadhikar et al.'s
            code computes under the name of SynFlow), or its SynFlow score in the network as it is ("synflow").
        update: an update takes the place of the optimisation step, or follows it.
        flow: as in `rigl`; the next update makes up for what is added.
    """
    return Plan(interval, begin, update, prune=Prune(density, until, scope, keep_dense, rank), flow=flow)


def granet(
    *,
    density: Part,
    interval: Count = 1000,
    begin: Unit = 0.0,
    until: Unit = 0.5,
    regrow_until: Unit = 1.0,
    scope: Scope = "global",
    keep_dense: tuple[Role, ...] = (),
    rank: Rank = "magnitude",
    alpha: Part = 0.5,
    decay: Decay = "cosine",
    power: Annotated[float, Field(gt=0)] = 3.0,
    floor: Unit = 0.005,
    drop: Drop = "magnitude",
    grow: Grow = "gradient",
    redistribute: Redistribute = "none",
    dense_momentum: bool = False,
    update: Timing = "after",
    rounding: Literal["floor", "ceil"] = "ceil",
    regrown: Regrown = "keep",
    sampling: Literal["exact", "bernoulli"] = "exact",
    flow: Flow = "off",
) -> Plan:
    """Plan GraNet: each update prunes along the cubic curve, then drops and grows as many within each layer.

    Source: Liu et al. 2021 (gradual pruning with zero-cost neuroregeneration); defaults of interval, alpha and floor as
    in Gadhikar et al. 2023. Differs from both codes: counts are exact, so that the last pruning reaches the density and
    of equal weights the first goes; `drop` threshold drops ties as they do. The start is any ticket, or the dense
    network. Full layers neither drop nor grow.

    Args:
        density: share of the prunable weights kept at the end; that of the start is the ticket's.
        interval: steps from one update to the next.
        begin: share of the training before the first update.
        until: share of the training by which the density is reached.
        regrow_until: share of the training after which masks stay.
        scope: as in `gmp`.
        keep_dense: as in `gmp`; neither part touches these layers.
        rank: as in `gmp`, for pruning; `drop` is for the other part.
        alpha: as in `rigl`, and so are all below.
        decay: from alpha at the start of the training to the floor at `regrow_until`.
        power: see `rigl`.
        floor: see `rigl`.
        drop: see `rigl`.
        grow: see `rigl`.
        redistribute: see `rigl`.
        dense_momentum: see `rigl`.
        update: see `rigl`.
        rounding: see `rigl`.
        regrown: see `rigl`; what pruning has removed before is new when it grows, and begins at zero.
        sampling: see `rigl`.
        flow: see `rigl`; the next update makes up for what is added, also once the density is reached.
    """
    choice = {k: v for k, v in locals().items() if k in Regrow.__dataclass_fields__}
    choice["until"] = regrow_until
    removes = Prune(density, until, scope, keep_dense, rank)
    return Plan(interval, begin, update, regrow=Regrow(**choice), prune=removes, flow=flow)


def static() -> None:
    """Keep the masks as they are."""


METHODS: dict[str, Callable[..., Plan | Learned | None]] = {
    "static": static,
    "set": variant(rigl, "set", grow="random"),  # Mocanu et al. 2018
    "rigl": rigl,  # Evci et al. 2020
    "snfs": variant(
        rigl, "snfs", grow="momentum", redistribute="momentum", dense_momentum=True
    ),  # Dettmers 2019
    "rigl_sm": variant(rigl, "rigl_sm", redistribute="momentum"),  # Sundar and Dwaraknath 2021
    "rigl_sg": variant(rigl, "rigl_sg", redistribute="gradient"),
    "dst": variant(
        rigl,
        "dst",
        alpha=0.5,
        floor=0.005,
        interval=1000,
        until=1.0,
        update="after",
        rounding="ceil",
        regrown="keep",
    ),  # Gadhikar et al. 2023: GraNet without pruning, for the whole training
    "gmp": gmp,
    "granet": granet,  # Liu et al. 2021
    "str": soft_threshold,  # Kusupati et al. 2020
    "edge_popup": edge_popup,  # Ramanujan et al. 2020
}
