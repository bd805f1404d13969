"""GraNet and its kin: updates that prune and regrow, what a weight is worth to pruning, growth by neuron, DST."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_experiment import one
from test_mover import Moment, Small, batch, force, small, sparse, state, trained
from test_train import digits, network, random_masks, settings
from torch import nn

from repro import measure
from repro.errors import ReproError
from repro.experiment import make_ticket, run
from repro.masks import Masks
from repro.models import Layer, prunable
from repro.mover import Mover
from repro.moving_views import flow_scores
from repro.repair import dead
from repro.settings import parse
from repro.sparse_training import (
    GROWS,
    METHODS,
    Plan,
    Prune,
    Timetable,
    View,
    cubic,
    drop_and_grow,
    layer_counts,
    least,
    prune,
    step_cost,
    train_ratio,
)
from repro.train import train

GRANET = {"sparse": {"method": "granet", "density": 0.1, "interval": 1}}
DST = sparse("dst", interval=3)
ERK = {"ticket": {"score": "random", "allocation": "erk", "density": 0.5}}


def granet(**over: object) -> dict[str, Any]:
    return {"sparse": GRANET["sparse"] | over}


def masks_at_start(s: Any, model: nn.Module) -> Masks:
    return Masks.ones(prunable(model)) if s.ticket.score is None else make_ticket(s).masks


class Seen(Moment):
    """A step with what its update had left after pruning, before anything was dropped."""

    pruned: dict[str, int] | None = None


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """Watch every step of the trainings that follow, between the two parts of an update as well."""
    seen: list[Seen] = []
    between: list[dict[str, int]] = []

    def spy(views: dict[str, View], *rest: Any) -> Any:
        between.append({name: v.kept for name, v in views.items()})
        for v in views.values():
            assert torch.all(v.weight[~v.mask] == 0), "what is pruned is zero before anything is dropped"
            assert v.kept == int(v.mask.sum())
        return drop_and_grow(views, *rest)

    class Watched(Mover):
        def __call__(self, x: torch.Tensor, y: torch.Tensor, lr: float, number: int) -> None:
            old = self.masks
            super().__call__(x, y, lr, number)
            seen.append(Seen(number, self, old))
            seen[-1].pruned = between.pop() if between else None

    monkeypatch.setattr("repro.mover.drop_and_grow", spy)
    monkeypatch.setattr("repro.train.Mover", Watched)
    return seen


# One update by hand


def by_hand(**over: object) -> dict[str, Any]:
    """Of 4 steps an update at the second (from 0: at 1) prunes 12 of 18 weights to 8, and moves half of each layer."""
    plain = {k: v for k, v in over.items() if "." not in k}
    options = {"density": 8 / 18, "interval": 2, "decay": "constant", "update": "replace"}
    return sparse("granet", **{**options, **plain}) | {k: v for k, v in over.items() if "." in k}


def test_an_update_prunes_and_then_drops_and_grows_in_what_is_left() -> None:
    """Sizes .01 .02 .5 .6 .7 .8 live in the first layer and 1 2 .5 .3 1 1 in the second: .01, .02, .3 go, and of the
    two .5 that of the second layer, as of equal ones the first stays. Of 4 + 4 then half are dropped: .5 and .6, and
    the first two of size 1. Slopes let places 0 and 2 of the first layer grow: 2 has just been dropped and keeps what
    it had, 0 was pruned and begins anew.
    """
    step, mover = small(by_hand(), 4)
    force(step, 0, 2)
    mover(*batch(1), 0.1, 1)
    first, second = mover.masks["1.weight"].flatten(), mover.masks["3.weight"].flatten()
    assert first.nonzero().flatten().tolist() == [0, 2, 4, 5]
    assert int(second.sum()) == 4 and second[1] and second[5], "-2 and -1 live on"
    weight = state(step)["weight"]
    assert weight.tolist() == pytest.approx([0, 0, 0.5, 0, 0.7, 0.8, 0, 0, 0, 0, 0, 0])
    assert mover.about["updates"] == 1 and mover.about["dense_gradients"] == 1


@pytest.mark.parametrize("regrown", ["zero", "weight", "momentum", "keep"])
def test_what_was_pruned_and_grows_at_once_begins_anew(regrown: str) -> None:
    """The three least of the twelve go; of the four left in the first layer .5 and .6 are dropped."""
    over = by_hand(regrown=regrown, update="after", interval=4, density=0.5, **{"optim.lr": 1e-3})
    step, mover = small(over, 8)
    for number in range(3):
        mover(*batch(number), 1e-3, number)
    before = state(step)
    assert before["momentum_buffer"][0] != 0
    force(step, 0, 2)
    mover(*batch(3), 1e-3, 3)
    after = state(step)
    assert after["weight"][0] == after["momentum_buffer"][0] == 0, "place 0, whatever the option"
    assert bool(after["weight"][2] != 0) is (regrown in ("weight", "keep")), "place 2, which was only dropped"
    assert bool(after["momentum_buffer"][2] != 0) is (regrown in ("momentum", "keep"))


def test_growth_goes_on_after_pruning_and_can_end_before_it() -> None:
    """Of 24 steps, an update at every second: pruned until 12, grown until 24, or the other way round."""
    for until, regrow_until in ((0.5, 1.0), (1.0, 0.5)):
        plan = METHODS["granet"](density=0.1, interval=2, until=until, regrow_until=regrow_until)
        assert isinstance(plan, Plan)
        times, steps = Timetable(plan, 24), range(24)
        early, late = list(range(1, 12, 2)), list(range(1, 24, 2))
        pruned, grown = (early, late) if until == 0.5 else (late, early)
        assert [n for n in steps if times.within(plan.prune, n)] == pruned
        assert [n for n in steps if times.removes(n)] == pruned
        assert [n for n in steps if times.within(plan.regrow, n)] == grown
        assert [n for n in steps if times.due(n)] == late
        assert [n for n in steps if times.dense(n)] == grown, "only growth needs every slope"


def test_the_fraction_that_moves_falls_over_the_whole_training() -> None:
    """From .5 to .005 on a cosine over 100 steps, pruning or not: at step 49 a little above their mean."""
    plan = METHODS["granet"](density=0.1, interval=10)
    assert isinstance(plan, Plan) and plan.regrow
    times = Timetable(plan, 100)
    assert times.alpha(plan.regrow, 0) == 0.5
    assert times.alpha(plan.regrow, 50) == pytest.approx((0.5 + 0.005) / 2)
    assert times.alpha(plan.regrow, 99) == pytest.approx(0.005, abs=2e-4)
    for number in (9, 39, 79):
        wanted = 0.005 + 0.495 * (1 + math.cos(math.pi * number / 100)) / 2
        assert times.alpha(plan.regrow, number) == pytest.approx(wanted)


# In training


@pytest.mark.parametrize(
    ("scope", "keep_dense"),
    [
        ("global", ["last"]),  # whose few weights would all go so early
        ("global", ["first", "last"]),
        ("layer", []),
        ("layer", ["first"]),
        ("layer_plus", []),
        ("layer_plus", ["first"]),
    ],
)
@pytest.mark.parametrize("start", ["dense", "erk"])
def test_granet_follows_the_cubic_curve_and_then_keeps_its_count(
    start: str, scope: str, keep_dense: list[str], moments: list[Seen]
) -> None:
    """Twelve steps, an update at every second; the density is reached at step 5, and growth goes on to step 11."""
    over = granet(interval=2, scope=scope, keep_dense=keep_dense) | (ERK if start == "erk" else {})
    s = settings(**{"optim.epochs": 3} | over)
    data = digits(s)
    model = network(s, data)
    masks = masks_at_start(s, model)
    ends = {"first": next(iter(masks)), "last": list(masks)[-1]}
    outcome = train(model, data, s, masks=masks)
    assert [m.number for m in moments if m.due] == [1, 3, 5, 7, 9, 11]
    for m in moments:
        if not m.due:
            assert m.new == m.old
            continue
        wanted = cubic(masks.density, 0.1, min(1.0, m.number / 5)) * masks.total
        assert m.new.kept == round(wanted), "exact at every update"
        assert m.pruned == {n: k for n, k in m.new.kept_per_layer().items() if n in (m.pruned or {})}
        assert m.number <= 5 or m.new.kept_per_layer() == m.old.kept_per_layer()
        for role, name in ends.items():
            still = role in keep_dense
            assert (name not in (m.pruned or {})) is still
            assert not still or m.new[name].equal(masks[name])
        for name, mask in m.new.items():
            assert torch.all(m.weight[name][~mask] == 0)
            assert all(torch.all(v[~mask] == 0) for v in m.past[name].values())
            new = mask & ~m.old[name]
            assert torch.all(m.weight[name][new] == 0) and all(
                torch.all(v[new] == 0) for v in m.past[name].values()
            )
    assert any((mask & ~m.old[n]).any() for m in moments[6:] for n, mask in m.new.items()), "and it moves on"
    assert outcome.masks and outcome.masks.kept == round(0.1 * masks.total)
    assert outcome.moves and outcome.moves["updates"] == outcome.moves["dense_gradients"] == 6
    if scope == "layer_plus":
        last = outcome.masks.layer_densities()[ends["last"]]
        assert last == pytest.approx(0.2, abs=1 / masks[ends["last"]].numel())


def test_only_growth_in_an_update_counts_as_a_dense_gradient() -> None:
    """Of updates at 2, 5, 8 and 11 the last two only prune."""
    moves = trained(granet(interval=3, until=1.0, regrow_until=0.5))[2].moves
    assert moves and (moves["updates"], moves["dense_gradients"]) == (4, 2)
    moves = trained(granet(interval=3, until=1.0, grow="random"))[2].moves
    assert moves and (moves["updates"], moves["dense_gradients"]) == (4, 0)


def test_dst_never_changes_a_layers_count(moments: list[Seen]) -> None:
    _, _, outcome = trained(DST)
    assert [m.number for m in moments if m.old != m.new] == [2, 5, 8, 11], "to the end"
    assert outcome.masks
    assert outcome.masks.kept_per_layer() == moments[0].old.kept_per_layer()
    for m in (m for m in moments if m.due):
        assert m.alpha == pytest.approx(0.005 + 0.495 * (1 + math.cos(math.pi * m.number / 12)) / 2)
        for name, mask in m.new.items():
            gone = int((m.old[name] & ~mask).sum())
            assert gone <= math.ceil(m.alpha * m.old.kept_per_layer()[name])


def test_dst_is_granet_without_pruning() -> None:
    """From one start, with the density of the start as the one to end at: the same masks and weights."""
    _, a, one_way = trained(sparse("dst", interval=3, alpha=0.4))
    start = one_way.masks.density if one_way.masks else 1.0
    over = sparse("granet", interval=3, alpha=0.4, density=start)
    over["ticket"] = over["ticket"] | {"density": start}
    _, b, other = trained(over)
    assert one_way.masks == other.masks
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_kinds_of_growth_are_really_different() -> None:
    """The same network, batches and drops, and so the same first update but for where it grows."""
    found = {}
    for grow in sorted(GROWS):
        dense = grow in ("momentum", "momentum_neuron")
        more = {"dense_momentum": True} if dense else {}
        over = sparse("dst", interval=6, grow=grow, until=0.5, decay="constant", **more)
        found[grow] = trained(over)[2]
        assert found[grow].moves and found[grow].moves["updates"] == 1
    for a, b in itertools.combinations(sorted(GROWS), 2):
        mine, other = found[a].masks, found[b].masks
        assert mine and other and mine.kept_per_layer() == other.kept_per_layer()
        assert mine.overlap(other) < 0.95, (a, b)


@pytest.mark.parametrize("rank", ["magnitude", "taylor", "synflow"])
@pytest.mark.parametrize("method", ["gmp", "granet"])
def test_every_rank_prunes_to_the_density(method: str, rank: str) -> None:
    over = {"sparse": {"method": method, "density": 0.2, "interval": 3, "rank": rank, "keep_dense": []}}
    _, _, outcome = trained(over | {"model": {"name": "wrn10", "width": 0.25, "dropout": 0.3}})
    assert outcome.masks and outcome.masks.kept == round(0.2 * outcome.masks.total)


def test_ranks_are_really_different() -> None:
    found = [trained(granet(interval=3, rank=rank))[2].masks for rank in ("magnitude", "taylor", "synflow")]
    for a, b in itertools.combinations(found, 2):
        assert a and b and a.overlap(b) < 0.9


OPTIONS = {"gmp": {"density": 0.2}, "granet": {"density": 0.2}}


def moving() -> list[str]:
    """Name the methods of the menu that are a plan."""
    return [name for name, make in METHODS.items() if isinstance(make(**needed(name)), Plan)]


def needed(name: str) -> dict[str, Any]:
    return OPTIONS.get(name, {"density": 0.2} if name == "edge_popup" else {})


@pytest.mark.parametrize("method", moving())
def test_every_method_makes_a_record(method: str) -> None:
    own = {} if method == "gmp" else {"score": "random", "allocation": "erk", "density": 0.4}
    made = run(one(ticket=own, sparse={"method": method, "interval": 2, **needed(method)}, optim__epochs=2))
    assert made["status"] == "done" and made["sparse"]["updates"] >= 3
    assert made["density"] == pytest.approx(0.2 if method in OPTIONS else 0.4, abs=1e-3)


# What a weight is worth


def test_by_taylor_what_the_loss_feels_least_goes() -> None:
    """Products w g of .9, .1, 0, -.6 in one layer and .5, -.8 in the other; a pruned weight has none, so it stays out."""
    views = {
        "a": View(
            torch.tensor([3.0, 0.1, 2.0, -0.6, 0.0]),
            torch.tensor([True, True, True, True, False]),
            4,
            torch.tensor([0.3, 1.0, 0.0, 1.0, 9.0]),
        ),
        "b": View(torch.tensor([5.0, 0.4]), torch.tensor([True, True]), 2, torch.tensor([0.1, -2.0])),
    }
    kept = {k: prune(views, Prune(0.5, 1.0, "global", (), "taylor"), k) for k in (5, 3, 1)}
    assert [kept[5][n].tolist() for n in "ab"] == [[True, True, False, True, False], [True, True]]
    assert [kept[3][n].tolist() for n in "ab"] == [[True, False, False, True, False], [False, True]]
    assert [kept[1][n].tolist() for n in "ab"] == [[True, False, False, False, False], [False, False]]
    by_size = prune(views, Prune(0.5, 1.0, "global", ()), 3)
    assert [by_size[n].tolist() for n in "ab"] == [[True, False, True, False, False], [True, False]]


def test_pruning_by_taylor_takes_the_slopes_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slopes on places 0 and 4 of the first layer: the products there are all that is above zero in it."""
    step, mover = small(by_hand(rank="taylor", density=2 / 18, until=0.5, regrow_until=0.5, alpha=0.1), 4)
    slopes = {"1.weight": torch.zeros(3, 4), "3.weight": torch.zeros(2, 3)}
    slopes["1.weight"].view(-1)[[0, 4, 9]] = torch.tensor([100.0, -1.0, 500.0])
    monkeypatch.setattr(step, "gradients", lambda x, y: slopes)
    monkeypatch.setattr(
        "repro.mover.drop_and_grow",
        lambda views, *rest: {n: (v.mask, v.mask & ~v.mask) for n, v in views.items()},
    )
    mover(*batch(1), 0.1, 1)
    assert mover.masks["1.weight"].flatten().nonzero().flatten().tolist() == [0, 4], (
        "1.0 and .7; 9 does not live"
    )
    assert not mover.masks["3.weight"].any()


