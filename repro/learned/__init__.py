"""Masks that are learned by gradients: what weights are computed from in training, and what is left at the end."""

from .attach import parametrize_, parts_of, plain_, plain_state
from .learner import Learner
from .soft import SoftThreshold
from .subnetwork import Subnetwork, choose, level_counts

__all__ = [
    "Learner",
    "SoftThreshold",
    "Subnetwork",
    "choose",
    "level_counts",
    "parametrize_",
    "parts_of",
    "plain_",
    "plain_state",
]
