"""Which options of masks that move make sense together, and with the rest of a run."""

from __future__ import annotations

from collections.abc import Collection

from ..errors import ReproError
from ..sparse_training import Plan, Prune, Regrow
from .basics import Optim
from .ticket import Ticket


def check_plan(plan: Plan, changed: Collection[str]) -> None:
    """Refuse options that would change nothing, or that exclude each other.

    Args:
        plan: what the options say.
        changed: names of those that differ from their defaults.

    Raises:
        ReproError: on the first of them.
    """
    later = "regrow_until" if plan.prune else "until"
    for key, part in (("until", plan.prune), (later, plan.regrow)):
        if part and part.until <= plan.begin:
            raise ReproError(
                f"sparse.{key}: {part.until:g} is not after sparse.begin; masks would never move"
            )
    if plan.regrow:
        _check_regrow(plan.regrow, changed)


def _check_regrow(regrow: Regrow, changed: Collection[str]) -> None:
    if "power" in changed and regrow.decay != "exponential":
        raise ReproError(f"sparse.power: not used by decay {regrow.decay!r}, only by exponential; remove it")
    if regrow.sampling != "exact" and regrow.grow != "random":
        raise ReproError(f"sparse.sampling: not used by grow {regrow.grow!r}, only by random; remove it")
    if "floor" in changed and regrow.decay == "constant":
        raise ReproError("sparse.floor: not used by decay 'constant'; remove it")
    blind = regrow.grow in ("random", "random_unfired") and not {"gradient", "momentum"} & regrow.looks_at
    if "kernel_grow" in changed and blind:
        raise ReproError(f"sparse.kernel_grow: not used by grow {regrow.grow!r}; remove it")
    if regrow.floor > regrow.alpha:
        raise ReproError(f"sparse.floor: {regrow.floor:g} is above sparse.alpha; fractions fall")
    if regrow.dense_momentum and "momentum" not in regrow.looks_at:
        raise ReproError(
            "sparse.dense_momentum: nothing looks at the momentum of pruned weights; remove it, or grow by momentum"
        )
    if regrow.grow in ("momentum", "momentum_neuron") and not regrow.dense_momentum:
        raise ReproError(
            f"sparse.grow: {regrow.grow!r} looks at the momentum of pruned weights, which is 0 without "
            "sparse.dense_momentum; set that to true"
        )


def check_moves(plan: Plan, method: str, changed: Collection[str], ticket: Ticket, optim: Optim) -> None:
    """Refuse moving masks that a run's ticket or optimiser does not allow.

    Args:
        plan: when masks move and how.
        method: its name.
        changed: names of the options that differ from their defaults.
        ticket: what the run starts from.
        optim: what it trains with.

    Raises:
        ReproError: with what to change.
    """
    if not plan.prune and ticket.score is None:
        raise ReproError(
            f"sparse.method: {method!r} moves masks, and this run starts dense; name a ticket.score"
        )
    if not plan.prune and ticket.target == 1:
        raise ReproError(f"sparse.method: {method!r} moves nothing at density 1; lower ticket.density")
    if ticket.norms:
        raise ReproError(f"ticket.norms: sparse.method {method!r} moves no batch-norm scales; remove it")
    if plan.prune:
        _check_prune(plan.prune, bool(plan.regrow), method, ticket)
    kernels = {"kernel_drop", "kernel_grow"} & set(changed)
    if kernels and ticket.unit != "kernel":
        raise ReproError(f"sparse.{kernels.pop()}: used only with ticket.unit 'kernel'; remove it")
    if plan.flow != "off" and ticket.unit == "kernel":
        raise ReproError("sparse.flow: single weights are repaired, not ticket.unit 'kernel'; remove it")
    momentum = optim.options("optimizer").get("momentum", 1)
    if plan.regrow and "momentum" in plan.regrow.looks_at and not momentum:
        raise ReproError(
            f"sparse.method: {method!r} looks at the optimiser's momentum, which is off; raise optim.momentum"
        )


def _check_prune(prune: Prune, grows: bool, method: str, ticket: Ticket) -> None:
    if prune.density > ticket.target:
        raise ReproError(
            f"sparse.density: {prune.density:g} is above ticket.density, and weights are only removed"
        )
    if prune.density == ticket.target and (ticket.target == 1 or not grows):
        raise ReproError(f"sparse.density: the run starts at {prune.density:g}, and nothing goes; lower it")
    if prune.scope == "layer_plus" and "last" in (*ticket.keep_dense, *prune.keep_dense):
        raise ReproError("sparse.scope: layer_plus prunes the last layer, which is kept dense; use layer")
    if ticket.unit == "kernel":
        raise ReproError(f"ticket.unit: sparse.method {method!r} removes single weights; remove it")