def test_synflow_scores_by_hand() -> None:
    """R = sum_o |b_oh| tanh(sum_i |a_hi|): the score of a_hi is |a_hi| (sum_o |b_oh|) (1 - tanh^2), that of b_oh
    |b_oh| tanh(sum_i |a_hi|). The third hidden unit gets nothing: all its weights score 0.
    """
    model = Small()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    layers = prunable(model)
    found = flow_scores(model, layers, (1, 2, 2))
    a, b = (model.get_parameter(n).detach().double().abs() for n in ("1.weight", "3.weight"))
    sums = torch.tanh(a.sum(1))
    torch.testing.assert_close(found["1.weight"], a * (b.sum(0) * (1 - sums**2))[:, None])
    torch.testing.assert_close(found["3.weight"], b * sums)
    assert found["1.weight"].dtype == torch.float64 and torch.all(found["3.weight"][:, 2] == 0)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items()), "the network stays as it is"
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    only: tuple[Layer, ...] = layers[1:]
    assert list(flow_scores(model, only, (1, 2, 2))) == ["3.weight"]


def test_pruning_by_synflow_keeps_the_best_of_the_network_as_it_is() -> None:
    step, mover = small(by_hand(rank="synflow", until=0.5, regrow_until=0.5, alpha=0.01, rounding="floor"), 4)
    scores = flow_scores(step.model, prunable(step.model), (1, 2, 2))
    mover._shape = (1, 2, 2)
    mover(*batch(1), 0.1, 1)
    lives = {n: m.flatten() for n, m in mover.masks.items()}
    best = torch.cat([s.flatten() for s in scores.values()]).topk(8).indices.sort().values
    assert torch.cat(list(lives.values())).nonzero().flatten().equal(best)


