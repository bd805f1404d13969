"""Flow preservation: by hand, by signals of real positive weights, and properties of every network."""

from __future__ import annotations

import copy
import functools
import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from repro.errors import ReproError
from repro.flow import flow
from repro.masks import Masks
from repro.models import MODELS, build, prunable
from repro.repair import dead, repair, repaired_count
from repro.repair.bounds import fewest
from repro.repair.choices import columns, takers
from repro.repair.signals import neurons
from repro.repair.trace import Traced
from repro.rng import stream


def bits(rows: str) -> Tensor:
    return torch.tensor([[c == "1" for c in row] for row in rows.split()])


def ones(model: nn.Module) -> dict[str, Tensor]:
    return {x.name: torch.ones(x.shape, dtype=torch.bool) for x in prunable(model)}


def drawn(model: nn.Module, density: float, seed: int, least: float = 0, emptied: float = 0) -> Masks:
    """Draw masks: at least so many weights of each layer for each channel at its wider end, some layers empty."""
    generator, found = stream(seed, "masks"), {}
    for x in prunable(model):
        kept = max(round(density * x.numel), min(x.numel, int(least * max(x.shape[:2]))))
        kept *= int(torch.rand((), generator=generator) >= emptied)
        found[x.name] = torch.zeros(x.numel, dtype=torch.bool)
        found[x.name][torch.randperm(x.numel, generator=generator)[:kept]] = True
        found[x.name] = found[x.name].view(x.shape)
    return Masks(found)


def silent(model: nn.Module, masks: Masks, shape: tuple[int, int, int]) -> int:
    """Count dead neurons in another way: real weights, all positive, and a neuron's signal and slope pixel by pixel.

    What a layer takes is looked at, but for the blocks of a wide ResNet before the batch norm, as there the stream
    divides; the features of AlexNet's first linear layer belong to a channel in fours.
    """
    twin, generator, seen = copy.deepcopy(model).double().eval(), stream(0, "positive"), {}

    def look(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[name] = (inputs[0], inputs[0].detach().clone())

    watched = {name for name, m in twin.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    if type(model).__name__ == "WideResNet":
        watched = {n for n in watched if not n.endswith((".branch.0", ".shortcut"))}
        watched |= {n for n, _ in twin.named_modules() if n.startswith("groups") and n.endswith(".bn")}
    for name, module in list(twin.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            pool = nn.AvgPool2d(module.kernel_size, module.stride, module.padding)
            setattr(twin.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], pool)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            size = torch.rand(module.weight.shape, generator=generator, dtype=torch.float64) + 0.5
            module.weight.data = size * masks[f"{name}.weight"]
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if name in watched:
            module.register_forward_pre_hook(functools.partial(look, name))
    image = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    out = twin(image)
    found = int((out <= 0).sum())
    slopes = torch.autograd.grad(out.sum(), [x for x, _ in seen.values()])
    together = {
        id(x): (value > 0) & (slope > 0) for (x, value), slope in zip(seen.values(), slopes, strict=True)
    }
    for name, (x, _) in seen.items():
        alive = together.pop(id(x), None)  # a tensor that two layers take counts once
        if alive is not None:
            count = len(twin.features[10].weight) if name == "classifier.1" else alive.shape[1]
            found += int((~alive.view(count, -1).any(1)).sum())
    return found


def mlp(*sizes: int) -> nn.Module:
    pairs = itertools.pairwise(sizes)
    layers = [nn.Flatten(), *itertools.chain(*((nn.Linear(a, b), nn.ReLU()) for a, b in pairs))]
    return nn.Sequential(*layers[:-1])


class Block(nn.Module):
    """A residual block between a stem and a classifier, with or without weights in its shortcut."""

    def __init__(self, shortcut: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 1)
        self.branch = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 1))
        self.shortcut = nn.Conv2d(2, 2, 1) if shortcut else nn.Identity()
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu_()
        out = self.branch(x)
        out += self.shortcut(x)
        return self.head(out.relu_().mean((2, 3)))


