"""Scores against closed forms and finite differences, and properties of every score in every allocation."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from repro.checks import SCORE_CHECKS
from repro.errors import ReproError
from repro.masks import Masks
from repro.models import build, prunable
from repro.pruners import (
    ALLOCATIONS,
    SCORES,
    Context,
    choose,
    make_masks,
    needs_data,
    needs_pretraining,
)
from repro.pruners.scores import gradient_flow
from repro.rng import stream

CLASSES, SHAPE = 4, (3, 6, 6)


class Tiny(nn.Module):
    """Two convolutions with batch norm, a residual branch with a shortcut, dropout, one classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.body = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(6, 8, 1, bias=False)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(self.body(x) + self.shortcut(x))
        return self.head(self.drop(x.mean((2, 3))))


def tiny(seed=0, dtype=torch.float32) -> nn.Module:
    model, generator = Tiny().to(dtype), stream(seed, "tiny")
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                tensor.normal_(generator=generator)
                if "norm" in name:
                    tensor.abs_().add_(0.5)
    return model


def sample(per_class: int, draw: int) -> tuple[Tensor, Tensor]:
    images = torch.randn(per_class * CLASSES, *SHAPE, generator=stream(draw, "images", per_class))
    return images, torch.arange(CLASSES).repeat_interleave(per_class)


def batch(size: int, draw: int) -> tuple[Tensor, Tensor]:
    generator = stream(draw, "batch", size)
    return torch.randn(size, *SHAPE, generator=generator), torch.randint(
        CLASSES, (size,), generator=generator
    )


def context(model: nn.Module | None = None, density=0.2, seed=0, **changes) -> Context:
    model = model or tiny()
    trained = {n: t + 0.1 for n, t in model.state_dict().items()}
    known: dict[str, Any] = dict(shape=SHAPE, classes=CLASSES, sample=sample, batch=batch, trained=trained)
    known |= changes
    return Context(model, prunable(model), stream(seed, "pruner"), density=density, **known)


def flat(scores) -> Tensor:
    return torch.cat([s.flatten() for s in scores.values()])


# --- magnitude and random


def test_magnitude_reads_the_weights_it_is_asked_for():
    ctx = context()
    for of, state in (("trained", ctx.trained), ("init", ctx.model.state_dict())):
        assert state is not None
        for name, score in SCORES["magnitude"](ctx, of=of).items():
            assert torch.equal(score, state[name].abs())
    with pytest.raises(ReproError, match="no trained weights"):
        SCORES["magnitude"](context(trained=None))


def test_random_scores_are_uniform():
    score = flat(SCORES["random"](context(build("resnet8", classes=4, channels=3, generator=stream(0, "m")))))
    assert score.min() >= 0 and score.max() < 1 and score.dtype == torch.float64
    histogram = torch.histc(score, 10, 0, 1) / len(score)
    assert (histogram - 0.1).abs().max() < 0.01


def test_what_a_score_needs():
    assert {n for n in SCORES if needs_pretraining(n)} == {"magnitude"}
    assert {n for n in SCORES if needs_data(n)} == {"magnitude", "snip", "grasp"}
    assert not needs_pretraining("magnitude", {"of": "init"}) and not needs_data("magnitude", {"of": "init"})


# --- SNIP


def loss_with(model: nn.Module, changed: dict[str, Tensor], images: Tensor, labels: Tensor, bn: str) -> float:
    twin = copy.deepcopy(model).eval()
    twin.load_state_dict({**twin.state_dict(), **changed})
    if bn == "train":
        twin.get_submodule("norm").train()
    with torch.no_grad():
        return float(F.cross_entropy(twin(images), labels))