# Layers of one density


@pytest.mark.parametrize(
    ("kept", "keep", "found"),
    [
        ((100, 100, 50), 60, [24, 24, 12]),  # .24: all alike
        ((100, 100, 50), 50, [20, 20, 10]),  # .2: alike, and a fifth of the last
        ((100, 100, 50), 26, [8, 8, 10]),  # 1 - s' = (250 x .104 - .2 x 50) / 200 = .08
        ((100, 100, 50), 11, [1, 0, 10]),
        ((100, 100, 4), 26, [11, 11, 4]),  # the last has less than a fifth: it keeps all
        ((5, 5, 50), 40, [5, 5, 30]),  # the others have too little: the last gives less
        ((100, 20, 50), 50, [20, 20, 10]),
        ((100, 12, 50), 40, [18, 12, 10]),  # 15 + 15, of which 3 go over to the first
    ],
)
def test_the_last_layer_keeps_a_fifth(kept: tuple, keep: int, found: list[int]) -> None:
    """Layers of 100, 100 and 50 weights."""
    assert layer_counts((100, 100, 50), kept, keep, "layer_plus") == found


def test_without_that_all_have_the_same_density() -> None:
    assert layer_counts((100, 100, 50), (100, 100, 50), 25, "layer") == [10, 10, 5]


