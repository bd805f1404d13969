"""The panels of figures about settings, and their words."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from .panels import find_places, place_title, rows_at
from .style import method_style, order, percent
from .sweep import short, sweep_cells, written


class Panel(NamedTuple):
    """What one panel of a sweep is about."""

    place: tuple[str, str, float]
    method: str
    density: float

    @property
    def title(self) -> str:
        """Name the panel."""
        return (
            f"{place_title(self.place)}\n{method_style(self.method).label}, density {percent(self.density)}"
        )


def table_and_panels(frame: pd.DataFrame, names: list[str], value: str) -> tuple[pd.DataFrame, list[Panel]]:
    """Summarise the combinations of settings that have runs, and list the panels that they need."""
    table = sweep_cells(frame, dict.fromkeys(names), value)
    table = table[table["n"].gt(0)].reset_index(drop=True)
    panels = [
        Panel(place, method, float(density))
        for place in find_places(table)
        for method in order(rows_at(table, place)["method"])
        for density in sorted(_of_method(rows_at(table, place), method)["density"].unique(), reverse=True)
    ]
    return table, panels


def _of_method(table: pd.DataFrame, method: str) -> pd.DataFrame:
    return table[table["method"] == method]


def in_panel(table: pd.DataFrame, panel: Panel) -> pd.DataFrame:
    """Choose the rows of one panel."""
    here = _of_method(rows_at(table, panel.place), panel.method)
    return here[here["density"] == panel.density]


def best_in_words(table: pd.DataFrame, panels: list[Panel], names: list[str]) -> str:
    """Say for each panel the range of the means, and which settings have the highest."""
    told = []
    for panel in panels:
        own = in_panel(table, panel)
        best = own.sort_values("mean", ascending=False).iloc[0]
        settings = ", ".join(f"{short(name)} {written(best[name])}" for name in names)
        told.append(
            f"{panel.title.replace(chr(10), ', ')}: means from {own['mean'].min():.2f} to {own['mean'].max():.2f} %, the "
            f"highest at {settings}."
        )
    return " ".join(told) or "No runs yet."
