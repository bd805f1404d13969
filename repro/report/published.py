"""Published accuracies beside our cells."""

from __future__ import annotations

import pandas as pd

from .. import cells, claims

PUBLISHED = "published_"


def protocol_of(work: str, given: claims.Protocol | None = None) -> claims.Protocol:
    """Find the published scale of a work: as given, or as its first claim says, else that of Su et al."""
    own = [c.protocol for c in claims.claims().values() if c.work == work and c.protocol.model]
    return given or (own or [claims.claims()["su2020-1"].protocol])[0]


def accuracies(work: str, protocol: claims.Protocol, *, variants: bool = False) -> pd.DataFrame:
    """List the accuracies that a work published at a protocol's data sets and networks.

    Returns:
        Columns of cells.KEYS, `variant` (see `claims.published`) and `published_<work>`, in the file's order.
    """
    values = claims.published(work, variants=variants)
    values = values[(values["metric"] == claims.ACCURACY) & values["data"].isin(protocol.data)]
    values = values.assign(width=values["model"].map(protocol.model)).dropna(subset=["width"])
    values = values.drop_duplicates([*cells.KEYS, "variant"])
    return values[[*cells.KEYS, "variant", "value"]].rename(columns={"value": PUBLISHED + work})


def beside(table: pd.DataFrame, work: str, protocol: claims.Protocol, adds: pd.DataFrame) -> pd.DataFrame:
    """Join one work's accuracies to the cells, adding cells that only the work has."""
    values = accuracies(work, protocol).drop(columns="variant")
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