@pytest.mark.parametrize("bn", ["train", "eval"])
@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize("size", [{"samples_per_class": 3}, {"batch_size": 7}], ids=str)
def test_snip_is_the_slope_along_a_mask_multiplier(bn, batches, size):
    model = tiny(dtype=torch.float64)
    ctx, step = context(model), 1e-5
    scores = SCORES["snip"](ctx, **size, batches=batches, bn=bn)
    for name, index in [("stem.weight", 0), ("body.weight", 17), ("shortcut.weight", 5), ("head.weight", 9)]:
        slope = 0.0
        for draw in range(batches):
            images, labels = sample(3, draw) if "samples_per_class" in size else batch(7, draw)
            losses = []
            for multiplier in (1 + step, 1 - step):
                weight = model.state_dict()[name].clone()
                weight.view(-1)[index] *= multiplier
                losses.append(loss_with(model, {name: weight}, images.double(), labels, bn))
            slope += (losses[0] - losses[1]) / (2 * step)
        assert scores[name].flatten()[index].item() == pytest.approx(abs(slope), rel=1e-5)


def test_snip_takes_one_size_of_batch_and_needs_a_source_for_it():
    with pytest.raises(ReproError, match="samples_per_class is not used with batch_size"):
        SCORES["snip"](context(), samples_per_class=3, batch_size=7)
    with pytest.raises(ReproError, match="no source of random images"):
        SCORES["snip"](context(batch=None), batch_size=7)
    assert needs_data("snip", {"batch_size": 7})


@given(
    size=st.sampled_from([{}, {"samples_per_class": 2}, {"batch_size": 2}, {"batch_size": 9}]),
    batches=st.sampled_from([1, 3]),
    reinit=st.sampled_from(["none", "xavier_normal"]),
    bn=st.sampled_from(["train", "eval"]),
    density=st.floats(0.02, 0.9),
    change=st.sampled_from([None, *SCORE_CHECKS.values()]),
)
@settings(deadline=None, max_examples=40, derandomize=True)
def test_every_way_of_snip_scores_each_weight_and_meets_the_budget(
    size, batches, reinit, bn, density, change
):
    options = {**size, "batches": batches, "reinit": reinit, "bn": bn}
    scores = SCORES["snip"](context(), **options)
    assert {n: s.shape for n, s in scores.items()} == {x.name: x.shape for x in prunable(tiny())}
    assert all(s.min() >= 0 for s in scores.values()) and flat(scores).sum() > 0
    assert torch.equal(flat(scores), flat(SCORES["snip"](context(), **options)))
    masks = make_masks(context(density=density), score="snip", score_options=options, change=change)
    assert masks.kept == math.floor(masks.total * density + 0.5)
    others = [
        {**size, "batches": 4 - batches},
        {**options, "reinit": "none" if reinit != "none" else "xavier_normal"},
    ]
    others += [{**options, "bn": "eval" if bn == "train" else "train"}]
    others += [{k: v for k, v in options.items() if k not in size} | {"batch_size": 11}]
    for other in others:  # no option does nothing
        assert not torch.equal(flat(scores), flat(SCORES["snip"](context(), **other)))


def test_snip_with_other_weights_sees_them_and_not_ours():
    ours, others = tiny(0), tiny(1)
    others.load_state_dict(
        {**ours.state_dict(), **{x.name: others.state_dict()[x.name] for x in prunable(others)}}
    )
    redrawn = [SCORES["snip"](context(m), reinit="xavier_normal") for m in (ours, others)]
    assert torch.equal(flat(redrawn[0]), flat(redrawn[1]))
    assert not torch.equal(flat(redrawn[0]), flat(SCORES["snip"](context(ours))))
    assert not torch.equal(
        flat(redrawn[0]), flat(SCORES["snip"](context(ours, seed=1), reinit="xavier_normal"))
    )


def test_batch_norm_mode_changes_the_scores():
    for name in ("snip", "grasp"):
        train, evaluation = (flat(SCORES[name](context(), bn=bn)) for bn in ("train", "eval"))
        assert not torch.allclose(train, evaluation)
        with pytest.raises(ReproError, match="batch norm mode"):
            SCORES[name](context(), bn="evil")


# --- GraSP


