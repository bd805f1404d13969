"""Accuracy against a setting of a method, a line for each value of another."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .marks import half_widths, line_handles, look_of
from .panels import add_legend, describe, label_outside, make_grid, seeds_told, two_wide
from .style import Style, rc
from .sweep import VALUES, axis_name, short, values_in_order, written
from .sweep_panels import best_in_words, in_panel, table_and_panels


def figure_sweep(frame: pd.DataFrame, x: str, by: str, value: str = "validation") -> Figure:
    """Draw accuracy against a setting, a line for each value of another; a panel per network, method and density.

    Args:
        frame: table of runs with the column `settings`; those that lack one of the two settings are left out.
        x: dotted setting on the axis, e.g. "sparse.interval".
        by: dotted setting told apart by colour and marker, e.g. "sparse.alpha".
        value: "validation" or "accuracy".
    """
    table, panels = table_and_panels(frame, [x, by], value)
    steps, styles = values_in_order(table[x]), _styles_of(by, values_in_order(table[by]))
    slots, axis_told = _slots(steps)
    with mpl.rc_context(rc()):
        figure, axes = make_grid(two_wide(panels, None), 4.8, 3.2)
        for ax, (panel, _) in axes:
            _draw_lines(ax, in_panel(table, panel), x, by, slots, styles)
            ax.set_title(panel.title)
        label_outside(axes, f"{axis_name(x)}{axis_told}", f"{VALUES[value]} (%)")
        add_legend(figure, line_handles(list(styles.values())))
    return describe(
        figure,
        f"{VALUES[value]} against {short(x)}, by {short(by)}. {best_in_words(table, panels, [x, by])}",
        f"{VALUES[value]} after the last epoch against {short(x)}, a line for each {short(by)}. Marks: mean over seeds"
        f"{seeds_told(table['n'])}, bars: 95 % t interval; marks at one {short(x)} are moved apart.",
    )


def _styles_of(name: str, values: list[Any]) -> dict[Any, Style]:
    """Give each value of a setting a look: from light to dark, each with its own marker."""
    colours = sns.color_palette("crest", max(len(values), 2)).as_hex()
    return {
        v: Style(f"{short(name)} {written(v)}", colours[i], "osD^vPX<>"[i % 9]) for i, v in enumerate(values)
    }


def _slots(steps: list[Any]) -> tuple[dict[Any, float], str]:
    """Place the values of a setting on an axis: numbers by size or logarithm, words side by side; say which."""
    if not all(isinstance(step, int | float | np.number) for step in steps):
        return {step: float(i) for i, step in enumerate(steps)}, ""
    wide = bool(steps) and steps[0] > 0 and steps[-1] / steps[0] >= 8
    placed = np.log(np.asarray(steps, dtype=float)) if wide else np.asarray(steps, dtype=float)
    return dict(zip(steps, placed.tolist(), strict=True)), ", logarithmic" if wide else ""


def _draw_lines(
    ax: Axes, own: pd.DataFrame, x: str, by: str, slots: dict[Any, float], styles: dict[Any, Style]
) -> None:
    """Fill one panel of lines, each moved a little to the side so that bars do not cover each other."""
    places = np.asarray(list(slots.values()))
    reach = float(np.ptp(places)) or 1.0
    gap = float(np.diff(places).min()) if len(places) > 1 else 1.0
    step = min(0.5 * gap / max(len(styles), 1), 0.03 * reach)
    for i, (level, style) in enumerate(styles.items()):
        line = own[own[by] == level]
        line = line.iloc[line[x].map(slots).argsort()]
        at = line[x].map(slots).to_numpy(dtype=float) + step * (i - (len(styles) - 1) / 2)
        if len(line):
            ax.errorbar(at, line["mean"], yerr=half_widths(line), linewidth=1, **look_of(style))
    _mark_steps(ax, slots, reach)


def _mark_steps(ax: Axes, slots: dict[Any, float], reach: float) -> None:
    """Label the values on the axis, leaving out those that would run into the one before."""
    shown: list[Any] = []
    for step, place in slots.items():
        if not shown or place - slots[shown[-1]] >= 0.085 * reach:
            shown.append(step)
    ax.set_xticks([slots[step] for step in shown], [written(step) for step in shown])
    ends = [slots[step] for step in slots] or [0.0]
    ax.set_xlim(min(ends) - 0.08 * reach, max(ends) + 0.08 * reach)
