"""What the figures share: the grid of panels, axis titles, legends and descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from .style import INK, Style, data_name, data_order, model_name, percent

PLACE = ["data", "model", "width"]
Place = tuple[str, str, float]


def find_places(table: pd.DataFrame) -> list[tuple[str, str, float]]:
    """List the panels a table needs, in the book's order."""
    known = data_order(table["data"])
    seen = {(str(d), str(m), float(w)) for d, m, w in zip(*(table[k] for k in PLACE), strict=True)}
    return sorted(seen, key=lambda place: (known.index(place[0]), *place[1:]))


def rows_at(table: pd.DataFrame, place: tuple[str, str, float]) -> pd.DataFrame:
    """Choose the rows of one place."""
    return table[(table[PLACE] == list(place)).all(axis=1)]


def place_title(place: tuple[str, str, float]) -> str:
    """Name a place above its panel."""
    return f"{data_name(place[0])}, {model_name(*place[1:])}"


def two_wide(places: list[Any], other: None, wide: int = 2) -> list[list[Any]]:
    """Lay panels out in rows of two."""
    pairs = [(place, other) for place in places]
    return [pairs[i : i + wide] for i in range(0, len(pairs), wide)]


def crossed(places: list[Any], across: Sequence[Any]) -> tuple[list[list[Any]], float]:
    """Lay out a row for each place and a column for each of `across`, or rows of two for a single place.

    Returns:
        the panels, and the width of each in inches that keeps their text readable.
    """
    panels = [[(place, a) for a in across] for place in places]
    if len(places) == 1:
        panels = [panels[0][i : i + 2] for i in range(0, len(across), 2)]
    return panels, 2.9 if len(across) > 2 and len(places) > 1 else 4.4


