"""What a study found, read from its summary and the records of its runs; no Optuna needed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import files, pool
from ..errors import ReproError
from ..stats import interval
from .study import Source, Study

if TYPE_CHECKING:
    from .journal import Told

FORMAT = 1


def keep(study: Study, done: Sequence[Told]) -> None:
    """Write the summary of a study: plain settings, values and keys of runs, for pages to read."""
    trials = [
        {
            "number": number,
            "state": told.fate,
            "reason": told.reason,
            "settings": dict(told.point),
            "validation": told.value,
            "keys": [s.key() for s in study.runs(told.point)],
        }
        for number, told in enumerate(done)
    ]
    summary = {
        "format": FORMAT,
        "name": study.name,
        "sampler": study.asked.sampler,
        "seed": study.asked.seed,
        "wanted": study.trials,
        "space": {name: entry.plain() for name, entry in study.space.items()},
        "reference": {"settings": study.reference, "keys": [s.key() for s in study.base]},
        "trials": trials,
    }
    files.write(study.file(".json"), json.dumps(summary, indent=1) + "\n")


def summary(study: Study) -> dict[str, Any]:
    """Read the summary of a study; raise ReproError with one line if there is none or it is damaged."""
    path = study.file(".json")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ValueError("not a summary of this version")
        names = set(study.space)
        if any(set(trial["settings"]) != names for trial in found["trials"]):
            raise ValueError("its settings are of another space")
        if any(type(trial["number"]) is not int for trial in found["trials"]):
            raise ValueError("a trial has no number")
    except FileNotFoundError:
        raise ReproError(
            f"{study.source}: no trial of this study is here yet; `repro tune` with the file makes them"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReproError(f"{path}: damaged ({error}); `repro tune` writes it again") from None
    return found


def studies(
    source: Source, overrides: Mapping[str, Any] | None = None, *, sampler: str | None = None
) -> pd.DataFrame:
    """Give the table of all runs of a study, by records alone: nothing is trained, and Optuna not needed.

    Args:
        source: a parameter file with a key `tune`, or its content.
        overrides: dotted settings laid upon all runs, as when it was made.
        sampler: the one it was made with, if not that of the file.

    Returns:
        One row for each run of each finished trial: `trial`, counted from 0; `reference`, true where settings are
        as the file has them; the columns of `repro.record`. The trial of a reference outside the space is -1.

    Raises:
        ReproError: when the study has not begun.
    """
    return runs_of(Study.read(source, overrides, sampler=sampler))


def runs_of(study: Study) -> pd.DataFrame:
    """Give the table of all runs of a study, see `studies`."""
    trials = {trial["number"]: study.runs(trial["settings"]) for trial in summary(study)["trials"]}
    usual = {s.key() for s in study.base}
    parts = [_rows(number, runs, usual) for number, runs in trials.items()]
    if study.reference is None:
        parts.insert(0, _rows(-1, study.base, usual))
    return pd.concat(parts, ignore_index=True) if parts else _rows(-1, [], usual)


def _rows(number: int, runs: Sequence[Any], usual: Iterable[str]) -> pd.DataFrame:
    table = pool.table(runs)
    table.insert(0, "trial", number)
    table.insert(1, "reference", table["key"].isin(list(usual)))
    return table


def ranking(
    source: Source, overrides: Mapping[str, Any] | None = None, *, sampler: str | None = None
) -> pd.DataFrame:
    """Rank the trials of a study by mean validation accuracy; see `studies` for the arguments.

    Returns:
        One row for each trial, the best first and those that were not completed last: `rank` from 1, NaN for those
        and for a reference outside the space; `trial`; `reference`; the searched settings; means over seeds in
        percent, `validation`, its `half` width of the 95 % t interval, and `test`, which chooses nothing; `n`
        seeds; `reason` why it was not completed. Trials with the same settings make one row.
    """
    return ranked(Study.read(source, overrides, sampler=sampler))


def ranked(study: Study) -> pd.DataFrame:
    """Rank the trials of a study, see `ranking`."""
    told = {trial["number"]: trial for trial in summary(study)["trials"]}
    rows = []
    for number, mine in runs_of(study).groupby("trial", sort=True):
        whole = mine["status"].eq("done").all() and mine["validation"].notna().all()
        mean, _, high = interval(mine["validation"]) if whole else (np.nan, np.nan, np.nan)
        trial = told.get(number, {})  # the reference outside the space is none
        rows.append(
            {"trial": number, "reference": bool(mine["reference"].any())}
            | {name: trial.get("settings", study.usual)[name] for name in study.space}
            | {"validation": mean, "half": high - mean, "test": mine["accuracy"].mean() if whole else np.nan}
            | {"n": int(mine["status"].eq("done").sum()), "reason": trial.get("reason") or ""}
        )
    names = ["trial", "reference", *study.space, "validation", "half", "test", "n", "reason"]
    table = pd.DataFrame(rows, columns=names).sort_values(["validation", "trial"], ascending=[False, True])
    again = table[list(study.space)].astype(str).duplicated()
    table = table[~again].reset_index(drop=True)
    counts = table["validation"].notna() & (table["trial"] >= 0)
    table.insert(0, "rank", counts.cumsum().where(counts))
    return table
