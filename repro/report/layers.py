"""Which share of each layer a method keeps."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .. import cells
from .panels import (
    PLACE,
    add_legend,
    describe,
    find_places,
    handles_of,
    label_outside,
    make_grid,
    place_title,
    rows_at,
    two_wide,
)
from .style import INK, method_style, order, percent, rc

WHOLE = ("dense", "small_dense")  # networks without a mask


def figure_layers(frame: pd.DataFrame, density: float | None = None) -> Figure:
    """Draw which share of each layer the methods keep, from input to output, averaged over seeds.

    Args:
        frame: table of runs with the column `layers`; runs with a check are left out.
        density: the one shown; default: the smallest.
    """
    shares, chosen = shares_at(frame, density)
    floor, collapsed = floor_under(shares["share"]), bool(shares["share"].eq(0).any())
    with mpl.rc_context(rc()):
        figure, axes = make_grid(two_wide(find_places(shares), None), 6.4, 3.3)
        for ax, (place, _) in axes:
            _layers_panel(ax, rows_at(shares, place), floor, chosen)
            ax.set_title(place_title(place))
        label_outside(axes, "Layer, from input to output", "Share of the layer kept")
        total = Line2D([], [], color="#555555", linestyle=":", label="whole network")
        gone = Line2D([], [], color="#b00020", marker="x", linestyle="none", label="nothing kept")
        methods = handles_of([method_style(m) for m in order(shares["method"])])
        add_legend(figure, [*methods, total, *([gone] if collapsed else [])])
    at = f"density {percent(chosen)}" if len(shares) else "no runs yet"
    told = f"Share of each layer's weights kept at {at}, mean over seeds, logarithmic axis. "
    told += "Dotted: the density of the whole network."
    told += " Crosses: layers that lost every weight." if collapsed else ""
    return describe(figure, f"Share of each layer kept at {at}. {_layers_in_words(shares)}", told)


def _layers_panel(ax: Axes, shares: pd.DataFrame, floor: float, density: float) -> None:
    here = shares.assign(drawn=lambda t: t["share"].clip(lower=floor))
    look: dict[str, Any] = {
        "palette": {m: method_style(m).colour for m in order(shares["method"])},
        "markers": {m: method_style(m).marker for m in order(shares["method"])},
        "dashes": False,
        "errorbar": None,
        "legend": False,
        "linewidth": 1,
        "markersize": 6,
        "markeredgecolor": INK,
        "markeredgewidth": 0.4,
    }
    sns.lineplot(here, x="layer", y="drawn", hue="method", style="method", ax=ax, **look)
    gone = here[here["share"] == 0]
    ax.scatter(gone["layer"], gone["drawn"], s=80, marker="x", color="#b00020", zorder=5)
    ax.set_yscale("log")
    ax.set_ylim(floor * 0.8, 1.3)
    ax.yaxis.set_major_formatter(lambda share, _: percent(share))
    ax.axhline(density, color="#555555", linestyle=":", linewidth=1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _layers_in_words(shares: pd.DataFrame) -> str:
    groups = shares.groupby("method", sort=False)
    return "; ".join(f"{method_style(str(m)).label}: {percent_range(g['share'])}" for m, g in groups)


def shares_at(frame: pd.DataFrame, density: float | None) -> tuple[pd.DataFrame, float]:
    """Average the shares of unchecked tickets at one density, by default the smallest; give that too."""
    runs = cells.tidy(frame)
    runs = runs[runs["state"].eq("done") & runs["check"].eq("none") & ~runs["method"].isin(WHOLE)]
    chosen = (runs["density"].min() if len(runs) else np.nan) if density is None else round(density, 9)
    return shares_of(runs[runs["density"] == chosen]), chosen


def floor_under(shares: pd.Series) -> float:
    """Choose where a logarithmic axis begins: a power of ten below the smallest share above zero."""
    seen = shares[shares > 0]
    return 10 ** np.floor(np.log10(seen.min() / 1.5)) if len(seen) else 0.01


def shares_of(runs: pd.DataFrame) -> pd.DataFrame:
    """Average the share kept per place, method and layer number.

    Returns:
        Columns of PLACE, method, layer, share (mean over runs), low, high (smallest and largest), n, and first (mean
        share before training; NaN in records of masks that do not move).
    """
    rows = [
        {
            **{k: run[k] for k in PLACE},
            "method": run["method"],
            "layer": i,
            "share": layer["kept"] / layer["total"],
            "first": _share(layer.get("kept_first"), layer["total"]),
        }
        for run in cells.rows(runs)
        for i, layer in enumerate(run["layers"] if isinstance(run["layers"], list) else [], start=1)
    ]
    table = pd.DataFrame(rows, columns=[*PLACE, "method", "layer", "share", "first"])
    groups = table.groupby([*PLACE, "method", "layer"], sort=False)
    made = groups.agg(
        share=("share", "mean"),
        low=("share", "min"),
        high=("share", "max"),
        n=("share", "count"),
        first=("first", "mean"),
    )
    return made.reset_index()


def _share(kept: float | None, total: int) -> float:
    return np.nan if kept is None else kept / total


def percent_range(shares: pd.Series) -> str:
    """Write the smallest and largest of some shares."""
    return f"{100 * shares.min():.2g} % to {100 * shares.max():.3g} %"
