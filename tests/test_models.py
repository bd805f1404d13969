"""Networks: published counts, initial weights, layers."""

from __future__ import annotations

import inspect
import math
import typing

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d

from repro import measure
from repro.errors import ReproError
from repro.models import (
    INITS,
    MODELS,
    build,
    check_input,
    dropouts,
    family,
    initial_state,
    initialise_,
    minimum_size,
    prunable,
)
from repro.models.network import scaled
from repro.models.wrn import PreActivated
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
    ("wrn22", {}, 10, 32, 1_079_642, 1_076_912, 1_075_632, 1_280, 23, 1_360, 157_730_048),
    ("alexnet", {}, 10, 32, 23_272_266, 23_262_912, 2_250_432, 21_012_480, 8, 0, 62_742_528),
    ("alexnet", {}, 100, 32, 23_640_996, 23_631_552, 2_250_432, 21_381_120, 8, 0, 63_111_168),
]  # fmt: skip
# network, classes, small: parameters, multiply-accumulates as a fraction of the dense network's (RigL report)
SMALL = [
    ("wrn22", 10, 0.05, 52_380, 0.0480),
    ("wrn22", 10, 0.1, 106_395, 0.0983),
    ("wrn22", 10, 0.2, 213_136, 0.1943),
    ("wrn22", 10, 0.5, 533_338, 0.4873),
    ("resnet50", 100, 0.05, 1_217_168, None),
    ("resnet50", 100, 0.1, 2_387_971, None),
    ("resnet50", 100, 0.2, 4_762_968, None),
    ("resnet50", 100, 0.5, 11_894_219, None),
]
PRUNABLE = {0.05: 51_776, 0.1: 105_535, 0.2: 211_924, 0.5: 531_422}  # of the small wrn22


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


@pytest.mark.parametrize(
    ("name", "layers", "weights", "biases"),
    [("resnet18", 21, 11_164_352, 4_810), ("vgg16", 14, 14_715_584, 4_234), ("resnet20", 22, 270_896, 794)],
)
def test_counts_with_biases_everywhere_and_batch_norm_without_parameters(name, layers, weights, biases):
    model = shapes(name, conv_bias=True, bn_affine=False)
    assert len(prunable(model)) == layers and sum(x.numel for x in prunable(model)) == weights
    sizes = {n: p.numel() for n, p in model.named_parameters() if n not in {x.name for x in prunable(model)}}
    assert sum(sizes.values()) == biases and {n.split(".")[-1] for n in sizes} == {"bias"}
    assert len(sizes) == layers, "one for each layer, none for batch norm"


@pytest.mark.parametrize("name", ["resnet20", "resnet50", "vgg11"])
def test_biases_and_parameters_of_batch_norm_are_options(name):
    default, none = shapes(name), shapes(name, fc_bias=False, bn_affine=False)
    head, without = (m.get_submodule("classifier") for m in (default, none))
    assert isinstance(head, nn.Linear) and head.bias.shape == (10,) and without.bias is None
    norms = [[m for m in x.modules() if isinstance(m, nn.BatchNorm2d)] for x in (default, none)]
    assert all(m.affine for m in norms[0]) and not any(m.affine for m in norms[1])
    assert prunable(none) == prunable(default)
    assert {n for n, _ in none.named_parameters()} == {layer.name for layer in prunable(none)}
    assert torch.isfinite(small(name, fc_bias=False, bn_affine=False)(torch.ones(2, 1, 16, 16))).all()


def shapes(name: str, classes: int = 10, **options) -> nn.Module:
    with torch.device("meta"):
        return MODELS[name](classes, 3, **options)