def test_a_layer_alone_takes_all_and_too_little_for_the_others_is_known() -> None:
    assert layer_counts((50,), (50,), 3, "layer_plus") == [3]
    assert (
        least((100, 50), "layer_plus") == 11 and least((100, 50), "layer") == least((50,), "layer_plus") == 1
    )
    small(sparse("gmp", density=2 / 18, scope="layer_plus", keep_dense=[], interval=2))
    with pytest.raises(
        ReproError, match=r"sparse.density: 0.0555556 leaves no weight to the layers before the last"
    ):
        small(sparse("gmp", density=1 / 18, scope="layer_plus", keep_dense=[], interval=2))


# What it costs


def test_granet_pays_for_growing_and_for_what_pruning_leaves() -> None:
    """By the formula with the mean share of the steps; step by step with the share of each."""
    for method, interval in (("granet", 1000), ("dst", 1000)):
        plan = METHODS[method](**needed(method))
        assert isinstance(plan, Plan)
        assert train_ratio(0.2, plan) == pytest.approx((0.6 * interval + 1.4) / (interval + 1) / 3)
        plan = METHODS[method](**needed(method), grow="random")
        assert isinstance(plan, Plan) and train_ratio(0.2, plan) == pytest.approx(0.2)
    wide = METHODS["granet"](density=0.1, grow="momentum", dense_momentum=True)
    assert isinstance(wide, Plan) and train_ratio(0.2, wide) == pytest.approx(1.4 / 3)


