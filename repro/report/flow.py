"""What is left of a pruned network that can still carry a signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .. import cells, stats
from .html import DASH, Cell, Table, number, with_interval
from .tables import lay_out, ordered

MEASURED = ["realised", "collapsed", "effective", "dead", "units"]


def flow_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarise per cell what masks leave: density, effective density, collapsed layers and dead units.

    Args:
        frame: table of runs; dense networks are left out.

    Returns:
        cells.KEYS, n (finished runs), traced (those whose record holds the flow), realised (mean density),
        effective (mean share of all weights that lie on a path from input to output) with _low and _high (95 % t
        interval), ratio (mean of effective by realised), collapsed (most layers without any weight in a run), dead
        (mean number of units without an effective weight) and dead_share (mean share of all units).
    """
    runs = cells.tidy(frame)
    runs = runs.assign(**{name: runs[name].astype(float) for name in MEASURED if name in runs})
    runs = runs.reindex(columns=[*runs.columns, *(name for name in MEASURED if name not in runs)])
    made = []
    for key, cell in runs[runs["method"] != "dense"].groupby(cells.KEYS, sort=False):
        done = cell[cell["state"] == "done"]
        traced = done.dropna(subset=["effective", "dead", "units"])
        mean, low, high = stats.interval(traced["effective"])
        made.append(
            dict(zip(cells.KEYS, key, strict=True))
            | {"n": len(done), "traced": len(traced), "realised": done["realised"].mean()}
            | {"effective": mean, "effective_low": low, "effective_high": high}
            | {"ratio": (traced["effective"] / traced["realised"]).mean()}
            | {"collapsed": done["collapsed"].max(), "dead": traced["dead"].mean()}
            | {"dead_share": (traced["dead"] / traced["units"]).mean()}
        )
    numbers = ["n", "traced", "realised", "effective", "effective_low", "effective_high"]
    return pd.DataFrame(made, columns=[*cells.KEYS, *numbers, "ratio", "collapsed", "dead", "dead_share"])


def show_flow(frame: pd.DataFrame, *, title: str = "What the masks leave") -> Table:
    """Show, per method, density and check, how much of the network can still carry a signal.

    Args:
        frame: table of runs.
        title: first words of the caption.
    """
    table = ordered(flow_cells(frame))
    heads = ("Realised", "Effective", "Effective / realised", "Collapsed layers", "Dead units", "n")
    partly = bool((table["traced"] < table["n"]).any() and table["traced"].any())
    if partly:
        columns, rows, told = lay_out(table, (*heads, "Traced"), lambda c: [*_numbers(c), str(c["traced"])])
    else:
        columns, rows, told = lay_out(table, heads, _numbers)
    return Table(tuple(columns), tuple(tuple(row) for row in rows), f"{_caption(table, title, partly)}{told}")


def _numbers(cell: dict[str, Any]) -> list[Cell | str]:
    ends = (100 * cell[f"effective{end}"] for end in ("", "_low", "_high"))
    effective = f"{with_interval(*ends)} %" if cell["traced"] else DASH
    dead = f"{number(cell['dead'], 1)} ({_share(cell['dead_share'])})" if cell["traced"] else DASH
    texts = [_share(cell["realised"]), effective, number(cell["ratio"], 3), number(cell["collapsed"], 0)]
    return [*texts, dead, str(cell["n"])]


def _share(value: float) -> str:
    return f"{100 * value:.3g} %" if np.isfinite(value) else DASH


def _caption(table: pd.DataFrame, title: str, partly: bool) -> str:
    told = [
        f"{title}: means over n seeds, ± half width of the 95 % t interval. Realised: share of the prunable weights "
        "kept; effective: share that lies on a path of kept weights from input to output. Collapsed: layers without "
        "any weight, most in a run. Dead: output channels and neurons without an effective weight, and their share."
    ]
    if partly:
        told.append("Effective and dead are means over the traced runs; older records do not hold them.")
    elif len(table) and not table["traced"].any():
        told.append(f"{DASH}: not recorded.")
    return " ".join(told)
