"""Plans of masks that move: which choices a method makes, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from ..units import Reduction

Part = Annotated[float, Field(gt=0, le=1)]
Unit = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Decay = Literal["cosine", "linear", "constant", "exponential"]
Drop = Literal["magnitude", "threshold", "set_signed", "taylor"]
Grow = Literal["random", "random_unfired", "gradient", "momentum", "momentum_neuron"]
Redistribute = Literal["none", "nonzero", "gradient", "momentum"]
Regrown = Literal["zero", "weight", "momentum", "keep"]
Role = Literal["first", "last", "shortcut"]
Timing = Literal["replace", "after"]
Scope = Literal["global", "layer", "layer_plus"]
Rank = Literal["magnitude", "taylor", "synflow"]
Flow = Literal["off", "add", "move"]


@dataclass(frozen=True)
class Regrow:
    """Drop the least useful living entries of each layer and grow as many anew; fields as in `drop_and_grow`."""

    alpha: float
    until: float
    decay: str
    power: float
    floor: float
    drop: str
    grow: str
    redistribute: str
    dense_momentum: bool
    rounding: str
    regrown: str
    sampling: str
    noise: float = 0.0
    temper: bool = False
    kernel_drop: Reduction = "mean"
    kernel_grow: Reduction = "mean"

    @property
    def looks_at(self) -> set[str]:
        """Name what an update needs to see besides weights: "gradient", "momentum", "explored"."""
        sights = {"random_unfired": "explored", "momentum_neuron": "momentum"}
        found = {sights.get(self.grow, self.grow), self.redistribute}
        return (found | ({"gradient"} if self.drop == "taylor" else set())) & {
            "gradient",
            "momentum",
            "explored",
        }


@dataclass(frozen=True)
class Prune:
    """Remove the least useful weights on a cubic schedule; fields as in `gmp`."""

    density: float
    until: float
    scope: str
    keep_dense: tuple[str, ...]
    rank: str = "magnitude"

    @property
    def looks_at(self) -> set[str]:
        """Name what an update needs to see besides weights: "gradient", "score"."""
        return {{"taylor": "gradient", "synflow": "score"}.get(self.rank, "")} - {""}


@dataclass(frozen=True)
class Plan:
    """When masks move, and how: at every `interval`-th step from the share `begin` of the training on.

    With both parts an update prunes first, and then drops and grows within what is left.
    """

    interval: int
    begin: float
    update: str
    regrow: Regrow | None = None
    prune: Prune | None = None
    flow: Flow = "off"

    @property
    def until(self) -> float:
        """Share of the training after which masks stay."""
        return max(part.until for part in (self.regrow, self.prune) if part)

    @property
    def dense_momentum(self) -> bool:
        """Whether the optimiser's state is kept for pruned weights too, from dense gradients at every step."""
        return bool(self.regrow and self.regrow.dense_momentum)

    @property
    def dense_gradient(self) -> bool:
        """Whether an update that grows looks at the slope of weights that do not live."""
        return bool(self.regrow and self.regrow.grow == "gradient")