def test_what_granet_spends_is_added_up(moments: list[Seen]) -> None:
    s, model, outcome = trained(granet(interval=3, keep_dense=["last"]))
    macs = measure.macs(model, digits(s).shape)
    shares = [measure.flops(macs, m.old.layer_densities())["ratio"] for m in moments]
    assert shares[0] == 1 > shares[3] > shares[6] > 0
    spent = sum(step_cost(share, m.due) for share, m in zip(shares, moments, strict=True))
    assert outcome.moves and outcome.moves["spent"] == pytest.approx(spent)
    assert outcome.moves["share"] == pytest.approx(sum(shares) / 12)


# The repair of the flow


class Repair:
    """Stands for the repair of the flow: adds the first free entry of the first layer, or moves its last one there."""

    def __init__(self) -> None:
        self.calls: list[tuple[nn.Module, Masks, tuple[int, ...], str]] = []

    def __call__(self, model: nn.Module, masks: Masks, shape: tuple, how: str, g: torch.Generator) -> Masks:
        self.calls.append((model, masks, shape, how))
        name = next(iter(masks))
        mask = masks[name].clone()
        flat = mask.view(-1)
        places = flat.nonzero().flatten()
        if (~flat).any():
            flat[(~flat).nonzero()[0]] = True
            flat[places[-1]] = how == "add"
        return Masks({**masks, name: mask})


