"""How much of a ticket survives its checks."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .. import cells, stats
from .panels import (
    add_legend,
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
    shift,
    wrapped,
)
from .style import INK, check_style, method_style, order, rc

CHANCE = "#555555"


def overlap_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarise the overlap of each check's mask with the original one.

    Args:
        frame: table of runs; those without an overlap (no check, or an older record) are left out.

    Returns:
        cells.KEYS, n, overlap, low, high (mean intersection over union and its 95 % t interval) and expected (mean of
        what chance gives with the same number of weights kept in each layer; NaN if unknown).
    """
    runs = cells.tidy(frame)
    runs = runs.reindex(columns=[*runs.columns, *({"overlap", "overlap_expected"} - set(runs.columns))])
    runs = (
        runs[runs["state"].eq("done")].assign(overlap=runs["overlap"].astype(float)).dropna(subset="overlap")
    )
    made = []
    for key, cell in runs.groupby(cells.KEYS, sort=False):
        mean, low, high = stats.interval(cell["overlap"])
        expected = cell["overlap_expected"].astype(float).mean()
        row = {"n": len(cell), "overlap": mean, "low": low, "high": high, "expected": expected}
        made.append(dict(zip(cells.KEYS, key, strict=True)) | row)
    return pd.DataFrame(made, columns=[*cells.KEYS, "n", "overlap", "low", "high", "expected"])


def figure_overlap(frame: pd.DataFrame) -> Figure:
    """Draw how much the mask under each check overlaps with the original one, beside what chance gives.

    Args:
        frame: table of runs with the columns `overlap` and `overlap_expected`.
    """
    table = overlap_cells(frame)
    places, checks = find_places(table), order(table["check"])
    panels = [(p, m) for p in places for m in order(rows_at(table, p)["method"])]
    wide, width = (3, 3.4) if table["density"].nunique() <= 4 else (2, 4.6)
    with mpl.rc_context(rc()):
        figure, axes = make_grid(wrapped(panels, places, wide), width, 2.7)
        for ax, (place, method) in axes:
            here = rows_at(table, place)
            _overlap_panel(ax, here[here["method"] == method], checks)
            ax.set_title(f"{place_title(place)}\n{method_style(method).label}")
        label_outside(axes, "Density (share of weights kept)", "Overlap (IoU)")
        label_left_only(axes)
        chance = Line2D([], [], color=CHANCE, linewidth=2, label="by chance")
        known = [chance] if table["expected"].notna().any() else []
        add_legend(figure, [*handles_of([check_style(c) for c in checks]), *known])
    return describe(
        figure,
        f"Overlap of masks with and without a check. {_in_words(table)}",
        "Overlap of the ticket's mask with the mask of the same ticket without the check: weights kept by both over "
        f"weights kept by either. Marks: mean over seeds, bars: 95 % t interval{seeds_told(table['n'])}; grey lines: "
        "what random masks that keep as many weights in each layer have in common. 1: the same mask.",
    )


def _overlap_panel(ax: Axes, table: pd.DataFrame, checks: list[str]) -> None:
    slots = find_slots(sorted(table["density"].unique(), reverse=True))
    for row in cells.rows(table):
        i, style = checks.index(row["check"]), check_style(row["check"])
        x, room = slots[row["density"]]
        x, reach = x + room * shift(i, len(checks)), room * 0.38 / max(len(checks), 2)
        half = np.nan_to_num((row["high"] - row["low"]) / 2)
        if np.isfinite(row["expected"]):
            ax.hlines(row["expected"], x - reach, x + reach, color=CHANCE, linewidth=2, zorder=2)
        look: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markersize": 6, "capsize": 2}
        edge: dict[str, Any] = {
            "markeredgecolor": INK,
            "markeredgewidth": 0.4,
            "linestyle": "none",
            "zorder": 3,
        }
        ax.errorbar([x], [row["overlap"]], yerr=[half], **look, **edge)
    mark_densities(ax, slots)
    ax.set_ylim(-0.03, 1.05)


def _in_words(table: pd.DataFrame) -> str:
    told = []
    for place in find_places(table):
        groups = rows_at(table, place).groupby(["method", "check"], sort=False)
        told.append(f"{place_title(place)}: {', '.join(_range(cell) for _, cell in groups)}.")
    return " ".join(told) or "No runs yet."


def _range(cell: pd.DataFrame) -> str:
    first, chance = cell.iloc[0], cell["expected"]
    words = f"{method_style(first['method']).label} with {check_style(first['check']).label.lower()}"
    known = f" (by chance {chance.min():.2f} to {chance.max():.2f})" if chance.notna().any() else ""
    return f"{words} {cell['overlap'].min():.2f} to {cell['overlap'].max():.2f}{known}"
