"""Masks that are learned: slopes by formula and by hand, exact counts, and that stopping changes nothing."""

from __future__ import annotations

import copy
import itertools
import math
import threading
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_experiment import one
from test_step import Recorder, close
from test_train import digits, network, random_masks, same, settings
from torch import nn
from torch.nn.functional import cross_entropy

from repro import captured, optim, record, underway
from repro.batches import batches
from repro.captured import make_step
from repro.checkpoint import load_tensors
from repro.errors import ReproError
from repro.evaluation import evaluate
from repro.experiment import make_ticket, masks_file, run, weights_file
from repro.keeping import kept
from repro.learned import (
    Learner,
    SoftThreshold,
    Subnetwork,
    choose,
    level_counts,
    parametrize_,
    parts_of,
    plain_,
    plain_state,
)
from repro.learned.subnetwork import by_sorting
from repro.masks import Masks
from repro.models import prunable
from repro.pruners.ranking import top_k
from repro.settings import Settings, parse
from repro.sparse_training import METHODS, Popup, Soft, train_ratio
from repro.step import Step, rates, trained_weight
from repro.ticketfile.runs import final
from repro.train import Outcome, Stopped, train

STR = {"sparse": {"method": "str", "start": -10, "decay": 0.5}}
POPUP = {"sparse": {"method": "edge_popup", "density": 0.2}}
LEVELS = {"sparse": {"method": "edge_popup", "density": 0.1, "levels": 3, "anneal": True, "first": 0.6}}
TICKET = {"ticket": {"score": "random", "allocation": "uniform", "density": 0.4}}
INIT = {"model": {"name": "resnet8", "width": 0.25, "init": "kaiming_normal_fan_in_all"}}


def soft(**over: Any) -> Soft:
    made = METHODS["str"](**over)
    assert isinstance(made, Soft)
    return made


def popup(**over: Any) -> Popup:
    made = METHODS["edge_popup"](**{"density": 0.2, **over})
    assert isinstance(made, Popup)
    return made


def trained(
    over: Mapping[str, Any], density: float | None = None, **more: Any
) -> tuple[Settings, nn.Module, Outcome]:
    """Train a small network whose masks are learned, within a random mask of some density, if any."""
    s = settings(**over)
    data = digits(s)
    model = network(s, data)
    masks = None if density is None else random_masks(model, density)
    return s, model, train(model, data, s, masks=masks, **more)


# Soft thresholds


@pytest.mark.parametrize(("function", "number"), [("sigmoid", 0.0), ("exponential", math.log(0.5))])
def test_a_soft_threshold_by_hand(function: str, number: float) -> None:
    w = torch.tensor([-2.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0])
    part = SoftThreshold(soft(start=number, function=function), w)
    assert part.threshold.item() == pytest.approx(0.5)
    torch.testing.assert_close(part(w), torch.tensor([-1.5, 0, 0, 0, 0, 0, 0.5]))
    assert part.alive(w).equal(part(w) != 0)


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=8),
    st.floats(-3, -0.1),
    st.sampled_from(["sigmoid", "exponential"]),
)
def test_slopes_of_weights_and_threshold_are_those_of_the_formula(
    values: list[float], number: float, function: str
) -> None:
    """dL/dw = G 1[|w| > g], dL/ds = -g'(s) sum G sign(w) 1[|w| > g]; and so do finite differences say."""
    w = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    part = SoftThreshold(soft(start=number, function=function), w)
    slope = torch.arange(1.0, len(w) + 1, dtype=torch.float64)
    (part(w) * slope).sum().backward()
    g = 1 / (1 + math.exp(-number)) if function == "sigmoid" else math.exp(number)
    steep = g * (1 - g) if function == "sigmoid" else g
    above = (w.detach().abs() > g).double()
    assert w.grad is not None and part.number.grad is not None
    torch.testing.assert_close(w.grad, slope * above)
    expected = -steep * (slope * w.detach().sign() * above).sum()
    torch.testing.assert_close(part.number.grad, expected)
    if (w.detach().abs() - g).abs().min() > 1e-3:
        h, found = 1e-6, []
        for shift in (h, -h):
            moved = SoftThreshold(soft(start=number + shift, function=function), w)
            found.append((moved(w.detach()) * slope).sum().item())
        assert (found[0] - found[1]) / (2 * h) == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("function", ["sigmoid", "exponential"])
