"""Tables of results: published values beside ours, with interval, differences and number of seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import cells, claims, stats
from .html import DASH, Cell, Column, Table, number, with_interval
from .menus import WORKS
from .published import PUBLISHED, beside, compared, protocol_of
from .style import check_name, data_name, data_order, method_style, model_name, order, percent


def table_cells(
    frame: pd.DataFrame,
    control: Mapping[str, str] | None = None,
    published: Sequence[str] | None = None,
    protocol: claims.Protocol | None = None,
) -> pd.DataFrame:
    """Gather everything that a results table says, one row per cell.

    Published cells without runs of ours come in as rows with n = 0, when the table of runs has their data
    set, method and check (or is empty), so that a page never hides a number it could not reproduce. A
    published value stands only beside runs of the protocol's network and width; `difference_published` also
    needs its epochs.

    Args:
        frame: table of runs.
        control: adds paired differences to it, see `cells.pairs`, e.g. {"check": "none"}.
        published: works whose accuracies stand beside ours, e.g. ["su2020", "answer42"]; in each row the
            first one with a value is compared with.
        protocol: the published scale; default: that of the first claim on the first work.

    Returns:
        Columns of `cells.summary`; with `control` also difference, difference_low, difference_high, pairs;
        with `published` also published_<work>, and difference_published with _low and _high (ours minus
        published).
    """
    table = cells.summary(frame)
    if control:
        table = table.merge(_differences(frame, control), how="left", on=cells.KEYS)
        table["pairs"] = table["pairs"].fillna(0).astype(int)
    for work in published or ():
        table = beside(table, work, protocol_of(work, protocol), frame)
    return ordered(compared(table, list(published), protocol)) if published else table


def _differences(frame: pd.DataFrame, control: Mapping[str, str]) -> pd.DataFrame:
    rows = []
    for key, cell in cells.pairs(frame, control).groupby(cells.KEYS, sort=False):
        done = cell["difference"].dropna()
        mean, low, high = stats.interval(done)
        rows.append([*key, mean, low, high, len(done)])
    return pd.DataFrame(
        rows, columns=[*cells.KEYS, "difference", "difference_low", "difference_high", "pairs"]
    )


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Bring cells into reading order: data, network, method, check, from dense to sparse."""
    ranks = {
        "data": list(data_order(table["data"])),
        "method": order(table["method"]),
        "check": order(table["check"]),
    }
    keyed = table.assign(
        **{f"_{k}": table[k].map({v: i for i, v in enumerate(known)}) for k, known in ranks.items()}
    )
    keyed["_density"] = -table["density"]
    keyed = keyed.sort_values(["_data", "model", "width", "_method", "_check", "_density"], kind="stable")
    return keyed[table.columns].reset_index(drop=True)


def show_table(
    runs: pd.DataFrame,
    control: Mapping[str, str] | None = None,
    published: Sequence[str] | None = None,
    *,
    title: str = "Test accuracy",
) -> Table:
    """Show results as a table that says in its caption what its numbers are.

    Args:
        runs: a table of runs, or what `table_cells` made of it (filtered as you like).
        control: see `table_cells`; only with a table of runs.
        published: see `table_cells`; only with a table of runs.
        title: first words of the caption.
    """
    table = runs if "mean" in runs.columns else ordered(table_cells(runs, control, published))
    works = [name.removeprefix(PUBLISHED) for name in table.columns if name.startswith(PUBLISHED)]
    columns, rows = key_columns(table)
    for work in works:
        columns.append(Column(WORKS.get(work, work), "number"))
    columns.append(Column("Ours", "number"))
    if works:
        columns.append(Column("Ours \u2212 published", "number"))
    if "difference" in table:
        columns += [Column("Difference", "number"), Column("Pairs", "number")]
    columns += [
        Column("n", "number"),
        Column("Realised", "number"),
        Column("Collapsed", "number"),
    ]
    if table["lost"].any():
        columns.append(Column("Lost runs", "number"))
    for row, cell in zip(rows, cells.rows(table), strict=True):
        row += _numbers(cell, works, bool(table["lost"].any()))
    columns, rows, told = slim(columns, rows)
    return Table(tuple(columns), tuple(tuple(row) for row in rows), f"{_caption(table, works, title)}{told}")


