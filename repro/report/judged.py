"""Runs as the claims judge them: with what they compare that no single run is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from .equal import equal_flops
from .sweep import by_setting

AT_EQUAL_COST = ("rigl:erk", "rigl:uniform")


def judged(frame: pd.DataFrame, usual: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Name the settings of a sweep apart, and add what uniform RigL reaches at the cost of RigL with ERK.

    Args:
        frame: table of runs.
        usual: dotted settings and values that count as the reference of a sweep, see `by_setting`.
    """
    return equal_flops(by_setting(frame, usual) if usual else frame, *AT_EQUAL_COST)