def test_gradient_flow_of_a_quadratic():
    generator = stream(0, "quadratic")
    a = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    a = a + a.T
    w = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    (found,) = gradient_flow([lambda: 0.5 * w @ a @ w], [w])
    assert torch.allclose(found, w.detach() * (a @ a @ w.detach()))  # minus S = -w (A A w): high is kept
    # two losses: gradients and Hessians both add up, (A + A)(A + A) = 4 A A
    (twice,) = gradient_flow([lambda: 0.5 * w @ a @ w] * 2, [w])
    assert torch.allclose(twice, 4 * found)


@pytest.mark.parametrize(("number", "calls"), [(1, 1), (2, 2), (3, 6)])
def test_gradient_flow_keeps_few_graphs_and_computes_many_again(number, calls):
    w, seen = torch.tensor([3.0], dtype=torch.float64, requires_grad=True), []

    def loss() -> Tensor:
        seen.append(1)
        return (w**3).sum()

    (found,) = gradient_flow([loss] * number, [w])
    # g = 3 w^2 = 27 and H = 6 w = 18 of each loss, so that w (H g) = 3 * 18 n * 27 n
    assert found.item() == 3 * 18 * 27 * number**2
    assert len(seen) == calls and w.grad is None


def test_gradient_flow_crosses_layers():
    u, v = (torch.tensor([x], dtype=torch.float64, requires_grad=True) for x in (2.0, 3.0))
    first, second = gradient_flow([lambda: (u * v).sum() ** 2 / 2], [u, v])
    # L = u^2 v^2 / 2: g = (u v^2, u^2 v) = (18, 12), H = ((v^2, 2uv), (2uv, u^2)) = ((9, 12), (12, 4))
    assert (first.item(), second.item()) == (2 * (9 * 18 + 12 * 12), 3 * (12 * 18 + 4 * 12))


@pytest.mark.parametrize("halves", [True, False])
def test_grasp_is_the_change_of_gradient_flow(halves):
    """w (H g) is half the slope of |g|^2 along the weight's multiplier."""
    model = tiny(dtype=torch.float64)
    options = dict(samples_per_class=2, temperature=5.0, bn="train", reinit_last=False, halves=halves)
    scores = SCORES["grasp"](context(model), **options)
    images, labels = (x.double() if x.is_floating_point() else x for x in sample(2, 0))
    parts = [slice(0, 4), slice(4, 8)] if halves else [slice(0, 8)]
    names = [x.name for x in prunable(model)]

    def flow(state: dict[str, Tensor]) -> float:
        twin = copy.deepcopy(model).eval()
        twin.get_submodule("norm").train()  # by batch statistics it matters which images share a half
        twin.load_state_dict(state)
        weights = [twin.get_parameter(n) for n in names]
        loss = sum(F.cross_entropy(twin(images[p]) / 5.0, labels[p]) for p in parts)
        return sum(float((g**2).sum()) for g in torch.autograd.grad(loss, weights))  # type: ignore[arg-type]

    for name, index, step in [("stem.weight", 3, 1e-5), ("body.weight", 40, 1e-5), ("head.weight", 7, 1e-5)]:
        flows = []
        for multiplier in (1 + step, 1 - step):
            state = {n: t.clone() for n, t in model.state_dict().items()}
            state[name].view(-1)[index] *= multiplier
            flows.append(flow(state))
        expected = (flows[0] - flows[1]) / (4 * step)
        assert scores[name].flatten()[index].item() == pytest.approx(expected, rel=1e-4)


def test_grasp_redraws_the_classifier_for_scoring_only():
    ours, other = tiny(0), tiny(0)
    with torch.no_grad():
        other.get_parameter("head.weight").mul_(-3)
    (a, b), (c, d) = (
        [flat(SCORES["grasp"](context(m), reinit_last=again)) for m in (ours, other)]
        for again in (True, False)
    )
    assert torch.equal(a, b)
    assert not torch.allclose(c, d)
    assert not torch.equal(a, c)


def test_grasp_options_each_change_the_score():
    base = flat(SCORES["grasp"](context()))
    for options in (
        {"temperature": 1.0},
        {"halves": False},
        {"batches": 2},
        {"samples_per_class": 5},
        {"double": True},
    ):
        other = flat(SCORES["grasp"](context(), **options))
        assert not torch.equal(other.to(base.dtype), base), options
    assert flat(SCORES["grasp"](context(), double=True)).dtype == torch.float64


