"""How the fraction of entries that an update moves falls in the course of training: a menu.

Each takes the progress towards the end of the updates, in [0, 1], and gives the factor on the first fraction.
"""

from __future__ import annotations

import math
from collections.abc import Callable

DECAYS: dict[str, Callable[[float, float], float]] = {
    "cosine": lambda progress, power: (1 + math.cos(math.pi * progress)) / 2,  # Evci et al. 2020, equation 1
    "linear": lambda progress, power: 1 - progress,
    "constant": lambda progress, power: 1.0,
    "exponential": lambda progress, power: (
        (1 - progress) ** power
    ),  # inverse power, Evci et al. 2020, appendix G
}


def fraction(decay: str, progress: float, *, first: float, floor: float = 0.0, power: float = 3.0) -> float:
    """Give the fraction of living entries to move.

    Args:
        decay: name in DECAYS.
        progress: steps done over the step at which updates end, in [0, 1].
        first: the fraction at progress 0.
        floor: the fraction at progress 1 (Gadhikar et al.'s code: 0.005).
        power: exponent of "exponential".
    """
    return floor + (first - floor) * DECAYS[decay](min(1.0, max(0.0, progress)), power)
