"""Masks that move while a network trains: when an update is due, what it sees, and what it leaves behind."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from . import measure
from .errors import ReproError
from .masks import Masks
from .models import Layer
from .moving_views import flow_scores, views
from .repair import repair
from .rng import stream
from .settings import Settings
from .sparse_training import Plan, Prune, Regrow, Timetable, View, drop_and_grow, least, prune, step_cost
from .step import Step
from .units import spread, whole


class Mover:
    """Takes the optimisation steps of a run and moves its masks when an update is due.

    Args:
        s: the run.
        step: its step, which the masks have been put into.
        masks: the first masks, on the step's device.
        layers: the prunable layers, whose roles tell which of them stay as they are.
        macs: multiply-accumulates of each layer for one image.
        steps: optimisation steps of the whole training, updates included.
        shape: (C, H, W) of one image; needed by SynFlow scores and the repair of the flow alone.

    Raises:
        ReproError: when the training is too short for a single update, or the density leaves a layer nothing.
    """

    def __init__(
        self,
        s: Settings,
        step: Step,
        masks: Masks,
        layers: tuple[Layer, ...],
        macs: Mapping[str, int],
        steps: int,
        shape: tuple[int, int, int] = (3, 32, 32),
    ) -> None:
        plan = s.sparse.plan
        assert plan is not None
        self.plan: Plan = plan
        self.times = Timetable(plan, steps)
        self.s, self.step, self._macs, self._shape = s, step, macs, shape
        self.masks = self.first = self._before = masks
        still = {*s.ticket.keep_dense, *(plan.prune.keep_dense if plan.prune else ())}
        self._layers = tuple(x for x in layers if x.role not in still)
        self._moving = [x.name for x in self._layers]
        self._structure = copy.deepcopy(step.model).cpu() if plan.flow != "off" else None
        self.explored = {name: mask.clone() for name, mask in masks.items()}
        self.about: dict[str, Any] = {"updates": 0, "dense_gradients": 0, "steps": 0, "spent": 0.0}
        self.about |= {"share": 0.0, "alpha": None, "replaced": 0.0, "repaired": 0}
        self._share = self._share_now()
        self.times.check()
        self._check_density()
        if not all(whole(masks[name], s.ticket.unit) for name in self._moving):
            raise ReproError("ticket.unit: parts of kernels do not move as wholes; remove it, or the check")

    def _check_density(self) -> None:
        spec, sizes = self.plan.prune, [x.numel for x in self._layers]
        left = self._budget(spec, self.times.steps) if spec else 0
        if spec and left < 1:
            nothing = f"{spec.density:g} leaves no weight to the layers that are not kept dense"
            raise ReproError(f"sparse.density: {nothing}; raise it, or shorten keep_dense")
        if spec and left < least(sizes, spec.scope):
            nothing = (
                f"{spec.density:g} leaves no weight to the layers before the last, of which a fifth stays"
            )
            raise ReproError(f"sparse.density: {nothing}; raise it, or use scope layer")

    def due(self, number: int) -> bool:
        """Tell whether a step (from 0) is one at which masks move."""
        return self.times.due(number)

    def __call__(self, x: Tensor, y: Tensor, lr: float, number: int) -> None:
        """Take a step, or move the masks, or both.

        Args:
            x: normalised images, as `Step` takes them.
            y: their labels.
            lr: learning rate of this step.
            number: of the step, from 0.
        """
        due = self.due(number)
        dense = self.times.dense(number)
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

    def _move(self, slopes: Mapping[str, Tensor], number: int) -> None:
        old, spec, regrow = self.masks, self.plan.prune, self.plan.regrow
        if spec and self.times.removes(number):
            self._put(prune(self._views(spec, slopes), spec, self._budget(spec, number)))
        if regrow and self.times.within(regrow, number):
            self._regrow(regrow, slopes, number)
        if self._structure is not None:
            self._repair(number)
        for name, mask in self.masks.items():
            self.explored[name] |= mask
        self.about["replaced"] += self._added(old) / max(1, self.masks.kept)
        self.about["updates"] += 1
        self._share = self._share_now()

    def _regrow(self, regrow: Regrow, slopes: Mapping[str, Tensor], number: int) -> None:
        """Drop and grow, and let what has grown begin as the plan has it."""
        self.about["alpha"] = alpha = self.times.alpha(regrow, number)
        generator = stream(self.s.seed, "sparse", number, device=self.step.sums.device)
        old = self.masks
        found = drop_and_grow(self._views(regrow, slopes), regrow, alpha, generator)
        self._put({name: mask for name, (mask, _) in found.items()})
        self._clear({name: spread(grown, old[name].shape) for name, (_, grown) in found.items()}, old, regrow)

    @torch.no_grad()
    def _clear(self, grown: Mapping[str, Tensor], old: Masks, regrow: Regrow) -> None:
        """Set weights and optimiser state of grown places to zero, as the plan has it."""
        for name, places in grown.items():
            weight, again = self.step.masked[name], places & old[name]
            if regrow.regrown in ("zero", "momentum"):
                weight.masked_fill_(again, 0)
            if not regrow.dense_momentum:
                fresh = places & ~again if regrow.regrown in ("momentum", "keep") else places
                for value in self.step.past(weight):
                    value.masked_fill_(fresh, 0)

    def _repair(self, number: int) -> None:
        """Give an entry to channels without any; weights outside the masks are zero by now, and so is their past."""
        old, how, generator = self.masks, self.plan.flow, stream(self.s.seed, "repair", number)
        assert self._structure is not None and how != "off"
        try:
            found = repair(self._structure, old.to("cpu"), self._shape, how, generator)
        except ReproError as error:
            raise ReproError(f"sparse.flow: after {number + 1} steps: {error}") from None
        self._put({name: found[name].to(old[name].device) for name in self._moving})
        self.about["repaired"] += self._added(old)

    def _put(self, found: Mapping[str, Tensor]) -> None:
        """Take up new masks of some layers, as tensors or as vectors over their entries."""
        shaped = {name: spread(mask.flatten(), self.masks[name].shape) for name, mask in found.items()}
        self.masks = Masks({**self.masks, **shaped})
        self.step.put(self.masks)

    def _added(self, old: Masks) -> int:
        """Count the entries that live now and did not in older masks."""
        return int(
            torch.stack([(mask & ~old[name]).count_nonzero() for name, mask in self.masks.items()]).sum()
        )

    def _budget(self, spec: Prune, number: int) -> int:
        """Count the weights that the layers which may be pruned keep after an update."""
        target, kept = self.times.density(spec, number, self.first.density), self.masks.kept_per_layer()
        still = self.masks.kept - sum(kept[name] for name in self._moving)
        return max(0, round(target * self.masks.total) - still)

    def _views(self, part: Prune | Regrow, slopes: Mapping[str, Tensor]) -> dict[str, View]:
        scores = None
        if "score" in part.looks_at:
            scores = flow_scores(self.step.model, self._layers, self._shape)
        return views(
            part,
            self.step,
            self.masks,
            self._moving,
            slopes=slopes,
            explored=self.explored,
            unit=self.s.ticket.unit,
            scores=scores,
        )

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
            and explored_layers: by layer; repaired: number of entries that the repair of the flow has added; share:
            the forward pass over that of the dense network, mean over steps; spent: the cost of all steps in forward
            passes of the dense network.
        """
        seen = self._seen()
        counts = {k: self.about[k] for k in ("updates", "dense_gradients", "steps", "spent", "repaired")}
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
        self.about |= about
        self.step.put(self.masks)
        self._share = self._share_now()
