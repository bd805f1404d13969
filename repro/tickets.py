"""Making tickets: score, select, keep the masks by all that they depend on, apply the check."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import torch

from . import files, paths
from .checks import DATA_CHECKS, MASK_CHECKS, SCORE_CHECKS
from .data import Data
from .errors import ReproError
from .masks import Masks, Ticket
from .materials import data_of, network
from .models import prunable
from .parts import Check, Moment
from .pruners import top_k
from .rng import stream
from .scoring import prune_again, score
from .settings import Settings, digest

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

    That is the dense run that the ticket is cut from, the run whose masks it takes, or the round before. A check
    that corrupts data corrupts this run (Su et al., LT tickets): the ticket itself is trained on clean data.
    """
    if not s.ticket.needs_run:
        return None
    check = s.check if s.check.name in DATA_CHECKS else _BLANK["check"]
    if s.ticket.score == "mask_of":
        return s.source.model_copy(update={"check": check})
    rounds = s.ticket.options("score").get("rounds", 1)
    if rounds > 1:
        ticket = s.ticket.model_copy(update={"rounds": rounds - 1})
        return s.model_copy(update=_BLANK | {"check": check, "ticket": ticket})
    return _dense(s, check)


def _dense(s: Settings, check: Check) -> Settings:
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


class Store(Protocol):
    """Where the results of other runs come from; what is not there is made first."""

    def weights(self, of: Settings, after: Moment | None = None) -> Mapping[str, torch.Tensor]:
        """Give the weights of a run after some epochs or steps, or (None) at its end."""
        ...

    def start(self, of: Settings) -> Mapping[str, torch.Tensor]:
        """Give the weights that a run started from."""
        ...

    def masks(self, of: Settings) -> Masks:
        """Give the masks that a run ended with."""
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
    masks = _taken(s, data, store) if s.ticket.score == "mask_of" else _masks(s, data, store)
    ticket = Ticket(masks, weights, {"settings": s.changed(), "fresh": fresh})
    if s.check.name in MASK_CHECKS:

        def drawn(generator: torch.Generator) -> dict[str, torch.Tensor]:
            return network(s, data, generator).state_dict()

        check = MASK_CHECKS[s.check.name]
        ticket = check(ticket, stream(s.seed, "check"), drawn, **s.check.options("name"))
    return ticket


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
    return {name: own[name] if name in fresh else theirs[name] for name in own}, fresh


def _taken(s: Settings, data: Data, store: Store) -> Masks:
    """Take the masks of another run, and check that they keep what this one says it keeps."""
    first = pretraining(s)
    assert first is not None
    theirs, made, generator = store.masks(first), {}, stream(s.seed, "mismatch")
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
    start = ("weights", "rewind", "pretrain")
    ticket = {k: v for k, v in s.ticket.changed().items() if k not in start}
    parts: dict[str, Any] = {"ticket": ticket, "model": s.model.changed(), "seed": s.seed}
    parts["data"] = s.data.changed()
    if (s.check.name in DATA_CHECKS and s.ticket.sees_data) or s.check.name in SCORE_CHECKS:
        parts["check"] = s.check.changed()
    first = pretraining(s) if s.ticket.masks_from_run else None
    return digest({"ticket": parts, "pretraining": first.key() if first else None})


def _masks(s: Settings, data: Data, store: Store) -> Masks:
    path = paths.build() / "tickets" / f"{ticket_key(s)}.safetensors"
    with files.lock(path.with_suffix(".lock")):
        if path.exists():
            return Masks.load(path)
        first = pretraining(s) if s.ticket.masks_from_run else None
        trained = store.weights(first) if first else None
        if s.ticket.score == "imp":
            assert first and trained
            kept = store.masks(first) if first.ticket.score else None
            masks = prune_again(s, data, trained, kept, store.pause)
        else:
            masks = score(s, data, trained, store.pause)
        masks.save(path, {"settings": json.dumps(s.changed())})
    return masks
