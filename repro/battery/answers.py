"""What a battery's runs say: three questions, each answered by tests on differences paired by seed. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import cells, stats

MARGIN = 2.0  # percentage points: that of the quick report, set in advance
YES, NO, DEPENDS, UNKNOWN = "yes", "no", "it depends", "cannot tell"
SAME, WORSE, BETTER, OPEN = "no difference", "worse", "better", "cannot tell"
NO_LOSS, NO_GAIN = "not worse", "not better"  # by the margin; whether there is no difference is open
DATA, PLACES, LUCK = (
    "Does it use the data?",
    "Do the kept positions matter beyond the layer counts?",
    "Does it beat a random ticket?",
)
SHOWN_BY = {
    SAME: "p_same",
    WORSE: "p_worse",
    BETTER: "p_better",
    NO_LOSS: "p_aside",
    NO_GAIN: "p_aside",
    OPEN: "",
}
COLUMNS = ["density", "against", "n", "lost", "mean", "low", "high", "low90", "high90"]
P = ["p_same", "p_better", "p_worse", "p_aside"]
COLUMNS += [*P, "word"]


@dataclass(frozen=True)
class Answer:
    """The answer to a question, in a word and in sentences, with the comparisons that it rests on."""

    question: str
    word: str
    text: str
    cells: pd.DataFrame


def compare(
    frame: pd.DataFrame,
    method: str,
    *,
    checks: Sequence[str] = (),
    others: Sequence[str] = (),
    margin: float = MARGIN,
) -> pd.DataFrame:
    """Test differences paired by seed: of a method with checks to itself without, or of a method to others.

    Two one-sided t tests tell "no difference" (the mean lies within the margin); one-sided t tests tell "worse"
    and "better" (it lies below or above 0), and, as the questions have a side, "not worse" by the margin for
    checks and "not better" by the margin beside other methods. The p values are adjusted by Holm's step-down for
    the number of comparisons, but for those that speak against a check mattering: only all of them together
    answer the question. A comparison of which a run was lost, or with fewer than three seeds, tells nothing.

    Args:
        frame: table of runs.
        method: whose runs are compared.
        checks: those that it is compared with; the differences are with the check minus without.
        others: methods that it is compared with; the differences are its own minus theirs.
        margin: percentage points.

    Returns:
        Columns of COLUMNS, one row per density and check or method.
    """
    rows = []
    for control in [{"check": "none"}] if checks else [{"method": name} for name in others]:
        pairs = cells.pairs(frame, control)
        wanted = pairs["check"].isin(checks or ["none"]) & pairs["method"].eq(method)
        for (density, check), cell in pairs[wanted].groupby(["density", "check"], sort=False):
            against = check if checks else control["method"]
            rows.append({"density": density, "against": against} | _test(cell, margin, bool(checks)))
    table = pd.DataFrame(rows, columns=COLUMNS)
    order = [*checks, *others]
    table["_place"] = [order.index(name) for name in table["against"]]
    table = table.sort_values(["density", "_place"], ascending=[False, True], kind="stable")
    table = table.drop(columns="_place").reset_index(drop=True)
    for name in ("p_better", "p_worse") if checks else P:
        table[name] = stats.holm(table[name].astype(float).tolist())
    table["word"] = [_word(row, NO_LOSS if checks else NO_GAIN) for row in cells.rows(table)]
    return table


def _test(cell: pd.DataFrame, margin: float, checked: bool) -> dict[str, float]:
    done = cell.loc[cell["state"] == "done", "difference"].astype(float)
    lost = int(cell["state"].ne("done").sum())
    same, better, worse = stats.equivalent(done, margin), stats.better(done), stats.better(-done)
    aside = stats.better(done, -margin) if checked else stats.below(done, margin)
    row = {"n": same.n, "lost": lost, "mean": same.mean, "low": same.low, "high": same.high}
    usable = not lost and same.n >= stats.ENOUGH
    p = [test.p if usable else np.nan for test in (same, better, worse, aside)]
    return row | {"low90": same.low90, "high90": same.high90} | dict(zip(P, p, strict=True))


def _word(row: Mapping[str, float], aside: str) -> str:
    """Choose a word; a difference shown to be smaller than the margin counts as none, even if it is real."""
    words = {"p_same": SAME, "p_worse": WORSE, "p_better": BETTER, "p_aside": aside}
    return next((word for name, word in words.items() if row[name] < stats.ALPHA), OPEN)


def any_worse(table: pd.DataFrame) -> str:
    """Answer whether what the checks break matters: yes if one of them hurts, no if none does."""
    words = set(table["word"])
    if WORSE in words:
        return YES
    return NO if words and words <= {SAME, NO_LOSS, BETTER} else UNKNOWN


def beats_all(table: pd.DataFrame) -> str:
    """Answer whether a method beats all others at every density; no where another is shown to be as good."""
    found = set()
    for _, cell in table.groupby("density"):
        words = set(cell["word"])
        found.add(YES if words == {BETTER} else NO if words & {SAME, NO_GAIN, WORSE} else UNKNOWN)
    if found == {YES, NO}:
        return DEPENDS
    return found.pop() if len(found) == 1 else UNKNOWN
