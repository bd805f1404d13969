"""Networks: published counts, initial weights, layers."""

from __future__ import annotations

import inspect
import math
import typing

import pytest
import torch
from torch import nn

from repro import measure
from repro.errors import ReproError
from repro.models import (
    INITS,
    MODELS,
    build,
    check_input,
    family,
    initial_state,
    initialise_,
    minimum_size,
    prunable,
)
from repro.rng import stream

BIAS, WIDE, NO_FC = {"conv_bias": True}, {"width": 2.0}, {"fc_bias": False}
# network, options, classes, size: parameters, prunable, conv, fc, layers, norm scales, multiply-accumulates
COUNTS = [
    ("vgg19", {}, 10, 32, 20_035_018, 20_024_000, 20_018_880, 5_120, 17, 5_504, 398_136_320),
    ("vgg19", {}, 100, 32, 20_081_188, 20_070_080, 20_018_880, 51_200, 17, 5_504, 398_182_400),
    ("vgg19", {}, 200, 64, 20_132_488, 20_121_280, 20_018_880, 102_400, 17, 5_504, 1_592_627_200),
    ("vgg19", BIAS, 10, 32, 20_040_522, 20_024_000, 20_018_880, 5_120, 17, 5_504, 398_136_320),
    ("vgg19", BIAS, 100, 32, 20_086_692, 20_070_080, 20_018_880, 51_200, 17, 5_504, 398_182_400),
    ("vgg19", BIAS, 200, 64, 20_137_992, 20_121_280, 20_018_880, 102_400, 17, 5_504, 1_592_627_200),
    ("vgg16", {}, 10, 32, 14_724_042, 14_715_584, 14_710_464, 5_120, 14, 4_224, 313_201_664),
    ("vgg16", {}, 100, 32, 14_770_212, 14_761_664, 14_710_464, 51_200, 14, 4_224, 313_247_744),
    ("vgg16", {}, 200, 64, 14_821_512, 14_812_864, 14_710_464, 102_400, 14, 4_224, 1_252_888_576),
    ("vgg16", BIAS, 10, 32, 14_728_266, 14_715_584, 14_710_464, 5_120, 14, 4_224, 313_201_664),
    ("resnet32", WIDE, 10, 32, 1_860_522, 1_855_584, 1_854_304, 1_280, 34, 2_464, 275_612_928),
    ("resnet32", WIDE, 100, 32, 1_872_132, 1_867_104, 1_854_304, 12_800, 34, 2_464, 275_624_448),
    ("resnet32", WIDE, 200, 64, 1_885_032, 1_879_904, 1_854_304, 25_600, 34, 2_464, 1_102_472_192),
    ("resnet20", WIDE, 10, 32, 1_084_586, 1_081_440, 1_080_160, 1_280, 22, 1_568, 162_366_720),
    ("resnet20", {}, 10, 32, 272_474, 270_896, 270_256, 640, 22, 784, 40_813_184),
    ("resnet20", {}, 100, 32, 278_324, 276_656, 270_256, 6_400, 22, 784, 40_818_944),
    ("resnet32", {}, 10, 32, 466_906, 464_432, 463_792, 640, 34, 1_232, 69_124_736),
    (
        "resnet56", WIDE | {"block": "bottleneck"}, 10, 32,
        3_446_058, 3_420_000, 3_414_880, 5_120, 86, 13_024, 508_400_640,
    ),
    ("resnet18", {}, 10, 32, 11_173_962, 11_164_352, 11_159_232, 5_120, 21, 4_800, 555_422_720),
    ("resnet18", NO_FC, 10, 32, 11_173_952, 11_164_352, 11_159_232, 5_120, 21, 4_800, 555_422_720),
    ("resnet18", NO_FC, 100, 32, 11_220_032, 11_210_432, 11_159_232, 51_200, 21, 4_800, 555_468_800),
    ("resnet34", NO_FC, 10, 32, 21_282_112, 21_265_088, 21_259_968, 5_120, 37, 8_512, 1_159_402_496),
    ("resnet50", {}, 100, 32, 23_705_252, 23_652_032, 23_447_232, 204_800, 54, 26_560, 1_298_014_208),
    ("resnet50", {}, 10, 32, 23_520_842, 23_467_712, 23_447_232, 20_480, 54, 26_560, 1_297_829_888),
    ("resnet50", NO_FC, 100, 32, 23_705_152, 23_652_032, 23_447_232, 204_800, 54, 26_560, 1_298_014_208),
    (
        "resnet50", {"stem": "imagenet"}, 10, 32,
        23_528_522, 23_475_392, 23_454_912, 20_480, 54, 26_560, 83_431_424,
    ),
    (
        "resnet50", {"stem": "imagenet"}, 100, 32,
        23_712_932, 23_659_712, 23_454_912, 204_800, 54, 26_560, 83_615_744,
    ),
]  # fmt: skip


