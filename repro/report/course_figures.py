"""Figures of what became of each layer in training."""

from __future__ import annotations

from typing import Any, Literal

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..errors import pick
from .courses import CELL, WHAT, WHOLE, course_cells
from .layers import floor_under
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
from .style import method_style, order, percent, rc

COLOURS, LIGHTEST = mpl.colormaps["viridis"], 0.88  # what is lighter would fade on light paper
GONE = "#b00020"
DOTTED: dict[str, Any] = {"color": "#555555", "linestyle": ":", "linewidth": 1.2}


def figure_courses(
    frame: pd.DataFrame, what: Literal["density", "threshold"], methods: list[str] | None = None
) -> Figure:
    """Draw what became of each layer in training, a line per layer, in a panel per method, place and final density.

    Args:
        frame: table of runs with the column `layers`; those without courses of layers, or with a check, are left out.
        what: "density" or "threshold".
        methods: those shown, in this order; default: all that have courses.

    Raises:
        ReproError: when there is no such quantity.
    """
    table, (label, _) = course_cells(frame, what), pick(WHAT, what, "course of a layer")
    shown = order(table["method"]) if methods is None else methods
    table = table[table["method"].isin(shown)]
    places, floor = find_places(table), floor_under(table["value"]) if what == "density" else 0.0
    panels = [
        (place, (m, d)) for place in places for m in shown for d in _densities(rows_at(table, place), m)
    ]
    with mpl.rc_context(rc()):
        figure, axes = make_grid(wrapped(panels, places, 3), 3.5, 2.9)
        for ax, (place, cell) in axes:
            _panel(ax, _own(table, place, cell), floor)
            ax.set_title(_title(place, cell), fontsize="small")
        _scale(axes, what, floor)
        label_outside(axes, "Epoch", label)
        label_left_only(axes)
        gone = what == "density" and _gone(table)
        add_legend(figure, _legend(table, gone))
    return describe(
        figure, f"{label}, epoch by epoch. {_in_words(table, panels)}", _caption(table, what, gone)
    )


def _densities(table: pd.DataFrame, method: str) -> list[float]:
    return sorted(table.loc[table["method"].eq(method), "density"].unique(), reverse=True)


def _own(table: pd.DataFrame, place: Any, cell: tuple[str, float]) -> pd.DataFrame:
    here = rows_at(table, place)
    return here[here["method"].eq(cell[0]) & here["density"].eq(cell[1])]


def _title(place: Any, cell: tuple[str, float]) -> str:
    return f"{place_title(place)}\n{method_style(cell[0]).label}\nfinal density {percent(cell[1])}"


def _colour(part: float) -> Any:
    """Give the colour of a depth from 0, the first layer, to 1, the last."""
    return COLOURS(LIGHTEST * part)


def _lines(own: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    """List the courses of a panel by the number of their layer, the whole network aside."""
    return [(int(str(i)), line) for i, line in own[own["layer"].ne(WHOLE)].groupby("layer")]


def _panel(ax: Axes, own: pd.DataFrame, floor: float) -> None:
    """Draw the courses of one cell, the first and the last layer thicker and named at their ends."""
    lines = _lines(own)
    first, last = lines[0][0], lines[-1][0]
    for i, line in lines:
        colour = _colour((i - first) / max(last - first, 1))
        drawn = line["value"].clip(lower=floor)
        ax.plot(line["epoch"], drawn, color=colour, linewidth=2.0 if i in (first, last) else 0.9)
        if floor and line["value"].iloc[-1] == 0:
            ax.scatter(line["epoch"].iloc[-1], floor, s=40, marker="x", color=GONE, zorder=5, clip_on=False)
    ends = sorted([(lines[0][1]["value"].iloc[-1], "first"), (lines[-1][1]["value"].iloc[-1], "last")])
    for (end, name), where in zip(ends, ("top", "bottom"), strict=True):
        spot = (own["epoch"].max(), max(end, floor))
        look: dict[str, Any] = {"textcoords": "offset points", "fontsize": "small", "annotation_clip": False}
        ax.annotate(name, spot, (5, 0), va=where, **look)
    whole = own[own["layer"].eq(WHOLE)]
    ax.plot(whole["epoch"], whole["value"].clip(lower=floor), **DOTTED)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _scale(axes: list[tuple[Axes, Any]], what: str, floor: float) -> None:
    """Give all panels one scale: logarithmic for densities, from zero for thresholds."""
    top = max((ax.get_ylim()[1] for ax, _ in axes), default=1.0)
    for ax, _ in axes:
        if what == "density":
            ax.set_yscale("log")
            ax.set_ylim(floor * 0.8, 1.3)
            ax.yaxis.set_major_formatter(lambda share, _: percent(share))
        else:
            ax.set_ylim(0, 1.05 * top)


def _legend(table: pd.DataFrame, gone: bool) -> list[Line2D]:
    if table.empty:
        return []
    named = {"first layer": (0.0, 2.0), "layers between, by depth": (0.5, 0.9), "last layer": (1.0, 2.0)}
    made = [Line2D([], [], color=_colour(at), linewidth=w, label=name) for name, (at, w) in named.items()]
    if table["layer"].eq(WHOLE).any():
        made.append(Line2D([], [], label="whole network", **DOTTED))
    if gone:
        made.append(Line2D([], [], color=GONE, marker="x", linestyle="none", label="nothing kept"))
    return made


def _gone(table: pd.DataFrame) -> bool:
    """Tell whether a layer ends with a density of 0."""
    ends = table[table["layer"].ne(WHOLE)].groupby([*CELL, "layer"])["value"].last()
    return bool(ends.eq(0).any())


def _caption(table: pd.DataFrame, what: str, gone: bool) -> str:
    told = f"{WHAT[what][1]}, one panel per method, all on one scale"
    told += ", logarithmic" if what == "density" else ""
    told += (
        f". Lines: mean over seeds{seeds_told(table['n'])}, from the first layer (dark) to the last (light)"
    )
    told += "; dotted: the whole network." if table["layer"].eq(WHOLE).any() else "."
    return told + (" Crosses: layers that end with nothing." if gone else "")


def _in_words(table: pd.DataFrame, panels: list[Any]) -> str:
    """Say for each panel where the first and the last layer and the whole network begin and end."""
    told = []
    for place, cell in panels:
        own = _own(table, place, cell)
        named = {"first layer": _lines(own)[0][1], "last layer": _lines(own)[-1][1]}
        named["whole network"] = own[own["layer"].eq(WHOLE)]
        ends = [
            f"{name} from {line['value'].iloc[0]:.3g} to {line['value'].iloc[-1]:.3g}"
            for name, line in named.items()
            if len(line)
        ]
        told.append(f"{_title(place, cell)}: {', '.join(ends)}.".replace("\n", ", "))
    return " ".join(told) or "No runs yet."
