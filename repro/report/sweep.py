"""Runs of one method under many settings: named apart, summarised, and compared with reference settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from .. import cells, stats
from ..errors import ReproError, pick
from .html import Cell, Table, with_interval
from .tables import lay_out, ordered

VALUES = {"validation": "Validation accuracy", "accuracy": "Test accuracy"}
REFERENCE = "reference"
AXES = {"alpha": "Drop fraction alpha", "interval": "Update interval (steps)", "lr": "Learning rate"}


def setting_of(settings: Any, name: str) -> Any:
    """Look up a dotted setting, e.g. "sparse.alpha"; None where a run does not have it."""
    for part in name.split("."):
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return settings


def short(name: str) -> str:
    """Call a dotted setting by its last part."""
    return name.rpartition(".")[2]


def axis_name(name: str) -> str:
    """Call a dotted setting as an axis does, with its unit if it has one."""
    return AXES.get(short(name), short(name))


def written(value: Any) -> str:
    """Write a setting's value as short as it is exact enough to tell values apart."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def values_in_order(values: pd.Series) -> list[Any]:
    """List the different values of a setting: numbers by size, then words."""
    return sorted(values.unique(), key=lambda v: (isinstance(v, str), v))


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values of a setting are equal, numbers up to rounding."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return bool(np.isclose(one, other, rtol=1e-9, atol=0))
    return one == other


def by_setting(frame: pd.DataFrame, reference: Mapping[str, Any]) -> pd.DataFrame:
    """Name runs apart by their settings, so that each setting of a sweep has cells of its own.

    Args:
        frame: table of runs with the column `settings`.
        reference: dotted settings and their usual values, e.g. {"sparse.alpha": 0.3, "sparse.interval": 100}.

    Returns:
        The frame with the settings that differ from these added to `method`, e.g. "rigl:erk~alpha=0.1,interval=50".
        A setting that a run does not have adds nothing.
    """
    named = [
        _named(str(method), settings, reference)
        for method, settings in zip(frame["method"], frame["settings"], strict=True)
    ]
    return frame.assign(method=named)


def _named(method: str, settings: Any, reference: Mapping[str, Any]) -> str:
    found = {name: setting_of(settings, name) for name in reference}
    words = [
        f"{short(name)}={written(value)}"
        for name, value in found.items()
        if value is not None and not _same(value, reference[name])
    ]
    return f"{method}~{','.join(words)}" if words else method


def at_reference(frame: pd.DataFrame, reference: Mapping[str, Any], free: Iterable[str]) -> pd.DataFrame:
    """Keep the runs that have the usual values of all settings but some.

    Args:
        frame: table of runs with the column `settings`.
        reference: dotted settings and their usual values.
        free: those that may have any value, e.g. the axes of a figure.
    """
    fixed = {name: value for name, value in reference.items() if name not in set(free)}
    keep = [all(_same(setting_of(s, name), v) for name, v in fixed.items()) for s in frame["settings"]]
    return frame[np.asarray(keep, dtype=bool)]


def sweep_runs(frame: pd.DataFrame, names: Iterable[str], value: str) -> pd.DataFrame:
    """Choose the runs that have some settings, with a column for each of them.

    Args:
        frame: table of runs, as run or after `by_setting`.
        names: dotted settings.
        value: "validation" or "accuracy".

    Returns:
        The runs without a check, as `cells.tidy` gives them, with the settings' columns and `value`, which is NaN
        unless a run is done.

    Raises:
        ReproError: when there is no such value, or two runs share cell, settings and seed.
    """
    pick(VALUES, value, "value of a sweep")
    names = list(names)
    if not names:
        raise ReproError("a sweep needs the name of at least one setting, such as 'sparse.alpha'")
    runs = frame[frame["check"].eq("none")]
    runs = runs.assign(
        **{name: [setting_of(s, name) for s in runs["settings"]] for name in names},
        plain=[_without(str(method), names) for method in runs["method"]],
    )
    runs = runs[runs[names].notna().all(axis=1)]
    runs = cells.tidy(by_setting(runs.assign(method=runs["plain"]), dict.fromkeys(names)))
    done = runs[value].astype(float).where(runs["state"].eq("done"))
    return runs.assign(method=runs["plain"], value=done).drop(columns="plain")