def small(name: str, seed: int = 0, **options) -> nn.Module:
    options = {"width": 0.125} | options
    return build(name, classes=7, channels=1, generator=stream(seed, "init"), **options)


@pytest.mark.parametrize("row", COUNTS, ids=lambda row: f"{row[0]}-{row[2]}-{row[3]}-{'-'.join(row[1])}")
def test_counts(row):
    name, options, classes, size, *expected = row
    with torch.device("meta"):
        model = MODELS[name](classes, 3, **options)
    layers = prunable(model)
    conv = sum(layer.numel for layer in layers if layer.kind == "conv")
    fc = sum(layer.numel for layer in layers if layer.kind == "linear")
    gammas = sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    macs = sum(measure.macs(model, (3, size, size)).values())
    total = sum(p.numel() for p in model.parameters())
    assert [total, conv + fc, conv, fc, len(layers), gammas, macs] == expected


@pytest.mark.parametrize("name", MODELS)
def test_prunable_names_and_roles(name):
    model = small(name)
    layers = prunable(model)
    state = dict(model.named_parameters())
    assert [layer.name for layer in layers] == [n for n in state if n in {x.name for x in layers}]
    assert all(state[layer.name].shape == layer.shape for layer in layers)
    roles = [layer.role for layer in layers]
    assert roles[0] == "first" and roles[-1] == "last"
    assert roles.count("first") == roles.count("last") == 1
    assert {layer.family for layer in layers} == {family(name)}
    assert family(name) == ("vgg" if name.startswith("vgg") else "resnet")
    for layer in layers:
        assert (layer.role == "shortcut") == (layer.kind == "conv" and layer.shape[2:] == (1, 1)) or (
            name == "resnet50"
        )


def test_order_within_a_block():
    kernels = [layer.shape[-1] for layer in prunable(small("resnet20"))]
    assert kernels == [3] * 7 + [3, 3, 1, 3, 3, 3, 3] + [3, 3, 1, 3, 3, 3, 3] + [2 * 4]
    names = [layer.name for layer in prunable(small("resnet50", stem="cifar"))][1:5]
    assert [name.split(".")[3] for name in names] == ["branch"] * 3 + ["shortcut"]
    assert prunable(small("vgg11"))[0].name == "features.0.weight"


def test_prunable_of_a_model_of_ones_own():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3), nn.Linear(3, 2))
    assert [layer.role for layer in prunable(model)] == ["first", "body", "last"]
    assert [layer.name for layer in prunable(model)] == ["0.weight", "2.weight", "3.weight"]
    assert prunable(nn.Linear(4, 3))[0].name == "weight"
    assert prunable(nn.Linear(4, 3))[0].numel == 12


@pytest.mark.parametrize("name", MODELS)
def test_build_is_deterministic_and_leaves_the_global_generator_alone(name):
    before = torch.get_rng_state()
    model = small(name)
    first, again, other = (m.state_dict() for m in (model, small(name), small(name, seed=1)))
    state = initial_state(name, classes=7, channels=1, generator=stream(0, "init"), width=0.125)
    assert torch.equal(before, torch.get_rng_state())
    drawn = {layer.name for layer in prunable(model)}
    for key, value in first.items():
        assert torch.equal(value, again[key]) and torch.equal(value, state[key])
        assert torch.isfinite(value).all() and value.device.type == "cpu"
        assert torch.equal(value, other[key]) != (key in drawn)