@pytest.fixture
def repairs(monkeypatch: pytest.MonkeyPatch) -> Repair:
    made = Repair()
    monkeypatch.setattr("repro.mover.repair", made)
    return made


def test_masks_are_repaired_after_every_update(repairs: Repair, moments: list[Seen]) -> None:
    """The weight that gets its place back begins at zero and without a past, whatever it was before the update."""
    for how, more in (("move", 0), ("add", 1)):
        moments.clear()
        repairs.calls.clear()
        over = sparse("dst", interval=3, flow=how)
        s, model, outcome = trained(over)
        assert len(repairs.calls) == 4
        structure, _, shape, kind = repairs.calls[0]
        assert kind == how and shape == digits(s).shape
        assert structure is not model and [x.name for x in prunable(structure)] == list(moments[0].new)
        due = [m for m in moments if m.due]
        for m, (_, before, *_) in zip(due, repairs.calls, strict=True):
            assert before.kept_per_layer() == m.old.kept_per_layer(), "called when all else is done"
            assert m.new.kept - m.old.kept == more
            name = next(iter(m.new))
            new = m.new[name] & ~before[name]
            assert int(new.sum()) == 1
            assert torch.all(m.weight[name][new] == 0)
            assert all(torch.all(v[new] == 0) for v in m.past[name].values())
            for name, mask in m.new.items():
                assert torch.all(m.weight[name][~mask] == 0)
        assert outcome.moves and outcome.moves["repaired"] == 4


def test_layers_that_are_kept_dense_are_not_repaired(repairs: Repair, moments: list[Seen]) -> None:
    trained(sparse("dst", interval=3, flow="add", **{"ticket.keep_dense": ["first"]}))
    assert len(repairs.calls) == 4
    name = next(iter(moments[0].new))
    assert all(m.new[name].equal(moments[0].old[name]) for m in moments)


