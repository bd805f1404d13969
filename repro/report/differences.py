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
    describe,
    find_places,
    handles_of,
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
    if control_method:
        paired = cells.pairs(frame[frame["check"] == control_check], {"method": control_method})
        label, rows_by, across = (
            f"accuracy minus that of {method_style(control_method).label}",
            "method",
            [None],
        )
    else:
        paired = cells.pairs(frame, {"check": control_check})
        other = "without" if control_check == "none" else f"with: {check_style(control_check).label}"
        label, rows_by = f"accuracy with the check minus {other}", "check"
        across = order(paired["method"]) or [None]
    places, names = find_places(paired), order(paired[rows_by])
    densities = sorted(paired["density"].unique(), reverse=True)
    panels = two_wide(places, None) if control_method else [[(p, m) for m in across] for p in places]
    height = 1.1 + 0.17 * max(len(names), 1) * max(len(densities), 2)
    with mpl.rc_context(rc()):
        figure, axes = make_grid(panels, 3.0 if len(across) > 1 else 4.8, height)
        for ax, (place, method) in axes:
            own = (
                rows_at(paired, place)
                if method is None
                else rows_at(paired, place).query("method == @method")
            )
            _differences_panel(ax, own, rows_by, names, densities, margin)
            ax.set_title(place_title(place) + (f"\n{method_style(method).label}" if method else ""))
        label_outside(axes, "Difference (percentage points)", "")
        figure.suptitle(f"{label[:1].upper()}{label[1:]}", fontsize="medium", fontweight="bold")
        share_scale(axes, "x", labels=False)
        band = [] if margin is None else [Patch(facecolor=BAND, label=f"±{margin:g} pp")]
        add_legend(figure, [*handles_of(_density_styles(densities)), *band])
    words = _differences_in_words(paired, rows_by)
    band_told = "" if margin is None else f" Band: margin of ±{margin:g} pp."
    return describe(
        figure,
        f"Paired differences in test accuracy: {label}. {words}",
        f"{label[:1].upper()}{label[1:]}, percentage points, paired by seed. Marks: mean; thin bars: 95 % t "
        f"interval; thick bars: 90 % (equivalence is shown where it lies inside the band); dots: single "
        f"pairs{seeds_told(_pair_counts(paired))}.{band_told}",
    )


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
