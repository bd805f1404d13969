"""Accuracy of a method at the operations or the density of another, by interpolation between its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .. import cells
from .names import EQUAL_DENSITY, EQUAL_FLOPS

SAME = [*(name for name in cells.KEYS if name not in ("density", "method")), "seed"]
KEPT = [*SAME, "density", "epochs"]
ROUNDING = 1e-9
VARIANTS = "~:*/"  # what follows the name of a method in those of its variants


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
    return _equal(frame, "flops_ratio", {run}, reference, EQUAL_FLOPS)


def equal_density(frame: pd.DataFrame, run: str, reference: str) -> pd.DataFrame:
    """Add what a method would reach at the densities that come out of another, which cannot be asked for.

    As `equal_flops`, but along the density that each run ended with. The new rows stand at the density that
    `cells.tidy` gives the run's cell, so that claims pair them with it; where variants end up at the same one, the
    first has the row.

    Args:
        frame: table of runs.
        run: method whose density the new rows have, with all its variants, e.g. "str" for "str~decay=0.01" too.
        reference: method whose accuracy they have, e.g. "gmp".

    Returns:
        The frame with rows of the method "<reference> at equal density" after it; each has a key of its own.
    """
    names = {str(name) for name in frame["method"]}
    variants = {
        name for name in names if name == run or name.startswith(tuple(run + sign for sign in VARIANTS))
    }
    return _equal(frame, "realised", variants, reference, EQUAL_DENSITY)


def _equal(frame: pd.DataFrame, along: str, names: set[str], reference: str, ending: str) -> pd.DataFrame:
    """Add rows of the reference where runs of some methods lie along a column, one for each cell and seed."""
    runs = cells.tidy(frame)
    if along not in runs:
        return frame.copy()
    runs = runs.assign(**{along: runs[along].astype(float), "accuracy": runs["accuracy"].astype(float)})
    runs = runs[runs["state"].eq("done") & runs[along].gt(0)]
    known = dict(list(runs[runs["method"] == reference].groupby(SAME, sort=False)))
    made: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in cells.rows(runs[runs["method"].isin(names)]):
        there = known.get(tuple(row[name] for name in SAME))
        accuracy = np.nan if there is None else _at(there, along, row[along])
        if np.isfinite(accuracy):
            own = {
                "key": f"{row['key']} {reference}{ending}",
                "status": "done",
                "method": f"{reference}{ending}",
            }
            kept = {name: row[name] for name in (*KEPT, along) if name in row}
            cell = tuple(row[name] for name in (*SAME, "density"))
            made.setdefault(cell, _blank(frame) | kept | own | {"accuracy": accuracy})
    if not made:
        return frame.copy()
    return pd.DataFrame([*cells.rows(frame), *made.values()], columns=frame.columns)


def _at(runs: pd.DataFrame, along: str, place: float) -> float:
    """Interpolate the accuracy of some runs at a place, in its logarithm; NaN outside their range."""
    means = runs.groupby(along)["accuracy"].mean()
    x, at = np.log(means.index.to_numpy()), np.log(place)
    if not x[0] - ROUNDING <= at <= x[-1] + ROUNDING:
        return np.nan
    return float(np.interp(at, x, means.to_numpy()))


def _blank(frame: pd.DataFrame) -> dict[str, Any]:
    """Make a row that says nothing, for what is not derived."""
    return {str(name): np.nan if frame[name].dtype.kind == "f" else None for name in frame.columns}
