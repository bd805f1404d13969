"""Every published accuracy, cell by cell, with ours and the differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import cells
from ..errors import ReproError
from .html import DASH, Cell, Column, Table, number, with_interval
from .menus import WORKS
from .published import PUBLISHED, accuracies, protocol_of
from .style import check_name, data_name, data_order, method_style, model_name, order, percent
from .tables import slim

NOT_RUN = "not run"
# The order of Su et al.: tickets from initialisation and their checks, random tickets, tickets with trained weights.
PAPER = [
    "dense",
    "magnitude",
    "snip",
    "grasp",
    "smart_ratio",
    "magnitude@trained",
    "magnitude+smart_ratio@trained",
]
WORKS_OF_TABLE = ("su2020", "answer42")


def replication_cells(frame: pd.DataFrame, works: Sequence[str] = WORKS_OF_TABLE) -> pd.DataFrame:
    """Put our results beside every accuracy that some works published; no published value is left out.

    Args:
        frame: table of runs; those that no work has a value for do not appear.
        works: stems of files in book/reference.

    Returns:
        One row per published cell: cells.KEYS, variant (a second reading has a row of its own), published_<work>,
        n, lost, mean, low, high, epochs, and difference_<work> with _low and _high (ours minus published, only
        for runs of the published protocol).

    Raises:
        ReproError: without any work, or for one that has no file.
    """
    if not works:
        raise ReproError("show_cells: no work given; name at least one, such as 'su2020'")
    keys = [*cells.KEYS, "variant"]
    table = accuracies(works[0], protocol_of(works[0]), variants=True)
    for work in works[1:]:
        table = table.merge(
            accuracies(work, protocol_of(work), variants=True), how="outer", on=keys, sort=False
        )
    ours = cells.summary(frame).drop(columns=["missing", "realised", "collapsed"])
    table = table.merge(ours.astype({"mean": float, "low": float, "high": float}), how="left", on=cells.KEYS)
    table[["n", "lost"]] = table[["n", "lost"]].fillna(0).astype(int)
    for work in works:
        same = protocol_of(work).covers(table) & table["n"].gt(0)
        for end, part in (("", "mean"), ("_low", "low"), ("_high", "high")):
            table[f"difference_{work}{end}"] = (table[part] - table[PUBLISHED + work]).where(same)
    return _in_order(table)


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by the paper's groups, in each by data set, network, method, check, and from dense to sparse."""
    methods = [*PAPER, *(name for name in order(table["method"]) if name not in PAPER)]
    data, checks = data_order(table["data"]), order(table["check"])
    ranks = pd.DataFrame(
        {
            "method": [methods.index(m) for m in table["method"]],
            "data": [data.index(d) for d in table["data"]],
            "model": table["model"].rank(method="dense", ascending=False),
            "check": [checks.index(c) for c in table["check"]],
            "density": -table["density"],
            "variant": table["variant"],
        }
    )
    return table.loc[ranks.sort_values(list(ranks.columns), kind="stable").index].reset_index(drop=True)


def show_cells(
    frame: pd.DataFrame,
    works: Sequence[str] = WORKS_OF_TABLE,
    *,
    methods: Sequence[str] | None = None,
    title: str = "Test accuracy, cell by cell",
) -> Table:
    """Show every accuracy that some works published, with ours and the differences, run or not.

    Args:
        frame: table of runs.
        works: see `replication_cells`.
        methods: the only ones to show, in a table without the columns that say the same in each row.
        title: first words of the caption.
    """
    table = replication_cells(frame, works)
    if methods is not None:
        table = table[table["method"].isin(methods)]
    names = {work: WORKS.get(work, work) for work in works}
    columns = [Column(head, "key") for head in ("Data", "Network", "Method", "Check")] + [
        Column("Density", "number")
    ]
    columns += [Column(name, "number") for name in names.values()] + [Column("Ours", "number")]
    columns += [Column(f"Ours \u2212 {name}", "number") for name in names.values()] + [Column("n", "number")]
    rows, told = [_row(cell, works) for cell in cells.rows(table)], ""
    if methods is not None:
        columns, rows, told = slim(columns, rows, ("Data", "Network", "Method", "Check"))
    caption = _caption(table, title, list(names.values()), partly=methods is not None)
    return Table(tuple(columns), tuple(tuple(row) for row in rows), caption + told)


def _row(cell: dict[str, Any], works: Sequence[str]) -> list[Cell | str]:
    method = method_style(cell["method"]).label + (f" ({cell['variant']})" if cell["variant"] else "")
    check = DASH if cell["check"] == "none" else check_name(cell["check"])
    known = [data_name(cell["data"]), model_name(cell["model"], cell["width"]), method, check]
    values = [number(cell[PUBLISHED + work]) for work in works]
    differences = [
        with_interval(*(cell[f"difference_{work}{end}"] for end in ("", "_low", "_high")), sign=True)
        for work in works
    ]
    n = f"{cell['n']} ({cell['lost']} lost)" if cell["lost"] else str(cell["n"])
    return [*known, percent(cell["density"]), *values, _ours(cell, works), *differences, n]


def _ours(cell: dict[str, Any], works: Sequence[str]) -> str:
    """Write our mean; with its epochs when they are fewer than published."""
    if not cell["n"]:
        return DASH if cell["lost"] else NOT_RUN
    text = with_interval(cell["mean"], cell["low"], cell["high"])
    wanted = max((protocol_of(work).epochs or 0 for work in works), default=0)
    short = np.isfinite(cell["epochs"]) and cell["epochs"] < wanted
    return f"{text} ({cell['epochs']:g} epochs)" if short else text


def _caption(table: pd.DataFrame, title: str, names: list[str], partly: bool) -> str:
    run = int(table["n"].gt(0).sum())
    what = "the" if partly else "all"
    told = [
        f"{title}: {what} {len(table)} accuracies published by {' and '.join(names)}; {run} of them have runs of ours.",
        "Percent after the last epoch. Ours: mean ± half width of the 95 % t interval over n seeds. Differences: "
        "percentage points, the published value taken as exact, at the published protocol only.",
    ]
    if table["variant"].ne("").any():
        told.append("A cell that was measured twice has two rows, with the same runs of ours.")
    if table["n"].eq(1).any():
        told.append("One seed gives no interval.")
    if table["lost"].any():
        told.append("Lost runs diverged or failed; they are in no mean.")
    return " ".join(told)
