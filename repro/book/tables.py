"""MyST tables and links."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from .notebooks import Page

SPECIAL = re.compile(r"[\\`*_{}\[\]<>~$&^]")  # of Markdown, but for the bars: `cell` sees to those


def plain(text: object) -> str:
    """Keep a text that came with a record or a ticket from being read as Markdown or HTML."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(str(text).split()))


def code(text: object) -> str:
    """Show such a text as code, whatever backticks it has."""
    shown = " ".join(str(text).split())
    ticks = "`" * (longest(shown) + 1)
    return f"{ticks} {shown} {ticks}" if "`" in shown else f"`{shown}`"


def longest(text: str) -> int:
    """Count the backticks of the longest row of them."""
    return max(map(len, re.findall("`+", text)), default=0)


def cell(value: Any) -> str:
    """Write a value so that it can stand in a cell of a table."""
    blank = value is None or (isinstance(value, float) and value != value)
    return "—" if blank else " ".join(str(value).replace("|", "\\|").split())


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write a table; the first row is the head."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(x) for x in line) + " |" for line in lines) + "\n"


def link(page: Page, text: str) -> str:
    """Link to a page of the book from a page at its root."""
    return f"[{cell(text)}](sections/{page.name}.ipynb)"
