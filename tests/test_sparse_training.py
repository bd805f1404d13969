"""Mask updates, computed by hand: what each method drops and grows, and what each option changes."""

from __future__ import annotations

import inspect
import itertools
import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.errors import ReproError
from repro.settings import parse
from repro.sparse_training import (
    DECAYS,
    DROPS,
    GROWS,
    METHODS,
    STATISTICS,
    Prune,
    Regrow,
    View,
    apportion,
    cubic,
    drop_and_grow,
    fraction,
    layer_shares,
    prune,
    quotas,
)
from repro.sparse_training.grows import by_chance
from repro.units import entries, spread


def regrow(method: str = "rigl", **over: object) -> Regrow:
    plan = METHODS[method](**over)
    assert plan and plan.regrow
    return plan.regrow


def view(weight: list[float], mask: str = "", **more: list[float]) -> View:
    """Make a view; a mask is written as in "+-+", and is where weights are not zero unless it is given."""
    w = torch.tensor(weight, dtype=torch.float32)
    lives = torch.tensor([sign == "+" for sign in mask]) if mask else w != 0
    seen = {k: torch.tensor(v, dtype=torch.bool if k == "explored" else w.dtype) for k, v in more.items()}
    return View(w, lives, int(lives.sum()), **seen)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def signs(mask: torch.Tensor) -> str:
    return "".join("+" if m else "-" for m in mask.tolist())


def moved(
    views: dict[str, View], spec: Regrow, alpha: float, seed: int = 0
) -> tuple[dict[str, str], dict[str, str]]:
    """Give new masks and grown entries of each layer as signs."""
    found = drop_and_grow(views, spec, alpha, stream(seed))
    return {n: signs(m) for n, (m, _) in found.items()}, {n: signs(g) for n, (_, g) in found.items()}


def two_layers(**b: list[float]) -> dict[str, View]:
    """Make the layers of the examples: 5 of 8 and 3 of 4 entries live."""
    return {
        "a": view(
            [0.5, -0.1, 0.3, 0, 0, -0.9, 0.2, 0],
            gradient=[9, 0.3, 9, -0.7, 0.2, 9, 0.6, 0.1],
            momentum=[1, 0, -2, 7, -8, 3, 0, 7],
            explored=[1, 1, 1, 0, 0, 1, 1, 0],
        ),
        "b": view([1, -0.2, 0, 0.4], gradient=[5, 0.1, -0.3, 5], momentum=[0, 1, 9, 0.5], explored=[1] * 4),
    }


# One update of each method


def test_rigl_by_hand() -> None:
    """Of a, floor(.4 x 5) = 2 go: |w| = .1 and .2 at places 1 and 6. Free are then 1, 3, 4, 6 and 7 with slopes
    .3, .7, .2, .6 and .1: 3 and 6 grow, of which 6 has just gone. Of b, floor(.4 x 3) = 1: place 1 with .2 goes,
    and of the slopes .1 at 1 and .3 at 2 the latter wins.
    """
    masks, grown = moved(two_layers(), regrow("rigl"), 0.4)
    assert masks == {"a": "+-++-++-", "b": "+-++"}
    assert grown == {"a": "---+--+-", "b": "--+-"}


def test_set_by_hand() -> None:
    """The same go as with RigL; then any two of the five free places of a, and any of the two of b, grow."""
    seen = []
    for seed in range(400):
        masks, grown = moved(two_layers(), regrow("set"), 0.4, seed)
        for name, old in (("a", "+-+--+--"), ("b", "+--+")):
            assert all(m == "+" for m, o in zip(masks[name], old, strict=True) if o == "+"), "these stay"
            assert all(g == "-" for g, o in zip(grown[name], old, strict=True) if o == "+")
        assert (grown["a"].count("+"), grown["b"].count("+")) == (2, 1)
        seen.append([[g == "+" for g in grown[name]] for name in "ab"])
    often = torch.tensor([a for a, _ in seen]).double().mean(0)
    assert often[[1, 3, 4, 6, 7]].tolist() == pytest.approx([2 / 5] * 5, abs=0.09), (
        "just dropped ones as well"
    )
    assert sum(b[1] for _, b in seen) / 400 == pytest.approx(0.5, abs=0.09)
    assert moved(two_layers(), regrow("set"), 0.4, 7) == moved(two_layers(), regrow("set"), 0.4, 7)


def test_snfs_by_hand() -> None:
    """Living momenta have the mean sizes (1 + 0 + 2 + 3 + 0) / 5 = 1.2 and (0 + 1 + .5) / 3 = .5: shares of 12/17
    and 5/17. The 2 + 1 dropped entries come back as 36/17 = 2.12 and 15/17 = .88: whole parts 2 and 0, and the
    larger remainder gives b the last. The largest momenta at free places: 8 at 4 and the first 7, at 3, in a; 9 in b.
    """
    masks, grown = moved(two_layers(), regrow("snfs"), 0.4)
    assert grown == {"a": "---++---", "b": "--+-"}
    assert masks == {"a": "+-++++--", "b": "+-++"}


def test_rigl_sm_shares_out_by_momentum_and_grows_by_gradient() -> None:
    """Living momenta of 3 and 1 in the mean: of 2 + 2 dropped entries a gets 3 and b gets 1."""
    a = view([1, 2, 3, 4, 0, 0, 0, 0], momentum=[3, -3, 3, -3, 0, 0, 0, 0], gradient=[0, 1, 0, 0, 2, 3, 4, 5])
    b = view([1, 2, 3, 4, 0, 0, 0, 0], momentum=[1, 1, 1, 1, 90, 90, 0, 0], gradient=[7, 6, 0, 0, 5, 4, 3, 2])
    masks, grown = moved({"a": a, "b": b}, regrow("rigl_sm"), 0.5)
    assert grown == {"a": "-----+++", "b": "+-------"}
    assert masks == {"a": "--++-+++", "b": "+-++----"}


