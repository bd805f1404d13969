"""Dynamic sparse training: masks that move while the network trains. Pure functions; `repro.mover` applies them."""

from .cost import STEP, step_cost, train_ratio
from .decays import DECAYS, fraction
from .drops import DROPS
from .gradual import RANKS, cubic, layer_counts, least, prune
from .grows import GROWS
from .learned import Learned, Popup, Soft
from .methods import METHODS
from .plans import Plan, Prune, Regrow
from .shares import STATISTICS, apportion, layer_shares
from .timetable import Timetable
from .update import drop_and_grow, quotas
from .views import View

__all__ = [
    "DECAYS",
    "DROPS",
    "GROWS",
    "METHODS",
    "RANKS",
    "STATISTICS",
    "STEP",
    "Learned",
    "Plan",
    "Popup",
    "Prune",
    "Regrow",
    "Soft",
    "Timetable",
    "View",
    "apportion",
    "cubic",
    "drop_and_grow",
    "fraction",
    "layer_counts",
    "layer_shares",
    "least",
    "prune",
    "quotas",
    "step_cost",
    "train_ratio",
]
