"""What pruning leaves to carry a signal, drawn against the compression ratio: layer collapse and dead flow."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import cells
from .compression_figures import NUDGE, RATIO, log_ratio
from .flow import MEASURED
from .marks import line_handles, look_of
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
)
from .style import method_style, order, percent, rc

WHAT = {
    "emptied": "Layers with nothing kept",
    "flowing": "Kept weights on a path",
    "dead": "Dead units",
}


def flow_shares(frame: pd.DataFrame) -> pd.DataFrame:
    """Say of each pruned run what its mask has left, as shares.

    Args:
        frame: table of runs with the column `layers`; dense networks and runs with a check are left out.

    Returns:
        A row per finished run: PLACE, method, density, compression, seed; emptied (share of the layers that kept no
        weight), flowing (share of the kept weights on a path from input to output), dead (share of the units that
        no such weight enters); NaN where the record does not say.
    """
    runs = cells.tidy(frame)
    runs = runs[runs["state"].eq("done") & runs["check"].eq("none") & runs["method"].ne("dense")]
    runs = runs.reindex(columns=[*runs.columns, *(name for name in MEASURED if name not in runs)])
    made = []
    for run in cells.rows(runs.astype(dict.fromkeys(MEASURED, float))):
        layers = run["layers"] if isinstance(run.get("layers"), list) else []
        empty = sum(layer["kept"] == 0 for layer in layers) / len(layers) if layers else np.nan
        shares = {"emptied": empty, "flowing": run["effective"] / run["realised"]}
        shares["dead"] = run["dead"] / run["units"]
        made.append({k: run[k] for k in (*PLACE, "method", "density", "seed")} | shares)
    table = pd.DataFrame(made, columns=[*PLACE, "method", "density", "seed", *WHAT])
    return table.assign(compression=1 / table["density"])


def figure_collapse(frame: pd.DataFrame) -> Figure:
    """Draw, against the compression ratio, the layers emptied, the kept weights on a path, and the dead units.

    Args:
        frame: table of runs with the column `layers`.
    """
    table = flow_shares(frame)
    places, methods = find_places(table), order(table["method"])
    with mpl.rc_context(rc()):
        figure, axes = make_grid([[(place, what) for what in WHAT] for place in places], 3.2, 3.0)
        for ax, (place, what) in axes:
            here = rows_at(table, place)
            for i, method in enumerate(methods):
                own = here[here["method"] == method]
                _shares(ax, own["compression"], own[what], method, i - (len(methods) - 1) / 2)
            ax.set_ylim(-0.03, 1.03)
            ax.yaxis.set_major_formatter(lambda share, _: percent(share))
            log_ratio(ax)
            ax.set_title(f"{place_title(place)}\n{WHAT[what]}")
        label_outside(axes, RATIO, "Share")
        label_left_only(axes)
        add_legend(figure, line_handles([method_style(m) for m in methods]))
    seeds = seeds_told(table.groupby([*PLACE, "method", "density"])["seed"].count())
    told = "What pruning leaves, before training, against the compression ratio, logarithmic. Marks: mean over runs, bars: "
    told += f"smallest to largest{seeds}. Left: layers without any weight. Middle: kept weights that lie on a path of kept "
    told += "weights from input to output; at 0 % nothing can be learned. Right: channels and neurons that no such weight enters."
    return describe(figure, _shares_in_words(table), told)


def _shares(ax: Axes, ratios: pd.Series, shares: pd.Series, method: str, shift: float) -> None:
    """Draw the mean share of one method at each ratio, with a bar over all its runs."""
    groups = shares.groupby(ratios)
    mean, low, high = groups.mean(), groups.min(), groups.max()
    x = mean.index.to_numpy(dtype=float) * 10 ** (NUDGE * shift)
    bars = np.stack([mean - low, high - mean]).clip(min=0)
    ax.errorbar(x, mean, yerr=bars, linewidth=1.1, elinewidth=0.9, **look_of(method_style(method)))


def _shares_in_words(table: pd.DataFrame) -> str:
    """Say for each place and method what is left at the largest ratio."""
    told = []
    for place in find_places(table):
        here = rows_at(table, place)
        hardest = here[here["density"] == here["density"].min()]
        means = hardest.groupby("method", sort=False)[list(WHAT)].mean()
        lines = [
            f"{method_style(str(m)).label} {percent(s['emptied'])}, {percent(s['flowing'])} and {percent(s['dead'])}"
            for m, s in means.iterrows()
        ]
        told.append(f"{place_title(place)}: {', '.join(lines)}.")
    start = "Layers emptied, kept weights on a path and dead units at the largest compression ratio. "
    return start + (" ".join(told) or "No runs yet.")
