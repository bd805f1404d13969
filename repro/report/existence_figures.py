"""Random masks that hold a given network: error against width, the width needed, and what no construction can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator
from scipy.stats import binomtest

from .. import cells, stats
from ..widening import needed, rate
from .html import Column, Table, number, with_interval
from .panels import add_legend, describe, handles_of, make_grid, seeds_told
from .style import INK, Style, percent, rc

MARKERS = "osD^vPX*<>hd"
FLOOR = 1e-3  # smallest error with a place on the axes
THEORY: dict[str, Any] = {"color": INK, "linewidth": 1.2}
SCALED = "Width factor x log(1 / (1 - density))"


def figure_existence(frame: pd.DataFrame, bound: pd.DataFrame, tolerance: float = 0.1) -> Figure:
    """Draw how well random masks hold random targets: error against width, plain and scaled, and what is needed.

    Args:
        frame: of `existence.study`; density 1, which needs no copies, is left out.
        bound: of `existence.unreached`.
        tolerance: largest mean error that counts as held, in (0, 1).

    Raises:
        ReproError: when the tolerance is not in (0, 1).
    """
    frame, bound = frame[frame["density"] < 1], bound[bound["density"] < 1]
    means, needs, styles = _means(frame, tolerance), needed(frame, tolerance), _styles(frame, bound)
    draw: list[Callable[[Axes], None]] = [
        lambda ax: _errors(ax, means, styles, "width", tolerance),
        lambda ax: _errors(ax, means, styles, "scaled", tolerance),
        lambda ax: _needs(ax, needs, styles),
        lambda ax: _failures(ax, means, bound, styles),
    ]
    with mpl.rc_context(rc()):
        figure, axes = make_grid([draw[:2], draw[2:]] if len(frame) else [], 4.8, 3.5)
        for ax, panel in axes:
            panel(ax)
        marks = handles_of([style._replace(label=f"density {style.label}") for style in styles.values()])
        lines = [
            Line2D([], [], label="theory", **THEORY),
            Line2D([], [], color="#555555", linestyle=":", label=f"tolerance, {percent(tolerance)}"),
            Line2D([], [], color="#555555", linestyle="--", label="our construction fails"),
        ]
        add_legend(figure, [*marks, *lines] if len(frame) else [])
    return describe(figure, _in_words(needs), _caption(needs, means, bound, tolerance))


def show_existence(
    frame: pd.DataFrame, tolerance: float = 0.1, *, title: str = "Width that a random mask needs"
) -> Table:
    """Show per density the width needed, what the theory says, and their ratio.

    Args:
        frame: of `existence.study`.
        tolerance: largest mean error that counts as held, in (0, 1).
        title: first words of the caption.

    Raises:
        ReproError: when the tolerance is not in (0, 1).
    """
    needs = needed(frame, tolerance)
    heads = ("Smallest width tried", "Width needed", "Theory", "Needed / theory", "n")
    rows = tuple(
        (
            percent(row["density"]),
            number(row["width"], 0),
            with_interval(row["crossing"], row["low"], row["high"], digits=1),
            number(row["theory"], 1),
            number(row["ratio"], 2),
            str(row["n"]),
        )
        for row in cells.rows(needs)
    )
    caption = (
        f"{title}, as copies of each neuron of the target. Smallest width tried from which on the mean relative error "
        f"over n draws stays within {percent(tolerance)}; width needed: where the error crosses that, between whole "
        f"numbers, ± half width of the 95 % jackknife interval; theory: {_constant(needs)} / log(1 / (1 - density)), the number fitted in log space."
    )
    return Table((Column("Density", "key"), *(Column(head, "number") for head in heads)), rows, caption)


def _means(frame: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Average the error per density and width, with its 95 % t interval, and count the draws beyond the tolerance."""
    made = []
    for (density, width), own in frame.groupby(["density", "width"]):
        mean, low, high = stats.interval(own["error"])
        cell = {"density": density, "width": width, "scaled": own["scaled"].iloc[0], "n": len(own)}
        made.append(
            cell | {"mean": mean, "low": low, "high": high, "beyond": (own["error"] > tolerance).mean()}
        )
    columns = ["density", "width", "scaled", "n", "mean", "low", "high", "beyond"]
    return pd.DataFrame(made, columns=columns)


def _styles(*frames: pd.DataFrame) -> dict[float, Style]:
    """Give each density a label, a colour from dark to light and a marker of its own."""
    found = sorted({float(density) for frame in frames for density in frame["density"]})
    colours = sns.color_palette("viridis", max(len(found), 2)).as_hex()
    return {
        density: Style(percent(density), colours[place], MARKERS[place % len(MARKERS)])
        for place, density in enumerate(found)
    }


def _look(style: Style) -> dict[str, Any]:
    return {"color": style.colour, "marker": style.marker, "markeredgecolor": INK, "markeredgewidth": 0.4}


