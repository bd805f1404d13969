"""Which options of learned masks make sense together, and with the rest of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ReproError
from ..sparse_training import Learned, Popup, Soft
from ..sparse_training.learned import ASLEEP
from .basics import Optim
from .ticket import Ticket


def all_used(spec: Popup, changed: Mapping[str, Any]) -> None:
    """Refuse options of edge-popup that would change nothing.

    Args:
        spec: what the options say.
        changed: those that differ from their defaults.

    Raises:
        ReproError: on the first that is not used.
    """
    if "first" in changed and not spec.anneal:
        raise ReproError("sparse.first: not used without sparse.anneal; remove it")
    if spec.anneal and spec.levels == 1:
        raise ReproError("sparse.anneal: one level has its last density throughout; raise sparse.levels")
    if spec.anneal and spec.first <= spec.density:
        raise ReproError(f"sparse.first: {spec.first:g} is not above sparse.density; densities fall")
    if not spec.restart and spec.levels == 1:
        raise ReproError("sparse.restart: not used with one level; remove it")
    if spec.levels > 1 and not (spec.anneal or spec.restart):
        raise ReproError("sparse.levels: not used without sparse.anneal or sparse.restart; remove it")


def fits(spec: Learned, method: str, ticket: Ticket, optim: Optim) -> None:
    """Refuse learned masks that a run's ticket or training does not allow.

    Raises:
        ReproError: with what to change.
    """
    if ticket.norms:
        raise ReproError(f"ticket.norms: sparse.method {method!r} learns no batch-norm scales; remove it")
    if ticket.unit == "kernel":
        raise ReproError(f"ticket.unit: sparse.method {method!r} removes single weights; remove it")
    if isinstance(spec, Soft):
        decay = optim.weight_decay if spec.decay is None else spec.decay
        if decay == 0 and spec.start < ASLEEP:
            raise ReproError(
                f"sparse.decay: without weight decay a threshold stays at {spec.start:g}; raise it, or sparse.start"
            )
        return
    if spec.density > ticket.target:
        raise ReproError(
            f"sparse.density: {spec.density:g} is above ticket.density, and only its weights can be kept; lower it"
        )
    if spec.levels > optim.length:
        raise ReproError(f"sparse.levels: {spec.levels} do not fit into {optim.length} epochs; lower it")
    if spec.levels > 1 and spec.restart:
        _restarts(spec.levels, ticket, optim)


def _restarts(levels: int, ticket: Ticket, optim: Optim) -> None:
    if ticket.rewind:
        raise ReproError("sparse.restart: a rewound ticket goes on in its schedule; set it to false")
    if optim.warmup * max(1.0, optim.multiplier) >= optim.length // levels:
        raise ReproError(
            f"optim.warmup: {optim.warmup:g} epochs do not fit into a level of {optim.length // levels}; lower it"
        )
