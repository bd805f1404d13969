"""Runs grouped into cells, and paired by seed: the arithmetic under claims and report. Imports no torch.

A cell is what one row of a results table stands for: one data set, model, width, density, method and check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .errors import ReproError
from .stats import interval

KEYS = ["data", "model", "width", "density", "method", "check"]
PLACE = ["data", "model", "width", "density"]
NEEDED = [*KEYS, "key", "status", "seed", "accuracy"]
LEARNED = r"str(?:[:/~*]|$)"  # methods that end with a density of their own
LOST = ("diverged", "failed")


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """Check a table of runs and drop second copies of the same run, keeping a finished one.

    Returns:
        The runs with a column `state`: "done" (accuracy known), "lost" (diverged, failed or without a finite
        accuracy) or "missing".

    Raises:
        ReproError: when a column lacks, or two different runs share cell and seed.
    """
    lacking = [name for name in NEEDED if name not in frame.columns]
    if lacking:
        raise ReproError(
            f"table of runs lacks the column {lacking[0]!r}; make it with repro.run_all or record.load"
        )
    runs = frame.reset_index(drop=True)
    runs["density"] = runs["density"].astype(float).round(9)
    runs["state"] = np.where(runs["status"].eq("missing"), "missing", "lost")
    done = runs["status"].eq("done") & np.isfinite(runs["accuracy"].astype(float))
    runs.loc[done, "state"] = "done"
    runs["density"] = _learned(runs)
    order = runs["state"].map({"done": 0, "lost": 1, "missing": 2})
    runs = runs.loc[order.sort_values(kind="stable").index].drop_duplicates("key").sort_index()
    twice = runs[runs.duplicated([*KEYS, "seed"], keep=False)]
    if len(twice):
        raise ReproError(_clash(twice))
    return runs


def _learned(runs: pd.DataFrame) -> pd.Series:
    """Give runs whose density is learned, and so is another for each seed, the mean of their cell, to three digits."""
    learned = runs["method"].astype(str).str.match(LEARNED)
    if not learned.any():
        return runs["density"]
    keys = [name for name in KEYS if name != "density"]
    means = runs[learned].groupby(keys, dropna=False)["density"].transform("mean")
    return runs["density"].where(~learned, means.map(lambda mean: float(f"{mean:.3g}")))


def _clash(twice: pd.DataFrame) -> str:
    """Say which two runs share a place, and in which plain column they differ."""
    first = twice.iloc[0]
    same = twice[(twice[[*KEYS, "seed"]] == first[[*KEYS, "seed"]]).all(axis=1)]
    plain = [c for c in ("epochs", "params", "device", "command") if c in same and same[c].nunique() > 1]
    where = ", ".join(str(first[name]) for name in KEYS)
    hint = f"they differ in {plain[0]!r}" if plain else "they differ in settings that the table does not show"
    return f"runs {' and '.join(same['key'].astype(str))} share the cell ({where}) and seed: {hint}; keep one"


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Turn a table into one mapping per row."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarise each cell over its seeds, in the order in which the cells first appear.

    Returns:
        Columns of KEYS, then n (runs that count), lost, missing, mean, low, high (95 % t interval, percent),
        realised (mean density), collapsed (largest number of layers with nothing kept), epochs (fewest).
    """
    made = []
    for key, cell in tidy(frame).groupby(KEYS, sort=False, dropna=False):
        done = cell[cell["state"] == "done"]
        mean, low, high = interval(done["accuracy"])
        made.append(
            dict(zip(KEYS, key, strict=True))
            | {"n": len(done), "lost": int(cell["state"].eq("lost").sum())}
            | {"missing": int(cell["state"].eq("missing").sum()), "mean": mean, "low": low, "high": high}
            | {"realised": _of(done, "realised").mean(), "collapsed": _of(done, "collapsed").max()}
            | {"epochs": _of(cell, "epochs").min()}
        )
    numbers = ["n", "lost", "missing", "mean", "low", "high", "realised", "collapsed", "epochs"]
    return pd.DataFrame(made, columns=[*KEYS, *numbers])


def _of(cell: pd.DataFrame, name: str) -> pd.Series:
    return cell[name].astype(float) if name in cell else pd.Series(np.nan, index=cell.index)


def pairs(frame: pd.DataFrame, control: Mapping[str, str]) -> pd.DataFrame:
    """Pair every run with its control of the same data, model, width, density and seed.

    Args:
        frame: table of runs.
        control: what the control has instead, e.g. {"check": "none"} or {"method": "snip"}; what is not named
            is as in the run. The control "dense" is looked for at density 1.

    Returns:
        One row per run that is not its own control (dense networks are never): KEYS, seed, control_method,
        control_check, accuracy, control_accuracy, difference (run minus control, percentage points; NaN
        unless both are done) and state: "done", "lost" (either was) or "missing".

    Raises:
        ReproError: when the control names something other than method and check.
    """
    if not control or set(control) - {"method", "check"}:
        raise ReproError(f"control {dict(control)}: name a method, a check or both")
    runs = tidy(frame)
    left = runs[runs["method"] != "dense"]
    left = left.assign(
        control_method=control.get("method", left["method"]),
        control_check=control.get("check", left["check"]),
    )
    itself = (left["control_method"] == left["method"]) & (left["control_check"] == left["check"])
    left = left[~itself]
    left = left.assign(control_density=left["density"].where(left["control_method"] != "dense", 1.0))
    renamed = {"method": "control_method", "check": "control_check", "density": "control_density"}
    keys = ["data", "model", "width", *renamed.values(), "seed"]
    right = runs.rename(columns=renamed)[[*keys, "accuracy", "state"]]
    both = left.merge(right, how="left", on=keys, suffixes=("", "_of_control"))
    both["control_accuracy"] = both.pop("accuracy_of_control").astype(float)
    states = both[["state", "state_of_control"]]
    both["state"] = np.select(
        [(states == "lost").any(axis=1), (states == "done").all(axis=1)], ["lost", "done"], "missing"
    )
    both["difference"] = (both["accuracy"].astype(float) - both["control_accuracy"]).where(
        both["state"] == "done"
    )
    measured = ["accuracy", "control_accuracy", "difference", "state"]
    return both[[*KEYS, "seed", "control_method", "control_check", *measured]]
