"""Sanity checks on tickets: break one property of the masks or weights and keep the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import ReproError
from ..masks import Masks, Ticket

Fresh = Callable[[torch.Generator], dict[str, Tensor]]


def rearrange(ticket: Ticket, generator: torch.Generator, fresh: Fresh) -> Ticket:
    """Permute the mask of each layer: keeps how many weights a layer has, not which.

    Source: Su et al. 2020 (layer-wise rearrange).

    Args:
        ticket: stays as it is; its weights remain at their places.
        generator: draws the permutations.
        fresh: unused.

    Raises:
        ReproError: every layer is full or empty, so that nothing can change.
    """
    _need(any(0 < mask.sum() < mask.numel() for mask in ticket.masks.values()), "rearrange", "pruned layer")
    masks = {name: _permuted(mask, generator) for name, mask in ticket.masks.items()}
    return _marked(replace(ticket, masks=Masks(masks)), "rearrange")


def permute_globally(ticket: Ticket, generator: torch.Generator, fresh: Fresh) -> Ticket:
    """Permute all masks as one: keeps the number of weights, but hardly the densities of layers.

    Source: Morcos et al. 2019 (random masks), as in Gohil et al.'s code.

    Args:
        ticket: stays as it is; its weights remain at their places.
        generator: draws the permutation.
        fresh: unused.

    Raises:
        ReproError: everything is kept, or nothing.
    """
    masks = ticket.masks
    _need(0 < masks.kept < masks.total, "permute_globally", "pruned weight")
    flat = _permuted(torch.cat([mask.flatten() for mask in masks.values()]), generator)
    parts = flat.split([mask.numel() for mask in masks.values()])
    shaped = {name: part.reshape(mask.shape) for (name, mask), part in zip(masks.items(), parts, strict=True)}
    return _marked(replace(ticket, masks=Masks(shaped)), "permute_globally")


def shuffle_kept(ticket: Ticket, generator: torch.Generator, fresh: Fresh) -> Ticket:
    """Permute the initial weights among the places a layer keeps: keeps the mask and the values used.

    Source: Su et al. 2020, code (shuffle unmasked weights); after Frankle et al. 2021.

    Args:
        ticket: stays as it is.
        generator: draws the permutations.
        fresh: unused.

    Raises:
        ReproError: no layer keeps two weights.
    """
    _need(
        any(mask.sum() > 1 for mask in ticket.masks.values()), "shuffle_kept", "layer with two kept weights"
    )
    changed = {}
    for name, mask in ticket.masks.items():
        changed[name] = ticket.weights[name].clone()
        changed[name][mask] = _permuted(ticket.weights[name][mask], generator)
    return _marked(_with(ticket, changed), "shuffle_kept")


def shuffle_all(ticket: Ticket, generator: torch.Generator, fresh: Fresh) -> Ticket:
    """Permute all initial weights of a layer, kept and pruned: keeps the mask and the distribution of values.

    Source: answer42, code (layer-wise weight shuffling).

    Args:
        ticket: stays as it is.
        generator: draws the permutations.
        fresh: unused.
    """
    changed = {name: _permuted(ticket.weights[name], generator) for name in ticket.masks}
    return _marked(_with(ticket, changed), "shuffle_all")


def reinitialise(ticket: Ticket, generator: torch.Generator, fresh: Fresh) -> Ticket:
    """Draw new initial weights: keeps the mask only.

    Source: Frankle and Carbin 2019 (random reinitialisation).

    Args:
        ticket: stays as it is.
        generator: handed to `fresh`.
        fresh: draws a new initial state of the same network.

    Raises:
        ReproError: the new state has other names or shapes.
    """
    state = fresh(generator)
    if {n: t.shape for n, t in state.items()} != {n: t.shape for n, t in ticket.weights.items()}:
        raise ReproError("reinitialise: the new state is of another network than the ticket")
    return _marked(replace(ticket, weights=state), "reinitialise")


def random_ticket(ticket: Ticket, generator: torch.Generator, fresh: Fresh) -> Ticket:
    """Permute the mask of each layer and draw new initial weights: keeps the layer counts, and nothing else.

    Source: Morcos et al. 2019 (random tickets).

    Args:
        ticket: stays as it is.
        generator: draws the permutations, then is handed to `fresh`.
        fresh: draws a new initial state of the same network.

    Raises:
        ReproError: nothing can change, or the new state is of another network.
    """
    drawn = reinitialise(rearrange(ticket, generator, fresh), generator, fresh)
    return _marked(replace(drawn, origin=ticket.origin), "random_ticket")


def random_ticket_global(ticket: Ticket, generator: torch.Generator, fresh: Fresh) -> Ticket:
    """Permute all masks as one and draw new initial weights: keeps the number of weights, and nothing else.

    Source: Gohil et al. 2020, code. Differs from it: there the weights of the round before stay in place, so that its
    random tickets are no random tickets.

    Args:
        ticket: stays as it is.
        generator: draws the permutation, then is handed to `fresh`.
        fresh: draws a new initial state of the same network.

    Raises:
        ReproError: everything is kept, or nothing; or the new state is of another network.
    """
    drawn = reinitialise(permute_globally(ticket, generator, fresh), generator, fresh)
    return _marked(replace(drawn, origin=ticket.origin), "random_ticket_global")


MASK_CHECKS: dict[str, Callable[..., Ticket]] = {
    "rearrange": rearrange,
    "shuffle_kept": shuffle_kept,
    "shuffle_all": shuffle_all,
    "reinitialise": reinitialise,
    "permute_globally": permute_globally,
    "random_ticket": random_ticket,
    "random_ticket_global": random_ticket_global,
}


def _permuted(values: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(values.numel(), generator=generator).to(values.device)
    return values.flatten()[order].reshape(values.shape)


def _with(ticket: Ticket, changed: Mapping[str, Tensor]) -> Ticket:
    return replace(ticket, weights={**ticket.weights, **changed})


def _marked(ticket: Ticket, check: str) -> Ticket:
    return replace(ticket, origin={**ticket.origin, "checks": [*ticket.origin.get("checks", []), check]})


def _need(possible: bool, check: str, what: str) -> None:
    if not possible:
        raise ReproError(f"{check}: the ticket has no {what}, so the check changes nothing; remove it")
