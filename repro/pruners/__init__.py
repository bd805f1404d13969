"""Pruners: a score says what each weight is worth, an allocation how many weights each layer keeps."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ..errors import ReproError, nearest, pick
from ..masks import Masks
from .allocation import ALLOCATIONS
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

    Returns:
        Masks; everything is kept at density 1, whatever the score.

    Raises:
        ReproError: unknown names or options, an infeasible density, or scores that are no finite numbers.
    """
    function = pick(SCORES, score, "score")
    _check_options(function, score_options, f"score {score!r}")
    if allocation != "global" or allocation_options:
        rule = pick(ALLOCATIONS, allocation, "allocation")
        _check_options(rule, allocation_options, f"allocation {allocation!r}")
    _check_choice(score, allocation, selection, sampler, keep_dense)
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
    )
    ctx = dataclasses.replace(ctx, select=lambda scores, density: select(scores, density=density))
    return select(function(ctx, **(score_options or {})), density=ctx.density)


def needs_pretraining(score: str, options: Mapping[str, Any] | None = None) -> bool:
    """Tell whether a score looks at a trained network: those whose option `of` is "trained"."""
    defaults = inspect.signature(pick(SCORES, score, "score")).parameters
    return "of" in defaults and (options or {}).get("of", defaults["of"].default) == "trained"


def needs_data(score: str, options: Mapping[str, Any] | None = None) -> bool:
    """Tell whether a score depends on data: by option `samples_per_class`, or by a trained network."""
    defaults = inspect.signature(pick(SCORES, score, "score")).parameters
    return "samples_per_class" in defaults or needs_pretraining(score, options)


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
