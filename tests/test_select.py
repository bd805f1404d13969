"""Selection: exact budgets, ties, the published thresholds by hand, dense layers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.errors import ReproError
from repro.models import Layer
from repro.pruners.ranking import SAMPLE, highest, ranked, top_k
from repro.pruners.select import CONVENTIONS, budget, choose, kept_counts
from repro.rng import stream

LAYERS = (
    Layer("a", (4, 1, 1, 1), "conv", "first"),
    Layer("b", (4, 2), "linear", "body"),
    Layer("c", (2, 4), "linear", "last"),
)


def scores_of(*values: float) -> dict[str, torch.Tensor]:
    flat = torch.tensor(values, dtype=torch.float64)
    parts = flat.split([x.numel for x in LAYERS])
    return {x.name: part.reshape(x.shape) for x, part in zip(LAYERS, parts, strict=True)}


def kept(masks) -> list[int]:
    return torch.cat([m.flatten() for m in masks.values()]).nonzero().flatten().tolist()


def test_budget_rounds_halves_up():
    assert [budget(10, d) for d in (0.05, 0.14, 0.15, 0.25, 1.0)] == [1, 1, 2, 3, 10]


def test_counts_by_largest_remainder():
    sizes = {"a": 10, "b": 10, "c": 10}
    assert kept_counts(sizes, {"a": 0.25, "b": 0.17, "c": 0.18}) == {"a": 2, "b": 2, "c": 2}
    assert kept_counts(sizes, dict.fromkeys("abc", 0.25)) == {
        "a": 3,
        "b": 3,
        "c": 2,
    }  # earlier first, 7.5 -> 8
    assert kept_counts(sizes, dict.fromkeys("abc", 0.25), total=7) == {"a": 3, "b": 2, "c": 2}
    assert kept_counts(sizes, {"a": 1.0, "b": 0.1 + 0.2, "c": 0.0}) == {"a": 10, "b": 3, "c": 0}
    for total in (5, 11):
        with pytest.raises(ReproError, match="wanted"):
            kept_counts(sizes, dict.fromkeys("abc", 0.25), total=total)


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0, 1)), min_size=1, max_size=8))
@settings(deadline=None, max_examples=100, derandomize=True)
def test_counts_are_whole_near_and_add_up(pairs):
    sizes = {str(i): n for i, (n, _) in enumerate(pairs)}
    densities = {str(i): d for i, (_, d) in enumerate(pairs)}
    found = kept_counts(sizes, densities)
    exact = math.fsum(n * d for n, d in pairs)
    assert abs(sum(found.values()) - exact) <= 0.5 + 1e-5
    for name, size in sizes.items():
        assert 0 <= found[name] <= size
        assert abs(found[name] - densities[name] * size) < 1 + 1e-5


@given(
    values=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]) | st.floats(-5, 5), min_size=1, max_size=60),
    share=st.floats(0, 1),
)
@settings(deadline=None, max_examples=200, derandomize=True)
def test_top_k_is_a_stable_sort(values, share):
    k = round(share * len(values))
    best = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    found = top_k(torch.tensor(values, dtype=torch.float64), k)
    assert found.nonzero().flatten().tolist() == sorted(best)


@given(
    parts=st.lists(
        st.lists(st.sampled_from([-1.0, 0.0, 2.0]) | st.floats(-5, 5, width=32), min_size=1, max_size=20),
        min_size=1,
        max_size=6,
    ),
    share=st.floats(0, 1),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(deadline=None, max_examples=200, derandomize=True)
def test_vectors_rank_together_as_if_they_were_one(parts, share, dtype):
    tensors = [torch.tensor(part, dtype=dtype) for part in parts]
    joined = torch.cat(tensors)
    k = round(share * len(joined))
    marks = highest(tensors, k)
    assert [len(mark) for mark in marks] == [len(part) for part in parts]
    best = joined.sort(descending=True, stable=True).indices[:k]
    assert torch.cat(marks).nonzero().flatten().tolist() == sorted(best.tolist())
    if k:
        assert ranked(tensors, k) == joined.sort(descending=True).values[k - 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["spread", "few values", "mostly pruned", "sorted", "equal", "misleading"])
def test_top_k_of_many_entries(kind, dtype):
    n = 5 * SAMPLE
    flat = torch.rand(n, generator=stream(0, "many"), dtype=dtype)
    if kind == "few values":
        flat = (flat * 5).floor()
    elif kind == "mostly pruned":
        flat[flat < 0.9] = -1.0
    elif kind == "sorted":
        flat = flat.sort().values
    elif kind == "equal":
        flat = torch.zeros(n, dtype=dtype)
    elif kind == "misleading":  # every entry that a strided sample sees is high
        flat[::5] += 10
    order = flat.sort(descending=True, stable=True).indices
    for k in (1, 77, n // 50, n // 10 - 3, n // 10, n // 2, n - 1):
        found = top_k(flat, k)
        assert found.sum() == k
        assert found[order[:k]].all()
        assert torch.equal(torch.cat(highest(flat.split(SAMPLE // 3), k)), found)
    assert not top_k(flat, 0).any() and top_k(flat, n).all()


# 10 scores with a tie in the middle; density 0.5
TIED = torch.tensor([1.0, 2, 3, 4, 5, 5, 5, 8, 9, 10], dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "density", "expected"),
    [
        ("exact", 0.5, [4, 5, 7, 8, 9]),
        ("exact", 0.25, [7, 8, 9]),  # half up
        ("c1", 0.5, [4, 5, 6, 7, 8, 9]),  # 5th largest is 5: ties added
        ("c1", 0.39, [7, 8, 9]),  # int(3.9)
        ("c1", 0.05, []),
        ("c2", 0.5, [4, 5, 6, 7, 8, 9]),  # 5th of those to remove is kept
        ("c2", 0.75, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("c2", 0.95, list(range(10))),
        ("c3", 0.5, [7, 8, 9]),  # 5th smallest is 5: ties removed
        ("c3", 0.75, [2, 3, 4, 5, 6, 7, 8, 9]),
        ("c3", 0.95, list(range(10))),
        ("c4", 0.5, [7, 8, 9]),  # above the 5th largest
        ("c4", 0.3, [8, 9]),
        ("c4", 0.05, []),
        ("c5", 0.5, [7, 8, 9]),  # median 5
        ("c5", 0.8, [2, 3, 4, 5, 6, 7, 8, 9]),  # 2.8 lies between 2 and 3
        ("c6", 0.5, [7, 8, 9]),  # sorted[5] is 5
        ("c6", 0.75, [3, 4, 5, 6, 7, 8, 9]),  # sorted[2] is 3, itself removed
    ],
)
def test_published_thresholds(name, density, expected):
    for parts in ([TIED], TIED.split(5), TIED.split(1)):
        found = CONVENTIONS[name](parts, 10 * density, 10 * (1 - density))
        assert [len(mark) for mark in found] == [len(part) for part in parts]
        assert torch.cat(found).nonzero().flatten().tolist() == expected


def test_the_removing_index_may_lie_beyond_the_scores():
    with pytest.raises(ReproError, match="c6"):
        CONVENTIONS["c6"]([TIED], 0.0, 10.0)


def test_global_threshold_crosses_layers():
    masks = choose(scores_of(*range(20)), LAYERS, 0.25)
    assert kept(masks) == [15, 16, 17, 18, 19]
    assert masks.collapsed() == ["a", "b"]
    assert kept(choose(scores_of(*[1.0] * 20), LAYERS, 0.25)) == [0, 1, 2, 3, 4]


def test_within_an_allocation_scores_rank_inside_each_layer():
    masks = choose(scores_of(*range(20)), LAYERS, 0.5, "uniform")
    assert kept(masks) == [2, 3, 8, 9, 10, 11, 16, 17, 18, 19]
    masks = choose(
        scores_of(*range(20)), LAYERS, 0.25, "balanced", allocation_options={"redistribute": False}
    )
    assert masks.kept_per_layer() == {"a": 2, "b": 2, "c": 1}
    tied = choose(scores_of(*[0.0] * 20), LAYERS, 0.5, "uniform", "c1")
    assert tied.density == 1  # every tie is kept, in every layer


def test_an_allocation_that_meets_the_budget_rounds_as_the_global_one_does():
    layers = (Layer("a", (6, 10), "linear", "body"), Layer("b", (4, 10), "linear", "last"))
    scores = {x.name: torch.arange(x.numel, dtype=torch.float64).reshape(x.shape) for x in layers}
    for density in (0.145, 0.155, 0.285):  # 100 * 0.145 is a little less than 14.5
        wanted = choose(scores, layers, density).kept
        assert wanted == budget(100, density)
        assert choose(scores, layers, density, "uniform").kept == wanted


def test_dense_layers_count_or_not():
    scores = scores_of(*range(20))
    counted = choose(scores, LAYERS, 0.5, keep_dense=("first",))
    assert kept(counted) == [0, 1, 2, 3, 14, 15, 16, 17, 18, 19]
    extra = choose(scores, LAYERS, 0.5, keep_dense=("first",), count_dense=False)
    assert kept(extra) == [0, 1, 2, 3, *range(12, 20)]
    both = choose(scores, LAYERS, 0.7, "uniform", keep_dense=("first", "last"))
    assert both.kept_per_layer() == {"a": 4, "b": 2, "c": 8}
    assert choose(scores, LAYERS, 0.7, "uniform", keep_dense=("last",), count_dense=False).kept == 8 + 8


def test_magnitude_of_su_et_al_by_hand():
    # of 20, the classifier's 8 are kept but counted: int(20 * 0.5) = 10 of the 12 others go, and one more
    masks = choose(scores_of(*range(20)), LAYERS, 0.5, convention="c6", keep_dense=("last",))
    assert kept(masks) == [11, *range(12, 20)]


def test_infeasible_or_meaningless_requests():
    scores = scores_of(*range(20))
    with pytest.raises(ReproError, match=r"smallest is 0\.45"):
        choose(scores, LAYERS, 0.4, keep_dense=("last",))
    with pytest.raises(ReproError, match=r"smallest is 0\.05"):
        choose(scores, LAYERS, 0.01)
    for density in (0.0, -0.1, 1.1, math.nan):
        with pytest.raises(ReproError, match=r"\(0, 1\]"):
            choose(scores, LAYERS, density)
    with pytest.raises(ReproError, match="selection 'exakt'"):
        choose(scores, LAYERS, 0.5, convention="exakt")
    with pytest.raises(ReproError, match="did you mean 'erk'"):
        choose(scores, LAYERS, 0.5, "erks")


@pytest.mark.parametrize(
    ("value", "word"), [(math.nan, "NaN"), (math.inf, "infinite"), (-math.inf, "infinite")]
)
def test_scores_must_be_finite(value, word):
    scores = scores_of(*range(20))
    scores["b"][1, 1] = value
    with pytest.raises(ReproError, match=f"{word} scores in layer b"):
        choose(scores, LAYERS, 0.5)


def test_bernoulli_keeps_each_entry_by_itself():
    layers = (Layer("a", (200, 100), "linear", "body"), Layer("b", (100, 100), "linear", "body"))
    scores = {x.name: torch.rand(x.shape, generator=stream(0, x.name), dtype=torch.float64) for x in layers}
    masks = choose(scores, layers, 0.3, "balanced", sampler="bernoulli")
    for name, density in masks.layer_densities().items():
        assert density == pytest.approx({"a": 0.225, "b": 0.45}[name], abs=0.02)
    assert masks.kept != 9000  # which the exact sampler keeps
    assert choose(scores, layers, 0.3, "balanced").kept == 9000