# --- SynFlow


def absolute_output(model: nn.Module, shape: tuple[int, ...]) -> float:
    twin = copy.deepcopy(model).double().eval()
    for tensor in twin.state_dict().values():
        tensor.abs_()
    return twin(torch.ones(1, *shape, dtype=torch.float64)).sum().item()


def test_synflow_is_conserved_through_the_layers_of_a_plain_network():
    model = build("vgg11", classes=10, channels=3, generator=stream(0, "m"), width=0.25)
    whole = absolute_output(model, (3, 16, 16))
    scores = SCORES["synflow"](context(model, shape=(3, 16, 16)), iterations=1)
    assert all(s.dtype == torch.float64 and s.min() >= 0 for s in scores.values())
    for score in scores.values():
        assert score.sum().item() == pytest.approx(whole, rel=1e-9)


def test_synflow_is_conserved_where_all_paths_of_a_residual_network_meet():
    model = build("resnet20", classes=10, channels=3, generator=stream(0, "m"), width=0.25)
    whole = absolute_output(model, (3, 16, 16))
    sums = [
        s.sum().item() for s in SCORES["synflow"](context(model, shape=(3, 16, 16)), iterations=1).values()
    ]
    assert sums[0] == pytest.approx(whole, rel=1e-9) and sums[-1] == pytest.approx(whole, rel=1e-9)
    assert max(sums[1:-1]) < whole * (1 - 1e-6)


@pytest.mark.parametrize(
    ("schedule", "densities"),
    [("exponential", [0.5, 0.25, 0.125]), ("linear", [0.78125, 0.5625, 0.34375])],
)
def test_synflow_prunes_step_by_step_and_never_goes_back(schedule, densities):
    ctx, seen = context(density=0.0625 if schedule == "exponential" else 0.125), []

    def select(scores, density):
        seen.append((density, choose(scores, ctx.layers, density)))
        return seen[-1][1]

    object.__setattr__(ctx, "select", select)
    final = SCORES["synflow"](ctx, iterations=4, schedule=schedule)
    assert [d for d, _ in seen] == pytest.approx(densities)
    for (_, before), (_, after) in itertools.pairwise(seen):
        assert all((after[n] <= before[n]).all() for n in before)
    last = seen[-1][1]
    assert all((final[n][~last[n]] == -1).all() and (final[n][last[n]] >= 0).all() for n in last)


def plainly(model: nn.Module, shape: tuple[int, int, int], density: float, iterations: int) -> list[Tensor]:
    """SynFlow as one would write it down: library convolutions, one stable sort of all scores a step."""
    twin = copy.deepcopy(model).double().eval()
    for tensor in twin.state_dict().values():
        tensor.abs_()
    weights = [twin.get_parameter(x.name) for x in prunable(model)]
    keep = [torch.ones_like(w, dtype=torch.bool) for w in weights]
    for step in range(1, iterations + 1):
        slopes = torch.autograd.grad(twin(torch.ones(1, *shape, dtype=torch.float64)).sum(), weights)
        scores = [torch.where(k, w * s, -1) for k, w, s in zip(keep, weights, slopes, strict=True)]
        joined = torch.cat([s.flatten() for s in scores])
        best = joined.sort(descending=True, stable=True).indices
        chosen = torch.zeros(len(joined), dtype=torch.bool)
        chosen[best[: math.floor(len(joined) * density ** (step / iterations) + 0.5)]] = True
        parts = chosen.split([w.numel() for w in weights])
        keep = [part.view(w.shape) for part, w in zip(parts, weights, strict=True)]
        with torch.no_grad():
            for w, k in zip(weights, keep, strict=True):
                w.mul_(k)
    return keep


