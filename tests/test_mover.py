"""Masks that move in training: when, what is left behind, and that stopping or capturing changes nothing."""

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
from test_experiment import one
from test_step import Recorder, close
from test_train import digits, network, random_masks, same, settings
from torch import nn
from torch.nn.functional import cross_entropy

from repro import captured, measure, naming, record
from repro.batches import batches
from repro.checkpoint import load_tensors
from repro.data import Data
from repro.errors import ReproError
from repro.experiment import make_ticket, masks_file, run, weights_file
from repro.facts import head
from repro.lineage import needs, pretraining
from repro.masks import Masks
from repro.models import prunable
from repro.mover import Mover
from repro.pool import plan
from repro.settings import Settings, parse
from repro.sparse_training import View, cubic, drop_and_grow
from repro.step import Step
from repro.tickets import ticket_key
from repro.train import Outcome, Stopped, train

LIVES = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
WEIGHTS = torch.tensor([[0.01, -0.02, 0.5, -0.6], [0.7, 0.8, 0, 0], [0, 0, 0, 0]])
PAST = {"sgd": ("momentum_buffer",), "adam": ("exp_avg", "exp_avg_sq")}


# Steps by hand, on a network of 12 + 6 weights


class Small(nn.Sequential):
    """Four inputs, three hidden units, two outputs; of the first layer six weights live, the second is full."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(4, 3, bias=False), nn.Tanh(), nn.Linear(3, 2, bias=False))
        with torch.no_grad():
            self[1].weight.copy_(WEIGHTS)
            self[3].weight.copy_(torch.tensor([[1.0, -2.0, 0.5], [0.3, 1.0, -1.0]]))

    @staticmethod
    def masks() -> Masks:
        return Masks({"1.weight": LIVES.clone(), "3.weight": torch.ones(2, 3, dtype=torch.bool)})


def batch(number: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(number)
    return torch.randn(8, 1, 2, 2, generator=g), torch.arange(8) % 2


def sparse(method: str = "rigl", **over: object) -> dict[str, Any]:
    """Give settings of masks that move, with options of the method and (dotted) others."""
    own = {"score": "random", "density": 0.5}
    plain = {k: v for k, v in over.items() if "." not in k}
    return {"ticket": own, "sparse": {"method": method} | plain} | {k: v for k, v in over.items() if "." in k}


def small(over: Mapping[str, Any], steps: int = 100) -> tuple[Step, Mover]:
    """Make a mover that, by default, drops and grows two of the six weights at every second step."""
    s = settings(**over)
    model, masks = Small(), Small.masks()
    step = Step(model, s, masks)
    return step, Mover(s, step, masks, prunable(model), measure.macs(model, (1, 2, 2)), steps)


def twos(method: str = "rigl", **over: object) -> dict[str, Any]:
    return sparse(method, **{"alpha": 0.34, "interval": 2, "decay": "constant", "until": 1.0} | over)


def force(step: Step, *places: int) -> None:
    """Let an update see slopes that are steepest at some places of the first layer; what is computed stays."""
    real, slope = step.gradients, torch.zeros(12)
    slope[list(places)] = torch.arange(len(places), 0.0, -1)

    def gradients(x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return {**real(x, y), "1.weight": slope.reshape(3, 4)}

    step.gradients = gradients


def state(step: Step, name: str = "1.weight") -> dict[str, torch.Tensor]:
    """Copy a weight and what the optimiser remembers of it, as vectors."""
    weight = step.masked[name]
    past = {k: v for k, v in step.optimizer.state[weight].items() if v.shape == weight.shape}
    return {k: v.detach().clone().flatten() for k, v in {"weight": weight, **past}.items()}


@pytest.mark.parametrize("regrown", ["zero", "weight", "momentum", "keep"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("update", ["replace", "after"])
def test_what_is_dropped_and_grown_at_once(regrown: str, optimizer: str, update: str) -> None:
    """Places 0 and 1 are dropped, 0 and 9 grow: 0 comes back, 9 is new, 1 is gone, and 2 to 5 live on."""
    over = twos(regrown=regrown, update=update, **{"optim.optimizer": optimizer, "optim.lr": 1e-3})
    step, mover = small(over)
    plain, _ = small(over)
    mover(*batch(0), 1e-3, 0)
    plain(*batch(0), 1e-3)
    before = state(step)
    assert all(torch.equal(v, state(plain)[k]) for k, v in before.items()), "not due: a plain step"
    if update == "after":
        plain(*batch(1), 1e-3)
        before = state(plain)
    force(step, 0, 9)
    mover(*batch(1), 1e-3, 1)
    after = state(step)
    assert mover.masks["1.weight"].flatten().nonzero().flatten().tolist() == [0, 2, 3, 4, 5, 9]
    assert set(after) == {"weight", *PAST[optimizer]}
    for name, value in after.items():
        assert torch.equal(value[2:6], before[name][2:6]), "survivors: not touched by the update"
        assert value[1] == 0 and torch.all(value[6:] == 0), "what has gone and what is new: zero"
        assert before[name][0] != 0
        kept = {"zero": False, "weight": name == "weight", "momentum": name != "weight", "keep": True}[
            regrown
        ]
        assert value[0] == (before[name][0] if kept else 0)


@pytest.mark.parametrize("update", ["replace", "after"])
def test_momentum_that_is_kept_for_all_is_left_alone(update: str) -> None:
    over = twos(redistribute="momentum", dense_momentum=True, update=update, **{"optim.lr": 1e-3})
    step, mover = small(over)
    plain, _ = small(over)
    for one_step in (lambda: mover(*batch(0), 1e-3, 0), lambda: plain(*batch(0), 1e-3)):
        one_step()
    if update == "after":
        plain(*batch(1), 1e-3)
    force(step, 0, 9)
    mover(*batch(1), 1e-3, 1)
    after, before = state(step), state(plain)
    assert torch.equal(after["momentum_buffer"], before["momentum_buffer"])
    assert after["momentum_buffer"].count_nonzero() == 12, "of pruned weights as well"
    assert torch.equal(after["weight"][2:6], before["weight"][2:6])
    assert torch.all(after["weight"][[0, 1, 6, 7, 8, 9, 10, 11]] == 0)


def test_after_a_step_growth_goes_by_the_slopes_from_before_it() -> None:
    """A large step turns the slopes of free places around: those from before it decide, all of them."""
    over = twos(update="after", **{"optim.lr": 3.0, "optim.weight_decay": 0.0})
    step, mover = small(over)
    x, y = batch(3)

    def steepest(model: nn.Module, free: torch.Tensor) -> list[int]:
        (slope,) = torch.autograd.grad(cross_entropy(model(x), y), model.get_parameter("1.weight"))
        return slope.flatten().abs().masked_fill(~free, -1).topk(2).indices.sort().values.tolist()

    first = copy.deepcopy(step.model)
    stepped, _ = small(over)
    stepped(x, y, 3.0)
    size = state(stepped)["weight"].abs().masked_fill(~LIVES.flatten(), math.inf)
    free = ~LIVES.flatten()
    free[size.topk(2, largest=False).indices] = True
    mover(x, y, 3.0, 1)
    new = mover.masks["1.weight"].flatten()
    grown = [i for i in range(12) if new[i] and free[i]]
    assert grown == steepest(first, free) != steepest(stepped.model, free)


def test_an_update_in_place_of_a_step_leaves_the_rest_of_the_network_alone() -> None:
    over = twos()
    step, mover = small(over)
    mover(*batch(0), 0.1, 0)
    before, sums = state(step, "3.weight"), step.sums.clone()
    mover(*batch(1), 0.1, 1)
    assert all(torch.equal(v, before[k]) for k, v in state(step, "3.weight").items())
    assert step.sums[0] > sums[0], "but its loss counts"
    mover(*batch(2), 0.1, 2)
    assert not torch.equal(step.masked["3.weight"].flatten(), before["weight"])


def test_the_rate_of_the_step_is_the_one_given_after_an_update_too() -> None:
    over = twos(update="after")
    (a, mover), (b, _) = small(over), small(over)
    mover(*batch(1), 0.25, 1)
    b(*batch(1), 0.25)
    assert torch.equal(a.masked["3.weight"], b.masked["3.weight"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_growth_by_momentum_takes_it_as_the_optimiser_does(optimizer: str) -> None:
    """Adam's is scaled by the root of its second moment, without the correction for its start (Dettmers, code)."""
    over = twos("snfs", redistribute="none", **{"optim.optimizer": optimizer, "optim.lr": 1e-3})
    step, mover = small(over)
    for number in (0, 2, 4):
        mover(*batch(number), 1e-3, number)
    past = state(step)
    worth = (
        past["momentum_buffer"]
        if optimizer == "sgd"
        else past["exp_avg"] / (past["exp_avg_sq"].sqrt() + 1e-8)
    )
    if optimizer == "adam":
        assert past["exp_avg"].abs().argsort().tolist() != worth.abs().argsort().tolist()
    free = ~LIVES.flatten()
    free[:2] = True
    mover(*batch(5), 1e-3, 5)
    wanted = worth.abs().masked_fill(~free, -1).topk(2).indices.sort().values.tolist()
    assert [i for i in range(12) if mover.masks["1.weight"].flatten()[i] and free[i]] == wanted