def test_rigl_sg_shares_out_by_the_slopes_of_what_lives() -> None:
    """Living slopes of (0 + 1 + 0 + 0) / 4 = .25 and (4 + 3 + 0 + 0) / 4 = 1.75 in the mean, shares of 1/8 and 7/8,
    whatever the slopes of the others: .5 and 3.5 of 4 come back, and of equal remainders the first layer's counts.
    """
    a = view([1, 2, 3, 4, 0, 0, 0, 0], gradient=[0, 1, 0, 0, 99, 99, 99, 99])
    b = view([1, 2, 3, 4, 0, 0, 0, 0], gradient=[4, -3, 0, 0, 5, 0, -6, 0])
    masks, grown = moved({"a": a, "b": b}, regrow("rigl_sg"), 0.5)
    assert grown == {"a": "----+---", "b": "+---+-+-"}
    assert masks == {"a": "--+++---", "b": "+-+++-+-"}


def test_gradual_pruning_by_hand() -> None:
    """Of 4 + 3 living weights 4 stay: globally the largest, .9, .8, .7 and -.6. By layer
    4 x 8/12 = 2.67 and 4 x 4/12 = 1.33 stay: 2 and 1, and one more of the larger remainder.
    """
    views = {
        "a": view([0.9, 0, 0.1, -0.3, 0, 0.2, 0, 0], "+-++-+--"),
        "b": view([0.8, -0.6, 0, 0.7]),
    }
    spec = Prune(0.5, 1.0, "global", ())
    assert [signs(m) for m in prune(views, spec, 4).values()] == ["+-------", "++-+"]
    found = prune(views, replace(spec, scope="layer"), 4)
    assert [signs(m) for m in found.values()] == ["+--+-+--", "+---"]
    assert [signs(m) for m in prune(views, spec, 99).values()] == ["+-++-+--", "++-+"], "none comes back"


def test_pruning_by_layer_takes_nothing_from_a_layer_that_has_too_little_already() -> None:
    """Shares of 50 each: b, which has but 20, keeps them all, and a gives up the rest."""
    a, b = view([1.0] * 100), view([1.0] * 20 + [0.0] * 80)
    for keep, wanted in ((110, [90, 20]), (100, [80, 20]), (41, [21, 20]), (40, [20, 20]), (30, [15, 15])):
        found = prune({"a": a, "b": b}, Prune(0.1, 1.0, "layer", ()), keep)
        assert [int(m.sum()) for m in found.values()] == wanted


def test_a_living_weight_of_zero_is_pruned_last_of_the_dead_and_first_of_the_living() -> None:
    views = {"a": view([0, 0, 0.5, 0], "-++-")}
    assert signs(prune(views, Prune(0.5, 1.0, "global", ()), 2)["a"]) == "-++-"
    assert signs(prune(views, Prune(0.5, 1.0, "global", ()), 1)["a"]) == "--+-"


def test_rigl_of_whole_kernels_by_hand() -> None:
    """Four kernels of 1 x 2 weights, three alive. Means .1, 0 and -.45, greatest .4, .5 and -.4, least -.2, -.5 and -.5:
    sizes are taken afterwards, so that .5 and -.5 cancel. Likewise of slopes, of which the free kernel has -2 and 4.
    """
    weight = torch.tensor([[[[0.4, -0.2]], [[0.5, -0.5]]], [[[-0.4, -0.5]], [[0.0, 0.0]]]])
    slope = torch.tensor([[[[0.0, 0.5]], [[1.5, 1.5]]], [[[9.0, 9.0]], [[-2.0, 4.0]]]])
    mask = torch.ones_like(weight, dtype=torch.bool)
    mask[1, 1] = False

    def kernels(by: str, slope_by: str) -> dict[str, View]:
        lives = entries(mask, "kernel", "max")
        return {"a": View(entries(weight, "kernel", by), lives, 3, entries(slope, "kernel", slope_by))}

    for by, gone in (("mean", 1), ("max", 0), ("min", 0)):
        left = [True, True, True, False]
        left[gone] = False
        for slope_by, slopes in (
            ("mean", (0.25, 1.5, 9, 1)),
            ("min", (0, 1.5, 9, -2)),
            ("max", (0.5, 1.5, 9, 4)),
        ):
            come = max((i for i in range(4) if not left[i]), key=lambda i: abs(slopes[i]))
            new, grown = drop_and_grow(kernels(by, slope_by), regrow("rigl"), 0.34, stream())["a"]
            assert grown.nonzero().flatten().tolist() == [come], (by, slope_by)
            shaped = spread(new, weight.shape)
            assert shaped.shape == weight.shape
            assert shaped.flatten(2).all(-1).flatten().tolist() == [left[i] or i == come for i in range(4)]
            assert shaped.flatten(2).any(-1).equal(shaped.flatten(2).all(-1)), "whole kernels"


def test_linear_layers_are_moved_weight_by_weight_even_in_kernel_tickets() -> None:
    values = torch.arange(6.0).reshape(2, 3)
    assert entries(values, "kernel", "max").tolist() == [0, 1, 2, 3, 4, 5]
    assert spread(torch.arange(6.0), (2, 3)).equal(values)


