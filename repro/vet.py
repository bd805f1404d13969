"""Whether a record that came from elsewhere can be trusted: all that the pages read of it, and its name.

The key is computed anew from the settings, so that no file can name a place of its own choosing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from . import seals
from .errors import ReproError
from .facts import head
from .record import FORMAT, LIMIT
from .section import one_line
from .settings import Settings, parse
from .text import sized

RECORD_LIMIT = LIMIT
Percent = Annotated[float, Field(ge=0, le=100)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]


class Form(BaseModel):
    """What a file from elsewhere must hold at least, its types taken at their word."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class _Accuracy(Form):
    final: Percent
    best: Percent
    best_epoch: Count
    top5: Percent
    validation: Percent | None


class _Flops(Form):
    ratio: Fraction
    train_ratio: Amount | None = None
    train_counted: Amount | None = None


class _Sparse(Form):
    updates: Count
    dense_gradients: Count
    steps: Count
    explored: Fraction


class _Seconds(Form):
    total: Annotated[float, Field(ge=0)]


class _Layer(Form):
    name: str
    shape: list[Count]
    kept: Count
    total: Annotated[int, Field(ge=1)]
    density: Fraction
    macs: Count
    effective: Count | None = None
    units: Count | None = None
    dead: Count | None = None
    kept_first: Count | None = None
    explored: Fraction | None = None


class Overlap(Form):
    """How far masks agree with those of the unchecked ticket."""

    value: Fraction
    expected: Fraction


class _Record(Form):
    key: str
    command: str
    settings: dict[str, Any]
    status: Literal["done", "diverged"]
    reason: str | None
    when: str
    accuracy: _Accuracy
    density: Fraction
    params: Count
    flops: _Flops
    seconds: _Seconds
    memory_mb: Annotated[float, Field(ge=0)]
    environment: dict[str, Any]
    layers: Annotated[list[_Layer], Field(min_length=1)]
    curve: dict[str, list[float | None]]
    overlap: Overlap | None = None
    fresh: list[str] = []
    sparse: _Sparse | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> _Record:
        lengths = {len(column) for column in self.curve.values()}
        last = self.curve.get("test_accuracy") or [None]
        if len(lengths) != 1 or last[-1] != self.accuracy.final:
            raise ReproError("curve: its columns differ in length, or do not end at the final accuracy")
        if any(layer.kept > layer.total for layer in self.layers):
            raise ReproError("layers: more weights are kept than there are")
        return self


def strict_json(text: str, digits: int) -> Any:
    """Read JSON whose numbers are finite, and whole ones of at most so many digits; raise ValueError otherwise."""

    def number(word: str) -> float:
        value = float(word)
        if not math.isfinite(value):
            raise ValueError(f"{word} is no finite number")
        return value

    def whole(word: str) -> int:
        if len(word) > digits:
            raise ValueError(f"a whole number of more than {digits} digits")
        return int(word)

    return json.loads(text, parse_float=number, parse_int=whole, parse_constant=number)


def load(path: Path) -> tuple[dict[str, Any], Settings]:
    """Read a record from elsewhere and the settings that it is of.

    Raises:
        ReproError: the reason, without the path, when the file is unreadable, larger than 32 MiB, not JSON, of
            another format, incomplete, when its checksum is wrong, or when its key or command are not those of its settings.
    """
    try:
        text = sized(path, RECORD_LIMIT).decode()
        found = strict_json(text, 16)
        plain = json.dumps(found, ensure_ascii=False)
        plain.encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise ReproError(f"no valid JSON ({short(error)})") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ReproError(f"not a record of format {FORMAT}")
    if re.search(r"[<>\x7f-\x9f]|\\u00|\\[bfnrt]", plain):  # pages and terminals show texts as they are
        raise ReproError("markup or control characters in a text")
    found = seals.opened(found)
    return found, check(found)


def check(record: Mapping[str, Any]) -> Settings:
    """Check the content of a record and give its settings; raise ReproError with the reason."""
    try:
        form = _Record.model_validate(dict(record))
        s = parse(form.settings)
    except ValidationError as error:
        raise ReproError(short(one_line(error))) from None
    except ReproError as error:
        raise ReproError(short(error)) from None
    own = json.loads(json.dumps(head(s)))
    given = {name: record[name] for name in ("key", "settings", "command")}
    own["settings"] = _where_given(own["settings"], given["settings"])
    for name, value in given.items():
        if json.dumps(own[name], sort_keys=True) != json.dumps(value, sort_keys=True):
            raise ReproError(
                f"its {name} does not follow from its settings, which give key {own['key']}: "
                "changed, or of another version of repro"
            )
    if form.status == "done" and len(form.curve["test_accuracy"]) != s.optim.length:
        raise ReproError("its curve is shorter or longer than its training")
    return s


def _where_given(own: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the settings that a record does not have: it may be older than they are, and has their default."""
    return {
        k: _where_given(v, given[k]) if isinstance(v, dict) and isinstance(given[k], Mapping) else v
        for k, v in own.items()
        if k in given
    }


def short(error: object) -> str:
    """Bring the text of an error into one line that can be read."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:200] + "..."
