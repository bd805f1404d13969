"""Accuracy against density. The other figures are in `differences` and `layers`.

Each figure is a matplotlib Figure that carries its own description and caption; `style.show_figure` puts both
on the page. Error bars come from `stats`, so that a figure and its table never disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import cells
from .marks import HOLLOW, dense_handles, draw_dense, hollow_told, look_of, published_handles
from .panels import (
    Place,
    add_legend,
    crossed,
    describe,
    find_places,
    find_slots,
    handles_of,
    label_left_only,
    label_outside,
    make_grid,
    mark_densities,
    place_title,
    rows_at,
    seeds_told,
    share_scale,
    shift,
    stretch_to_100,
    two_wide,
    wrapped,
)
from .style import Style, check_style, method_style, order, rc
from .tables import PUBLISHED, table_cells


def figure_accuracy(
    frame: pd.DataFrame, published: Sequence[str] | None = None, by: Literal["method", "check"] | None = None
) -> Figure:
    """Draw test accuracy against density: mean and 95 % t interval over seeds, each seed as a dot.

    Args:
        frame: table of runs.
        published: works whose accuracies appear as hollow marks, where a panel has their data set and
            network.
        by: what is told apart by colour and marker: methods (a panel per network), or checks (a panel per
            network and method). Default: checks when there are any.
    """
    by = by or ("check" if frame["check"].nunique() > 1 else "method")
    table = table_cells(frame, published=published)
    if len(frame):  # densities that only the published work has would leave half of every panel empty
        table = table[table["density"].isin(cells.tidy(frame)["density"])]
    if not table["n"].any():  # nothing run yet: a panel without a published mark would be empty
        table = table[table[[PUBLISHED + work for work in published or ()]].notna().any(axis=1)]
    sparse = table[table["method"] != "dense"]
    places = find_places(table)
    methods, checks = order(sparse["method"]), order(sparse["check"])
    panels, width = _lay_out(places, methods if by == "check" else None, sparse, len(checks))
    stretched = _stretch(table)
    hollow = {work: bool(table[PUBLISHED + work].notna().any()) for work in published or ()}
    with mpl.rc_context(rc()):
        figure, axes = make_grid(panels, width, 3.1)
        for ax, (place, method) in axes:
            here = rows_at(table, place)
            names = checks if by == "check" else methods
            styles = [check_style(n) if by == "check" else method_style(n) for n in names]
            own = here if method is None else here[here["method"].isin([method, "dense"])]
            _accuracy_panel(ax, own, rows_at(cells.tidy(frame), place), by, names, styles)
            ax.set_title(place_title(place) + (f"\n{method_style(method).label}" if method else ""))
            if stretched:
                stretch_to_100(ax)
        label_outside(axes, "Density (share of weights kept)", "Test accuracy (%)")
        if by == "check" and len(places) > 1:
            share_scale(axes, "y")
            label_left_only(axes)
        names = checks if by == "check" else methods
        look = [check_style(n) if by == "check" else method_style(n) for n in names]
        add_legend(figure, [*handles_of(look), *dense_handles(table), *published_handles(hollow)])
    shown = _numbers_in_words(table)
    axis = " The axis is stretched towards 100 %, as the logarithm of the error." if stretched else ""
    return describe(
        figure,
        f"Test accuracy against density. {shown}",
        f"Test accuracy after the last epoch against density. Marks: mean over seeds, bars: 95 % t interval, "
        f"dots: single seeds{seeds_told(table['n'])}; dashed: dense network with its interval.{hollow_told(hollow)}{axis}",
    )


def _lay_out(
    places: list[Place], methods: list[str] | None, sparse: pd.DataFrame, checks: int
) -> tuple[list[list[Any]], float]:
    """Arrange the panels; with more than four densities each is as wide as its marks need."""
    densities = sparse["density"].nunique()
    marks = checks if methods else sparse["method"].nunique()
    if densities <= 4:
        if methods:
            return crossed(places, methods)
        width = float(np.clip(0.8 + 0.1 * densities * marks, 4.6, 8.4))
        return two_wide(places, None, 2 if width < 5 else 1), width
    width = float(np.clip(0.8 + 0.085 * densities * marks, 4.4, 8.4))
    panels = [(place, method) for place in places for method in methods or [None]]
    wide = 2 if width < 5 else 1
    return wrapped(panels, places, wide) if methods else two_wide(places, None, wide), width


def _stretch(table: pd.DataFrame) -> bool:
    """Tell whether accuracies lie so far apart that differences between the good ones would not be seen."""
    values = table.filter(regex=f"^(mean$|{PUBLISHED})").to_numpy(dtype=float)
    known = values[np.isfinite(values)]
    return bool(known.size) and bool(known.max() > 60 and np.ptp(known) > 40)


def _accuracy_panel(
    ax: Axes, table: pd.DataFrame, runs: pd.DataFrame, by: str, names: list[str], styles: list[Style]
) -> None:
    """Fill one panel: the densities side by side, in each the methods or checks in fixed order."""
    sparse = table[table["method"] != "dense"]
    draw_dense(ax, table)
    densities = sorted(sparse["density"].unique(), reverse=True)
    slots = find_slots(densities)
    works = [name for name in table.columns if name.startswith(PUBLISHED)]
    if len(densities) > 4:
        _join(ax, sparse[sparse["n"] > 0], by, slots, names, styles)
    for row in cells.rows(sparse):
        x, room = slots[row["density"]]
        x += room * shift(names.index(row[by]), len(names))
        style = styles[names.index(row[by])]
        seeds = runs[(runs[cells.KEYS] == pd.Series(row)[cells.KEYS]).all(axis=1) & runs["state"].eq("done")]
        ax.scatter(
            np.full(len(seeds), x - 0.2 * room / len(names)),
            seeds["accuracy"],
            s=7,
            color=style.colour,
            alpha=0.45,
        )
        _mark(ax, x, row, style)
        for work, shape in zip(works, HOLLOW, strict=False):
            if np.isfinite(row[work]):
                beside, colour = x + 0.25 * room / len(names), style.colour
                ax.scatter([beside], [row[work]], s=26, marker=shape, facecolor="none", edgecolor=colour)
    mark_densities(ax, slots)


def _join(
    ax: Axes,
    table: pd.DataFrame,
    by: str,
    slots: dict[float, tuple[float, float]],
    names: list[str],
    styles: list[Style],
) -> None:
    """Join the means of each method or check by a thin line, so that the eye can follow it over many densities."""
    for name, line in table.sort_values("density", ascending=False).groupby([by, "method"], sort=False):
        i = names.index(str(name[0]))
        at = [slots[float(d)] for d in line["density"]]
        x = [middle + room * shift(i, len(names)) for middle, room in at]
        ax.plot(x, line["mean"].astype(float), color=styles[i].colour, linewidth=0.8, alpha=0.6, zorder=1)


def _mark(ax: Axes, x: float, row: dict[str, Any], style: Style) -> None:
    if row["n"]:
        half = np.nan_to_num((row["high"] - row["low"]) / 2)
        ax.errorbar([x], [row["mean"]], yerr=[half], linestyle="none", **look_of(style))


def _numbers_in_words(table: pd.DataFrame) -> str:
    """Say for each panel and method the range of the means."""
    told = []
    for place in find_places(table):
        done = rows_at(table, place)
        done = done[done["n"] > 0]
        ranges = [
            f"{method_style(str(m)).label} {g['mean'].min():.1f} to {g['mean'].max():.1f} %"
            for m, g in done.groupby("method", sort=False)
        ]
        told.append(f"{place_title(place)}: {', '.join(ranges) or 'no runs yet'}.")
    return " ".join(told)
