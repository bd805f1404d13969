"""Masks that move while a network trains: when an update is due, what it sees, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from . import measure
from .errors import ReproError
from .masks import Masks
from .models import Layer
from .rng import stream
from .settings import Settings
from .sparse_training import (
    Plan,
    Prune,
    Regrow,
    View,
    cubic,
    drop_and_grow,
    fraction,
    prune,
    step_cost,
)
from .step import Step
from .units import Reduction, entries, spread, whole


class Mover:
    """Takes the optimisation steps of a run and moves its masks when an update is due.

    Args:
        s: the run.
        step: its step, which the masks have been put into.
        masks: the first masks, on the step's device.
        layers: the prunable layers, whose roles tell which of them stay as they are.
        macs: multiply-accumulates of each layer for one image.
        steps: optimisation steps of the whole training, updates included.

    Raises:
        ReproError: when the training is too short for a single update.
    """

    def __init__(
        self,
        s: Settings,
        step: Step,
        masks: Masks,
        layers: tuple[Layer, ...],
        macs: Mapping[str, int],
        steps: int,
    ) -> None:
        plan = s.sparse.plan
        assert plan is not None
        self.plan: Plan = plan
        self.s, self.step, self.masks, self.first, self.steps, self._macs = s, step, masks, masks, steps, macs
        still = {*s.ticket.keep_dense, *(plan.prune.keep_dense if plan.prune else ())}
        self._moving = [x.name for x in layers if x.role not in still]
        self.explored = {name: mask.clone() for name, mask in masks.items()}
        self._before = masks
        self.about: dict[str, Any] = {"updates": 0, "dense_gradients": 0, "steps": 0, "spent": 0.0}
        self.about |= {"share": 0.0, "alpha": None, "replaced": 0.0}
        self._share = self._share_now()
        for part in (plan.prune, plan.regrow):
            if part and self._last(part) < plan.begin * steps - 1e-9:
                raise ReproError(
                    f"sparse.interval: no update in {steps} steps of training, of which shares {plan.begin:g} to "
                    f"{part.until:g} are for updates; lower it from {plan.interval}"
                )
        if plan.prune and self._budget(plan.prune, steps) < 1:
            least = f"{plan.prune.density:g} leaves no weight to the layers that are not kept dense"
            raise ReproError(f"sparse.density: {least}; raise it, or shorten keep_dense")
        if not all(whole(masks[name], s.ticket.unit) for name in self._moving):
            raise ReproError("ticket.unit: parts of kernels do not move as wholes; remove it, or the check")

    def due(self, number: int) -> bool:
        """Tell whether a step (from 0) is one at which masks move."""
        return any(self._in(part, number) for part in (self.plan.prune, self.plan.regrow))

    def _in(self, part: Regrow | Prune | None, number: int) -> bool:
        begin = self.plan.begin * self.steps - 1e-9
        return bool(part and (number + 1) % self.plan.interval == 0 and begin <= number <= self._last(part))

    def __call__(self, x: Tensor, y: Tensor, lr: float, number: int) -> None:
        """Take a step, or move the masks, or both.

        Args:
            x: normalised images, as `Step` takes them.
            y: their labels.
            lr: learning rate of this step.
            number: of the step, from 0.
        """
        due = self.due(number)
        dense = self.plan.dense_momentum or (due and self.plan.dense_gradient)
        self.about["spent"] += step_cost(self._share, dense)
        self.about["share"] += self._share
        self.about["steps"] += 1
        self.about["dense_gradients"] += dense
        if not due:
            return self.step(x, y, lr)
        slopes = self.step.gradients(x, y)
        if self.plan.update == "after":
            slopes = {name: slope.clone() for name, slope in slopes.items()}
            self.step.finish(lr)
        return self._move(slopes, number)

    @torch.no_grad()
    def _move(self, slopes: Mapping[str, Tensor], number: int) -> None:
        old = self.masks
        if self.plan.prune and self._in(self.plan.prune, number):
            self._change(prune(self._views(slopes), self.plan.prune, self._budget(self.plan.prune, number)))
        grown: dict[str, Tensor] = {}
        if self.plan.regrow and self._in(self.plan.regrow, number):
            grown = self._regrow(self.plan.regrow, slopes, number)
        self.step.put(self.masks)
        self._clear(grown, old)
        for name, mask in self.masks.items():
            self.explored[name] |= mask
        moved = torch.stack([(mask & ~old[name]).count_nonzero() for name, mask in self.masks.items()]).sum()
        self.about["replaced"] += int(moved) / max(1, self.masks.kept)
        self.about["updates"] += 1
        self._share = self._share_now()

    def _regrow(self, regrow: Regrow, slopes: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
        """Drop and grow; give the grown places of each layer."""
        done = number / max(1.0, regrow.until * self.steps)
        self.about["alpha"] = alpha = fraction(
            regrow.decay, done, first=regrow.alpha, floor=regrow.floor, power=regrow.power
        )
        generator = stream(self.s.seed, "sparse", number, device=self.step.sums.device)
        found = drop_and_grow(self._views(slopes, regrow), regrow, alpha, generator)
        self._change({name: mask for name, (mask, _) in found.items()})
        return {name: spread(grown, self.masks[name].shape) for name, (_, grown) in found.items()}

    def _clear(self, grown: Mapping[str, Tensor], old: Masks) -> None:
        """Set weights and optimiser state of grown places to zero, as the plan has it."""
        keep = self.plan.regrow.regrown if self.plan.regrow else "zero"
        for name, places in grown.items():
            weight, again = self.step.masked[name], places & old[name]
            if keep in ("zero", "momentum"):
                weight.masked_fill_(again, 0)
            if not self.plan.dense_momentum:
                fresh = places & ~again if keep in ("momentum", "keep") else places
                for value in self.step.past(weight):
                    value.masked_fill_(fresh, 0)

    def _change(self, flat: Mapping[str, Tensor]) -> None:
        shaped = {name: spread(mask, self.masks[name].shape) for name, mask in flat.items()}
        self.masks = Masks({**self.masks, **shaped})

    def _budget(self, spec: Prune, number: int) -> int:
        """Count the weights that the layers which may be pruned keep after an update."""
        first, last = self.plan.begin * self.steps, self._last(spec)
        progress = 1.0 if number >= last else (number - first) / max(1.0, last - first)
        target = cubic(self.first.density, spec.density, progress)
        kept = self.masks.kept_per_layer()
        still = self.masks.kept - sum(kept[name] for name in self._moving)
        return max(0, round(target * self.masks.total) - still)

    def _last(self, spec: Prune | Regrow) -> int:
        """Find the last step at which an update is due."""
        end = int(spec.until * self.steps - 1e-9)
        return (end + 1) // self.plan.interval * self.plan.interval - 1

    def _views(self, slopes: Mapping[str, Tensor], regrow: Regrow | None = None) -> dict[str, View]:
        """Show the layers that may move to an update."""
        looks_at = regrow.looks_at if regrow else set()
        unit = self.s.ticket.unit
        worth: Reduction = regrow.kernel_drop if regrow else "mean"
        slope: Reduction = regrow.kernel_grow if regrow else "mean"
        views = {}
        for name in self._moving:
            mask, weight = entries(self.masks[name], unit, "max"), self.step.masked[name].detach()
            views[name] = View(
                entries(weight, unit, worth),
                mask,
                self.masks.kept_per_layer()[name] * mask.numel() // weight.numel(),
                entries(slopes[name], unit, slope) if "gradient" in looks_at else None,
                entries(self._momentum(name), unit, slope) if "momentum" in looks_at else None,
                entries(self.explored[name], unit, "max") if "explored" in looks_at else None,
            )
        return views

    def _momentum(self, name: str) -> Tensor:
        """Give the running mean of slopes: of Adam scaled as its steps are, without the correction for its start.

        Source: Dettmers and Zettlemoyer 2019, code; before the first step there is none, and it is zero.
        """
        weight = self.step.masked[name]
        state = self.step.optimizer.state.get(weight, {})
        if "exp_avg" in state:
            return state["exp_avg"] / (state["exp_avg_sq"].sqrt() + 1e-8)
        found = state.get("momentum_buffer")
        return torch.zeros_like(weight) if found is None else found

    def _share_now(self) -> float:
        return measure.flops(self._macs, self.masks.layer_densities())["ratio"]

    def _seen(self) -> dict[str, int]:
        return {name: int(places.count_nonzero()) for name, places in self.explored.items()}

    def row(self) -> dict[str, float | None]:
        """Say what the epoch that ends has done to the masks, for the curve, and begin the next."""
        found = {
            "density": self.masks.density,
            "alpha": self.about["alpha"],
            "replaced": self.about["replaced"],
            "explored": sum(self._seen().values()) / self.masks.total,
            "overlap_first": self.masks.overlap(self.first),
            "overlap_before": self.masks.overlap(self._before),
            "flops_ratio": self._share,
        }
        self._before = self.masks
        self.about |= {"alpha": None, "replaced": 0.0}
        return found

    def summary(self) -> dict[str, Any]:
        """Say what the whole training has done to the masks, and what it cost.

        Returns:
            updates, dense_gradients and steps (counts); explored: share of the prunable weights that ever lived,
            and explored_layers: by layer; share: the forward pass over that of the dense network, mean over steps;
            spent: the cost of all steps in forward passes of the dense network.
        """
        seen = self._seen()
        counts = {k: self.about[k] for k in ("updates", "dense_gradients", "steps", "spent")}
        share = self.about["share"] / max(1, self.about["steps"])
        by_layer = {name: n / self.masks[name].numel() for name, n in seen.items()}
        explored = sum(seen.values()) / self.masks.total
        return counts | {"share": share, "explored": explored, "explored_layers": by_layer}

    def pack(self) -> dict[str, Tensor]:
        """Flatten the masks' state into named tensors, for a checkpoint; `about` holds the rest."""
        kinds = {"mask": self.masks, "explored": self.explored, "before": self._before}
        return {f"{kind}.{name}": value for kind, held in kinds.items() for name, value in held.items()}

    def restore(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Take up what `pack` and `about` held."""
        device = self.step.sums.device
        held = {
            kind: {name: tensors[f"{kind}.{name}"].to(device) for name in self.masks}
            for kind in ("mask", "explored", "before")
        }
        self.masks, self.explored, self._before = Masks(held["mask"]), held["explored"], Masks(held["before"])
        self.about = dict(about)
        self.step.put(self.masks)
        self._share = self._share_now()
