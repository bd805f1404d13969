"""Paired differences against a control, with the margin of the claim."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .. import cells, stats
from .panels import (
    add_legend,
    crossed,
    describe,
    find_places,
    handles_of,
    label_left_only,
    label_outside,
    make_grid,
    place_title,
    rows_at,
    seeds_told,
    share_scale,
    shift,
    two_wide,
)
from .style import BAND, INK, Style, check_style, method_style, order, percent, rc


def figure_differences(
    frame: pd.DataFrame,
    control_check: str = "none",
    margin: float | None = None,
    *,
    control_method: str | None = None,
) -> Figure:
    """Draw differences paired by seed against a control, with the band of equivalence.

    Args:
        frame: table of runs.
        control_check: check of the control; with `control_method` the runs of this check are compared.
        margin: half width of the band, percentage points; None draws none.
        control_method: compare methods with this one, instead of checks with `control_check`.
    """
    paired, rows_by, label = _paired(frame, control_check, control_method)
    if paired["difference"].isna().all():
        paired = paired.iloc[:0]  # no pair yet: one line that says so, instead of many empty panels
    across = order(paired["method"]) or [None]
    places, names = find_places(paired), order(paired[rows_by])
    densities = sorted(paired["density"].unique(), reverse=True)
    panels, width = (two_wide(places, None), 4.8) if control_method else crossed(places, across)
    height = 1.1 + 0.17 * max(len(names), 1) * max(len(densities), 2)
    with mpl.rc_context(rc()):
        figure, axes = make_grid(panels, width, height)
        for ax, (place, method) in axes:
            here = rows_at(paired, place)
            own = here if method is None else here[here["method"] == method]
            _differences_panel(ax, own, rows_by, names, densities, margin)
            ax.set_title(place_title(place) + (f"\n{method_style(method).label}" if method else ""))
        label_outside(axes, "Difference (percentage points)", "")
        figure.suptitle(label, fontsize="medium", fontweight="bold")
        if control_method or len(places) > 1:
            share_scale(axes, "x")
        label_left_only(axes)
        band = [] if margin is None else [Patch(facecolor=BAND, label=f"±{margin:g} pp")]
        add_legend(figure, [*handles_of(_density_styles(densities)), *band])
    words = _differences_in_words(paired, rows_by)
    band_told = "" if margin is None else f" Band: margin of ±{margin:g} pp."
    return describe(
        figure,
        f"Paired differences in test accuracy: {label[0].lower()}{label[1:]}. {words}",
        f"{label}, percentage points, paired by seed. Marks: mean; thin bars: 95 % t "
        f"interval; thick bars: 90 % (equivalence is shown where it lies inside the band); dots: single "
        f"pairs{seeds_told(_pair_counts(paired))}.{band_told}",
    )


def _paired(frame: pd.DataFrame, check: str, method: str | None) -> tuple[pd.DataFrame, str, str]:
    """Pair the runs with their control; give the pairs, the column that the rows stand for, and a title."""
    if method:
        pairs = cells.pairs(frame[frame["check"] == check], {"method": method})
        return pairs, "method", f"Accuracy minus that of {method_style(method).label}"
    other = "without" if check == "none" else f"with: {check_style(check).label}"
    return cells.pairs(frame, {"check": check}), "check", f"Accuracy with the check minus {other}"


def _differences_panel(
    ax: Axes, paired: pd.DataFrame, by: str, names: list[str], densities: list[float], margin: float | None
) -> None:
    if margin is not None:
        ax.axvspan(-margin, margin, color=BAND, linewidth=0, zorder=0)
    ax.axvline(0, color="#555555", linewidth=0.8, zorder=1)
    styles = _density_styles(densities)
    for (name, density), cell in paired.groupby([by, "density"], sort=False):
        done = cell["difference"].dropna()
        i = densities.index(float(str(density)))
        y = names.index(str(name)) + shift(i, len(densities))
        ax.scatter(
            done,
            np.full(len(done), y + 0.3 / max(len(densities), 2)),
            s=7,
            color=styles[i].colour,
            alpha=0.5,
            zorder=2,
        )
        if len(done) > 1:
            for level, width in ((0.95, 1.2), (0.90, 3.2)):
                _, low, high = stats.interval(done, level)
                ax.hlines(y, low, high, color=styles[i].colour, linewidth=width, zorder=3)
        if len(done):
            ax.scatter(
                [done.mean()],
                [y],
                s=34,
                marker=styles[i].marker,
                color=styles[i].colour,
                edgecolor=INK,
                linewidth=0.5,
                zorder=4,
            )
    label = check_style if by == "check" else method_style
    ax.set_yticks(range(len(names)), [label(name).label for name in names])
    ax.set_ylim(len(names) - 0.45, -0.55)
    ax.grid(visible=False, axis="y")
    for line in range(1, len(names)):
        ax.axhline(line - 0.5, color="#d5d5d0", linewidth=0.8)


def _density_styles(densities: list[float]) -> list[Style]:
    """From dense to sparse: lighter to darker, each with its own marker."""
    colours = sns.color_palette("crest", max(len(densities), 2)).as_hex()
    return [Style(f"density {percent(d)}", colours[i], "osD^vPX<>"[i % 9]) for i, d in enumerate(densities)]


def _pair_counts(paired: pd.DataFrame) -> pd.Series:
    return paired.groupby(cells.KEYS, sort=False)["difference"].count()


def _differences_in_words(paired: pd.DataFrame, by: str) -> str:
    means = paired.groupby([by, "density"], sort=False)["difference"].mean().dropna()
    names = {"check": check_style, "method": method_style}[by]
    told = [
        f"{names(str(k)).label} {g.min():+.2f} to {g.max():+.2f}"
        for k, g in means.groupby(level=0, sort=False)
    ]
    return f"Means in percentage points: {', '.join(told)}." if told else "No pairs yet."
