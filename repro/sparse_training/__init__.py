"""Dynamic sparse training: masks that move while the network trains. Pure functions; `repro.mover` applies them."""

from .cost import STEP, step_cost, train_ratio
from .decays import DECAYS, fraction
from .drops import DROPS
from .grows import GROWS
from .methods import METHODS, Plan, Prune, Regrow
from .shares import STATISTICS, apportion, layer_shares
from .update import cubic, drop_and_grow, prune, quotas
from .views import View

__all__ = [
    "DECAYS",
    "DROPS",
    "GROWS",
    "METHODS",
    "STATISTICS",
    "STEP",
    "Plan",
    "Prune",
    "Regrow",
    "View",
    "apportion",
    "cubic",
    "drop_and_grow",
    "fraction",
    "layer_shares",
    "prune",
    "quotas",
    "step_cost",
    "train_ratio",
]
