"""Plain, accessible HTML and Markdown tables that take their colours from the page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Literal, NamedTuple

import numpy as np

DASH = "—"
MINUS = "\u2212"


class Cell(NamedTuple):
    """Text of a table cell, with a link if it has one; both are escaped when written."""

    text: str
    link: str | None = None


class Column(NamedTuple):
    """A column: its heading, whether it holds numbers (aligned right), and whether it names the row."""

    head: str
    kind: Literal["key", "number", "text"] = "text"


@dataclass(frozen=True)
class Table:
    """A table ready to show: in a notebook as HTML, elsewhere by `markdown()`."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    caption: str

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col" style="{_align(c)}">{escape(c.head)}</th>' for c in self.columns)
        body = "\n".join(f"<tr>{self._row(row)}</tr>" for row in self.rows)
        # class "dataframe": the book's theme then gives its own colours, light and dark, as does JupyterLab
        return (
            f'<div style="overflow-x:auto"><table class="dataframe repro-table" '
            f'style="border-collapse:collapse;font-variant-numeric:tabular-nums">'
            f'<caption style="caption-side:top;text-align:left;color:inherit">'
            f"{escape(self.caption)}</caption>"
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
        )

    def _row(self, row: tuple[Cell | str, ...]) -> str:
        parts = []
        for column, cell in zip(self.columns, row, strict=True):
            tag, scope = ("th", ' scope="row"') if column.kind == "key" else ("td", "")
            weight = ";font-weight:normal" if column.kind == "key" else ""
            parts.append(f'<{tag}{scope} style="{_align(column)}{weight}">{_inner(cell)}</{tag}>')
        return "".join(parts)

    def markdown(self) -> str:
        """Write the table as a Markdown pipe table, the caption as a paragraph after it."""
        rule = "|".join("---:" if column.kind == "number" else "---" for column in self.columns)
        lines = [" | ".join(_plain(column.head) for column in self.columns), rule]
        lines += [" | ".join(_marked(cell) for cell in row) for row in self.rows]
        return (
            "\n".join(f"| {line} |" if line != rule else f"|{line}|" for line in lines)
            + f"\n\n{_plain(self.caption)}\n"
        )


def _align(column: Column) -> str:
    return f"text-align:{'right' if column.kind == 'number' else 'left'};padding:.25em .6em;white-space:" + (
        "normal" if column.kind == "text" else "nowrap"
    )


def _inner(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return escape(cell)
    look = "color:inherit;text-decoration:underline"
    return (
        f'<a href="{escape(cell.link)}" style="{look}">{escape(cell.text)}</a>'
        if cell.link
        else escape(cell.text)
    )


def _marked(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return _plain(cell)
    return f"[{_plain(cell.text)}](<{cell.link}>)" if cell.link else _plain(cell.text)


def _plain(text: str) -> str:
    """Escape what Markdown or HTML would take as markup."""
    for sign in "\\`*_[]|$#":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Write a number with fixed digits and a true minus; a dash where there is none."""
    if value is None or not np.isfinite(value):
        return DASH
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text.lstrip("+-")


def p_value(p: float) -> str:
    """Write a p value; never as zero."""
    return "< 0.001" if p < 0.001 else number(p, 3)


def span(low: float, high: float, *, sign: bool = True) -> str:
    """Write the ends of an interval, of differences with their signs; a dash where there is none."""
    return f"{number(low, sign=sign)} to {number(high, sign=sign)}" if high == high else DASH


def with_interval(mean: float, low: float, high: float, *, digits: int = 2, sign: bool = False) -> str:
    """Write a mean with the half width of its interval; the mean alone when one value gives no interval."""
    if not np.isfinite(mean):
        return DASH
    text = number(mean, digits, sign=sign)
    return f"{text} ± {number((high - low) / 2, digits)}" if np.isfinite(high - low) else text