def outcomes(
    model: nn.Module, masks: Masks, shape: tuple[int, int, int], how: str, seeds: int = 60
) -> Counter:
    """Repair again and again; count the results by the entries that are new and those that are gone."""
    found: Counter = Counter()
    for seed in range(seeds):
        after = repair(model, masks, shape, how, stream(seed, "repair"))
        assert sum(dead(model, after, shape).values()) == 0
        new = [(n, *at) for n in masks for at in (after[n] & ~masks[n]).nonzero().tolist()]
        gone = [(n, *at) for n in masks for at in (masks[n] & ~after[n]).nonzero().tolist()]
        assert repaired_count(masks, after) == len(new)
        found[tuple(new), tuple(gone)] += 1
    return found


# --- by hand


def test_a_perceptron_gets_a_row_and_perhaps_a_column():
    model = mlp(3, 2, 2)
    masks = Masks({"1.weight": bits("110 000"), "3.weight": bits("10 01")})
    # Nothing enters hidden neuron 1, so the second logit is silent; pixel 2 goes nowhere
    assert dead(model, masks, (3, 1, 1)) == {"1.weight": 1, "3.weight": 1, "output": 1}
    first = [(("1.weight", 1, 2),)]  # serves both
    others = [(("1.weight", 0, 2), ("1.weight", 1, j)) for j in (0, 1)]
    others += [(("1.weight", 1, j), ("1.weight", 1, 2)) for j in (0, 1)]
    found = outcomes(model, masks, (3, 1, 1), "add", 180)
    assert set(found) == {(new, ()) for new in first + others}
    assert 40 < found[first[0], ()] < 80  # a third; the others have a sixth each
    assert all(15 < found[new, ()] < 45 for new in others)


def test_moving_takes_a_weight_that_is_not_needed():
    model = mlp(3, 2, 2)
    masks = Masks({"1.weight": bits("111 000"), "3.weight": bits("10 01")})
    found = outcomes(model, masks, (3, 1, 1), "move", 120)
    one = {((("1.weight", 1, j),), (("1.weight", 0, j),)) for j in range(3)}
    assert set(found) == one and all(25 < n < 55 for n in found.values())


def test_a_spare_weight_that_is_moved_is_any_spare_one():
    model = mlp(
        2, 3, 1
    )  # hidden neuron 2 lacks a weight; the others have two each, and one of the four must go
    masks = Masks({"1.weight": bits("11 11 00"), "3.weight": bits("111")})
    found = outcomes(model, masks, (2, 1, 1), "move", 60)
    assert {new for new, _ in found} == {(("1.weight", 2, j),) for j in (0, 1)}
    assert {gone for _, gone in found} == {(("1.weight", i, j),) for i in (0, 1) for j in (0, 1)}


def test_a_layer_with_too_few_weights_is_named():
    masks = Masks({"1.weight": bits("110 000"), "3.weight": bits("10 01")})
    with pytest.raises(
        ReproError, match=r"1\.weight keeps 2 weights, .* need 3: use add, or raise ticket\.density"
    ):
        repair(mlp(3, 2, 2), masks, (3, 1, 1), "move", stream(0, "r"))
    shared = ones(Block(True)) | {"branch.2.weight": bits("10 00")[..., None, None]}
    shared["branch.0.weight"] = torch.zeros(2, 2, 3, 3, dtype=torch.bool)
    with pytest.raises(ReproError, match=r"branch\.0\.weight keeps 0 weights, .* need 2"):
        repair(Block(True), Masks(shared), (1, 3, 3), "move", stream(0, "r"))


def test_a_shortcut_without_weights_carries_its_channels():
    masks = ones(Block(False))
    masks["branch.2.weight"][1] = False
    masks["branch.0.weight"][:, 0] = False  # nobody in the block looks at channel 0 either
    kept = Masks(masks)
    assert set(dead(Block(False), kept, (1, 3, 3)).values()) == {0}
    assert repair(Block(False), kept, (1, 3, 3), "add", stream(0, "r")) == kept
    masks["branch.2.weight"][:] = False  # but neurons within the block must lead on
    kept = Masks(masks)
    assert dead(Block(False), kept, (1, 3, 3)) == dict.fromkeys(kept, 0) | {"branch.2.weight": 2, "output": 0}
    found = outcomes(Block(False), kept, (1, 3, 3), "add")
    pairs = itertools.product((0, 1), repeat=2)
    assert set(found) == {
        (tuple(sorted(("branch.2.weight", row, i, 0, 0) for i, row in enumerate(rows))), ()) for rows in pairs
    }


