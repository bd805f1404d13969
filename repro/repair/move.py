"""Move kept weights to where neurons lack them, so that every layer keeps as many as before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.fx import Node

from ..errors import ReproError
from ..masks import Masks
from .bounds import fewest
from .choices import Choice, takers
from .mend import Mender
from .trace import Traced

ATTEMPTS = 8  # four are enough even for layers that keep one weight for each channel
WHOLE, ANEW, THRIFTY = 0, 1, 2  # how a layer is begun, and what it prefers


class Mover(Mender):
    """Signals of a network in which kept weights are moved.

    An attempt finds weights that suffice for every neuron; the other places of each layer then go to old weights.
    It begins with the old masks, but with nothing of those layers that in the attempt before needed more than they
    keep. Such a layer takes old weights wherever one helps; if that is still too many, it takes weights that serve
    two neurons that lack one, at either end.

    Args:
        traced: the network, with all weights kept.
        generator: what entries are drawn by.
        masks: what is kept.
    """

    def __init__(self, traced: Traced, generator: torch.Generator, masks: Masks) -> None:
        """Begin with what the masks keep."""
        super().__init__(traced, generator)
        self._old, self._kept = masks, masks.kept_per_layer()
        self._ways = dict.fromkeys(masks, WHOLE)
        self._reads = {layer: some for some in self.neurons.values() for layer in some.readers}
        self._count: dict[str, int] = {}
        self._used: dict[Node, Tensor] = {}

    def move(self) -> Masks:
        """Give masks without dead neurons that keep as much of each layer as the old ones.

        Raises:
            ReproError: if a layer keeps too few weights, or if neurons stay dead whatever is kept.
        """
        self._afford(fewest(self.traced, self.neurons.values()))
        for _ in range(ATTEMPTS):
            self._begin()
            self.mend()
            over = [name for name, kept in self._kept.items() if self._count[name] > kept]
            if not over:
                break
            self._ways.update({name: min(self._ways[name] + 1, THRIFTY) for name in over})
        self._afford(self._count)
        found = self.kept(self._old)
        return Masks({name: self._filled(mask, found[name]) for name, mask in self._old.items()})

    def _afford(self, needed: Mapping[str, int]) -> None:
        for name, kept in self._kept.items():
            if needed[name] > kept:
                raise ReproError(
                    f"repair: {name} keeps {kept} weights, but the neurons before and behind it need {needed[name]}: "
                    "use add, or raise ticket.density"
                )

    def choose(self, choices: Sequence[Choice]) -> Sequence[Choice]:
        """Prefer layers with room, then old weights, then those that serve two neurons; thrifty layers, the last."""
        rates = [self._rate(choice) for choice in choices]
        best = max(int(rate.max()) for rate in rates)
        left = [Choice(c.layer, c.entries[rate == best]) for c, rate in zip(choices, rates, strict=True)]
        return [choice for choice in left if len(choice.entries)]

    def note(self, layer: Node, entry: int) -> None:
        """Take down that an entry has been added."""
        self._count[self.traced.layers[layer]] += 1
        self._use(layer, torch.tensor([entry]))

    def _begin(self) -> None:
        start = {n: m if self._ways[n] == WHOLE else torch.zeros_like(m) for n, m in self._old.items()}
        self.keep(start)
        self._count = {name: int(mask.count_nonzero()) for name, mask in start.items()}
        self._used = {n: torch.zeros(some.count, dtype=torch.bool) for n, some in self.neurons.items()}
        for layer in self._reads:
            self._use(layer, self.traced.weight(layer).flatten().nonzero().flatten())

    def _use(self, layer: Node, entries: Tensor) -> None:
        some = self._reads[layer]
        self._used[some.root][takers(self.traced, layer, entries, some.count)] = True

    def _rate(self, choice: Choice) -> Tensor:
        some, name = self._reads[choice.layer], self.traced.layers[choice.layer]
        old = self._old[name].view(-1)[choice.entries]
        lone = ~self._used[some.root][takers(self.traced, choice.layer, choice.entries, some.count)]
        first, second = (lone, old) if self._ways[name] == THRIFTY else (old, lone)
        room = self._count[name] < self._kept[name]
        return first.byte() * 2 + second + 4 * room

    def _filled(self, old: Tensor, needed: Tensor) -> Tensor:
        rest = (old & ~needed).flatten().nonzero().flatten()
        some = torch.randperm(len(rest), generator=self.generator, device=self.generator.device).to(
            rest.device
        )
        filled = needed.clone()
        filled.view(-1)[rest[some[: int(old.count_nonzero()) - int(needed.count_nonzero())]]] = True
        return filled