@pytest.mark.parametrize(("name", "classes", "fraction", "parameters", "cost"), SMALL)
def test_counts_of_small_dense_networks(name, classes, fraction, parameters, cost):
    dense, model = shapes(name, classes), shapes(name, classes, small=fraction)
    assert sum(p.numel() for p in model.parameters()) == parameters
    if name == "wrn22":
        assert sum(layer.numel for layer in prunable(model)) == PRUNABLE[fraction]
        macs, all_macs = (sum(measure.macs(m, (3, 32, 32)).values()) for m in (model, dense))
        assert macs / all_macs == pytest.approx(cost, abs=5e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_quarter_of_the_parameters_is_half_of_every_filter(name):
    dense, quarter = prunable(shapes(name)), prunable(shapes(name, small=0.25))
    for index, (layer, less) in enumerate(zip(dense, quarter, strict=True)):
        (outputs, inputs, *kernel), (fewer, ins, *same) = layer.shape, less.shape
        assert layer.name == less.name and kernel == same
        assert ins == (inputs if index == 0 else inputs // 2)
        assert fewer == (outputs if index == len(dense) - 1 else outputs // 2)


@pytest.mark.parametrize("name", MODELS)
def test_small_networks_have_about_that_fraction_of_the_parameters(name):
    total = [sum(p.numel() for p in shapes(name, small=s).parameters()) for s in (1.0, 0.5, 0.2, 0.05, 1e-9)]
    assert total[0] == sum(p.numel() for p in shapes(name).parameters())
    assert [t / total[0] for t in total[1:4]] == pytest.approx([0.5, 0.2, 0.05], rel=0.13)
    least = prunable(shapes(name, small=1e-9))
    assert {x.shape[0] for x in least[:-1]} <= ({1} if name != "resnet50" else {1, 4})


def test_small_comes_on_top_of_the_width():
    assert [scaled(16, 2.0, 0.05), scaled(16, 1.0, 0.05), scaled(64, 2.0, 0.2)] == [7, 3, 57]
    assert [scaled(16, 2.0, 0.25), scaled(16, 2.0, 1e-9), scaled(30, 1.0, 0.01)] == [16, 1, 3]
    wide = [x.shape for x in prunable(shapes("resnet20", width=2.0, small=0.3))]
    assert wide == [x.shape for x in prunable(shapes("resnet20", width=2.0 * math.sqrt(0.3)))]


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
    assert family(name) == ("vgg" if name.startswith(("vgg", "alexnet")) else "resnet")
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
    names = [layer.name for layer in prunable(small("wrn16"))]
    blocks = ["branch.0", "branch.4", "shortcut"], ["branch.0", "branch.4"]
    inner = [f"groups.{g}.{i}.{x}.weight" for g in range(3) for i in range(2) for x in blocks[i]]
    assert names == ["conv.weight", *inner, "classifier.weight"]


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
    if name == "alexnet":  # torch's default, which its linear layers have, draws biases too
        drawn |= {f"classifier.{i}.bias" for i in (1, 4, 6)}
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
    assert {"width", "small", "init"} <= {p.name for p in options}
    assert all(p.name in kinds and p.default is not p.empty for p in options)
    assert MODELS[name].__name__ == name
    assert set(typing.get_args(kinds["init"])) == set(INITS)


@pytest.mark.parametrize("init", list(INITS)[:7])  # of the others see test_init.py
def test_scale_of_the_initial_weights(init):
    model = build("resnet20", classes=10, channels=3, generator=stream(0, "init"), width=2.0, init=init)
    for layer in prunable(model):
        weight = model.get_parameter(layer.name)
        fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
        he_in, torch_default = math.sqrt(2 / fan_in), 1 / math.sqrt(3 * fan_in)
        conv = {
            "kaiming_normal_fan_out": math.sqrt(2 / fan_out),
            "kaiming_normal_fan_out_uniform_fc": math.sqrt(2 / fan_out),
            "kaiming_uniform": torch_default,
            "xavier_normal": math.sqrt(2 / (fan_in + fan_out)),
            "orthogonal": math.sqrt(2 / max(weight.shape[0], fan_in)),
        }.get(init, he_in)
        linear = {
            "kaiming_normal_fan_out_uniform_fc": torch_default,
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


def test_initial_weights_of_a_wide_resnet():
    model = build("wrn22", classes=10, channels=3, generator=stream(0, "init"))
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            std = math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
            noise = 5 / math.sqrt(module.weight.numel())
            assert module.weight.std(unbiased=False).item() == pytest.approx(std, rel=noise), name
            assert module.bias is None
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and not module.bias.any()
    head = model.get_submodule("classifier")
    assert isinstance(head, nn.Linear) and not head.bias.any()
    assert head.weight.abs().max().item() == pytest.approx(1 / math.sqrt(128), rel=0.02)
    assert head.weight.abs().max() <= 1 / math.sqrt(128)


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


def block(inputs: int, filters: int, stride: int) -> PreActivated:
    """Build a block that subtracts 2 before its first ReLU and has nothing in its kernels yet."""
    made = PreActivated(inputs, filters, stride, 0.3).eval().requires_grad_(False)
    for module in made.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    made.bn.get_buffer("running_mean").fill_(1)
    made.bn.get_buffer("running_var").fill_(4)
    made.bn.weight.fill_(2)
    made.bn.bias.fill_(-1)  # (x - 1) / 2 * 2 - 1
    return made


def test_a_wide_block_without_its_branch_is_the_raw_input():
    x = torch.randn(2, 3, 4, 4, generator=stream(0, "x"))
    assert block(3, 3, 1).shortcut is None
    assert torch.equal(block(3, 3, 1)(x.clone()), x)


def test_a_wide_block_by_hand():
    made = block(1, 1, 1)
    made.get_parameter("branch.0.weight")[0, 0, 1, 1] = 2.0
    made.get_parameter("branch.4.weight")[0, 0, 1, 1] = -1.0
    x = torch.tensor([[[[-3.0, 5.0], [1.0, 2.5]]]])  # after batch norm and ReLU: 0, 3, 0, 0.5
    assert made(x).flatten().tolist() == [-3.0, 5.0 - 2 * 3, 1.0, 2.5 - 2 * 0.5]


@pytest.mark.parametrize(("filters", "stride", "expected"), [(1, 2, [9.0]), (2, 1, [9.0, 0.0, 0.0, 1.5] * 2)])
def test_the_shortcut_convolution_of_a_wide_block_sees_the_activated_input(filters, stride, expected):
    made = block(1, filters, stride)
    assert made.shortcut is not None and made.shortcut.kernel_size == (1, 1)
    made.shortcut.weight.fill_(3)
    x = torch.tensor([[[[5.0, -3.0], [1.0, 2.5]]]])
    assert made(x).flatten().tolist() == expected


def test_a_wide_resnet_without_its_branches_is_a_chain_of_shortcuts():
    model = small("wrn10", width=1.0).eval().requires_grad_(False)
    for i in range(3):
        model.get_parameter(f"groups.{i}.0.branch.4.weight").zero_()
    images = torch.randn(2, 1, 8, 8, generator=stream(0, "x"))
    x = conv2d(
        images, model.get_parameter("conv.weight"), padding=1
    )  # 16 filters: the first block is no change
    for i in (1, 2):
        x = conv2d(x.relu(), model.get_parameter(f"groups.{i}.0.shortcut.weight"), stride=2)
    expected = x.relu().mean((2, 3)) @ model.get_parameter("classifier.weight").T
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    assert expected.abs().max() > 0.01


@pytest.mark.parametrize("depth", [10, 16, 22, 28, 40])
def test_dropout_of_a_wide_resnet(depth):
    model = shapes(f"wrn{depth}", dropout=0.2)
    assert [m.p for m in dropouts(model)] == [0.2] * ((depth - 4) // 2)
    assert len(prunable(model)) == depth + 1  # stem, two for each dropout, three shortcuts, classifier
    assert dropouts(shapes(f"wrn{depth}", dropout=0.0)) == [] == dropouts(shapes("resnet18"))
    kinds = [type(m).__name__ for m in model.get_submodule("groups.0.0.branch").children()]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "Dropout", "Conv2d"]


def test_alexnet_layer_by_layer():
    with torch.device("meta"):
        layers = prunable(MODELS["alexnet"](10, 3))
    assert [x.shape for x in layers] == [
        (64, 3, 3, 3), (192, 64, 3, 3), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3),
        (4096, 1024), (4096, 4096), (10, 4096),
    ]  # fmt: skip
    features, classifier = (f"features.{i}.weight" for i in (0, 3, 6, 8, 10)), (1, 4, 6)
    assert [x.name for x in layers] == [*features, *(f"classifier.{i}.weight" for i in classifier)]
    assert [x.role for x in layers] == ["first", *["body"] * 6, "last"]


@pytest.mark.parametrize(
    ("size", "left"), [(15, 1), (16, 1), (28, 1), (30, 1), (31, 2), (32, 2), (46, 2), (47, 3)]
)
def test_alexnet_as_a_chain_of_functions(size, left):
    model, images = small("alexnet").eval(), torch.randn(2, 1, size, size, generator=stream(0, "x"))
    p = model.get_parameter
    x = images
    for i, stride in {0: 2, 3: 1, 6: 1, 8: 1, 10: 1}.items():
        x = conv2d(x, p(f"features.{i}.weight"), p(f"features.{i}.bias"), stride, padding=1).relu()
        x = max_pool2d(x, 2) if i in (0, 3, 10) else x
    assert x.shape == (2, 32, left, left)
    if left == 1:
        x = x.expand(2, 32, 2, 2)
    elif left == 3:  # means of overlapping windows of 2x2
        x = avg_pool2d(x, 2, stride=1)
    x = x.reshape(2, 128)
    for i in (1, 4, 6):
        x = x @ p(f"classifier.{i}.weight").T + p(f"classifier.{i}.bias")
        x = x.relu() if i != 6 else x
    torch.testing.assert_close(model(images), x)


def test_initial_weights_of_alexnet():
    model = build("alexnet", classes=10, channels=3, generator=stream(0, "init"), width=0.5)
    for layer in prunable(model):
        weight, bias = (model.get_parameter(layer.name.replace("weight", x)) for x in ("weight", "bias"))
        fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
        if layer.kind == "conv":
            std, noise = math.sqrt(2 / (fan_in + fan_out)), 5 / math.sqrt(weight.numel())
            assert weight.std(unbiased=False).item() == pytest.approx(std, rel=noise) and not bias.any()
        else:
            bound = 1 / math.sqrt(fan_in)
            assert bound * 0.99 < weight.abs().max() <= bound and 0 < bias.abs().max() <= bound


def test_dropout_of_alexnet_stands_before_both_hidden_layers():
    kinds = [type(m).__name__ for m in shapes("alexnet").get_submodule("classifier").children()]
    assert kinds == ["Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear"]
    assert [m.p for m in dropouts(shapes("alexnet"))] == [0.5] * 2
    assert [m.p for m in dropouts(shapes("alexnet", dropout=0.1))] == [0.1] * 2
    without = shapes("alexnet", dropout=0.0)
    assert dropouts(without) == [] and prunable(without) == prunable(shapes("alexnet"))


def test_width_rounds_down_but_not_to_nothing():
    assert prunable(small("vgg11", width=0.29))[0].shape[0] == int(64 * 0.29)
    assert prunable(small("resnet8", width=1e-3))[0].shape[0] == 1
    assert prunable(build("vgg11", classes=2, channels=3, generator=stream(0), width=1.1))[0].shape[0] == 70


def test_small_images():
    assert minimum_size("vgg19") == 16 and minimum_size("resnet20") == 1
    check_input("vgg11", 16)
    check_input("alexnet", 15)
    with pytest.raises(RuntimeError, match="too small"):
        small("alexnet")(torch.zeros(1, 1, 14, 14))
    check_input("resnet20", 8)
    with pytest.raises(ReproError, match=r"'vgg11' needs images of at least 16x16 pixels, not 8x8"):
        check_input("vgg11", 8)
    with pytest.raises(ReproError, match=r"'alexnet' needs images of at least 15x15 pixels, not 14x14"):
        check_input("alexnet", 14)


def test_mistakes_are_told():
    with pytest.raises(ReproError, match="unknown model 'vgg18': did you mean"):
        small("vgg18")
    with pytest.raises(ReproError, match="unknown option of model vgg11 'widht': did you mean 'width'"):
        build("vgg11", classes=2, channels=1, generator=stream(0), widht=1.0)
    with pytest.raises(ReproError, match="unknown initialisation 'orthogonall'"):
        small("vgg11", init="orthogonall")
    with pytest.raises(ReproError, match="unknown block"):
        small("resnet8", block="Basic")
    with pytest.raises(ReproError, match="zero_init_residual: batch norm has no scales without bn_affine"):
        small("resnet18", zero_init_residual=True, bn_affine=False)
    with pytest.raises(
        ReproError, match="bias_factor: not used by init 'orthogonal', only by kaiming_normal_"
    ):
        small("resnet8", init="orthogonal", bias_factor=0.1)
    with pytest.raises(ReproError, match="unknown stem"):
        small("resnet18", stem="none")
    with pytest.raises(ReproError, match="cannot initialise '0': no rule for LayerNorm"):
        initialise_(nn.Sequential(nn.LayerNorm(3)), "orthogonal", stream(0))
