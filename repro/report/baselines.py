"""Accuracy beside what a network costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .. import cells, stats
from .html import DASH, Cell, Table, with_interval
from .tables import lay_out, ordered

SCORES = ("accuracy", "top5", "best")


def baseline_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarise top-1, top-5 and best accuracy per cell, with parameters and multiply-accumulates.

    Args:
        frame: table of runs with the column `layers`.

    Returns:
        cells.KEYS, n, then for accuracy, top5 and best: mean and 95 % t interval (<name>, <name>_low, <name>_high);
        params (parameters left) and macs (multiply-accumulates per image of the weights left), means over runs.
    """
    runs = cells.tidy(frame)
    made = []
    for key, cell in runs.groupby(cells.KEYS, sort=False):
        done = cell[cell["state"] == "done"]
        row: dict[str, Any] = dict(zip(cells.KEYS, key, strict=True)) | {"n": len(done)}
        for name in SCORES:
            values = done[name].astype(float).dropna() if name in done else []
            row[name], row[f"{name}_low"], row[f"{name}_high"] = stats.interval(values)
        costs = [_costs(run) for run in cells.rows(done)]
        row["params"], row["macs"] = np.mean(costs, axis=0) if costs else (np.nan, np.nan)
        made.append(row)
    scores = [f"{name}{end}" for name in SCORES for end in ("", "_low", "_high")]
    return pd.DataFrame(made, columns=[*cells.KEYS, "n", *scores, "params", "macs"])


def _costs(run: dict[str, Any]) -> tuple[float, float]:
    """Count parameters and multiply-accumulates left in a run's network; NaN where the record does not say."""
    layers = run.get("layers")
    if not isinstance(layers, list) or not layers:
        return np.nan, np.nan
    pruned = sum(layer["total"] - layer["kept"] for layer in layers)
    macs = [layer["macs"] * layer["kept"] / layer["total"] if "macs" in layer else np.nan for layer in layers]
    return float(run.get("params") or np.nan) - pruned, float(sum(macs))


def show_baselines(frame: pd.DataFrame, *, title: str = "Baselines") -> Table:
    """Show top-1 and top-5 accuracy, that of the best epoch, parameters and operations.

    Args:
        frame: table of runs.
        title: first words of the caption.
    """
    table = ordered(baseline_cells(frame))
    heads = ("Top-1", "Top-5", "Best epoch", "Parameters", "MACs", "n")
    columns, rows, told = lay_out(table, heads, _numbers)
    caption = (
        f"{title}: test accuracy in percent, mean ± half width of the 95 % t interval over n seeds. Top-1 and top-5 after "
        "the last epoch; best epoch: top-1 of the epoch that did best on the test set, so too favourable by design. "
        "Parameters and multiply-accumulates (MACs, per image; two FLOPs each) are those left after pruning, which "
        "only hardware or software that skips zeros saves. Batch norm and pooling are not counted as operations."
    )
    absent = (
        f" {DASH}: not run, or not recorded."
        if table[["accuracy", "params", "macs"]].isna().any(axis=None)
        else ""
    )
    return Table(tuple(columns), tuple(tuple(row) for row in rows), f"{caption}{absent}{told}")


def _numbers(cell: dict[str, Any]) -> list[Cell | str]:
    scores = [with_interval(cell[name], cell[f"{name}_low"], cell[f"{name}_high"]) for name in SCORES]
    return [*scores, large(cell["params"]), large(cell["macs"]), str(cell["n"])]


def large(value: float) -> str:
    """Write a large count with four figures and a unit, e.g. 20.04 M."""
    if not np.isfinite(value):
        return DASH
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"
