"""What a run is called in tables: its method and its density, read from plain settings. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Settings of a ticket that its name shows after a stroke where they are not as usual.
CHANGES = {"unit": "weight", "sampler": "exact", "flow": "off", "adjust": "none"}


def method(settings: Mapping[str, Any]) -> str:
    """Name what a run's weights are chosen by, at its start and while it trains.

    `dense` and `small_dense`; the score, the allocation of a random mask, or both with a +; `mask_of(...)` for the
    masks that another run ended with; `/kernel` where whole kernels are kept, `/move` or `/add` where its flow is
    repaired, `@trained` or `@rewound` where it starts from such weights. In front stands a method that moves or
    learns the masks in training (`rigl:erk`; `gmp` from the dense network; `granet:erk(0.5)` from masks of another
    density than it ends with), at the end the factor by which training is longer (`*2`).

    Args:
        settings: sections and their values, as they stand in a record.
    """
    sparse, longer = settings.get("sparse") or {}, float(settings["optim"].get("multiplier", 1))
    moving, start = sparse.get("method", "static"), _start(settings)
    moving += "" if sparse.get("flow", "off") == "off" else f"/{sparse['flow']}"
    if sparse.get("density") not in (None, settings["ticket"].get("density")) or moving == "str":
        start = _of_density(start, settings["ticket"].get("density", 1))
    name = start if moving == "static" else moving if start == "dense" else f"{moving}:{start}"
    return name if longer == 1 else f"{name}*{longer:g}"


def _start(settings: Mapping[str, Any]) -> str:
    """Name the ticket that training starts from, or the dense network."""
    ticket = settings["ticket"]
    score, allocation = ticket["score"], ticket.get("allocation", "global")
    if score is None:
        return "dense" if float(settings["model"].get("small", 1)) == 1 else "small_dense"
    if score == "mask_of":
        moment = f", {ticket['after']}" if ticket.get("after") else ""
        score = f"mask_of({_source(ticket['source'])}{moment})"
    if ticket.get("by", "magnitude") != "magnitude":
        score = f"{score}:{ticket['by']}"
    if ticket.get("start"):
        score = f"{score}:{_source(ticket['start'])}"
    if allocation == "induced":
        allocation = f"induced({_source(ticket['like']) if ticket.get('like') else 'densities'})"
    if ticket.get("of", "trained") != "trained":
        score = f"{score}:{ticket['of']}"
    if ticket.get("family", "quadratic") != "quadratic":
        allocation = f"{allocation}:{ticket['family']}"
    name = score if allocation == "global" else allocation if score == "random" else f"{score}+{allocation}"
    for field, usual in CHANGES.items():
        name += "" if ticket.get(field, usual) == usual else f"/{ticket[field]}"
    start, reset = ticket.get("weights", "init"), ticket.get("reset", "none")
    name = name if start == "init" else f"{name}@{start}"
    name = name if reset == "none" else f"{name}/{reset}"
    return f"{name}{_elsewhere(_read(ticket['early']))}" if ticket.get("early") else name


def _read(words: str) -> dict[str, dict[str, Any]]:
    """Read words `section.key=value`."""
    found: dict[str, dict[str, Any]] = {"ticket": {"score": None}, "model": {}, "optim": {}, "sparse": {}}
    for word in words.split():
        section, _, rest = word.partition(".")
        key, _, value = rest.partition("=")
        found.setdefault(section, {})[key] = value
    return found


def _of_density(name: str, density: float) -> str:
    """Say which density the masks have that training starts from."""
    return name if name in ("dense", "small_dense") else f"{name}({float(density):g})"


def _source(words: str) -> str:
    """Name the method of a run that is given as words `section.key=value`."""
    found = _read(words)
    return method(found) + _elsewhere(found)


def start_density(words: str) -> float:
    """Read the density of a run that is given as words `section.key=value`."""
    found = _read(words)
    return float(found["sparse"].get("density", found["ticket"].get("density", 1)))


def _elsewhere(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Say which other data set and optimiser a run has."""
    names = [found.get("data", {}).get("name"), found.get("optim", {}).get("optimizer")]
    return "".join(f" from {name}" for name in names if name)


def left_after(rounds: int, rate: float, begun: float = 1.0) -> float:
    """Give the share of weights left after rounds of pruning, without the noise of its last digits."""
    return round(begun * (1 - rate) ** rounds, 12)


def density(s: Mapping[str, Any]) -> float | None:
    """Look up the density that a run ends at: of its mask, or for a small dense network of its parameters.

    None where thresholds are learned, and the density comes out.
    """
    if (s.get("sparse") or {}).get("method") == "str":
        return None
    ending = (s.get("sparse") or {}).get("density")
    if ending is not None:
        return ending
    ticket = s["ticket"]
    if ticket["score"] == "imp":
        begun = start_density(ticket["start"]) if ticket.get("start") else 1.0
        return left_after(ticket["rounds"], ticket["rate"], begun)
    return s["model"].get("small", 1.0) if ticket["score"] is None else ticket["density"]
