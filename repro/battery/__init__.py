"""The battery: all sanity checks for a pruner of one's own, ending in answers to three questions."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .. import paths, pool
from ..checks import DATA_CHECKS
from ..errors import ReproError
from ..progress import clock
from ..pruners import custom
from ..report import data_name, model_name
from .answers import MARGIN, compare
from .grid import RANDOM, Plan, densities_of, plan_battery
from .page import Verdict
from .words import answers

__all__ = ["check_pruner", "densities_of", "judge"]

SCALE = (
    "Quick scale, no published protocol: {where}, {epochs:g} epochs, densities {densities}, {seeds} seeds. It shows "
    "how the method behaves here, and says little of other data and networks."
)


def check_pruner(
    word: str,
    *,
    densities: Sequence[float] = (0.1, 0.05),
    seeds: int = 5,
    overrides: Mapping[str, Any] | None = None,
    workers: int | None = None,
    out: Path | None = None,
) -> tuple[Verdict, Path]:
    """Put a pruner through the battery and write its page; what is trained already is not trained again.

    Args:
        word: the file and its function, PATH.py:function.
        densities: each in (0, 1).
        seeds: how many.
        overrides: dotted settings of the runs, e.g. {"model.name": "resnet20"}; those of `ticket` are for the
            pruner's own runs.
        workers: runs in flight.
        out: folder of the page; by default one in the build folder, named as the pruner is in records.

    Returns:
        The verdict, and the path of its page.

    Raises:
        ReproError: when the pruner breaks its contract, before anything is trained; or a run of it failed.
    """
    began = time.monotonic()
    plan = plan_battery(custom.read(word), densities, seeds, overrides or {})
    trained = len(pool.plan(plan.runs))
    frame = pool.run_all(plan.runs, workers=workers)
    _check_made(frame, plan)
    verdict = judge(frame, plan, began, trained)
    return verdict, verdict.save(out or paths.build() / "check" / plan.own.name)


def _check_made(frame: pd.DataFrame, plan: Plan) -> None:
    """Give no verdict on a pruner of which the plain runs are not all there."""
    own = frame[frame["key"].isin([s.key() for s in plan.pruned]) & frame["check"].eq("none")]
    failed = own[own["status"] == "failed"]
    if len(failed):
        raise ReproError(f"{len(failed)} of {len(own)} runs failed; the first: {failed.iloc[0]['reason']}")
    if frame["status"].isin(["stopped", "missing"]).any():
        raise ReproError("stopped before all runs were done; the same command goes on")


def judge(frame: pd.DataFrame, plan: Plan, began: float, trained: int) -> Verdict:
    """Answer the questions from the runs of a plan."""
    method = f"your {plan.own.function}"
    frame = frame.copy()
    frame.loc[frame["key"].isin([s.key() for s in plan.pruned]), "method"] = method
    checks = [c for c in frame.loc[frame["method"] == method, "check"].unique() if c != "none"]
    data = [c for c in checks if c in DATA_CHECKS]
    rest = [c for c in checks if c not in (*data, "rearrange")]
    found = answers(frame, method, data=data, places=["rearrange"], others=RANDOM)
    extra = compare(frame, method, checks=rest)
    return Verdict(
        plan.own.function, method, found, extra, frame, MARGIN, _facts(frame, plan, began, trained)
    )


def _facts(frame: pd.DataFrame, plan: Plan, began: float, trained: int) -> dict[str, str]:
    first, own = frame.iloc[0], plan.own
    where = f"{data_name(first['data'])}, {model_name(first['model'], first['width'])}"
    densities = ", ".join(f"{100 * d:g} %" for d in plan.densities)
    options = [f"--density {','.join(f'{d:g}' for d in plan.densities)}", f"--seeds {plan.seeds}"]
    words = [f"{own.path}:{own.function}", *(f"{k}={v}" for k, v in plan.overrides.items())]
    lost = frame[frame["status"].isin(["failed", "diverged"])]
    facts = {
        "scale": SCALE.format(where=where, epochs=first["epochs"], densities=densities, seeds=plan.seeds),
        "command": f"repro check {shlex.join(words)} {' '.join(options)}",
        "file": f"{own.path}, function {own.function}, in records called {own.name}",
        "sha256": own.digest,
        "data": "used" if plan.uses_data else "not used: it asked for none in a trial",
        "training": f"{len(frame)} runs, {clock(float(frame['seconds'].sum()))} in all on one core; "
        f"{trained} were made now, in {clock(time.monotonic() - began)} with this page",
    }
    if plan.masks:
        facts["omitted"] = "the check with scores upside down: masks have no ranking to turn"
    if len(lost):
        facts["lost"] = f"{len(lost)} runs diverged or failed; the first: {lost.iloc[0]['reason']}"
    return facts
