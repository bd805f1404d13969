"""From a table of runs to a verdict on a claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from math import ceil
from typing import Any

import numpy as np
import pandas as pd

from .. import cells, stats
from ..errors import ReproError, pick
from .published import published
from .text import ACCURACY, Claim, Comparison, Verdict, claims

COLUMNS = [*cells.KEYS, "control", "n", "lost", "mean", "low", "high", "low90", "high90"]
COLUMNS += ["p", "p_against", "p_holm", "verdict", "part"]


def evaluate(
    claim: Claim | str,
    frame: pd.DataFrame,
    margin: float | None = None,
    *,
    densities: Sequence[float] | None = None,
    profile: str = "",
) -> Verdict:
    """Judge a claim by a table of runs.

    Runs of the published scale are judged alone when there are any; else all runs, as a reduced or quick
    scale. A pair of which a run diverged or failed makes its cell inconclusive: leaving it out would favour
    the survivors.

    Args:
        claim: a claim, or its name.
        frame: table of runs; rows of runs not made yet are welcome and make cells pending.
        margin: percentage points, overriding the published one for "equivalent" and "not_worse" claims (for
            the other kinds it is no tolerance, and is ignored).
        densities: judged instead of the claim's own, e.g. where a small network needs others.
        profile: kept in the verdict.

    Raises:
        ReproError: for an unknown claim, a margin that is not positive, or a faulty table.
    """
    claim = pick(claims(), claim, "claim") if isinstance(claim, str) else claim
    used = float(margin) if margin is not None and claim.kind in ("equivalent", "not_worse") else claim.margin
    if not used > 0 and claim.kind != "better":
        raise ReproError(f"claim {claim.id}: margin {used:g} must be above 0 percentage points")
    if claim.metric == "train_loss":  # lower is better
        frame = frame.assign(accuracy=-100 * frame["train_loss"].astype(float))
    runs, scale, at_scale = _scale(claim, cells.tidy(frame))
    blank = Verdict(
        claim, "pending", "No run yet.", used, used != claim.margin, scale, at_scale, profile=profile
    )
    if claim.kind == "published":
        return _against_published(blank, runs if at_scale else runs.iloc[:0])
    return _over_cells(blank, runs, claim.densities if densities is None else densities)


def _scale(claim: Claim, runs: pd.DataFrame) -> tuple[pd.DataFrame, str, bool]:
    """Choose the runs to judge, and say of what scale they are."""
    made = runs["state"] != "missing"
    inside = claim.protocol.covers(runs)
    if (inside & made).any() or (inside.any() and not made.any()):
        return runs[inside], "published protocol" if claim.protocol.model else "published data set", True
    if runs.empty:
        return runs, "no runs", False
    names = ", ".join(sorted(runs["data"].unique()))
    if not runs["data"].isin(claim.protocol.data).any():
        return runs, f"quick scale: {names}", False
    models = ", ".join(
        sorted({f"{m} width {w:g}" for m, w in zip(runs["model"], runs["width"], strict=True)})
    )
    epochs = f", {runs['epochs'].min():g} epochs" if "epochs" in runs else ""
    return runs, f"reduced scale: {names}, {models}{epochs}", False


def _over_cells(blank: Verdict, runs: pd.DataFrame, densities: Sequence[float]) -> Verdict:
    """Judge the kinds that test differences between our own runs."""
    rows = [
        row | {"part": part}
        for part, comparison in enumerate(blank.claim.compare)
        for row in _compare(runs, comparison, densities, blank)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    started = (table["n"] + table["lost"]).sum() > 0
    if not started:
        return replace(blank, cells=table.assign(verdict="pending"))
    table["p_holm"] = stats.holm(table["p_against"].to_numpy(dtype=float))
    table["verdict"] = [_word(row) for row in cells.rows(table)]
    p, against = _combine(table, blank.claim.quorum)
    absent = len(blank.claim.compare) - table["part"].nunique()
    word = "inconclusive"
    if against < stats.ALPHA:
        word = "contradicted"
    elif p < stats.ALPHA and not absent and not table["verdict"].eq("pending").any():
        word = "supported"
    return replace(blank, word=word, reason=_reason(table, absent), p=p, p_against=against, cells=table)


def _compare(
    runs: pd.DataFrame, part: Comparison, densities: Sequence[float], blank: Verdict
) -> list[dict[str, Any]]:
    """Test every planned cell of a comparison against each of its controls."""
    rows = []
    known = {name: runs[name].unique() for name in ("method", "check")}
    for values in product(*(_spelled(wanted, known[name]) for name, wanted in part.against.items())):
        control = dict(zip([str(name) for name in part.against], values, strict=True))
        if "method" in control and control["method"] not in set(runs["method"]):
            continue
        chosen = cells.pairs(runs, control)
        for name, wanted in part.run.items():
            chosen = chosen[chosen[name].isin(_spelled(wanted, known[name]))]
        if len(densities):
            chosen = chosen[chosen["density"].isin(np.round(np.asarray(densities, dtype=float), 9))]
        for key, cell in chosen.groupby(cells.KEYS, sort=False):
            place = dict(zip(cells.KEYS, key, strict=True)) | {
                "control": control.get("method", control.get("check"))
            }
            rows.append(place | _cell(cell, blank))
    return rows


def _spelled(wanted: Sequence[str], known: Iterable[str]) -> list[str]:
    """Spell out names that end with ~* or from *: all known ones that begin so, of a sweep or from other data."""
    found: list[str] = []
    for name in wanted:
        open_end = name.endswith(("~*", " from *"))
        found += [k for k in known if k.startswith(name[:-1])] if open_end else [name]
    return found


def _cell(cell: pd.DataFrame, blank: Verdict) -> dict[str, Any]:
    """Test one cell; lost pairs and too few seeds leave it without evidence either way."""
    differences = cell.loc[cell["state"] == "done", "difference"]
    lost = int(cell["state"].eq("lost").sum())
    kind, margin = blank.claim.kind, blank.margin
    test = (
        stats.equivalent(differences, margin)
        if kind == "equivalent"
        else stats.better(differences, -margin if kind == "not_worse" else margin)
    )
    usable = test.n >= stats.ENOUGH and not lost
    ends = {name: getattr(test, name) for name in ("n", "mean", "low", "high", "low90", "high90")}
    p, against = (test.p, test.p_against) if usable else (np.nan, np.nan)
    return ends | {"lost": lost, "p": p, "p_against": against}


def _word(row: dict[str, Any]) -> str:
    if not row["n"] and not row["lost"]:
        return "pending"
    if row["p"] < stats.ALPHA:
        return "supported"
    return "contradicted" if row["p_holm"] < stats.ALPHA else "inconclusive"


def _combine(table: pd.DataFrame, quorum: float) -> tuple[float, float]:
    """Give p for and against the whole claim.

    All cells needed: the largest p, and the smallest Holm-adjusted one against. With a quorum: a cell holds
    if it holds against every control, a network if enough of its cells do, the claim if every network does.
    """
    if quorum == 1:
        against = table["p_holm"].min() if table["p_holm"].notna().any() else 1.0
        return stats.conjunction(table["p"].tolist(), len(table)), float(against)
    levels = [["part", *cells.KEYS], ["part", "model", "width"], ["part"]]
    level = table[["part", *cells.KEYS, "p", "p_against"]]
    for keys, share in zip(levels, (1.0, quorum, 1.0), strict=True):
        rows = []
        for key, group in level.groupby(keys, sort=False):
            needed = ceil(share * len(group))
            p = stats.conjunction(group["p"].tolist(), needed)
            against = stats.conjunction(group["p_against"].tolist(), len(group) - needed + 1)
            rows.append([*key, p, against])
        level = pd.DataFrame(rows, columns=[*keys, "p", "p_against"])
    return float(level["p"].max()), stats.conjunction(level["p_against"].tolist(), 1)


def _reason(table: pd.DataFrame, absent: int) -> str:
    """Count the cells in one sentence, worst news first."""
    alone = (table["verdict"].eq("inconclusive") & table["p_against"].lt(stats.ALPHA)).sum()
    few = table["n"].lt(stats.ENOUGH) & table["lost"].eq(0) & table["n"].gt(0)
    told = {
        "contradicted": table["verdict"].eq("contradicted").sum(),
        "supported": table["verdict"].eq("supported").sum(),
        "undecided": (table["verdict"].eq("inconclusive") & ~few & table["lost"].eq(0)).sum(),
        f"with fewer than {stats.ENOUGH} seeds": few.sum(),
        "with a run that diverged or failed": table["lost"].gt(0).sum(),
        "not run yet": table["verdict"].eq("pending").sum(),
    }
    counts = "; ".join(f"{number} {words}" for words, number in told.items() if number)
    parts = f"; {absent} of the claim's comparisons with no runs planned" if absent else ""
    if alone:
        parts += f"; {alone} undecided beyond the margin alone, but not after Holm's correction for all cells"
    return f"Of {len(table)} cell{'s' * (len(table) != 1)}: {counts}{parts}."


def _against_published(blank: Verdict, runs: pd.DataFrame) -> Verdict:
    """Judge how far our means lie from published ones, over all published cells together.

    The statistic is the mean over cells of |our mean - published|. It is linear in our runs once the sign of
    each cell is known, so each seed present in all cells gives one value, and a t test over seeds applies.
    Taking the signs from the data can only make it larger, which works against support.
    """
    claim = blank.claim
    table, signed = [], []
    for place, value in _published_cells(claim):
        run = runs[(runs[cells.KEYS] == pd.Series(place)[cells.KEYS]).all(axis=1)]
        done = run[run["state"] == "done"].set_index("seed")["accuracy"].astype(float) - value
        mean, low, high = stats.interval(done)
        lost = int(run["state"].eq("lost").sum())
        row = {
            "control": claim.published,
            "n": len(done),
            "lost": lost,
            "mean": mean,
            "low": low,
            "high": high,
        }
        table.append(place | row | {"verdict": "measured" if len(done) or lost else "pending", "part": 0})
        signed.append(done * np.sign(mean))
    made = pd.DataFrame(table, columns=COLUMNS)
    ready = int(made["n"].gt(0).sum())
    told = f"{ready} of {len(made)} published cells have runs of the published protocol"
    if not (made["n"] + made["lost"]).any():
        return replace(blank, reason=f"{told}.", cells=made)
    seeds = pd.concat(signed, axis=1, join="inner").mean(axis=1)
    if made["lost"].any() or len(seeds) < stats.ENOUGH:
        why = "a run diverged or failed" if made["lost"].any() else f"{len(seeds)} seeds are in all of them"
        return replace(blank, word="inconclusive", reason=f"{told}; {why}.", cells=made)
    test = stats.below(seeds, blank.margin)
    reason = (
        f"Mean distance {test.mean:.2f} pp (95 % interval {test.low:.2f} to {test.high:.2f}, {test.n} seeds)."
    )
    return replace(blank, word=test.verdict, reason=reason, p=test.p, p_against=test.p_against, cells=made)


def _published_cells(claim: Claim) -> list[tuple[dict[str, Any], float]]:
    """List the published cells of a claim with their accuracy, at the widths of its protocol."""
    values = published(claim.published or claim.work)
    values = values[(values["metric"] == ACCURACY) & values["data"].isin(claim.protocol.data)]
    for name, wanted in claim.compare[0].run.items():
        values = values[values[name].isin(wanted)]
    values = values.assign(width=values["model"].map(claim.protocol.model))
    return [({k: row[k] for k in cells.KEYS}, float(row["value"])) for row in cells.rows(values)]
