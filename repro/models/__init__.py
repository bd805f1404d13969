"""Networks: a menu of architectures, their initial weights, and the layers that may be pruned."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from ..errors import ReproError, pick
from .alexnet import alexnet
from .dropout import Dropout, dropouts
from .init import INITS, initialise_
from .network import Family, Network
from .resnet import resnet, resnet_6n2
from .vgg import vgg
from .wrn import wrn

__all__ = [
    "INITS",
    "MODELS",
    "Dropout",
    "Layer",
    "build",
    "check_input",
    "dropouts",
    "family",
    "initial_state",
    "initialise_",
    "minimum_size",
    "prunable",
]

Kind = Literal["conv", "linear", "norm"]
Role = Literal["first", "last", "shortcut", "body"]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "vgg11": vgg(11),
    "vgg13": vgg(13),
    "vgg16": vgg(16),
    "vgg19": vgg(19),
    "resnet8": resnet_6n2(8),
    "resnet14": resnet_6n2(14),
    "resnet20": resnet_6n2(20),
    "resnet32": resnet_6n2(32),
    "resnet44": resnet_6n2(44),
    "resnet56": resnet_6n2(56),
    "resnet110": resnet_6n2(110),
    "resnet18": resnet(18, "basic", (2, 2, 2, 2)),
    "resnet34": resnet(34, "basic", (3, 4, 6, 3)),
    "resnet50": resnet(50, "bottleneck", (3, 4, 6, 3)),
    "wrn10": wrn(10),
    "wrn16": wrn(16),
    "wrn22": wrn(22),
    "wrn28": wrn(28),
    "wrn40": wrn(40),
    "alexnet": alexnet,
}


@dataclass(frozen=True)
class Layer:
    """One prunable weight tensor: a convolution's or a linear layer's weight, on request a batch norm's scales.

    Args:
        name: parameter name in the model's state, e.g. "features.0.weight".
        shape: shape of the weight, (out, in, k, k) or (out, in).
        kind: what it belongs to.
        role: "first" layer, "last" linear layer, "shortcut" of a residual block, or "body".
        family: architecture family, on which the smart ratio's scaling depends.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    role: Role
    family: Family = "resnet"

    @property
    def numel(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


def prunable(model: nn.Module, norms: bool = False) -> tuple[Layer, ...]:
    """List the weights that may be pruned, in order of module registration.

    Within a residual block that order is conv1, conv2, (conv3), shortcut; several layer-wise formulas depend
    on it. A model of one's own works too: `family` is read from its attribute (default "resnet"), and a
    convolution inside a module named "shortcut" is a shortcut.

    Args:
        model: any network of Conv2d and Linear layers.
        norms: list the scales of batch norm too, as Gohil et al.'s code prunes them, in their places.
    """
    found = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    kin: Family = getattr(model, "family", "resnet")
    layers = []
    for index, (name, module) in enumerate(found):
        kind: Kind = "conv" if isinstance(module, nn.Conv2d) else "linear"
        role: Role = "body"
        if index == len(found) - 1 and kind == "linear":
            role = "last"
        elif index == 0:
            role = "first"
        elif "shortcut" in name.split("."):
            role = "shortcut"
        parameter = f"{name}.weight" if name else "weight"
        layers.append(Layer(parameter, tuple(module.weight.shape), kind, role, kin))
    if not norms:
        return tuple(layers)
    order = list(dict(model.named_parameters()))
    scales = [
        (f"{n}.weight", m) for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and m.affine
    ]
    layers += [Layer(name, tuple(m.weight.shape), "norm", "body", kin) for name, m in scales]
    return tuple(sorted(layers, key=lambda layer: order.index(layer.name)))


def build(
    name: str,
    *,
    classes: int,
    channels: int,
    generator: torch.Generator,
    **options: bool | float | str,
) -> nn.Module:
    """Build a network on the CPU with every parameter and buffer drawn from `generator`.

    Args:
        name: entry of `MODELS`.
        classes: number of outputs.
        channels: channels of the images.
        generator: source of the initial weights; the global state of torch is neither read nor changed.
        options: keyword options of the entry, e.g. `width=2.0`, `init="orthogonal"`.

    Raises:
        ReproError: if the name or an option is unknown.
    """
    network = copy.deepcopy(_on_meta(name, classes, channels, **options)).to_empty(device="cpu")
    initialise_(network, network.init, generator, network.zero_gammas)
    return network


def initial_state(
    name: str,
    *,
    classes: int,
    channels: int,
    generator: torch.Generator,
    **options: bool | float | str,
) -> dict[str, torch.Tensor]:
    """Draw the initial weights (and fresh batch-norm buffers) of a network: arguments as for `build`."""
    network = build(name, classes=classes, channels=channels, generator=generator, **options)
    return {key: value.detach() for key, value in network.state_dict().items()}


@functools.cache
def minimum_size(name: str) -> int:
    """Give the smallest side of an image, in pixels, that a network can take."""
    return _on_meta(name, 10, 3).minimum_size


@functools.cache
def family(name: str) -> Family:
    """Give the architecture family of an entry of `MODELS`."""
    return _on_meta(name, 10, 3).family


def check_input(name: str, size: int) -> None:
    """Refuse images that are too small for a network.

    Args:
        name: entry of `MODELS`.
        size: side of the images in pixels.

    Raises:
        ReproError: if the images would vanish in the pooling.
    """
    if size < minimum_size(name):
        least = minimum_size(name)
        raise ReproError(
            f"model {name!r} needs images of at least {least}x{least} pixels, not {size}x{size}: "
            f"set the data's size to {least} or more, or choose a resnet or wrn"
        )


def _on_meta(name: str, classes: int, channels: int, **options: bool | float | str) -> Network:
    entry = pick(MODELS, name, "model")
    known = entry.__kwdefaults__ or {}
    for option in options:
        pick(known, option, f"option of model {name}")
    return _prototype(entry, classes, channels, tuple(sorted(options.items())))


@functools.lru_cache(maxsize=64)
def _prototype(
    entry: Callable[..., nn.Module], classes: int, channels: int, options: tuple[tuple[str, Any], ...]
) -> Network:
    """Lay a network out without storage, once: torch takes longer over it than over a copy with storage."""
    with torch.device("meta"):
        network = entry(classes, channels, **dict(options))
    assert isinstance(network, Network)
    return network