# The rows in which the published codes differ


@pytest.mark.parametrize(
    ("alpha", "kept", "down", "up"),
    [
        (0.3, 5, 1, 2),
        (0.3, 10, 3, 3),
        (0.29, 100, 29, 29),
        (0.07, 100, 7, 7),
        (0.001, 100, 0, 1),
        (1.0, 7, 7, 7),
    ],
)
def test_the_number_dropped_is_rounded_down_or_up(alpha: float, kept: int, down: int, up: int) -> None:
    """In floating point .29 x 100 is a little below 29 and .07 x 100 a little above 7: that is no remainder."""
    layer = view([1.0] * kept + [0.0])
    assert quotas([layer], regrow(rounding="floor"), alpha) == [down]
    assert quotas([layer], regrow(rounding="ceil"), alpha) == [up]


def test_of_equal_weights_the_first_goes_and_with_noise_any() -> None:
    views = {"a": view([0.5, -0.5, 0.5, 0.5, 0.0], gradient=[0, 0, 0, 0, 1])}
    assert moved(views, regrow(), 0.25)[0] == {"a": "-++++"}
    seen = {moved(views, regrow(noise=1e-5), 0.25, seed)[0]["a"] for seed in range(60)}
    assert seen == {"-++++", "+-+++", "++-++", "+++-+"}


@pytest.mark.parametrize("drop", sorted(DROPS))
def test_noise_tells_equal_weights_apart_and_no_others(drop: str) -> None:
    a = view([-0.1, 0.5, -0.2, 0.7, 0, 0], gradient=[0.1, 0.1, 0.1, 0.1, 1, 2])
    plain = moved({"a": a}, regrow(drop=drop), 0.5)
    gone = {"set_signed": "--++++"}.get(drop, "-+-+++")  # of .5 and .7 the smaller, of -.1 and -.2 the larger
    assert plain[0] == {"a": gone}
    assert all(moved({"a": a}, regrow(drop=drop, noise=1e-5), 0.5, seed) == plain for seed in range(20))


def test_a_threshold_drops_all_ties_and_all_living_zeros() -> None:
    ties = {"a": view([0.2, -0.2, 0.2, 0.9, 0, 0], gradient=[3, 4, 5, 0, 1, 2])}
    assert moved(ties, regrow(), 0.25)[0] == {"a": "++++--"}, "place 0 goes, and comes back by its slope"
    masks, grown = moved(ties, regrow(drop="threshold"), 0.25)
    assert grown == {"a": "+++---"} and masks == {"a": "++++--"}, "three go, and as many come"
    zeros = {"a": view([0, 0, 0.2, 0.9, 0], "++++-", gradient=[0, 0, 0, 0, 1])}
    assert signs(DROPS["threshold"](zeros["a"], 1)) == "++---", "both living zeros, and no dead one"
    assert signs(DROPS["threshold"](zeros["a"], 3)) == "+++--"
    assert signs(DROPS["threshold"](zeros["a"], 0)) == "-----", "where none is asked for none goes"
    assert moved(zeros, regrow(drop="threshold"), 0.2)[1] == {"a": "-----"}


def test_set_drops_the_smallest_positive_and_the_largest_negative() -> None:
    weights = [0.1, 0.2, 0.3, -1.0, -2.0, -3.0, 0.0, 0.0]
    for k, gone in ((0, "------"), (1, "+-----"), (2, "+--+--"), (3, "++-+--"), (4, "++-++-"), (6, "++++++")):
        assert signs(DROPS["set_signed"](view(weights), k)) == gone + "--"
    assert signs(DROPS["magnitude"](view(weights), 2)) == "++------"


def test_where_one_sign_has_too_few_the_other_gives_the_rest() -> None:
    assert signs(DROPS["set_signed"](view([5, -1, -2, -3, -4]), 4)) == "++++-", "one positive, three negative"
    assert signs(DROPS["set_signed"](view([-5, 1, 2, 3, 4]), 4)) == "++++-"
    assert signs(DROPS["set_signed"](view([1, 2, 3, 4, 0]), 3)) == "+++--"
    assert signs(DROPS["set_signed"](view([3, 0, 0, -1], "++-+"), 2)) == "++--", (
        "a living zero is near to zero"
    )


def test_taylor_drops_what_the_loss_feels_least() -> None:
    a = view([0.1, -0.2, 3, 0.4, 0], gradient=[9, -2, 0.1, 0.5, 9])  # products .9, .4, .3, .2
    assert signs(DROPS["taylor"](a, 1)) == "---+-"
    assert signs(DROPS["taylor"](a, 3)) == "-+++-"


def test_random_growth_is_exact_or_a_coin_for_each_place() -> None:
    """Of 40 free places after the drop 10 are to grow: exactly, or each with probability 1/4, deviation 2.7."""
    views = {"a": view([1.0] * 20 + [0.0] * 30)}
    exact = {moved(views, regrow("set"), 0.5, seed)[1]["a"].count("+") for seed in range(50)}
    assert exact == {10}
    counts = []
    for seed in range(300):
        masks, grown = moved(views, regrow("set", sampling="bernoulli"), 0.5, seed)
        counts.append(grown["a"].count("+"))
        assert masks["a"].count("+") == 10 + counts[-1]
    found = torch.tensor(counts).double()
    assert found.mean().item() == pytest.approx(10, abs=0.6)
    assert found.std().item() == pytest.approx(math.sqrt(40 / 4 * 3 / 4), abs=0.4)
    assert by_chance(torch.zeros(4, dtype=torch.bool), 0, stream()).sum() == 0
    assert by_chance(torch.ones(4, dtype=torch.bool), 4, stream()).all()


