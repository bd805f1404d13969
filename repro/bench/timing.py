"""Measuring two ways of doing the same work side by side, and what the seconds say. Imports no torch.

Speeds drift: a neighbour wakes up, a processor heats. So rivals take turns in one process, each round gives one pair,
and a speed-up is the median of the ratios of pairs, not the ratio of two medians taken at different times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import ReproError


class Spread(NamedTuple):
    """Median and quartiles of n values; all three are the value itself when there is one."""

    n: int
    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Give the median and the lower and upper quartile (linear interpolation between values).

    Raises:
        ReproError: when there is no value.
    """
    if not values:
        raise ReproError("bench: nothing was measured; give --repeats 1 or more")
    low, median, high = (float(x) for x in np.percentile(values, [25, 50, 75]))
    return Spread(len(values), median, low, high)


def ratios(plain: Sequence[float], ours: Sequence[float]) -> list[float]:
    """Divide the times of each pair: above 1 where ours is faster.

    Args:
        plain: seconds of the plain way, round by round.
        ours: seconds of our way in the same rounds.
    """
    return [p / o for p, o in zip(plain, ours, strict=True)]


def interleaved(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 1,
    per_turn: int = 1,
    synchronise: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Let the works take turns and time each turn; every other round goes backwards.

    Args:
        works: functions by name.
        rounds: how many times each is measured, at least 1.
        warm_up: rounds before, which do not count.
        per_turn: calls in one turn; more than one where a call is too short for the clock.
        synchronise: called before the clock is read, to wait for a device that works by itself.
        clock: gives seconds.

    Returns:
        Seconds of one call, by name, round by round.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(-warm_up, rounds):
        for name in list(works)[:: -1 if number % 2 else 1]:
            synchronise()
            began = clock()
            for _ in range(per_turn):
                works[name]()
            synchronise()
            if number >= 0:
                times[name].append((clock() - began) / per_turn)
    return times
