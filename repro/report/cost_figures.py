"""Accuracy against operations: what a network's training or use costs, and what it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from .. import cells
from ..errors import pick
from .costs import cost_cells, times
from .marks import (
    HOLLOW,
    dense_handles,
    draw_dense,
    half_widths,
    hollow_told,
    line_handles,
    look_of,
    published_handles,
)
from .panels import (
    add_legend,
    describe,
    find_places,
    label_outside,
    make_grid,
    place_title,
    rows_at,
    seeds_told,
    two_wide,
)
from .style import method_style, order, rc

LABELS = {"train": "Training FLOPs / dense training", "test": "Inference FLOPs / dense network"}
WORDS = {"train": "the FLOPs of training", "test": "the FLOPs of inference"}
TICKS = [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 50]


def figure_costs(
    frame: pd.DataFrame,
    cost: Literal["train", "test"] = "train",
    published: Sequence[str] | None = None,
) -> Figure:
    """Draw test accuracy against operations, a line per method over its densities.

    Args:
        frame: table of runs; those with a check are left out.
        cost: operations of training by the published formula, or of inference with the final network.
        published: works whose values appear as hollow marks where they printed both accuracy and operations.

    Raises:
        ReproError: when there is no such cost.
    """
    label, works = pick(LABELS, cost, "cost"), list(published or ())
    table = _placed(cost_cells(frame[frame["check"].eq("none")], works), cost, works)
    sparse, places = table[table["method"] != "dense"], find_places(table)
    methods = order(sparse["method"])
    hollow = {work: bool(_both_published(table, cost, work).any()) for work in works}
    with mpl.rc_context(rc()):
        wide = 1 if len(places) == 1 or len(methods) > 8 else 2
        figure, axes = make_grid(two_wide(places, None, wide), 7.4 if wide == 1 else 4.8, 3.6)
        for ax, (place, _) in axes:
            here = rows_at(table, place)
            draw_dense(ax, here)
            for method in methods:
                _draw_method(ax, here[here["method"] == method].sort_values(cost), method, cost, works)
            _mark_costs(ax)
            ax.set_ylim(
                max(0.0, ax.get_ylim()[0]), min(103.0, ax.get_ylim()[1])
            )  # as far as there are accuracies
            ax.set_title(place_title(place))
        label_outside(axes, label, "Test accuracy (%)")
        lines = line_handles([method_style(m) for m in methods])
        add_legend(figure, [*lines, *dense_handles(table), *published_handles(hollow)])
    return describe(
        figure,
        f"Test accuracy against {WORDS[cost]}. {_in_words(table, cost)}",
        f"Test accuracy after the last epoch against {WORDS[cost]}, divided by those of the "
        f"dense network, logarithmic axis; a line per method over its densities. Marks: mean over seeds"
        f"{seeds_told(table['n'])}, bars: 95 % t interval; dashed: dense network with its interval.{hollow_told(hollow)}",
    )


def _placed(table: pd.DataFrame, cost: str, works: list[str]) -> pd.DataFrame:
    """Keep the cells that have a place in the figure: operations and accuracy, ours or published, or dense."""
    ours = table["n"].gt(0) & (table[cost].gt(0) | table["method"].eq("dense"))
    return table[np.logical_or.reduce([ours, *(_both_published(table, cost, work) for work in works)])]


def _both_published(table: pd.DataFrame, cost: str, work: str) -> pd.Series:
    """Mark the cells of which a work printed both accuracy and operations."""
    return table[[f"{cost}_{work}", f"published_{work}"]].notna().all(axis=1)


def _draw_method(ax: Axes, own: pd.DataFrame, method: str, cost: str, works: list[str]) -> None:
    """Draw a method's line of means with intervals, and its published values."""
    style, done = method_style(method), own[own["n"].gt(0) & own[cost].gt(0)]
    if len(done):
        ax.errorbar(done[cost], done["mean"], yerr=half_widths(done), linewidth=1, **look_of(style))
    for work, shape in zip(works, HOLLOW, strict=False):
        known = own[_both_published(own, cost, work)]
        drawn: dict[str, Any] = {"s": 26, "marker": shape, "facecolor": "none", "edgecolor": style.colour}
        ax.scatter(known[f"{cost}_{work}"], known[f"published_{work}"], **drawn)


def _mark_costs(ax: Axes) -> None:
    """Give a panel its logarithmic axis with the ticks that are not too close to each other."""
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    inside = [tick for tick in TICKS if low <= tick <= high]
    wide = high / low > 30
    ax.xaxis.set_major_locator(FixedLocator([t for t in inside if f"{t:g}"[-1] != "3"] if wide else inside))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}x")


def _in_words(table: pd.DataFrame, cost: str) -> str:
    """Say for each panel and method what the cheapest and the dearest cell reach."""
    told = []
    for place in find_places(table):
        here = rows_at(table, place)
        lines = []
        for method, own in here[here["n"].gt(0)].groupby("method", sort=False):
            ends = cells.rows(own.sort_values(cost).iloc[[0, -1][: len(own)]])
            dense = method == "dense"
            points = [f"{r['mean']:.1f} %" + ("" if dense else f" at {times(r[cost])}") for r in ends]
            lines.append(f"{method_style(str(method)).label} {' to '.join(points)}")
        told.append(f"{place_title(place)}: {'; '.join(lines) or 'no runs yet'}.")
    return " ".join(told) or "No runs yet."