def test_places_that_never_lived_grow_first() -> None:
    """Free after the drop are 0, 4, 5, 6 and 7, of which 6 and 7 never lived."""
    a = view([0.1, 1, 2, 3, 0, 0, 0, 0], explored=[1, 1, 1, 1, 1, 1, 0, 0])
    kinds = regrow("set", grow="random_unfired")
    assert {moved({"a": a}, kinds, 0.25, seed)[1]["a"] for seed in range(40)} == {"------+-", "-------+"}
    b = view([0.1, 0.2, 0.3, 3, 0, 0, 0, 0], explored=[1, 1, 1, 1, 1, 1, 0, 0])
    third = {moved({"b": b}, kinds, 0.75, seed)[1]["b"] for seed in range(80)}
    assert third == {"+-----++", "-+----++", "--+---++", "----+-++", "-----+++"}, "and then anywhere"


def neurons(means: tuple[float, ...], living: int = 4, width: int = 40) -> View:
    """Make neurons with some living entries of these mean momenta; those of free places rise from place to place."""
    lives = (torch.arange(width) < living).repeat(len(means), 1)
    rising = torch.arange(float(width)).repeat(len(means), 1)
    sizes = torch.where(
        lives, torch.tensor(means)[:, None] * torch.tensor([1.0, -1.0]).repeat(width // 2), rising
    )
    return View(
        lives.float().flatten(),
        lives.flatten(),
        living * len(means),
        momentum=sizes.flatten(),
        rows=len(means),
    )


@pytest.mark.parametrize(
    ("means", "k", "found"),
    [
        ((3, 1), 40, [30, 10]),
        ((3, 1), 41, [31, 10]),  # 30.75 and 10.25
        ((3, 1), 20, [20, 0]),  # 15 and 5, of which the latter are too few
        ((3, 1), 12, [9, 3]),  # too few for both
        ((3, 1), 38, [29, 9]),  # 28.5 and 9.5; the first has but 36 free places for all
        ((5, 1), 60, [36, 24]),  # 50 and 10, of which 14 find no place
        ((2, 1, 1, 0), 48, [24, 12, 12, 0]),
        ((4, 2, 1, 1), 48, [32, 16, 0, 0]),  # 24, 12, 6 and 6: those left share 2 to 1
        ((0, 0), 40, [20, 20]),  # before the first step
        ((0, 1), 36, [0, 36]),
        ((0, 1), 50, [14, 36]),
        ((3, 1), 72, [36, 36]),
        ((3, 1), 0, [0, 0]),
    ],
)
def test_neurons_grow_their_share_of_the_momentum(means: tuple, k: int, found: list[int]) -> None:
    """Of 40 entries four live in each neuron; where it grows, it does so at its largest momenta, the last places."""
    layer = neurons(means)
    grown = GROWS["momentum_neuron"](layer, ~layer.mask, k, stream()).reshape(len(means), 40)
    assert grown.sum(1).tolist() == found
    for row, n in zip(grown, found, strict=True):
        assert row.nonzero().flatten().tolist() == list(range(40 - n, 40))


def test_a_neuron_is_no_better_off_for_what_does_not_live_or_for_living_more() -> None:
    """The mean over the living entries decides, before the drop: not the sum, and not the momenta of free places."""
    a = neurons((2, 1))
    assert a.momentum is not None
    b = replace(a, momentum=a.momentum.clone(), mask=a.mask.clone())
    b.momentum[60:] = 1e6  # type: ignore[index]
    b.mask[1:4] = False
    for layer in (a, b):
        grown = GROWS["momentum_neuron"](layer, ~a.mask, 45, stream()).reshape(2, 40)
        assert grown.sum(1).tolist() == [30, 15]
    full = ~a.mask
    full[:40] = False
    assert GROWS["momentum_neuron"](a, full, 20, stream()).reshape(2, 40).sum(1).tolist() == [0, 20]


def test_of_equal_momenta_the_first_place_of_a_neuron_grows() -> None:
    layer = replace(neurons((1, 1)), momentum=torch.ones(80))
    grown = GROWS["momentum_neuron"](layer, ~layer.mask, 24, stream()).reshape(2, 40)
    assert [row.nonzero().flatten().tolist() for row in grown] == [list(range(4, 16))] * 2


def test_full_layers_stay_unless_entries_are_redistributed() -> None:
    full = view([1.0, 2, 3, 4], gradient=[4, 3, 2, 1], momentum=[1] * 4)
    half = view([1.0, 2, 0, 0], gradient=[0, 0, 2, 1], momentum=[1] * 4)
    assert quotas([full, half], regrow(), 0.5) == [0, 1]
    assert moved({"f": full, "h": half}, regrow(), 0.5)[1] == {"f": "----", "h": "--+-"}
    for kind in ("nonzero", "gradient", "momentum"):
        assert quotas([full, half], regrow(redistribute=kind), 0.5) == [2, 1]


def test_nearly_full_layers_of_more_than_their_share_are_tempered() -> None:
    """Ten entries each: 9, 8 and 4 live. Less than a fifth is pruned only of the first, which has more than a third
    of what lives: it moves the tenth that it has pruned, .1 x 9 = .9. The others move .5 x 8 and .5 x 4.
    """
    layers = [view([1.0] * n + [0.0] * (10 - n)) for n in (9, 8, 4)]
    up = regrow(rounding="ceil", temper=True)
    assert quotas(layers, up, 0.5) == [1, 4, 2]
    wide = [view([1.0] * n + [0.0] * (100 - n)) for n in (90, 40)]
    assert [quotas(wide, up, alpha) for alpha in (0.5, 0.05)] == [[9, 20], [5, 2]], "the smaller fraction"
    assert quotas(layers, replace(up, temper=False), 0.5) == [5, 4, 2]
    assert quotas(layers[:1] * 3, up, 0.5) == [5, 5, 5], "none has more than its share"
    full = [view([1.0] * 10), view([1.0] + [0.0] * 9)]
    assert quotas(full, up, 0.5) == [0, 1], "of a full layer nothing is pruned"


def test_tempering_goes_by_the_statistic_of_the_redistribution() -> None:
    few = view([1.0] * 9 + [0.0], momentum=[1] * 10, gradient=[3] * 10)
    many = view([1.0] * 9 + [0.0], momentum=[3] * 10, gradient=[1] * 10)
    up = regrow(rounding="ceil", temper=True)
    assert quotas([few, many], replace(up, redistribute="momentum"), 0.5) == [5, 1]
    assert quotas([few, many], replace(up, redistribute="gradient"), 0.5) == [1, 5]


# Shares of layers


def test_statistics_look_at_what_lives() -> None:
    a = view([1, 2, 0, 0], momentum=[-1, 3, 50, 50], gradient=[5, -5, 0, 9])
    b = view([1, 1, 1, 0], momentum=[2, 2, -2, 50], gradient=[0, 0, 0, 9])
    assert layer_shares([a, b], "nonzero") == pytest.approx([0.4, 0.6])
    assert layer_shares([a, b], "momentum") == pytest.approx([0.5, 0.5])
    assert layer_shares([a, b], "gradient") == pytest.approx([1, 0])
    empty = view([0, 0], momentum=[9, 9])
    assert layer_shares([a, empty], "momentum") == pytest.approx([1, 0])
    assert layer_shares([empty, empty, empty], "momentum") == pytest.approx([1 / 3] * 3), (
        "before the first step"
    )


@pytest.mark.parametrize(
    ("shares", "total", "room", "found"),
    [
        ((0.5, 0.25, 0.25), 8, (100, 100, 100), [4, 2, 2]),
        ((0.5, 0.3, 0.2), 7, (100, 100, 100), [4, 2, 1]),  # 3.5, 2.1, 1.4
        ((0.45, 0.35, 0.2), 7, (100, 100, 100), [3, 3, 1]),  # 3.15, 2.45, 1.4
        ((0.5, 0.5), 3, (100, 100), [2, 1]),  # of equal remainders the first
        (
            (1 / 9, 1 / 9, 7 / 9),
            3,
            (9, 9, 9),
            [1, 0, 2],
        ),  # thirds all three, whatever floating point makes of them
        (
            (0.8, 0.1, 0.1),
            100,
            (50, 100, 100),
            [49, 26, 25],
        ),  # 31 more than .99 x 50 goes half and half: 25.5 each
        (
            (0.8, 0.15, 0.05),
            100,
            (50, 20, 100),
            [49, 19, 32],
        ),  # 31 over, 15.5 each: 30.5 in the second is over, too
        ((0.5, 0.5), 9, (5, 5), [5, 4]),  # 4 + 4 < 9: all room is needed
        ((0.5, 0.5), 0, (5, 5), [0, 0]),
        ((0.0, 1.0), 10, (5, 5), [5, 5]),
    ],
)
def test_entries_are_shared_out(shares: tuple, total: int, room: tuple, found: list[int]) -> None:
    assert apportion(shares, total, room) == found


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), min_size=1, max_size=6), st.floats(0, 1))
@settings(deadline=None, max_examples=200, derandomize=True)
def test_what_is_shared_out_adds_up_within_the_room(layers: list[tuple[int, int]], part: float) -> None:
    weights, room = zip(*layers, strict=True)
    total, whole = round(part * sum(room)), sum(weights)
    shares = [w / whole if whole else 1 / len(weights) for w in weights]
    found = apportion(shares, total, room)
    cap = [math.floor(0.99 * r) for r in room]
    assert sum(found) == total
    assert all(0 <= n <= r for n, r in zip(found, room, strict=True))
    if sum(cap) >= total:
        assert all(n <= c for n, c in zip(found, cap, strict=True))


