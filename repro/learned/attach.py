"""Putting parametrizations onto a network's prunable weights, and taking them off again."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..masks import Masks
from ..models import Layer, prunable
from ..rng import stream
from ..settings import Settings
from ..sparse_training import Popup, Soft
from .soft import SoftThreshold
from .subnetwork import Subnetwork, first_scores, level_counts


def parametrize_(model: nn.Module, s: Settings, masks: Masks | None = None) -> Masks | None:
    """Put learned masks onto a network: from here its weights are computed from what is trained.

    Args:
        model: a plain network at its first weights, on its device.
        s: sparse and seed are used.
        masks: what may live, on the same device; None for all.

    Returns:
        The masks that the step must hold: those given, or None where scores see to them.

    Raises:
        ReproError: when a layer of the ticket holds less than is to be kept.
    """
    spec = s.sparse.learned
    if isinstance(spec, Popup):
        generator = stream(s.seed, "scores")
        for layer in prunable(model):
            _freeze(model, layer, spec, masks, generator)
        return None
    for layer in prunable(model):
        if spec and layer.role not in spec.keep_dense:
            _soften(model, layer, spec)
    return masks


def _soften(model: nn.Module, layer: Layer, spec: Soft) -> None:
    module = _owner(model, layer.name)
    _register(module, "weight", SoftThreshold(spec, module.weight))


@torch.no_grad()
def _freeze(
    model: nn.Module, layer: Layer, spec: Popup, masks: Masks | None, generator: torch.Generator
) -> None:
    """Freeze weights and biases of a layer and give them scores."""
    module = _owner(model, layer.name)
    weight, bias = module.weight.requires_grad_(False), module.bias
    ranked = bias if spec.biases == "ranked" else None
    extra = 0 if ranked is None else ranked.numel()
    held = masks.kept_per_layer()[layer.name] if masks else layer.numel
    counts = level_counts(spec, layer.name, held + extra, layer.numel + extra)
    if spec.scale_fan:
        weight.div_(math.sqrt(spec.density))

    def scores(of: Tensor) -> Tensor:
        fan_in = layer.numel // layer.shape[0]
        drawn = first_scores(of.shape, fan_in, spec.scores, generator, conv=layer.kind == "conv")
        return drawn.to(of.device, of.dtype)

    allowed = masks[layer.name].clone() if masks else _all(weight)
    part = Subnetwork(scores(weight), allowed, counts[0])
    _register(module, "weight", part)
    if bias is not None:
        bias.requires_grad_(False)
    if ranked is not None:
        _register(module, "bias", Subnetwork(scores(ranked), _all(ranked), None, part))


def _all(values: Tensor) -> Tensor:
    return torch.ones_like(values, dtype=torch.bool)


def _register(module: nn.Module, name: str, part: nn.Module) -> None:
    parametrize.register_parametrization(
        module, name, part, unsafe=True
    )  # not called once to see what it gives


def _owner(model: nn.Module, name: str) -> nn.Conv2d | nn.Linear:
    module = model.get_submodule(name.rpartition(".")[0])
    assert isinstance(module, nn.Conv2d | nn.Linear)
    return module


def _parametrized(model: nn.Module) -> Iterator[tuple[str, nn.Module, nn.ModuleDict]]:
    """Walk the modules with parametrizations: prefix of their names, module, parametrizations by tensor."""
    for name, module in list(model.named_modules()):
        if parametrize.is_parametrized(module):
            lists = module.parametrizations
            assert isinstance(lists, nn.ModuleDict)
            yield f"{name}." if name else "", module, lists


def parts_of(model: nn.Module) -> dict[str, SoftThreshold | Subnetwork]:
    """List what was put onto the weights and ranked biases of a network, by parameter name."""
    return {
        f"{prefix}{name}": part
        for prefix, _, lists in _parametrized(model)
        for name in lists
        if isinstance(part := lists[name].get_submodule("0"), SoftThreshold | Subnetwork)
    }


@torch.no_grad()
def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Give the state of a network as it is without parametrizations: the weights that take effect, under their names.

    Args:
        model: any network; where it has none this is its `state_dict`.
    """
    found = {k: v for k, v in model.state_dict().items() if "parametrizations" not in k.split(".")}
    for prefix, module, lists in _parametrized(model):
        found |= {f"{prefix}{name}": getattr(module, name) for name in lists}
    return found


@torch.no_grad()
def plain_(model: nn.Module) -> None:
    """Make a network plain again, in place, with the weights that took effect; copies of it stay as they are.

    Torch's own way of removal would take the property off a class that copies share.
    """
    for _, module, lists in _parametrized(model):
        values = {name: getattr(module, name) for name in lists}
        originals: dict[str, nn.Parameter] = {name: lists[name].original for name in values}  # pyright: ignore
        own = parametrize.type_before_parametrizations(module)
        del module.parametrizations
        module.__class__ = own
        for name, parameter in originals.items():
            parameter.copy_(values[name])
            module.register_parameter(name, parameter)
        module.register_parameter("bias", module._parameters.pop("bias"))  # after the weight, where it was
        module.requires_grad_(True)
