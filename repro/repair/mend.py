"""Keep more weights until every neuron carries a signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.fx import Node

from ..errors import ReproError
from .choices import Choice, Feeder, columns, feeders, row
from .signals import Neurons, Signals
from .trace import Traced, over, source


class Mender(Signals):
    """Signals of a network to which weights are added.

    Args:
        traced: the network, with all weights kept.
        generator: what entries are drawn by.

    Attributes:
        added: how many entries have been added.
    """

    def __init__(self, traced: Traced, generator: torch.Generator) -> None:
        """Begin with nothing added."""
        super().__init__(traced)
        self.generator, self.added, self._stale = generator, 0, False
        self._feeders: dict[Node, list[Feeder]] = {}

    def mend(self) -> None:
        """Add entries until no neuron is dead, or nothing helps any more.

        Once forward and once back is enough, as more weights only spread signals, unless convolutions shift one off
        its map: then a neuron gets a whole path, and all is looked at again.

        Raises:
            ReproError: if neurons stay dead.
        """
        before = -1
        while self.added > before:
            before, self._stale = self.added, False
            self.reach()
            self.lead()
            left = [(name, count) for name, count in self.counts().items() if count]
            if not left:
                return
        name, count = left[0]
        where = "of the output" if name == "output" else f"before {name}"
        raise ReproError(
            f"repair: {count} neurons {where} stay without a signal whatever is kept: give larger images, or set "
            "ticket.flow to off"
        )

    def check_reached(self, some: Neurons) -> None:
        """Give each neuron that nothing reaches an entry in its row of a layer before it."""
        lacking = self.unreached(some)
        if not lacking.any():
            return
        if some.root not in self._feeders:
            self._feeders[some.root] = feeders(self.traced, some, self.could[some.root])
        before = self._feeders[some.root]
        links = [self.traced.links(f.layer, self.reached[source(f.layer)], f.where) for f in before]
        for neuron in lacking.nonzero().flatten().tolist():
            self._add([row(feeder, found, neuron) for feeder, found in zip(before, links, strict=True)])
        steps = self.traced.steps
        first = steps.index(before[0].layer if before else some.root)
        for step in steps[first : steps.index(some.root) + 1]:
            self.arrive(step)

    def check_leads(self, some: Neurons) -> None:
        """Give each neuron that is dead an entry in its column of a layer after it."""
        lacking = self.dead(some)
        if self._stale or not lacking.any():
            return
        shown, links = some.only(self.reached[some.root], lacking), []
        for layer in some.readers:
            taken = shown.view(self.traced.shapes[source(layer)])
            links.append((layer, self.traced.links(layer, taken, self.leads[layer])))
        for neuron in lacking.nonzero().flatten().tolist():
            self._add([columns(self.traced, layer, found, neuron, some.count) for layer, found in links])
        for layer in some.readers:
            for _, part in self.traced.pull(layer, self.leads[layer]):
                self.leads[some.root] = over(self.leads[some.root] + over(part, True).view_as(shown), False)
        for neuron in self.dead(some).nonzero().flatten().tolist():
            self._stale = self._lead_out(some, neuron) or self._stale

    def choose(self, choices: Sequence[Choice]) -> Sequence[Choice]:
        """Narrow choices down, none of which is empty, before one of what is left is drawn."""
        return choices

    def note(self, layer: Node, entry: int) -> None:
        """Take down that an entry has been added."""

    def _add(self, choices: Sequence[Choice]) -> bool:
        """Keep one entry: of a random layer among those with any to choose from, a random one."""
        choices = [c for c in choices if len(c.entries)]
        if not choices:
            return False
        choices = self.choose(choices)
        layer, entries = choices[self._draw(len(choices))]
        entry = int(entries[self._draw(len(entries))])
        self.traced.weight(layer).view(-1)[entry] = 1
        self.added += 1
        self.note(layer, entry)
        return True

    def _draw(self, below: int) -> int:
        return int(torch.randint(below, (1,), generator=self.generator, device=self.generator.device))

    def _lead_out(self, some: Neurons, neuron: int) -> bool:
        """Lead a neuron's signal on, layer by layer, to where others lead on; tell whether anything was added."""
        before, alone = self.added, torch.arange(some.count) == neuron
        signal = {some.root: some.only(self.reached[some.root] * self.could[some.root], alone)}
        for step in self.traced.steps:
            takes = [n for n in step.all_input_nodes if n in self.traced.shapes]
            if step not in self.traced.shapes or not any(n in signal for n in takes):
                continue
            given = {n: signal.get(n, torch.zeros(self.traced.shapes[n])) for n in takes}
            if step in self.traced.layers:
                if self._add([self._through(step, given, self.leads)]):
                    break
                if not (self.traced.run(step, given) * self.could[step]).any():
                    self._add([self._through(step, given, self.could)])
            signal[step] = self.traced.run(step, given) * self.could[step]
        return self.added > before

    def _through(self, layer: Node, given: Mapping[Node, Tensor], wanted: Mapping[Node, Tensor]) -> Choice:
        found = self.traced.links(layer, given[source(layer)], wanted[layer])
        return Choice(layer, found.flatten().nonzero().flatten())