@given(st.lists(st.integers(0, 12), min_size=1, max_size=7).filter(any), st.integers(0, 60))
@settings(deadline=None, max_examples=250, derandomize=True)
def test_with_room_enough_shares_are_met_by_largest_remainder(weights: list[int], total: int) -> None:
    exact = [Fraction(w * total, sum(weights)) for w in weights]
    wanted = [math.floor(x) for x in exact]
    first = sorted(range(len(exact)), key=lambda i: (wanted[i] - exact[i], i))
    for i in first[: total - sum(wanted)]:
        wanted[i] += 1
    assert apportion([w / sum(weights) for w in weights], total, [1000] * len(weights)) == wanted


# Decays and the cubic curve


@pytest.mark.parametrize(
    ("decay", "half"), [("cosine", 0.15), ("linear", 0.15), ("constant", 0.3), ("exponential", 0.3 / 8)]
)
def test_fractions_fall_from_the_first_to_the_floor(decay: str, half: float) -> None:
    at = [fraction(decay, p / 100, first=0.3) for p in range(101)]
    assert at[0] == pytest.approx(0.3) and at[50] == pytest.approx(half)
    assert at[100] == pytest.approx(0.3 if decay == "constant" else 0, abs=1e-12)
    assert all(a >= b for a, b in itertools.pairwise(at))
    assert fraction(decay, 1.7, first=0.3) == at[100] and fraction(decay, -1, first=0.3) == at[0]