def test_at_the_usual_start_nothing_is_pruned_and_only_decay_moves_a_threshold(function: str) -> None:
    over = {"sparse": {"method": "str", "function": function, "decay": 0.5}, "optim.decay_1d": False}
    s = settings(**over, **{"optim.momentum": 0.0})
    data = digits(s)
    plain, model = network(s, data), network(s, data)
    parametrize_(model, s)
    assert all(torch.equal(v, plain.state_dict()[k]) for k, v in plain_state(model).items())
    step, bare = Step(model, s), Step(plain, settings(**{"optim.decay_1d": False, "optim.momentum": 0.0}))
    x, y = next(iter(batches(data.train, data, s, 0)))
    step(x, y, 0.1)
    bare(x, y, 0.1)
    for part in parts_of(model).values():
        assert isinstance(part, SoftThreshold) and part.number.grad == 0
        assert part.number.item() == pytest.approx(-200 * (1 - 0.1 * 0.5))
    plain_(model)
    close(plain, model)


def test_thresholds_have_a_decay_and_a_rate_of_their_own() -> None:
    for over, decay in (({}, 0.3), ({"decay": 0.0, "start": -5}, 0.0), ({"decay": 2.0}, 2.0)):
        s = settings(
            sparse={"method": "str", "rate": 4.0, **over},
            **{"optim.weight_decay": 0.3, "optim.decay_1d": False},
        )
        model = network(s, digits(s))
        parametrize_(model, s)
        step = Step(model, s)
        step._set_rate(0.01)
        numbers = {id(p.number) for p in parts_of(model).values() if isinstance(p, SoftThreshold)}
        seen = 0
        for group in step.optimizer.param_groups:
            mine = {id(p) for p in group["params"]} & numbers
            seen += len(mine)
            if mine:
                assert len(mine) == len(group["params"])
            assert group["lr"] == (0.04 if mine else 0.01)
            if mine:
                assert group["weight_decay"] == decay
        assert seen == len(numbers) == len(prunable(model)) > 5


def test_layers_kept_dense_have_no_threshold() -> None:
    s, _, outcome = trained({"sparse": {"method": "str", "start": 0, "keep_dense": ["first", "last"]}})
    assert outcome.moves is not None and outcome.masks is not None
    layers, courses = prunable(network(s, digits(s))), outcome.moves["courses"]
    for layer in layers:
        assert ("threshold_curve" in courses[layer.name]) == (layer.role not in ("first", "last"))
        if layer.role in ("first", "last"):
            assert outcome.masks[layer.name].all()
    assert outcome.masks.density < 0.5, "a threshold of one half cuts the others"


def test_the_weight_decay_of_thresholds_decides_how_much_is_pruned() -> None:
    found = []
    for decay in (0.0, 0.3, 0.6, 1.0):
        sparse = {"method": "str", "start": -10, "decay": decay}
        outcome = trained({"sparse": sparse, "optim.momentum": 0.0, "optim.epochs": 6})[2]
        assert outcome.masks is not None
        found.append(outcome.masks.density)
    assert found[0] > 0.99
    assert all(later < sooner for sooner, later in itertools.pairwise(found))


def test_within_a_ticket_weights_are_soft_and_the_rest_is_zero_with_its_past() -> None:
    s = settings(**STR, **{"optim.epochs": 2})
    data = digits(s)
    model = network(s, data)
    masks = random_masks(model)
    held = parametrize_(model, s, masks)
    assert held is masks
    step = Step(model, s, held)
    learner = Learner(s, step, masks, {name: 1 for name in masks}, 4)
    for number, (x, y) in enumerate(batches(data.train, data, s, 0)):
        learner(x, y, 0.1, number)
    state, now = plain_state(model), learner.masks
    assert now.kept < Masks(masks).kept
    for name, mask in masks.items():
        w, part = trained_weight(model, name), parts_of(model)[name]
        assert isinstance(part, SoftThreshold)
        g = torch.sigmoid(part.number)
        assert torch.equal(state[name], mask * w.sign() * (w.abs() - g).clamp(min=0))
        assert torch.all(w[~mask] == 0) and torch.all(step.past(w)[0][~mask] == 0)
        assert torch.equal(now[name], (w.abs() > g) & mask)
        assert torch.equal(now[name], state[name] != 0)
        assert part.number.grad is not None and part.number != -10


# Choosing


