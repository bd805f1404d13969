"""A search over settings: trials chosen by mean validation accuracy over seeds, every run of them recorded."""

from __future__ import annotations

from .results import ranking, studies
from .search import tune
from .study import Study
from .words import preview, told

__all__ = ["Study", "preview", "ranking", "studies", "told", "tune"]