@pytest.mark.parametrize("density", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("name", ["tiny", "resnet8", "vgg11"])
def test_synflow_masks_are_those_of_the_plain_algorithm(name, density):
    generator = stream(0, "m")
    model = tiny() if name == "tiny" else build(name, classes=4, channels=3, generator=generator, width=0.25)
    shape = (3, 16, 16)
    masks = make_masks(
        context(model, density, shape=shape), score="synflow", score_options={"iterations": 20}
    )
    for found, wanted in zip(masks.values(), plainly(model, shape, density, 20), strict=True):
        assert torch.equal(found, wanted)


class Odd(nn.Module):
    """Every kind of convolution, and weights that are whole numbers: sums are exact, and many scores equal."""

    def __init__(self, zeros: float, seed: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 4, (3, 1), stride=(2, 1), padding=(0, 1), dilation=(1, 2), bias=False),
            nn.Conv2d(4, 4, 3, padding=1, groups=2),
            nn.Conv2d(4, 6, 3, padding="same"),
            nn.Conv2d(6, 4, 3, padding=1, padding_mode="circular"),
            nn.Conv2d(4, 5, 1, stride=2),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(5, CLASSES),
        )
        generator = stream(seed, "odd")
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randint(-2, 3, p.shape, generator=generator))
                p.mul_(torch.rand(p.shape, generator=generator) >= zeros)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@given(
    zeros=st.sampled_from([0.0, 0.3, 0.9]),
    density=st.sampled_from([0.9, 0.3, 0.02, 0.005]),
    iterations=st.sampled_from([1, 2, 30]),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=40, derandomize=True)
def test_synflow_settles_ties_and_collapse_as_the_plain_algorithm_does(zeros, density, iterations, seed):
    model = Odd(zeros, seed)
    ctx = context(model, density)
    masks = make_masks(ctx, score="synflow", score_options={"iterations": iterations})
    for found, wanted in zip(masks.values(), plainly(model, SHAPE, density, iterations), strict=True):
        assert torch.equal(found, wanted)


def test_synflow_scores_the_masked_network_anew():
    masks = [make_masks(context(), score="synflow", score_options={"iterations": n}) for n in (1, 100)]
    assert masks[0] != masks[1]
    assert not masks[1].collapsed()


def test_synflow_needs_double_precision_and_has_it():
    model = tiny()
    with torch.no_grad():
        for name in ("stem.weight", "body.weight", "head.weight"):
            model.get_parameter(name).mul_(1e15)
    assert absolute_output(model, SHAPE) > torch.finfo(torch.float32).max
    assert make_masks(context(model), score="synflow", score_options={"iterations": 5}).kept > 0


def test_synflow_and_random_see_no_data():
    def refuse(per_class: int, draw: int) -> tuple[Tensor, Tensor]:
        raise AssertionError("looked at data")

    for score in (n for n in SCORES if not needs_data(n)):
        make_masks(context(sample=refuse, trained=None), score=score)


# --- properties of every score in every allocation

FAST = {"synflow": {"iterations": 3}, "snip": {"samples_per_class": 2}, "grasp": {"samples_per_class": 2}}
OWN_SHARES = [a for a in ALLOCATIONS if a != "induced"]  # which takes those of another mask
PAIRS = [(s, a) for s in SCORES for a in ("global", *OWN_SHARES)]


@pytest.mark.parametrize(("score", "allocation"), PAIRS)
@given(density=st.floats(0.05, 0.95))
@settings(deadline=None, max_examples=6, derandomize=True)
def test_every_pair_meets_the_budget_and_touches_nothing(score, allocation, density):
    if allocation == "uniform_plus":
        density = 0.4 + density / 2  # its first layer alone is a quarter of this network
    ctx = context(density=density)
    before = copy.deepcopy(ctx.model.state_dict())
    modes = [m.training for m in ctx.model.modules()]
    rng = torch.get_rng_state()
    options = FAST.get(score, {})
    masks = make_masks(ctx, score=score, allocation=allocation, score_options=options)
    assert torch.equal(torch.get_rng_state(), rng)
    short = len(ctx.layers) + 1 if allocation == "smart_ratio" else 0
    wanted = math.floor(masks.total * density + 0.5)
    assert wanted - short <= masks.kept <= wanted
    assert [m.shape for m in masks.values()] == [x.shape for x in ctx.layers]
    assert (
        make_masks(context(density=density), score=score, allocation=allocation, score_options=options)
        == masks
    )
    for name, tensor in ctx.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert [m.training for m in ctx.model.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in ctx.model.parameters())


