"""What an update of masks sees: views of the layers, from weights, slopes and the optimiser's past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .masks import Masks
from .models import Layer
from .pruners import Context
from .pruners.select import check_finite
from .pruners.synflow import synflow
from .sparse_training import Prune, Regrow, View
from .step import Step
from .units import Reduction, entries

Tensors = Mapping[str, Tensor]


def views(
    part: Prune | Regrow,
    step: Step,
    masks: Masks,
    names: Sequence[str],
    *,
    slopes: Tensors,
    explored: Tensors,
    unit: str,
    scores: Tensors | None = None,
) -> dict[str, View]:
    """Show the layers that may move to a part of an update: what it looks at, and no more.

    Args:
        part: of the plan.
        step: holds weights and the optimiser's past.
        masks: as they are now.
        names: of the layers, in order.
        slopes: of the loss, of each weight's shape.
        explored: boolean, True where a weight has ever lived.
        unit: "weight" or "kernel".
        scores: what weights are worth to a pruning that asks for them.
    """
    looks_at, kept = part.looks_at, masks.kept_per_layer()
    worth: Reduction = part.kernel_drop if isinstance(part, Regrow) else "mean"
    slope: Reduction = part.kernel_grow if isinstance(part, Regrow) else "mean"
    found = {}
    for name in names:
        mask, weight = entries(masks[name], unit, "max"), step.masked[name].detach()
        found[name] = View(
            entries(weight, unit, worth),
            mask,
            kept[name] * mask.numel() // weight.numel(),
            entries(slopes[name], unit, slope) if "gradient" in looks_at else None,
            entries(momentum(step, name), unit, slope) if "momentum" in looks_at else None,
            entries(explored[name], unit, "max") if "explored" in looks_at else None,
            scores[name].flatten() if scores is not None else None,
            len(weight),
        )
    return found


def momentum(step: Step, name: str) -> Tensor:
    """Give the running mean of slopes: of Adam scaled as its steps are, without the correction for its start.

    Source: Dettmers and Zettlemoyer 2019, code; before the first step there is none, and it is zero.
    """
    weight = step.masked[name]
    state = step.optimizer.state.get(weight, {})
    if "exp_avg" in state:
        return state["exp_avg"] / (state["exp_avg_sq"].sqrt() + 1e-8)
    found = state.get("momentum_buffer")
    return torch.zeros_like(weight) if found is None else found


def flow_scores(model: nn.Module, layers: tuple[Layer, ...], shape: tuple[int, int, int]) -> Tensors:
    """Score each weight |w| dR/d|w| in the network as it is, pruned weights being zero: SynFlow in one step.

    In double precision and of a copy, with one image of ones; the cost of that is not counted. Differs from
    Gadhikar et al. 2023, code, which means to do so but takes the gradient of the loss (rank "taylor").

    Args:
        model: the network, which stays as it is.
        layers: those to score.
        shape: (C, H, W) of one image.

    Raises:
        ReproError: scores are no finite numbers.
    """
    ctx = Context(model, layers, torch.Generator(), shape, classes=0, sample=_no_images, density=1.0)
    with torch.enable_grad():
        found = synflow(ctx, iterations=1)
    check_finite(found)
    return found


def _no_images(per_class: int, draw: int) -> tuple[Tensor, Tensor]:
    raise AssertionError("SynFlow looks at no data")