def test_before_the_first_step_there_is_no_momentum() -> None:
    """So of 2 + 2 dropped entries each layer has the same share; but of two free places the second layer fills one."""
    step, mover = small(twos("snfs", interval=1))
    mover(*batch(), 0.1, 0)
    assert mover.masks["1.weight"].flatten().nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert mover.masks["3.weight"].sum() == 5
    assert torch.all(step.masked["1.weight"].flatten()[:2] == 0), (
        "of equal places the first: those just dropped"
    )


@pytest.mark.parametrize(("keep_dense", "moves"), [(["last"], True), (["first"], False), ([], True)])
def test_layers_that_are_kept_dense_never_move(keep_dense: list[str], moves: bool) -> None:
    over = twos("set", redistribute="nonzero", interval=1, **{"ticket.keep_dense": keep_dense})
    _, mover = small(over)
    for number in range(6):
        mover(*batch(number), 0.01, number)
        if "first" in keep_dense:
            assert mover.masks["1.weight"].equal(LIVES), "whatever its mask says"
        assert mover.masks["3.weight"].all() or "last" not in keep_dense
        assert mover.masks.kept == 12
    assert mover.masks["1.weight"].equal(LIVES) is not moves


# When


@pytest.mark.parametrize(
    ("steps", "options", "due"),
    [
        (12, {"interval": 3}, [2, 5, 8]),  # .75 x 12 = 9: until 8
        (12, {"interval": 4}, [3, 7]),
        (13, {"interval": 10}, [9]),  # 9 < 9.75
        (12, {"interval": 3, "until": 1.0}, [2, 5, 8, 11]),
        (12, {"interval": 2, "begin": 0.25}, [3, 5, 7]),  # from step 3 on
        (12, {"interval": 2, "begin": 0.26}, [5, 7]),
        (12, {"interval": 1, "begin": 0.5, "until": 0.6}, [6, 7]),
        (1000, {"interval": 100}, [99, 199, 299, 399, 499, 599, 699]),
        (
            100,
            {"interval": 1, "until": 0.07},
            list(range(7)),
        ),  # .07 x 100 is a little above 7 in floating point
        (100, {"interval": 8, "begin": 0.07, "until": 0.12}, [7]),
        (100, {"interval": 1, "begin": 0.28, "until": 0.29}, [28]),  # .29 x 100 is a little below 29
    ],
)
@pytest.mark.parametrize("method", ["rigl", "gmp"])
def test_updates_are_due(method: str, steps: int, options: dict, due: list[int]) -> None:
    own = {"density": 0.4} if method == "gmp" else {}
    _, mover = small(sparse(method, **options, **own), steps)
    assert [number for number in range(steps) if mover.due(number)] == due


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": 100}, "no update in 12 steps of training, of which shares 0 to 0.75"),
        ({"interval": 10}, "lower it from 10"),
        ({"interval": 4, "begin": 0.7}, "of which shares 0.7 to 0.75 are for updates"),
    ],
)
@pytest.mark.parametrize("method", ["rigl", "gmp"])
def test_a_training_too_short_for_one_update_is_an_error(method: str, options: dict, message: str) -> None:
    own = {"density": 0.2} if method == "gmp" else {}
    s = settings(**sparse(method, **options, **own), **{"optim.epochs": 3})
    data = digits(s)
    model = network(s, data)
    with pytest.raises(ReproError, match=r"sparse.interval: ") as caught:
        train(model, data, s, masks=random_masks(model))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_density_that_the_dense_layers_use_up_is_an_error() -> None:
    """Of 18 weights the last layer has 6, so that less than 7/18 = .39 leaves nothing to the first."""
    kept = {"keep_dense": ["last"], "interval": 2}
    small(sparse("gmp", density=0.38, **kept))  # 6.84 is rounded to 7
    with pytest.raises(ReproError, match=r"sparse.density: 0.35 leaves no weight to the layers that are not"):
        small(sparse("gmp", density=0.35, **kept))


