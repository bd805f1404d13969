"""The key `tune` of a parameter file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import ReproError, nearest
from ..section import one_line

TRIALS = 20  # of sampler tpe, if the file names no number


class Asked(BaseModel):
    """The key `tune` of a parameter file.

    Attributes:
        space: by dotted setting, a list of choices or a mapping of low, high and, if wanted, step and log.
        sampler: "tpe" looks where earlier trials did well; "grid" tries all combinations, in random order.
        trials: how many, the reference among them; all combinations of a grid, 20 of tpe.
        seed: of the sampler.
        batch: trials that are chosen before the results of any of them are seen; by default as many as fill the
            runs in flight, so that another machine chooses others.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    space: dict[str, Any]
    sampler: Literal["tpe", "grid"] = "tpe"
    trials: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    batch: Annotated[int, Field(ge=1)] | None = None


def read_asked(given: Any, over: Mapping[str, Any]) -> Asked:
    """Read the key `tune`.

    Args:
        given: its content.
        over: what takes the place of single keys.

    Raises:
        ReproError: when it is missing, or a key of it unknown or of a wrong kind; one line.
    """
    if not isinstance(given, Mapping):
        raise ReproError("no key `tune`; say what to search, e.g. tune: {space: {optim.lr: [0.1, 0.05]}}")
    for key in given:
        if key not in Asked.model_fields:
            raise ReproError(f"tune.{key}: unknown key: {nearest(key, Asked.model_fields)}")
    try:
        return Asked.model_validate({"space": {}, **given, **over})
    except ValidationError as error:
        raise ReproError(one_line(error, "tune")) from None