@pytest.mark.parametrize(("how", "over"), [("move", 0), ("add", 1)])
def test_pruning_makes_up_for_what_a_repair_has_added(
    how: str, over: int, repairs: Repair, moments: list[Seen]
) -> None:
    """The density is reached at step 5; with what the repairs add it is one weight more after each update."""
    _, _, outcome = trained(granet(interval=2, flow=how, keep_dense=["last"]))
    assert len(repairs.calls) == 6
    due = [m for m in moments if m.due]
    total = due[0].new.total
    wanted = [round(cubic(1.0, 0.1, min(1.0, n / 5)) * total) + over for n in (1, 3, 5, 7, 9, 11)]
    assert [m.new.kept for m in due] == wanted
    assert outcome.moves and outcome.moves["repaired"] == 6


@pytest.mark.parametrize("method", ["dst", "set", "granet", "gmp"])
def test_after_a_repair_no_neuron_is_dead(method: str, moments: list[Seen]) -> None:
    """From masks so thin that without it neurons die at every update."""
    own: dict[str, Any] = {"density": 0.12, "until": 0.75, "scope": "layer", "keep_dense": []}
    own = own if method in OPTIONS else {}
    dead_at, kept = {}, {}
    for how in ("off", "move", "add"):
        moments.clear()
        over = sparse(method, interval=3, flow=how, **own)
        s = settings(**over | {"optim.epochs": 3, "ticket": {"score": "random", "density": 0.13}})
        data = digits(s)
        model = network(s, data)
        train(model, data, s, masks=random_masks(model, 0.13))
        due = [m for m in moments if m.due]
        dead_at[how] = [sum(dead(model, m.new, data.shape).values()) for m in due]
        kept[how] = [m.new.kept for m in due]
    assert all(dead_at["off"]) and not any(dead_at["move"]) and not any(dead_at["add"]), dead_at
    assert kept["move"] == kept["off"] != kept["add"]


def test_a_repair_that_cannot_be_made_is_told_in_one_line() -> None:
    """With one weight in a layer of three outputs two of these stay without."""
    _, mover = small(sparse("dst", interval=2, flow="move"), 10)
    mover._shape = (1, 2, 2)
    lone = torch.zeros(3, 4, dtype=torch.bool)
    lone[0, 0] = True
    mover.masks = Masks({**mover.masks, "1.weight": lone})
    with pytest.raises(ReproError, match=r"sparse.flow: after 2 steps: repair: ") as caught:
        mover(*batch(1), 0.1, 1)
    assert "\n" not in str(caught.value)


def test_no_repair_is_made_without_being_asked_for(repairs: Repair) -> None:
    trained(DST)
    trained(granet(interval=3))
    assert not repairs.calls


# Settings

