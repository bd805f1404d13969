"""The answers in sentences: what was found, how large it is, and the test that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from .. import cells, stats
from ..report import CHECKS, check_name, method_style
from ..report.html import number, p_value
from ..report.style import percent
from .answers import (
    BETTER,
    DATA,
    DEPENDS,
    LUCK,
    MARGIN,
    NO,
    NO_GAIN,
    NO_LOSS,
    OPEN,
    PLACES,
    SAME,
    SHOWN_BY,
    UNKNOWN,
    WORSE,
    YES,
    Answer,
    any_worse,
    beats_all,
    compare,
)

LEADS = {
    (DATA, YES): "Tickets found with corrupted data are worse",
    (DATA, NO): "Tickets found with corrupted data are not worse",
    (PLACES, YES): "Moving the kept weights to other places of their layers makes the tickets worse",
    (PLACES, NO): "With the kept weights at other places of their layers the tickets are not worse",
    (LUCK, YES): "It is better than every random ticket, at every density",
    (LUCK, NO): "At every density its advantage over a random ticket is shown to be below the margin",
    (
        LUCK,
        DEPENDS,
    ): "It beats the random tickets at some densities; at others its advantage over one is shown to be below the margin",
}
BLIND = (
    "In a trial it asked neither for images nor for trained weights, so there are no data to corrupt; no test is "
    "needed."
)
SHOWN = 3  # comparisons spelled out in a sentence; the page's table has them all


def answers(
    frame: pd.DataFrame,
    method: str,
    *,
    data: Sequence[str],
    places: Sequence[str],
    others: Sequence[str],
    margin: float = MARGIN,
) -> list[Answer]:
    """Answer the three questions.

    Args:
        frame: table of runs.
        method: whose tickets are judged.
        data: checks that corrupt the data; none where the method uses no data.
        places: checks that move the kept weights.
        others: random tickets to beat.
        margin: percentage points within which a difference counts as none.
    """
    made = []
    for question, checks in ((DATA, data), (PLACES, places)):
        table = compare(frame, method, checks=checks, margin=margin) if checks else None
        if table is None:
            made.append(Answer(question, NO, BLIND, pd.DataFrame()))
        else:
            word = any_worse(table)
            made.append(Answer(question, word, _text(question, word, table, margin), table))
    table = compare(frame, method, others=others, margin=margin)
    word = beats_all(table)
    return [*made, Answer(LUCK, word, _text(LUCK, word, table, margin), table)]


def _text(question: str, word: str, table: pd.DataFrame, margin: float) -> str:
    if table.empty:
        return "There are no runs yet."
    if word == UNKNOWN:
        still = table[table["word"] == OPEN]
        show = "shows" if len(still) == 1 else "show"
        lead = f"{len(still)} of {len(table)} comparisons {show} neither a difference nor its absence"
        return f"{lead}: {_listed(still)}.{_lost(table)} {_method(table, margin)}"
    lead = LEADS[question, word]
    if word == NO and question != LUCK:
        return f"{lead}: {_none_worse(table, margin)}.{_lost(table)} {_method(table, margin, False)}"
    telling = {
        (DATA, YES): [WORSE],
        (PLACES, YES): [WORSE],
        (LUCK, YES): [BETTER],
        (LUCK, NO): [SAME, NO_GAIN, WORSE],
        (LUCK, DEPENDS): [SAME, NO_GAIN, WORSE, BETTER],
    }[question, word]
    told = _listed(table[table["word"].isin(telling)])
    return f"{lead}: {told}.{_lost(table)} {_method(table, margin)}"


def _none_worse(table: pd.DataFrame, margin: float) -> str:
    every = {1: "the comparison", 2: "both comparisons"}.get(len(table), f"all {len(table)} comparisons")
    low, high = (number(end, sign=True) for end in (table["low90"].min(), table["high90"].max()))
    if set(table["word"]) == {SAME}:
        told = f"in {every} the difference is shown to lie within ±{margin:g} pp (90 % intervals between {low} and"
        return f"{told} {high} pp, p up to {p_value(table['p_same'].max())})"
    told = f"in {every} a loss of {margin:g} pp or more is excluded (90 % intervals from {low} pp upwards"
    return f"{told}, p up to {p_value(table['p_aside'].max())})"


def _listed(table: pd.DataFrame) -> str:
    """Spell out the comparisons with the largest differences."""
    ordered = table.reindex(table["mean"].abs().sort_values(ascending=False, kind="stable").index)
    told = "; ".join(_one(row) for row in cells.rows(ordered.head(SHOWN)))
    more = len(table) - SHOWN
    return told + (f"; and {more} more" if more > 0 else "")


def _one(row: dict[str, Any]) -> str:
    name = str(row["against"])
    where = f"{'' if name in CHECKS else 'against '}{against_name(name)} at {percent(row['density'])}"
    if row["lost"]:
        return f"{where}: a run diverged or failed"
    p = row.get(SHOWN_BY[row["word"]])
    level, end = ("90 %", "90") if row["word"] in (SAME, NO_LOSS, NO_GAIN) else ("95 %", "")
    low, high = _ends(row, end)
    tested = f", p {p_value(p) if p < 0.001 else '= ' + p_value(p)}" if p is not None else ""
    return f"{where}: {number(row['mean'], sign=True)} pp ({level} interval {low} to {high}{tested})"


def _ends(row: dict[str, Any], level: str) -> tuple[str, str]:
    return number(row[f"low{level}"], sign=True), number(row[f"high{level}"], sign=True)


def _lost(table: pd.DataFrame) -> str:
    lost = int(table["lost"].gt(0).sum())
    return (
        f" In {lost} of {len(table)} comparisons a run diverged or failed; they count for nothing."
        if lost
        else ""
    )


def _method(table: pd.DataFrame, margin: float, corrected: bool = True) -> str:
    low, high = int(table["n"].min()), int(table["n"].max())
    seeds = f"{high}" if low == high else f"{low} to {high}"
    few = f" Fewer than {stats.ENOUGH} show nothing." if low < stats.ENOUGH else ""
    holm = f", Holm's correction for {len(table)} comparisons" if corrected and len(table) > 1 else ""
    return f"Paired t tests over {seeds} seeds at the 5 % level{holm}; margin ±{margin:g} pp.{few}"


def against_name(name: str) -> str:
    """Call a check or a random ticket as the report does."""
    return check_name(name) if name in CHECKS else method_style(name).label
