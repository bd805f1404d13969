"""Accuracy beside the operations of training and of inference, published and ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import cells, claims, stats
from .html import DASH, Cell, Table, number, span
from .menus import WORKS
from .published import joined, measured, protocols_of
from .tables import lay_out, ordered

COSTS = {"train": "train_flops_ratio", "counted": "train_flops_counted", "test": "flops_ratio"}
FLOPS = {"train": "flops_train_ratio", "test": "flops_test_ratio"}


def cost_cells(frame: pd.DataFrame, published: Sequence[str] | None = None) -> pd.DataFrame:
    """Summarise accuracy and operations per cell, beside what some works published of the same cell.

    Args:
        frame: table of runs.
        published: works, stems of files in book/reference; cells that only they have come in as rows with n = 0,
            see `table_cells`.

    Returns:
        cells.KEYS, n, lost, mean, std (sample standard deviation over seeds), low, high (95 % t interval of the mean),
        train, counted, test (operations by those of the dense network, means over seeds), and for each work
        published_<work>, std_<work>, train_<work> and test_<work>, in the tables' order.
    """
    made = []
    for key, cell in cells.tidy(frame).groupby(cells.KEYS, sort=False):
        done = cell[cell["state"] == "done"]
        accuracy = done["accuracy"].astype(float)
        mean, low, high = stats.interval(accuracy)
        row: dict[str, Any] = dict(zip(cells.KEYS, key, strict=True))
        row |= {"n": len(done), "lost": int(cell["state"].eq("lost").sum()), "mean": mean}
        row |= {"std": accuracy.std(), "low": low, "high": high}
        made.append(row | {name: _mean(done, column) for name, column in COSTS.items()})
    columns = [*cells.KEYS, "n", "lost", "mean", "std", "low", "high", *COSTS]
    table = pd.DataFrame(made, columns=columns)
    for work in published or ():
        table = joined(table, _published(work), frame)
    return ordered(table)


def _mean(done: pd.DataFrame, column: str) -> float:
    """Average a column over the runs that have it."""
    return float(done[column].astype(float).mean()) if column in done and len(done) else np.nan


def _published(work: str) -> pd.DataFrame:
    """Gather a work's operations and accuracies at all its published scales, a row per cell.

    Accuracies come from the tables that print operations too, where there are any: other tables of a work may be of
    another protocol (the RigL replication's Table 1 is: it trains on all images).
    """
    parts = []
    for protocol in protocols_of(work):
        costs = {name: measured(work, protocol, metric) for name, metric in FLOPS.items()}
        tables = {table for values in costs.values() for table in values["table"]}
        part = measured(work, protocol, claims.ACCURACY, tables=tables or None)
        part = part.rename(columns={"value": f"published_{work}", "std": f"std_{work}"}).drop(columns="table")
        for name, values in costs.items():
            values = values.drop(columns=["std", "table"]).rename(columns={"value": f"{name}_{work}"})
            part = part.merge(values, how="outer", on=[*cells.KEYS, "variant"], sort=False)
        parts.append(part.drop(columns="variant"))
    return pd.concat(parts).drop_duplicates(cells.KEYS)


def show_costs(
    frame: pd.DataFrame,
    published: Sequence[str] | None = None,
    *,
    title: str = "Test accuracy and operations",
) -> Table:
    """Show accuracy and operations per cell: published, ours, and ours as counted.

    Args:
        frame: table of runs.
        published: see `cost_cells`.
        title: first words of the caption.
    """
    table, works = cost_cells(frame, published), list(published or ())
    names = [WORKS.get(work, work) for work in works]
    heads = [*names, "Ours", "95 % interval"]
    heads += [*(f"Train FLOPs, {name}" for name in names), "Train FLOPs", "Counted"]
    heads += [*(f"Test FLOPs, {name}" for name in names), "Test FLOPs", "n"]
    lost = bool(table["lost"].any())
    columns, rows, told = lay_out(
        table, [*heads, *(["Lost runs"] if lost else [])], lambda cell: _numbers(cell, works, lost)
    )
    return Table(tuple(columns), tuple(tuple(row) for row in rows), _caption(table, works, title) + told)


def _numbers(cell: dict[str, Any], works: list[str], lost: bool) -> list[Cell | str]:
    texts = [with_std(cell[f"published_{work}"], cell[f"std_{work}"]) for work in works]
    texts += [with_std(cell["mean"], cell["std"]), span(cell["low"], cell["high"], sign=False)]
    texts += [times(cell[f"train_{work}"]) for work in works]
    texts += [times(cell["train"]), times(cell["counted"])]
    texts += [times(cell[f"test_{work}"]) for work in works]
    texts += [times(cell["test"]), str(int(cell["n"]))]
    return [*texts, *([str(int(cell["lost"]))] if lost else [])]


def with_std(mean: float, std: float) -> str:
    """Write a mean with its standard deviation; the mean alone when there is none."""
    return f"{number(mean)} ± {number(std)}" if np.isfinite(mean) and np.isfinite(std) else number(mean)


def times(ratio: float) -> str:
    """Write operations as a multiple of the dense network's, e.g. 0.35x; small ones with a digit more."""
    return DASH if not np.isfinite(ratio) else f"{ratio:.{2 if ratio >= 0.0995 else 3}f}x"


def _caption(table: pd.DataFrame, works: list[str], title: str) -> str:
    told = [
        f"{title}. Accuracy in percent after the last epoch: mean ± sample standard deviation over n seeds (not an "
        "interval), then the 95 % t interval of the mean.",
        "FLOPs are multiples of the dense network's. Train: forward and backward pass of an example by the published "
        "formula of each method, times the length of training; counted: summed over the steps of the run, with the "
        "masks it had. Test: one forward pass of the final network. Batch norm and pooling are not counted.",
    ]
    if works:
        told.append(
            "Published values are rounded and given with the standard deviation that was printed, if any."
        )
    if table["n"].eq(0).any():
        told.append(f"{DASH}: not run, or not published.")
    if table["n"].eq(1).any():
        told.append("One seed gives neither standard deviation nor interval.")
    if table["lost"].any():
        told.append("Lost runs diverged or failed; they are in no mean.")
    return " ".join(told)
