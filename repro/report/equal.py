"""Accuracy of a method at the operations of another, by interpolation between its densities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .. import cells
from .names import EQUAL

SAME = [*(name for name in cells.KEYS if name not in ("density", "method")), "seed"]
KEPT = [*SAME, "density", "epochs", "flops_ratio"]
ROUNDING = 1e-9


def equal_flops(frame: pd.DataFrame, run: str, reference: str) -> pd.DataFrame:
    """Add what a method would reach at the inference FLOPs of another, so that claims can compare the two.

    For each finished run of `run` the accuracy of `reference` is interpolated linearly in the logarithm of the FLOPs
    between the finished runs of the same place, check and seed. Where the FLOPs lie outside their range there is no
    row: nothing is extrapolated.

    Args:
        frame: table of runs.
        run: method whose density and FLOPs the new rows have, e.g. "rigl:erk".
        reference: method whose accuracy they have, e.g. "rigl:uniform".

    Returns:
        The frame with rows of the method "<reference> at equal FLOPs" after it; each has a key of its own.
    """
    runs = cells.tidy(frame)
    runs = runs.assign(flops_ratio=runs["flops_ratio"].astype(float), accuracy=runs["accuracy"].astype(float))
    runs = runs[runs["state"].eq("done") & runs["flops_ratio"].gt(0)]
    known = dict(list(runs[runs["method"] == reference].groupby(SAME, sort=False)))
    made = []
    for row in cells.rows(runs[runs["method"] == run]):
        there = known.get(tuple(row[name] for name in SAME))
        accuracy = np.nan if there is None else _at(there, float(row["flops_ratio"]))
        if np.isfinite(accuracy):
            made.append(_row(frame, row, reference, accuracy))
    if not made:
        return frame.copy()
    return pd.DataFrame([*cells.rows(frame), *made], columns=frame.columns)


def _at(runs: pd.DataFrame, flops: float) -> float:
    """Interpolate the accuracy of some runs at given FLOPs; NaN outside their range."""
    means = runs.groupby("flops_ratio")["accuracy"].mean()
    x, at = np.log(means.index.to_numpy()), np.log(flops)
    if not x[0] - ROUNDING <= at <= x[-1] + ROUNDING:
        return np.nan
    return float(np.interp(at, x, means.to_numpy()))


def _row(frame: pd.DataFrame, run: dict[str, Any], reference: str, accuracy: float) -> dict[str, Any]:
    """Make the derived row of a run: its place, density and FLOPs, and nothing that was not derived."""
    blank = {str(name): np.nan if frame[name].dtype.kind == "f" else None for name in frame.columns}
    kept = {name: run[name] for name in KEPT if name in run}
    own = {"key": f"{run['key']} {reference}{EQUAL}", "status": "done", "method": f"{reference}{EQUAL}"}
    return blank | kept | own | {"accuracy": accuracy}
