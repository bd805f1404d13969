"""What a network of the menu looks like, known before any memory is taken for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import ValidationError
from torch import Tensor

from ..errors import ReproError
from ..models import MODELS, Layer, prunable
from ..parts import Model
from ..section import one_line
from ..vet import short
from .card import Network

LARGEST = 2**28  # entries of a state; the largest network of a published protocol has a tenth


@dataclass(frozen=True)
class Plan:
    """The parts of a network.

    Args:
        network: name and options, every default filled in.
        layers: the prunable weights, in order.
        state: tensors without storage, by name: shapes and number formats of the whole state.
    """

    network: Network
    layers: tuple[Layer, ...]
    state: dict[str, Tensor]


def plan_of(network: Network) -> Plan:
    """Lay out a network of the menu without storage.

    Raises:
        ReproError: the reason, when there is no such network or option, or it is too large.
    """
    try:
        model = Model.model_validate({"name": network.name, **network.options})
    except ValidationError as error:
        raise ReproError(f"network: {short(one_line(error))}") from None
    except ReproError as error:
        raise ReproError(f"network: {short(error)}") from None
    options = model.options("name")
    try:
        with torch.device("meta"):
            made = MODELS[model.name](network.classes, network.channels, **options)
        state = dict(made.state_dict())
        entries = sum(tensor.numel() for tensor in state.values())
    except (RuntimeError, OverflowError, TypeError, ValueError) as error:
        raise ReproError(f"network: {model.name} cannot be laid out so ({short(error)})") from None
    if entries > LARGEST:
        raise ReproError(f"network: it has {entries} weights, more than the {LARGEST} of a ticket file")
    full = Network(name=model.name, options=options, classes=network.classes, channels=network.channels)
    return Plan(full, prunable(made), state)
