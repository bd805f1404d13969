"""What is done to a ticket's kept weights before training: a menu (being written; replace this file)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

ADJUSTMENTS: dict[str, Callable[..., Mapping[str, Tensor]]] = {}
