"""What became of each layer in training: its density or its learned threshold, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from .. import cells
from ..errors import pick
from .panels import PLACE

WHAT = {
    "density": ("Share of the layer kept", "Density of each layer at the end of each epoch"),
    "threshold": (
        "Threshold (size of weights)",
        "Learned threshold of each layer at the end of each epoch, in units of its weights",
    ),
}
CELL = [*PLACE, "density", "method"]
WHOLE = 0  # stands for the whole network where others have the number of a layer


def course_cells(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """Average a quantity of each layer over seeds, epoch by epoch.

    Args:
        frame: table of runs with the column `layers`; runs whose record has no such course are left out, and so are
            those with a check.
        what: "density" (share kept, in [0, 1]) or "threshold" (at least 0, in units of the weights).

    Returns:
        PLACE, density (of the cell), method, layer (from 1, input to output; layers without a course have no row; with
        "density" 0 for the whole network), epoch (from 1), value (mean over seeds) and n (seeds).

    Raises:
        ReproError: when there is no such quantity.
    """
    pick(WHAT, what, "course of a layer")
    runs = cells.tidy(frame)
    runs = runs[runs["state"].eq("done") & runs["check"].eq("none")]
    made = [
        [*(run[name] for name in CELL), layer, epoch, value]
        for run in cells.rows(runs)
        for layer, course in _courses(run, what)
        for epoch, value in enumerate(course, start=1)
    ]
    table = pd.DataFrame(made, columns=[*CELL, "layer", "epoch", "value"]).dropna(subset="value")
    means = table.groupby([*CELL, "layer", "epoch"], sort=False)["value"].agg(value="mean", n="count")
    return means.reset_index().sort_values([*CELL, "layer", "epoch"], kind="stable", ignore_index=True)


def _courses(run: dict[str, Any], what: str) -> Iterator[tuple[int, np.ndarray]]:
    """List the courses of a run's layers; of densities also that of all weights, if each layer has one."""
    layers: list[dict[str, Any]] = run["layers"] if isinstance(run.get("layers"), list) else []
    found = [np.array(layer.get(f"{what}_curve") or [], dtype=float) for layer in layers]
    if what == "density" and len({len(course) for course in found}) == 1:
        yield WHOLE, np.average(found, axis=0, weights=[float(layer["total"]) for layer in layers])
    yield from enumerate(found, start=1)