def test_published_fractions() -> None:
    """Evci et al.: .3 / 2 (1 + cos(pi t / T)); GraNet from .5 to .005 along the same cosine."""
    assert fraction("cosine", 0.25, first=0.3) == pytest.approx(0.15 * (1 + math.sqrt(0.5)))
    for p in (0, 0.2, 0.5, 1):
        assert fraction("cosine", p, first=0.5, floor=0.005) == pytest.approx(
            0.005 + 0.495 * (1 + math.cos(math.pi * p)) / 2
        )
    assert fraction("exponential", 0.5, first=0.4, power=2) == pytest.approx(0.1)
    assert fraction("exponential", 0.5, first=0.4, power=1) == pytest.approx(0.2)


@given(st.sampled_from(sorted(DECAYS)), st.floats(0, 1), st.floats(0, 1), st.floats(0.5, 6))
@settings(deadline=None, max_examples=200, derandomize=True)
def test_decays_fall_from_one_to_nothing(name: str, p: float, q: float, power: float) -> None:
    decay = DECAYS[name]
    assert decay(0.0, power) == pytest.approx(1)
    assert decay(1.0, power) == pytest.approx(1 if name == "constant" else 0, abs=1e-12)
    assert decay(max(p, q), power) <= decay(min(p, q), power) + 1e-12


def test_the_cubic_curve_of_gradual_pruning() -> None:
    """Zhu and Gupta: with s = .8 (1 - (1 - p)^3) the density at half is 1 - .8 x 7/8 = .3."""
    assert [cubic(1.0, 0.2, p) for p in (0, 0.5, 1)] == pytest.approx([1.0, 0.3, 0.2])
    assert [cubic(0.6, 0.2, p) for p in (0, 0.25, 1)] == pytest.approx([0.6, 0.2 + 0.4 * 27 / 64, 0.2])
    at = [cubic(1.0, 0.05, p / 50) for p in range(51)]
    assert all(a > b for a, b in itertools.pairwise(at))


# Properties over all menus


@st.composite
def layers(draw: st.DrawFn, most: int = 4) -> dict[str, View]:
    """Draw layers with ties, living zeros, full and empty ones."""
    made = {}
    for i in range(draw(st.integers(1, most))):
        n = draw(st.integers(1, 14))
        some = st.sampled_from([0.0, 0.5, -0.5, 1.0]) | st.floats(-2, 2, width=32)
        lists = st.lists(some, min_size=n, max_size=n)
        flags = st.lists(st.booleans(), min_size=n, max_size=n)
        lives = torch.tensor(draw(flags | st.just([True] * n)))
        weight = torch.tensor(draw(lists)) * lives
        explored = torch.tensor(draw(flags)) | lives
        slope, mean = torch.tensor(draw(lists)), torch.tensor(draw(lists))
        rows = draw(st.sampled_from([r for r in range(1, n + 1) if n % r == 0]))
        made[str(i)] = View(weight, lives, int(lives.sum()), slope, mean, explored, rows=rows)
    return made


SPECS = st.builds(
    regrow,
    drop=st.sampled_from(sorted(DROPS)),
    grow=st.sampled_from(sorted(GROWS)),
    redistribute=st.sampled_from(["none", *sorted(STATISTICS)]),
    rounding=st.sampled_from(["floor", "ceil"]),
    noise=st.sampled_from([0.0, 1e-5]),
    temper=st.booleans(),
)


@given(layers(), SPECS, st.floats(0, 1), st.integers(0, 99))
@settings(deadline=None, max_examples=250, derandomize=True)
def test_updates_keep_counts_drop_what_lives_and_grow_what_is_free(
    views: dict[str, View], spec: Regrow, alpha: float, seed: int
) -> None:
    before = {name: (v.weight.clone(), v.mask.clone()) for name, v in views.items()}
    found = drop_and_grow(views, spec, alpha, stream(seed))
    wanted = dict(zip(views, quotas(list(views.values()), spec, alpha), strict=True))
    gone = {}
    for name, (mask, grown) in found.items():
        view = views[name]
        left = mask & ~grown
        gone[name] = int((view.mask & ~left).sum())
        assert not (grown & ~mask).any()
        assert not (left & ~view.mask).any(), "what has not grown has lived"
        assert gone[name] >= wanted[name] if spec.drop == "threshold" else gone[name] == wanted[name]
        if spec.redistribute == "none":
            assert int(grown.sum()) == gone[name] and int(mask.sum()) == view.kept
        assert view.weight.equal(before[name][0]) and view.mask.equal(before[name][1]), "views stay"
    assert sum(int(m.sum()) for m, _ in found.values()) == sum(v.kept for v in views.values())
    assert sum(int(g.sum()) for _, g in found.values()) == sum(gone.values())


@given(layers(), st.sampled_from(["none", *sorted(STATISTICS)]), st.floats(0, 1), st.integers(0, 99))
@settings(deadline=None, max_examples=100, derandomize=True)
def test_growth_by_chance_stays_on_free_places(
    views: dict[str, View], redistribute: str, alpha: float, seed: int
) -> None:
    spec = regrow("set", sampling="bernoulli", redistribute=redistribute)
    for name, (mask, grown) in drop_and_grow(views, spec, alpha, stream(seed)).items():
        left = mask & ~grown
        assert not (left & ~views[name].mask).any()
        free = views[name].mask.numel() - int(left.sum())
        assert int(grown.sum()) <= free