def test_the_fraction_falls_along_its_curve() -> None:
    """At steps 1, 3, 5 and 7 of 10, of which .8 are for updates: .3 / 2 (1 + cos(pi t / 8))."""
    _, mover = small(sparse(interval=2, until=0.8), 10)
    for number in range(10):
        mover.about["alpha"] = None
        mover(*batch(number), 0.1, number)
        wanted = 0.15 * (1 + math.cos(math.pi * number / 8)) if number in (1, 3, 5, 7) else None
        assert mover.about["alpha"] == (wanted and pytest.approx(wanted))


def test_the_first_fraction_is_almost_alpha_and_the_last_almost_nothing() -> None:
    _, mover = small(sparse(interval=10, update="after"), 1000)
    mover(*batch(), 0.1, 9)
    assert mover.about["alpha"] == pytest.approx(0.3, rel=1e-3)
    mover(*batch(), 0.1, 739)
    assert 0 < mover.about["alpha"] < 2e-4


# In training


class Moment:
    """One step of a training: masks before and after it, and weights and optimiser state after it."""

    def __init__(self, number: int, mover: Mover, old: Masks) -> None:
        self.number, self.old, self.new, self.due = number, old, mover.masks, mover.due(number)
        self.alpha = mover.about["alpha"]
        named = {name: state(mover.step, name) for name in mover.masks}
        self.weight = {n: v.pop("weight").reshape(mover.masks[n].shape) for n, v in named.items()}
        self.past = {n: {k: x.reshape(self.old[n].shape) for k, x in v.items()} for n, v in named.items()}


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[Moment]:
    """Watch every step of the trainings that follow."""
    seen: list[Moment] = []

    class Watched(Mover):
        def __call__(self, x: torch.Tensor, y: torch.Tensor, lr: float, number: int) -> None:
            old = self.masks
            super().__call__(x, y, lr, number)
            seen.append(Moment(number, self, old))

    monkeypatch.setattr("repro.train.Mover", Watched)
    return seen


def started(s: Settings, data: Data) -> tuple[nn.Module, Masks]:
    """Give the network of a run and its first masks: all ones for gradual pruning."""
    model = network(s, data)
    return model, Masks.ones(prunable(model)) if s.ticket.score is None else random_masks(model)


def trained(over: Mapping[str, Any], **more: Any) -> tuple[Settings, nn.Module, Outcome]:
    """Train for 12 steps, four an epoch; updates are due at 2, 5 and 8 unless the settings say otherwise."""
    s = settings(**{"optim.epochs": 3, "sparse.interval": 3} | dict(over))
    data = digits(s)
    model, masks = started(s, data)
    return s, model, train(model, data, s, masks=masks, **more)


RIGL, SET, SNFS, SM, SG = (sparse(m, interval=3) for m in ("rigl", "set", "snfs", "rigl_sm", "rigl_sg"))
GMP = {"sparse": {"method": "gmp", "density": 0.2, "interval": 3}}
AFTER = sparse("rigl", interval=3, update="after", regrown="keep", rounding="ceil")
OWN = {
    "density": 0.2,
    "interval": 3,
    "regrow_until": 0.75,
    "flow": "add",
    "rank": "synflow",
    "keep_dense": ["last"],
}
GRANET = {"sparse": {"method": "granet", "grow": "momentum_neuron", "dense_momentum": True} | OWN}
ADAM = {"optim.optimizer": "adam", "optim.lr": 0.01}
OPTIMISERS = [{}, {"optim.nesterov": True}, ADAM]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("method", [RIGL, SET, SM, SG, GMP, AFTER])
def test_pruned_weights_and_their_past_are_zero_after_every_step(
    method: dict, optimiser: dict, moments: list[Moment]
) -> None:
    trained(method | optimiser)
    assert len(moments) == 12
    assert [m.number for m in moments if m.old != m.new] == [2, 5, 8] == [m.number for m in moments if m.due]
    for m in moments:
        for name, mask in m.new.items():
            assert torch.all(m.weight[name][~mask] == 0)
            assert m.past[name] and all(torch.all(v[~mask] == 0) for v in m.past[name].values())
            new = mask & ~m.old[name]
            assert torch.all(m.weight[name][new] == 0), "new weights are zero"
            assert all(torch.all(v[new] == 0) for v in m.past[name].values()), "and have no past"
        assert any(v.any() for past in m.past.values() for v in past.values())


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_snfs_keeps_the_momentum_of_pruned_weights_alive(optimiser: dict, moments: list[Moment]) -> None:
    trained(SNFS | optimiser)
    assert [m.number for m in moments if m.old != m.new] == [2, 5, 8]
    for m in moments:
        for name, mask in m.new.items():
            assert torch.all(m.weight[name][~mask] == 0)
            assert torch.all(m.weight[name][mask & ~m.old[name]] == 0)
        alive = sum(int(next(iter(m.past[n].values()))[~mask].count_nonzero()) for n, mask in m.new.items())
        assert alive > 0.8 * (m.new.total - m.new.kept)


