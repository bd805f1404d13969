"""Tensors of somebody else's network brought under the names of ours: by name, else by order and shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ReproError
from .plan import Plan

COUNTER = "num_batches_tracked"  # torch before 0.4.1 had none
Module = dict[str, Tensor]


class Matched(NamedTuple):
    """A state under our names, and which module of ours each of theirs is."""

    state: dict[str, Tensor]
    modules: dict[str, str]
    by_order: bool


def modules_of(state: Mapping[str, Tensor]) -> dict[str, Module]:
    """Group the tensors of a state by the module that they belong to, in order."""
    found: dict[str, Module] = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        found.setdefault(module, {})[leaf] = tensor
    return found


def match(theirs: Mapping[str, Tensor], plan: Plan) -> Matched:
    """Find the place of every tensor of a checkpoint in a network of ours.

    Modules are paired by name where all names are ours. Else convolutions and linear layers are paired in order, and
    batch norms likewise, and every shape must agree; a 1x1 convolution may stand for our linear layer.

    Args:
        theirs: the checkpoint's tensors by name, in its order.
        plan: our network.

    Raises:
        ReproError: naming the layer, when numbers or shapes of layers differ, or a tensor is missing or left over.
    """
    ours, given = modules_of(plan.state), modules_of(theirs)
    by_order = ours.keys() != given.keys()
    pairs = {name: name for name in ours}
    if by_order:
        pairs = _in_order(ours, given, norm=False) | _in_order(ours, given, norm=True)
    state = {}
    for name in ours:
        state |= _module(name, ours[name], pairs[name], given[pairs[name]])
    return Matched(state, {theirs: name for name, theirs in pairs.items()}, by_order)


def fitted(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    """Tell whether a tensor has a shape, or is the 1x1 convolution that does the work of a linear layer."""
    return tuple(tensor.shape) in (shape, (*shape, 1, 1) if len(shape) == 2 else shape)


def _is_norm(module: Module) -> bool:
    return "running_mean" in module or ("weight" in module and module["weight"].dim() == 1)


def _in_order(ours: dict[str, Module], given: dict[str, Module], norm: bool) -> dict[str, str]:
    """Pair the batch norms of two networks, or their other layers, one by one."""
    mine = {name: _shape(module) for name, module in ours.items() if _is_norm(module) == norm}
    other = {name: _shape(module) for name, module in given.items() if _is_norm(module) == norm}
    for (name, wanted), (theirs, found) in zip(mine.items(), other.items(), strict=False):
        if _flat(wanted) != _flat(found):
            alike = sorted(map(_flat, mine.values())) == sorted(map(_flat, other.values()))
            why = "the same shapes in another order, so which is which is ambiguous; rename theirs as ours"
            why = why if alike else "another network, or other options, e.g. width=2"
            raise ReproError(
                f"layer {name}: its shape is {wanted}, that of theirs there, {theirs}, {found}: {why}"
            )
    if len(mine) != len(other):
        whose, longer = ("ours", mine) if len(mine) > len(other) else ("theirs", other)
        what = "batch norms" if norm else "convolutions and linear layers"
        raise ReproError(
            f"layer {list(longer)[min(len(mine), len(other))]}: only {whose} has it, of {len(mine)} {what} here and "
            f"{len(other)} there; name another network"
        )
    return dict(zip(mine, other, strict=True))


def _shape(module: Module) -> list[int]:
    tensor = module.get("weight", module.get("running_mean"))
    return [] if tensor is None else list(tensor.shape)


def _flat(shape: list[int]) -> list[int]:
    """Spell a linear layer as the 1x1 convolution that does the same."""
    return [*shape, 1, 1] if len(shape) == 2 else shape


def _module(name: str, mine: Module, theirs: str, given: Module) -> dict[str, Tensor]:
    """Take over the tensors of one module."""
    if extra := given.keys() - mine.keys() - {COUNTER}:
        raise ReproError(f"layer {name}: theirs, {theirs}, has {min(extra)} besides; {_option(min(extra))}")
    state = {}
    for leaf, like in mine.items():
        place, tensor = f"{name}.{leaf}", given.get(leaf)
        if tensor is None and leaf == COUNTER:
            tensor = torch.zeros(like.shape, dtype=like.dtype)
        if tensor is None:
            raise ReproError(f"layer {name}: theirs, {theirs}, has no {leaf}; {_option(leaf)}")
        if not fitted(tensor, tuple(like.shape)) or tensor.is_floating_point() != like.is_floating_point():
            ours, other = f"{like.dtype} {list(like.shape)}", f"{tensor.dtype} {list(tensor.shape)}"
            raise ReproError(f"layer {name}: its {leaf} is {ours}, that of theirs, {theirs}, {other}")
        state[place] = tensor.reshape(like.shape).to(like.dtype).contiguous()
    return state


def _option(leaf: str) -> str:
    if leaf in ("bias", "weight"):
        return "an option of our network may say so: conv_bias, fc_bias or bn_affine"
    return "our network has no place for it, and it may change what the weights mean"
