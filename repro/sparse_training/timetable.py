"""When masks move, and by how much: a plan laid over the steps of one training."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ReproError
from .decays import fraction
from .gradual import cubic
from .plans import Plan, Prune, Regrow

NOISE = 1e-9  # of a share times a number of steps


@dataclass(frozen=True)
class Timetable:
    """The steps, from 0, at which each part of a plan is due.

    Args:
        plan: when masks move and how.
        steps: optimisation steps of the whole training, updates included.
    """

    plan: Plan
    steps: int

    def last(self, part: Prune | Regrow) -> int:
        """Find the last step at which a part is due."""
        end = int(part.until * self.steps - NOISE)
        return (end + 1) // self.plan.interval * self.plan.interval - 1

    def within(self, part: Prune | Regrow | None, number: int) -> bool:
        """Tell whether a part is due at a step."""
        begin = self.plan.begin * self.steps - NOISE
        return bool(part and (number + 1) % self.plan.interval == 0 and begin <= number <= self.last(part))

    def due(self, number: int) -> bool:
        """Tell whether masks move at a step."""
        return any(self.within(part, number) for part in (self.plan.prune, self.plan.regrow))

    def dense(self, number: int) -> bool:
        """Tell whether a step needs the slope of every weight, not only of the living ones."""
        plan = self.plan
        return plan.dense_momentum or (plan.dense_gradient and self.within(plan.regrow, number))

    def removes(self, number: int) -> bool:
        """Tell whether a step at which masks move prunes: until the density is reached, or to take back what is added."""
        part, adds = self.plan.prune, self.plan.flow == "add"
        return self.within(part, number) or bool(part and adds and number > self.last(part))

    def density(self, part: Prune, number: int, first: float) -> float:
        """Give the density that a step prunes to.

        Args:
            part: the pruning; its last step reaches its density.
            number: of the step.
            first: density at the start of pruning.
        """
        begin, last = self.plan.begin * self.steps, self.last(part)
        progress = 1.0 if number >= last else (number - begin) / max(1.0, last - begin)
        return cubic(first, part.density, progress)

    def alpha(self, part: Regrow, number: int) -> float:
        """Give the fraction of living entries that a step moves."""
        progress = number / max(1.0, part.until * self.steps)
        return fraction(part.decay, progress, first=part.alpha, floor=part.floor, power=part.power)

    def check(self) -> None:
        """Raise ReproError when the training is too short for a single update of any part."""
        for part in (self.plan.prune, self.plan.regrow):
            if part and self.last(part) < self.plan.begin * self.steps - NOISE:
                raise ReproError(
                    f"sparse.interval: no update in {self.steps} steps of training, of which shares "
                    f"{self.plan.begin:g} to {part.until:g} are for updates; lower it from {self.plan.interval}"
                )
