"""Sanity checks: they spoil one property of a ticket, its scores or the data it is found with, and no other."""

from __future__ import annotations

from .data import DATA_CHECKS
from .masks import MASK_CHECKS
from .scores import SCORE_CHECKS

__all__ = ["DATA_CHECKS", "MASK_CHECKS", "SCORE_CHECKS"]
