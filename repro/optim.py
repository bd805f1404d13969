"""Optimisers and learning-rate schedules: two menus whose keyword options are settings."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field

Unit = Annotated[float, Field(ge=0, le=1)]


def step(progress: float, *, milestones: tuple[Unit, ...] = (0.5, 0.75), gamma: Unit = 0.1) -> float:
    """Multiply the rate by `gamma` at each milestone, a fraction of the schedule in [0, 1]."""
    return gamma ** sum(progress >= m - 1e-9 for m in milestones)


def cosine(progress: float, *, floor: Unit = 0.0) -> float:
    """Fall from 1 to `floor` along half a cosine."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2


def linear(progress: float) -> float:
    """Fall from 1 to 0 along a line."""
    return 1 - progress


def constant(progress: float) -> float:
    """Stay at the base rate."""
    return 1.0


SCHEDULES: dict[str, Callable[..., float]] = {
    "step": step,
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
}


def sgd(
    groups: Iterable[Any], lr: float, *, momentum: Unit = 0.9, nesterov: bool = False
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum (Nesterov's on request)."""
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)


def adam(
    groups: Iterable[Any], lr: float, *, beta1: Unit = 0.9, beta2: Unit = 0.999
) -> torch.optim.Optimizer:
    """Adam with coupled L2 weight decay, as the replication of Morcos et al. uses it."""
    return torch.optim.Adam(groups, lr=lr, betas=(beta1, beta2), fused=True)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"sgd": sgd, "adam": adam}


def rate(
    schedule: str,
    options: dict[str, Any],
    *,
    epochs: int,
    steps: int,
    warmup: float,
    per_step: bool,
    start: float = 0,
    stretch: float = 1.0,
) -> Callable[[int], float]:
    """Make the function from the global step to the factor on the base learning rate.

    Warm-up is linear; the schedule proper begins after it, as in the published codes of STR and of the RigL
    replication. Changed once an epoch the factor of warm-up epoch e is (e + 1) / warmup; changed at every step it
    starts from 0.

    A training may begin later in the schedule, as after rewinding; beyond its end the last value stays.
    Differs from answer42's code, which changes the rate only at the very epoch of a milestone: rewound to an
    epoch beyond the first one it trains on at the full rate until the second.

    Args:
        schedule: a name of SCHEDULES.
        options: its keyword options.
        epochs: length of the schedule.
        steps: optimisation steps of one epoch.
        warmup: epochs of warm-up, in [0, epochs).
        per_step: whether the rate changes at every step or once an epoch.
        start: epoch of the schedule, in [0, epochs], at which the training begins; a part of one is whole steps.
        stretch: factor by which the schedule has been made longer, above 0. It moves the milestones, not the end
            of the warm-up, as `training_multiplier` of the RigL replication does.
    """
    shape = SCHEDULES[schedule]
    last, begun = epochs - (1 / steps if per_step else 1), round(start * steps)

    def factor(global_step: int) -> float:
        now = min((begun + global_step) / steps if per_step else (begun + global_step) // steps, last)
        if now < warmup:
            return now / warmup if per_step else (now + 1) / warmup
        return shape(min(1.0, (now - warmup) / (epochs - stretch * warmup)), **options)

    return factor


def groups(model: torch.nn.Module, weight_decay: float, decay_1d: bool) -> list[dict[str, Any]]:
    """Split the parameters that are trained into decayed and undecayed, and those that have a rule of their own.

    Args:
        model: a module whose own parameters have a rule says so in a mapping `optim_group`: `weight_decay` (None:
            the usual one) and `rate`, the factor on the learning rate.
        weight_decay: the usual one.
        decay_1d: also decay biases and norm scales; it does not touch parameters with a rule of their own.
    """
    said = ((getattr(m, "optim_group", None), m) for m in model.modules())
    ruled = [(rule, list(m.parameters(recurse=False))) for rule, m in said if rule]
    own = {id(p) for _, parameters in ruled for p in parameters}
    usual = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    decayed = [p for p in usual if decay_1d or p.ndim > 1]
    spared = [p for p in usual if not (decay_1d or p.ndim > 1)]
    made = [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    for rule, parameters in ruled:
        decay = weight_decay if rule["weight_decay"] is None else rule["weight_decay"]
        made.append({"params": parameters, "weight_decay": decay, "rate": rule["rate"]})
    return [g for g in made if g["params"]]


def in_parts(begins: Sequence[int], parts: Sequence[Callable[[int], float]]) -> Callable[[int], float]:
    """Join functions of the step into one that counts its steps anew in each part.

    Args:
        begins: step at which each part begins, rising from 0.
        parts: as many functions.
    """

    def joined(step: int) -> float:
        part = bisect_right(begins, step) - 1
        return parts[part](step - begins[part])

    return joined