def test_where_the_shortcut_has_weights_either_supplies_and_either_takes():
    masks = ones(Block(True))
    for name in ("branch.2.weight", "shortcut.weight"):
        masks[name][1] = False
    kept = Masks(masks)
    assert dead(Block(True), kept, (1, 3, 3))["head.weight"] == 1
    found = outcomes(Block(True), kept, (1, 3, 3), "add", 40)
    assert set(found) == {
        (((name, 1, i, 0, 0),), ()) for name in ("branch.2.weight", "shortcut.weight") for i in (0, 1)
    }
    masks = ones(Block(True))
    for name in ("branch.0.weight", "shortcut.weight"):
        masks[name][:, 1] = False
    kept = Masks(masks)
    assert dead(Block(True), kept, (1, 3, 3)) == dict.fromkeys(kept, 0) | {"branch.0.weight": 1, "output": 0}
    found = outcomes(Block(True), kept, (1, 3, 3), "add", 100)
    names = Counter(new[0][0] for new, _ in found.elements())
    assert set(names) == {"branch.0.weight", "shortcut.weight"} and 35 < names["shortcut.weight"] < 65
    assert len(found) > 10  # of 2 and 2 x 9


def test_only_entries_that_see_the_image_are_drawn():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(2, 1))
    masks = Masks({"0.weight": torch.zeros(2, 1, 3, 3, dtype=torch.bool), "2.weight": bits("11")})
    middle = tuple(("0.weight", i, 0, 1, 1) for i in (0, 1))
    assert set(outcomes(model, masks, (1, 1, 1), "add", 20)) == {(middle, ())}


def test_a_channel_lives_if_one_of_its_features_does():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 1))
    masks = ones(model) | {"2.weight": bits("00010000")}
    assert dead(model, Masks(masks), (1, 2, 2)) == {"0.weight": 0, "2.weight": 1, "output": 0}
    found = outcomes(model, Masks(masks), (1, 2, 2), "add")
    assert set(found) == {((("2.weight", 0, j),), ()) for j in range(4, 8)}


def row_of_kernels(*kernels: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """Build 1x3 convolutions and the mean of all pixels; "<", "=" and ">" say where an entry moves a signal, "-" no entry.

    Args:
        kernels: of each layer one word for each output channel, with one letter for each input channel.
    """
    taps = {"-": "000", "<": "001", "=": "010", ">": "100"}
    model, masks = nn.Sequential(), {}
    for i, words in enumerate(kernels):
        weight = torch.stack([bits(" ".join(taps[c] for c in word)) for word in words.split()])[:, :, None]
        model.append(nn.Conv2d(weight.shape[1], weight.shape[0], (1, 3), padding=(0, 1), bias=False))
        masks[f"{i}.weight"] = weight
    model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(weight.shape[0], 1)])
    return model, masks | {f"{len(kernels) + 2}.weight": torch.ones(1, weight.shape[0], dtype=torch.bool)}


def test_a_signal_far_from_where_others_lead_on_gets_a_path():
    # The second channel's signal is at the right end by layer 6, which drops it; what comes later moves all further
    # to the right, so that only signals at the left end get through, which one more entry there cannot reach
    model, masks = row_of_kernels("= >", *["=- ->"] * 5, "=- =-", *[">- ->"] * 5)
    kept, shape = Masks(masks), (1, 1, 8)
    assert dead(model, kept, shape) == {n: int(0 < i < 7) for i, n in enumerate(masks)} | {"output": 0}
    for how, seed in itertools.product(("add", "move"), range(10)):
        after = repair(model, kept, shape, how, stream(seed, "r"))
        assert silent(model, after, shape) == 0 and 2 < repaired_count(kept, after) < 6
        assert all((m <= after[n]).all() for n, m in kept.items()) or how == "move"


