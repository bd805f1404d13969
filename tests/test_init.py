"""Initial weights: each scheme against torch's own draws, by hand, and by what it promises."""

from __future__ import annotations

import copy
import math
import typing

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from repro.errors import ReproError
from repro.models import INITS, MODELS, build, initial_state, initialise_, prunable
from repro.models.init import BIAS_FACTOR, SCALED_BIASES, Scheme
from repro.rng import stream

PAIRED = ("looks_linear", "looks_linear_bias", "looks_linear_dependent_bias")
SIGNED = ("signed_constant", "signed_constant_bias")
CHAIN = {"classes": 10, "channels": 2, "conv_bias": True, "width": 0.125}


def filled(scheme: str, *layers: nn.Module, seed: int = 0) -> nn.Sequential:
    model = copy.deepcopy(nn.Sequential(*layers)).requires_grad_(False)
    initialise_(model, scheme, stream(seed, "init"))
    return model


def fan_in(weight: torch.Tensor) -> int:
    return weight[0].numel()


def replay(scheme: str, model: nn.Module, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Draw what a scheme should draw with nothing but torch's random numbers, layer after layer."""
    drawn, scale = {}, BIAS_FACTOR
    for layer in prunable(model):
        weight = torch.empty(layer.shape)
        he, conv = math.sqrt(2 / fan_in(weight)), layer.kind == "conv"
        bound, fan_out = 1 / math.sqrt(fan_in(weight)), weight[:, 0].numel()
        bias, scale = torch.zeros(layer.shape[0]), scale * he
        match scheme:
            case "kaiming_normal_fan_out" | "kaiming_normal_fan_out_uniform_fc" if conv:
                weight.normal_(0, math.sqrt(2 / fan_out), generator=generator)
            case "kaiming_normal_fan_out" | "kaiming_normal_fan_in" if not conv:
                weight.normal_(0, 0.01, generator=generator)
            case "kaiming_normal_fan_out_uniform_fc":
                weight.uniform_(-bound, bound, generator=generator)
            case "xavier_normal" if conv:
                weight.normal_(0, math.sqrt(2 / (fan_in(weight) + fan_out)), generator=generator)
            case "kaiming_uniform" | "xavier_normal":
                weight.uniform_(-bound, bound, generator=generator)
                bias.uniform_(-bound, bound, generator=generator)
            case "orthogonal":
                nn.init.orthogonal_(weight, math.sqrt(2) if conv else 1, generator=generator)
            case "positive_uniform":
                weight.uniform_(0, he, generator=generator)
            case "bimodal":
                z = torch.empty_like(weight).uniform_(generator=generator)
                x = torch.empty_like(weight).normal_(0.05, he, generator=generator)
                y = torch.empty_like(weight).normal_(-0.05, he, generator=generator)
                weight = z * x + (1 - z) * y
            case _:
                weight.normal_(0, he, generator=generator)
        if scheme == "kaiming_normal_bias":
            bias.normal_(0, scale, generator=generator)
        elif scheme == "kaiming_normal_uniform_bias":
            bias.uniform_(-scale, scale, generator=generator)
        drawn |= {layer.name: weight, layer.name.replace("weight", "bias"): bias}
    return drawn


@pytest.mark.parametrize("scheme", [s for s in INITS if s not in (*PAIRED, *SIGNED)])
def test_draws_are_torchs_own_in_order_of_the_layers(scheme):
    model = build("vgg11", generator=stream(4, "init"), init=scheme, **CHAIN)
    expected, state = replay(scheme, model, stream(4, "init")), model.state_dict()
    assert len(expected) == 18 and expected.keys() < state.keys()
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=1e-6, atol=1e-7, msg=name)
        assert value.any() == ("weight" in name or "bias" in scheme or _default(scheme, name))


def _default(scheme: str, name: str) -> bool:
    """Tell the biases that torch's default fills."""
    return scheme == "kaiming_uniform" or (scheme == "xavier_normal" and "classifier" in name)


def test_the_menu_and_the_type_name_the_same_schemes():
    assert list(typing.get_args(Scheme)) == list(INITS)
    assert set(SCALED_BIASES) < set(INITS)


