"""Making tickets: score, select, keep the masks by all that they depend on, apply the check."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from . import files, paths
from .checks import DATA_CHECKS, MASK_CHECKS, SCORE_CHECKS
from .data import Data, Split, balanced_batch, random_batch
from .data.augment import apply, draw, normalise
from .errors import ReproError
from .masks import Masks, Ticket
from .materials import corrupted, data_of, device, network
from .models import prunable
from .pruners import Context, make_masks
from .rng import stream
from .settings import Settings, digest

Trained = Callable[[int | None], Mapping[str, torch.Tensor]]
Ended = Callable[[], Masks]
Pause = Callable[[], None]
MOVE_MASKS = ("rearrange", "permute_globally")  # the checks on tickets that change which weights are kept
_BLANK = {name: Settings.model_fields[name].default for name in ("ticket", "check", "sparse")}


class Need(NamedTuple):
    """A run that a ticket needs, and the epochs after which its weights must be kept besides the last."""

    settings: Settings
    snapshots: tuple[int, ...] = ()


def pretraining(s: Settings) -> Settings | None:
    """Name the run that the ticket of `s` comes from; None when it needs none.

    That is the dense run that it is cut from, or starts from, or the run whose masks it takes. A check that
    corrupts data corrupts this run (Su et al., LT tickets): the ticket itself is trained on clean data.
    """
    if not s.ticket.needs_run:
        return None
    check = s.check if s.check.name in DATA_CHECKS else _BLANK["check"]
    if s.ticket.score == "mask_of":
        return s.source.model_copy(update={"check": check})
    own = {"epochs": s.ticket.pretrain, "multiplier": 1.0} if s.ticket.pretrain else {}
    return s.model_copy(update=_BLANK | {"check": check, "optim": s.optim.model_copy(update=own)})


def unchecked(s: Settings) -> Settings | None:
    """Name the ticket, at its initial weights, whose masks those of `s` are compared with.

    None where the check leaves masks as they are, or there is none.
    """
    if s.ticket.score is None or s.check.name not in (*DATA_CHECKS, *SCORE_CHECKS, *MOVE_MASKS):
        return None
    plain = s.ticket.model_copy(update={"weights": "init", "rewind": 0})
    return s.model_copy(update={"ticket": plain, "check": _BLANK["check"]})


def needs(s: Settings) -> list[Need]:
    """List the runs that must be there before `s` can be trained and its masks compared."""
    found = []
    if first := pretraining(s):
        found.append(Need(first, (s.ticket.rewind,) if s.ticket.weights == "rewound" else ()))
    clean = unchecked(s)
    if clean and clean.ticket.masks_from_run and (first := pretraining(clean)):
        found.append(Need(first))
    return found


Sampler = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]


def _samplers(split: Split, data: Data, s: Settings, where: torch.device) -> tuple[Sampler, Sampler]:
    """Make the functions that hand a score its augmented batches: class-balanced ones, and random ones."""
    mean, std = data.constants(s.data.normalise)

    def augmented(index: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        draws = draw(s.data.augment, len(index), split.images.shape[-1], generator)
        images = normalise(apply(s.data.augment, split.images[index], draws), mean, std)
        return images.to(where), split.labels[index].to(where)

    def sample(per_class: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = stream(s.seed, "sample", number)
        return augmented(balanced_batch(split, per_class, data.classes, generator), generator)

    def batch(size: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = stream(s.seed, "batch", number)
        return augmented(random_batch(split, size, generator), generator)

    return sample, batch


def ticket_of(s: Settings, trained: Trained, ended: Ended, pause: Pause = lambda: None) -> Ticket:
    """Make, or fetch, the ticket of a run, with its check applied.

    Args:
        s: the run; its ticket, check, model, data and seed are used.
        trained: gives the weights of the run that `pretraining` names, after some epochs or (None) the last; called
            only when needed.
        ended: gives the masks that this run ended with; called only when needed.
        pause: called now and then while scoring; what it raises ends the work.

    Raises:
        ReproError: when the run is dense, or the data or the density do not allow the ticket.
    """
    if s.ticket.score is None:
        raise ReproError("ticket.score: the dense network has no ticket; name a score")
    data = data_of(s)
    masks = _taken(s, ended()) if s.ticket.score == "mask_of" else _masks(s, data, trained, pause)
    ticket = Ticket(masks, _weights(s, data, trained), {"settings": s.changed()})
    if s.check.name in MASK_CHECKS:

        def fresh(generator: torch.Generator) -> dict[str, torch.Tensor]:
            return network(s, data, generator).state_dict()

        check = MASK_CHECKS[s.check.name]
        ticket = check(ticket, stream(s.seed, "check"), fresh, **s.check.options("name"))
    return ticket


def _weights(s: Settings, data: Data, trained: Trained) -> Mapping[str, torch.Tensor]:
    """Give the weights that a ticket starts from."""
    if s.ticket.weights == "init":
        return network(s, data).state_dict()
    return trained(s.ticket.rewind if s.ticket.weights == "rewound" else None)


def _taken(s: Settings, masks: Masks) -> Masks:
    """Check that the masks of another run keep what this one says it keeps."""
    off = abs(masks.density - s.ticket.density)
    if off * masks.total > 0.5 and off > 0.02 * s.ticket.density:
        raise ReproError(
            f"ticket.density: the masks of ticket.source keep {masks.density:.4g}, not {s.ticket.density:g}; give that"
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


def _masks(s: Settings, data: Data, trained: Trained, pause: Pause) -> Masks:
    path = paths.build() / "tickets" / f"{ticket_key(s)}.safetensors"
    with files.lock(path.with_suffix(".lock")):
        if path.exists():
            return Masks.load(path)
        masks = _score(s, data, trained(None) if s.ticket.masks_from_run else None, pause)
        masks.save(path, {"settings": json.dumps(s.changed())})
    return masks


def _score(s: Settings, data: Data, trained: Mapping[str, torch.Tensor] | None, pause: Pause) -> Masks:
    where, score = device(), s.ticket.score
    assert score is not None
    model = network(s, data).to(where)
    model.register_forward_pre_hook(lambda *_: pause())  # copied with the model: every score comes through it
    split = corrupted(data.train, s, data.classes) if s.ticket.sees_data else data.train
    sample, batch = _samplers(split, data, s, where)
    context = Context(
        model=model,
        layers=prunable(model),
        generator=stream(s.seed, "ticket"),
        shape=data.shape,
        classes=data.classes,
        sample=sample,
        batch=batch,
        trained={k: v.to(where) for k, v in trained.items()} if trained else None,
        density=s.ticket.density,
    )
    return make_masks(
        context,
        score=score,
        allocation=s.ticket.allocation,
        score_options=s.ticket.options("score"),
        allocation_options=s.ticket.options("allocation"),
        keep_dense=s.ticket.keep_dense,
        count_dense=s.ticket.count_dense,
        selection=s.ticket.selection,
        sampler=s.ticket.sampler,
        unit=s.ticket.unit,
        change=SCORE_CHECKS.get(s.check.name),
    ).to("cpu")
