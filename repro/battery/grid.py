"""Which runs the battery makes for somebody's own pruner, at the scale of the quick report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..checks import DATA_CHECKS
from ..errors import ReproError
from ..grids import expand
from ..materials import data_of, network, threads
from ..pruners import custom
from ..pruners.trial import Found, trial
from ..section import options_of
from ..settings import Settings, Ticket

BASE: dict[str, Any] = {"recipe": "digits", "model": {"name": "resnet8"}}
TICKET_CHECKS = ("rearrange", "shuffle_kept", "reinitialise", "invert")
RANDOM = ("smart_ratio", "erk")
PLANNED = {  # what the battery sets itself, and how to say it
    "seed": "--seeds",
    "ticket.density": "--density",
    "ticket.score": "the name of another function",
}
FAIR = ("weights", "rewind", "pretrain")  # the random tickets start from the initial weights too
RANKING = ("allocation", "keep_dense", "count_dense", "selection", "sampler", "unit")


@dataclass(frozen=True)
class Plan:
    """The runs of a battery, and what is known of the pruner before any of them.

    Args:
        own: the pruner, its use of data found out.
        pruned: its runs, with every check and without.
        others: random tickets, and the dense network.
        uses_data: whether it asks for images or for trained weights.
        masks: whether it gives masks, which have no ranking to invert.
        seeds: how many.
        densities: from dense to sparse.
        overrides: as they were given.
    """

    own: custom.Own
    pruned: list[Settings]
    others: list[Settings]
    uses_data: bool
    masks: bool
    seeds: int
    densities: tuple[float, ...]
    overrides: Mapping[str, Any]

    @property
    def runs(self) -> list[Settings]:
        """All runs, those that anything can go wrong with first."""
        return [*self.pruned, *self.others]


def plan_battery(
    own: custom.Own, densities: Sequence[float], seeds: int, overrides: Mapping[str, Any]
) -> Plan:
    """Load a pruner, try it on noise, and list the runs that check it.

    Args:
        own: from `custom.read`.
        densities: each in (0, 1).
        seeds: how many; they are 0, 1, ...
        overrides: dotted settings for all runs; those of `ticket` for the pruner's own alone.

    Raises:
        ReproError: when the file, the function or a setting is wrong; nothing has been trained then.
    """
    densities = tuple(sorted(set(densities), reverse=True))
    _check_overrides(overrides)
    function = custom.register(own)
    _check_options(own)
    axes = {"ticket.density": list(densities), "seed": list(range(seeds))}
    shared = {k: v for k, v in overrides.items() if not k.startswith("ticket.")}

    def mine(checks: Sequence[str]) -> list[Settings]:
        grid = {**BASE, **axes, "ticket.score": own.name, "check.name": list(checks)}
        made = expand([grid], overrides, "command line")
        if len(made) != len(densities) * seeds * len(checks):
            raise ReproError("command line: a setting has several values; the battery takes one of each")
        return made

    originals = mine(["none"])
    found = _try(own, function, originals[0], densities)
    custom.OWN[own.name] = own = replace(own, uses_data=found.uses_data)
    if found.masks and (unused := [n for n in RANKING if f"ticket.{n}" in overrides]):
        raise own.wrong(f"it gives masks, which leave ticket.{unused[0]} nothing to do; remove the setting")
    uses_data = found.uses_data or originals[0].ticket.needs_run
    checks = [c for c in TICKET_CHECKS if c != "invert" or not found.masks]
    checks += DATA_CHECKS if uses_data else []
    dense = {**BASE, "seed": axes["seed"]}
    random = {**BASE, **axes, "ticket.score": "random", "ticket.allocation": list(RANDOM)}
    others = expand([random, dense], shared, "command line")
    return Plan(own, [*originals, *mine(checks)], others, uses_data, found.masks, seeds, densities, overrides)


def _check_overrides(overrides: Mapping[str, Any]) -> None:
    for key in overrides:
        name = key.removeprefix("ticket.")
        if key in PLANNED:
            raise ReproError(f"{key}: the battery sets it; use {PLANNED[key]}")
        if key.split(".")[0] == "check" or key == "ticket":
            raise ReproError(f"{key}: the battery chooses its checks and tickets itself; remove it")
        if key != name and name in FAIR:
            raise ReproError(f"{key}: the random tickets start from the initial weights; remove it")


def _check_options(own: custom.Own) -> None:
    """See to it that the function's options can be settings."""
    try:
        names = options_of(custom.SCORES[own.name]).model_fields
    except Exception as error:  # whatever pydantic has against the types
        raise own.wrong(f"an option cannot be a setting: {custom.told(error, own.path)}") from None
    for name in names:
        if name in Ticket.model_fields:
            raise own.wrong(f"option {name!r} has the name of a setting of every ticket; rename it")


def _try(own: custom.Own, function: Callable[..., Any], s: Settings, densities: Sequence[float]) -> Found:
    data = data_of(s)
    with threads(1):  # equal to the last bit when called again
        return trial(
            own,
            function,
            network(s, data),
            shape=data.shape,
            classes=data.classes,
            densities=densities,
            options=s.ticket.options("score"),
            trained=s.ticket.masks_from_run,
        )


def densities_of(text: str) -> tuple[float, ...]:
    """Read densities as the command line gives them, e.g. `0.1,0.05`.

    Raises:
        ReproError: when one is no number between 0 and 1.
    """
    found = []
    for word in text.split(","):
        try:
            density = float(word)
        except ValueError:
            density = 0.0
        if not 0 < density < 1:
            raise ReproError(f"--density {text}: {word!r} is no number between 0 and 1; write e.g. 0.1,0.05")
        found.append(density)
    return tuple(found)
