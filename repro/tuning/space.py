"""What a search may choose from, setting by setting: a list of choices, or a range of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..errors import ReproError, nearest

FIXED = {
    "seed": "every trial is trained with every seed of the runs",
    "recipe": "a search goes over settings; name those of the recipe",
    "data.validation": "it decides by which images trials are compared",
}


@dataclass(frozen=True)
class Choices:
    """One of a list; a choice may itself be a list, as `ticket.keep_dense` is."""

    values: tuple[Any, ...]

    def ends(self) -> list[Any]:
        """Give the values that must be valid settings for all to be."""
        return list(self.values)

    def grid(self) -> list[Any] | None:
        """List all values; None where they cannot be listed."""
        return list(self.values)

    def holds(self, value: Any) -> bool:
        """Tell whether a setting's value is among them."""
        return value in self.values

    def code(self, value: Any) -> Any:
        """Spell a value as a sampler keeps it: lists as text, all else as it is."""
        return json.dumps(value) if isinstance(value, list) else value

    def value(self, code: Any) -> Any:
        """Read what a sampler chose."""
        return next(v for v in self.values if self.code(v) == code)

    def plain(self) -> list[Any]:
        """Give what stands in the parameter file."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included: whole ones if both ends are, in steps if `step` is given."""

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return all(isinstance(x, int) for x in (self.low, self.high, self.step or 1))

    @property
    def span(self) -> Decimal:
        """How far it is from one end to the other."""
        return _exact(self.high) - _exact(self.low)

    def ends(self) -> list[Any]:
        """Give the values that must be valid settings for all to be."""
        return [self.low, self.high]

    def grid(self) -> list[Any] | None:
        """List all values; None where they cannot be listed."""
        if self.step is None:
            return None
        return [self._at(i) for i in range(int(self.span / _exact(self.step)) + 1)]

    def holds(self, value: Any) -> bool:
        """Tell whether a setting's value is among them."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        inside = self.low <= value <= self.high and (not self.whole or value == int(value))
        return inside and (self.step is None or abs(self.value(value) - value) < 1e-9)

    def code(self, value: Any) -> Any:
        """Spell a value as a sampler keeps it."""
        return self.value(value)

    def value(self, code: Any) -> Any:
        """Read what a sampler chose; a step's value as it is written, 0.3 and not 0.30000000000000004."""
        if self.step is not None:
            return self._at(round((code - self.low) / self.step))
        return int(code) if self.whole else float(code)

    def plain(self) -> dict[str, Any]:
        """Give what stands in the parameter file."""
        step = {} if self.step is None else {"step": self.step}
        return {"low": self.low, "high": self.high} | step | ({"log": True} if self.log else {})

    def _at(self, i: int) -> int | float:
        found = _exact(self.low) + i * _exact(self.step or 1)
        return int(found) if self.whole else float(found)


Entry = Choices | Range
Point = Mapping[str, Any]  # setting -> value


def read_space(given: Any) -> dict[str, Entry]:
    """Read the key `space` of a search.

    Args:
        given: by dotted setting, a list of choices or a mapping of low, high and, if wanted, step and log.

    Raises:
        ReproError: when an entry is none, or its setting must stay as it is; one line.
    """
    if not isinstance(given, Mapping) or not given:
        raise ReproError("tune.space: name the settings to search, e.g. optim.lr: [0.1, 0.05]")
    found: dict[str, Entry] = {}
    for name, entry in given.items():
        if name in FIXED:
            raise ReproError(f"tune.space: {name} stays as it is: {FIXED[name]}; remove it")
        try:
            found[str(name)] = _range(entry) if isinstance(entry, Mapping) else _choices(entry)
        except ReproError as error:
            raise ReproError(f"tune.space: {name}: {error}") from None
    return found


def _choices(given: Any) -> Choices:
    if not isinstance(given, list) or not given:
        raise ReproError(f"give a list of choices, or low and high, not {given!r}")
    for i, value in enumerate(given):
        if not all(map(_is_plain, value if isinstance(value, list) else [value])):
            raise ReproError(f"{value!r} is no value of a setting; give numbers, words or lists of them")
        if value in given[:i]:
            raise ReproError(f"{value!r} is given twice; remove one")
    return Choices(tuple(given))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | str) or _is_number(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < float("inf")


def _range(given: Mapping[Any, Any]) -> Range:
    for key in given:
        if key not in Range.__dataclass_fields__:
            raise ReproError(f"unknown key {key!r}: {nearest(key, Range.__dataclass_fields__)}")
    if not {"low", "high"} <= given.keys():
        raise ReproError("a range needs low and high")
    for key, x in given.items():
        if not (isinstance(x, bool) if key == "log" else _is_number(x)):
            raise ReproError(f"{key}: give {'true or false' if key == 'log' else 'a number'}, not {x!r}")
    made = Range(**given)
    if not made.low < made.high:
        raise ReproError(f"low {made.low} is not below high {made.high}")
    if made.log and (made.low <= 0 or made.step is not None):
        raise ReproError("log: a range by powers begins above 0 and has no step; remove log")
    if made.step is not None and (made.step <= 0 or made.span % _exact(made.step)):
        raise ReproError(f"step {made.step}: it does not lead from low {made.low} to high {made.high}")
    return made


def _exact(number: int | float) -> Decimal:
    """Take a number as it is written, so that steps of 0.1 add up."""
    return Decimal(repr(number))