@pytest.mark.parametrize("scheme", SIGNED)
def test_signed_constants_have_one_size_and_two_signs(scheme):
    conv, linear = filled(scheme, nn.Conv2d(2, 100, 3), nn.Linear(50, 300))
    for layer, inputs in ((conv, 18), (linear, 50)):
        size = torch.tensor(math.sqrt(2 / inputs))
        torch.testing.assert_close(layer.weight.abs(), size.expand_as(layer.weight))
        assert abs((layer.weight > 0).float().mean() - 0.5) < 3 / math.sqrt(layer.weight.numel())
        if scheme == "signed_constant":
            assert not layer.bias.any()
        else:
            torch.testing.assert_close(layer.bias.abs(), size.expand_as(layer.bias))
            assert 0.3 < (layer.bias > 0).float().mean() < 0.7


def test_moments_of_the_other_distributions():
    weight, std = filled("positive_uniform", nn.Linear(50, 2000))[0].weight, math.sqrt(2 / 50)
    assert weight.min() >= 0 and 0.99 * std < weight.max() <= std
    assert weight.mean().item() == pytest.approx(std / 2, rel=0.01)
    weight = filled("bimodal", nn.Linear(5000, 50))[0].weight
    spread = 2 / 3 * 2 / 5000 + 0.05**2 / 3  # E[Z^2 + (1 - Z)^2] of the one, Var[0.1 Z] of the other
    assert weight.var().item() == pytest.approx(spread, rel=0.02) and abs(weight.mean()) < 5e-4


@pytest.mark.parametrize("scheme", SCALED_BIASES)
def test_biases_shrink_with_the_signal(scheme):
    layers = [nn.Linear(8, 4000), nn.Linear(4000, 4000, bias=False), nn.Linear(4000, 4000)]
    first, _, last = filled(scheme, *layers)
    scale = BIAS_FACTOR * math.sqrt(2 / 8)
    shape = 1 / math.sqrt(3) if "uniform" in scheme else 1.0
    assert first.bias.std().item() == pytest.approx(scale * shape, rel=0.1)
    assert last.bias.std().item() == pytest.approx(scale * 2 / 4000 * shape, rel=0.1)


@pytest.mark.parametrize("scheme", INITS)
def test_the_factor_sets_the_scale_of_biases_where_there_is_one(scheme):
    if scheme not in SCALED_BIASES:
        with pytest.raises(ReproError, match=rf"bias_factor: not used by init '{scheme}', only by kaiming_"):
            build("resnet8", classes=2, channels=1, generator=stream(0), init=scheme, bias_factor=0.1)
        return
    options = {"init": scheme, "classes": 4, "channels": 1, "conv_bias": True, "width": 0.25}
    for name in ("resnet8", "resnet18", "vgg11"):
        small = initial_state(name, generator=stream(0), **options)
        large = initial_state(name, generator=stream(0), bias_factor=0.5, **options)
        layers = [n for n in small if n.replace("bias", "running_var") not in small and "bias" in n]
        for key, value in small.items():
            tenfold = value * (10 if key in layers else 1)
            noise = 1e-5 * float(value.abs().max())  # of sums, in biases that depend on others
            torch.testing.assert_close(large[key], tenfold, rtol=1e-5, atol=noise, msg=key)
        assert small["classifier.bias"].any()


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.booleans(), st.sampled_from(PAIRED))
def test_blocks_of_looks_linear(inputs, outputs, kernel, first, scheme):
    before = [] if first else [nn.Conv2d(1, inputs, 1)]
    weight = filled(scheme, *before, nn.Conv2d(inputs, outputs, kernel))[-1].weight
    down, across = math.ceil(outputs / 2), inputs if first else math.ceil(inputs / 2)
    half = weight[:down, :across]
    assert torch.equal(weight[down:, :across], -half[: outputs - down])
    assert torch.equal(weight[:down, across:], -half[:, : inputs - across])
    assert torch.equal(weight[down:, across:], half[: outputs - down, : inputs - across])
    flat = half.flatten(1)
    gram = flat @ flat.T if down <= flat.shape[1] else flat.T @ flat
    torch.testing.assert_close(gram, torch.eye(len(gram)), rtol=0, atol=1e-5)


