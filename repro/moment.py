"""Moments of a training: after some epochs, or after some steps."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field

Moment = (
    Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}it$")]
)  # epochs, or "500it"


def steps_of(moment: Moment) -> int | None:
    """Give the steps that a moment such as "500it" counts; None where it counts epochs."""
    return int(moment.removesuffix("it")) if isinstance(moment, str) else None


def in_epochs(value: Any) -> Any:
    """Read "2ep" as the number 2; give everything else as it is."""
    found = re.fullmatch(r"(\d+)ep", value) if isinstance(value, str) else None
    return int(found[1]) if found else value
