"""Runs as the claims judge them: with what they compare that no single run is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from .equal import equal_density, equal_flops
from .sweep import by_setting

AT_EQUAL_COST = ("rigl:erk", "rigl:uniform")
AT_EQUAL_DENSITY = ("str", "gmp~scope=layer")


def judged(frame: pd.DataFrame, usual: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Name the settings of a sweep apart, and add what is compared at equal cost or density.

    That is what uniform RigL reaches at the cost of RigL with ERK, and what gradual pruning with one density in all
    layers reaches at the densities that learned thresholds end with.

    Args:
        frame: table of runs.
        usual: dotted settings and values that count as the reference of a sweep, see `by_setting`.
    """
    named = by_setting(frame, usual) if usual else frame
    return equal_density(equal_flops(named, *AT_EQUAL_COST), *AT_EQUAL_DENSITY)