def slim(
    columns: list[Column],
    rows: list[list[Cell | str]],
    told_once: Sequence[str] = ("Data", "Network", "Check"),
) -> tuple[list[Column], list[list[Cell | str]], str]:
    """Leave out columns that say nothing, or the same of every row; the latter go into the caption."""
    told, keep = [], []
    for i, column in enumerate(columns):
        values = {row[i] for row in rows}
        same = next(iter(values)) if len(values) == 1 else None
        if column.head in told_once and same is not None and len(rows) > 1:
            told += [f"{column.head}: {same}."] if same != DASH else []
        elif column.head == "Pairs" and all(row[i] in ("0", row[_place(columns, "n")]) for row in rows):
            continue  # every run has its partner, or is a control itself
        elif column.head != "Ours" and same == DASH:
            continue
        else:
            keep.append(i)
    slim: list[list[Cell | str]] = [[row[i] for i in keep] for row in rows]
    return [columns[i] for i in keep], slim, "".join(f" {text}" for text in told)


def lay_out(
    table: pd.DataFrame, heads: Sequence[str], numbers: Callable[[dict[str, Any]], list[Cell | str]]
) -> tuple[list[Column], list[list[Cell | str]], str]:
    """Write cells as rows: their names, then the numbers under some heads, slimmed."""
    columns, rows = key_columns(table)
    columns += [Column(head, "number") for head in heads]
    for row, cell in zip(rows, cells.rows(table), strict=True):
        row += numbers(cell)
    return slim(columns, rows)


def _place(columns: list[Column], head: str) -> int:
    return [column.head for column in columns].index(head)


def key_columns(table: pd.DataFrame) -> tuple[list[Column], list[list[Cell | str]]]:
    """Name the cells, so that each row speaks for itself; checks only where there are any."""
    columns = [Column(name, "key") for name in ("Data", "Network", "Method")]
    columns.append(Column("Density", "number"))
    checks = table["check"].nunique() > 1 or not table["check"].eq("none").all()
    if checks:
        columns.insert(3, Column("Check", "key"))
    rows: list[list[Cell | str]] = []
    for cell in cells.rows(table):
        row: list[Cell | str] = [data_name(cell["data"]), model_name(cell["model"], cell["width"])]
        row += [method_style(cell["method"]).label, *([check_name(cell["check"])] if checks else [])]
        rows.append([*row, percent(cell["density"])])
    return columns, rows


def _numbers(cell: dict[str, Any], works: list[str], lost: bool) -> list[Cell | str]:
    texts = [number(cell[PUBLISHED + work]) for work in works]
    texts.append(with_interval(cell["mean"], cell["low"], cell["high"]))
    if works:
        ends = (cell[f"difference_published{end}"] for end in ("", "_low", "_high"))
        texts.append(with_interval(*ends, sign=True))
    if "difference" in cell:
        ends = (cell[f"difference{end}"] for end in ("", "_low", "_high"))
        texts += [with_interval(*ends, sign=True), str(int(cell["pairs"]))]
    realised = DASH if not np.isfinite(cell["realised"]) else f"{100 * cell['realised']:.3g} %"
    texts += [str(int(cell["n"])), realised, number(cell["collapsed"], 0)]
    return [*texts, *([str(int(cell["lost"]))] if lost else [])]


def _caption(table: pd.DataFrame, works: list[str], title: str) -> str:
    told = [f"{title}, percent after the last epoch: mean ± half width of the 95 % t interval over n seeds."]
    if works:
        told.append(
            "Published values stand beside runs of the published protocol only; ours \u2212 published: percentage points, "
            "to the leftmost value of the row, taken as exact."
        )
    if "difference" in table:
        told.append("Difference to the control: percentage points, paired by seed, with its own interval.")
    told.append(
        "Density: share of the prunable weights asked for, realised: kept; collapsed: layers without any, most in a run."
    )
    if table["n"].eq(0).any():
        told.append(f"{DASH}: not run.")
    if table["n"].eq(1).any():
        told.append("One seed gives no interval.")
    if table["lost"].any():
        told.append("Lost runs diverged or failed; they are in no mean.")
    return " ".join(told)


def show_runs(frame: pd.DataFrame) -> Table:
    """List the runs behind a page: what each is, how it ended, and the command that makes it again."""
    runs = cells.tidy(frame)
    columns, rows = key_columns(runs)
    columns += [Column("Seed", "number"), Column("Accuracy", "number"), Column("Status", "text")]
    columns += [Column("Run", "text"), Column("Commit", "text"), Column("Command", "text")]
    for row, run in zip(rows, cells.rows(runs), strict=True):
        reason = run.get("reason")
        status = f"{run['status']}: {reason}" if isinstance(reason, str) and reason else str(run["status"])
        row += [str(run["seed"]), number(run["accuracy"]), status, str(run["key"])]
        row += [
            str(run.get(name) or DASH) if pd.notna(run.get(name)) else DASH for name in ("commit", "command")
        ]
    return Table(tuple(columns), tuple(tuple(row) for row in rows), f"The {len(runs)} runs behind this page.")