def test_a_signal_that_no_weight_could_lead_on_is_none():
    model = nn.Sequential(nn.Conv2d(1, 2, (1, 3), padding=(0, 1)), nn.Conv2d(2, 1, 1, stride=2), nn.Flatten())
    model.append(nn.Linear(1, 1))  # the second convolution looks at the left one of two pixels only
    masks = Masks(
        ones(model) | {"0.weight": bits("010 100").view(2, 1, 1, 3)}
    )  # the second channel has the right one
    assert dead(model, masks, (1, 1, 2)) == {"0.weight": 0, "1.weight": 1, "3.weight": 0, "output": 0}
    assert set(outcomes(model, masks, (1, 1, 2), "add", 20)) == {
        ((("0.weight", 1, 0, 0, k),), ()) for k in (1, 2)
    }


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d((1, 2)),
        nn.AdaptiveMaxPool2d(1),
        lambda x: functional.max_pool2d(x, (1, 2)),
        lambda x: torch.max_pool2d(x, (1, 2)),
        lambda x: functional.adaptive_max_pool2d(x, 1),
    ],
)
def test_a_pool_takes_a_signal_from_any_pixel(pool):
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.pool, self.last = (
                nn.Conv2d(1, 1, (1, 3), padding=(0, 1)),
                pool,
                nn.Conv2d(1, 1, 1),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.pool(self.conv(x)))

    for taps in ("100", "001"):  # the signal is in the right pixel, or in the left
        masks = Masks({"conv.weight": bits(taps).view(1, 1, 1, 3), "last.weight": bits("1").view(1, 1, 1, 1)})
        assert dead(Pooled(), masks, (1, 1, 2)) == {"conv.weight": 0, "last.weight": 0, "output": 0}


def test_layers_with_room_are_preferred():
    # The shortcut's single weight is of use, so its block must supply and read what else is missing
    for name, seed in itertools.product(("resnet8", "wrn10", "resnet18"), range(4)):
        model = small(name)
        masks = dict(drawn(model, 0.05, seed, least=1))
        for layer in prunable(model):
            if layer.role == "shortcut":
                masks[layer.name] = torch.zeros(layer.shape, dtype=torch.bool)
                masks[layer.name][0, 0] = True
        after = repair(model, Masks(masks), (3, 16, 16), "move", stream(seed, "r"))
        assert (
            after.kept_per_layer() == Masks(masks).kept_per_layer() and silent(model, after, (3, 16, 16)) == 0
        )


