"""The kind of settings that menus make: fixed fields plus the options of the menu entries that they name.

`ticket.score: snip` makes the keyword options of `repro.pruners.SCORES["snip"]` keys of `ticket`. So a key that the
chosen method does not use is an error, and a new menu entry needs no line here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model, model_validator

from .errors import ReproError, nearest, pick

Menu = Mapping[str, Callable[..., Any]]


def nothing() -> None:
    """Stand for a menu entry without options."""


@cache
def options_of(entry: Callable[..., Any]) -> type[BaseModel]:
    """Turn the keyword-only parameters of a menu entry into a model that validates them."""
    hints = get_type_hints(entry, include_extras=True)
    fields: dict[str, Any] = {
        p.name: (hints[p.name], ... if p.default is p.empty else p.default)
        for p in inspect.signature(entry).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }
    return create_model(f"{entry.__name__}_options", __config__=ConfigDict(frozen=True), **fields)


class Section(BaseModel):
    """A part of the settings: fixed fields plus the options of the menu entries that they name."""

    model_config = ConfigDict(frozen=True, extra="allow")
    menus: ClassVar[dict[str, Menu]] = {}

    @classmethod
    def chosen(cls, given: Mapping[str, Any]) -> dict[str, type[BaseModel]]:
        """Look up the option models of the menu entries that `given` names, by field."""
        found = {}
        for field, menu in cls.menus.items():
            name = given.get(field, cls.model_fields[field].default)
            if name is not None:
                found[field] = options_of(pick(menu, str(name), f"{cls.title()}.{field}"))
        return found

    @classmethod
    def title(cls) -> str:
        """Name the section as it stands in a parameter file."""
        return cls.__name__.lower()

    @classmethod
    def known(cls, given: Mapping[str, Any]) -> set[str]:
        """List the keys that are in use for the menu entries that `given` names."""
        return set(cls.model_fields).union(*(m.model_fields for m in cls.chosen(given).values()))

    @classmethod
    def sequences(cls) -> set[str]:
        """List the keys whose value is itself a list."""
        models = [cls, *(options_of(e) for menu in cls.menus.values() for e in menu.values())]
        fields = [(name, f) for m in models for name, f in m.model_fields.items()]
        return {name for name, f in fields if get_origin(f.annotation) is tuple}

    @model_validator(mode="before")
    @classmethod
    def _check_options(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            raise ReproError(f"{cls.title()}: expected keys and values, got {given!r}")
        chosen, known = cls.chosen(given), cls.known(given)
        for key in given:
            if key not in known:
                raise ReproError(f"{cls.title()}.{key}: {_why_unused(cls, key, given, known)}")
        values = {k: v for k, v in given.items() if k in cls.model_fields}
        for model in chosen.values():
            mine = {k: v for k, v in given.items() if k in model.model_fields}
            try:
                values |= dict(model.model_validate(mine))
            except ValidationError as error:
                raise ReproError(one_line(error, cls.title())) from None
        return values

    def options(self, field: str) -> dict[str, Any]:
        """Give the keyword options for the menu entry that `field` names."""
        model = type(self).chosen(dict(self)).get(field)
        return {k: getattr(self, k) for k in model.model_fields} if model else {}

    def changed(self) -> dict[str, Any]:
        """Give the values that differ from their defaults: what the canonical key is made of."""
        defaults = {k: f.default for k, f in type(self).model_fields.items()}
        for model in type(self).chosen(dict(self)).values():
            defaults |= {k: f.default for k, f in model.model_fields.items()}
        return {k: v for k, v in dict(self).items() if v != defaults[k]}


def _why_unused(cls: type[Section], key: str, given: Mapping[str, Any], known: set[str]) -> str:
    for field, menu in cls.menus.items():
        users = [name for name, entry in menu.items() if key in options_of(entry).model_fields]
        if users:
            now = given.get(field, cls.model_fields[field].default)
            return f"not used by {field} {now!r}, only by {', '.join(users)}; remove it"
    return f"unknown key: {nearest(key, known)}"


def one_line(error: ValidationError, prefix: str = "") -> str:
    """Tell the first fault of a validation: where, what, and what was given."""
    first = error.errors()[0]
    place = ".".join([p for p in (prefix, *map(str, first["loc"])) if p])
    return f"{place}: {first['msg'].lower()}, got {first['input']!r}"