@pytest.mark.parametrize(
    ("method", "constant"),
    [(RIGL, True), (SET, True), (AFTER, True), (SM, False), (SG, False), (SNFS, False)],
)
def test_layers_keep_their_counts_and_with_redistribution_the_network_does(
    method: dict, constant: bool, moments: list[Moment]
) -> None:
    _, model, outcome = trained(method)
    assert outcome.masks == moments[-1].new
    assert len({m.new.kept for m in moments}) == 1
    first, last = moments[0].old.kept_per_layer(), moments[-1].new.kept_per_layer()
    assert (first == last) is constant
    for name, mask in moments[-1].new.items():
        assert torch.all(model.get_parameter(name)[~mask] == 0)


@pytest.mark.parametrize("method", [RIGL, SET, SNFS, GMP])
def test_an_update_moves_as_much_as_it_should(method: dict, moments: list[Moment]) -> None:
    trained(method)
    for m in (m for m in moments if m.due):
        for name, mask in m.new.items():
            kept = m.old.kept_per_layer()[name]
            away = int((m.old[name] & ~mask).sum())
            if method is not GMP:
                assert away <= math.floor(m.alpha * kept + 1e-6), "some come back at once"
        if method is not GMP:
            assert m.alpha == pytest.approx(0.15 * (1 + math.cos(math.pi * m.number / 9)))


@pytest.mark.parametrize(
    ("method", "dense"), [(RIGL, 3), (SM, 3), (SG, 3), (AFTER, 3), (SET, 0), (SNFS, 12), (GMP, 0)]
)
def test_dense_gradients_are_counted(method: dict, dense: int) -> None:
    moves = trained(method)[2].moves
    assert moves and (moves["updates"], moves["steps"], moves["dense_gradients"]) == (3, 12, dense)


@pytest.mark.parametrize("method", [RIGL, SET, SNFS, SM, GMP])
def test_the_curve_and_the_summary_tell_what_was_seen(method: dict, moments: list[Moment]) -> None:
    s, model, outcome = trained(method)
    macs = measure.macs(model, digits(s).shape)
    explored = {name: mask.clone() for name, mask in moments[0].old.items()}
    shares, spent = [], 0.0
    for row, epoch in zip(outcome.curve, (moments[:4], moments[4:8], moments[8:]), strict=True):
        for m in epoch:
            ratio = measure.flops(macs, m.old.layer_densities())["ratio"]
            shares.append(ratio)
            dense = method is SNFS or (method in (RIGL, SM) and m.due)
            spent += 2 * ratio + (1 if dense else ratio)
            for name, mask in m.new.items():
                explored[name] |= mask
        seen = sum(int(e.sum()) for e in explored.values()) / epoch[-1].new.total
        assert row["explored"] == seen >= row["density"] == epoch[-1].new.density
        assert row["overlap_first"] == epoch[-1].new.overlap(moments[0].old)
        assert row["overlap_before"] == epoch[-1].new.overlap(epoch[0].old)
        assert row["flops_ratio"] == measure.flops(macs, epoch[-1].new.layer_densities())["ratio"]
        due = [m for m in epoch if m.due]
        assert row["alpha"] == (due[-1].alpha if due else None)
        moved = [sum(int((a & ~m.old[n]).sum()) for n, a in m.new.items()) / m.new.kept for m in due]
        assert row["replaced"] == pytest.approx(sum(moved))
    moves = outcome.moves
    assert moves and moves["explored"] == seen
    assert moves["explored_layers"] == {n: int(e.sum()) / e.numel() for n, e in explored.items()}
    assert moves["share"] == pytest.approx(sum(shares) / 12) and moves["spent"] == pytest.approx(spent)
    at = [row["explored"] for row in outcome.curve]
    assert at == sorted(at)
    assert (at[-1] == 1) if method is GMP else (at[-1] > at[0] > outcome.curve[0]["density"])


def test_unfired_growth_explores_more() -> None:
    found = [
        trained(sparse("set", interval=3, alpha=0.9, until=1.0, grow=grow))[2].moves
        for grow in ("random", "random_unfired")
    ]
    assert found[0] and found[1] and found[1]["explored"] > found[0]["explored"] + 0.05


