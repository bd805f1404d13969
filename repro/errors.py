"""Errors a user can mend: one line that says what, where and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


LONGEST = 2000  # characters of an error, which may quote what a stranger wrote


class ReproError(Exception):
    """A mistake in the input or the surroundings, told in one line; the command line exits with 2."""

    def __init__(self, text: object = "") -> None:
        """Keep the text as one line of at most LONGEST characters that a terminal only shows."""
        super().__init__(line(text))


def line(text: object) -> str:
    """Spell a text that may hold a stranger's words as one line: blanks for line ends, escapes for what is no sign."""
    begun = str(text)[: LONGEST + 1]
    shown = "".join(
        c if c.isprintable() or c == "\xa0" else " " if c.isspace() else _escape(c) for c in begun
    )
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "..."


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


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


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory is lacking; torch has no kind of its own for that of a CPU."""
    told = isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "out of memory")
    )
    return told or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
