"""Two tickets side by side: how far their masks agree, beyond chance, and whether they start alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ..errors import ReproError
from ..masks import Masks, Ticket


class Difference(NamedTuple):
    """How two tickets compare.

    Args:
        rows: for each layer and for all together what each keeps, what both keep, their overlap (kept by both over
            kept by either), and the overlap that chance alone gives with these layer counts.
        same_masks: whether they keep the same weights.
        weights: in words, whether they have the same weights where both keep them.
    """

    rows: list[dict[str, Any]]
    same_masks: bool
    weights: str


def compare(a: Ticket, b: Ticket) -> Difference:
    """Compare two tickets of networks with the same layers.

    Raises:
        ReproError: when their layers differ.
    """
    shapes = [{name: mask.shape for name, mask in ticket.masks.items()} for ticket in (a, b)]
    if shapes[0] != shapes[1]:
        odd = next(n for n in [*shapes[0], *shapes[1]] if shapes[0].get(n) != shapes[1].get(n))
        raise ReproError(f"layer {odd} is not the same in both; only tickets of one network can be compared")
    rows = [_row(name, Masks({name: mask}), Masks({name: b.masks[name]})) for name, mask in a.masks.items()]
    return Difference([*rows, _row("all", a.masks, b.masks)], a.masks == b.masks, _weights(a, b))


def _row(name: str, a: Masks, b: Masks) -> dict[str, Any]:
    both = sum(int((mask & b[layer]).count_nonzero()) for layer, mask in a.items())
    return {
        "layer": name,
        "total": a.total,
        "kept by A": a.kept,
        "kept by B": b.kept,
        "by both": both,
        "overlap": f"{a.overlap(b):.4f}",
        "by chance": f"{a.expected_overlap(b):.4f}",
    }


def _weights(a: Ticket, b: Ticket) -> str:
    if not a.weights or not b.weights:
        return "not compared: a file holds no weights"
    if {k: v.shape for k, v in a.weights.items()} != {k: v.shape for k, v in b.weights.items()}:
        return "not compared: the networks differ in other tensors than the layers"
    off = [name for name in a.weights if not _equal(name, a, b)]
    if not off:
        return "the same, where both keep them and everywhere else"
    return f"not the same: {len(off)} of {len(a.weights)} tensors differ where both keep them, first {off[0]}"


def _equal(name: str, a: Ticket, b: Ticket) -> bool:
    ours, theirs = a.weights[name], b.weights[name]
    if name in a.masks:
        both = a.masks[name] & b.masks[name]
        ours, theirs = ours[both], theirs[both]
    return torch.equal(ours, theirs)