@given(layers(1), st.sampled_from(sorted(DROPS)), st.floats(0, 1))
@settings(deadline=None, max_examples=200, derandomize=True)
def test_every_drop_marks_exactly_k_of_what_lives(views: dict[str, View], name: str, part: float) -> None:
    (layer,) = views.values()
    k = round(part * layer.kept)
    gone = DROPS[name](layer, k)
    assert not (gone & ~layer.mask).any()
    assert int(gone.sum()) >= k if name == "threshold" else int(gone.sum()) == k
    size = (layer.weight * (layer.gradient if name == "taylor" else 1)).abs()  # pyright: ignore
    if name != "set_signed" and k:
        left = layer.mask & ~gone
        assert not left.any() or size[gone].square().max() <= size[left].square().min()


@given(layers(1), st.sampled_from(sorted(GROWS)), st.floats(0, 1), st.integers(0, 99))
@settings(deadline=None, max_examples=200, derandomize=True)
def test_every_growth_marks_exactly_k_of_what_is_free(
    views: dict[str, View], name: str, part: float, seed: int
) -> None:
    (layer,) = views.values()
    free = ~layer.mask
    k = round(part * int(free.sum()))
    grown = GROWS[name](layer, free, k, stream(seed))
    assert int(grown.sum()) == k and not (grown & ~free).any()
    other = free & ~grown
    if name in ("gradient", "momentum") and grown.any() and other.any():
        worth = getattr(layer, name).abs()
        assert worth[grown].min() >= worth[other].max()
    if name == "random_unfired" and (other & ~layer.explored).any():
        assert not (grown & layer.explored).any()


@given(layers(), st.sampled_from(["global", "layer"]), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None, max_examples=200, derandomize=True)
def test_pruning_is_exact_and_nested(views: dict[str, View], scope: str, first: float, second: float) -> None:
    spec, total = Prune(0.5, 1.0, scope, ()), sum(v.kept for v in views.values())
    keep = [round(max(first, second) * total), round(min(first, second) * total)]
    for k in keep:
        found = prune(views, spec, k)
        assert sum(int(m.sum()) for m in found.values()) == k
        for name, mask in found.items():
            view = views[name]
            assert not (mask & ~view.mask).any()
            gone = view.mask & ~mask
            assert (
                not gone.any()
                or not mask.any()
                or view.weight[gone].abs().max() <= view.weight[mask].abs().min()
            )
        if scope == "global" and 0 < k < sum(v.kept for v in views.values()):
            size = torch.cat([v.weight.abs() for v in views.values()])
            lives = torch.cat([v.mask for v in views.values()])
            kept = torch.cat(list(found.values()))
            assert size[kept].min() >= size[lives & ~kept].max()
        views = {n: replace(v, mask=found[n], kept=int(found[n].sum())) for n, v in views.items()}


# The menu of methods, and their settings


def test_methods_differ_in_these_choices_alone() -> None:
    usual = METHODS["rigl"]()
    assert usual and usual.regrow
    assert (usual.interval, usual.begin, usual.until, usual.update) == (100, 0.0, 0.75, "replace")
    assert (usual.regrow.alpha, usual.regrow.decay, usual.regrow.floor) == (0.3, "cosine", 0.0)
    assert (usual.regrow.drop, usual.regrow.grow, usual.regrow.rounding) == ("magnitude", "gradient", "floor")
    assert (usual.regrow.regrown, usual.regrow.noise, usual.regrow.sampling) == ("zero", 0.0, "exact")
    own = {
        "set": {"grow": "random"},
        "snfs": {"grow": "momentum", "redistribute": "momentum", "dense_momentum": True},
        "rigl_sm": {"redistribute": "momentum"},
        "rigl_sg": {"redistribute": "gradient"},
    }
    for name, choice in own.items():
        assert METHODS[name]() == replace(usual, regrow=replace(usual.regrow, **choice)), name
        given = inspect.signature(METHODS[name]).parameters
        assert {
            k
            for k, p in given.items()
            if p.default != inspect.signature(METHODS["rigl"]).parameters[k].default
        } == {*choice}
        assert METHODS[name].__name__ == name
    assert METHODS["static"]() is None
    pruned = METHODS["gmp"](density=0.2)
    assert pruned and pruned.regrow is None
    assert pruned.prune == Prune(0.2, 0.75, "global", ("first",))


@pytest.mark.parametrize(
    ("method", "over", "sees", "dense_gradient", "dense_momentum"),
    [
        ("set", {}, set(), False, False),
        ("rigl", {}, {"gradient"}, True, False),
        ("snfs", {}, {"momentum"}, False, True),
        ("rigl_sm", {}, {"gradient", "momentum"}, True, False),
        ("rigl_sg", {}, {"gradient"}, True, False),
        ("set", {"drop": "taylor"}, {"gradient"}, False, False),  # the slopes of what lives are there anyhow
        ("set", {"redistribute": "gradient"}, {"gradient"}, False, False),
        ("set", {"grow": "random_unfired", "redistribute": "nonzero"}, {"explored"}, False, False),
        ("snfs", {"grow": "momentum_neuron", "redistribute": "none"}, {"momentum"}, False, True),
        ("granet", {"density": 0.1}, {"gradient"}, True, False),
        ("dst", {"grow": "random"}, set(), False, False),
    ],
)
def test_what_a_method_looks_at(
    method: str, over: dict, sees: set[str], dense_gradient: bool, dense_momentum: bool
) -> None:
    plan = METHODS[method](**over)
    assert plan and plan.regrow
    assert plan.regrow.looks_at == sees
    assert (plan.dense_gradient, plan.dense_momentum) == (dense_gradient, dense_momentum)