def deep(scheme: str, depth: int) -> nn.Sequential:
    layers = [nn.Linear(3, 8)]
    for _ in range(depth - 1):
        layers += [nn.ReLU(), nn.Linear(8, 8)]
    return filled(scheme, *layers)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("scheme", [*PAIRED, "kaiming_normal_fan_in_all"])
def test_looks_linear_networks_are_linear_maps(scheme, depth):
    model, generator = deep(scheme, depth), stream(1, "x")
    x, y, zero = (
        torch.randn(5, 3, generator=generator),
        torch.randn(5, 3, generator=generator),
        torch.zeros(3),
    )
    gap = (model(2 * x - 3 * y) - 2 * model(x) + 3 * model(y) - 2 * model(zero)).abs().max()
    straight = scheme in PAIRED or depth == 1
    assert (gap < 1e-5) == straight
    constant = scheme == "looks_linear_bias" or (scheme == "looks_linear_dependent_bias" and depth % 2 == 1)
    assert (model(zero).abs().max() > 1e-5) == constant, "every second layer takes the constant out again"
    if straight and scheme in PAIRED:  # |U x| = |x|, in each of two opposite halves
        grown = (model(x) - model(zero)).norm(dim=1) / x.norm(dim=1)
        torch.testing.assert_close(grown, torch.full((5,), math.sqrt(2)), rtol=1e-4, atol=0)


def test_dependent_biases_of_convolutions_by_hand():
    first, second = filled("looks_linear_dependent_bias", nn.Conv2d(1, 4, 1), nn.Conv2d(4, 6, 3))
    b, u = first.bias[:2], second.weight[:3, :2]
    assert torch.equal(first.bias[2:], -b) and b.all()
    c = torch.stack([(u[:, i].sum((1, 2)) * b[i]) / 3 for i in range(2)]).sum(0)  # 3: root of 9 positions
    torch.testing.assert_close(second.bias, torch.cat((-c, c)))


def test_paired_biases_are_cut_to_length():
    first, second = filled("looks_linear_bias", nn.Linear(3, 5), nn.Linear(5, 1))
    assert torch.equal(first.bias[3:], -first.bias[:2]) and first.bias[2] != 0 and second.bias.shape == (1,)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Linear(3, 8), nn.Linear(6, 8)),  # sizes do not fit
        (nn.Linear(3, 8, bias=False), nn.Linear(8, 8)),  # the layer before has no bias
        (nn.Linear(3, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 8)),  # odd
        (nn.Linear(3, 8), nn.Linear(6, 8), nn.Linear(8, 8)),  # odd, behind one that had to be drawn
    ],
)
def test_where_biases_cannot_depend_they_are_drawn(layers):
    drawn, dependent = (filled(scheme, *layers) for scheme in PAIRED[1:])
    assert torch.equal(dependent[-1].bias, drawn[-1].bias)


def test_a_bias_is_handed_on_to_the_next_layer_only():
    layers = [nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 8)]
    model = filled("looks_linear_dependent_bias", *layers)
    stale = model[3].weight[:4, :4] @ model[0].bias[:4]
    assert stale.any() and not torch.allclose(model[3].bias[:4], -stale)


def test_a_layer_depends_on_the_one_just_before_it():
    layers = [nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)]
    model = filled("looks_linear_dependent_bias", *layers)
    for odd, even in ((0, 1), (2, 3)):
        c = model[even].weight[:4, :4] @ model[odd].bias[:4]
        torch.testing.assert_close(model[even].bias, torch.cat((-c, c)))


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "resnet50", "vgg11", "wrn10", "alexnet"])
@pytest.mark.parametrize("scheme", INITS)
def test_every_scheme_fills_every_kind_of_network(scheme, name):
    options = {"init": scheme, "width": 0.0625, "classes": 3, "channels": 1}
    if {"conv_bias"} <= MODELS[name].__kwdefaults__.keys():
        options["conv_bias"] = True
    before = torch.get_rng_state()
    one, same, other = (initial_state(name, generator=stream(seed), **options) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.isfinite(value).all() and torch.equal(value, same[key]) for key, value in one.items())
    assert any(not torch.equal(value, other[key]) for key, value in one.items())
