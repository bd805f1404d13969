"""How a study is told on a terminal: its plan before it, its table after it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from .. import pool
from ..errors import ReproError
from ..stats import Interval, interval
from .results import ranked, runs_of, summary
from .study import Source, Study, spell

Rows = list[dict[str, Any]]
NAMES = {"validation": "in validation, which flatters what it chose", "accuracy": "in test accuracy"}


def preview(
    source: Source,
    overrides: Mapping[str, Any] | None = None,
    *,
    trials: int | None = None,
    sampler: str | None = None,
) -> tuple[Rows, list[str]]:
    """Say what a study would do, starting nothing: rows of a table, and lines below it.

    Args:
        source: a parameter file with a key `tune`, or its content.
        overrides: dotted settings laid upon all runs.
        trials: as many instead of those of the file.
        sampler: "tpe" or "grid", instead of that of the file.
    """
    study = Study.read(source, overrides, trials=trials, sampler=sampler)
    if study.asked.sampler == "grid":
        rows = [
            _short(point) | {"done": f"{(pool.table(runs)['status'] != 'missing').sum()} of {len(runs)}"}
            for point in study.points[: study.trials]
            for runs in [study.runs(point)]
        ]
    else:
        rows = [_entry(name, entry.plain(), study.usual[name]) for name, entry in study.space.items()]
    done = len(summary(study)["trials"]) if study.file(".json").exists() else 0
    how = f"{study.trials} trials by sampler {study.asked.sampler}, {len(study.base)} runs each"
    return rows, [f"{how}; {min(done, study.trials)} trials done; nothing was started"]


def _entry(name: str, given: Any, usual: Any) -> dict[str, Any]:
    words = given if isinstance(given, list) else [f"{k} {v}" for k, v in given.items()]
    return {"setting": name, "searched": ", ".join(map(str, words)), "reference": usual}


def _short(point: Mapping[str, Any]) -> dict[str, Any]:
    return {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in point.items()}


def told(
    source: Source,
    overrides: Mapping[str, Any] | None = None,
    *,
    trials: int | None = None,
    sampler: str | None = None,
) -> tuple[Rows, list[str]]:
    """Tell what a study found: rows of a table, best first, and lines below it; arguments as of `preview`.

    Raises:
        ReproError: when all trials failed.
    """
    study = Study.read(source, overrides, trials=trials, sampler=sampler)
    table, done = ranked(study), len(summary(study)["trials"])
    lines = _verdict(study, table)
    if done and not table["rank"].notna().any():
        raise ReproError(
            f"{study.source}: no trial was completed; the first: {table['reason'].dropna().iloc[0]}"
        )
    if done < study.trials:
        lines.append(f"the time is up: {done} of {study.trials} trials done; the same command goes on")
    return [_row(study, row) for _, row in table.iterrows()], [*lines, f"summary: {study.file('.json')}"]


def _row(study: Study, row: pd.Series) -> dict[str, Any]:
    note = "reference" if row["reference"] else ""
    return {
        "rank": "-" if math.isnan(row["rank"]) else int(row["rank"]),
        "trial": "-" if row["trial"] < 0 else row["trial"],
        **_short({name: row[name] for name in study.space}),
        "validation": _percent(row["validation"], row["half"]),
        "test (chooses nothing)": _percent(row["test"]),
        "n": row["n"],
        "": "; ".join(filter(None, [note, row["reason"]])),
    }


def _percent(mean: float, half: float = math.nan) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.2f}" if math.isnan(half) else f"{mean:.2f} ±{half:.2f}"


def _verdict(study: Study, table: pd.DataFrame) -> list[str]:
    """Compare the best trial with the reference, within seeds."""
    ranks = table[table["rank"] == 1]
    if ranks.empty:
        return []
    best = ranks.iloc[0]
    point = spell({name: best[name] for name in study.space})
    lines = [f"best by validation accuracy: trial {best['trial']}: {point}"]
    runs = runs_of(study)
    usual = runs[runs["reference"]].drop_duplicates("seed").set_index("seed")
    if best["reference"]:
        return [*lines, "it is the reference"]
    if usual.empty or not usual["status"].eq("done").all():
        return [*lines, "the reference was not completed, so there is nothing to compare it with"]
    mine = runs[runs["trial"] == best["trial"]].set_index("seed")
    gains = [f"{_points(interval(mine[what] - usual[what]))} {name}" for what, name in NAMES.items()]
    return [*lines, f"best - reference, points, paired by {len(mine)} seeds: {', '.join(gains)}"]


def _points(found: Interval) -> str:
    half = "" if math.isnan(found.high) else f" ±{found.high - found.mean:.2f}"
    return f"{found.mean:+.2f}{half}"