def _errors(ax: Axes, means: pd.DataFrame, styles: dict[float, Style], x: str, tolerance: float) -> None:
    """Draw mean errors with their intervals, a line per density."""
    for density, style in styles.items():
        shown = means[means["density"].eq(density) & means["mean"].ge(FLOOR / 10)]
        ax.plot(shown[x], shown["mean"], linewidth=1, markersize=4.5, **_look(style))
        low, high = (shown[end].fillna(shown["mean"]).clip(lower=FLOOR / 10) for end in ("low", "high"))
        ax.fill_between(shown[x], low, high, color=style.colour, alpha=0.15, linewidth=0)
    ax.axhline(tolerance, color="#555555", linestyle=":", linewidth=1)
    ax.set_yscale("log")
    ax.set_ylim(FLOOR, max(2.0, 1.2 * float(means["mean"].max())))
    ax.yaxis.set_major_formatter(lambda error, _: f"{error:g}")
    ax.set_ylabel("Relative error of the outputs")
    if x == "width":
        _log_ticks(ax, "x", 1)
    ax.set_xlabel("Width factor (copies of each neuron)" if x == "width" else SCALED)
    ax.set_title("Error against width" if x == "width" else "The same, width scaled by density")


def _needs(ax: Axes, needs: pd.DataFrame, styles: dict[float, Style]) -> None:
    """Draw the width needed at each density beside c / log(1 / (1 - density))."""
    for row in cells.rows(needs.dropna(subset="crossing")):
        look = {"linestyle": "none", "markersize": 6, "capsize": 2} | _look(styles[row["density"]])
        half = np.nan_to_num((row["high"] - row["low"]) / 2)
        ax.errorbar([row["density"]], [row["crossing"]], yerr=[half], **look)
    known = needs.dropna(subset="theory")
    if len(known):
        grid = np.geomspace(known["density"].min(), known["density"].max(), 100)
        c = float(known["theory"].iloc[0]) * rate(float(known["density"].iloc[0]))
        ax.plot(grid, [c / rate(density) for density in grid], zorder=1, **THEORY)
    _log_ticks(ax, "x", 0.01)
    _log_ticks(ax, "y", 1)
    ax.xaxis.set_major_formatter(lambda density, _: percent(density))
    ax.set_xlabel("Density of the mask")
    ax.set_ylabel("Width factor needed")
    ax.set_title("Width needed against density")


def _failures(ax: Axes, means: pd.DataFrame, bound: pd.DataFrame, styles: dict[float, Style]) -> None:
    """Draw how often no construction can work, counted and exact, and how often this one does not."""
    for density, style in styles.items():
        own, sure = (table[table["density"].eq(density)] for table in (means, bound))
        ax.plot(own["scaled"], own["beyond"], linestyle="--", linewidth=1, color=style.colour)
        counts = zip(sure["failed"], sure["n"], strict=True)
        ends = np.array(
            [binomtest(int(k), int(n)).proportion_ci(method="wilson") for k, n in counts]
        ).reshape(-1, 2)
        share = sure["failed"] / sure["n"]
        bars = np.maximum([share - ends[:, 0], ends[:, 1] - share], 0)
        look = _look(style) | {"linestyle": "none", "markersize": 4.5, "elinewidth": 0.8}
        ax.errorbar(sure["scaled"], share, yerr=bars, **look)
    exact = bound.sort_values("scaled")
    ax.plot(exact["scaled"], exact["exact"], zorder=1, **THEORY)
    ax.set_xlabel(SCALED)
    ax.set_ylabel("Share of masks")
    ax.set_title("Beyond any construction (marks), ours (dashed)")


def _log_ticks(ax: Axes, which: str, lowest: float) -> None:
    """Give an axis a logarithmic scale with plain numbers: 1, 2 and 5 times powers of ten."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    axis.set_major_locator(FixedLocator([lowest * m * 10**k for k in range(5) for m in (1, 2, 5)]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def _constant(needs: pd.DataFrame) -> str:
    """Write the number c of c / log(1 / (1 - density))."""
    return number(float(np.exp(np.log(needs["scaled"]).mean())) if len(needs) else np.nan, 2)


def _caption(needs: pd.DataFrame, means: pd.DataFrame, bound: pd.DataFrame, tolerance: float) -> str:
    within = percent(tolerance)
    return (
        f"Upper row: relative error of the outputs, mean over draws of target and mask{seeds_told(means['n'])}, bands: "
        f"95 % t interval; errors below {FLOOR:g} are off the axis. Lower left: width factor at which the mean error "
        f"crosses {within}, bars: 95 % jackknife interval; line: {_constant(needs)} / log(1 / (1 - density)), the number "
        f"fitted in log space. Lower right, marks: share of masks{seeds_told(bound['n'])} that leave an input without a "
        "link to the only hidden layer, so that no choice of weights gives a target of one hidden neuron, bars: 95 % "
        "Wilson interval, line: its probability; dashed: share of the draws of the upper row in which the error of our "
        f"construction is beyond {within}."
    )


def _in_words(needs: pd.DataFrame) -> str:
    """Say what width each density needs, and how far that is from the theory."""
    known = needs.dropna(subset="crossing")
    start = "Error of random masks against width, plain and scaled by log(1 / (1 - density)), and the width needed"
    if known.empty:
        return f"{start}: not known."
    told = [f"{r['crossing']:.1f} at density {percent(r['density'])}" for r in cells.rows(known)]
    low, high = known["ratio"].min(), known["ratio"].max()
    return f"{start}: {', '.join(told)}; {low:.2f} to {high:.2f} times what the theory says."
