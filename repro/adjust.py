"""What is done to a ticket's kept weights before training: a menu whose keyword options are settings.

Every entry takes a whole state and masks, and gives a whole state: masked weights changed, pruned ones 0, and
all else as it came. Batch-norm scales, which may be masked too, are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from .errors import pick
from .masks import Masks

PROMISE = 1e-6  # of the loss: the least that a step must promise to take away


@torch.no_grad()
def scale(
    weights: Mapping[str, Tensor],
    masks: Masks,
    *,
    scale_by: Literal["network", "layer"] = "network",
) -> dict[str, Tensor]:
    """Divide the kept weights by the square root of the density: what is left of a sum is as large as the whole.

    After a Kaiming initialisation their standard deviation is gain / sqrt(fan_in * density).

    Source: Gadhikar et al.'s code, which draws weights so or (looks-linear) divides them so.
    Differs from it: there the density is the one asked for, here it is that of the masks.

    Args:
        weights: name to tensor, a whole state.
        masks: what is kept.
        scale_by: whose density: that of the network or that of each layer; a layer that keeps nothing is 0.

    Raises:
        ReproError: a mask without a weight, or of another shape; or an unknown word.
    """
    pick(dict.fromkeys(("network", "layer")), scale_by, "density to scale by")
    state, chosen = _masked(weights, masks)
    kept, total = sum(int(m.sum()) for m in chosen.values()), sum(m.numel() for m in chosen.values())
    for name, mask in chosen.items():
        density = kept / total if scale_by == "network" else int(mask.sum()) / mask.numel()
        state[name].div_(math.sqrt(density or 1.0))
    return state


@torch.no_grad()
def orthogonal(
    weights: Mapping[str, Tensor],
    masks: Masks,
    *,
    repair_steps: Annotated[int, Field(ge=1)] = 1000,
    repair_rate: Annotated[float, Field(gt=0)] = 0.1,
    repair_tolerance: Annotated[float, Field(ge=0)] = 1e-3,
    scaled: bool = False,
) -> dict[str, Tensor]:
    """Bring each masked layer near an orthogonal matrix, by gradient descent on its kept weights ("repair").

    With W of shape (out, in k k) and M its mask, || (M W)(M W)^T - I ||^2 (Frobenius) falls along its gradient
    4 ((M W)(M W)^T - I) (M W), masked by M, with Nesterov's momentum. It never rises: a step that would raise it
    is taken back, then the momentum starts anew, or the rate is halved for a while.

    The descent ends after `repair_steps`; at a norm of `repair_tolerance` per row, sqrt(loss / rows); or where a
    step promises less than a millionth of the loss: a mask may allow no orthogonal matrix, e.g. where it leaves
    nothing of a row, which stays 0.

    More outputs than columns cannot be orthonormal, so that there the columns become so:
    || (M W)^T (M W) - I ||^2 is the loss above less the constant out - columns, and has the same gradient.

    A step takes two products of matrices, 4 out^2 in k k operations (4.8 billion in a large layer of VGG). Mostly
    10 to 200 of them suffice, so that all of VGG-19 takes about a minute of a processor core.

    Source: Lee et al. 2020, approximate isometry; Gadhikar et al.'s code (orthogonal repair, and ER_ortho with
    `scaled`).
    Differs from the code: theirs descends on the norm, not on its square, at a rate of 1e-2 in 1000 steps (1e-3
    in 3000 for ER_ortho) without any end before; it never sets gradients back to zero, so that they pile up as
    a momentum without friction, and in ER_ortho the result is thrown away. ER_ortho repairs one quarter of a
    looks-linear matrix and tiles it, mask and all; here a whole matrix is repaired under its own mask.

    Args:
        weights: name to tensor, a whole state.
        masks: what is kept.
        repair_steps: how often the loss may be computed, in each layer.
        repair_rate: length of a step in gradients, at most; 0.125 is the best there can be near the end.
        repair_tolerance: when to end, see above.
        scaled: divide by the square root of the density of the network afterwards, as `scale` does.

    Raises:
        ReproError: a mask without a weight, or of another shape.
    """
    state, chosen = _masked(weights, masks)
    for name, mask in chosen.items():
        flat, kept = state[name].flatten(1), mask.to(state[name]).flatten(1)
        tall = flat.shape[0] > flat.shape[1]
        if tall:
            flat, kept = flat.T, kept.T
        options = repair_steps, repair_rate, repair_tolerance
        flat = _descend(flat.contiguous(), kept.contiguous(), *options)
        state[name] = (flat.T if tall else flat).reshape(state[name].shape).contiguous()
    return scale(state, masks) if scaled else state


ADJUSTMENTS: dict[str, Callable[..., Mapping[str, Tensor]]] = {"scale": scale, "orthogonal": orthogonal}


def _masked(weights: Mapping[str, Tensor], masks: Masks) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Copy a state with 0 where its matrices and kernels are pruned; give it and their masks."""
    chosen = {name: mask for name, mask in masks.items() if mask.dim() > 1}
    state = {name: w.detach().clone() if name in chosen else w for name, w in weights.items()}
    if chosen:
        Masks(chosen).apply_(state)
    return state, chosen


def _descend(w: Tensor, kept: Tensor, steps: int, rate: float, tolerance: float) -> Tensor:
    """Minimise || w w^T - I ||^2 over the kept entries of w, all others being 0."""
    before, step, run = w, rate, 0  # where the last step led without momentum; steps since the momentum is 0
    gap, loss = _gap(w)
    slope = _slope(gap, w, kept)
    for _ in range(steps):
        steep = _squares(slope)
        stuck = step * steep <= PROMISE * loss and steep <= _squares(w)  # small weights leave 0 slowly
        if loss <= tolerance**2 * len(w) or stuck:
            break
        plain = torch.add(w, slope, alpha=-step)
        tried = torch.lerp(before, plain, 1 + run / (run + 3))
        tried_gap, tried_loss = _gap(tried)
        if tried_loss < loss:
            before, w, gap, loss = plain, tried, tried_gap, tried_loss
            slope, step, run = _slope(gap, w, kept), min(rate, 2 * step), run + 1
        else:
            before, step, run = w, step if run else step / 2, 0
    return w


def _gap(w: Tensor) -> tuple[Tensor, float]:
    """Compute w w^T - I and the sum of its squares."""
    gap = w @ w.T
    gap.diagonal().sub_(1)
    return gap, _squares(gap)


def _slope(gap: Tensor, w: Tensor, kept: Tensor) -> Tensor:
    """Compute the gradient of the sum of squares of `_gap`."""
    return (4 * gap @ w).mul_(kept)


def _squares(x: Tensor) -> float:
    """Sum the squares of a contiguous tensor."""
    return float(torch.dot(x.view(-1), x.view(-1)))
