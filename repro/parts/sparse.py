"""How masks move, or are learned, while a network trains."""

from __future__ import annotations

from pydantic import model_validator

from ..errors import ReproError
from ..section import Section
from ..sparse_training import METHODS, Plan


class Sparse(Section):
    """How masks move while the network trains."""

    menus = {"method": METHODS}
    method: str = "static"

    @property
    def plan(self) -> Plan | None:
        """When masks move and how; None when they stay."""
        return METHODS[self.method](**self.options("method"))

    @model_validator(mode="after")
    def _all_used(self) -> Sparse:
        changed, plan = self.changed(), self.plan
        regrow = plan and plan.regrow
        if plan and plan.until <= plan.begin:
            raise ReproError(
                f"sparse.until: {plan.until:g} is not after sparse.begin; masks would never move"
            )
        if not regrow:
            return self
        if "power" in changed and regrow.decay != "exponential":
            raise ReproError(
                f"sparse.power: not used by decay {regrow.decay!r}, only by exponential; remove it"
            )
        if regrow.sampling != "exact" and regrow.grow != "random":
            raise ReproError(f"sparse.sampling: not used by grow {regrow.grow!r}, only by random; remove it")
        if "floor" in changed and regrow.decay == "constant":
            raise ReproError("sparse.floor: not used by decay 'constant'; remove it")
        blind = regrow.grow in ("random", "random_unfired") and not {"gradient", "momentum"} & regrow.looks_at
        if "kernel_grow" in changed and blind:
            raise ReproError(f"sparse.kernel_grow: not used by grow {regrow.grow!r}; remove it")
        if regrow.floor > regrow.alpha:
            raise ReproError(f"sparse.floor: {regrow.floor:g} is above sparse.alpha; fractions fall")
        if regrow.dense_momentum and "momentum" not in regrow.looks_at:
            raise ReproError(
                "sparse.dense_momentum: nothing looks at the momentum of pruned weights; remove it, or grow by momentum"
            )
        return self
