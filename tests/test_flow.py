"""Effective weights and dead units: by hand, by brute force, and properties of every network."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from repro.flow import Flow, flow
from repro.masks import Masks
from repro.models import MODELS, build, minimum_size, prunable
from repro.rng import stream


def ones(model: nn.Module, dtype=torch.bool) -> dict[str, Tensor]:
    return {x.name: torch.ones(x.shape, dtype=dtype) for x in prunable(model)}


def drawn(model: nn.Module, density: float, seed: int) -> Masks:
    generator = stream(seed, "masks")
    return Masks({x.name: torch.rand(x.shape, generator=generator) < density for x in prunable(model)})


def mlp(*sizes: int) -> nn.Module:
    layers = [
        nn.Flatten(),
        *itertools.chain(*((nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(sizes))),
    ]
    return nn.Sequential(*layers[:-1])


# --- by hand


def test_a_chain_without_its_middle_channel():
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.Flatten())
    model.append(nn.Linear(4, 5))
    masks = ones(model)
    masks["0.weight"][1] = False  # channel 1 gets nothing: its 4 weights onward lead from nowhere
    masks["5.weight"][:, 2] = False  # and channel 2 of the next layer leads nowhere
    found = flow(model, masks, (2, 1, 1))
    assert found == {
        "0.weight": Flow(effective=2 * 2, units=3, dead=1),
        "3.weight": Flow(effective=3 * 2, units=4, dead=1),
        "5.weight": Flow(effective=5 * 3, units=5, dead=0),
    }
    assert list(found) == [x.name for x in prunable(model)]


class Block(nn.Module):
    """A residual block of one channel without normalisation, after a stem and before a classifier."""

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


@pytest.mark.parametrize("shortcut", [True, False])
def test_a_dead_branch_beside_a_living_shortcut(shortcut):
    model = Block(shortcut)
    masks = ones(model)
    masks["branch.2.weight"][:] = False
    found = flow(model, masks, (1, 3, 3))
    assert found["branch.0.weight"] == Flow(0, 2, 2) and found["branch.2.weight"] == Flow(0, 2, 2)
    assert found["stem.weight"] == Flow(2, 2, 0) and found["head.weight"] == Flow(6, 3, 0)
    assert found.get("shortcut.weight") == (Flow(4, 2, 0) if shortcut else None)


def test_a_collapsed_layer_stops_everything():
    model = build("vgg11", classes=3, channels=1, generator=stream(0, "m"), width=0.05)
    masks = ones(model)
    middle = list(masks)[4]
    masks[middle][:] = False
    for layer, found in zip(prunable(model), flow(model, masks, (1, 16, 16)).values(), strict=True):
        assert found == Flow(0, layer.shape[0], layer.shape[0])


def test_weights_that_see_only_the_border_are_on_no_path():
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(1, 1))
    assert flow(model, None, (1, 1, 1))["0.weight"] == Flow(1, 1, 0)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(1), nn.AvgPool2d(2)])
def test_a_pool_takes_paths_from_every_place(pool):
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(2, 1))
    assert flow(model, None, (1, 2, 2))["0.weight"] == Flow(18, 2, 0)


def test_numbers_of_paths_beyond_any_float_do_no_harm():
    model = build("resnet110", classes=10, channels=3, generator=stream(0, "m"))
    found = flow(model, None, (3, 8, 8))
    assert [f.effective for f in found.values()] == [x.numel for x in prunable(model)]
    deep = nn.Sequential(nn.Flatten(), *[nn.Linear(30, 30, bias=False) for _ in range(250)])
    masks = ones(deep)
    for mask in masks.values():
        mask[0, 0] = False  # infinity times 0 would be no number
    assert set(flow(deep, masks, (30, 1, 1)).values()) == {Flow(899, 30, 0)}  # about 30^250 paths


# --- brute force


def reachable(starts: set, edges: list[tuple]) -> set:
    found = set(starts)
    while more := {b for a, b, _ in edges if a in found} - found:
        found |= more
    return found


def effective(edges: list[tuple], sources: set, sinks: set) -> dict[str, set]:
    """Walk a graph of (from, to, weight): which weights have an edge on a path from a source to a sink."""
    behind = reachable(sources, edges)
    ahead = reachable(sinks, [(b, a, w) for a, b, w in edges])
    used: dict[str, set] = {}
    for a, b, weight in edges:
        if weight is not None and a in behind and b in ahead:
            used.setdefault(weight[0], set()).add(weight)
    return used


def convolved(name: str, mask: Tensor, before: str, after: str, side: int, stride: int) -> list[tuple]:
    """Give the edges of a convolution that pads half its kernel."""
    edges, half = [], mask.shape[-1] // 2
    for o, i, ky, kx in mask.nonzero().tolist():
        for y, x in itertools.product(range((side - 1) // stride + 1), repeat=2):
            at = (stride * y + ky - half, stride * x + kx - half)
            if all(0 <= p < side for p in at):
                edges.append(((before, i, *at), (after, o, y, x), (name, o, i, ky, kx)))
    return edges


def agrees(found: dict[str, Flow], used: dict[str, set]) -> bool:
    counts = {
        n: (len(used.get(n, ())), f.units - len({w[1] for w in used.get(n, ())})) for n, f in found.items()
    }
    return counts == {n: (f.effective, f.dead) for n, f in found.items()}


@given(
    st.lists(st.integers(1, 4), min_size=2, max_size=5), st.sampled_from([0.2, 0.4, 0.7]), st.integers(0, 99)
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_paths_of_a_perceptron_by_brute_force(sizes, density, seed):
    model = mlp(*sizes)
    masks = drawn(model, density, seed)
    edges = [
        ((depth, i), (depth + 1, o), (name, o, i))
        for depth, (name, mask) in enumerate(masks.items())
        for o, i in mask.nonzero().tolist()
    ]
    ends = len(sizes) - 1
    used = effective(edges, {(0, i) for i in range(sizes[0])}, {(ends, o) for o in range(sizes[-1])})
    assert agrees(flow(model, masks, (sizes[0], 1, 1)), used)


@given(st.sampled_from([0.1, 0.25, 0.5]), st.integers(2, 5), st.integers(0, 99))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_paths_of_a_convolutional_network_by_brute_force(density, side, seed):
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 3, 2, padding=1)
    )
    model.extend([nn.BatchNorm2d(2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)])
    masks = drawn(model, density, seed)
    half = side // 2
    edges = convolved("0.weight", masks["0.weight"], "image", "first", side, 1)
    for c, y, x in itertools.product(range(3), range(2 * half), range(2 * half)):
        edges.append((("first", c, y, x), ("pooled", c, y // 2, x // 2), None))
    edges += convolved("3.weight", masks["3.weight"], "pooled", "second", half, 2)
    for c, y, x in itertools.product(range(2), range(half), range(half)):
        edges.append((("second", c, y, x), ("mean", c), None))
    edges += [(("mean", i), ("out", o), ("8.weight", o, i)) for o, i in masks["8.weight"].nonzero().tolist()]
    sources = {("image", c, y, x) for c in range(2) for y in range(side) for x in range(side)}
    used = effective(edges, sources, {("out", 0), ("out", 1)})
    assert agrees(flow(model, masks, (2, side, side)), used)


@given(st.sampled_from([0.1, 0.25, 0.5]), st.integers(2, 5), st.integers(0, 99))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_paths_of_a_wide_resnet_by_brute_force(density, side, seed):
    model = build("wrn16", classes=2, channels=1, generator=stream(0, "m"), width=1.0, small=0.02)
    masks, at, height = drawn(model, density, seed), "stem", side
    sources = {("image", 0, y, x) for y in range(side) for x in range(side)}
    edges = convolved("conv.weight", masks["conv.weight"], "image", at, side, 1)
    for group, place in itertools.product(
        range(3), range(2)
    ):  # 2, 2, 4 and 9 filters: one block more of each kind
        name, stride = f"groups.{group}.{place}", 2 if group and not place else 1
        first, second, shortcut = (f"{name}.{x}.weight" for x in ("branch.0", "branch.4", "shortcut"))
        edges += convolved(first, masks[first], at, name + "/", height, stride)
        after = (height - 1) // stride + 1
        edges += convolved(second, masks[second], name + "/", name, after, 1)
        if stride == 2:
            edges += convolved(shortcut, masks[shortcut], at, name, height, 2)
        else:
            places = itertools.product(range(len(masks[second])), range(height), range(height))
            edges += [((at, *p), (name, *p), None) for p in places]
        at, height = name, after
    for o, i in masks["classifier.weight"].nonzero().tolist():
        name = ("classifier.weight", o, i)
        edges += [((at, i, y, x), ("out", o), name) for y in range(height) for x in range(height)]
    used = effective(edges, sources, {("out", 0), ("out", 1)})
    assert agrees(flow(model, masks, (1, side, side)), used)


@given(st.sampled_from([0.15, 0.3, 0.6]), st.sampled_from([15, 16, 32]), st.integers(0, 99))
@settings(deadline=None, max_examples=15, derandomize=True)
def test_paths_of_alexnet_by_brute_force(density, side, seed):
    model = build("alexnet", classes=2, channels=1, generator=stream(0, "m"), width=0.011, small=0.9)
    masks, at, edges, shape = drawn(model, density, seed), "image", [], (1, side, side)
    sources = {("image", 0, y, x) for y in range(side) for x in range(side)}
    for i, stride in {0: 2, 3: 1, 6: 1, 8: 1, 10: 1}.items():
        name = f"features.{i}.weight"
        edges += convolved(name, masks[name], at, name, side, stride)
        at, side = name, (side - 1) // stride + 1
        if i in (0, 3, 10):
            places = itertools.product(range(len(masks[name])), *[range(side // 2 * 2)] * 2)
            edges += [((name, c, y, x), (name + "/", c, y // 2, x // 2), None) for c, y, x in places]
            at, side = name + "/", side // 2
    # Four places of each channel, which at size 15 and 16 are all of one pixel
    for o, i in masks["classifier.1.weight"].nonzero().tolist():
        y, x = (i // 2 % 2, i % 2) if side == 2 else (0, 0)
        edges.append(((at, i // 4, y, x), ("a", o), ("classifier.1.weight", o, i)))
    for name, before, after in (("classifier.4.weight", "a", "b"), ("classifier.6.weight", "b", "out")):
        edges += [((before, i), (after, o), (name, o, i)) for o, i in masks[name].nonzero().tolist()]
    used = effective(edges, sources, {("out", 0), ("out", 1)})
    assert agrees(flow(model, masks, shape), used)


# --- every network


@pytest.mark.parametrize("name", [n for n in MODELS if n != "resnet110"])
def test_of_a_dense_network_every_weight_is_effective(name):
    model = build(name, classes=4, channels=3, generator=stream(0, "m"), width=0.1)
    found = flow(model, None, (3, 32, 32))
    assert found == {x.name: Flow(x.numel, x.shape[0], 0) for x in prunable(model)}
    assert flow(model, ones(model), (3, 32, 32)) == found


@pytest.mark.parametrize("name", ["vgg11", "resnet8", "resnet18", "resnet50", "wrn16", "alexnet"])
@given(density=st.sampled_from([0.02, 0.1, 0.3, 0.8]), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=8, derandomize=True)
def test_effective_weights_are_kept_ones_and_pruning_the_others_changes_nothing(name, density, seed):
    options = {"conv_bias": True} if seed % 2 and name not in ("wrn16", "alexnet") else {}
    model = build(name, classes=4, channels=3, generator=stream(0, "m"), width=0.1, **options)
    before = copy.deepcopy(model.state_dict())
    masks, size = drawn(model, density, seed), max(8, minimum_size(name))
    found = flow(model, masks, (3, size, size))
    for layer, kept in zip(prunable(model), masks.kept_per_layer().values(), strict=True):
        effective, units, dead = found[layer.name]
        assert 0 <= effective <= kept and units == layer.shape[0]
        empty = int((~masks[layer.name].flatten(1).any(1)).sum())
        assert empty <= dead <= units and (effective == 0) == (dead == units)
    assert {k: torch.equal(v, before[k]) for k, v in model.state_dict().items()} == dict.fromkeys(
        before, True
    )
    with torch.no_grad():  # neither weights nor normalisation matter: paths are the mask's alone
        for tensor in model.state_dict().values():
            tensor.mul_(0 if tensor.dtype == torch.int64 else -3)
    assert flow(model, masks, (3, size, size)) == found
