"""What becomes of learned masks in training: levels of density, what the curve says of them, what they cost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import measure
from ..masks import Masks
from ..settings import Settings
from ..sparse_training import Learned, Popup, Soft, step_cost
from ..step import Step, trained_weight
from .attach import parts_of
from .soft import SoftThreshold
from .subnetwork import Subnetwork, level_counts


class Learner:
    """Takes the optimisation steps of a run whose masks are learned, and looks at the masks after each epoch.

    Its first masks, which later ones are compared with, are those in force at the first step: of thresholds what
    the source keeps, of scores the first choice. Weights count as explored that are in them or in the masks at the
    end of an epoch. The cost of a step of thresholds is that of the mean share before and after its epoch.

    Args:
        s: the run.
        step: its step, whose network has been parametrized.
        source: what may live, on the step's device.
        macs: multiply-accumulates of each layer for one image.
        per_epoch: steps of an epoch.
    """

    def __init__(
        self, s: Settings, step: Step, source: Masks, macs: Mapping[str, int], per_epoch: int
    ) -> None:
        spec = s.sparse.learned
        assert spec is not None
        self.spec: Learned = spec
        self.step, self.source, self._macs = step, source, macs
        self._parts = parts_of(step.model)
        self._begins = (
            [n * per_epoch for n in spec.begins(s.optim.length)] if isinstance(spec, Popup) else [0]
        )
        self.first = self._before = source if isinstance(spec, Soft) else self.masks
        self.explored = {name: mask.clone() for name, mask in self.first.items()}
        self._share = self._share_of(self.first)
        self.about: dict[str, Any] = {"updates": 0, "dense_gradients": 0, "steps": 0, "spent": 0.0}
        self.about |= {"share": 0.0, "alpha": None, "replaced": 0.0, "level": 0, "seen": 0, "courses": {}}

    @property
    @torch.no_grad()
    def masks(self) -> Masks:
        """The masks as they are now."""
        return Masks({name: self._mask(name, held) for name, held in self.source.items()})

    def _mask(self, name: str, held: Tensor) -> Tensor:
        part = self._parts.get(name)
        return part.alive(trained_weight(self.step.model, name)) & held if part else held

    def __call__(self, x: Tensor, y: Tensor, lr: float, number: int) -> None:
        """Take a step; the first one of a level brings its density.

        Args:
            x: normalised images, as `Step` takes them.
            y: their labels.
            lr: learning rate of this step.
            number: of the step, from 0.
        """
        level = bisect_right(self._begins, number) - 1
        if level != self.about["level"]:
            self._enter(level)
        self.about["steps"] += 1
        self.about["dense_gradients"] += isinstance(self.spec, Popup)
        self.step(x, y, lr)

    def _enter(self, level: int) -> None:
        assert isinstance(self.spec, Popup)
        kept = self.source.kept_per_layer()
        for name, part in self._parts.items():
            if name in kept and isinstance(part, Subnetwork):
                extra = part.entries - part.scores.numel()
                counts = level_counts(self.spec, name, kept[name] + extra, part.entries)
                part.k.fill_(counts[level])
        self.about["level"] = level

    def _share_of(self, masks: Masks) -> float:
        return measure.flops(self._macs, masks.layer_densities())["ratio"]

    def row(self) -> dict[str, float | None]:
        """Say what the masks are at the end of an epoch, for the curve, and count what its steps cost.

        Returns:
            density and flops_ratio of the mask; overlap_first and overlap_before with the first masks and those of
            the epoch before; replaced: the share of its weights that were not in the latter; explored: of all
            weights that ever were in a mask; of edge-popup, level (from 1).
        """
        masks, popup = self.masks, isinstance(self.spec, Popup)
        share = self._share_of(masks)
        self._count_cost(share if popup else (self._share + share) / 2, popup)
        new = sum(int((mask & ~self._before[name]).count_nonzero()) for name, mask in masks.items())
        for name, mask in masks.items():
            self.explored[name] |= mask
        self._note(masks)
        found: dict[str, float | None] = {
            "density": masks.density,
            "replaced": new / max(1, masks.kept),
            "explored": sum(self._seen().values()) / masks.total,
            "overlap_first": masks.overlap(self.first),
            "overlap_before": masks.overlap(self._before),
            "flops_ratio": share,
        }
        self._before, self._share = masks, share
        return found | ({"level": self.about["level"] + 1} if popup else {})

    def _count_cost(self, share: float, dense_gradient: bool) -> None:
        steps = self.about["steps"] - self.about["seen"]
        self.about["spent"] += steps * step_cost(share, dense_gradient)
        self.about["share"] += steps * share
        self.about["seen"] = self.about["steps"]

    @torch.no_grad()
    def _note(self, masks: Masks) -> None:
        """Write down, layer by layer, how an epoch ends."""
        soft = {name: p for name, p in self._parts.items() if isinstance(p, SoftThreshold)}
        if soft:
            values = torch.stack([p.threshold for p in soft.values()]).tolist()
            self._append("threshold_curve", dict(zip(soft, values, strict=True)))
        self._append("density_curve", masks.layer_densities())

    def _append(self, what: str, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.about["courses"].setdefault(name, {}).setdefault(what, []).append(value)

    def _seen(self) -> dict[str, int]:
        return {name: int(places.count_nonzero()) for name, places in self.explored.items()}

    def summary(self) -> dict[str, Any]:
        """Say what the whole training has done to the masks, and what it cost.

        Returns:
            As `Mover.summary`, with updates 0, and courses: of each layer kept_first (weights in its first mask),
            density_curve and, where it has a threshold, threshold_curve, g(s), both by epoch.
        """
        seen, kept = self._seen(), self.first.kept_per_layer()
        counts = {k: self.about[k] for k in ("updates", "dense_gradients", "steps", "spent")}
        share = self.about["share"] / max(1, self.about["steps"])
        by_layer = {name: n / self.source[name].numel() for name, n in seen.items()}
        explored = sum(seen.values()) / self.source.total
        courses = {name: {"kept_first": kept[name], **held} for name, held in self.about["courses"].items()}
        found = {"share": share, "explored": explored, "explored_layers": by_layer, "courses": courses}
        return counts | found

    def pack(self) -> dict[str, Tensor]:
        """Flatten what is remembered of masks into named tensors, for a checkpoint; `about` holds the rest."""
        kinds = {"explored": self.explored, "before": self._before}
        return {f"{kind}.{name}": value for kind, held in kinds.items() for name, value in held.items()}

    def restore(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Take up what `pack` and `about` held; the network's state holds thresholds, scores and how many are kept.

        The first masks follow from the seed and the ticket, and are there since this learner was made.
        """
        device = self.step.sums.device
        held = {
            kind: {name: tensors[f"{kind}.{name}"].to(device) for name in self.source}
            for kind in ("explored", "before")
        }
        self.explored, self._before, self.about = held["explored"], Masks(held["before"]), dict(about)
        self._share = self._share_of(self._before)
