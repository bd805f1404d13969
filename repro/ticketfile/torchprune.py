"""Tickets as `torch.nn.utils.prune` spells them: `X.weight_orig` and `X.weight_mask` in the place of `X.weight`."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save as serialise
from torch import Tensor

from ..errors import ReproError
from ..masks import Ticket
from .card import Facts
from .store import put


def prune_state(ticket: Ticket) -> dict[str, Tensor]:
    """Give the state of a network all of whose prunable weights went through `prune.identity(module, "weight")`.

    `load_state_dict` takes it; the masked weights are there from the next forward pass on. Masks have the number
    format of their weights, as there.

    Args:
        ticket: masks and a whole state.

    Raises:
        ReproError: when the ticket has no weights.
    """
    if not ticket.weights:
        raise ReproError("the ticket has no weights, and torch.nn.utils.prune keeps them beside the masks")
    state = {}
    for name, tensor in ticket.weights.items():
        tensor = tensor.detach().cpu().contiguous()
        if name in ticket.masks:
            state[f"{name}_orig"] = tensor
            state[f"{name}_mask"] = ticket.masks[name].cpu().to(tensor.dtype).contiguous()
        else:
            state[name] = tensor
    return state


def write_prune(path: str | Path, ticket: Ticket, facts: Facts) -> None:
    """Write that state as a safetensors file, whole or not at all; its header says what it is of.

    Raises:
        ReproError: when the ticket has no weights, the name has another ending, or the file cannot be written.
    """
    if not str(path).endswith(".safetensors"):
        raise ReproError(f"{path}: the file is a safetensors one; call it NAME.safetensors")
    about = {"format": "torch.nn.utils.prune", "facts": json.dumps(facts.model_dump())}
    put(Path(path), serialise(prune_state(ticket), about))
