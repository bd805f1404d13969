"""How well trained weights of a ticket file do on the test images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import ReproError
from ..masks import Ticket
from ..materials import data_of, device, precision_for, training_data
from ..models import build
from ..settings import Settings, parse
from ..text import assignments, nest
from ..train import evaluate
from .card import Card

FREE = ("data", "precision")  # what may be told anew; the network stands in the card


def settings_of(card: Card, words: Sequence[str]) -> Settings:
    """Settle on which images, and in which number format, a ticket is measured.

    Args:
        card: names the network and, for a ticket of a run, its data.
        words: settings `data.key=value` or `precision=...` that go first.

    Raises:
        ReproError: on another setting, or when neither card nor words name the data.
    """
    told = nest(assignments(words))
    if odd := [name for name in told if name not in FREE]:
        raise ReproError(f"{odd[0]}: not used to evaluate a ticket, only data and precision are; remove it")
    data = told.get("data", {})
    if not isinstance(data, dict) or not (card.data or "name" in data):
        raise ReproError("data.name: the card does not say which data; give e.g. data.name=cifar10")
    known = {} if card.data is None or data.get("name", card.data["name"]) != card.data["name"] else card.data
    precision = told.get("precision", (card.settings or {}).get("precision", "auto"))
    network = {"name": card.network.name, **card.network.options}
    return parse({"data": {**known, **data}, "model": network, "precision": precision})


def score(ticket: Ticket, card: Card, words: Sequence[str] = ()) -> dict[str, Any]:
    """Measure a ticket with trained weights on all test images, its masks applied.

    Source: test.py of Gohil et al.'s code, which prints the fraction of weights pruned and the accuracy.
    Differs from it: masks are explicit, and only weights of convolutions and linear layers count, where theirs are
    all parameters with "weight" in their name, those of batch norm too.

    Args:
        ticket: masks and weights.
        card: the ticket's.
        words: see `settings_of`.

    Returns:
        pruned: fraction; loss; accuracy and top5 in percent; images: their number; data: their name.

    Raises:
        ReproError: when the weights are not trained, or the data do not fit the network or are not here.
    """
    if card.weights.stage not in ("trained", "imported"):
        what = f"its weights are {card.weights.stage}" if card.weights.stage else "it has no weights"
        raise ReproError(
            f"{what}, and only trained ones are worth measuring: `repro ticket export ... --final` writes them"
        )
    s, where = settings_of(card, words), device()
    data = data_of(s)
    if (data.classes, data.shape[0]) != (card.network.classes, card.network.channels):
        raise ReproError(
            f"data.name: {s.data.name} has {data.classes} classes and {data.shape[0]} channels, the network "
            f"{card.network.classes} and {card.network.channels}; name other data, or data.channels"
        )
    model = build(
        s.model.name,
        classes=data.classes,
        channels=data.shape[0],
        generator=torch.Generator(),
        **s.model.options("name"),
    )
    model.load_state_dict(ticket.weights)
    ticket.masks.apply_(model)
    model.to(device=where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    placed = training_data(s, where)
    measured = evaluate(model, placed.test, placed, s, precision_for(s, data, where))
    about = {"pruned": 1 - ticket.masks.density, "images": len(data.test.labels), "data": s.data.name}
    return {**measured, **about}
