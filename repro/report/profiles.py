"""Which share of each layer the methods keep, side by side."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from .layers import floor_under, percent_range, shares_at
from .panels import (
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
from .style import INK, method_style, order, percent, rc

GONE, OTHERS, WHOLE = "#b00020", "#c9c9c4", "#555555"
START: dict[str, Any] = {"color": INK, "linestyle": "--", "linewidth": 0.9}


def figure_profiles(frame: pd.DataFrame, density: float | None = None, *, first: bool = False) -> Figure:
    """Draw the share of each layer that a method keeps, one small panel per method, on shared axes.

    Unlike `figure_layers`, which lays the methods over each other, it stays readable with many methods.

    Args:
        frame: table of runs with the column `layers`; runs with a check and dense networks are left out.
        density: the one shown; default: the smallest.
        first: also draw the shares at the start of training, of methods that move their masks.
    """
    shares, chosen = shares_at(frame, density)
    shares = shares if first else shares.assign(first=np.nan)
    floor = floor_under(pd.Series(shares[["low", "first"]].to_numpy(dtype=float).ravel()))
    places = find_places(shares)
    panels = [(p, m) for p in places for m in order(rows_at(shares, p)["method"])]
    with mpl.rc_context(rc()):
        figure, axes = make_grid(wrapped(panels, places, 4), 2.5, 2.2)
        for ax, (place, method) in axes:
            _profile(ax, rows_at(shares, place), method, floor, chosen)
            ax.set_title(f"{place_title(place)}\n{method_style(method).label}", fontsize="small")
        label_outside(axes, "Layer, from input to output", "Share kept")
        label_left_only(axes)
        add_legend(figure, _legend(shares))
    at = f"density {percent(chosen)}" if len(shares) else "no runs yet"
    return describe(figure, f"Share of each layer kept at {at}. {_in_words(shares)}", _caption(shares, at))


def _profile(ax: Axes, shares: pd.DataFrame, method: str, floor: float, density: float) -> None:
    """Fill one panel: the method in its colour, the others in grey behind it."""
    for other, line in shares.groupby("method", sort=False):
        if other != method:
            ax.plot(line["layer"], line["share"].clip(lower=floor), color=OTHERS, linewidth=0.8, zorder=1)
    own, style = shares[shares["method"] == method], method_style(method)
    ends = (own["low"].clip(lower=floor), own["high"].clip(lower=floor))
    if own["first"].notna().any():
        ax.plot(own["layer"], own["first"].clip(lower=floor), zorder=2, **START)
    ax.fill_between(own["layer"], *ends, color=style.colour, alpha=0.25, linewidth=0, zorder=2)
    look = {"color": style.colour, "marker": style.marker, "markeredgecolor": INK}
    drawn = own["share"].clip(lower=floor)
    ax.plot(own["layer"], drawn, markersize=4, markeredgewidth=0.3, linewidth=1.2, zorder=3, **look)
    gone = own[own["low"] == 0]
    ax.scatter(gone["layer"], [floor] * len(gone), s=45, marker="x", color=GONE, zorder=5, clip_on=False)
    ax.axhline(density, color=WHOLE, linestyle=":", linewidth=1)
    ax.set_yscale("log")
    ax.set_ylim(floor * 0.8, 1.3)
    ax.yaxis.set_major_formatter(lambda share, _: percent(share))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def _legend(shares: pd.DataFrame) -> list[Line2D | Patch]:
    if shares.empty:
        return []
    made: list[Line2D | Patch] = [Line2D([], [], color=WHOLE, linestyle=":", label="whole network")]
    if shares["method"].nunique() > 1:
        made.append(Line2D([], [], color=OTHERS, linewidth=1.2, label="the other methods"))
    if shares["first"].notna().any():
        made.append(Line2D([], [], label="at the start of training", **START))
    if (shares["high"] > shares["low"]).any():
        made.append(Patch(facecolor="#8a8a8a", alpha=0.4, label="range over seeds"))
    if shares["low"].eq(0).any():
        made.append(Line2D([], [], color=GONE, marker="x", linestyle="none", label="nothing kept"))
    return made


def _caption(shares: pd.DataFrame, at: str) -> str:
    told = (
        f"Share of each layer's weights kept at {at}, one panel per method, logarithmic axis. Line: mean over "
        f"seeds{seeds_told(shares['n'])}, band: smallest to largest; grey: the other methods; dotted: the density of the "
        "whole network."
    )
    told += " Dashed: mean shares at the start of training." if shares["first"].notna().any() else ""
    gone = shares["low"].eq(0).any()
    return told + (" Crosses: layers that lost every weight in a run." if gone else "")


def _in_words(shares: pd.DataFrame) -> str:
    told = []
    for place in find_places(shares):
        for method, line in rows_at(shares, place).groupby("method", sort=False):
            gone = int(line["low"].eq(0).sum())
            lost = f", {gone} without any weight" if gone else ""
            name = method_style(str(method)).label
            told.append(f"{place_title(place)}, {name}: {percent_range(line['share'])}{lost}")
    return "; ".join(told)
