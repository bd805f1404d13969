"""Whether masks, weights and stored tensors are those of a network, before they are written or memory is taken."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import ReproError
from ..masks import Ticket
from ..vet import short
from . import codings
from .card import Card, Facts, Mode
from .plan import Plan, plan_of
from .weights import digest, drawn, expected

FORMATS = {torch.float32: "F32", torch.int64: "I64"}


def check_layers(card: Card, plan: Plan) -> None:
    """See that a card lists the prunable layers of its network, in order."""
    ours = {layer.name: list(layer.shape) for layer in plan.layers}
    theirs = {row.name: row.shape for row in card.layers}
    if list(theirs.items()) != list(ours.items()):
        odd = next((n for n in [*theirs, *ours] if theirs.get(n) != ours.get(n)), "their order")
        raise ReproError(f"its layers are not those of {card.network.name}: {short(odd)} differs")


def check_stored(file: Any, card: Card, plan: Plan) -> None:
    """See that the tensors of a file have the names, formats and sizes that its card asks for."""
    masks = {f"mask.{row.name}": codings.bound(row.coding, row.total, row.kept) for row in card.layers}
    others = expected(card, plan)
    names = set(file.keys())
    if odd := sorted(names ^ (masks.keys() | others.keys())):
        raise ReproError(f"tensor {short(odd[0])}: missing, or not of this ticket")
    for name in names:
        part = file.get_slice(name)
        kind, shape = part.get_dtype(), tuple(part.get_shape())
        if name in masks:
            fits = kind == "U8" and len(shape) == 1 and shape[0] <= masks[name]
        else:
            fits = kind == FORMATS[others[name][0]] and shape == others[name][1]
        if not fits:
            raise ReproError(f"tensor {name}: {kind} of shape {list(shape)} does not fit the network")


def check_fit(ticket: Ticket, plan: Plan, mode: Mode) -> None:
    """See that masks and weights are those of a network, before they are written."""
    ours = {layer.name: layer.shape for layer in plan.layers}
    theirs = {name: tuple(mask.shape) for name, mask in ticket.masks.items()}
    if list(theirs.items()) != list(ours.items()):
        odd = next((n for n in [*theirs, *ours] if theirs.get(n) != ours.get(n)), "the order")
        raise ReproError(f"the masks are not of network {plan.network.name}: {odd} differs")
    if mode == "none":
        if ticket.weights:
            raise ReproError("the ticket has weights; keep them with mode seed, kept or full")
        return
    for name in [*plan.state, *ticket.weights]:
        mine, given = plan.state.get(name), ticket.weights.get(name)
        if mine is None or given is None or (mine.shape, mine.dtype) != (given.shape, given.dtype):
            raise ReproError(f"the weights are not of network {plan.network.name}: {name} differs")


def from_seed(ticket: Ticket, facts: Facts) -> bool:
    """Tell whether the weights of a ticket are the initial ones that its seed gives, to the last bit."""
    if facts.seed is None or not ticket.weights:
        return False
    on_cpu = {name: tensor.detach().cpu() for name, tensor in ticket.weights.items()}
    return digest(drawn(plan_of(facts.network).network, facts.seed)) == digest(on_cpu)
