"""Curves of runs in TensorBoard or Weights & Biases, on request; without one nothing here is imported or written."""

from __future__ import annotations

from .curves import catch_up, folder, require, tracked, watch
from .kinds import KINDS

__all__ = ["KINDS", "catch_up", "folder", "require", "tracked", "watch"]