FULL: dict[str, Any] = {"ticket": {"score": "random", "density": 0.5}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sparse.method": "granet"}, r"sparse.density: field required"),
        ({"sparse.density": 0.6}, r"sparse.density: 0.6 is above ticket.density"),
        (
            {"sparse.density": 1, "ticket": {}},
            r"sparse.density: the run starts at 1, and nothing goes; lower it",
        ),
        (
            {"sparse.method": "gmp", "sparse.density": 0.5},
            r"sparse.density: the run starts at 0.5, and nothing",
        ),
        ({"sparse.until": 0.3, "sparse.begin": 0.3}, r"sparse.until: 0.3 is not after sparse.begin"),
        (
            {"sparse.regrow_until": 0.3, "sparse.begin": 0.4},
            r"sparse.regrow_until: 0.3 is not after sparse.begin",
        ),
        (
            {"sparse.scope": "layer_plus", "sparse.keep_dense": ["last"]},
            r"sparse.scope: layer_plus prunes the last layer, which is kept dense; use layer",
        ),
        (
            {
                "sparse.scope": "layer_plus",
                "ticket": {"score": "random", "density": 0.5, "keep_dense": ["last"]},
            },
            r"sparse.scope: layer_plus prunes the last layer",
        ),
        (
            {"sparse.grow": "momentum"},
            r"sparse.grow: 'momentum' looks at the momentum of pruned weights, which is 0",
        ),
        ({"sparse.grow": "momentum_neuron"}, r"sparse.dense_momentum; set that to true"),
        (
            {"sparse.grow": "momentum_neuron", "sparse.dense_momentum": True, "optim.momentum": 0},
            r"'granet' looks at the optimiser's momentum, which is off",
        ),
        ({"sparse.power": 2}, r"sparse.power: not used by decay 'cosine'"),
        ({"sparse.sampling": "bernoulli"}, r"sparse.sampling: not used by grow 'gradient'"),
        ({"sparse.alpha": 0.004}, r"sparse.floor: 0.005 is above sparse.alpha"),
        ({"sparse.kernel_drop": "max"}, r"sparse.kernel_drop: not used by method 'granet'"),
        ({"sparse.rank": "snip"}, r"sparse.rank: input should be 'magnitude', 'taylor' or 'synflow'"),
        (
            {"sparse.method": "dst", "sparse.rank": "taylor"},
            r"sparse.rank: not used by method 'dst', only by gmp, gr",
        ),
        (
            {"sparse.method": "dst", "ticket": {}},
            r"sparse.method: 'dst' moves masks, and this run starts dense",
        ),
        ({"sparse.flow": "mend"}, r"sparse.flow: input should be 'off', 'add' or 'move'"),
        (
            {
                "sparse.method": "rigl",
                "sparse.flow": "move",
                "ticket": {**FULL["ticket"], "allocation": "erk"},
            }
            | {"ticket.unit": "kernel"},
            r"sparse.flow: single weights are repaired, not ticket.unit 'kernel'; remove it",
        ),
        (
            {"ticket": {**FULL["ticket"], "allocation": "erk", "unit": "kernel"}},
            r"ticket.unit: sparse.method 'granet' removes single weights",
        ),
    ],
)
def test_what_does_nothing_is_told_in_one_line(given: dict, message: str) -> None:
    values: dict[str, Any] = {k: dict(v) for k, v in (FULL | {"sparse": {}}).items()}
    values |= {k: dict(v) for k, v in given.items() if "." not in k}
    for key, value in given.items():
        section, _, name = key.partition(".")
        if name:
            values.setdefault(section, {})[name] = value
    values["sparse"].setdefault("method", "granet")
    if values["sparse"]["method"] == "granet" and given != {"sparse.method": "granet"}:
        values["sparse"].setdefault("density", 0.1)
    with pytest.raises(ReproError, match=message) as caught:
        parse(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"sparse": {"method": "granet", "density": 0.05}},  # from the dense network
        {"sparse": {"method": "granet", "density": 0.5}} | FULL,  # pruned already: it moves
        {"sparse": {"method": "granet", "density": 0.1, "regrow_until": 0.3}},
        {"sparse": {"method": "granet", "density": 0.1, "grow": "momentum_neuron", "dense_momentum": True}},
        {"sparse": {"method": "gmp", "density": 0.1, "scope": "layer_plus", "rank": "synflow"}},
        {"sparse": {"method": "dst", "grow": "random", "sampling": "bernoulli", "flow": "add"}} | FULL,
        {"sparse": {"method": "rigl", "flow": "move"}} | FULL,
    ],
)
def test_what_makes_sense_is_allowed(given: dict) -> None:
    s = parse(given)
    assert s.sparse.changed() == given["sparse"]


def test_the_choices_of_the_replication() -> None:
    found = METHODS["granet"](density=0.1)
    assert isinstance(found, Plan) and found.regrow and found.prune == Prune(0.1, 0.5, "global", ())
    assert (found.interval, found.begin, found.until, found.update, found.flow) == (
        1000,
        0.0,
        1.0,
        "after",
        "off",
    )
    alone = METHODS["dst"]()
    assert alone == replace(found, prune=None)
    rigl = METHODS["rigl"]()
    assert isinstance(rigl, Plan) and rigl.regrow
    own = {"alpha": 0.5, "floor": 0.005, "until": 1.0, "rounding": "ceil", "regrown": "keep"}
    assert found.regrow == replace(rigl.regrow, **own)
