"""Jackpot: lottery tickets and pruning at initialisation, checked. What notebooks use is exported here, lazily."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import claims, existence, report, stats, tuning
    from .errors import ReproError
    from .experiment import make_ticket, run
    from .grids import expand, params, plan
    from .masks import Masks, Ticket
    from .pool import run_all
    from .record import load
    from .settings import Settings

__version__ = "0.1.0"
_HOMES = {
    "ReproError": "errors",
    "make_ticket": "experiment",
    "run": "experiment",
    "Masks": "masks",
    "Ticket": "masks",
    "expand": "grids",
    "params": "grids",
    "plan": "grids",
    "run_all": "pool",
    "load": "record",
    "Settings": "settings",
    "claims": "",
    "existence": "",
    "report": "",
    "stats": "",
    "tuning": "",
}
__all__ = [
    "Masks",
    "ReproError",
    "Settings",
    "Ticket",
    "claims",
    "existence",
    "expand",
    "load",
    "make_ticket",
    "params",
    "plan",
    "report",
    "run",
    "run_all",
    "stats",
    "tuning",
]


def __getattr__(name: str) -> Any:
    """Import an exported name when it is first used, so that `repro status` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'repro' has no attribute {name!r}")
    home = _HOMES[name]
    found = (
        getattr(import_module(f".{home}", __name__), name) if home else import_module(f".{name}", __name__)
    )
    globals()[name] = found
    return found
