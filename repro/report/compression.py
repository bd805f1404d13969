"""Accuracy against the compression ratio, ours beside published curves: how far a network can be pruned untrained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from .. import cells, claims, stats
from .html import Cell, Column, Table, with_interval
from .menus import WORKS
from .panels import PLACE, seeds_told
from .published import protocol_of
from .style import data_name, data_order, method_style, model_name, order

OURS = "ours"
LAST, BEST = "last epoch", "best epoch"
METRICS = {claims.ACCURACY: LAST, "best_epoch_test_accuracy_percent": BEST}
CLASSES = {"cifar100": 100, "tinyimagenet": 200}  # 10 elsewhere
COLUMNS = [*PLACE, "named", "method", "density", "compression", "source", "epoch"]
COLUMNS += ["n", "lost", "mean", "low", "high"]


def chance(data: str) -> float:
    """Give the accuracy, in percent, of a network that always says the same class."""
    return 100 / CLASSES.get(data, 10)


def compression_cells(frame: pd.DataFrame, published: Sequence[str] = ()) -> pd.DataFrame:
    """Summarise accuracy per network, method and compression ratio, ours and as published.

    Args:
        frame: table of runs; those with a check are left out.
        published: works whose numbers are added, at the data sets and networks of their first claim.

    Returns:
        Data, model and width (PLACE); named (the work's own name of the network, "" for ours), method, density,
        compression (1 / density), source ("ours" or the work), epoch ("last epoch"; "best epoch" is the largest
        accuracy on the test set, over all epochs), n (runs), lost, mean, low, high (95 % t interval, percent; of
        published ones from the standard deviation over their runs).
    """
    own = [
        _own(key, cell) for key, cell in _planned(frame).groupby([*PLACE, "method", "density"], sort=False)
    ]
    parts = [row for pair in own for row in pair]
    parts += [row for work in published for row in _published(work)]
    table = pd.DataFrame(parts, columns=COLUMNS)
    ranks = {name: i for i, name in enumerate(order(table["method"]))}
    places = {name: i for i, name in enumerate(data_order(table["data"]))}
    keyed = table.assign(_data=table["data"].map(places), _method=table["method"].map(ranks))
    keyed = keyed.sort_values(["_data", "model", "width", "_method", "compression"], kind="stable")
    return keyed[COLUMNS].reset_index(drop=True)


def _planned(frame: pd.DataFrame) -> pd.DataFrame:
    runs = cells.tidy(frame)
    return runs[runs["check"].eq("none")]


def _own(key: tuple[Any, ...], cell: pd.DataFrame) -> list[dict[str, Any]]:
    """Make the rows of one cell of ours: accuracy after the last epoch, and of the best one."""
    done = cell[cell["state"] == "done"]
    row = dict(zip([*PLACE, "method", "density"], key, strict=True))
    row |= {"named": "", "source": OURS, "n": len(done), "lost": int(cell["state"].eq("lost").sum())}
    values = {LAST: done["accuracy"], BEST: done["best"] if "best" in done else done["accuracy"].iloc[:0]}
    return [
        row
        | {"compression": 1 / row["density"], "epoch": epoch}
        | stats.interval(seeds.astype(float).dropna())._asdict()
        for epoch, seeds in values.items()
    ]


def _published(work: str) -> list[dict[str, Any]]:
    """Make the rows of a work, at its first claim's data sets and networks; of two values of a cell the first."""
    protocol = protocol_of(work)
    table = claims.published(work)
    table = table.assign(width=table["model"].map(protocol.model), epoch=table["metric"].map(METRICS))
    table = table[table["data"].isin(protocol.data) & table["check"].eq("none")]
    table = table.dropna(subset=["width", "epoch"]).drop_duplicates([*cells.KEYS, "epoch"])
    made = []
    for row in cells.rows(table):
        n = int(row["n_seeds"]) if np.isfinite(row["n_seeds"]) else 0
        half = float(student.ppf(0.975, n - 1)) * row["std"] / np.sqrt(n) if n > 1 else np.nan
        ends = {"mean": row["value"], "low": row["value"] - half, "high": row["value"] + half}
        made.append(row | ends | {"compression": 1 / row["density"], "source": work, "n": n, "lost": 0})
    return made


def show_compression(
    frame: pd.DataFrame, published: Sequence[str] = (), *, title: str = "Test accuracy"
) -> Table:
    """Show accuracy as a table: a row per network, method and source, a column per compression ratio of ours.

    Args:
        frame: table of runs.
        published: works whose numbers stand below ours; theirs of the best epoch below ours of the best epoch.
        title: first words of the caption.
    """
    table = compression_cells(frame, published)
    if len(frame):
        table = table[table["density"].isin(_planned(frame)["density"])]
    theirs = table[table["source"] != OURS]
    beside = pd.MultiIndex.from_frame(table[PLACE]).isin(pd.MultiIndex.from_frame(theirs[PLACE]))
    table = table[table["epoch"].eq(LAST) | table["source"].ne(OURS) | beside]
    ratios = sorted(table["compression"].unique())
    columns = [Column(head, "key") for head in ("Data", "Network", "Method", "Source")]
    columns += [Column(written(ratio), "number") for ratio in ratios]
    rows: list[list[Cell | str]] = []
    for _, line in table.groupby([*PLACE, "method", "source", "epoch"], sort=False):
        at = {row["compression"]: row for row in cells.rows(line)}
        rows.append([*_names(cells.rows(line)[0]), *(_number(at.get(ratio)) for ratio in ratios)])
    return Table(tuple(columns), tuple(tuple(row) for row in rows), _caption(table, title))


def _names(row: dict[str, Any]) -> list[Cell | str]:
    source = WORKS.get(row["source"], row["source"].capitalize())
    network = model_name(row["model"], row["width"])
    return [data_name(row["data"]), network, method_style(row["method"]).label, f"{source}, {row['epoch']}"]


def written(ratio: float) -> str:
    """Write a compression ratio with three digits, e.g. "31.6" or "1,000"."""
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def _number(row: dict[str, Any] | None) -> str:
    return "" if row is None else with_interval(row["mean"], row["low"], row["high"], digits=1)


def _caption(table: pd.DataFrame, title: str) -> str:
    ours, theirs = table[table["source"] == OURS], table[table["source"] != OURS]
    told = f"{title}, percent, by compression ratio (all prunable weights / those kept): mean ± half width of the 95 % t "
    told += f"interval over seeds{seeds_told(ours['n'])}."
    if len(theirs):
        told += f" Published: interval over their runs{seeds_told(theirs['n'])}. Best epoch: the largest accuracy on the "
        told += "test set in training, as they report it; compare it with nothing but its like."
    lost = int(ours.loc[ours["epoch"].eq(LAST), "lost"].sum())
    if lost:
        told += f" {lost} runs diverged or failed; they are in no mean."
    return f"{told} A dash: not run." if ours["n"].eq(0).any() else told
