"""Accuracy drawn against the compression ratio, ours beside published curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from .compression import BEST, LAST, OURS, chance, compression_cells, written
from .marks import dense_handles, draw_dense, half_widths, line_handles, look_of
from .menus import WORKS
from .panels import (
    Place,
    add_legend,
    describe,
    find_places,
    label_outside,
    make_grid,
    place_title,
    rows_at,
    seeds_told,
)
from .style import method_style, order, rc

CHANCE: dict[str, Any] = {"color": "#b00020", "linestyle": ":", "linewidth": 1.2}
RATIO = "Compression ratio (all prunable weights / those kept)"
NUDGE = 0.02  # of a power of ten, between the marks of two methods


class Panel(NamedTuple):
    """What one panel shows: a place, and whose numbers."""

    place: Place
    source: str


def figure_compression(frame: pd.DataFrame, published: Sequence[str] = ()) -> Figure:
    """Draw test accuracy against the compression ratio, a line per method; published curves in panels of their own.

    Args:
        frame: table of runs; those with a check are left out.
        published: works whose curves, of the best epoch, are drawn: beside ours where we ran their network.
    """
    table = compression_cells(frame, published)
    shown = table["source"].map(lambda source: LAST if source == OURS else BEST)
    table = table[table["n"].gt(0) & table["epoch"].eq(shown)]
    methods = [m for m in order(table["method"]) if m != "dense"]
    panels = _pair(table)
    with mpl.rc_context(rc()):
        figure, axes = make_grid(panels, 4.6, 3.1)
        for ax, panel in axes:
            here = _in(table, panel)
            for i, method in enumerate(methods):
                _line(ax, here, method, i - (len(methods) - 1) / 2)
            draw_dense(ax, here)
            ax.axhline(chance(panel.place[0]), **CHANCE)
            ax.set_ylim(0, 102)
            log_ratio(ax)
            ax.set_title(_title(panel, here))
        label_outside(axes, RATIO, "Test accuracy (%)")
        at_chance = [Line2D([], [], label="Chance", **CHANCE)] if axes else []
        looks = line_handles([method_style(m) for m in methods])
        add_legend(figure, [*looks, *dense_handles(table), *at_chance])
    return describe(figure, _accuracy_in_words(table, panels), _accuracy_told(table))


def _pair(table: pd.DataFrame) -> list[list[Panel]]:
    """Put ours and published panels of a place into one row, the others into rows of two, ours first."""
    panels = [Panel(p, str(s)) for p in find_places(table) for s in rows_at(table, p)["source"].unique()]
    paired = [[x for x in panels if x.place == p] for p in dict.fromkeys(x.place for x in panels)]
    rows = [row for row in paired if len(row) > 1]
    for ours in (True, False):
        alone = [row[0] for row in paired if len(row) == 1 and (row[0].source == OURS) == ours]
        rows += [alone[i : i + 2] for i in range(0, len(alone), 2)]
    return rows


def _in(table: pd.DataFrame, panel: Panel) -> pd.DataFrame:
    here = rows_at(table, panel.place)
    return here[here["source"] == panel.source]


def _title(panel: Panel, here: pd.DataFrame) -> str:
    if panel.source == OURS:
        return f"{place_title(panel.place)}\nours, {LAST}"
    named, work = here["named"].iloc[0], WORKS.get(panel.source, panel.source)
    return f"{place_title(panel.place)} ({named})\npublished: {work}, {BEST}"


def _line(ax: Axes, here: pd.DataFrame, method: str, shift: float) -> None:
    """Draw one method from the dense network on; methods stand side by side, so that equal ones are all seen."""
    own = here[here["method"].eq(method)]
    if own.empty:
        return
    style, x = method_style(method), own["compression"] * 10 ** (NUDGE * shift)
    look = look_of(style) | {"markersize": 5, "linewidth": 1.1, "elinewidth": 0.9}
    ax.errorbar(x, own["mean"], yerr=half_widths(own), **look)
    start = here[here["method"].eq("dense")]
    if len(start):
        between = ([1.0, x.iloc[0]], [start["mean"].iloc[0], own["mean"].iloc[0]])
        ax.plot(*between, color=style.colour, linewidth=0.7, alpha=0.5)


def log_ratio(ax: Axes) -> None:
    """Give a panel a logarithmic axis of compression ratios, with a tick at each power of ten."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator([10.0**power for power in range(10)]))
    ax.xaxis.set_major_formatter(lambda at, _: f"{at:.0f}" if at < 1e4 else f"$10^{np.log10(at):.0f}$")
    ax.xaxis.set_minor_locator(NullLocator())


def _accuracy_in_words(table: pd.DataFrame, panels: list[list[Panel]]) -> str:
    """Say for each panel and method the accuracy at the smallest and at the largest ratio."""
    told = []
    for panel in (panel for row in panels for panel in row):
        here = _in(table, panel)
        lines = [
            f"{method_style(str(m)).label} {g['mean'].iloc[0]:.1f} % at {written(g['compression'].iloc[0])}"
            + (
                f" to {g['mean'].iloc[-1]:.1f} % at {written(g['compression'].iloc[-1])}"
                if len(g) > 1
                else ""
            )
            for m, g in here.groupby("method", sort=False)
        ]
        told.append(f"{_title(panel, here).replace(chr(10), ', ')}: {', '.join(lines)}.")
    return f"Test accuracy against the compression ratio. {' '.join(told) or 'No runs yet.'}"


def _accuracy_told(table: pd.DataFrame) -> str:
    ours, theirs = table[table["source"] == OURS], table[table["source"] != OURS]
    told = "Test accuracy against the compression ratio, logarithmic. Marks: mean over runs, bars: 95 % t interval"
    told += f"{seeds_told(ours['n'])}; dashed: dense network; dotted: chance."
    if len(theirs):
        told += (
            f" Published panels: the best epoch on the test set{seeds_told(theirs['n'])}, ours the last one; "
        )
        told += "in brackets the network's name in their code."
    return told