def wrapped(panels: list[Any], places: list[Any], wide: int) -> list[list[Any]]:
    """Lay out (place, other) panels in rows, each place beginning a new one; shortest even rows within `wide`."""
    made = []
    for place in places:
        own = [panel for panel in panels if panel[0] == place]
        rows = -(-len(own) // wide)
        step = -(-len(own) // rows)
        made += [own[i : i + step] for i in range(0, len(own), step)]
    return made


def make_grid(panels: list[list[Any]], width: float, height: float) -> tuple[Figure, list[tuple[Axes, Any]]]:
    """Make a figure with one axes per panel; with no panel, one that says that there are no runs."""
    rows, columns = max(len(panels), 1), max([len(row) for row in panels] or [1])
    figure = Figure(figsize=(max(width * columns, 5.0), height * rows + 0.7), layout="constrained")
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    made = []
    for i, j in np.ndindex(rows, columns):
        if i < len(panels) and j < len(panels[i]):
            made.append((axes[i, j], panels[i][j]))
        else:
            axes[i, j].set_axis_off()
    if not made:
        figure.text(0.5, 0.5, "No runs yet", ha="center", va="center")
    sns.despine(figure)
    return figure, made


def shift(place: int, count: int) -> float:
    """Offset of the n-th of `count` marks within a slot of width 0.8."""
    return 0.0 if count < 2 else 0.76 * (place / (count - 1) - 0.5) * (count - 1) / count


def find_slots(densities: Sequence[float]) -> dict[float, tuple[float, float]]:
    """Place falling densities along an axis: side by side up to four, else by their logarithm.

    Returns:
        density -> its position, and the width of the slot around it that marks may use; the narrowest is 1.
    """
    if len(densities) <= 4:
        return {density: (float(i), 1.0) for i, density in enumerate(densities)}
    logs = -np.log(np.asarray(densities, dtype=float))
    places = (logs - logs[0]) / np.diff(logs).min()
    gaps = np.diff(places)
    room = np.minimum(np.append(gaps, gaps[-1]), np.insert(gaps, 0, gaps[0]))
    return {d: (float(x), float(w)) for d, x, w in zip(densities, places, room, strict=True)}


def mark_densities(ax: Axes, slots: dict[float, tuple[float, float]]) -> None:
    """Label the density axis of a panel and rule lines between its slots."""
    places = [x for x, _ in slots.values()]
    ax.set_xticks(places, [percent(d) for d in slots])
    if len(slots) > 4:
        ax.tick_params(axis="x", labelsize="small")
    ends = [x + sign * 0.55 * width for x, width in slots.values() for sign in (-1, 1)]
    ax.set_xlim(min(ends, default=-0.55), max(ends, default=0.55))
    ax.grid(visible=False, axis="x")
    for left, right in pairwise(places):
        ax.axvline((left + right) / 2, color="#d5d5d0", linewidth=0.8)


def stretch_to_100(ax: Axes) -> None:
    """Draw percentages on an axis that gives each halving of the error the same room; from 99.9 on it is cut."""

    def forward(shown: np.ndarray) -> np.ndarray:
        return -np.log(np.clip(100.0 - np.asarray(shown, dtype=float), 0.1, None))

    def back(placed: np.ndarray) -> np.ndarray:
        return 100.0 - np.exp(-np.asarray(placed, dtype=float))

    ax.set_yscale("function", functions=(forward, back))
    ax.autoscale_view(scalex=False)
    low, high = max(ax.get_ylim()[0], 0.0), min(ax.get_ylim()[1], 99.9)
    ax.set_ylim(low, high)
    apart, shown = 0.045 * np.ptp(forward(np.array([low, high]))), list[int]()
    for tick in (99, 98, 96, 94, 92, 90, 85, 80, 70, 60, 40, 10):  # labels must not touch
        if not shown or np.ptp(forward(np.array([tick, shown[-1]]))) >= apart:
            shown.append(tick)
    ax.yaxis.set_major_locator(FixedLocator(shown))
    ax.yaxis.set_major_formatter(lambda shown, _: f"{shown:g}")
    ax.yaxis.minorticks_off()


def label_outside(axes: list[tuple[Axes, Any]], x: str, y: str) -> None:
    """Write the axis titles at the outer panels only."""
    grid = _by_place(axes)
    columns = max((column for _, column in grid), default=0) + 1
    for place, ax in grid.items():
        lowest = place[0] == max(row for row, column in grid if column == place[1])
        wanted = columns < 3 or place[1] == (columns - 1) // 2  # else the words would run into each other
        ax.set_xlabel(x if lowest and wanted else "")
        ax.set_ylabel(y if place[1] == 0 else "")


def _by_place(axes: list[tuple[Axes, Any]]) -> dict[tuple[int, int], Axes]:
    specs = [(ax.get_subplotspec(), ax) for ax, _ in axes]
    return {(spec.rowspan.start, spec.colspan.start): ax for spec, ax in specs if spec}


def share_scale(axes: list[tuple[Axes, Any]], which: Literal["x", "y"]) -> None:
    """Give the panels of a row one scale."""
    rows: dict[int, list[Axes]] = {}
    for place, ax in _by_place(axes).items():
        rows.setdefault(place[0], []).append(ax)
    for row in rows.values():
        ends = [limit for ax in row for limit in getattr(ax, f"get_{which}lim")()]
        for ax in row:
            getattr(ax, f"set_{which}lim")(min(ends), max(ends))


def label_left_only(axes: list[tuple[Axes, Any]]) -> None:
    """Leave the y labels to the leftmost panel of each row."""
    for (_, column), ax in _by_place(axes).items():
        if column:
            ax.tick_params(axis="y", labelleft=False)


def handles_of(styles: Sequence[Style]) -> list[Any]:
    """Make the legend's entries for some styles."""
    look: dict[str, Any] = {"linestyle": "none", "markeredgecolor": INK, "markeredgewidth": 0.4}
    return [Line2D([], [], color=s.colour, marker=s.marker, label=s.label, **look) for s in styles]


def add_legend(figure: Figure, handles: list[Any]) -> None:
    """Put one legend under all panels; for more than two rows the figure grows, so that panels keep their size."""
    if not handles:
        return
    columns = min(max(2, int(figure.get_figwidth() // 2.3)), len(handles))
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + 0.2 * max(rows - 2, 0))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize="small")


def describe(figure: Figure, alt: str, caption: str) -> Figure:
    """Attach description and caption, for `show_figure`."""
    figure.set_label(f"{alt.strip()}\n{caption}")
    return figure


def seeds_told(n: pd.Series) -> str:
    """Say how many seeds there are, as the caption has it."""
    seen = n[n > 0]
    if seen.empty:
        return ""
    low, high = int(seen.min()), int(seen.max())
    return f" (n = {low})" if low == high else f" (n = {low} to {high})"
