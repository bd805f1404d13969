"""Which neurons of a pruned network carry a signal: reached from the image, and leading on to an output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from .trace import Traced, over, source


@dataclass(frozen=True, eq=False)
class Neurons:
    """The channels, or features, of what one or several layers take, or of the logits.

    Args:
        root: the step that gives it; steps that pass everything on as it is (ReLU, normalisation, flattening) lie
            between it and the layers.
        readers: the layers, in the order in which they run; none reads the logits.
        count: how many neurons; each has as many places (pixels) as its share of the root's numbers.
        name: parameter name of the first reader, or "output".
    """

    root: Node
    readers: tuple[Node, ...]
    count: int
    name: str

    def of(self, found: Tensor) -> Tensor:
        """Show a map of the root, or of what a reader takes, neuron by neuron: (count, places)."""
        return found.reshape(self.count, -1)

    def only(self, found: Tensor, which: Tensor) -> Tensor:
        """Set a map to 0 but for some neurons, given as a boolean tensor (count,)."""
        return (self.of(found) * which[:, None]).view_as(found)


def neurons(traced: Traced) -> dict[Node, Neurons]:
    """Find the neurons of a network, by the step that gives them, in order."""
    readers: dict[Node, list[Node]] = {}
    for layer in traced.layers:
        readers.setdefault(_root(traced, source(layer)), []).append(layer)
    logits = _root(traced, traced.end)
    readers.setdefault(logits, [])
    found = {}
    for root in (step for step in traced.steps if step in readers):
        count = min(traced.shapes[n][1] for n in (root, *map(source, readers[root])))
        name = traced.layers[readers[root][0]] if readers[root] else "output"
        found[root] = Neurons(root, tuple(readers[root]), count, name)
    return found


def _root(traced: Traced, step: Node) -> Node:
    while traced.is_same(step):
        step = source(step)
    return step


class Signals:
    """Where the signals of a network are, with the weights kept as they are now.

    Args:
        traced: the network, with all weights kept.

    Attributes:
        neurons: those of each step that has any.
        could: of each step, where a signal would lead to an output if all weights were kept.
        reached: of each step, where a signal arrives from the image.
        leads: of each step, where a signal would lead to an output.
    """

    def __init__(self, traced: Traced) -> None:
        """Find the neurons, and where the dense network passes signals on."""
        self.traced, self.neurons = traced, neurons(traced)
        self.could: dict[Node, Tensor] = {}
        self.reached: dict[Node, Tensor] = {}
        self.leads: dict[Node, Tensor] = {}
        self.lead()
        self.could, self.leads = self.leads, {}

    def keep(self, masks: Mapping[str, Tensor]) -> None:
        """Keep the weights of masks; layers without a mask stay as they are."""
        for layer, name in self.traced.layers.items():
            if name in masks:
                self.traced.weight(layer).copy_(masks[name])

    def kept(self, masks: Iterable[str]) -> dict[str, Tensor]:
        """Give what is kept now of the weights of some layers, by name, on the CPU."""
        weights = {name: self.traced.weight(layer) for layer, name in self.traced.layers.items()}
        return {name: weights[name] > 0 for name in masks}

    def reach(self) -> None:
        """Go through the network from the image on and note where signals arrive."""
        self.reached = {}
        for step in self.traced.steps:
            self.arrive(step)
            if step in self.neurons:
                self.check_reached(self.neurons[step])

    def arrive(self, step: Node) -> None:
        """Note where signals arrive in one step, with those before it known."""
        if step is self.traced.steps[0]:
            self.reached[step] = torch.ones(self.traced.shapes[step])
        elif step in self.traced.shapes:
            self.reached[step] = self.traced.run(step, self.reached)

    def lead(self) -> None:
        """Go through the network from the outputs back and note where signals lead on."""
        self.leads = {n: torch.zeros(shape) for n, shape in self.traced.shapes.items()}
        self.leads[self.traced.end] += 1
        for step in reversed(self.traced.shapes):
            self.leads[step] = over(self.leads[step], False)
            if self.could and step in self.neurons:
                self.check_leads(self.neurons[step])
            if step is not self.traced.steps[0]:
                for node, part in self.traced.pull(step, self.leads[step]):
                    self.leads[node] += over(part, step in self.traced.layers)

    def check_reached(self, some: Neurons) -> None:
        """Look at neurons as soon as it is known which of them are reached."""

    def check_leads(self, some: Neurons) -> None:
        """Look at neurons as soon as it is known which of them lead on."""

    def unreached(self, some: Neurons) -> Tensor:
        """Tell which neurons nothing reaches in a place from where a signal could lead on."""
        return ~some.of(self.reached[some.root] * self.could[some.root]).any(1)

    def dead(self, some: Neurons) -> Tensor:
        """Tell which neurons have no place that is both reached and leading on."""
        return ~some.of(self.reached[some.root] * self.leads[some.root]).any(1)

    def counts(self) -> dict[str, int]:
        """Count the dead neurons by the name of their first reader, with signals as they were last looked at."""
        found: dict[str, int] = {}
        for some in self.neurons.values():
            found[some.name] = found.get(some.name, 0) + int(self.dead(some).sum())
        return found