def test_groups_have_their_own_rows():
    traced = Traced(nn.Sequential(nn.Conv2d(4, 6, 1), nn.Conv2d(6, 4, 3, groups=2)), (4, 3, 3))
    layer = list(traced.layers)[1]
    for neuron in range(6):
        entries = columns(traced, layer, torch.ones(4, 3, 3, 3, dtype=torch.bool), neuron, 6).entries
        weight = torch.zeros(4 * 3 * 9).index_fill(0, entries, 1.0).view(4, 3, 3, 3)
        places = weight.nonzero()[:, :2].unique(dim=0).tolist()
        assert places == [[2 * (neuron // 3) + row, neuron % 3] for row in (0, 1)] and weight.sum() == 18
        assert takers(traced, layer, entries, 6).unique().tolist() == [neuron]
        assert takers(traced, layer, entries, 3).unique().tolist() == [neuron // 2]


def test_what_a_layer_needs_at_least():
    traced = Traced(Block(True), (1, 3, 3))
    found = fewest(traced, neurons(traced).values())
    shared = {
        "branch.0.weight": 2,
        "branch.2.weight": 2,
        "shortcut.weight": 0,
    }  # either supplies, either reads
    assert found == {"stem.weight": 2, **shared, "head.weight": 3}
    traced = Traced(mlp(5, 3, 4), (5, 1, 1))
    assert fewest(traced, neurons(traced).values()) == {"1.weight": 5, "3.weight": 4}


# --- every network


@pytest.mark.parametrize("name", MODELS)
@given(
    st.sampled_from([0.001, 0.01, 0.05, 0.2, 0.5]),
    st.sampled_from([0, 0, 0.2]),
    st.sampled_from([16, 32]),
    st.integers(0, 999),
)
@settings(deadline=None, max_examples=3, derandomize=True)
def test_adding_leaves_no_dead_neuron_in_any_network(name, density, emptied, size, seed):
    model, shape = small(name), (3, size, size)
    masks = drawn(model, density, seed, emptied=emptied)
    assert sum(dead(model, masks, shape).values()) == silent(model, masks, shape)
    after = repair(model, masks, shape, "add", stream(seed, "repair"))
    assert all((mask <= after[n]).all() for n, mask in masks.items())
    assert sum(dead(model, after, shape).values()) == silent(model, after, shape) == 0
    assert all(found.dead == 0 for found in flow(model, after, shape).values()) or "vgg" not in name
    again = "add" if seed % 2 else "move"
    assert repair(model, after, shape, again, stream(1, "repair")) == after


@pytest.mark.parametrize("name", MODELS)
@given(
    st.sampled_from([0.001, 0.05, 0.3]),
    st.sampled_from([1, 1.3]),
    st.sampled_from([16, 32]),
    st.integers(0, 999),
)
@settings(deadline=None, max_examples=2, derandomize=True)
def test_moving_keeps_the_counts_in_any_network(name, density, least, size, seed):
    # As many weights in each layer as channels at its wider end: no fewer could do in a VGG
    model, shape = small(name), (3, size, size)
    masks = drawn(model, density, seed, least=least)
    after = repair(model, masks, shape, "move", stream(seed, "repair"))
    assert after.kept_per_layer() == masks.kept_per_layer() and list(after) == list(masks)
    assert sum(dead(model, after, shape).values()) == silent(model, after, shape) == 0


@given(st.integers(3, 14), st.integers(1, 3), st.sampled_from([2, 4, 5, 8]), st.integers(0, 999))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_chains_that_shift_signals_off_their_maps(depth, width, size, seed):
    widths = [1, *[width] * depth]
    layers = [nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in itertools.pairwise(widths)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))
    masks = drawn(model, 0.0, seed, least=1)
    for how in ("add", "move"):
        after = repair(model, masks, (1, size, size), how, stream(seed, "repair"))
        assert sum(dead(model, after, (1, size, size)).values()) == silent(model, after, (1, size, size)) == 0
        assert {found.dead for found in flow(model, after, (1, size, size)).values()} == {0}
        assert how == "add" or after.kept_per_layer() == masks.kept_per_layer()


def small(name: str) -> nn.Module:
    options = {"vgg13": {"conv_bias": True}, "resnet34": {"stem": "imagenet"}}.get(name, {})
    return build(name, classes=4, channels=3, generator=stream(0, "m"), width=0.1, **options)


# --- networks of one's own


class Own(nn.Module):
    """What people write: pools as functions, groups, concatenation, a view, an activation with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding="same")
        self.grouped = nn.Conv2d(4, 6, 3, padding=1, groups=2, padding_mode="circular")
        self.norm, self.act = nn.GroupNorm(2, 6), nn.PReLU()
        self.side = nn.Conv2d(4, 3, 1, stride=2)
        self.last = nn.Linear(9 * 4, 3)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.first(x) * scale, inplace=True), 2)
        main = functional.max_pool2d(self.act(self.norm(self.grouped(x))), kernel_size=2)
        x = torch.cat([main, self.side(x)], 1)
        return (
            functional.log_softmax(self.last(x.view(x.size(0), -1)), 1)
            if scale == 0
            else self.last(x.flatten(1))
        )


@given(st.sampled_from([0.03, 0.1, 0.3]), st.integers(0, 999))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_a_network_of_ones_own(density, seed):
    model, shape = Own(), (2, 8, 8)
    masks = drawn(model, density, seed, least=1.5)
    assert lost(model, masks) == sum(dead(model, masks, shape).values())
    for how in ("add", "move"):
        after = repair(model, masks, shape, how, stream(seed, "repair"))
        assert lost(model, after) == sum(dead(model, after, shape).values()) == 0
        assert after.kept_per_layer() == masks.kept_per_layer() or how == "add"


def lost(model: Own, masks: Masks) -> int:
    """Count by hand, place by place, the dead neurons of what each layer of this network takes."""
    twin = copy.deepcopy(model).double()
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            parameter.copy_(masks[name] if name in masks else torch.zeros(()))
    image = torch.ones(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    first = functional.avg_pool2d(twin.first(image), 2)
    joined = torch.cat([functional.avg_pool2d(twin.grouped(first), 2), twin.side(first)], 1)
    out, seen = twin.last(joined.flatten(1)), (image, first, joined)
    slopes = torch.autograd.grad(out.sum(), seen)
    alive = [((x * slope) > 0).flatten(2).any(2) for x, slope in zip(seen, slopes, strict=True)]
    return sum(int((~found).sum()) for found in [*alive, out > 0])


def test_a_lone_layer_and_one_without_a_mask():
    lone = nn.Linear(3, 2)
    after = repair(lone, Masks({"weight": bits("000 000")}), (3,), "add", stream(0, "r"))  # type: ignore[arg-type]
    assert after["weight"].any(0).all() and after["weight"].any(1).all()
    model = mlp(3, 2, 2)
    after = repair(model, Masks({"3.weight": bits("11 00")}), (3, 1, 1), "move", stream(0, "r"))
    assert list(after) == ["3.weight"] and after.kept == 2 and after["3.weight"].any(1).all()


class Odd(nn.Module):
    """One convolution, and something that cannot be followed."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.conv, self.free = what, nn.Conv2d(1, 2, 3, padding=1), nn.Parameter(torch.ones(1))
        self.other = nn.ConvTranspose2d(2, 2, 3) if what == "other" else nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = self.conv(x)
        if self.what == "branch":
            return x if x.sum() > 0 else -x
        if self.what == "aside":
            self.conv(x[:, :1])
        if self.what == "parts":
            x = torch.cat(x.chunk(2, 1), 1)
        return {
            "free": lambda: x * self.free,
            "other": lambda: self.other(x),
            "last": lambda: self.other(x.flatten(2).transpose(1, 2)),
            "pair": lambda: (x, x),
        }.get(self.what, lambda: x)()


@pytest.mark.parametrize(
    ("what", "words"),
    {
        "branch": r"torch\.fx cannot trace Odd \(symbolically traced",
        "aside": "nothing uses what the step .*conv_1 gives",
        "parts": "the step chunk gives no single tensor",
        "free": "free is something else",
        "other": "other is something else",
        "last": r"other\.weight takes a tensor of shape \(1, 9, 2\)",
        "pair": "its output is no single tensor",
    }.items(),
)
def test_a_network_that_cannot_be_followed_is_refused_in_one_line(what, words):
    model = Odd(what)
    with pytest.raises(ReproError, match=f"repair: {words}.*set ticket.flow to off$") as error:
        dead(model, Masks({"conv.weight": torch.ones(2, 1, 3, 3, dtype=torch.bool)}), (1, 3, 3))
    assert "\n" not in str(error.value)


def test_wrong_input_is_refused():
    model, whole = mlp(3, 2, 2), Masks(ones(mlp(3, 2, 2)))
    with pytest.raises(ReproError, match=r"an image of shape \(4, 1, 1\) does not pass"):
        dead(model, whole, (4, 1, 1))
    with pytest.raises(ReproError, match="unknown way to repair 'ad': did you mean 'add'"):
        repair(model, whole, (3, 1, 1), "ad", stream(0, "r"))  # type: ignore[arg-type]
    with pytest.raises(ReproError, match=r"5\.weight does not belong to this network: no layer of that name"):
        dead(model, Masks({**whole, "5.weight": bits("1")}), (3, 1, 1))
    with pytest.raises(ReproError, match=r"1\.weight does not .*: shape \(1, 1\), not \(2, 3\)"):
        dead(model, Masks({"1.weight": bits("1")}), (3, 1, 1))


def test_neurons_that_even_the_dense_network_loses_are_told():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AvgPool2d(2), nn.ReLU(), Corner(), nn.Flatten())
    model.append(nn.Linear(2, 1))
    with pytest.raises(
        ReproError, match=r"1 neurons before 0\.weight stay without a signal whatever is kept"
    ):
        repair(model, Masks(ones(model)), (1, 8, 8), "add", stream(0, "r"))


class Corner(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :1, :1] * 0


# --- what stays as it is


def test_the_network_and_the_masks_stay_and_the_generator_decides():
    model = small("resnet8").train()
    before, masks = copy.deepcopy(model.state_dict()), drawn(model, 0.03, 0, least=1.5)
    kept = copy.deepcopy(dict(masks))
    for how in ("add", "move"):
        first, same, other = (repair(model, masks, (3, 16, 16), how, stream(s, "r")) for s in (0, 0, 1))
        assert first == same != other
    assert model.training and all(m.training for m in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(torch.equal(mask, masks[name]) for name, mask in kept.items())


def test_a_repair_adds_little_and_moves_little():
    model = build("resnet20", classes=10, channels=3, generator=stream(0, "m"))
    masks = drawn(model, 0.02, 0, least=1.2)
    lacking = sum(dead(model, masks, (3, 32, 32)).values())
    added = repaired_count(masks, repair(model, masks, (3, 32, 32), "add", stream(0, "r")))
    moved = repaired_count(masks, repair(model, masks, (3, 32, 32), "move", stream(0, "r")))
    assert (lacking, added, moved) == (
        32,
        30,
        30,
    )  # most lack a row, or a column, and two entries serve two each
