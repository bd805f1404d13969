"""Weights of a ticket: named by their seed, only those that are kept, or all of them; and checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import ReproError
from ..masks import Masks
from ..models import initial_state
from ..rng import stream
from .card import Card, Mode, Network
from .plan import Plan


def digest(tensors: Mapping[str, Tensor], head: bytes = b"") -> str:
    """Take the SHA-256 of tensors by name: for each a line of name, number format and shape, then its bytes.

    Args:
        tensors: on the CPU; their bytes are taken in row-major order.
        head: what to put in front.
    """
    found = hashlib.sha256(head)
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def drawn(network: Network, seed: int) -> dict[str, Tensor]:
    """Draw the initial weights of a run with this seed, by the scheme that stands in the network's options."""
    return initial_state(
        network.name,
        classes=network.classes,
        channels=network.channels,
        generator=stream(seed, "init"),
        **network.options,
    )


def rebuild(card: Card) -> dict[str, Tensor]:
    """Draw the initial weights that a card names by seed and scheme, and see that they are the same.

    They are compared where the file stores no weights of its own (mode "seed"); other cards name the seed of their
    run too, and get what it gives.

    Raises:
        ReproError: when the card names no seed, or other weights come out.
    """
    if card.seed is None:
        raise ReproError("seed: the card names none, so that its initial weights cannot be rebuilt")
    state = drawn(card.network, card.seed)
    if card.weights.mode == "seed" and digest(state) != card.weights.sha256:
        then, now = card.provenance.versions.get("torch"), torch.__version__
        raise ReproError(
            f"seed {card.seed} gives other weights here than where it was written "
            f"(torch {now} here, {then} there); ask for a file with --weights kept"
        )
    return state


def pack(weights: Mapping[str, Tensor], masks: Masks, mode: Mode) -> dict[str, Tensor]:
    """Choose what is stored of weights: `kept.NAME` are the entries that a mask keeps, `whole.NAME` all of them."""
    if mode in ("seed", "none"):
        return {}
    cut = masks if mode == "kept" else {}
    kept = {f"kept.{name}": weights[name][mask] for name, mask in cut.items()}
    return kept | {f"whole.{name}": tensor for name, tensor in weights.items() if name not in cut}


def expected(card: Card, plan: Plan) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """List the tensors that `pack` stores, with number format and shape."""
    if card.weights.mode in ("seed", "none"):
        return {}
    counts = {layer.name: layer.kept for layer in card.layers} if card.weights.mode == "kept" else {}
    return {
        f"kept.{name}" if name in counts else f"whole.{name}": (
            tensor.dtype,
            (counts[name],) if name in counts else tuple(tensor.shape),
        )
        for name, tensor in plan.state.items()
    }


def unpack(stored: Mapping[str, Tensor], masks: Masks, card: Card, plan: Plan) -> dict[str, Tensor]:
    """Give back the state that `pack` took apart; entries that were not kept are 0.

    Raises:
        ReproError: when it is not the state that was written.
    """
    mode = card.weights.mode
    if mode == "none":
        return {}
    if mode == "seed":
        return rebuild(card)
    state = {}
    for name, like in plan.state.items():
        if f"kept.{name}" in stored:
            state[name] = torch.zeros(like.shape, dtype=like.dtype)
            state[name][masks[name]] = stored[f"kept.{name}"]
        else:
            state[name] = stored[f"whole.{name}"]
    if digest(state) != card.weights.sha256:
        raise ReproError("its weights are not those that its card has the checksum of")
    return state