@pytest.mark.parametrize("name", MODELS)
def test_masked_forward_and_backward(name):
    model, generator = small(name), stream(0, "mask")
    with torch.no_grad():
        for layer in prunable(model):
            model.get_parameter(layer.name).mul_(torch.rand(layer.shape, generator=generator) < 0.5)
    for size in (16, 28, 32) if family(name) == "vgg" else (2, 8, 16, 28):
        images = torch.randn(2, 1, size, size, generator=generator)
        logits = model.eval()(images)
        assert logits.shape == (2, 7) and torch.isfinite(logits).all()
    model.train()(images).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_options_can_be_read_from_the_signature(name):
    kinds = typing.get_type_hints(MODELS[name], include_extras=True)
    options = [p for p in inspect.signature(MODELS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert {"width", "conv_bias", "init"} <= {p.name for p in options}
    assert all(p.name in kinds and p.default is not p.empty for p in options)
    assert MODELS[name].__name__ == name
    assert set(typing.get_args(kinds["init"])) == set(INITS)


@pytest.mark.parametrize("init", INITS)
def test_scale_of_the_initial_weights(init):
    model = build("resnet20", classes=10, channels=3, generator=stream(0, "init"), width=2.0, init=init)
    for layer in prunable(model):
        weight = model.get_parameter(layer.name)
        fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
        he_in, torch_default = math.sqrt(2 / fan_in), 1 / math.sqrt(3 * fan_in)
        conv = {
            "kaiming_normal_fan_out": math.sqrt(2 / fan_out),
            "kaiming_uniform": torch_default,
            "xavier_normal": math.sqrt(2 / (fan_in + fan_out)),
            "orthogonal": math.sqrt(2 / max(weight.shape[0], fan_in)),
        }.get(init, he_in)
        linear = {
            "kaiming_normal_fan_in_all": he_in,
            "kaiming_uniform": torch_default,
            "xavier_normal": torch_default,
            "orthogonal": 1 / math.sqrt(max(weight.shape)),
        }.get(init, 0.01)
        expected = conv if layer.kind == "conv" else linear
        assert weight.std(unbiased=False).item() == pytest.approx(expected, rel=5 / math.sqrt(weight.numel()))
        assert abs(weight.mean().item()) < 5 * expected / math.sqrt(weight.numel())
    bias = model.get_parameter("classifier.bias")
    assert bias.any() == (init in ("kaiming_uniform", "xavier_normal"))


def test_orthogonal_rows_are_orthogonal():
    weight = small("vgg11", init="orthogonal", width=0.25).get_parameter("features.4.weight").flatten(1)
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(len(weight)), atol=1e-4, rtol=1e-4)


def test_normals_of_convolutions_are_torchs_own():
    state = initial_state("vgg11", classes=10, channels=3, generator=stream(3, "x"), width=0.25)
    weight = torch.empty(16, 3, 3, 3)
    nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=stream(3, "x"))
    assert torch.equal(state["features.0.weight"], weight)


def test_batch_norm_and_biases_start_neutral():
    state = small("vgg11", conv_bias=True).state_dict()
    assert not state["features.0.bias"].any() and not state["classifier.bias"].any()
    assert (state["features.1.weight"] == 1).all() and not state["features.1.bias"].any()
    assert (state["features.1.running_var"] == 1).all() and not state["features.1.running_mean"].any()
    assert state["features.1.num_batches_tracked"] == 0
    assert "features.1.weight" not in small("vgg11", bn_affine=False).state_dict()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_zero_init_residual_starts_blocks_as_their_shortcut(name):
    model = small(name, zero_init_residual=True).eval()
    zeros = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and not m.weight.any()]
    assert len(zeros) == {"resnet18": 8, "resnet50": 16}[name]
    block = model.get_submodule("stages.1.0")
    x = torch.randn(2, 8 * (4 if name == "resnet50" else 1), 4, 4, generator=stream(0, "x"))
    torch.testing.assert_close(block(x), block.get_submodule("shortcut")(x).relu())


def test_width_rounds_down_but_not_to_nothing():
    assert prunable(small("vgg11", width=0.29))[0].shape[0] == int(64 * 0.29)
    assert prunable(small("resnet8", width=1e-3))[0].shape[0] == 1
    assert prunable(build("vgg11", classes=2, channels=3, generator=stream(0), width=1.1))[0].shape[0] == 70


def test_small_images():
    assert minimum_size("vgg19") == 16 and minimum_size("resnet20") == 1
    check_input("vgg11", 16)
    check_input("resnet20", 8)
    with pytest.raises(ReproError, match=r"'vgg11' needs images of at least 16x16 pixels, not 8x8"):
        check_input("vgg11", 8)


def test_mistakes_are_told():
    with pytest.raises(ReproError, match="unknown model 'vgg18': did you mean"):
        small("vgg18")
    with pytest.raises(ReproError, match="unknown option of model vgg11 'widht': did you mean 'width'"):
        build("vgg11", classes=2, channels=1, generator=stream(0), widht=1.0)
    with pytest.raises(ReproError, match="unknown initialisation 'orthogonall'"):
        small("vgg11", init="orthogonall")
    with pytest.raises(ReproError, match="unknown block"):
        small("resnet8", block="Basic")
    with pytest.raises(ReproError, match="unknown stem"):
        small("resnet18", stem="none")
    with pytest.raises(ReproError, match="cannot initialise '0': no rule for LayerNorm"):
        initialise_(nn.Sequential(nn.LayerNorm(3)), "orthogonal", stream(0))
