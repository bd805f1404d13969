"""Pruners: a score says what each weight is worth, an allocation how many weights each layer keeps."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from ..errors import ReproError, nearest, pick
from ..masks import Masks
from .allocation import ALLOCATIONS
from .custom import OWN
from .scores import SCORES, Context
from .select import CONVENTIONS, Scores, choose, kept_counts, top_k

__all__ = [
    "ALLOCATIONS",
    "CONVENTIONS",
    "SCORES",
    "Context",
    "Scores",
    "choose",
    "kept_counts",
    "make_masks",
    "needs_data",
    "needs_pretraining",
    "top_k",
]


def make_masks(
    ctx: Context,
    *,
    score: str,
    allocation: str = "global",
    score_options: Mapping[str, Any] | None = None,
    allocation_options: Mapping[str, Any] | None = None,
    keep_dense: Sequence[str] = (),
    count_dense: bool = True,
    selection: str = "exact",
    sampler: str = "exact",
    unit: str = "weight",
    change: Callable[[Scores], Scores] | None = None,
) -> Masks:
    """Prune: score the weights, share the budget out between layers, keep the best.

    Args:
        ctx: the model and everything else a score may look at; the model stays as it is.
        score: an entry of SCORES.
        allocation: "global" for one threshold over all layers, or an entry of ALLOCATIONS.
        score_options: keyword options of the score.
        allocation_options: keyword options of the allocation.
        keep_dense: roles of layers ("first", "last", "shortcut") of which everything is kept.
        count_dense: whether those layers count in the budget.
        selection: "exact", or c1 to c6 for the thresholding of a published code.
        sampler: "exact", or "bernoulli" for random scores within an allocation: each weight by itself.
        unit: "weight", or "kernel" for masks of whole kernels within an allocation.
        change: applied to the scores before every selection, e.g. to turn the ranking upside down. What an
            iterative score has pruned stays so.

    Returns:
        Masks; everything is kept at density 1, whatever the score.

    Raises:
        ReproError: unknown names or options, an infeasible density, scores that are no finite numbers, or a
            change that can have no effect.
    """
    function = pick(SCORES, score, "score")
    _check_options(function, score_options, f"score {score!r}")
    if allocation != "global" or allocation_options:
        rule = pick(ALLOCATIONS, allocation, "allocation")
        _check_options(rule, allocation_options, f"allocation {allocation!r}")
    _check_choice(score, allocation, selection, sampler, keep_dense)
    if pick(dict.fromkeys(("weight", "kernel")), unit, "unit") == "kernel" and allocation == "global":
        raise ReproError("unit 'kernel' keeps whole kernels within an allocation; name one")
    if change and (ctx.density == 1 or sampler != "exact"):
        why = "at density 1 everything is kept" if ctx.density == 1 else f"sampler {sampler!r} does not rank"
        raise ReproError(f"changed scores have no effect: {why}; remove the check")
    if ctx.density == 1:
        return Masks.ones(ctx.layers)
    select = partial(
        choose,
        layers=ctx.layers,
        allocation=allocation,
        convention=selection,
        allocation_options=allocation_options,
        keep_dense=keep_dense,
        count_dense=count_dense,
        sampler=sampler,
        unit=unit,
    )
    select = _changed(change, select) if change else select
    ctx = dataclasses.replace(ctx, select=lambda scores, density: select(scores, density=density))
    return select(function(ctx, **(score_options or {})), density=ctx.density)


def _changed(change: Callable[[Scores], Scores], select: Callable[..., Masks]) -> Callable[..., Masks]:
    """Change the scores before each selection; what an earlier one has pruned then ranks below everything."""
    before: dict[str, torch.Tensor] = {}

    def again(scores: Scores, density: float) -> Masks:
        changed = dict(change(scores))
        for name, mask in before.items():
            changed[name] = changed[name].masked_fill(~mask, torch.finfo(changed[name].dtype).min)
        masks = select(changed, density=density)
        before.update(masks)
        return masks

    return again


def needs_pretraining(score: str, options: Mapping[str, Any] | None = None) -> bool:
    """Tell whether a score looks at a trained network: those whose option `of` is "trained"."""
    defaults = inspect.signature(pick(SCORES, score, "score")).parameters
    return "of" in defaults and (options or {}).get("of", defaults["of"].default) == "trained"


def needs_data(score: str, options: Mapping[str, Any] | None = None) -> bool:
    """Tell whether a score depends on data: by option `samples_per_class`, or by a trained network.

    Of somebody's own function a trial has found out.
    """
    defaults = inspect.signature(pick(SCORES, score, "score")).parameters
    asks = OWN[score].uses_data if score in OWN else "samples_per_class" in defaults
    return asks or needs_pretraining(score, options)


def _check_options(function: Callable[..., Any], options: Mapping[str, Any] | None, what: str) -> None:
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name in options or {}:
        if name not in known:
            raise ReproError(f"{what} has no option {name!r}: {nearest(name, known)}")


def _check_choice(
    score: str, allocation: str, selection: str, sampler: str, keep_dense: Sequence[str]
) -> None:
    pick(CONVENTIONS, selection, "selection")
    pick(dict.fromkeys(("exact", "bernoulli")), sampler, "sampler")
    for role in keep_dense:
        pick(dict.fromkeys(("first", "last", "shortcut")), role, "role of a layer")
    if sampler == "bernoulli" and (score != "random" or allocation == "global" or selection != "exact"):
        raise ReproError("sampler 'bernoulli' is for score 'random' within an allocation, selection 'exact'")
