"""How many weights a layer must keep at least, by the shape of the network alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch.fx import Node

from .signals import Neurons
from .trace import Traced


def fewest(traced: Traced, neurons: Iterable[Neurons]) -> dict[str, int]:
    """Find how many weights each layer needs, were they wherever one likes.

    Each neuron to which all paths lead through the layer needs a weight of it, and so does each from which all
    lead on through it; a weight may serve one of either kind. Layers that share the neurons they serve, as a block
    and its shortcut, may need more than is counted here.

    Args:
        traced: the network.
        neurons: its neurons.

    Returns:
        Parameter name of each layer's weight -> a lower bound.
    """
    found = dict.fromkeys(traced.layers.values(), 0)
    for layer, name in traced.layers.items():
        fed = _spread(layer, _users, lambda step: step not in traced.layers)
        others = _spread(traced.steps[0], _users, lambda step, layer=layer: step is not layer)
        onward = _spread(traced.end, _sources, lambda step, layer=layer: step is not layer)
        for some in neurons:
            lone = some.root in fed and some.root not in others
            if lone or (layer in some.readers and some.root not in onward):
                found[name] = max(found[name], some.count)
    return found


def _users(step: Node) -> Iterable[Node]:
    return step.users


def _sources(step: Node) -> Iterable[Node]:
    return step.all_input_nodes


def _spread(start: Node, to: Callable[[Node], Iterable[Node]], through: Callable[[Node], bool]) -> set[Node]:
    """Collect the steps that can be reached from one, itself among them, by those that let pass."""
    found, fresh = {start}, [start]
    while fresh:
        more = {step for step in to(fresh.pop()) if through(step)} - found
        found |= more
        fresh += more
    return found