RIGL = {"ticket": {"score": "random", "density": 0.2}, "sparse": {"method": "rigl"}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ticket": {}}, r"sparse.method: 'rigl' moves masks, and this run starts dense"),
        ({"sparse.method": "rigel"}, r"unknown sparse.method 'rigel': did you mean 'rigl'"),
        ({"sparse.power": 2}, r"sparse.power: not used by decay 'cosine', only by exponential"),
        ({"sparse.sampling": "bernoulli"}, r"sparse.sampling: not used by grow 'gradient', only by random"),
        (
            {"sparse.method": "set", "sparse.grow": "random_unfired", "sparse.sampling": "bernoulli"},
            "sampling: not",
        ),
        ({"sparse.kernel_drop": "max"}, r"sparse.kernel_drop: used only with ticket.unit 'kernel'"),
        ({"sparse.kernel_grow": "min"}, r"sparse.kernel_grow: used only with ticket.unit 'kernel'"),
        ({"sparse.density": 0.1}, r"sparse.density: not used by method 'rigl', only by gmp"),
        ({"sparse.scope": "layer"}, r"sparse.scope: not used by method 'rigl', only by gmp"),
        ({"sparse.floor": 0.4}, r"sparse.floor: 0.4 is above sparse.alpha"),
        ({"sparse.begin": 0.75}, r"sparse.until: 0.75 is not after sparse.begin"),
        ({"sparse.begin": 0.5, "sparse.until": 0.25}, r"sparse.until: 0.25 is not after sparse.begin"),
        ({"sparse.until": 0}, r"sparse.until: 0 is not after sparse.begin"),
        ({"sparse.until": 1.1}, r"sparse.until: input should be less than or equal to 1"),
        ({"sparse.alpha": 0}, r"sparse.alpha: input should be greater than 0"),
        ({"sparse.interval": 0}, r"sparse.interval: input should be greater than or equal to 1"),
        ({"sparse.regrown": "old"}, r"sparse.regrown: input should be"),
        (
            {"sparse.dense_momentum": True},
            r"sparse.dense_momentum: nothing looks at the momentum of pruned weights",
        ),
        (
            {"sparse.method": "snfs", "optim.momentum": 0},
            r"'snfs' looks at the optimiser's momentum, which is off",
        ),
        ({"sparse.method": "rigl_sm", "optim.momentum": 0}, r"'rigl_sm' looks at the optimiser's momentum"),
        (
            {"sparse.redistribute": "momentum", "optim.momentum": 0},
            r"'rigl' looks at the optimiser's momentum",
        ),
        (
            {"sparse.method": "static", "sparse.alpha": 0.1},
            r"sparse.alpha: not used by method 'static', only by set",
        ),
        ({"sparse.method": "gmp"}, r"sparse.density: field required"),
        ({"sparse.method": "gmp", "sparse.density": 0.3}, r"sparse.density: 0.3 is above ticket.density"),
        (
            {"sparse.method": "gmp", "sparse.density": 0.1, "sparse.grow": "random"},
            r"sparse.grow: not used by .*'gmp'",
        ),
        (
            {"sparse.method": "gmp", "sparse.density": 0.1, "sparse.begin": 1},
            r"sparse.until: 0.75 is not after",
        ),
        (
            {
                "sparse.method": "gmp",
                "sparse.density": 0.1,
                "ticket.unit": "kernel",
                "ticket.allocation": "erk",
            },
            r"ticket.unit: sparse.method 'gmp' removes single weights",
        ),
    ],
)
def test_what_is_unused_or_contradicts_itself_is_told_in_one_line(given: dict, message: str) -> None:
    values = {k: dict(v) for k, v in RIGL.items()} | {k: v for k, v in given.items() if "." not in k}
    for key, value in given.items():
        section, _, name = key.partition(".")
        if name:
            values.setdefault(section, {})[name] = value
    with pytest.raises(ReproError, match=message) as caught:
        parse(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sparse", "more"),
    [
        ({"method": "rigl", "decay": "exponential", "power": 2}, {}),
        ({"method": "set", "sampling": "bernoulli"}, {}),
        ({"method": "rigl_sg"}, {"optim": {"momentum": 0}}),  # no momentum is looked at
        ({"method": "snfs"}, {"optim": {"optimizer": "adam"}}),
        ({"method": "rigl", "redistribute": "momentum", "dense_momentum": True}, {}),
        (
            {
                "method": "rigl",
                "update": "after",
                "floor": 0.005,
                "alpha": 0.5,
                "until": 1,
                "regrown": "keep",
            },
            {},
        ),
        ({"method": "gmp", "density": 0.1}, {}),
        (
            {"method": "gmp", "density": 0.1, "scope": "layer", "keep_dense": ["first", "last"]},
            {"ticket": {}},
        ),
    ],
)
def test_what_makes_sense_is_allowed(sparse: dict, more: dict) -> None:
    s = parse(RIGL | {"sparse": sparse} | more)
    assert s.sparse.plan == METHODS[s.sparse.method](**s.sparse.options("method"))
    assert s.sparse.changed() == {k: tuple(v) if isinstance(v, list) else v for k, v in sparse.items()}
