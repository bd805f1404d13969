"""Intervals and tests against hand-made cases and against other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from repro import stats
from repro.errors import ReproError

DIFFERENCES = [0.3, -0.1, 0.2, 0.05, -0.25]
samples = st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=3, max_size=8)


def test_interval_of_a_case_done_by_hand():
    mean, low, high = stats.interval([1.0, 2.0, 3.0])
    half = 4.302652729749464 / np.sqrt(3)  # t(0.975, 2) * sd / sqrt(n), sd = 1
    assert (mean, low, high) == pytest.approx((2.0, 2.0 - half, 2.0 + half))


def test_interval_level_is_two_sided():
    expected = scipy_stats.t.interval(0.9, 4, np.mean(DIFFERENCES), scipy_stats.sem(DIFFERENCES))
    assert stats.interval(DIFFERENCES, 0.9)[1:] == pytest.approx(expected)


def test_interval_of_none_one_and_equal_values():
    assert np.isnan(stats.interval([])).all()
    mean, low, high = stats.interval([7.0])
    assert mean == 7.0 and np.isnan([low, high]).all()
    assert stats.interval([0.1, 0.1, 0.1]) == (0.1, 0.1, 0.1)


@pytest.mark.parametrize("bad", [[1.0, np.nan], [np.inf]])
def test_values_that_are_not_finite_are_refused(bad):
    for function in (
        stats.interval,
        stats.better,
        lambda x: stats.equivalent(x, 1),
        lambda x: stats.below(x, 1),
    ):
        with pytest.raises(ReproError, match="not finite"):
            function(bad)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_level_must_be_a_fraction(level):
    with pytest.raises(ReproError, match="level"):
        stats.interval([1, 2], level)


@pytest.mark.parametrize("margin", [0.2, 0.5, 1.0])
def test_equivalence_agrees_with_statsmodels(margin):
    p, _, _ = DescrStatsW(np.array(DIFFERENCES)).ttost_mean(-margin, margin)
    assert stats.equivalent(DIFFERENCES, margin).p == pytest.approx(float(p))


@pytest.mark.parametrize("margin", [-0.5, 0.0, 0.5])
def test_better_and_below_agree_with_statsmodels(margin):
    described = DescrStatsW(np.array(DIFFERENCES))
    larger = described.ttest_mean(margin, alternative="larger")[1]
    smaller = described.ttest_mean(margin, alternative="smaller")[1]
    assert stats.better(DIFFERENCES, margin).p == pytest.approx(larger)
    assert stats.below(DIFFERENCES, margin).p == pytest.approx(smaller)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([0.1, 0.0, -0.1, 0.05], "supported"),
        ([3.0, 3.1, 2.9, 3.0], "contradicted"),
        ([-3.0, -3.1, -2.9, -3.0], "contradicted"),
        ([0.45, 0.5, 0.55, 0.5], "inconclusive"),
        ([2.0, -2.0, 1.0, -1.0], "inconclusive"),
    ],
)
def test_words_of_equivalence(values, word):
    assert stats.equivalent(values, 0.5).verdict == word


@pytest.mark.parametrize(
    ("values", "margin", "word"),
    [
        ([1.0, 1.1, 0.9], 0.5, "supported"),
        ([0.0, 0.1, -0.1], -0.5, "supported"),
        ([0.0, 0.1, -0.1], 0.5, "contradicted"),
        ([-1.0, -1.1, -0.9], -0.5, "contradicted"),
        ([0.4, 0.5, 0.6], 0.5, "inconclusive"),
    ],
)
def test_words_of_better_and_their_mirror(values, margin, word):
    assert stats.better(values, margin).verdict == word
    assert stats.below([-v for v in values], -margin).verdict == word


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_seeds_never_decide(n):
    for test in (
        stats.equivalent([0.0, 0.001][:n], 5),
        stats.better([9.0, 9.001][:n]),
        stats.below([-9, -9.1][:n], 0),
    ):
        assert test.verdict == "inconclusive" and test.n == n
        assert np.isnan(test.p) == (n < 2)


def test_equal_values_decide_without_warning_or_nan():
    assert (stats.equivalent([0.0] * 3, 0.5).p, stats.equivalent([0.0] * 3, 0.5).verdict) == (
        0.0,
        "supported",
    )
    assert stats.equivalent([0.1 + 0.2] * 3, 0.3).verdict != "supported"
    assert stats.equivalent([95.1 - 94.1, 93.1 - 92.1, 1.0], 2.0).p == 0.0
    assert stats.equivalent([2.0] * 3, 0.5).verdict == "contradicted"
    assert stats.equivalent([0.5] * 3, 0.5).verdict == "inconclusive"
    assert stats.better([0.0] * 3, 0.0).verdict == "inconclusive"
    assert stats.better([-1.0] * 3, 0.0).verdict == "contradicted"


@pytest.mark.parametrize("margin", [0, -1, float("nan")])
def test_equivalence_needs_a_positive_margin(margin):
    with pytest.raises(ReproError, match="margin"):
        stats.equivalent(DIFFERENCES, margin)


@given(samples, st.floats(0.01, 3))
def test_supported_and_contradicted_are_what_the_intervals_say(values, margin):
    assume(np.ptp(values) > 1e-6)
    test = stats.equivalent(values, margin)
    gap = min(abs(abs(end) - margin) for end in (test.low, test.high, test.low90, test.high90))
    assume(gap > 1e-9)
    assert (test.p < 0.05) == (-margin < test.low90 and test.high90 < margin)
    assert (test.p_against < 0.05) == (test.low > margin or test.high < -margin)
    assert (test.verdict == "contradicted") == (test.p_against < 0.05)


@given(samples, st.floats(-3, 3))
def test_better_is_contradicted_when_the_interval_is_below(values, margin):
    assume(np.ptp(values) > 1e-6)
    test = stats.better(values, margin)
    assume(abs(test.high - margin) > 1e-9)
    assert (test.verdict == "contradicted") == (test.high < margin)
    assert 0 <= test.p_against <= 1


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_holm_agrees_with_statsmodels(n):
    p = np.random.default_rng(n).random(n) ** 3
    assert stats.holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_leaves_unknown_out():
    assert stats.holm([0.02, np.nan, 0.01]) == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)


def test_conjunction_runs_from_bonferroni_to_the_largest():
    p = [0.04, 0.01, 0.2, np.nan]
    assert stats.conjunction(p, 1) == pytest.approx(0.04)  # 4 * 0.01
    assert stats.conjunction(p, 2) == pytest.approx(0.12)  # 3 * 0.04
    assert stats.conjunction(p, 3) == pytest.approx(0.4)  # 2 * 0.2
    assert stats.conjunction(p, 4) == 1.0
    for wrong in (0, 5):
        with pytest.raises(ReproError, match="at least"):
            stats.conjunction(p, wrong)


def test_five_of_six_is_harder_than_any_five_alone():
    assert stats.conjunction([0.03] * 5 + [0.9], 5) == pytest.approx(0.06)
    assert stats.conjunction([0.02] * 5 + [0.9], 5) == pytest.approx(0.04)
