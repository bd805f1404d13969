"""Published accuracies beside our cells."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from .. import cells, claims

PUBLISHED = "published_"


def protocols_of(work: str) -> list[claims.Protocol]:
    """Find the published scales of a work, as its claims say; those of Su et al. for a work without any."""
    name = work.partition("/")[0]
    own = [c.protocol for c in claims.claims().values() if c.work == name and c.protocol.model]
    return own or [claims.claims()["su2020-1"].protocol]


def protocol_of(work: str, given: claims.Protocol | None = None) -> claims.Protocol:
    """Find the published scale of a work: as given, or as its first claim says, else that of Su et al."""
    return given or protocols_of(work)[0]


def measured(
    work: str,
    protocol: claims.Protocol,
    metric: str,
    *,
    tables: Collection[str] | None = None,
    variants: bool = False,
) -> pd.DataFrame:
    """List one metric that a work published at a protocol's data sets and networks.

    Args:
        work: stem of a file in book/reference.
        protocol: data sets, and networks with their widths.
        metric: as the file has it.
        tables: the only tables of the work to read; None: all.
        variants: see `claims.published`.

    Returns:
        Columns of cells.KEYS, `variant`, `table`, `value` and `std`, in the file's order; of two values of a cell the
        first.
    """
    values = claims.published(work, variants=variants)
    values = values[(values["metric"] == metric) & values["data"].isin(protocol.data)]
    values = values.assign(width=values["model"].map(protocol.model)).dropna(subset=["width"])
    values = values if tables is None else values[values["table"].isin(tables)]
    values = values.drop_duplicates([*cells.KEYS, "variant"])
    return values[[*cells.KEYS, "variant", "table", "value", "std"]]


def accuracies(work: str, protocol: claims.Protocol, *, variants: bool = False) -> pd.DataFrame:
    """List the accuracies that a work published at a protocol's data sets and networks.

    Returns:
        Columns of cells.KEYS, `variant` (see `claims.published`) and `published_<work>`, in the file's order.
    """
    values = measured(work, protocol, claims.ACCURACY, variants=variants)
    return values[[*cells.KEYS, "variant", "value"]].rename(columns={"value": PUBLISHED + work})


def beside(table: pd.DataFrame, work: str, protocol: claims.Protocol, adds: pd.DataFrame) -> pd.DataFrame:
    """Join one work's accuracies to the cells, adding cells that only the work has."""
    return joined(table, accuracies(work, protocol).drop(columns="variant"), adds)


def joined(table: pd.DataFrame, values: pd.DataFrame, adds: pd.DataFrame) -> pd.DataFrame:
    """Join published values to the cells; published cells of the runs' data, methods and checks become new rows.

    Args:
        table: one row per cell of ours.
        values: columns of cells.KEYS, and published ones.
        adds: the table of runs; an empty one lets every published cell in.
    """
    for column in ("data", "method", "check"):
        if len(adds):
            values = values[values[column].isin(adds[column].unique())]
    table = table.merge(values, how="outer" if len(values) else "left", on=cells.KEYS, sort=False)
    counts = [name for name in ("n", "lost", "missing", "pairs") if name in table]
    table[counts] = table[counts].fillna(0).astype(int)
    return table


def compared(table: pd.DataFrame, works: list[str], protocol: claims.Protocol | None = None) -> pd.DataFrame:
    """Add our difference to the leftmost published value of each row, at the published scale only."""
    values = table[[PUBLISHED + work for work in works]].bfill(axis=1).iloc[:, 0]
    same = protocol_of(works[0], protocol).covers(table) & table["n"].gt(0)
    for ours in ("mean", "low", "high"):
        end = "" if ours == "mean" else f"_{ours}"
        table[f"difference_published{end}"] = (table[ours].astype(float) - values).where(same)
    return table