@given(st.lists(st.integers(-2, 3), min_size=1, max_size=30), st.data())
def test_the_sort_that_a_gpu_takes_chooses_what_a_processor_does(values: list[int], data: Any) -> None:
    k = data.draw(st.integers(0, len(values)))
    worth = torch.tensor(values, dtype=torch.float32)
    assert by_sorting(worth, torch.tensor(k)).equal(top_k(worth, k))
    assert choose(worth, torch.tensor(k)).equal(top_k(worth, k))


def test_equal_scores_of_a_convolution_choose_its_first_entries() -> None:
    s = settings(sparse={"method": "edge_popup", "density": 0.3, "scores": "constant"})
    model = network(s, digits(s))
    masks = random_masks(model, 0.5)
    parametrize_(model, s, masks)
    for layer in prunable(model):
        part = parts_of(model)[layer.name]
        assert isinstance(part, Subnetwork)
        k = round(0.3 * layer.numel + 1e-9)
        alive = part.alive(trained_weight(model, layer.name))
        if layer.kind == "conv":
            assert torch.all(part.scores == 0.5)
            first = masks[layer.name].flatten().nonzero().flatten()[:k]
            assert alive.flatten().nonzero().flatten().equal(first)
        else:
            assert part.scores.std() > 0


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_nothing_outside_the_ticket_is_chosen_even_when_scores_are_gone(value: float) -> None:
    allowed = torch.tensor([False, True, False, True, True])
    part = Subnetwork(torch.full((5,), value), allowed, 2)
    assert part.alive(torch.ones(5)).tolist() == [False, True, False, True, False]


def test_scores_are_drawn_from_their_own_stream_within_their_bounds() -> None:
    s = settings(**POPUP, seed=1, **INIT)
    drawn = []
    for t in (s, s, settings(**POPUP, seed=2, **INIT)):
        model = network(s, digits(s))
        torch.manual_seed(len(drawn))
        parametrize_(model, t)
        parts = parts_of(model)
        drawn.append([parts[x.name].scores.detach() for x in prunable(model)])  # type: ignore[union-attr]
        for layer, scores in zip(prunable(model), drawn[-1], strict=True):
            bound = 1 / math.sqrt(layer.numel / layer.shape[0])
            assert bound * 0.7 < scores.abs().max() <= bound
    assert all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(drawn[0], drawn[2], strict=True))