@pytest.mark.parametrize("score", SCORES)
def test_the_global_generator_is_not_read(score):
    masks = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        masks.append(make_masks(context(), score=score, score_options=FAST.get(score)))
    assert masks[0] == masks[1]


@pytest.mark.parametrize("allocation", ["global", *OWN_SHARES])
def test_random_tickets_differ_by_seed_and_keep_their_counts(allocation):
    first, second = (make_masks(context(None, 0.4, s), score="random", allocation=allocation) for s in (0, 1))
    assert first != second
    assert first.overlap(second) < first.expected_overlap(second) + 0.2
    if allocation != "global":
        assert first.kept_per_layer() == second.kept_per_layer()


def test_drawing_again_from_one_generator_gives_another_ticket():
    ctx = context()
    assert make_masks(ctx, score="random") != make_masks(ctx, score="random")


@pytest.mark.parametrize("score", SCORES)
def test_everything_is_kept_at_density_one(score):
    assert make_masks(context(density=1.0), score=score, allocation="smart_ratio").density == 1.0


@pytest.mark.parametrize("score", sorted(set(SCORES) - {"random"}))
def test_the_highest_scores_are_kept(score):
    options = FAST.get(score, {})
    masks = make_masks(context(), score=score, score_options=options)
    scores = SCORES[score](context(), **options)
    kept = torch.cat([scores[n][m] for n, m in masks.items()])
    pruned = torch.cat([scores[n][~m] for n, m in masks.items()])
    assert kept.min() >= pruned.max()


def test_dense_layers_stay_whole_in_iterative_scores_too():
    ctx = context(density=0.3)
    for score in ("synflow", "magnitude"):
        masks = make_masks(ctx, score=score, keep_dense=("last", "shortcut"))
        full = [n for n, d in masks.layer_densities().items() if d == 1]
        assert full == ["shortcut.weight", "head.weight"]
        assert masks.kept == math.floor(masks.total * 0.3 + 0.5)


def test_bernoulli_sampling_is_for_random_tickets():
    layers = prunable(tiny())
    how: dict[str, Any] = {"score": "random", "allocation": "erk", "sampler": "bernoulli"}
    counts = {make_masks(context(seed=s), **how).kept for s in range(9)}
    assert len(counts) > 3
    wanted = 0.2 * Masks.ones(layers).total
    assert sum(counts) / len(counts) == pytest.approx(wanted, rel=0.2)
    for key, value in {"score": "snip", "allocation": "global", "selection": "c1"}.items():
        with pytest.raises(ReproError, match="bernoulli"):
            make_masks(context(), **{**how, key: value})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_no_numbers_name_their_layer(value):
    model = tiny()
    with torch.no_grad():
        model.get_parameter("body.weight").view(-1)[0] = value
    with pytest.raises(ReproError, match=r"in layer (stem|body)\.weight"):
        make_masks(context(model, trained=None), score="magnitude", score_options={"of": "init"})
    with pytest.raises(ReproError, match="in layer "):
        make_masks(context(model), score="snip")


def test_unknown_words_are_told_with_the_nearest():
    cases: list[tuple[dict[str, Any], str]] = [
        ({"score": "snipp"}, "did you mean 'snip'"),
        ({"score": "snip", "allocation": "erkk"}, "did you mean 'erk'"),
        ({"score": "snip", "score_options": {"batch": 1}}, "did you mean 'batches'"),
        ({"score": "snip", "score_options": {"reinit": "xavier"}}, "did you mean 'xavier_normal'"),
        ({"score": "random", "allocation": "erk", "allocation_options": {"scale": 1}}, "redistribute"),
        ({"score": "random", "selection": "c7"}, "selection 'c7'"),
        ({"score": "random", "keep_dense": ("lost",)}, "did you mean 'last'"),
        ({"score": "random", "allocation": "erk", "sampler": "poisson"}, "sampler 'poisson'"),
        ({"score": "random", "allocation_options": {"redistribute": True}}, "allocation 'global'"),
    ]
    for changes, word in cases:
        with pytest.raises(ReproError, match=word):
            make_masks(context(), **changes)


