"""Which entries of which layers could give a neuron a signal, or lead its signal on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.fx import Node

from .signals import Neurons
from .trace import Traced, over


class Feeder(NamedTuple):
    """A layer from which neurons take signals, with no other layer in between.

    Args:
        layer: the step.
        rows: for each of its output channels the number of the neuron that it feeds, from 0; -1 for none.
        where: map of what it gives: 1 where the neurons could get a signal that leads to an output.
    """

    layer: Node
    rows: Tensor
    where: Tensor


class Choice(NamedTuple):
    """Entries of a layer's weight, as indices into the flat weight, of which one may be kept."""

    layer: Node
    entries: Tensor


def feeders(traced: Traced, some: Neurons, could: Tensor) -> list[Feeder]:
    """Find the layers that feed neurons: through additions and pools there may be several.

    The numbers of the neurons are sent back as slopes; divided by slopes that have no numbers, they say whom each
    channel of a layer feeds.

    Args:
        traced: the network.
        some: the neurons.
        could: map of their root: 1 where a signal could lead to an output.

    Returns:
        The layers in the order in which they run.
    """
    numbers = some.only(could, torch.arange(1, some.count + 1))
    weighted, weights = _back(traced, some.root, numbers), _back(traced, some.root, could)
    found = []
    for layer in (step for step in traced.layers if step in weights):
        total, weight = (x[layer].transpose(0, 1).flatten(1).sum(1) for x in (weighted, weights))
        mean = total / weight.clamp_min(torch.finfo(weight.dtype).tiny)
        found.append(Feeder(layer, mean.round().long() - 1, over(weights[layer], False)))
    return found


def _back(traced: Traced, root: Node, slope: Tensor) -> dict[Node, Tensor]:
    slopes, found = {root: slope}, {}
    for step in reversed(traced.steps):
        if step in slopes and step in traced.layers:
            found[step] = slopes[step]
        elif step in slopes and step is not traced.steps[0]:
            for node, part in traced.pull(step, slopes[step]):
                slopes[node] = slopes[node] + part if node in slopes else part
    return found


def row(feeder: Feeder, links: Tensor, neuron: int) -> Choice:
    """List the entries that would feed a neuron.

    Args:
        feeder: the layer.
        links: its entries that could bring a signal; boolean, of the weight's shape.
        neuron: its number.
    """
    rows, flat = (feeder.rows == neuron).nonzero().flatten(), links.flatten(1)
    at, place = flat[rows].nonzero().unbind(1)
    return Choice(feeder.layer, rows[at] * flat.shape[1] + place)


def columns(traced: Traced, layer: Node, links: Tensor, neuron: int, count: int) -> Choice:
    """List the entries that would lead a neuron's signal on.

    Args:
        traced: the network.
        layer: a layer that takes the neuron, as one channel or as several features.
        links: its entries that could lead one on; boolean, of the weight's shape.
        neuron: its number.
        count: number of neurons that the layer takes.
    """
    groups, inputs = traced.groups(layer), links.shape[1]
    outputs, share = len(links) // groups, groups * inputs // count
    block, found = links.view(groups, outputs, inputs, -1), []
    for column in range(neuron * share, (neuron + 1) * share):
        group, at = divmod(column, inputs)
        rows, place = block[group, :, at].nonzero().unbind(1)
        found.append(((group * outputs + rows) * inputs + at) * block.shape[3] + place)
    return Choice(layer, torch.cat(found))


def takers(traced: Traced, layer: Node, entries: Tensor, count: int) -> Tensor:
    """Number the neurons that entries take their signal from: the reverse of `columns`.

    Args:
        traced: the network.
        layer: whose weight.
        entries: indices into the flat weight.
        count: number of neurons that the layer takes.
    """
    weight, groups = traced.weight(layer), traced.groups(layer)
    inputs, filter_ = weight.shape[1], weight.stride(0)
    column = entries % filter_ // (filter_ // inputs)
    if groups > 1:
        column = column + entries // (len(weight) // groups * filter_) * inputs
    share = groups * inputs // count
    return column if share == 1 else column // share
