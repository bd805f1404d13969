"""MyST tables and links."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .notebooks import Page


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
