"""Making tickets: score, select, keep the masks by all that they depend on, apply the check."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch

from . import files, paths
from .checks import DATA_CHECKS, MASK_CHECKS
from .data import Data, Split, balanced_batch
from .data.augment import apply, draw, normalise
from .errors import ReproError
from .masks import Masks, Ticket
from .materials import corrupted, data_of, device, network
from .models import prunable
from .pruners import Context, make_masks, needs_data, needs_pretraining
from .rng import stream
from .settings import Settings, digest

Trained = Callable[[], Mapping[str, torch.Tensor]]
Pause = Callable[[], None]


def pretraining(s: Settings) -> Settings | None:
    """Name the dense run that the ticket of `s` is cut from; None when it needs none.

    A check that corrupts data corrupts this run (Su et al., LT tickets): the ticket itself is trained on clean data.
    """
    if s.ticket.score is None or not needs_pretraining(s.ticket.score, s.ticket.options("score")):
        return None
    blank = Settings.model_fields
    check = s.check if s.check.name in DATA_CHECKS else blank["check"].default
    return s.model_copy(update={"ticket": blank["ticket"].default, "check": check})


def _sampler(split: Split, data: Data, s: Settings, where: torch.device) -> Callable[[int, int], Any]:
    """Make the function that hands a score its class-balanced, augmented batches."""
    mean, std = data.constants(s.data.normalise)

    def sample(per_class: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = stream(s.seed, "sample", number)
        index = balanced_batch(split, per_class, data.classes, generator)
        draws = draw(s.data.augment, len(index), split.images.shape[-1], generator)
        images = normalise(apply(s.data.augment, split.images[index], draws), mean, std)
        return images.to(where), split.labels[index].to(where)

    return sample


def ticket_of(s: Settings, trained: Trained, pause: Pause = lambda: None) -> Ticket:
    """Make, or fetch, the ticket of a run, with its check applied.

    Args:
        s: the run; its ticket, check, model, data and seed are used.
        trained: gives the weights of the dense run that `pretraining` names; called only when needed.
        pause: called now and then while scoring; what it raises ends the work.

    Raises:
        ReproError: when the run is dense, or the data or the density do not allow the ticket.
    """
    if s.ticket.score is None:
        raise ReproError("ticket.score: the dense network has no ticket; name a score")
    data = data_of(s)
    weights = network(s, data).state_dict()
    masks = _masks(s, data, trained, pause)
    ticket = Ticket(masks, weights, {"settings": s.changed()})
    if s.check.name in MASK_CHECKS:

        def fresh(generator: torch.Generator) -> dict[str, torch.Tensor]:
            return network(s, data, generator).state_dict()

        check = MASK_CHECKS[s.check.name]
        ticket = check(ticket, stream(s.seed, "check"), fresh, **s.check.options("name"))
    return ticket


def ticket_key(s: Settings) -> str:
    """Name a ticket before checks: by all that its mask depends on, and nothing else."""
    parts: dict[str, Any] = {"ticket": s.ticket.changed(), "model": s.model.changed(), "seed": s.seed}
    parts["data"] = s.data.changed()
    if s.check.name in DATA_CHECKS:
        parts["check"] = s.check.changed()
    before = pretraining(s)
    return digest({"ticket": parts, "pretraining": before.key() if before else None})


def _masks(s: Settings, data: Data, trained: Trained, pause: Pause) -> Masks:
    path = paths.build() / "tickets" / f"{ticket_key(s)}.safetensors"
    with files.lock(path.with_suffix(".lock")):
        if path.exists():
            return Masks.load(path)
        masks = _score(s, data, trained() if pretraining(s) else None, pause)
        masks.save(path, {"settings": json.dumps(s.changed())})
    return masks


def _score(s: Settings, data: Data, trained: Mapping[str, torch.Tensor] | None, pause: Pause) -> Masks:
    where, score = device(), s.ticket.score
    assert score is not None
    model = network(s, data).to(where)
    model.register_forward_pre_hook(lambda *_: pause())  # copied with the model: every score comes through it
    split = (
        corrupted(data.train, s, data.classes) if needs_data(score, s.ticket.options("score")) else data.train
    )
    context = Context(
        model=model,
        layers=prunable(model),
        generator=stream(s.seed, "ticket"),
        shape=data.shape,
        classes=data.classes,
        sample=_sampler(split, data, s, where),
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
    ).to("cpu")
