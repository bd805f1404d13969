"""Making tickets: score, select, keep the masks by all that they depend on, apply the check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch

from . import files, paths, seals
from .adjust import ADJUSTMENTS
from .checks import DATA_CHECKS, MASK_CHECKS, SCORE_CHECKS
from .data import Data
from .errors import ReproError
from .lineage import lender, origin, pretraining
from .masks import Masks, Ticket
from .materials import data_of, network
from .models import prunable
from .parts import Moment
from .pruners import top_k
from .rng import stream
from .scoring import prune_again, repaired, reset, score
from .settings import Settings, digest


class Store(Protocol):
    """Where the results of other runs come from; what is not there is made first."""

    def weights(self, of: Settings, after: Moment | None = None) -> Mapping[str, torch.Tensor]:
        """Give the weights of a run after some epochs or steps, or (None) at its end."""
        ...

    def start(self, of: Settings) -> Mapping[str, torch.Tensor]:
        """Give the weights that a run started from."""
        ...

    def masks(self, of: Settings, after: Moment | None = None) -> Masks:
        """Give the masks that a run had after some epochs or steps, or (None) at its end."""
        ...

    def pause(self) -> None:
        """Be called now and then while scoring; what it raises ends the work."""
        ...


def ticket_of(s: Settings, store: Store) -> Ticket:
    """Make, or fetch, the ticket of a run, with its check applied.

    Args:
        s: the run; its ticket, check, model, data and seed are used.
        store: results of other runs.

    Raises:
        ReproError: when the run is dense, or the data or the density do not allow the ticket.
    """
    if s.ticket.score is None:
        raise ReproError("ticket.score: the dense network has no ticket; name a score")
    data = data_of(s)
    weights, fresh = _weights(s, data, store)
    masks = masks_of(s, data, store)
    ticket = Ticket(masks, weights, {"settings": s.changed(), "fresh": fresh})
    if s.check.name in MASK_CHECKS:

        def drawn(generator: torch.Generator) -> dict[str, torch.Tensor]:
            return network(s, data, generator).state_dict()

        check = MASK_CHECKS[s.check.name]
        ticket = check(ticket, stream(s.seed, "check"), drawn, **s.check.options("name"))
    if s.ticket.adjust != "none":
        adjusted = ADJUSTMENTS[s.ticket.adjust](ticket.weights, ticket.masks, **s.ticket.options("adjust"))
        ticket = replace(ticket, weights=adjusted)
    return ticket


def masks_of(s: Settings, data: Data, store: Store) -> Masks:
    """Make, or fetch, the masks of a ticket before any check; arguments as for `ticket_of`."""
    if s.ticket.score != "mask_of":
        return _masks(s, data, store)
    return repaired(s, data, _taken(s, data, store))


def _weights(s: Settings, data: Data, store: Store) -> tuple[Mapping[str, torch.Tensor], list[str]]:
    """Give the weights that a ticket starts from, and the names of those that had another shape elsewhere."""
    own, start = network(s, data).state_dict(), origin(s)
    if s.ticket.weights == "start":
        theirs = store.start(s.source)
    elif start is None:
        return own, []
    else:
        theirs = store.weights(start, s.ticket.rewind if s.ticket.weights == "rewound" else None)
    fresh = [name for name, value in own.items() if theirs[name].shape != value.shape]
    theirs = reset(own, theirs, s.ticket.reset, [x.name for x in prunable(network(s, data))])
    return {name: own[name] if name in fresh else theirs[name] for name in own}, fresh


def _taken(s: Settings, data: Data, store: Store) -> Masks:
    """Take the masks of another run, and check that they keep what this one says it keeps."""
    first = pretraining(s)
    assert first is not None
    theirs = store.masks(first, s.ticket.options("score")["after"])
    made, generator = {}, stream(s.seed, "mismatch")
    model = network(s, data)
    for layer in prunable(model, norms=len(theirs) > len(prunable(model))):
        mask = theirs.get(layer.name)
        if mask is None or (mask.shape != layer.shape and layer.role != "last"):
            raise ReproError(
                f"ticket.source: a run of another network, {layer.name} differs; only classes may differ"
            )
        if mask.shape != layer.shape:
            dense = s.ticket.options("score")["mismatch"] == "dense"
            share = 1.0 if dense else mask.float().mean().item()
            mask = top_k(torch.rand(layer.numel, generator=generator), round(share * layer.numel)).reshape(
                layer.shape
            )
        made[layer.name] = mask
    masks, off = Masks(made), abs(theirs.density - s.ticket.density)
    if off * theirs.total > 0.5 and off > 0.02 * s.ticket.density:
        raise ReproError(
            f"ticket.density: the masks of ticket.source keep {theirs.density:.4g}, not {s.ticket.density:g}; give that"
        )
    return masks


def ticket_key(s: Settings) -> str:
    """Name a ticket before checks: by all that its mask depends on, and nothing else."""
    start = {"weights", "rewind", "pretrain", "reset", "adjust", *s.ticket.options("adjust")}
    ticket = {k: v for k, v in s.ticket.changed().items() if k not in start}
    parts: dict[str, Any] = {"ticket": ticket, "model": s.model.changed(), "seed": s.seed}
    parts["data"] = s.data.changed()
    if (s.check.name in DATA_CHECKS and s.ticket.sees_data) or s.check.name in SCORE_CHECKS:
        parts["check"] = s.check.changed()
    first = pretraining(s) if s.ticket.masks_from_run else lender(s)
    return digest({"ticket": parts, "pretraining": first.key() if first else None})


def _lent(s: Settings, data: Data, store: Store) -> dict[str, float] | None:
    """Look up the layer densities that a ticket takes from another; None where it takes none."""
    if s.ticket.allocation != "induced" or s.ticket.options("allocation")["like"] is None:
        return None
    theirs = s.source
    found = (
        store.masks(theirs) if theirs.sparse.method != "static" else masks_of(theirs, data_of(theirs), store)
    )
    known, layers = found.layer_densities(), prunable(network(s, data))
    if missing := [x.name for x in layers if x.name not in known]:
        raise ReproError(f"ticket.like: a run of another network, which has no layer {missing[0]}")
    return {x.name: known[x.name] for x in layers}


def _masks(s: Settings, data: Data, store: Store) -> Masks:
    path = paths.build() / "tickets" / f"{ticket_key(s)}.safetensors"
    with files.lock(path.with_suffix(".lock")):
        if path.exists():
            try:
                return Masks.load(path, own=True)
            except seals.DamagedError as error:
                seals.set_aside(path, error)
        first = pretraining(s) if s.ticket.masks_from_run else None
        trained = store.weights(first) if first else None
        if s.ticket.score == "imp":
            assert first and trained
            kept = store.masks(first) if first.ticket.score else None
            masks = prune_again(s, data, trained, kept, store.pause)
        else:
            masks = score(s, data, trained, store.pause, _lent(s, data, store))
        masks = repaired(s, data, masks)
        masks.save(path, {"settings": json.dumps(s.changed())})
    return masks