def test_the_slope_of_scores_is_that_of_the_mask_by_finite_differences() -> None:
    """Each entry of the mask in turn is moved a little off 0 or 1, in double precision; signs follow |score|."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(6, 4, generator=g, dtype=torch.float64), torch.arange(6) % 3
    layer = nn.Linear(4, 3, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 4, generator=g))
    model = nn.Sequential(layer)
    s, masks = settings(**POPUP), Masks({"0.weight": torch.rand(3, 4, generator=g) < 0.7})
    parametrize_(model, s, masks)
    part = parts_of(model)["0.weight"]
    assert isinstance(part, Subnetwork)
    cross_entropy(model(x), y).backward()
    mask, w = part.alive(layer.weight).double(), trained_weight(model, "0.weight").detach()
    assert mask.sum() == 2 and not w.requires_grad

    def loss(m: torch.Tensor) -> float:
        return cross_entropy(x @ (w * m).T, y).item()

    slopes, h = torch.zeros(12, dtype=torch.float64), 1e-5
    for i in range(12):
        shift = torch.zeros(12, dtype=torch.float64)
        shift[i] = h
        slopes[i] = (loss(mask + shift.reshape(3, 4)) - loss(mask - shift.reshape(3, 4))) / (2 * h)
    expected = slopes.reshape(3, 4) * part.scores.detach().sign() * masks["0.weight"]
    assert part.scores.grad is not None
    torch.testing.assert_close(part.scores.grad, expected, rtol=1e-6, atol=1e-9)
    assert expected.count_nonzero() > mask.sum(), "scores outside the choice learn too"


def test_what_is_chosen_has_exactly_the_size_asked_for_at_every_level() -> None:
    s = settings(**LEVELS, **{"optim.epochs": 7, "optim.lr": 1.0})
    data = digits(s)
    model = network(s, data)
    masks = random_masks(model, 0.4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    seen: list[Masks] = []

    def look(epochs: int, state: Any) -> None:
        seen.append(state.masks())
        for name, value in state.weights().items():
            if name in masks:
                assert torch.equal(value, before[name] * seen[-1][name])

    outcome = train(model, data, s, masks=masks, after_epoch=look)
    levels = [row["level"] for row in outcome.curve]
    assert levels == [1, 1, 2, 2, 3, 3, 3]
    falls = (1 / 6) ** (1 / 3)
    for level, found in zip(levels, seen, strict=True):
        for name, mask in found.items():
            n, held = mask.numel(), int(masks[name].sum())
            density = min(0.6 * falls, held / n) * falls ** (level - 1)
            wanted = max(density if level < 3 else 0.1, 0.1)
            assert int(mask.sum()) == min(held, math.floor(wanted * n + 0.5))
            assert not torch.any(mask & ~masks[name])
    assert outcome.masks == seen[-1] and seen[0] != seen[1], "scores move the choice"
    after = model.state_dict()
    assert list(after) == list(before)
    for name in before:
        if name in masks:
            assert torch.equal(after[name], before[name] * seen[-1][name])
        elif name.endswith("classifier.bias"):
            assert torch.equal(after[name], before[name])
    assert all(p.requires_grad for p in model.parameters())
    norms = [k for k in before if "bn" in k and k.endswith("weight")]
    assert norms and all(not torch.equal(after[k], before[k]) for k in norms), "batch norm is trained"


def test_weights_and_biases_compete_for_one_number_of_places() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    over = {"method": "edge_popup", "density": 0.5, "biases": "ranked"}
    masks = Masks({"0.weight": torch.tensor([[True, False], [True, True]])})
    parametrize_(model, settings(sparse=over), masks)
    parts = parts_of(model)
    first, second = parts["0.weight"], parts["0.bias"]
    assert isinstance(first, Subnetwork) and isinstance(second, Subnetwork)
    assert first.entries == second.entries == 6 and first.k == 3
    names = set(model.state_dict())
    assert len([n for n in names if n.endswith("scores")]) == 2 and len([n for n in names if ".k" in n]) == 1
    with torch.no_grad():
        model[0].parametrizations.weight.original.copy_(torch.tensor([[1.0, 2], [3, 4]]))
        model[0].parametrizations.bias.original.copy_(torch.tensor([5.0, 6]))
        first.scores.copy_(torch.tensor([[0.1, 9], [-0.7, 0.2]]))
        second.scores.copy_(torch.tensor([-0.3, 0.4]))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        first.scores[0, 0] = 8  # a copy has scores of its own
    assert twin[0].weight.tolist() == [[0, 0], [3, 0]] and twin[0].bias.tolist() == [5, 6]
    assert model[0].weight.tolist() == [[1, 0], [3, 0]] and model[0].bias.tolist() == [0, 6]
    model(torch.ones(1, 2)).sum().backward()
    assert second.scores.grad is not None and second.scores.grad.tolist() == [-5, 6]
    plain_(model)
    assert list(model.state_dict()) == ["0.weight", "0.bias"]
    assert model[0].bias.tolist() == [0, 6] and twin[0].bias.tolist() == [5, 6], "copies stay as they are"
    assert type(model[0]) is nn.Linear and isinstance(twin[0], nn.Linear)


def test_biases_that_are_kept_are_frozen_and_others_are_in_every_ticket() -> None:
    over = {"ranked": {"biases": "ranked"}, "kept": {}}
    for name, more in over.items():
        s = settings(sparse={"method": "edge_popup", "density": 0.2, **more}, **INIT)
        data = digits(s)
        model = network(s, data)
        with torch.no_grad():
            model.classifier.bias.fill_(1.0)
        masks = random_masks(model, 0.5)
        outcome = train(model, data, s, masks=masks)
        assert outcome.masks is not None
        bias, weight = model.classifier.bias, outcome.masks["classifier.weight"]
        entries = weight.numel() + (10 if name == "ranked" else 0)
        found = int(weight.sum()) + (int(bias.sum()) if name == "ranked" else 0)
        assert found == math.floor(0.2 * entries + 0.5)
        assert set(bias.tolist()) == ({0.0, 1.0} if name == "ranked" else {1.0})


def test_weights_grow_with_the_fan_that_is_left() -> None:
    plain, scaled = (
        plain_state(_parametrized({"method": "edge_popup", "density": 0.25, **more}))
        for more in ({}, {"scale_fan": True})
    )
    for name, value in scaled.items():
        factor = 2 if name.endswith("weight") and value.ndim > 1 else 1
        torch.testing.assert_close(value, factor * plain[name])


def _parametrized(sparse: Mapping[str, Any]) -> nn.Module:
    s = settings(sparse=sparse)
    model = network(s, digits(s))
    parametrize_(model, s)
    return model


# Levels


@pytest.mark.parametrize(
    ("levels", "held", "expected"),
    [
        (1, 1.0, (0.15,)),
        (2, 1.0, (0.3, 0.15)),
        (4, 1.0, (0.6 * 2**-0.5, 0.3, 0.3 * 2**-0.5, 0.15)),
        (4, 0.35, (0.35, 0.35 * 2**-0.5, 0.175, 0.15)),  # the cap is carried on
        (4, 0.2, (0.2, 0.15, 0.15, 0.15)),
    ],
)
def test_densities_of_levels(levels: int, held: float, expected: tuple[float, ...]) -> None:
    spec = popup(density=0.15, levels=levels, anneal=True, first=0.6)
    assert spec.densities(held) == pytest.approx(expected)
    assert popup(density=0.15, levels=levels).densities(held) == (0.15,) * levels


def test_levels_split_the_epochs_evenly() -> None:
    assert popup(levels=3).begins(7) == (0, 2, 4)
    assert popup(levels=4).begins(4) == (0, 1, 2, 3)
    for length, levels in itertools.product(range(1, 30), range(1, 30)):
        if levels <= length:
            begins = popup(levels=levels).begins(length)
            lengths = {b - a for a, b in itertools.pairwise((*begins, length))}
            assert max(lengths) - min(lengths) <= 1 and min(lengths) >= 1


def test_counts_of_levels_round_halves_up_and_stay_within_the_source() -> None:
    assert level_counts(popup(density=0.5), "a", 5, 5) == (3,)
    assert level_counts(popup(density=0.5), "a", 2, 5) == (2,), "what rounding has left out is no fault"
    spec = popup(density=0.25, levels=2, anneal=True, first=1.0)
    assert level_counts(spec, "a", 10, 10) == (5, 3)
    assert level_counts(spec, "a", 4, 10) == (4, 3)
    with pytest.raises(ReproError, match=r"sparse.density: 0.5 is above .* in layer a, 0.1; lower it"):
        level_counts(popup(density=0.5), "a", 1, 10)


def test_the_schedule_of_rates_begins_anew_at_each_level() -> None:
    over = {"optim.epochs": 5, "optim.lr": 0.4, "optim.schedule": "linear", "optim.warmup": 1}
    sparse = {"method": "edge_popup", "density": 0.2, "levels": 2, "anneal": True}
    rate = rates(settings(sparse=sparse, **over), 10)
    assert [rate(10 * e) for e in range(5)] == pytest.approx([0.4, 0.4, 0.4, 0.4, 0.2])
    once = rates(settings(sparse={**sparse, "restart": False}, **over), 10)
    assert [once(10 * e) for e in range(5)] == pytest.approx([0.4, 0.4, 0.3, 0.2, 0.1])
    joined = optim.in_parts((0, 3, 4), (lambda n: n, lambda n: 10 + n, lambda n: 20 + n))
    assert [joined(n) for n in range(6)] == [0, 1, 2, 10, 20, 21]


# Settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sparse": {"method": "edge_popup"}}, "sparse.density: field required"),
        ({"sparse": {**POPUP["sparse"], "first": 0.5}}, "sparse.first: not used without sparse.anneal"),
        ({"sparse": {**POPUP["sparse"], "anneal": True}}, "sparse.anneal: one level"),
        ({"sparse": {**LEVELS["sparse"], "first": 0.1}}, "sparse.first: 0.1 is not above sparse.density"),
        ({"sparse": {**POPUP["sparse"], "restart": False}}, "sparse.restart: not used with one level"),
        (
            {"sparse": {**POPUP["sparse"], "restart": False, "levels": 2}},
            "sparse.levels: not used without sparse.anneal or",
        ),
        ({**LEVELS, "optim": {"epochs": 2}}, "sparse.levels: 3 do not fit into 2 epochs"),
        (
            {**LEVELS, "optim": {"epochs": 8, "warmup": 2}},
            "optim.warmup: 2 epochs do not fit into a level of 2",
        ),
        (
            {**LEVELS, "ticket": {"score": "magnitude", "density": 0.5, "weights": "trained", "rewind": 2}},
            "sparse.restart: a rewound ticket",
        ),
        (
            {**POPUP, "ticket": {"score": "random", "density": 0.1}},
            "sparse.density: 0.2 is above ticket.density",
        ),
        (
            {"sparse": {"method": "str", "decay": 0}},
            "sparse.decay: without weight decay a threshold stays at -200",
        ),
        (
            {"sparse": {"method": "str"}, "optim": {"weight_decay": 0}},
            "sparse.decay: without weight decay a threshold stays at -200",
        ),
        ({"sparse": {"method": "str", "density": 0.2}}, "sparse.density: not used by method 'str'"),
        ({"sparse": {"method": "str", "start": 1}}, "sparse.start"),
        (
            {"sparse": {"method": "str"}, "ticket": {"score": "magnitude", "density": 0.5, "norms": True}},
            "ticket.norms: sparse.method 'str' learns no",
        ),
        (
            {
                **POPUP,
                "ticket": {"score": "random", "allocation": "uniform", "density": 0.5, "unit": "kernel"},
            },
            "ticket.unit: sparse.method 'edge_popup' removes single weights",
        ),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(given: dict, message: str) -> None:
    with pytest.raises(ReproError) as error:
        parse(given)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_settings_say_what_moves_and_what_is_learned() -> None:
    for sparse, learned, plan in (
        ({}, None, None),
        ({"method": "str"}, soft(), None),
        (POPUP["sparse"], popup(), None),
        ({"method": "gmp", "density": 0.2}, None, METHODS["gmp"](density=0.2)),
    ):
        s = parse({"sparse": sparse})
        assert (s.sparse.learned, s.sparse.plan) == (learned, plan)
        assert s.sparse.active == bool(sparse)
    assert parse({}).key() == parse({"sparse": {"method": "static"}}).key()
    assert parse({"sparse": {"method": "str"}, "optim": {"weight_decay": 0}} | STR).sparse.active


def test_more_than_a_layer_of_the_ticket_holds_is_an_error_before_training() -> None:
    s = settings(**POPUP)
    data = digits(s)
    model = network(s, data)
    masks = {name: mask.clone() for name, mask in random_masks(model, 0.5).items()}
    name = list(masks)[2]
    masks[name][:] = False
    with pytest.raises(
        ReproError, match=rf"sparse.density: 0.2 is above what the ticket keeps in layer {name}"
    ):
        train(model, data, s, masks=Masks(masks), stop=lambda: pytest.fail("it trains"))  # type: ignore


# Stopping, capturing, divergence

UNEVEN = {"data.validation": 0.1, "optim.batch": 50, "optim.epochs": 3}  # 4 steps an epoch
STOPPED = {
    "str": STR | UNEVEN,
    "adam": STR | UNEVEN | {"optim.optimizer": "adam", "optim.lr": 0.01},
    "popup": POPUP | UNEVEN,
    "levels": {"sparse": {**LEVELS["sparse"], "biases": "ranked"}} | UNEVEN,
}


@cache
def undisturbed(name: str, density: float | None) -> tuple[Settings, nn.Module, Outcome]:
    return trained(STOPPED[name], density)


@pytest.mark.parametrize("name", STOPPED)
@pytest.mark.parametrize(("density", "stop_at"), [(None, 6), (0.5, 1), (0.5, 4), (0.5, 9)])
def test_a_run_whose_masks_are_learned_may_be_stopped_anywhere(
    name: str, density: float | None, stop_at: int, tmp_path: Path
) -> None:
    _, whole, straight = undisturbed(name, density)
    calls, file = iter(range(100)), tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        trained(STOPPED[name], density, resume=file, stop=lambda: next(calls) >= stop_at)
    _, fresh, resumed = trained(STOPPED[name], density, resume=file)
    assert same(whole, fresh)
    assert straight.masks is not None and resumed.masks == straight.masks
    assert resumed.curve == straight.curve
    assert resumed.moves == straight.moves


def test_a_captured_step_learns_thresholds_as_the_eager_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "_mine", threading.local())
    recorder = Recorder()
    over = {"sparse": {**STR["sparse"], "rate": 2.0}, "optim.batch": 64}
    _, eager, plain = trained(over, 0.5)
    monkeypatch.setattr("repro.train.make_step", partial(make_step, record=recorder))
    for _ in range(2):  # the first run's network is plain when the second is put into its place
        _, model, outcome = trained(over, 0.5)
        close(eager, model)
        assert outcome.masks is not None and plain.masks is not None
        assert outcome.masks.overlap(plain.masks) > 0.999
        assert type(model.get_submodule("classifier")) is nn.Linear
    assert recorder.captured == 2, "one for whole batches, one for the last"
    trained({"sparse": {**STR["sparse"], "rate": 1.0}, "optim.batch": 64}, 0.5)
    assert recorder.captured == 4, "another rate is another capture"
    _, _, outcome = trained(POPUP | {"optim.batch": 64}, 0.5)
    assert recorder.captured == 4 and outcome.status == "done", "scores are trained by the eager step"


@pytest.mark.parametrize("over", [STR, POPUP])
def test_divergence_is_recorded_not_raised(over: dict) -> None:
    _, model, outcome = trained(over | {"optim.lr": 1e30, "optim.weight_decay": 0.0})
    assert outcome.status == "diverged" and outcome.masks is not None
    assert list(model.state_dict()) == list(network(settings(), digits(settings())).state_dict())


def test_frozen_weights_are_not_given_to_the_optimiser() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    model[0].weight.requires_grad_(False)
    (group,) = optim.groups(model, 0.1, True)
    assert len(group["params"]) == 3


# Runs


def one_of(over: Mapping[str, Any], **more: Any) -> Settings:
    return one(**{k.replace(".", "__"): v for k, v in {**over, **more}.items()})


@pytest.mark.parametrize(
    ("over", "thresholds"),
    [(STR, True), (LEVELS, False), (STR | TICKET, True), (LEVELS | TICKET, False)],
    ids=["str", "popup", "str in a ticket", "popup in a ticket"],
)
def test_the_record_of_a_run_says_what_became_of_its_masks(over: dict, thresholds: bool) -> None:
    s = one_of(over, optim__epochs=3, **INIT)
    made = run(s, weights=True)
    folder, curve, sparse = record.folder(s.key()), made["curve"], made["sparse"]
    assert made["status"] == "done" and kept(s)
    assert evaluate(s.key())["accuracy"] == made["accuracy"]["final"]
    masks, weights = Masks.load(masks_file(folder)), load_tensors(weights_file(folder))[0]
    assert set(weights) == set(network(s, digits(s)).state_dict())
    assert all(torch.all(weights[name][~mask] == 0) for name, mask in masks.items())
    assert made["density"] == masks.density == curve["density"][-1] < 1
    assert final(s)[1].requested == (masks.density if thresholds else 0.1)
    source = make_ticket(s).masks if "ticket" in over else Masks.ones(prunable(network(s, digits(s))))
    assert not any(torch.any(mask & ~source[name]) for name, mask in masks.items())
    for name in ("explored", "overlap_first", "overlap_before", "replaced", "flops_ratio"):
        assert len(curve[name]) == 3 and all(0 <= v <= 1 for v in curve[name]), name
    assert sorted(curve["explored"]) == curve["explored"] and curve["explored"][-1] == sparse["explored"]
    for layer in made["layers"]:
        assert layer["density_curve"][-1] == layer["density"] and len(layer["density_curve"]) == 3
        assert layer["kept_first"] >= layer["kept"]
        assert ("threshold_curve" in layer) == thresholds
    steps, flops, ratios = 12, made["flops"], curve["flops_ratio"]
    assert (sparse["updates"], sparse["steps"]) == (0, steps)
    assert sparse["dense_gradients"] == (0 if thresholds else steps)
    if thresholds:
        first = source.kept_per_layer()
        assert all(x["kept_first"] == first[x["name"]] for x in made["layers"])
        assert all(0 < v < 1 for x in made["layers"] for v in x["threshold_curve"])
        before = [_share(made, source), *ratios[:-1]]
        mean = sum((a + b) / 2 for a, b in zip(before, ratios, strict=True)) / 3
        assert flops["train_ratio"] == pytest.approx(mean)
    else:
        assert curve["level"] == [1, 2, 3]
        assert flops["train_ratio"] == pytest.approx((2 * sum(ratios) / 3 + 1) / 3)
    assert flops["train_counted"] == pytest.approx(flops["train_ratio"])


def _share(made: Mapping[str, Any], masks: Masks) -> float:
    density = masks.layer_densities()
    macs = sum(x["macs"] for x in made["layers"])
    return sum(x["macs"] * density[x["name"]] for x in made["layers"]) / macs


def test_training_cost_by_formula() -> None:
    assert train_ratio(0.2, soft()) == pytest.approx(0.2)
    assert train_ratio(0.2, popup(), 2.0) == pytest.approx(2 * (2 * 0.2 + 1) / 3)


def test_each_level_leaves_its_strong_ticket() -> None:
    s = one_of(LEVELS, optim__epochs=3, **INIT)
    run(s, weights=True, snapshots=(1, 2, 3, "6it"))
    folder = record.folder(s.key())
    found = {after: Masks.load(masks_file(folder, after)) for after in (1, 2, 3, "6it")}
    assert [found[n].density for n in (1, 2, 3)] == pytest.approx([0.330, 0.182, 0.1], abs=2e-3)
    assert found["6it"].kept_per_layer() == found[2].kept_per_layer()
    assert found[3] == Masks.load(masks_file(folder))
    start = network(s, digits(s)).state_dict()
    for after, masks in found.items():
        weights = load_tensors(weights_file(folder, after))[0]
        assert all(torch.equal(weights[name], start[name] * mask) for name, mask in masks.items())
    masks_file(folder, 2).unlink()
    assert kept(s, (1, 3)) and not kept(s, (1, 2))


def test_masks_that_move_are_kept_at_each_moment_too_and_others_are_not() -> None:
    moving = one_of(TICKET | {"sparse": {"method": "rigl", "interval": 2}}, optim__epochs=2)
    still = one_of(TICKET, optim__epochs=2)
    for s in (moving, still):
        run(s, weights=True, snapshots=(1,))
    folder = record.folder(moving.key())
    masks, weights = Masks.load(masks_file(folder, 1)), load_tensors(weights_file(folder, 1))[0]
    assert masks != Masks.load(masks_file(folder))
    assert all(torch.all(weights[name][~mask] == 0) for name, mask in masks.items())
    assert not masks_file(record.folder(still.key()), 1).exists() and kept(still, (1,))


def test_a_learned_mask_can_be_a_ticket_and_be_trained() -> None:
    source = "sparse.method=edge_popup sparse.density=0.2"
    s = one_of({"ticket": {"score": "mask_of", "source": source, "density": 0.2}})
    made = run(s)
    assert made["density"] == pytest.approx(0.2, abs=1e-3)
    assert make_ticket(s).masks == Masks.load(masks_file(record.folder(s.source.key())))


def test_a_strong_ticket_of_a_network_without_affine_norms() -> None:
    over = {"name": "vgg11", "width": 0.125, "bn_affine": False, "conv_bias": True}
    sparse = {"method": "edge_popup", "density": 0.5, "biases": "ranked", "scores": "constant"}
    s = one_of({"sparse": sparse, "data.size": 16}, model=over)
    made = run(s, weights=True)
    assert evaluate(s.key())["accuracy"] == made["accuracy"]["final"]
    start = network(s, digits(s)).state_dict()
    weights = load_tensors(weights_file(record.folder(s.key())))[0]
    for name, value in weights.items():
        if "running" not in name and "num_batches" not in name:
            assert torch.all((value == start[name]) | (value == 0))


@pytest.mark.parametrize("over", [STR, LEVELS | TICKET])
def test_a_run_under_way_can_be_taken_to_another_machine(over: dict) -> None:
    s = one_of(over, optim__epochs=3)
    calls = iter(range(100))
    with pytest.raises(Stopped):
        run(s, stop=lambda: next(calls) >= 6)
    folder = record.folder(s.key())
    assert underway.check(folder) == (s, 6)
    other = folder / "checkpoint.safetensors"
    plain = one_of({"ticket": over["ticket"]} if "ticket" in over else {}, optim__epochs=3)
    calls = iter(range(100))
    with pytest.raises(Stopped):
        run(plain, stop=lambda: next(calls) >= 6)
    other.write_bytes((record.folder(plain.key()) / "checkpoint.safetensors").read_bytes())
    with pytest.raises(ReproError, match="not of the network"):
        underway.check(folder)


def test_soft_thresholds_train_a_network_that_works() -> None:
    over = {"optim.epochs": 8, "data.subset": None, "model.width": 0.5}
    _, _, outcome = trained({"sparse": {"method": "str", "start": -10, "decay": 0.02}} | over)
    assert outcome.curve[-1]["test_accuracy"] > 60 and outcome.masks is not None
    assert outcome.masks.density < 0.8


def test_scores_alone_make_a_network_that_works() -> None:
    over = {"optim.epochs": 8, "data.subset": None}
    model = {"model": {"name": "resnet8", "width": 0.5, "init": "kaiming_normal_fan_in_all"}}
    _, _, outcome = trained({"sparse": {"method": "edge_popup", "density": 0.5}} | over | model)
    assert outcome.curve[-1]["test_accuracy"] > 60
