"""Ticket files: one safetensors file that holds masks, card and, if asked, weights; nothing in it is believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from ..errors import ReproError
from ..files import write
from ..masks import Masks, Ticket
from ..vet import short
from . import codings
from .card import FORMAT, Card, Facts, Mode, canonical, plain, printable, read
from .fit import check_fit, check_layers, check_stored, from_seed
from .plan import Plan, plan_of
from .weights import digest, pack, unpack

SUFFIX = ".ticket.safetensors"
TENSORS_LIMIT = 4 * 2**30  # bytes


def named(path: str | Path) -> Path:
    """Check the name of a ticket file; raise ReproError if it is another."""
    if not str(path).endswith(SUFFIX) or Path(path).name == SUFFIX:
        stem = str(path).removesuffix(".safetensors").removesuffix(".ticket") or "name"
        raise ReproError(f"{path}: the name of a ticket file ends in {SUFFIX}; call it {stem}{SUFFIX}")
    return Path(path)


def card_file(path: str | Path) -> Path:
    """Name the readable copy of the card that lies beside a ticket file."""
    return Path(str(path).removesuffix(".safetensors") + ".json")


def put(path: Path, content: str | bytes) -> None:
    """Write a file that the user has named, whole or not at all; raise ReproError when that cannot be."""
    try:
        write(path, content)
    except ReproError as error:
        raise ReproError(f"{str(error).partition(';')[0]}; name another file") from None


def save(path: str | Path, ticket: Ticket, facts: Facts, *, weights: Mode = "seed") -> Card:
    """Write a ticket file, whole or not at all, and its card as JSON beside it.

    Args:
        path: `<name>.ticket.safetensors`, replaced if it exists.
        ticket: masks, weights and origin.
        facts: what else is known of it.
        weights: "seed" stores none, but what they are rebuilt from; "kept" those that the masks keep and all other
            tensors; "full" the whole state; "none" says that there are none.

    Raises:
        ReproError: when masks or weights do not fit the network, the seed does not give these weights, or the file
            cannot be written.
    """
    target, plan = named(path), plan_of(facts.network)
    ticket = Ticket(
        ticket.masks.to("cpu"), {k: v.detach().cpu() for k, v in ticket.weights.items()}, ticket.origin
    )
    check_fit(ticket, plan, weights)
    if weights == "seed" and not from_seed(ticket, facts):
        raise ReproError(
            "the weights are not those that the seed gives (rewound, trained, or changed by a check); "
            "store them with --weights kept"
        )
    coded = {name: codings.encode(mask.numpy()) for name, mask in ticket.masks.items()}
    stored = {f"mask.{name}": torch.from_numpy(raw.copy()) for name, (_, raw) in coded.items()}
    stored |= pack(ticket.weights, ticket.masks, weights)
    state = _state_sum(ticket, weights)
    raw = _described(ticket, facts, plan, {name: coding for name, (coding, _) in coded.items()})
    raw["weights"] = {"mode": weights, "stage": facts.stage if state else None, "sha256": state}
    raw["sha256"] = digest(stored, canonical(raw))
    card = read(plain(json.dumps(raw)))
    contiguous = {name: tensor.contiguous() for name, tensor in stored.items()}
    put(target, serialise(contiguous, {"card": json.dumps(raw)}))
    put(card_file(target), json.dumps(raw, indent=1) + "\n")
    return card


def load(path: str | Path) -> tuple[Ticket, Card]:
    """Read a ticket file that anybody may have made.

    Sizes, names, shapes and number formats are checked against the network before any memory is taken, then all
    checksums. These show damage; they do not show who wrote the file.

    Args:
        path: the file; the card beside it is not read.

    Returns:
        the ticket, its pruned weights 0 where only kept ones are stored, and its card.

    Raises:
        ReproError: in one line, whatever is wrong with the file.
    """
    try:
        return _load(Path(path))
    except ReproError as error:
        raise ReproError(f"{path}: {printable(error)}") from None


def _load(path: Path) -> tuple[Ticket, Card]:
    if not path.is_file():
        raise ReproError("no such file; give a file NAME.ticket.safetensors")
    if path.stat().st_size > TENSORS_LIMIT:
        raise ReproError(f"larger than the {TENSORS_LIMIT // 2**30} GiB of a ticket file")
    try:
        with safe_open(path, framework="pt") as file:
            raw = plain((file.metadata() or {}).get("card", "{}"))
            card = read(raw)
            plan = plan_of(card.network)
            check_layers(card, plan)
            check_stored(file, card, plan)
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ReproError(f"damaged or no ticket file ({short(error)}); get it again") from None
    if digest(stored, canonical(raw)) != card.sha256:
        raise ReproError("damaged: it has not the checksum that its card says; get it again")
    masks = Masks({row.name: _mask(row, stored[f"mask.{row.name}"]) for row in card.layers})
    return Ticket(masks, unpack(stored, masks, card, plan), dict(card.origin)), card


def _mask(row: Any, raw: Tensor) -> Tensor:
    try:
        flat = codings.decode(row.coding, raw.numpy(), row.total, row.kept)
    except ReproError as error:
        raise ReproError(f"layer {row.name}: {error}") from None
    return torch.from_numpy(flat).reshape(row.shape)


def _state_sum(ticket: Ticket, mode: Mode) -> str | None:
    """Take the checksum of the state that loading a file of this mode gives; None if it gives none."""
    if mode == "none":
        return None
    state: Mapping[str, Tensor] = ticket.weights
    if mode == "kept":
        state = {k: torch.where(ticket.masks[k], v, 0) if k in ticket.masks else v for k, v in state.items()}
    return digest(state)


def _described(ticket: Ticket, facts: Facts, plan: Plan, coding: Mapping[str, str]) -> dict[str, Any]:
    """Write the card down as plain values, all but how weights are stored and the checksum."""
    told = facts.model_dump(exclude={"requested", "stage"})
    kept = ticket.masks.kept_per_layer()
    raw = {
        "format_version": FORMAT,
        **told,
        "network": plan.network.model_dump(),
        "density": {"requested": facts.requested, "realised": ticket.masks.density},
        "init": None if facts.seed is None else plan.network.options.get("init"),
        "layers": [
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "kept": kept[layer.name],
                "total": layer.numel,
                "coding": coding[layer.name],
            }
            for layer in plan.layers
        ],
        "origin": ticket.origin,
    }
    try:
        return json.loads(json.dumps(raw))
    except TypeError as error:
        raise ReproError(f"origin, data or settings of the ticket: {error}; give plain values") from None
