"""What became of masks that move in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .. import cells, stats
from .html import DASH, Cell, Table, number, with_interval
from .tables import lay_out, ordered

SETTLED = 0.99


def curve_of(run: dict[str, Any], what: str) -> pd.Series:
    """Read one quantity of a run per epoch; NaN where an epoch has none, empty where the run has no such curve."""
    curve = run.get("curve")
    if not isinstance(curve, dict) or what not in curve:
        return pd.Series(dtype=float)
    known = zip(curve["epoch"], curve[what], strict=False)
    return pd.Series(
        {epoch: np.nan if value is None else float(value) for epoch, value in known}, dtype=float
    )


def settled(overlap: pd.Series) -> float:
    """Find the first epoch from which each mask overlaps with the one before by at least 0.99; NaN if there is none."""
    restless = ~(overlap >= SETTLED)
    after = overlap[~restless[::-1].cummax()[::-1]]
    return float(after.index[0]) if len(after) else np.nan


def dynamics_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarise per cell what became of masks that move in training.

    Args:
        frame: table of runs with the column `curve`; cells whose masks do not move are left out.

    Returns:
        cells.KEYS, n (finished runs with curves of their masks), explored (share of weights ever active) and kept
        (overlap of the last mask with the first), each a mean with its 95 % t interval (_low, _high), settled (mean of
        `settled` over the runs that do settle) and settling (their number).
    """
    runs = cells.tidy(frame)
    made = []
    for key, cell in runs[runs["state"].eq("done")].groupby(cells.KEYS, sort=False):
        ends = [_end(run) for run in cells.rows(cell) if len(curve_of(run, "overlap_first"))]
        if not ends:
            continue
        row: dict[str, Any] = dict(zip(cells.KEYS, key, strict=True)) | {"n": len(ends)}
        for i, name in enumerate(("explored", "kept")):
            known = [end[i] for end in ends if np.isfinite(end[i])]
            row[name], row[f"{name}_low"], row[f"{name}_high"] = stats.interval(known)
        epochs = [end[2] for end in ends if np.isfinite(end[2])]
        made.append(row | {"settled": np.mean(epochs) if epochs else np.nan, "settling": len(epochs)})
    measured = [f"{name}{end}" for name in ("explored", "kept") for end in ("", "_low", "_high")]
    return pd.DataFrame(made, columns=[*cells.KEYS, "n", *measured, "settled", "settling"])


def _end(run: dict[str, Any]) -> tuple[float, float, float]:
    """Read off a run the share explored, the overlap of its last mask with the first, and when it settled."""
    explored, first = (curve_of(run, name).dropna() for name in ("explored", "overlap_first"))
    last = [float(curve.iloc[-1]) if len(curve) else np.nan for curve in (explored, first)]
    return last[0], last[1], settled(curve_of(run, "overlap_before"))


def show_dynamics(frame: pd.DataFrame, *, title: str = "What became of the masks") -> Table:
    """Show per cell how much was explored, what is left of the first mask, and when the mask came to rest.

    Args:
        frame: table of runs with the column `curve`.
        title: first words of the caption.
    """
    table = ordered(dynamics_cells(frame))
    heads = ("Explored", "Overlap, last with first", "At rest from epoch", "n")
    columns, rows, told = lay_out(table, heads, _numbers)
    caption = (
        f"{title}: means over n seeds, ± half width of the 95 % t interval. Explored: share of the prunable weights that "
        "were active at some time (the ITOP rate). Overlap: weights in both the last mask and the first over weights in "
        f"either. At rest: the first epoch from which each epoch's mask overlaps by at least {100 * SETTLED:g} % with "
        f"the one before, until the end; in brackets how many of n runs came to rest, if not all; {DASH}: none."
    )
    return Table(tuple(columns), tuple(tuple(row) for row in rows), caption + told)


def _numbers(cell: dict[str, Any]) -> list[Cell | str]:
    explored = with_interval(*(100 * cell[f"explored{end}"] for end in ("", "_low", "_high")), digits=1)
    kept = with_interval(*(cell[f"kept{end}"] for end in ("", "_low", "_high")), digits=3)
    partly = f" ({cell['settling']} of {cell['n']})" if 0 < cell["settling"] < cell["n"] else ""
    rest = f"{cell['settled']:.4g}{partly}" if cell["settling"] else number(np.nan)
    return [explored if explored == DASH else f"{explored} %", kept, rest, str(cell["n"])]