# Gradual pruning


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize(
    ("begin", "start", "progress"),
    [(0.0, 1.0, {1: 1 / 7, 3: 3 / 7, 5: 5 / 7, 7: 1}), (0.2, 0.6, {3: 0.6 / 4.6, 5: 2.6 / 4.6, 7: 1})],
)
def test_gradual_pruning_follows_the_cubic_curve_to_its_end(
    scope: str, begin: float, start: float, progress: dict, moments: list[Moment]
) -> None:
    """Of 12 steps pruning takes 9: with an update at every second it ends at step 7, where the density is reached."""
    options = {"method": "gmp", "density": 0.1, "interval": 2, "begin": begin, "scope": scope}
    s = settings(**{"optim.epochs": 3, "sparse": options})
    if start < 1:
        s = settings(
            **{"optim.epochs": 3, "sparse": options, "ticket": {"score": "random", "density": start}}
        )
    data = digits(s)
    model = network(s, data)
    masks = Masks.ones(prunable(model)) if start == 1 else random_masks(model, start)
    first = next(iter(masks))
    outcome = train(model, data, s, masks=masks)
    assert [m.number for m in moments if m.due] == list(progress)
    for m in moments:
        if m.due:
            wanted = cubic(masks.density, 0.1, progress[m.number]) * masks.total
            assert m.new.kept == pytest.approx(wanted, abs=0.5 + 1e-6)
        else:
            assert m.new == m.old
        assert all(not (m.new[name] & ~m.old[name]).any() for name in masks), "what is pruned stays so"
        assert m.new[first].equal(masks[first]), "the first layer stays as it is"
    assert outcome.masks and outcome.masks.kept == round(0.1 * masks.total)
    densities = [d for name, d in outcome.masks.layer_densities().items() if name != first]
    if scope == "layer":
        assert max(densities) - min(densities) < 0.05
    else:
        assert max(densities) - min(densities) > 0.1


@pytest.mark.parametrize("begin", [0, 4.8, 5])
def test_a_single_update_of_gradual_pruning_goes_all_the_way(begin: float, moments: list[Moment]) -> None:
    """Of 12 steps, and an update after every sixth until half of them, step 5 is the only one."""
    options = {"method": "gmp", "density": 0.2, "interval": 6, "begin": begin / 12, "until": 0.5}
    _, _, outcome = trained({"sparse": options})
    assert [m.number for m in moments if m.due] == [5]
    assert outcome.masks and outcome.masks.kept == round(0.2 * outcome.masks.total)


def test_gradual_pruning_removes_the_smallest_living_weights(moments: list[Moment]) -> None:
    trained(GMP)
    first = next(iter(moments[0].old))
    for before, m in itertools.pairwise(moments):
        if m.due:
            moving = [name for name in m.new if name != first]
            kept = torch.cat([before.weight[n][m.new[n]].abs() for n in moving])
            gone = torch.cat([before.weight[n][m.old[n] & ~m.new[n]].abs() for n in moving])
            assert len(gone) and gone.max() <= kept.min(), "in place of a step: by the weights before it"


def test_more_layers_may_be_kept_dense(moments: list[Moment]) -> None:
    trained({"sparse": {"method": "gmp", "density": 0.3, "interval": 3, "keep_dense": ["shortcut", "last"]}})
    model = network(settings(), digits(settings()))
    densities = moments[-1].new.layer_densities()
    assert moments[-1].new.density == pytest.approx(0.3, abs=1e-4)
    for layer in prunable(model):
        assert (densities[layer.name] == 1) is (layer.role in ("shortcut", "last"))


# Whole kernels


@pytest.mark.parametrize("method", ["rigl", "set", "snfs", "rigl_sm"])
def test_whole_kernels_move_together(method: str, moments: list[Moment]) -> None:
    options = {"ticket.unit": "kernel", "ticket.allocation": "uniform"}
    s = settings(**sparse(method, interval=3, **options), **{"optim.epochs": 3})
    assert s.ticket.unit == "kernel"
    data = digits(s)
    model = network(s, data)
    g = torch.Generator().manual_seed(1)
    masks = {}
    for layer in prunable(model):
        pairs = torch.rand(layer.shape[:2], generator=g) < 0.4
        masks[layer.name] = (
            pairs.reshape(*pairs.shape, *[1] * (len(layer.shape) - 2)).expand(layer.shape).clone()
        )
    train(model, data, s, masks=Masks(masks))
    assert [m.number for m in moments if m.old != m.new] == [2, 5, 8]
    for m in moments:
        for mask in m.new.values():
            if mask.ndim == 4:
                kernels = mask.flatten(2)
                assert kernels.any(-1).equal(kernels.all(-1))
        if method in ("rigl", "set"):
            assert m.new.kept_per_layer() == Masks(masks).kept_per_layer()


def test_parts_of_kernels_do_not_move_as_wholes() -> None:
    """Taken from another run, or rearranged: they would grow into whole kernels, three times as many weights."""
    words, moves = "ticket.score=random ticket.density=0.3", {"method": "rigl", "interval": 1}
    own = {"score": "random", "allocation": "uniform", "density": 0.3, "unit": "kernel"}
    for s in (
        taken(words, ticket={"unit": "kernel"}, sparse=moves),
        one(ticket=own, check__name="rearrange", sparse=moves),
    ):
        with pytest.raises(ReproError, match=r"ticket.unit: parts of kernels do not move as wholes"):
            run(s)
    assert run(one(ticket=own, sparse=moves))["density"] == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(("drop", "grow"), [("mean", "max"), ("max", "min"), ("min", "mean")])
