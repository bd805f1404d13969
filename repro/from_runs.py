"""Tickets whose masks come from other runs: a menu beside that of scores. `repro.tickets` makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from .moment import Moment, in_epochs

Part = Annotated[float, Field(gt=0, lt=1)]


def mask_of(
    *,
    source: str,
    mismatch: Literal["dense", "random"] = "dense",
    after: Annotated[Moment | None, BeforeValidator(in_epochs)] = None,
) -> None:
    """Take the masks that another run ended with, instead of scoring: a transferred ticket, a lottery mask.

    Args:
        source: words `section.key=value` that tell the other run from this one, which has this one's data,
            network, optimiser and seed but a ticket and moving masks of its own, e.g.
            "sparse.method=gmp sparse.density=0.2", or "data.name=cifar100 ticket.score=imp ticket.rounds=5".
        mismatch: what a layer keeps that has another shape here, as a classifier for other classes has: all of its
            weights, or as large a share as there at random. Its initial weights are this network's own.
        after: take the masks as they were after so many epochs (or steps, as "500it"), where they change in training:
            e.g. the ticket of each level of edge-popup.
    """


def imp(
    *,
    rounds: Annotated[int, Field(ge=1, le=100)],
    rate: Part = 0.2,
    by: Literal["magnitude", "snip", "synflow", "random"] = "magnitude",
    early: str | None = None,
    nested: bool = True,
    start: str | None = None,
) -> None:
    """Prune a share of what is left after each of several trainings (iterative magnitude pruning).

    Round r is a run by itself: it is cut from the trained weights of round r - 1, starts from the same early
    weights, and keeps (1 - rate)^r of the weights. Round 0 is the dense network, or a random mask (`start`).
    Source: Frankle and Carbin 2019; with weights rewound to an early epoch Frankle et al. 2020, Morcos et al. 2019;
    from a random mask Gadhikar et al. 2023.

    Args:
        rounds: how often has been pruned.
        rate: share of the weights left that each round removes.
        by: which go: the smallest after training, those whose connection sensitivity is least then (iterative
            SNIP, as the fork of Gohil et al.'s code has it), whose share in the flow of ones is (SynFlow), or any.
        early: words `section.key=value` that tell another dense run from this one's, whose early weights every
            round starts from instead, e.g. "data.name=cifar10a": the transfer of initial weights alone.
        nested: rank what the round before kept; else all weights anew. The fork's iterative SNIP ranks all, on weights
            drawn anew (so does `by` "snip" then), but trains the intersection with the earlier masks, and so ends
            sparser than it says; ours keeps what it says.
        start: words `section.key=value` that tell round 0 from the dense network, e.g. "ticket.score=random
            ticket.allocation=balanced ticket.density=0.3"; the density asked for is what rounds are counted from.
    """


FROM_RUNS: dict[str, Callable[..., None]] = {"mask_of": mask_of, "imp": imp}
# Settings of a ticket that such an entry has no use for.
UNUSED = {
    "mask_of": {"allocation", "count_dense", "selection", "sampler", "pretrain"},
    "imp": {"density", "selection", "sampler", "unit", "pretrain"},
}
