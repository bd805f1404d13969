"""Intervals and tests: from accuracies over seeds to one of three words. Imports no torch.

Every test here is a one-sample t test on differences paired by seed. "Supported" needs p < 0.05;
"contradicted" needs the 95 % interval to lie wholly on the other side of the margin, which is the stricter of
the two; all else, and everything with fewer than three seeds, is "inconclusive".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from .errors import ReproError

Kind = Literal["equivalent", "better", "below"]
Word = Literal["supported", "contradicted", "inconclusive"]
ALPHA = 0.05
ENOUGH = 3
ROUNDING = 1e-9


class Interval(NamedTuple):
    """A mean and the two ends of its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Test:
    """What a test found out about a mean difference.

    Attributes:
        kind: "equivalent" (|mean| < margin), "better" (mean > margin) or "below" (mean < margin).
        margin: in the unit of the values.
        n: number of values.
        mean, low, high: the mean and its 95 % t interval.
        low90, high90: the 90 % t interval, which for "equivalent" lies inside the margin exactly when p <
            0.05.
        p: of the hypothesis that the statement is false; small supports it. NaN where n < 2.
        p_against: two-sided, of the hypothesis that the mean is at the margin or on the stated side of it;
            below 0.05 exactly when the 95 % interval lies wholly on the other side. NaN where n < 2.
        verdict: the word that p, p_against and n give.
    """

    __test__ = False  # not a test case of pytest

    kind: Kind
    margin: float
    n: int
    mean: float
    low: float
    high: float
    low90: float
    high90: float
    p: float
    p_against: float
    verdict: Word


def interval(values: Iterable[float], level: float = 0.95) -> Interval:
    """Give the mean and its Student t interval; the ends are NaN for one value, everything for none.

    Args:
        values: one number per seed, all finite.
        level: coverage, in (0, 1).

    Raises:
        ReproError: when a value is not finite, or the level is no fraction.
    """
    x = _finite(values)
    if not 0 < level < 1:
        raise ReproError(f"interval level {level}: give a fraction between 0 and 1, such as 0.95")
    if x.size == 0:
        return Interval(np.nan, np.nan, np.nan)
    mean, error = _mean_error(x)
    half = float(stats.t.ppf((1 + level) / 2, x.size - 1)) * error if x.size > 1 else np.nan
    return Interval(mean, mean - half, mean + half)


def equivalent(differences: Iterable[float], margin: float) -> Test:
    """Test that a mean difference lies strictly inside ±margin, by two one-sided t tests (TOST).

    Source: Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach".

    Raises:
        ReproError: when the margin is not above 0, or a difference is not finite.
    """
    if not margin > 0:
        raise ReproError(f"equivalence margin {margin}: it must be above 0, in the unit of the differences")
    x = _finite(differences)
    above_low, below_high = _tail(x, -margin, "greater"), _tail(x, margin, "less")
    outside = 2 * min(_tail(x, margin, "greater"), _tail(x, -margin, "less"))
    return _test("equivalent", x, margin, max(above_low, below_high), outside)


def better(differences: Iterable[float], margin: float = 0.0) -> Test:
    """Test that a mean difference is above `margin`; a negative margin makes it a test of non-inferiority."""
    x = _finite(differences)
    return _test("better", x, margin, _tail(x, margin, "greater"), 2 * _tail(x, margin, "less"))


def below(values: Iterable[float], margin: float) -> Test:
    """Test that a mean is below `margin`."""
    x = _finite(values)
    return _test("below", x, margin, _tail(x, margin, "less"), 2 * _tail(x, margin, "greater"))


def holm(p: Sequence[float]) -> np.ndarray:
    """Adjust p values for their number by Holm's step-down; NaN stays NaN and does not count.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    values = np.asarray(p, dtype=float)
    adjusted = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def conjunction(p: Sequence[float], at_least: int) -> float:
    """Give the p value of "at least this many of the statements hold"; a NaN counts as no evidence (1).

    With `at_least` = all of them it is the intersection-union test (the largest p), with 1 it is
    Bonferroni's. Source: Benjamini and Heller 2008, "Screening for partial conjunction hypotheses", the
    Bonferroni form.

    Raises:
        ReproError: when `at_least` is not between 1 and the number of statements.
    """
    values = np.sort(np.nan_to_num(np.asarray(p, dtype=float), nan=1.0))
    if not 1 <= at_least <= values.size:
        raise ReproError(
            f"at least {at_least} of {values.size} statements: give a number from 1 to {values.size}"
        )
    return float(min(1.0, (values.size - at_least + 1) * values[at_least - 1]))


def _finite(values: Iterable[float]) -> np.ndarray:
    x = np.asarray(list(values), dtype=float)
    if not np.isfinite(x).all():
        raise ReproError(
            "a value is not finite; leave out runs that are missing or diverged, and say how many"
        )
    return x


def _mean_error(x: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error, 0 when the values are equal but for rounding."""
    if np.ptp(x) <= ROUNDING:
        return float(x[0]), 0.0
    return float(x.mean()), float(x.std(ddof=1)) / float(np.sqrt(x.size))


def _tail(x: np.ndarray, at: float, side: Literal["greater", "less"]) -> float:
    """One-sided p of "the mean is greater (less) than `at`"; equal values decide it for certain."""
    if x.size < 2:
        return np.nan
    mean, error = _mean_error(x)
    if error == 0:
        return float(mean <= at + ROUNDING if side == "greater" else mean >= at - ROUNDING)
    t = (mean - at) / error
    return float(stats.t.sf(t if side == "greater" else -t, x.size - 1))


def _test(kind: Kind, x: np.ndarray, margin: float, p: float, against: float) -> Test:
    against = min(against, 1.0) if x.size > 1 else np.nan
    word: Word = "inconclusive"
    if x.size >= ENOUGH and p < ALPHA:
        word = "supported"
    elif x.size >= ENOUGH and against < ALPHA:
        word = "contradicted"
    mean, low, high = interval(x)
    _, low90, high90 = interval(x, 0.90)
    return Test(kind, margin, x.size, mean, low, high, low90, high90, p, against, word)
