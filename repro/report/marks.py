"""What figures draw in the same way: the dense network, means with intervals, published values, and their legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .. import cells
from .menus import METHODS, WORKS
from .style import INK, Style

HOLLOW = "Ds^v"
EDGE: dict[str, Any] = {"markeredgecolor": INK, "markeredgewidth": 0.4}
DENSE: dict[str, Any] = {"color": METHODS["dense"].colour, "linestyle": "--", "linewidth": 1}


def look_of(style: Style) -> dict[str, Any]:
    """Give colour, marker and caps of a mean with its error bar."""
    return {"color": style.colour, "marker": style.marker, "markersize": 6, "capsize": 2} | EDGE


def half_widths(table: pd.DataFrame) -> np.ndarray:
    """Give the half widths of the intervals of some cells, 0 where one value gives no interval."""
    return np.nan_to_num((table["high"] - table["low"]).to_numpy(dtype=float) / 2)


def draw_dense(ax: Axes, table: pd.DataFrame) -> None:
    """Draw the accuracy of the dense networks among some cells as dashed lines with their intervals."""
    dense = table[table["method"].eq("dense") & table["n"].gt(0)]
    for row in cells.rows(dense):
        ax.axhline(row["mean"], **DENSE)
        if np.isfinite(row["low"]):
            ax.axhspan(row["low"], row["high"], color=DENSE["color"], alpha=0.08, linewidth=0)


def dense_handles(table: pd.DataFrame) -> list[Line2D]:
    """Make the legend's entry for the dense network, if some of the cells are."""
    dense = (table["method"].eq("dense") & table["n"].gt(0)).any()
    return [Line2D([], [], label="Dense network", **DENSE)] if dense else []


def published_handles(shown: dict[str, bool]) -> list[Line2D]:
    """Make the legend's entries for the works whose values are shown, each with the hollow mark of its place."""
    look: dict[str, Any] = {"linestyle": "none", "markerfacecolor": "none", "markeredgecolor": INK}
    return [
        Line2D([], [], marker=shape, label=f"published: {WORKS.get(work, work)}", **look)
        for (work, seen), shape in zip(shown.items(), HOLLOW, strict=False)
        if seen
    ]


def hollow_told(shown: dict[str, bool]) -> str:
    """Say in a caption whose values the hollow marks are."""
    names = [WORKS.get(work, work) for work, seen in shown.items() if seen]
    return f" Hollow marks: published by {' and '.join(names).rstrip('.')}." if names else ""


def line_handles(styles: Sequence[Style]) -> list[Line2D]:
    """Make the legend's entries for lines with marks."""
    return [
        Line2D([], [], color=s.colour, marker=s.marker, label=s.label, linewidth=1.2, **EDGE) for s in styles
    ]
