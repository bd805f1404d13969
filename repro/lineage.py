"""Which other runs a ticket needs, and those before them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .checks import DATA_CHECKS, SCORE_CHECKS
from .parts import Check, Moment
from .settings import Settings

MOVE_MASKS = (
    "rearrange",
    "permute_globally",
    "random_ticket",
)  # the checks on tickets that change which weights are kept
_BLANK = {name: Settings.model_fields[name].default for name in ("ticket", "check", "sparse")}


class Need(NamedTuple):
    """A run that a ticket needs, and the epochs, or steps, after which its weights must be kept besides the last."""

    settings: Settings
    snapshots: tuple[Moment, ...] = ()


def pretraining(s: Settings) -> Settings | None:
    """Name the run that the masks of `s` come from, or the weights it starts from; None when it needs none.

    That is the dense run that the ticket is cut from, the run whose masks or layer densities it takes, or the round
    before. A check that corrupts data corrupts this run (Su et al., LT tickets): the ticket itself is trained on
    clean data.
    """
    if not s.ticket.needs_run:
        return lender(s)
    check = s.check if s.check.name in DATA_CHECKS else _BLANK["check"]
    if s.ticket.score == "mask_of":
        return s.source.model_copy(update={"check": check})
    rounds = s.ticket.options("score").get("rounds", 1)
    if rounds > 1:
        ticket = s.ticket.model_copy(update={"rounds": rounds - 1})
        return s.model_copy(update=_BLANK | {"check": check, "ticket": ticket})
    return _dense(s, check)


def lender(s: Settings) -> Settings | None:
    """Name the run that must be there before the layer densities that `s` takes; None where there is none."""
    if s.ticket.allocation != "induced" or s.ticket.options("allocation")["like"] is None:
        return None
    return s.source if s.source.sparse.method != "static" else pretraining(s.source)


def _dense(s: Settings, check: Check) -> Settings:
    """Name the run before any pruning: the dense network, or round 0 of another kind."""
    if s.ticket.score == "imp" and s.ticket.options("score")["start"]:
        return s.elsewhere("start").model_copy(update={"check": check})
    own = {"epochs": s.ticket.pretrain, "multiplier": 1.0} if s.ticket.pretrain else {}
    return s.model_copy(update=_BLANK | {"check": check, "optim": s.optim.model_copy(update=own)})


def origin(s: Settings) -> Settings | None:
    """Name the run whose weights `s` starts from; None when it starts from initial weights.

    After several rounds of pruning, weights are rewound to those of the dense network.
    """
    if s.ticket.weights in ("init", "start"):
        return None
    first = pretraining(s)
    if first is None or s.ticket.score != "imp" or s.ticket.weights != "rewound":
        return first
    return s.elsewhere("early") if s.ticket.options("score")["early"] else _dense(s, first.check)


def unchecked(s: Settings) -> Settings | None:
    """Name the ticket, at its initial weights, whose masks those of `s` are compared with.

    None where the check leaves masks as they are, or there is none.
    """
    if s.ticket.score is None or s.check.name not in (*DATA_CHECKS, *SCORE_CHECKS, *MOVE_MASKS):
        return None
    begun = {} if s.ticket.score == "imp" else {"weights": "init", "rewind": 0}  # later rounds depend on it
    plain = s.ticket.model_copy(update=begun)
    return s.model_copy(update={"ticket": plain, "check": _BLANK["check"]})


def needs(s: Settings) -> list[Need]:
    """List the runs that must be there before `s` can be trained and its masks compared."""
    snapshots = (s.ticket.rewind,) if s.ticket.weights == "rewound" else ()
    found = [Need(start, snapshots)] if (start := origin(s)) else []
    if (after := s.ticket.options("score").get("after")) and (first := pretraining(s)):
        return [*found, Need(first, (after,))]
    if (first := pretraining(s)) and first != start:
        found.append(Need(first))
    clean = unchecked(s)
    if clean and clean.ticket.masks_from_run and (first := pretraining(clean)):
        found.append(Need(first))
    return found


def lineage(s: Settings) -> Iterator[Settings]:
    """Walk all runs that must be there before `s`, and before those: rounds of pruning, their dense network."""
    for need in needs(s):
        yield need.settings
        yield from lineage(need.settings)
