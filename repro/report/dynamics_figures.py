"""How masks move in training, epoch by epoch."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import cells, stats
from ..errors import pick
from .dynamics import curve_of
from .marks import EDGE, line_handles
from .panels import (
    PLACE,
    add_legend,
    describe,
    find_places,
    label_left_only,
    label_outside,
    make_grid,
    place_title,
    rows_at,
    seeds_told,
    wrapped,
)
from .style import Style, method_style, order, percent, rc

WHAT = {
    "explored": (
        "Share of weights ever active",
        "share of the prunable weights that were active at some time",
    ),
    "replaced": (
        "Share replaced in the epoch",
        "weights replaced in the epoch by weights kept; above 1 with many updates",
    ),
    "overlap_before": (
        "Overlap with the epoch before",
        "overlap (IoU) of the mask with that of the epoch before",
    ),
    "overlap_first": (
        "Overlap with the first mask",
        "overlap (IoU) of the mask with the one that training began with",
    ),
    "density": ("Density", "share of the prunable weights kept"),
    "flops_ratio": (
        "Inference FLOPs / dense",
        "operations of inference with the mask by those of the dense network",
    ),
}


def _curves(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """Average a quantity over seeds, per cell without a check and epoch, with its 95 % t interval."""
    runs = cells.tidy(frame)
    runs = runs[runs["state"].eq("done") & runs["check"].eq("none")]
    made = []
    for key, cell in runs.groupby([*PLACE, "density", "method"], sort=False):
        seeds = [curve for run in cells.rows(cell) if len(curve := curve_of(run, what))]
        for epoch, values in pd.concat(seeds, axis=1).sort_index().iterrows() if seeds else ():
            known = values.dropna()
            mean, low, high = stats.interval(known)
            made.append([*key, epoch, mean, low, high, len(known)])
    table = pd.DataFrame(made, columns=[*PLACE, "density", "method", "epoch", "mean", "low", "high", "n"])
    return table[table["n"].gt(0)].reset_index(drop=True)


def figure_dynamics(frame: pd.DataFrame, what: str = "explored") -> Figure:
    """Draw how a quantity of the masks changes in training, a line per method; a panel per network and density.

    Args:
        frame: table of runs with the column `curve`; runs whose masks do not move, or with a check, are left out.
        what: "explored", "replaced", "overlap_before", "overlap_first", "density" or "flops_ratio".

    Raises:
        ReproError: when there is no such quantity.
    """
    label, meaning = pick(WHAT, what, "quantity of moving masks")
    table = _curves(frame, what)
    places, methods = find_places(table), order(table["method"])
    panels = [(p, d) for p in places for d in sorted(rows_at(table, p)["density"].unique(), reverse=True)]
    with mpl.rc_context(rc()):
        figure, axes = make_grid(wrapped(panels, places, 2), 4.8, 3.2)
        for ax, (place, density) in axes:
            here = rows_at(table, place)
            for i, method in enumerate(methods):
                own = here[here["density"].eq(density) & here["method"].eq(method)]
                _draw_curve(ax, own, method_style(method), i)
            ax.set_title(f"{place_title(place)}\ndensity {percent(density)}")
        label_outside(axes, "Epoch", label)
        _share_y(axes)
        label_left_only(axes)
        add_legend(figure, line_handles([method_style(m) for m in methods]))
    return describe(
        figure,
        f"{label}, epoch by epoch. {_in_words(table, panels)}",
        f"Per epoch: {meaning}. Lines: mean over seeds{seeds_told(table['n'])}, bands: 95 % t interval.",
    )


def _draw_curve(ax: Axes, own: pd.DataFrame, style: Style, turn: int) -> None:
    """Draw one method's curve with its band, and a few marks to tell it apart without colour."""
    if own.empty:
        return
    ends = own[["low", "high"]].astype(float)
    ax.fill_between(own["epoch"], ends["low"], ends["high"], color=style.colour, alpha=0.2, linewidth=0)
    every = max(len(own) // 7, 1)
    marks: dict[str, Any] = {
        "marker": style.marker,
        "markersize": 5,
        "markevery": (turn % every, every),
    } | EDGE
    ax.plot(own["epoch"], own["mean"], color=style.colour, linewidth=1.2, **marks)


def _share_y(axes: list[tuple[Axes, Any]]) -> None:
    """Give all panels one scale, so that densities can be compared."""
    ends = [limit for ax, _ in axes for limit in ax.get_ylim()]
    for ax, _ in axes:
        ax.set_ylim(min(ends), max(ends))


def _in_words(table: pd.DataFrame, panels: list[tuple[Any, float]]) -> str:
    """Say for each panel and method where the curve begins and ends."""
    told = []
    for place, density in panels:
        here = rows_at(table, place)
        lines = [
            f"{method_style(str(m)).label} from {own['mean'].iloc[0]:.3g} to {own['mean'].iloc[-1]:.3g}"
            for m, own in here[here["density"] == density].groupby("method", sort=False)
        ]
        told.append(f"{place_title(place)}, density {percent(density)}: {', '.join(lines)}.")
    return " ".join(told) or "No runs yet."
