"""A map of two settings of a method, with the accuracy in each field."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure

from .. import cells
from .html import DASH, number
from .panels import describe, label_outside, make_grid, seeds_told, two_wide
from .style import INK, PAPER, rc
from .sweep import VALUES, axis_name, short, values_in_order, written
from .sweep_panels import best_in_words, in_panel, table_and_panels


def figure_grid(frame: pd.DataFrame, x: str, by: str, value: str = "validation") -> Figure:
    """Draw a map of two settings with the mean accuracy in each field; a panel per network, method and density.

    Args:
        frame: table of runs with the column `settings`; those that lack one of the two settings are left out.
        x: dotted setting across.
        by: dotted setting upwards.
        value: "validation" or "accuracy".
    """
    table, panels = table_and_panels(frame, [x, by], value)
    across, upwards = values_in_order(table[x]), values_in_order(table[by])
    width = float(np.clip(0.72 * len(across) + 1.9, 4.0, 12.0))
    with mpl.rc_context(rc()):
        wide = 2 if width < 6 else 1
        figure, axes = make_grid(two_wide(panels, None, wide), width, 0.5 * max(len(upwards), 2) + 1.3)
        for ax, (panel, _) in axes:
            drawn = _draw_map(ax, in_panel(table, panel), x, by, (across, upwards))
            figure.colorbar(drawn, ax=ax, label=f"{VALUES[value]} (%)")
            ax.set_title(panel.title)
        label_outside(axes, axis_name(x), axis_name(by))
    return describe(
        figure,
        f"Map of {VALUES[value].lower()} over {short(x)} and {short(by)}. {best_in_words(table, panels, [x, by])}",
        f"{VALUES[value]} after the last epoch for each {short(x)} and {short(by)}, percent: mean over seeds"
        f"{seeds_told(table['n'])} and, below it, the half width of the 95 % t interval; {DASH}: not run. Colours: the mean, "
        "from the lowest to the highest of the panel.",
    )


def _draw_map(ax: Axes, own: pd.DataFrame, x: str, by: str, steps: tuple[list[Any], list[Any]]) -> Any:
    """Fill one panel of a map: colours, and in each field the mean with the half width of its interval."""
    across, upwards = steps
    means = np.full((len(upwards), len(across)), np.nan)
    found = {(upwards.index(row[by]), across.index(row[x])): row for row in cells.rows(own)}
    for place, row in found.items():
        means[place] = row["mean"]
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    norm = Normalize(low, high) if high > low else Normalize(low - 1, low + 1)
    colours = sns.color_palette("viridis", as_cmap=True)
    drawn = ax.pcolormesh(
        np.ma.masked_invalid(means), cmap=colours, norm=norm, edgecolor=PAPER, linewidth=1.5
    )
    for i, j in np.ndindex(means.shape):
        row = found.get((i, j))
        text = _field(row) if row else DASH
        ink = _readable(colours(norm(row["mean"]))[:3] if row else to_rgb(PAPER))
        ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=ink, fontsize="small")
    ax.set_xticks(np.arange(len(across)) + 0.5, [written(step) for step in across])
    ax.set_yticks(np.arange(len(upwards)) + 0.5, [written(step) for step in upwards])
    ax.tick_params(length=0)
    ax.grid(visible=False)
    return drawn


def _field(row: dict[str, Any]) -> str:
    half = (row["high"] - row["low"]) / 2
    return number(row["mean"]) + (f"\n± {number(half)}" if np.isfinite(half) else "")


def _readable(colour: tuple[float, ...]) -> str:
    """Choose black or white text, whichever has the greater contrast with a colour."""
    parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    light = float(np.dot([0.2126, 0.7152, 0.0722], parts))
    return INK if (light + 0.05) / 0.06 >= 1.05 / (light + 0.05) else "#ffffff"