# --- scores upside down

INVERT = SCORE_CHECKS["invert"]


def test_inverting_turns_any_ranking_and_leaves_the_scores():
    scores = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[-2.0, 5.0]], dtype=torch.float64)}
    before = copy.deepcopy(scores)
    turned = INVERT(scores)
    assert flat(turned).tolist() == [-3, 0, 2, -5] and turned["b"].dtype == torch.float64
    assert all(torch.equal(scores[n], before[n]) for n in before) and flat(INVERT(turned)).equal(flat(before))
    assert flat(turned).argsort().tolist() == flat(before).argsort(descending=True).tolist()


@pytest.mark.parametrize("score", SCORES)
@given(density=st.floats(0.02, 0.95))
@settings(deadline=None, max_examples=6, derandomize=True)
def test_an_inverted_score_keeps_as_many_and_none_of_the_best(score, density):
    options = FAST.get(score, {}) | ({"iterations": 1} if score == "synflow" else {})
    best, worst = (
        make_masks(context(density=density), score=score, score_options=options, change=change)
        for change in (None, INVERT)
    )
    assert worst.kept == best.kept == math.floor(best.total * density + 0.5)
    shared = sum(int((best[n] & worst[n]).sum()) for n in best)
    assert shared == max(0, 2 * best.kept - best.total)  # the scores of this network are all different
    assert worst != best


@pytest.mark.parametrize("allocation", [a for a in OWN_SHARES if a != "smart_ratio"])
def test_an_allocation_holds_for_inverted_scores_too(allocation):
    masks = [
        make_masks(context(density=0.45), score="magnitude", allocation=allocation, change=change)
        for change in (None, INVERT)
    ]
    assert masks[0].kept_per_layer() == masks[1].kept_per_layer() and masks[0] != masks[1]


@pytest.mark.parametrize("schedule", ["exponential", "linear"])
@given(density=st.sampled_from([0.5, 0.2, 0.05]), iterations=st.sampled_from([2, 7, 30]))
@settings(deadline=None, max_examples=8, derandomize=True)
def test_inverted_synflow_stays_nested_and_exact(schedule, density, iterations):
    ctx, seen = context(density=density), []

    def noting(scores):
        seen.append({n: s.clone() for n, s in scores.items()})
        return INVERT(scores)

    options = {"iterations": iterations, "schedule": schedule}
    masks = make_masks(ctx, score="synflow", score_options=options, change=noting)
    assert masks.kept == math.floor(masks.total * density + 0.5) and len(seen) == iterations
    pruned = [{n: s == -1 for n, s in scores.items()} for scores in seen]  # as SynFlow marks them
    for before, after in itertools.pairwise([*pruned, {n: ~m for n, m in masks.items()}]):
        assert all((before[n] <= after[n]).all() for n in before)
    assert sum(int(p.sum()) for p in pruned[-1].values()) > 0
    first, total = seen[0], masks.total
    gone = torch.cat([pruned[1][n].flatten() for n in first])
    assert flat(first)[gone].min() >= flat(first)[~gone].max() and 0 < int(gone.sum()) < total


def test_dense_layers_stay_whole_under_inverted_scores():
    masks = make_masks(
        context(density=0.4),
        score="synflow",
        score_options={"iterations": 5},
        keep_dense=("last",),
        change=INVERT,
    )
    assert masks["head.weight"].all() and masks.kept == math.floor(masks.total * 0.4 + 0.5)


def test_a_change_without_effect_is_refused():
    bernoulli: dict[str, Any] = {"score": "random", "allocation": "erk", "sampler": "bernoulli"}
    for density, how, word in [(1.0, {"score": "snip"}, "density 1"), (0.2, bernoulli, "does not rank")]:
        with pytest.raises(ReproError, match=f"no effect: .*{word}"):
            make_masks(context(density=density), **how, change=INVERT)
