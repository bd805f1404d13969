"""Which weights are kept at first, and what they start from."""

from __future__ import annotations

from collections import ChainMap
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ..adjust import ADJUSTMENTS
from ..errors import ReproError
from ..from_runs import FROM_RUNS, UNUSED
from ..moment import Moment, in_epochs
from ..naming import left_after, start_density
from ..pruners import ALLOCATIONS, SCORES, needs_data, needs_pretraining
from ..section import Section, nothing

Density = Annotated[float, Field(gt=0, le=1)]


class Ticket(Section):
    """Which weights are kept; no score means the dense network."""

    menus = {
        "score": ChainMap(FROM_RUNS, SCORES),  # pyright: ignore[reportArgumentType] # the menu of scores may grow
        "allocation": {"global": nothing, **ALLOCATIONS},
        "adjust": {"none": nothing, **ADJUSTMENTS},
    }
    score: str | None = None
    allocation: str = "global"
    density: Density = 1.0
    keep_dense: tuple[Literal["first", "last", "shortcut"], ...] = ()
    count_dense: bool = True
    selection: Literal["exact", "c1", "c2", "c3", "c4", "c5", "c6"] = "exact"
    sampler: Literal["exact", "bernoulli"] = "exact"
    unit: Literal["weight", "kernel"] = "weight"
    flow: Literal["off", "add", "move"] = "off"
    adjust: str = "none"
    weights: Literal["init", "start", "rewound", "trained"] = "init"
    reset: Literal["none", "norms", "amplitude", "sign"] = "none"
    rewind: Moment = 0
    norms: bool = False
    pretrain: Annotated[int, Field(ge=1)] | None = None

    @field_validator("rewind", mode="before")
    @classmethod
    def _epochs_are_numbers(cls, value: Any) -> Any:
        return in_epochs(value)

    @property
    def scored(self) -> bool:
        """Whether a score ranks the weights here, and the masks do not come from other runs."""
        return self.score is not None and self.score not in FROM_RUNS

    @property
    def target(self) -> float:
        """The density asked for, in (0, 1]: as it stands, or after all rounds of pruning."""
        if self.score != "imp":
            return self.density
        told = self.options("score")
        begun = start_density(told["start"]) if told["start"] else 1.0
        return left_after(told["rounds"], told["rate"], begun)

    @property
    def sees_data(self) -> bool:
        """Whether the score depends on data."""
        return self.scored and needs_data(str(self.score), self.options("score"))

    @property
    def masks_from_run(self) -> bool:
        """Whether the masks depend on another run: one that the score looks at, or whose masks they are."""
        trained = self.scored and needs_pretraining(str(self.score), self.options("score"))
        return trained or self.score in FROM_RUNS

    @property
    def needs_run(self) -> bool:
        """Whether another run must be made first: for the masks, or for the weights to start from."""
        return self.masks_from_run or self.weights != "init"

    @model_validator(mode="after")
    def _all_used(self) -> Ticket:
        if self.score is None and (unused := self.changed()):
            raise ReproError(
                f"ticket.{next(iter(unused))}: not used without ticket.score; remove it or name a score"
            )
        within = self.score == "random" and self.allocation != "global"
        if self.sampler == "bernoulli" and not within:
            raise ReproError("ticket.sampler: bernoulli is used only by score 'random' within an allocation")
        if self.selection != "exact" and self.sampler == "bernoulli":
            raise ReproError("ticket.selection: not used by the bernoulli sampler; remove it")
        if not self.count_dense and not self.keep_dense:
            raise ReproError("ticket.count_dense: not used without ticket.keep_dense; remove it")
        if {"samples_per_class", "batch_size"} <= self.changed().keys():
            raise ReproError("ticket.samples_per_class: not used with ticket.batch_size; remove one of them")
        if self.norms and (self.score not in ("imp", "magnitude") or self.allocation != "global"):
            raise ReproError(
                "ticket.norms: batch-norm scales are ranked by imp or magnitude, global; remove it"
            )
        self._units_make_sense()
        self._start_makes_sense()
        return self

    def _units_make_sense(self) -> None:
        ranked = self.unit == "kernel" and self.scored
        if ranked and (self.allocation == "global" or self.sampler != "exact"):
            raise ReproError(
                "ticket.unit: whole kernels are kept within an allocation, exactly; name a ticket.allocation"
            )
        if ranked and self.selection != "exact":
            raise ReproError("ticket.selection: not used with ticket.unit 'kernel'; remove it")
        for name in self.changed():
            if name in UNUSED.get(self.score or "", ()):
                raise ReproError(f"ticket.{name}: not used by score {self.score!r}; remove it")

        if self.flow != "off" and (self.target == 1 or self.norms or self.unit == "kernel"):
            raise ReproError("ticket.flow: repairs pruned networks, weight by weight; remove it")
        lent = self.options("allocation") if self.allocation == "induced" else {}
        if lent and (lent["like"] is None) != bool(lent["densities"]):
            raise ReproError("ticket.like: allocation 'induced' needs it, or ticket.densities, not both")

    def _start_makes_sense(self) -> None:
        if self.reset != "none" and self.weights != "trained":
            raise ReproError("ticket.reset: resets trained weights in part; set ticket.weights to trained")
        if self.adjust != "none" and (self.weights != "init" or self.norms):
            raise ReproError("ticket.adjust: changes initial weights; remove it, or ticket.weights")
        if self.weights in ("init", "start") and self.rewind:
            raise ReproError(
                f"ticket.rewind: not used with ticket.weights {self.weights!r}, only by rewound, trained; remove it"
            )
        if self.weights == "start" and self.score != "mask_of":
            raise ReproError("ticket.weights: 'start' is that of the other run of score 'mask_of'; use init")
        if self.weights == "rewound" and not self.rewind:
            raise ReproError(
                "ticket.rewind: weights rewound to epoch 0 are ticket.weights 'init'; give 1 or more"
            )
        if self.pretrain is not None and not self.needs_run:
            raise ReproError("ticket.pretrain: this ticket needs no dense training; remove it")
