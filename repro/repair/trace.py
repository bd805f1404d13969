"""A network as a list of steps, each of which can be run on maps of 0 and 1, forward and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node, Tracer
from torch.fx.node import map_arg
from torch.nn import functional

from ..errors import ReproError
from ..flow import NORMS, positive

Layer = nn.Conv2d | nn.Linear
HALF = (
    0.5  # where slopes are taken: an activation that is kinked at 0 or clipped at 1 passes signals on there
)


def _average(
    x: Tensor,
    size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    **_,
) -> Tensor:
    return functional.avg_pool2d(x, size, stride, padding, ceil_mode)


STAND_INS: dict[Any, Callable[..., Any]] = {  # for max pools that are functions, as `flow.POOLS` for modules
    functional.max_pool2d: _average,
    torch.max_pool2d: _average,
    functional.adaptive_max_pool2d: lambda x, size, **_: functional.adaptive_avg_pool2d(x, size),
}


class Traced:
    """The steps of a network in order, on the CPU, with weights of 0 and 1; at first all are 1.

    Args:
        model: the network, which stays as it is.
        shape: (C, H, W) of one image.

    Attributes:
        steps: all of them, the image the first.
        end: the one whose result the network gives.
        layers: parameter name of the weight of those that are a convolution or a linear layer.
        shapes: shape of what a step gives, if that is a tensor of numbers.

    Raises:
        ReproError: if the network cannot be followed step by step.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, int, int]) -> None:
        """Copy the network, list its steps and run each once."""
        whole = nn.Sequential(positive(model).cpu().float())  # so that a lone layer is a step too
        try:
            *self.steps, output = _Steps().trace(whole).nodes
        except Exception as error:
            raise unfit(f"torch.fx cannot trace {type(model).__name__} ({_line(error)})") from None
        self.end, self.layers = output.args[0], {}
        self._modules = {n: whole.get_submodule(str(n.target)) for n in self.steps if n.op == "call_module"}
        for step in self.steps:
            module, name = self._modules.get(step), str(step.target).removeprefix("0").removeprefix(".")
            if isinstance(module, Layer):
                self.layers[step] = f"{name}.weight" if name else "weight"
                nn.init.ones_(module.weight)
            elif step.op == "get_attr" or (module is not None and _has_weights(module)):
                raise unfit(f"{name} is something else")
        self.shapes: dict[Node, torch.Size] = {}
        self._others: dict[Node, Any] = {}
        try:
            self._run_once(torch.ones(1, *shape))
        except (RuntimeError, ValueError, TypeError) as error:
            raise unfit(f"an image of shape {shape} does not pass ({_line(error)})") from None
        self._check()
        self._same = {step for step in self.shapes if step is not self.steps[0] and self._passes_on(step)}

    def _run_once(self, image: Tensor) -> None:
        values: dict[Node, Any] = {}
        for step in self.steps:
            found = image if step is self.steps[0] else self._call(step, values)
            if isinstance(found, Tensor) and found.is_floating_point():
                self.shapes[step], values[step] = found.shape, (found > 0).float()
            elif isinstance(found, Tensor) or _holds_tensors(found):
                raise unfit(f"the step {step.name} gives no single tensor of real numbers")
            else:
                self._others[step] = found

    def _check(self) -> None:
        for step, shape in self.shapes.items():
            if not step.users:
                raise unfit(f"nothing uses what the step {step.name} gives")
            taken = self.shapes[source(step)] if step in self.layers else shape
            if step in self.layers and len(taken) != self.weight(step).dim():
                raise unfit(f"{self.layers[step]} takes a tensor of shape {tuple(taken)}")
        if self.end not in self.shapes:
            raise unfit("its output is no single tensor")

    def _call(self, step: Node, values: Mapping[Node, Tensor]) -> Any:
        def value(node: Node) -> Any:
            return values[node].clone() if node in values else self._others[node]  # steps may work in place

        args, kwargs = map_arg((step.args, step.kwargs), value)
        if step.op == "call_module":
            return self._modules[step](*args, **kwargs)
        if step.op == "call_method":
            return getattr(args[0], str(step.target))(*args[1:], **kwargs)
        function: Any = STAND_INS.get(step.target, step.target)
        return function(*args, **kwargs)

    def weight(self, layer: Node) -> Tensor:
        """Give a layer's weight, of which 1 says that it is kept; to be changed in place."""
        weight = self._modules[layer].weight
        assert isinstance(weight, Tensor)
        return weight

    def groups(self, layer: Node) -> int:
        """Tell into how many groups the channels of a layer are split; 1 for a linear layer."""
        return getattr(self._modules[layer], "groups", 1)

    @torch.no_grad()
    def run(self, step: Node, reached: Mapping[Node, Tensor]) -> Tensor:
        """Tell where a signal arrives: run one step on maps of 0 and 1.

        Args:
            step: any in `shapes` but the image.
            reached: maps of the steps before; 1 where there is a signal.
        """
        if step in self._same:
            return reached[source(step)].view(self.shapes[step])
        return over(self._call(step, reached), step in self.layers)

    def pull(self, step: Node, slope: Tensor) -> Iterator[tuple[Node, Tensor]]:
        """Go one step back: multiply by its slope, with weights as they are now and signals anywhere.

        Args:
            step: any in `shapes` but the image.
            slope: a number for each place of what the step gives, at least 0.

        Yields:
            Each step that it takes from, and a number for each place of that.
        """
        if step in self._same:
            yield source(step), slope.view(self.shapes[source(step)])
            return
        leaves = {n: torch.full(self.shapes[n], HALF, requires_grad=True) for n in self._sources(step)}
        with torch.enable_grad():
            out = self._call(step, leaves)
        found = torch.autograd.grad(out, tuple(leaves.values()), slope, allow_unused=True)
        for node, part in zip(leaves, found, strict=True):
            if part is not None:
                yield node, part

    def _sources(self, step: Node) -> list[Node]:
        return [node for node in step.all_input_nodes if node in self.shapes]

    def links(self, layer: Node, reached: Tensor, wanted: Tensor) -> Tensor:
        """Tell which entries of a layer's weight take a signal somewhere where it is wanted.

        Args:
            layer: the step.
            reached: map of what it takes.
            wanted: map of what it gives.

        Returns:
            A boolean tensor of the weight's shape.
        """
        weight = self.weight(layer).requires_grad_(True)
        with torch.enable_grad():
            (found,) = torch.autograd.grad(self._call(layer, {source(layer): reached}), weight, wanted)
        weight.requires_grad_(False)
        return found > HALF

    def is_same(self, step: Node) -> bool:
        """Tell whether a step gives all that it takes, in the same order, perhaps in another shape."""
        return step in self._same

    def _passes_on(self, step: Node) -> bool:
        before = step.all_input_nodes[0]
        if step in self.layers or self._sources(step) != [before]:
            return False
        ramp = torch.arange(1.0, self.shapes[before].numel() + 1) / self.shapes[before].numel()
        with torch.no_grad():
            found = self._call(step, {before: ramp.reshape(self.shapes[before])})
        return torch.equal(found.flatten(), ramp)


def source(step: Node) -> Node:
    """Give the first step that a step takes from: for a layer, the only one."""
    return step.all_input_nodes[0]


def over(found: Tensor, counted: bool) -> Tensor:
    """Make a map of 0 and 1: of numbers of paths, which rounding may blur, or of any that are exactly 0 or not."""
    return (found > (HALF if counted else 0)).float()


def unfit(why: str) -> ReproError:
    """Make the error about a network that cannot be followed."""
    known = "convolutions, linear layers, normalisation, activations, pools and additions"
    return ReproError(f"repair: {why}; paths can be followed through {known} only: set ticket.flow to off")


class _Steps(Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (nn.Conv2d, nn.Linear, *NORMS)) or super().is_leaf_module(
            m, module_qualified_name
        )


def _has_weights(module: nn.Module) -> bool:
    return not isinstance(module, (nn.PReLU, *NORMS)) and any(True for _ in module.parameters())


def _holds_tensors(found: Any) -> bool:
    return isinstance(found, (tuple, list)) and any(isinstance(x, Tensor) for x in found)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
