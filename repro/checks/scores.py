"""Sanity checks on scores: keep what they are made of and change the order in which weights go."""

from __future__ import annotations

from collections.abc import Callable

from ..pruners import Scores


def invert(scores: Scores) -> Scores:
    """Turn the ranking upside down, so that the ticket keeps what the method would remove first.

    Source: Tanaka et al. 2020, code (option `invert`).

    Args:
        scores: by layer, of any sign; they stay as they are.

    Differs from the reference: that takes 1 / score, which turns the ranking of positive scores only (GraSP's
    have either sign, and then it is no longer upside down) and makes infinity of a zero. Ours is -score, which
    turns any ranking.
    """
    return {name: -(x if x.is_floating_point() else x.double()) for name, x in scores.items()}


SCORE_CHECKS: dict[str, Callable[[Scores], Scores]] = {"invert": invert}
