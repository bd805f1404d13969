"""Errors a user can mend: one line that says what, where and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class ReproError(Exception):
    """A mistake in the input or the surroundings, told in one line; the command line exits with 2."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which of the `known` words is meant by `word`: a hint for the end of an error line."""
    known = sorted(known)
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}(known: {', '.join(known) or 'none'})"


def pick(menu: Mapping[str, T], name: str, what: str) -> T:
    """Look `name` up in a `menu`; raise ReproError naming the nearest entry if it is not there."""
    if name not in menu:
        raise ReproError(f"unknown {what} {name!r}: {nearest(name, menu)}")
    return menu[name]
