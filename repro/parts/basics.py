"""Which images and network, which sanity check, and how the weights are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..checks import DATA_CHECKS, MASK_CHECKS, SCORE_CHECKS
from ..data import DATASETS
from ..data.augment import AUGMENTATIONS
from ..errors import ReproError
from ..models import MODELS
from ..optim import OPTIMIZERS, SCHEDULES
from ..section import Section, nothing


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


class Check(Section):
    """Which sanity check, if any."""

    menus = {"name": {"none": nothing, **MASK_CHECKS, **DATA_CHECKS, **SCORE_CHECKS}}
    name: str = "none"


class Optim(Section):
    """How the weights are trained."""

    menus = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
    epochs: Annotated[int, Field(ge=1)] = 160
    multiplier: Annotated[float, Field(gt=0)] = 1.0
    batch: Annotated[int, Field(ge=2)] = 128
    lr: Annotated[float, Field(gt=0)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    decay_1d: bool = True
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    warmup: Annotated[float, Field(ge=0)] = 0.0
    per_step: bool = False
    optimizer: str = "sgd"
    schedule: str = "step"

    @property
    def length(self) -> int:
        """Epochs of training: `epochs` times `multiplier`, which stretches all but the warm-up."""
        return max(1, round(self.epochs * self.multiplier))

    @model_validator(mode="after")
    def _warmup_ends(self) -> Optim:
        if self.warmup >= self.length:
            raise ReproError(
                f"optim.warmup: {self.warmup:g} epochs do not fit into the {self.length} of training"
            )
        if self.warmup >= self.epochs:
            raise ReproError(
                f"optim.warmup: {self.warmup:g} epochs do not fit into optim.epochs {self.epochs}"
            )
        return self
