"""What training costs, as a multiple of what the dense network costs (Evci et al. 2020, appendix H).

A step of the dense network takes three times its forward pass: once forward, and backward once for the inputs and
once for the weights. Where only living weights take part, so much less.
"""

from __future__ import annotations

from .learned import Learned, Popup
from .plans import Plan

STEP = 3.0  # forward passes in one step


def step_cost(share: float, dense_gradient: bool) -> float:
    """Give the cost of one step in forward passes of the dense network.

    Args:
        share: forward pass of the sparse network over that of the dense one, in [0, 1].
        dense_gradient: whether the slope of every weight is computed, not only of the living ones.
    """
    return 2 * share + (1.0 if dense_gradient else share)


def train_ratio(share: float, plan: Plan | Learned | None, longer: float = 1.0) -> float:
    """Give the training cost by the published formula, over that of the dense network for its usual length.

    RigL needs one dense gradient in interval + 1 steps, SNFS one in every step, and so does edge-popup for its
    scores; the others need none. For gradual pruning and learned thresholds this is the published table's convention:
    the mean share, as if each step cost what its mask allows. GraNet does both, and so pays for both.

    Args:
        share: forward pass of the sparse network over that of the dense one, averaged over the training.
        plan: how masks move or are learned; None for static masks.
        longer: factor on the length of the training.
    """
    dense = 0.0
    if isinstance(plan, Popup) or (isinstance(plan, Plan) and plan.dense_momentum):
        dense = 1.0
    elif isinstance(plan, Plan) and plan.dense_gradient:
        dense = 1 / (plan.interval + 1)
    return longer * (dense * step_cost(share, True) + (1 - dense) * step_cost(share, False)) / STEP
