"""Masks made here: by a score, or by another round of pruning a trained network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch

from .checks import SCORE_CHECKS
from .data import Data, Split, balanced_batch, random_batch
from .data.augment import apply, draw, normalise
from .masks import Masks
from .materials import corrupted, device, network
from .models import prunable
from .pruners import SCORES, Context, choose, make_masks
from .repair import repair
from .rng import stream
from .settings import Settings

Pause = Callable[[], None]
Weights = Mapping[str, torch.Tensor]
Sampler = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]


def samplers(split: Split, data: Data, s: Settings, where: torch.device) -> tuple[Sampler, Sampler]:
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


def score(
    s: Settings, data: Data, trained: Weights | None, pause: Pause, lent: Mapping[str, float] | None = None
) -> Masks:
    """Score the weights and keep the best.

    Args:
        s: the run; its ticket, check, model and seed are used.
        data: its images.
        trained: weights of a trained dense network, for scores that look at one.
        pause: called now and then; what it raises ends the work.
        lent: layer densities of another mask, for the allocation that takes them.
    """
    assert s.ticket.score is not None
    ctx, options = _context(s, data, trained, pause), s.ticket.options("allocation")
    if lent is not None:
        sparse = [x.name for x in ctx.layers if x.role not in s.ticket.keep_dense]
        options = {"densities": tuple(lent[name] for name in sparse)}
    return make_masks(
        ctx,
        score=s.ticket.score,
        allocation=s.ticket.allocation,
        score_options=s.ticket.options("score"),
        allocation_options=options,
        keep_dense=s.ticket.keep_dense,
        count_dense=s.ticket.count_dense,
        selection=s.ticket.selection,
        sampler=s.ticket.sampler,
        unit=s.ticket.unit,
        change=SCORE_CHECKS.get(s.check.name),
    ).to("cpu")


def prune_again(s: Settings, data: Data, trained: Weights, kept: Masks | None, pause: Pause) -> Masks:
    """Rank by the trained weights what the round before kept; what it pruned stays so, unless asked otherwise.

    Differs from the replication of Morcos et al., whose threshold is interpolated between two weights: ours keeps an
    exact number. Batch-norm scales, which its code prunes too, are left alone as in the paper, unless asked for.

    Args:
        s: the run; rounds, rate and by of its ticket are used.
        data: its images.
        trained: weights at the end of the round before.
        kept: masks of that round; None after round 0, the dense network.
        pause: see `score`.
    """
    ctx = _context(s, data, trained, pause)
    told = s.ticket.options("score")
    if told["by"] in ("snip", "synflow"):
        ctx.model.load_state_dict(dict(trained))
    anew = {"reinit": "xavier_normal"} if told["by"] == "snip" and not told["nested"] else {}
    scores = SCORES[told["by"]](ctx, **anew)
    if kept and told["nested"]:
        scores = {name: x.masked_fill(~kept[name].to(x.device), -1.0) for name, x in scores.items()}
    return choose(
        scores,
        ctx.layers,
        s.ticket.target,
        s.ticket.allocation,
        allocation_options=s.ticket.options("allocation"),
        keep_dense=s.ticket.keep_dense,
        count_dense=s.ticket.count_dense,
    ).to("cpu")


def repaired(s: Settings, data: Data, masks: Masks) -> Masks:
    """Mend the flow of a ticket's masks, if it asks for that."""
    if s.ticket.flow == "off":
        return masks
    return repair(network(s, data), masks, data.shape, s.ticket.flow, stream(s.seed, "flow"))


def reset(own: Weights, theirs: Weights, what: str, names: Collection[str]) -> Weights:
    """Set trained weights back in part: the variants of learning-rate rewinding in Gadhikar et al.'s code.

    Args:
        own: the initial state.
        theirs: the trained one.
        what: "norms" sets all of batch norm back; "amplitude" takes the initial size with the trained sign of each
            weight, "sign" the trained size with the initial sign; "none" changes nothing.
        names: of the prunable weights.
    """
    if what == "none":
        return theirs
    if what == "norms":
        norms = {name.rpartition(".")[0] for name in own if name.endswith(".running_mean")}
        return {n: own[n] if n.rpartition(".")[0] in norms else value for n, value in theirs.items()}
    changed = dict(theirs)
    for name in names:
        sign, size = (theirs, own) if what == "amplitude" else (own, theirs)
        if own[name].shape == theirs[name].shape:
            changed[name] = size[name].abs() * sign[name].sign()
    return changed


def _context(s: Settings, data: Data, trained: Weights | None, pause: Pause) -> Context:
    where = device()
    model = network(s, data).to(where)
    model.register_forward_pre_hook(lambda *_: pause())  # copied with the model: every score comes through
    split = corrupted(data.train, s, data.classes) if s.ticket.sees_data else data.train
    sample, batch = samplers(split, data, s, where)
    rounds = s.ticket.options("score").get("rounds", 1)
    return Context(
        model=model,
        layers=prunable(model, s.ticket.norms),
        generator=stream(s.seed, "ticket", *([rounds] if rounds > 1 else [])),
        shape=data.shape,
        classes=data.classes,
        sample=sample,
        batch=batch,
        trained={k: v.to(where) for k, v in trained.items()} if trained else None,
        density=s.ticket.target,
    )