def test_an_update_sees_what_stands_for_a_kernel(
    drop: str, grow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its weights by one reduction, of its slopes and momenta by another."""
    seen: dict[str, View] = {}

    def spy(views: dict[str, View], *rest: Any) -> Any:
        seen.update(copy.deepcopy(views))
        return drop_and_grow(views, *rest)

    monkeypatch.setattr("repro.mover.drop_and_grow", spy)
    by = {"kernel_drop": drop, "kernel_grow": grow, "redistribute": "momentum"}
    kernels = {"ticket.unit": "kernel", "ticket.allocation": "uniform"}
    s = settings(**sparse("rigl", interval=2, **by, **kernels))
    data = digits(s)
    model = network(s, data)
    masks = Masks({x.name: torch.ones(x.shape, dtype=torch.bool) for x in prunable(model)})
    for mask in masks.values():
        mask[::3] = False
    masks = Masks(dict(masks))
    step = Step(model, s, masks)
    mover = Mover(s, step, masks, prunable(model), measure.macs(model, data.shape), 8)
    (x, y), (x2, y2) = itertools.islice(batches(data.train, data, s, 0), 2)
    mover(x, y, 0.1, 0)
    weights = {name: w.detach().clone() for name, w in step.masked.items()}
    momenta = {name: step.past(w)[0].clone() for name, w in step.masked.items()}
    mover(x2, y2, 0.1, 1)
    reductions = {"mean": lambda k: k.mean(-1), "max": lambda k: k.amax(-1), "min": lambda k: k.amin(-1)}

    def by_hand(values: torch.Tensor, how: str) -> torch.Tensor:
        return (reductions[how](values.flatten(2)) if values.ndim == 4 else values).flatten()

    assert list(seen) == list(masks)
    for name, found in seen.items():
        shape = masks[name].shape
        assert found.weight.equal(by_hand(weights[name], drop))
        assert found.gradient is not None and found.momentum is not None
        assert found.gradient.equal(by_hand(step.masked[name].grad, grow))
        assert found.momentum.equal(by_hand(momenta[name], grow))
        assert found.mask.equal(by_hand(masks[name].float(), "mean") == 1)
        assert found.kept == int(found.mask.sum()) and found.mask.numel() == shape[0] * shape[1]
        assert found.rows == shape[0]


# Stopping


DROPOUT = RIGL | {"model": {"name": "wrn10", "width": 0.25, "dropout": 0.3}}
STOPPED = {
    "rigl": RIGL,
    "after": AFTER,
    "set": SET,
    "snfs": SNFS | ADAM,
    "rigl_sm": SM,
    "gmp": GMP,
    "granet": GRANET,
    "dropout": DROPOUT,
}
UNEVEN = {"data.validation": 0.1, "optim.batch": 50}  # 180 images, in 50 + 50 + 50 + 30


@cache
def undisturbed(name: str) -> tuple[nn.Module, Outcome]:
    return trained(STOPPED[name] | UNEVEN)[1:]


# 2 and 5 are right before an update, 3, 6 and 9 right after one, 4 and 8 at the end of an epoch
@pytest.mark.parametrize(
    ("name", "stop_at"),
    [("rigl", n) for n in (1, 2, 3, 4, 6, 9, 11)]
    + [(m, n) for m in STOPPED if m != "rigl" for n in (2, 6, 8)],
)
def test_a_run_whose_masks_move_may_be_stopped_anywhere(name: str, stop_at: int, tmp_path: Path) -> None:
    over, (whole, straight) = STOPPED[name] | UNEVEN, undisturbed(name)
    assert straight.moves and (straight.moves["steps"], straight.moves["updates"]) == (12, 3)
    calls, file = iter(range(100)), tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        trained(over, resume=file, stop=lambda: next(calls) >= stop_at)
    _, fresh, resumed = trained(over, resume=file)
    assert same(whole, fresh)
    assert straight.masks is not None and resumed.masks == straight.masks
    assert resumed.curve == straight.curve
    assert resumed.moves == straight.moves


def test_the_record_of_a_stopped_run_is_that_of_an_undisturbed_one(tmp_path: Path, monkeypatch) -> None:
    s = one(
        ticket={"score": "random", "density": 0.3},
        sparse={"method": "rigl_sm", "interval": 2},
        optim__epochs=2,
    )
    made = []
    for folder, stops in (("a", ()), ("b", (1, 2, 3))):
        monkeypatch.setenv("REPRO_BUILD", str(tmp_path / folder))
        for stop_at in stops:
            calls = iter(range(100))
            with pytest.raises(Stopped):
                run(s, weights=True, stop=lambda n=stop_at, c=calls: next(c) >= n)
        found = run(s, weights=True)
        made.append({k: v for k, v in found.items() if k not in ("when", "seconds", "memory_mb")})
        made[-1]["masks"] = Masks.load(masks_file(record.folder(s.key())))
        assert not (record.folder(s.key()) / "checkpoint.safetensors").exists()
    assert made[0] == made[1]
    assert made[0]["sparse"]["updates"] == 3


# Captured steps


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Capture all steps that follow, as far as that can be done without a GPU."""
    monkeypatch.setattr(captured, "_mine", threading.local())
    return Recorder()


@pytest.mark.parametrize(
    ("method", "update", "optimiser"),
    [(m, u, {}) for m in ("rigl", "snfs", "gmp", "granet") for u in ("replace", "after")]
    + [("set", "after", {}), ("rigl", "after", ADAM), ("snfs", "replace", ADAM)],
)
def test_a_captured_step_moves_masks_as_the_eager_one_does(
    method: str, update: str, optimiser: dict, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"density": 0.2} if method in ("gmp", "granet") else {}
    over = sparse(method, interval=3, update=update, **own) | optimiser
    s, eager, plain = trained(over)
    monkeypatch.setattr("repro.train.make_step", partial(captured.make_step, record=recorder))
    replayed = [trained(over) for _ in range(2)]
    assert recorder.captured == 4, "two batch sizes, a whole step and its slopes; the second run brings none"
    for _, model, outcome in replayed:
        close(eager, model)
        assert outcome.masks == plain.masks and outcome.moves == plain.moves
        assert [r["density"] for r in outcome.curve] == [r["density"] for r in plain.curve]
    assert s.sparse.method == method


def test_methods_that_keep_different_momenta_do_not_share_a_capture(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.train.make_step", partial(captured.make_step, record=recorder))
    for over, captures in (
        (RIGL, 4),
        (SET, 4),
        (GMP, 4),
        (SNFS, 8),
        (RIGL, 8),
        ({"ticket": RIGL["ticket"]}, 10),
    ):
        if "sparse" in over:
            trained(over)
        else:
            s = settings(**over)
            model = network(s, digits(s))
            train(model, digits(s), s, masks=random_masks(model))
        assert recorder.captured == captures


def test_a_captured_run_goes_on_where_it_stopped(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.train.make_step", partial(captured.make_step, record=recorder))
    _, whole, straight = trained(SNFS)
    calls, file = iter(range(100)), tmp_path / "c.safetensors"
    with pytest.raises(Stopped):
        trained(SNFS, resume=file, stop=lambda: next(calls) >= 5)
    trained(SNFS | {"seed": 9})  # another in between
    _, fresh, resumed = trained(SNFS, resume=file)
    assert same(whole, fresh)
    assert (resumed.curve, resumed.masks, resumed.moves) == (straight.curve, straight.masks, straight.moves)


# Masks of other runs

PRUNED = "sparse.method=gmp sparse.density=0.3 sparse.interval=1"


def taken(
    source: str = PRUNED, density: float = 0.3, ticket: Mapping[str, Any] = {}, **over: Any
) -> Settings:
    own = {"score": "mask_of", "source": source, "density": density, **ticket}
    return one(ticket=own, **{"optim__epochs": 2} | over)


def ended(s: Settings) -> Masks:
    first = pretraining(s)
    assert first is not None
    return Masks.load(masks_file(record.folder(first.key())))


def equal(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, b[name]) for name, value in a.items())


def test_masks_are_taken_as_another_run_left_them() -> None:
    s = taken()
    assert (
        pretraining(s)
        == s.source
        == one(sparse={"method": "gmp", "density": 0.3, "interval": 1}, optim__epochs=2)
    )
    made = run(s)
    ticket = make_ticket(s)
    assert ticket.masks == ended(s)
    assert made["density"] == ticket.masks.density == pytest.approx(0.3, abs=1e-4)
    assert made["sparse"] is None and all("explored" not in layer for layer in made["layers"])
    assert ticket.masks[next(iter(ticket.masks))].all(), "gradual pruning keeps the first layer"
    assert equal(ticket.weights, make_ticket(one(ticket={"score": "random", "density": 0.3})).weights)


def test_a_check_rearranges_taken_masks_within_layers() -> None:
    s = taken(check__name="rearrange")
    plain, changed = make_ticket(taken()).masks, make_ticket(s).masks
    assert changed.kept_per_layer() == plain.kept_per_layer() and changed != plain
    assert run(s)["overlap"] == {"value": changed.overlap(plain), "expected": changed.expected_overlap(plain)}


def test_taken_masks_may_start_from_any_weights_of_their_run() -> None:
    first, second, third = (
        make_ticket(taken(ticket={"weights": w, "rewind": r}))
        for w, r in (("init", 0), ("trained", 0), ("rewound", 1))
    )
    assert first.masks == second.masks == third.masks
    folder = record.folder(taken().source.key())
    assert equal(second.weights, load_tensors(weights_file(folder))[0])
    assert equal(third.weights, load_tensors(weights_file(folder, 1))[0])
    assert not equal(first.weights, second.weights) and not equal(second.weights, third.weights)
    for name, mask in second.masks.items():
        assert torch.all(second.weights[name][~mask] == 0), "the run that they are of was sparse at its end"


def test_static_and_moving_runs_can_be_taken_from() -> None:
    static = taken("ticket.score=random ticket.allocation=erk ticket.density=0.3")
    assert make_ticket(static).masks == make_ticket(static.source).masks
    words = "ticket.score=random ticket.allocation=erk ticket.density=0.3 sparse.method=set sparse.interval=1"
    moved = taken(words)
    assert make_ticket(moved).masks != make_ticket(static).masks == make_ticket(moved.source).masks
    assert make_ticket(moved).masks.kept_per_layer() == make_ticket(static).masks.kept_per_layer()


@pytest.mark.parametrize(
    ("ticket", "message"),
    [
        ({"density": 0.2}, r"ticket.density: the masks of ticket.source keep 0.3, not 0.2; give that"),
        ({"density": 1.0}, r"ticket.density: the masks of ticket.source keep 0.3, not 1"),
        ({"source": "optim.epochs=1"}, r"ticket.source: this run would be dense; name its ticket.score or"),
        ({"source": ""}, r"ticket.source: this run would be dense"),
        ({"source": "sparse.method=gmp"}, r"ticket.source: sparse.density: field required"),
        ({"source": "sparse.method=rigl"}, r"ticket.source: sparse.method: 'rigl' moves masks"),
        ({"source": "sparse.method=gmpp sparse.density=.3"}, r"ticket.source: unknown sparse.method 'gmpp'"),
        ({"source": "gmp"}, r"gmp: .*write key=value"),
        ({"allocation": "erk"}, r"ticket.allocation: not used by score 'mask_of'"),
        ({"selection": "c1"}, r"ticket.selection: not used by score 'mask_of'"),
        ({"pretrain": 2}, r"ticket.pretrain: not used by score 'mask_of'"),
        ({"rewind": 1}, r"ticket.rewind: not used with ticket.weights 'init'"),
        ({"weights": "rewound", "rewind": 3}, r"ticket.rewind: 3 lies beyond the 2 epochs of the run before"),
    ],
)
def test_masks_that_cannot_be_taken_are_told_in_one_line(ticket: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message) as caught:
        make_ticket(taken(ticket=ticket))
    assert "\n" not in str(caught.value)


def test_a_source_needs_saying_and_only_there() -> None:
    with pytest.raises(ReproError, match=r"ticket.source: field required"):
        one(ticket={"score": "mask_of"})
    with pytest.raises(ReproError, match=r"ticket.source: not used by score 'random', only by mask_of"):
        one(ticket={"score": "random", "density": 0.3, "source": PRUNED})


def test_keys_follow_the_source() -> None:
    runs = [
        taken(),
        taken(PRUNED.replace("interval=1", "interval=2")),
        taken(PRUNED + " optim.epochs=3"),
        taken("ticket.score=random ticket.density=0.3"),
        taken(seed=1),
        taken(optim__lr=0.05),  # of the source as well
    ]
    assert len({ticket_key(s) for s in runs}) == len({s.key() for s in runs}) == len(runs)
    other = taken(ticket={"weights": "trained"})
    assert ticket_key(other) == ticket_key(taken()) and other.key() != taken().key()
    a, b = taken(PRUNED + " seed=4"), taken(seed=4)
    assert a.source == b.source and a.source.seed == 4, "the source may have another seed"


def test_the_source_has_data_network_and_recipe_of_its_user_but_no_ticket_or_check() -> None:
    s = taken(check__name="rearrange", sparse={"method": "rigl", "interval": 1}, optim__lr=0.05)
    assert s.source.changed() == {
        **{k: v for k, v in s.changed().items() if k not in ("ticket", "check")},
        "sparse": {"method": "gmp", "density": 0.3, "interval": 1},
    }
    moving = taken("ticket.score=random ticket.density=0.3", sparse={"method": "rigl", "interval": 1})
    assert moving.source == one(ticket={"score": "random", "density": 0.3}, optim__epochs=2), "static"
    longer = taken(PRUNED + " optim.multiplier=2", optim__lr=0.05)
    assert longer.source.optim == one(optim__epochs=2, optim__lr=0.05, optim__multiplier=2).optim
    corrupted = taken(check__name="random_labels")
    first = pretraining(corrupted)
    assert first and first.check.name == "random_labels", "the data that the masks came from are corrupted"


def test_sources_come_before_their_users_two_levels_deep() -> None:
    """RigL on the mask that RigL-SM left, which began with a lottery ticket, which was cut from a dense run."""
    words = "ticket.score=magnitude ticket.density=0.3 sparse.method=rigl_sm sparse.interval=1"
    user = taken(words, ticket={"weights": "rewound", "rewind": 1}, sparse={"method": "rigl", "interval": 1})
    source, dense = user.source, one(optim__epochs=2)
    assert [n.settings for n in needs(user)] == [source] and [n.settings for n in needs(source)] == [dense]
    jobs = list(plan([user, taken(words)]).values())
    assert [j.settings for j in jobs] == [dense, source, user, taken(words)]
    assert [(j.weights, j.snapshots) for j in jobs] == [(True, ()), (True, (1,)), (False, ()), (False, ())]
    made = run(user)
    assert made["sparse"]["updates"] == 6 and made["density"] == pytest.approx(0.3, abs=1e-4)
    assert sum(x["kept_first"] for x in made["layers"]) == ended(user).kept
    assert {x["name"]: x["kept_first"] for x in made["layers"]} == ended(user).kept_per_layer()
    assert plan([user]) == {} and plan([source]) == {}


# Names


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "dense"),
        ({"model": {"small": 0.2}}, "small_dense"),
        ({"model": {"small": 0.2}, "optim": {"multiplier": 2}}, "small_dense*2"),
        ({"ticket": {"score": "random"}}, "random"),
        ({"ticket": {"score": "random", "allocation": "erk"}}, "erk"),
        ({"ticket": {"score": "random", "allocation": "erk", "unit": "kernel"}}, "erk/kernel"),
        ({"ticket": {"score": "snip", "allocation": "erk"}}, "snip+erk"),
        ({"ticket": {"score": "random", "allocation": "erk"}, "sparse": {"method": "rigl"}}, "rigl:erk"),
        ({"ticket": {"score": "random"}, "sparse": {"method": "set"}}, "set:random"),
        (
            {
                "ticket": {
                    "score": "random",
                    "allocation": "uniform",
                    "unit": "kernel",
                    "weights": "trained",
                },
                "sparse": {"method": "rigl_sm"},
                "optim": {"multiplier": 2.5},
            },
            "rigl_sm:uniform/kernel@trained*2.5",
        ),
        ({"sparse": {"method": "gmp", "density": 0.05}}, "gmp"),
        ({"sparse": {"method": "gmp", "density": 0.05}, "optim": {"multiplier": 3}}, "gmp*3"),
        ({"ticket": {"score": "random"}, "sparse": {"method": "gmp", "density": 0.05}}, "gmp:random(0.1)"),
        ({"ticket": {"score": "mask_of", "source": PRUNED}}, "mask_of(gmp)"),
        (
            {
                "ticket": {
                    "score": "mask_of",
                    "source": "ticket.score=random ticket.allocation=uniform ticket.density=0.1 sparse.method=rigl_sm",
                },
                "sparse": {"method": "rigl"},
            },
            "rigl:mask_of(rigl_sm:uniform)",
        ),
        (
            {
                "ticket": {
                    "score": "mask_of",
                    "source": "ticket.score=random ticket.allocation=erk ticket.density=0.1",
                    "weights": "trained",
                },
            },
            "mask_of(erk)@trained",
        ),
    ],
)
def test_methods_that_move_masks_have_names(given: dict, name: str) -> None:
    values = {k: dict(v) for k, v in given.items()}
    if "ticket" in values:
        values["ticket"].setdefault("density", 0.1)
    values.setdefault("model", {}).setdefault("name", "wrn22")
    s = parse(values)
    assert record.method(head(s)["settings"]) == name


def test_a_run_is_filed_under_the_density_that_it_ends_at() -> None:
    for given, density in (
        ({"sparse": {"method": "gmp", "density": 0.05}}, 0.05),
        ({"ticket": {"score": "random", "density": 0.5}, "sparse": {"method": "gmp", "density": 0.05}}, 0.05),
        ({"ticket": {"score": "random", "density": 0.5}, "sparse": {"method": "rigl"}}, 0.5),
        ({"model": {"name": "wrn22", "small": 0.2}}, 0.2),
        ({}, 1.0),
    ):
        assert naming.density(head(parse(given))["settings"]) == density
