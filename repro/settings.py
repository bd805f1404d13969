"""What a run is: frozen settings and the canonical key that names them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .checks import DATA_CHECKS, MASK_CHECKS, SCORE_CHECKS
from .data import DATASETS
from .data.augment import AUGMENTATIONS
from .errors import ReproError, nearest, pick
from .models import MODELS, check_input
from .optim import OPTIMIZERS, SCHEDULES
from .pruners import ALLOCATIONS, SCORES, needs_data, needs_pretraining
from .section import Section, nothing, one_line

MEANING = 2  # raised when the meaning of a setting changes, so that old results are not taken for new ones
Density = Annotated[float, Field(gt=0, le=1)]


class Data(Section):
    """Which images, in which form."""

    menus = {"augment": dict.fromkeys(AUGMENTATIONS, nothing), "name": dict.fromkeys(DATASETS, nothing)}
    name: str = "digits"
    size: Annotated[int, Field(ge=4, le=256)] | None = None
    channels: Literal[1, 3] | None = None
    subset: Annotated[int, Field(ge=1)] | None = None
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    normalise: str = "standard"
    augment: str = "none"


class Model(Section):
    """Which network."""

    menus = {"name": MODELS}
    name: str = "resnet20"


class Ticket(Section):
    """Which weights are kept; no score means the dense network."""

    menus = {"score": SCORES, "allocation": {"global": nothing, **ALLOCATIONS}}
    score: str | None = None
    allocation: str = "global"
    density: Density = 1.0
    keep_dense: tuple[Literal["first", "last", "shortcut"], ...] = ()
    count_dense: bool = True
    selection: Literal["exact", "c1", "c2", "c3", "c4", "c5", "c6"] = "exact"
    sampler: Literal["exact", "bernoulli"] = "exact"
    weights: Literal["init", "rewound", "trained"] = "init"
    rewind: Annotated[int, Field(ge=0)] = 0
    pretrain: Annotated[int, Field(ge=1)] | None = None

    @property
    def scored_on_trained(self) -> bool:
        """Whether the score looks at a trained dense network."""
        return self.score is not None and needs_pretraining(self.score, self.options("score"))

    @property
    def needs_dense(self) -> bool:
        """Whether a dense network must be trained first: for the score, or as the weights to start from."""
        return self.scored_on_trained or self.weights != "init"

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
        self._start_makes_sense()
        return self

    def _start_makes_sense(self) -> None:
        if self.weights == "init" and self.rewind:
            raise ReproError(
                "ticket.rewind: not used with ticket.weights 'init', only by rewound, trained; remove it"
            )
        if self.weights == "rewound" and not self.rewind:
            raise ReproError(
                "ticket.rewind: weights rewound to epoch 0 are ticket.weights 'init'; give 1 or more"
            )
        if self.pretrain is not None and not self.needs_dense:
            raise ReproError("ticket.pretrain: this ticket needs no dense training; remove it")


class Check(Section):
    """Which sanity check, if any."""

    menus = {"name": {"none": nothing, **MASK_CHECKS, **DATA_CHECKS, **SCORE_CHECKS}}
    name: str = "none"


class Optim(Section):
    """How the weights are trained."""

    menus = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
    epochs: Annotated[int, Field(ge=1)] = 160
    batch: Annotated[int, Field(ge=2)] = 128
    lr: Annotated[float, Field(gt=0)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    decay_1d: bool = True
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    warmup: Annotated[float, Field(ge=0)] = 0.0
    per_step: bool = False
    optimizer: str = "sgd"
    schedule: str = "step"

    @model_validator(mode="after")
    def _warmup_ends(self) -> Optim:
        if self.warmup >= self.epochs:
            raise ReproError(
                f"optim.warmup: {self.warmup:g} epochs do not fit into optim.epochs {self.epochs}"
            )
        return self


class Settings(BaseModel):
    """Everything that can change the result of one training run, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: Data = Data()
    model: Model = Model()
    ticket: Ticket = Ticket()
    check: Check = Check()
    optim: Optim = Optim()
    seed: Annotated[int, Field(ge=0)] = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        facts = DATASETS[self.data.name]
        pick(facts.normalise, self.data.normalise, f"data.normalise of {self.data.name}")
        check_input(self.model.name, self.data.size or facts.size)
        name, score = self.check.name, self.ticket.score
        self._dense_run_fits()
        if name in (*MASK_CHECKS, *SCORE_CHECKS) and score is None:
            raise ReproError(
                f"check.name: {name!r} changes a ticket, and this run is dense; name a ticket.score"
            )
        if name in SCORE_CHECKS and (self.ticket.density == 1 or self.ticket.sampler != "exact"):
            raise ReproError(f"check.name: {name!r} changes nothing where weights are not ranked; remove it")
        blind = score and not needs_data(score, self.ticket.options("score")) and not self.ticket.needs_dense
        if name in DATA_CHECKS and blind:
            raise ReproError(
                f"check.name: {name!r} corrupts data, and ticket.score {score!r} uses none; remove it"
            )
        return self

    def _dense_run_fits(self) -> None:
        before = self.dense_epochs
        if self.ticket.rewind > before:
            raise ReproError(
                f"ticket.rewind: {self.ticket.rewind} lies beyond the {before} epochs of the dense run; lower it"
            )
        if self.optim.warmup >= before:
            raise ReproError(
                f"ticket.pretrain: {before} epochs do not hold the {self.optim.warmup:g} of optim.warmup"
            )

    @property
    def dense_epochs(self) -> int:
        """Epochs of the dense run that the ticket is cut from."""
        return self.ticket.pretrain or self.optim.epochs

    @property
    def schedule(self) -> tuple[int, int]:
        """Epoch of the learning-rate schedule at which training begins, and the schedule's length in epochs.

        A rewound ticket goes on in the schedule of its dense run, from the epoch it is rewound to.
        """
        return (self.ticket.rewind, self.dense_epochs) if self.ticket.rewind else (0, self.optim.epochs)

    def changed(self) -> dict[str, Any]:
        """Give what differs from the defaults, as nested plain values."""
        parts = {k: v.changed() for k, v in dict(self).items() if isinstance(v, Section)}
        plain = {
            k: getattr(self, k)
            for k in ("precision",)
            if getattr(self, k) != Settings.model_fields[k].default
        }
        return {k: v for k, v in parts.items() if v} | plain | {"seed": self.seed}

    def key(self) -> str:
        """Name the run: a hash of the settings that differ from their defaults."""
        return digest(self.changed())

    def command(self) -> str:
        """Spell the command that repeats the run."""
        return " ".join(["repro run", *(f"{k}={_spell(v)}" for k, v in flat(self.changed()).items())])


def digest(value: Any) -> str:
    """Hash plain values into the 12 letters that name a folder."""
    text = json.dumps([MEANING, value], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into one with dotted keys."""
    out: dict[str, Any] = {}
    for k, v in nested.items():
        out |= flat(v, f"{prefix}{k}.") if isinstance(v, Mapping) else {f"{prefix}{k}": v}
    return out


def _spell(value: Any) -> str:
    return json.dumps(list(value)).replace(" ", "") if isinstance(value, tuple) else str(value)


def parse(values: Mapping[str, Any]) -> Settings:
    """Validate nested plain values; raise ReproError with one line on the first fault."""
    unknown = [k for k in values if k not in Settings.model_fields]
    if unknown:
        raise ReproError(f"{unknown[0]}: unknown key: {nearest(unknown[0], Settings.model_fields)}")
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ReproError(one_line(error)) from None


def unique(settings: Iterable[Settings]) -> list[Settings]:
    """Drop repetitions, keeping the order."""
    return list({s.key(): s for s in settings}.values())