def _without(method: str, names: list[str]) -> str:
    """Take settings out of the name of a method again."""
    known, _, words = method.partition("~")
    own = {short(name) for name in names}
    left = [word for word in words.split(",") if word and word.partition("=")[0] not in own]
    return f"{known}~{','.join(left)}" if left else known


def sweep_cells(frame: pd.DataFrame, reference: Mapping[str, Any], value: str = "validation") -> pd.DataFrame:
    """Summarise each combination of settings, and pair it by seed with the reference.

    Args:
        frame, value: see `sweep_runs`.
        reference: dotted settings and their usual values; None for a setting compares with nothing.

    Returns:
        cells.KEYS, the settings, n (runs with a value), lost, mean, low, high (95 % t interval), and difference with
        _low and _high (percentage points, to the reference of the same seed) and pairs; NaN and 0 for the reference.
    """
    names = list(reference)
    runs = sweep_runs(frame, names, value)
    usual = pd.Series([_is_reference(run, reference) for run in cells.rows(runs)], runs.index, dtype=bool)
    known = runs[usual].set_index([*cells.KEYS, "seed"])["value"]
    at = pd.MultiIndex.from_frame(runs[[*cells.KEYS, "seed"]])
    runs["difference"] = (runs["value"] - known.reindex(at).to_numpy()).where(~usual)
    made = []
    for key, cell in runs.groupby([*cells.KEYS, *names], sort=False):
        done, paired = cell["value"].dropna(), cell["difference"].dropna()
        row: dict[str, Any] = dict(zip([*cells.KEYS, *names], key, strict=True))
        row |= {"n": len(done), "lost": int(cell["state"].eq("lost").sum()), "pairs": len(paired)}
        row |= dict(zip(("mean", "low", "high"), stats.interval(done), strict=True))
        ends = ("difference", "difference_low", "difference_high")
        made.append(row | dict(zip(ends, stats.interval(paired), strict=True)))
    numbers = ["n", "lost", "mean", "low", "high", "difference", "difference_low", "difference_high", "pairs"]
    table = pd.DataFrame(made, columns=[*cells.KEYS, *names, *numbers])
    ranks = {n: {v: i for i, v in enumerate(values_in_order(table[n]))} for n in names}
    return ordered(table.sort_values(names, kind="stable", key=lambda v: v.map(ranks[str(v.name)])))


def _is_reference(run: Mapping[str, Any], reference: Mapping[str, Any]) -> bool:
    return all(_same(run[name], usual) for name, usual in reference.items())


def show_sweep(
    frame: pd.DataFrame,
    reference: Mapping[str, Any],
    value: str = "validation",
    *,
    title: str | None = None,
) -> Table:
    """Show every combination of settings with its mean and its difference to the reference.

    Args:
        frame, value: see `sweep_runs`.
        reference: dotted settings and their usual values, e.g. {"sparse.alpha": 0.3, "sparse.interval": 100}.
        title: first words of the caption; default: what the value is.
    """
    table = sweep_cells(frame, reference, value)
    heads = [*(short(name) for name in reference), VALUES[value], "Difference", "n"]

    def numbers(cell: dict[str, Any]) -> list[Cell | str]:
        ends = (cell[f"difference{end}"] for end in ("", "_low", "_high"))
        difference = REFERENCE if _is_reference(cell, reference) else with_interval(*ends, sign=True)
        mean = with_interval(cell["mean"], cell["low"], cell["high"])
        n = f"{cell['n']} ({cell['lost']} lost)" if cell["lost"] else str(cell["n"])
        return [*(written(cell[name]) for name in reference), mean, difference, n]

    columns, rows, told = lay_out(table, heads, numbers)
    usual = ", ".join(f"{short(name)} {written(given)}" for name, given in reference.items())
    caption = (
        f"{title or VALUES[value]}, percent after the last epoch: mean ± half width of the 95 % t interval over n seeds. "
        f"Difference to the reference ({usual}): percentage points, paired by seed, with its own interval."
    )
    caption += " One seed gives no interval." if table["n"].eq(1).any() else ""
    return Table(tuple(columns), tuple(tuple(row) for row in rows), caption + told)
