"""How much wider than a network a random mask must be to hold it, beside what the theory says. Imports no torch."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from .errors import ReproError


def rate(density: float) -> float:
    """Give log(1 / (1 - density)), how fast the chance of no link falls with each copy.

    Raises:
        ReproError: when the density is not in (0, 1].
    """
    if not 0 < density <= 1:
        raise ReproError(f"density {density:g} of a random mask: give a fraction above 0 and up to 1")
    return -math.log1p(-density) if density < 1 else math.inf


def needed(frame: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Find the width from which on random masks hold their targets, beside what the theory says.

    Args:
        frame: of `study`; density 1, which needs no copies, is left out.
        tolerance: largest mean error that counts as held, in (0, 1).

    Returns:
        density, n (draws), width (smallest tried from which on the mean error stays within the tolerance; NaN if
        none), crossing (where the logarithm of the mean error, taken as straight from the width before, reaches the
        tolerance, so that whole numbers do not matter; NaN where no width is small or large enough) with low and
        high (95 % t interval from leaving out one draw at a time), scaled (crossing * log(1 / (1 - density))), theory
        (c / log(1 / (1 - density)), with c the geometric mean of scaled), ratio (crossing / theory) and tolerance.

    Raises:
        ReproError: when the tolerance is not in (0, 1).
    """
    if not 0 < tolerance < 1:
        raise ReproError(f"tolerance {tolerance:g} of a relative error: give a fraction between 0 and 1")
    made = []
    for density, own in frame[frame["density"] < 1].groupby("density"):
        errors = own.pivot(index="seed", columns="width", values="error")
        width, crossing = _crossing(errors.mean(), tolerance)
        half = _half_width(errors, tolerance)
        ends = {"low": crossing - half, "high": crossing + half}
        made.append({"density": density, "n": len(errors), "width": width, "crossing": crossing} | ends)
    table = pd.DataFrame(made, columns=["density", "n", "width", "crossing", "low", "high"])
    rates = table["density"].map(rate).astype(float)
    table["scaled"] = table["crossing"].astype(float) * rates
    table["theory"] = np.exp(np.log(table["scaled"]).mean()) / rates
    return table.assign(ratio=table["crossing"] / table["theory"], tolerance=tolerance)


def _crossing(errors: pd.Series, tolerance: float) -> tuple[float, float]:
    """Give the first width from which on errors stay within the tolerance, and the place before it where they meet.

    Args:
        errors: mean for each width, which are its index, in rising order.
        tolerance: as in `needed`.
    """
    widths, beyond = errors.index.to_numpy(dtype=float), np.flatnonzero(errors > tolerance)
    at = beyond[-1] + 1 if len(beyond) else 0
    if at == len(widths):
        return np.nan, np.nan
    if at == 0:
        return float(widths[0]), np.nan
    before, after = np.log(np.maximum(errors.iloc[at - 1 : at + 1], tolerance / 100) / tolerance)
    share = before / (before - after)
    return float(widths[at]), float(widths[at - 1] + share * (widths[at] - widths[at - 1]))


def _half_width(errors: pd.DataFrame, tolerance: float) -> float:
    """Give half of the jackknife's 95 % t interval of the crossing; NaN where a crossing is not known."""
    n = len(errors)
    if n < 2:
        return np.nan
    without = np.asarray([_crossing(errors.drop(index=draw).mean(), tolerance)[1] for draw in errors.index])
    return float(stats.t.ppf(0.975, n - 1) * without.std() * np.sqrt(n - 1))


def spread(frame: pd.DataFrame, tolerance: float = 0.1) -> float:
    """Tell by how much the scale fails to hold: the largest ratio of needed / theory between two densities; 1 is best.

    Raises:
        ReproError: when the width needed is known for fewer than two densities, or the tolerance is no fraction.
    """
    ratios = needed(frame, tolerance)["ratio"].dropna()
    if len(ratios) < 2:
        raise ReproError(
            f"needed width at tolerance {tolerance:g}: known for {len(ratios)} densities, give other widths"
        )
    return float(ratios.max() / ratios.min())
