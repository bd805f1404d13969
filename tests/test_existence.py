"""Random masks that hold a target: by hand, against networks with explicit masks, and the scale of the width needed."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.container import ErrorbarContainer
from statsmodels.stats.proportion import proportion_confint
from torch import Tensor

from repro import existence, report
from repro.errors import ReproError
from repro.existence import Source, draw, needed, outputs, present, rate, spread, study, targets, unreached
from repro.rng import stream

SIZES, WIDTH, DENSITY = (5, 3, 3, 2), 3, 0.4


def inputs(n: int, points: int = 7) -> Tensor:
    return torch.rand(n, points, dtype=torch.float64, generator=stream(0, "x"))


def dense(weights: list[Tensor], x: Tensor) -> Tensor:
    signal = weights[0] @ x
    for weight in weights[1:]:
        signal = weight @ signal.relu()
    return signal


# --- by hand


def test_rate_of_a_half_is_log_two():
    assert rate(0.5) == pytest.approx(math.log(2)) and rate(1.0) == math.inf


@pytest.mark.parametrize("density", [0.0, -0.1, 1.5])
def test_a_density_that_is_no_fraction_is_refused(density):
    for function in (rate, lambda p: study([p], [1]), lambda p: unreached([p], [1])):
        with pytest.raises(ReproError, match=r"density .* fraction"):
            function(density)


def test_sizes_and_counts_that_make_no_network_are_refused():
    for sizes, width, draws in (((4,), 1, 1), ((4, 0), 1, 1), ((4, 2), 0, 1), ((4, 2), 1, 0)):
        with pytest.raises(ReproError, match="at least two sizes"):
            draw(sizes, 0.5, width, draws, stream(0, "m"))


def test_a_source_of_two_copies_done_by_hand():
    first = torch.tensor([[[1.0, 2.0], [3.0, -1.0]]], dtype=torch.float64)
    last = torch.tensor([[[10.0, 100.0]]], dtype=torch.float64)
    usable = torch.tensor([[2, 1]])  # input 1 has one copy, number 0
    # neuron 0: copy 0 has both links, copy 1 only the one from input 0, as copy 1 of input 1 does not exist;
    # neuron 1: copy 0 lacks the link from input 0, copy 1 lacks both
    links = [torch.tensor([[[[1, 0], [0, 1]], [[2, 0], [2, 2]]]]), torch.tensor([[[[1, 0]]]])]
    source = Source(usable, links, 2)
    assert present(source)[0].tolist() == [[[[True, True], [True, False]], [[False, True], [False, False]]]]
    assert present(source)[1].tolist() == [[[[True, True]]]]
    x = torch.tensor([[1.0], [0.5]], dtype=torch.float64)
    # copy 1 of neuron 0: 1 * 1; copy 0 of neuron 1: relu(-1 * 0.5) = 0
    assert outputs([first, last], source, x).tolist() == [[[10.0]]]
    source = source._replace(
        links=[links[0], torch.tensor([[[[0, 2]]]])]
    )  # now copy 0 of neuron 0, and no neuron 1
    assert outputs([first, last], source, x).tolist() == [[[20.0]]]


def test_one_layer_of_weights_by_hand():
    weights = [torch.tensor([[[2.0, 5.0]]], dtype=torch.float64)]
    source = Source(torch.tensor([[1, 1]]), [torch.tensor([[[[0, 1]]]])], 1)
    assert outputs(weights, source, torch.ones(2, 1, dtype=torch.float64)).tolist() == [[[2.0]]]


def test_all_kept_holds_the_target_at_once_and_nothing_kept_gives_nothing():
    whole, none = study([1.0], [1], draws=5), study([1e-12], [1, 4], draws=5)
    assert whole["error"].max() < 1e-12 and whole["missing"].eq(0).all() and np.isinf(whole["scaled"]).all()
    assert none["error"].to_list() == [1.0] * 10 and none["missing"].to_list() == [1.0] * 10


def test_targets_are_he():
    first, second = targets((50, 40, 30), 40, stream(0, "t"))
    assert (first.shape, second.shape) == ((40, 40, 50), (40, 30, 40))
    assert float(first.var()) == pytest.approx(2 / 50, rel=0.02)
    assert float(second.var()) == pytest.approx(2 / 40, rel=0.02)


@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=5),
    st.integers(1, 4),
    st.floats(0.05, 1),
    st.integers(0, 99),
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_copies_are_as_many_as_there_are_and_density_one_is_exact(sizes, width, density, seed):
    source = draw(sizes, density, width, 3, stream(seed, "m"))
    assert source.usable.min() >= 0 and source.usable.max() <= width
    assert [tuple(x.shape) for x in source.links] == [
        (3, b, width if depth < len(sizes) - 2 else 1, a) for depth, (a, b) in enumerate(pairwise(sizes))
    ]
    weights, x = targets(sizes, 3, stream(seed, "t")), inputs(sizes[0])
    whole = draw(sizes, 1.0, width, 3, stream(seed, "m"))
    torch.testing.assert_close(outputs(weights, whole, x), dense(weights, x))


# --- networks with explicit masks


def masks_of(seed: int) -> list[Tensor]:
    """Draw every entry of the masks of one source network, its first layer first."""
    wide = [SIZES[0], *(WIDTH * n for n in SIZES[:-1]), SIZES[-1]]
    generator = stream(seed, "explicit")
    return [torch.rand(n, m, generator=generator) < DENSITY for m, n in pairwise(wide)]


def dealt(mask: Tensor) -> list[list[int]]:
    """Deal the neurons of the first layer out, one after the other: which ones copy each input."""
    copies: list[list[int]] = [[] for _ in range(SIZES[0])]
    free = set(range(len(mask)))
    for turn in range(SIZES[0]):
        for neuron in sorted(free):
            wanted = copies[(neuron // WIDTH + turn) % SIZES[0]]
            if mask[neuron, (neuron // WIDTH + turn) % SIZES[0]] and len(wanted) < WIDTH:
                wanted.append(neuron)
                free.discard(neuron)
    return copies


def built(masks: list[Tensor], weights: list[Tensor]) -> tuple[list[Tensor], Source]:
    """Build the matrices of one source network entry by entry, and what the construction sees of its masks."""
    matrices, links = [mask.double() * 0 for mask in masks], []
    copies = dealt(masks[0])
    usable = torch.tensor([[len(own) for own in copies]])
    for i, own in enumerate(copies):
        matrices[0][own, i] = 1.0
    for depth, weight in enumerate(weights, start=1):
        after = WIDTH if depth < len(weights) else 1
        seen = torch.full((1, len(weight), after, weight.shape[1]), WIDTH)
        for k, c, j in np.ndindex(*seen.shape[1:]):
            for number, neuron in enumerate(copies[j]):
                if masks[depth][k * after + c, neuron]:
                    matrices[depth][k * after + c, neuron] = weight[k, j]
                    seen[0, k, c, j] = number
                    break
        links.append(seen)
        copies = [list(range(k * after, (k + 1) * after)) for k in range(len(weight))]
    return matrices, Source(usable, links, WIDTH)


@pytest.mark.parametrize("seed", range(8))
def test_outputs_are_those_of_a_network_with_explicit_masks(seed):
    weights, x, masks = targets(SIZES, 1, stream(seed, "t")), inputs(SIZES[0]), masks_of(seed)
    matrices, source = built(masks, [w[0] for w in weights])
    assert all(bool((mask | (matrix == 0)).all()) for mask, matrix in zip(masks, matrices, strict=True))
    given_out = dense([matrices[0], *matrices[1:]], x)
    torch.testing.assert_close(outputs(weights, source, x)[0], given_out)
    assert not torch.allclose(given_out, dense(weights, x)[0])  # links are missing, or this would show little


def test_draws_have_the_law_of_explicit_masks():
    weights = [w[0] for w in targets(SIZES, 1, stream(0, "t"))]
    explicit = [built(masks_of(seed), weights)[1] for seed in range(300)]
    drawn = draw(SIZES, DENSITY, WIDTH, 20000, stream(0, "m"))
    dealt_out = torch.cat([source.usable for source in explicit]).double()
    error = float(dealt_out.mean(1).std()) / math.sqrt(len(explicit))
    assert float(drawn.usable.double().mean()) == pytest.approx(float(dealt_out.mean()), abs=4 * error)
    for depth, there in enumerate(present(drawn)):
        own = torch.stack([present(source)[depth].double().mean() for source in explicit])
        error = float(own.std()) / math.sqrt(len(explicit))
        assert float(there.double().mean()) == pytest.approx(float(own.mean()), abs=4 * error)


# --- how many links are missing


@pytest.mark.parametrize(("density", "width"), [(0.05, 20), (0.1, 1), (0.3, 4), (0.5, 3), (0.9, 2)])
def test_links_are_missing_with_the_chance_that_no_copy_is_linked(density, width):
    source = draw((8, 30, 30, 5), density, width, 60, stream(1, "m"))
    expected = (1 - density) ** width
    for there in present(source)[1:]:
        error = math.sqrt(expected * (1 - expected) / there.numel())
        assert 1 - float(there.double().mean()) == pytest.approx(expected, abs=4 * error)
    first = present(source)[0]
    chances = ((1 - density) ** source.usable.double())[:, None, None].expand(first.shape)
    error = math.sqrt(float((chances * (1 - chances)).mean()) / first.numel())
    assert 1 - float(first.double().mean()) == pytest.approx(float(chances.mean()), abs=4 * error)


def test_the_first_layer_copies_an_input_wherever_a_neuron_has_any_link():
    width, n, density = 100, 30, 0.05
    source = draw((n, 1), density, width, 20, stream(0, "m"))
    share = float(source.usable.double().mean()) / width
    assert share == pytest.approx(1 - (1 - density) ** n, abs=0.02)  # 0.785; with one input each it were 0.05


def test_how_three_neurons_are_dealt_out_by_enumeration():
    chances = np.zeros((2, 2, 2))
    for bits in np.ndindex(*[2] * 9):
        mask = np.array(bits).reshape(3, 3)  # mask[neuron, input]
        of: dict[int, int] = {}  # input -> the neuron that copies it
        for turn in range(3):
            for neuron in set(range(3)) - set(of.values()):
                if mask[neuron, (neuron + turn) % 3]:
                    of.setdefault((neuron + turn) % 3, neuron)
        chances[tuple(int(i in of) for i in range(3))] += 0.3 ** mask.sum() * 0.7 ** (9 - mask.sum())
    n = 40000
    usable = draw((3, 1), 0.3, 1, n, stream(0, "m")).usable.numpy()
    counts = np.zeros((2, 2, 2))
    np.add.at(counts, tuple(usable.T), 1)
    assert (np.abs(counts / n - chances) < 4 * np.sqrt(chances * (1 - chances) / n)).all()


# --- the study


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    return study(draws=20)


@pytest.fixture(scope="module")
def bound() -> pd.DataFrame:
    return unreached(draws=200)


def test_the_table_is_tidy_and_stops_where_hardly_a_link_is_missing(found):
    assert list(found) == ["density", "width", "scaled", "seed", "error", "missing"]
    assert found.groupby(["density", "width"])["seed"].apply(list).map(lambda s: s == list(range(20))).all()
    assert sorted(found["density"].unique()) == list(existence.DENSITIES)
    assert np.allclose(found["scaled"], -found["width"] * np.log(1 - found["density"]))
    assert found["missing"].between(0, 1).all() and found["error"].ge(0).all()
    for _, own in found.groupby("density"):
        widths = sorted(own["width"].unique())
        assert tuple(widths) == existence.WIDTHS[: len(widths)]
        ends = own.groupby("width")["scaled"].first()
        assert ends.iloc[-2] < existence.MOST and (
            ends.iloc[-1] >= existence.MOST or len(ends) == len(existence.WIDTHS)
        )


def test_wider_masks_miss_less_and_err_less(found):
    means = found.groupby(["density", "width"])[["error", "missing"]].mean()
    for _, own in means.groupby("density"):
        assert own["missing"].is_monotonic_decreasing
        assert own["error"].iloc[-1] < 0.02
    for p in (0.05, 0.1, 0.2, 0.3, 0.5):
        errors = means.loc[p]["error"].to_numpy()[np.asarray(means.loc[p].index) * rate(p) > 1]
        assert (errors[3:] < errors[:-3]).all()  # twice as wide; with a few links only, errors stay near 1


def test_equal_scaled_widths_give_equal_errors_whatever_the_density():
    densities = {1 - 0.9**k: 32 // k for k in (1, 2, 4, 8)}  # 0.1 at width 32 to 0.57 at width 4
    frames = [study([p], [width], draws=150, seed=3) for p, width in densities.items()]
    assert np.ptp([frame["scaled"].iloc[0] for frame in frames]) < 1e-9
    errors = [frame["error"].mean() for frame in frames]
    assert max(errors) < 1.15 * min(errors)
    at_one_width = [study([p], [8], draws=20, seed=3)["error"].mean() for p in densities]
    assert max(at_one_width) > 10 * min(at_one_width)


def test_the_study_follows_its_seed_and_each_cell_stands_alone(found):
    again = study([0.3, 0.2], [4, 1], draws=4, seed=5)
    pd.testing.assert_frame_equal(study([0.3, 0.2], [4, 1], draws=4, seed=5), again)
    alone = study([0.2], [4], draws=4, seed=5)
    part = again[again["density"].eq(0.2) & again["width"].eq(4)].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, alone)
    assert not np.allclose(study([0.2], [4], draws=4, seed=6)["error"], alone["error"])


def test_error_is_relative_to_the_target():
    frame = study([0.5], [2], sizes=(3, 2), draws=3, seed=1)
    weights = targets((3, 2), 3, stream(1, "existence", "targets"))
    x = torch.rand(3, existence.POINTS, dtype=torch.float64, generator=stream(1, "existence", "inputs"))
    source = draw((3, 2), 0.5, 2, 3, stream(1, "existence", "0.5", 2))
    wanted = weights[0] @ x
    off = (outputs(weights, source, x) - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
    assert frame["error"].to_list() == pytest.approx(off.tolist())
    there = present(source)[0].double().mean((1, 2, 3))
    assert frame["missing"].to_list() == pytest.approx((1 - there).tolist())


# --- the width needed


def table(densities, widths, error, seeds=3) -> pd.DataFrame:
    """A frame as of `study` whose errors follow a formula of density, width and seed."""
    rows = [(p, w, w * rate(p), s, error(p, w, s)) for p in densities for w in widths for s in range(seeds)]
    return pd.DataFrame(rows, columns=["density", "width", "scaled", "seed", "error"])


def test_errors_that_follow_the_scale_have_ratio_one():
    found = needed(table([0.1, 0.5, 0.9], range(1, 200), lambda p, w, s: (1 - p) ** (w / 2)), 0.05)
    exact = 2 * math.log(20)
    assert found["scaled"].to_list() == pytest.approx([exact] * 3)
    assert found["crossing"].to_list() == pytest.approx([exact / rate(p) for p in (0.1, 0.5, 0.9)])
    assert found["width"].to_list() == [math.ceil(exact / rate(p)) for p in (0.1, 0.5, 0.9)]
    assert found["ratio"].to_list() == pytest.approx([1.0] * 3) and found["n"].to_list() == [3] * 3
    assert found["tolerance"].to_list() == [0.05] * 3
    assert (found["high"] - found["low"]).abs().max() < 1e-9


def test_errors_that_follow_another_scale_have_a_spread():
    frame = table([0.1, 0.5, 0.9], range(1, 200), lambda p, w, s: math.exp(-p * w))
    assert spread(frame, 0.05) == pytest.approx((rate(0.9) / 0.9) / (rate(0.1) / 0.1))
    ratios = needed(frame, 0.05)["ratio"]
    assert np.log(ratios).sum() == pytest.approx(0.0, abs=1e-9)  # the theory's number is fitted in log space


@pytest.mark.parametrize(
    ("errors", "width", "crossing"),
    [
        ([0.4, 0.1, 0.05], 4, 4.0),  # exactly at the tolerance is within
        ([0.4, 0.025, 0.01], 4, 3.0),  # half way between 2 and 4 in the logarithm
        ([0.4, 0.05, 0.4, 0.05], 16, 8 + 8 * 2 / 3),  # the first place within it does not count
        ([0.1, 0.01], 2, np.nan),  # narrowest is enough: where it crosses is not known
        ([0.4, 0.3], np.nan, np.nan),
        ([0.4, 0.0], 4, 2 + 2 * math.log(4) / math.log(400)),  # 0 counts as a hundredth of the tolerance
    ],
)
def test_width_and_crossing_by_hand(errors, width, crossing):
    frame = table(
        [0.5], [2**k for k in range(1, len(errors) + 1)], lambda p, w, s: errors[int(math.log2(w)) - 1], 1
    )
    row = needed(frame, 0.1).iloc[0]
    assert [row["width"], row["crossing"]] == pytest.approx([width, crossing], nan_ok=True)


def test_interval_leaves_out_one_draw_at_a_time():
    frame = table([0.5], [2, 4], lambda p, w, s: (0.2 if w == 2 else 0.05) * (1 + 0.1 * s))
    row = needed(frame, 0.1).iloc[0]
    without = [needed(frame[frame["seed"] != s], 0.1)["crossing"].iloc[0] for s in range(3)]
    error = math.sqrt(2 / 3 * sum((c - np.mean(without)) ** 2 for c in without))
    half = 4.302652729749464 * error  # t(0.975, 2)
    assert [row["low"], row["high"]] == pytest.approx([row["crossing"] - half, row["crossing"] + half])
    assert np.isnan(needed(frame[frame["seed"] == 0], 0.1)["low"].iloc[0])


def test_density_one_has_no_scale():
    frame = study([1.0, 0.5], [1, 2, 4, 8, 16], draws=3)
    assert needed(frame)["density"].to_list() == [0.5]
    with pytest.raises(ReproError, match="known for 1 densities"):
        spread(frame)


@pytest.mark.parametrize("tolerance", [0, 1, 10])
def test_a_tolerance_that_is_no_fraction_is_refused(tolerance, found):
    for function in (needed, spread, report.show_existence):
        with pytest.raises(ReproError, match="tolerance"):
            function(found, tolerance)


def test_the_width_needed_follows_the_scale_and_no_other(found):
    needs = needed(found)
    assert spread(found) < 1.25
    assert needs["low"].le(needs["crossing"]).all() and needs["crossing"].le(needs["width"]).all()
    rival = needs["crossing"] * needs["density"]  # 1 / density, the mean number of links
    assert rival.max() / rival.min() > 2


# --- what no construction can do


def test_chance_that_an_input_is_not_reached_by_hand():
    found = unreached([0.5], [1, 2], inputs=2, draws=4000)
    assert found["exact"].to_list() == [1 - 0.5**2, 1 - 0.75**2]
    assert list(found) == ["density", "width", "scaled", "n", "failed", "exact"]


def test_counts_agree_with_the_chance():
    found = unreached([0.1, 0.5, 0.9, 1.0], inputs=10, draws=2000, seed=2)
    error = np.sqrt(found["exact"] * (1 - found["exact"]) / found["n"])
    assert ((found["failed"] / found["n"] - found["exact"]).abs() <= 4 * error + 1e-12).all()
    assert found[found["density"] == 1]["failed"].to_list() == [0]
    assert all(own["failed"].is_monotonic_decreasing for _, own in found.groupby("density"))
    pd.testing.assert_frame_equal(found, unreached([0.1, 0.5, 0.9, 1.0], inputs=10, draws=2000, seed=2))


def test_the_chance_depends_on_the_scaled_width_alone():
    found = pd.concat([unreached([1 - 0.9**k], [12 // k], draws=1) for k in (1, 2, 3)])
    assert np.ptp(found["exact"]) < 1e-12 < 0.1 < found["exact"].iloc[0]


# --- figure and table


def test_figure_shows_the_means_and_the_widths_needed(found, bound):
    figure = report.figure_existence(found, bound)
    plain, scaled, needs, chance = figure.axes
    means = found.groupby(["density", "width"])["error"].mean()[0.3]
    shown = means[means >= 1e-4]
    for ax, x in ((plain, shown.index), (scaled, shown.index * rate(0.3))):
        line = ax.lines[existence.DENSITIES.index(0.3)]
        assert np.allclose(line.get_xdata(), x) and np.allclose(line.get_ydata(), shown)
        assert ax.get_yscale() == "log" and ax.get_xlabel() and ax.get_ylabel()
    marks = [c.lines[0].get_xydata()[0] for c in needs.containers if isinstance(c, ErrorbarContainer)]
    expected = needed(found)
    assert np.allclose(marks, expected[["density", "crossing"]])
    theory = next(line for line in needs.lines if len(line.get_xdata()) == 100)
    c = np.exp(np.log(expected["scaled"]).mean())
    assert np.allclose(theory.get_ydata(), [c / rate(p) for p in theory.get_xdata()])
    counted = [c.lines[0].get_xydata() for c in chance.containers]
    own = bound[bound["density"] == 0.3]
    assert np.allclose(counted[3], np.stack([own["scaled"], own["failed"] / own["n"]], axis=1))


def test_figure_shows_how_often_masks_fail(found, bound):
    chance = report.figure_existence(found, bound, 0.2).axes[3]
    dashed = [line for line in chance.lines if line.get_linestyle() == "--"][3]
    beyond = (
        found[found["density"] == 0.3].groupby("width")["error"].agg(lambda errors: (errors > 0.2).mean())
    )
    assert np.allclose(dashed.get_ydata(), beyond) and 0 < beyond.mean() < 1
    own = bound[bound["density"] == 0.3]
    bars = np.array([s[:, 1] for s in chance.containers[3].lines[2][0].get_segments()])
    low, high = proportion_confint(own["failed"], own["n"], method="wilson")
    assert np.allclose(bars, np.stack([low, high], axis=1), atol=1e-9)
    exact = next(line for line in chance.lines if len(line.get_xdata()) == len(bound))
    assert np.allclose(sorted(exact.get_ydata()), sorted(bound["exact"]))


def test_figure_says_in_words_what_it_shows(found, bound):
    picture = report.show_figure(report.figure_existence(found, bound, 0.2))
    needs = needed(found, 0.2)
    c = np.exp(np.log(needs["scaled"]).mean())
    assert f"{needs['crossing'].iloc[0]:.1f} at density 5 %" in picture.alt
    assert f"{c:.2f} / log(1 / (1 - density))" in picture.caption
    assert all(
        word in picture.caption for word in ("(n = 20)", "(n = 200)", "95 % t interval", "Wilson", "20 %")
    )
    assert "beyond 20 %" in picture.caption


def test_table_gives_width_theory_and_ratio(found):
    shown, needs = report.show_existence(found), needed(found)
    assert [column.head for column in shown.columns] == [
        *("Density", "Smallest width tried", "Width needed", "Theory", "Needed / theory", "n")
    ]
    last, row = shown.rows[-1], needs.iloc[-1]
    assert last[0] == "90 %" and last[1] == str(int(row["width"])) and last[5] == "20"
    assert last[2].startswith(f"{row['crossing']:.1f} ± ") and last[3] == f"{row['theory']:.1f}"
    assert last[4] == f"{row['ratio']:.2f}" and "95 % jackknife" in shown.caption


def test_nothing_to_show_is_said(found, bound):
    empty = report.figure_existence(found[:0], bound[:0])
    assert report.show_figure(empty).alt.endswith("not known.") and not report.show_existence(found[:0]).rows
    kept = report.figure_existence(pd.concat([found, study([1.0], [1], draws=20)]), bound)
    assert "density 100 %" not in [text.get_text() for text in kept.legends[0].get_texts()]
    few = report.figure_existence(study([0.05, 1.0], [1], draws=1), bound)  # no width is enough
    assert report.show_figure(few).alt.endswith("not known.")
