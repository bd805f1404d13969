"""The search itself: ask for a few trials, train their runs together, tell what came out, until there are enough."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from .. import files, flight, pool
from ..settings import Settings
from .journal import Fate, Journal, Told, require
from .results import keep, ranking
from .space import Point
from .study import Source, Study, spell


def tune(
    source: Source,
    overrides: Mapping[str, Any] | None = None,
    *,
    trials: int | None = None,
    sampler: str | None = None,
    workers: int | None = None,
    budget: float | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Search settings for the best mean validation accuracy over seeds; what is trained is not trained again.

    Trials are chosen in batches, as many as fill the runs in flight. The same file, seed and batch give the same
    study, however often it is stopped: a batch counts when all of it is done, and one that was stopped is chosen
    again by the same draw.

    Args:
        source: a parameter file with a key `tune`, or its content.
        overrides: dotted settings laid upon all runs.
        trials: as many in all, instead of those of the file; more than before prolong the study.
        sampler: "tpe" or "grid", instead of that of the file.
        workers: runs in flight; by default one for each core, or what was measured to be best on a GPU.
        budget: seconds after which what is under way is saved and stopped; the same call goes on from there.
        tell: told a line for each trial that is done.

    Returns:
        The trials, best first, as `ranking` gives them.

    Raises:
        ReproError: on a mistake in the file, without Optuna, or while another process has the study.
    """
    study = Study.read(source, overrides, trials=trials, sampler=sampler)
    require()
    with files.lock(study.file(".lock"), wait=False):
        _search(study, workers, budget, tell)
    return ranking(source, overrides, sampler=sampler)


def _search(study: Study, workers: int | None, budget: float | None, tell: Callable[[str], None]) -> None:
    journal, end = Journal(study), math.inf if budget is None else time.monotonic() + budget
    while True:
        done = journal.finished()
        keep(study, done)
        wanted = _wanted(study, done)
        if not wanted:
            return
        workers = workers or flight.number(study.base)
        size = study.asked.batch or math.ceil(workers / len(study.base))
        left = end - time.monotonic()
        if left <= 0:
            return
        asked = journal.ask(min(size, wanted), _first(study, done), len(done))
        runs = [study.runs(point) for _, point in asked]
        frame = _train(study, runs, workers, None if budget is None else left)
        if frame is None:
            return
        told = [_judge(point, mine, frame) for (_, point), mine in zip(asked, runs, strict=True)]
        journal.tell((trial, one) for (trial, _), one in zip(asked, told, strict=True))
        for number, one in enumerate(told, len(done)):
            outcome = f"{one.value:.2f} %" if one.value is not None else one.reason
            tell(f"trial {number} ({number + 1} of {study.trials}): {spell(one.point)}: {outcome}")


def _wanted(study: Study, done: Sequence[Told]) -> int:
    """Count the trials that are still to be made."""
    if study.asked.sampler == "grid":
        return len(_first(study, done))
    return max(0, study.trials - len(done))


def _first(study: Study, done: Sequence[Told]) -> list[Point]:
    """List the settings that are tried whatever the sampler says: the reference, or the rest of a grid."""
    tried = [one.point for one in done]
    if study.asked.sampler == "grid":
        return [point for point in study.points[: study.trials] if point not in tried]
    return [study.reference] if study.reference and study.reference not in tried else []


def _train(
    study: Study, runs: Sequence[Sequence[Settings]], workers: int, budget: float | None
) -> pd.DataFrame | None:
    """Train the runs of some trials, and the reference; None when the time was up before all were done."""
    outside = study.base if study.reference is None else []
    frame = pool.run_all(
        [*outside, *(s for mine in runs for s in mine)], workers=workers, budget=budget
    ).set_index("key")
    return None if frame["status"].isin(["stopped", "missing"]).any() else frame


def _judge(point: Point, runs: Sequence[Settings], frame: pd.DataFrame) -> Told:
    """Say what became of a trial: the mean validation accuracy of its runs, or why there is none."""
    mine = frame.loc[[s.key() for s in runs]]
    fates: dict[str, Fate] = {"diverged": "pruned", "failed": "failed"}
    for status, fate in fates.items():
        for _, row in mine[mine["status"] == status].iterrows():
            return Told(point, fate, None, f"seed {row['seed']} {status}: {row['reason']}")
    if mine["validation"].isna().any():
        return Told(point, "failed", None, "a record has no validation accuracy")
    return Told(point, "complete", float(mine["validation"].mean()), None)
