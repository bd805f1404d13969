"""Tickets out of checkpoints of the source works."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ReproError, pick
from ..masks import Masks, Ticket, mask_from_nonzero
from ..models import Layer
from ..text import assignments
from .card import Facts, Network, Source, printable
from .layouts import LAYOUTS, Found, opened
from .matching import Matched, fitted, match
from .plan import Plan, plan_of
from .runs import provenance


def take(
    path: str | Path, *, layout: str, model: str, words: Sequence[str] = (), classes: int | None = None
) -> tuple[Ticket, Facts, list[str]]:
    """Read a checkpoint of one of the source works as a ticket.

    Args:
        path: the file; no code in it is run.
        layout: entry of `LAYOUTS`.
        model: entry of the menu of networks.
        words: its options, `key=value`.
        classes: number of classes; default: the outputs of the last layer in the file.

    Returns:
        masks and weights under our names, what is known of them, and notices of what had to be guessed.

    Raises:
        ReproError: in one line, when the file is no such checkpoint or is not of this network.
    """
    read, path = pick(LAYOUTS, layout, "layout"), Path(path)
    options = {key.removeprefix("model."): value for key, value in assignments(words).items()}
    try:
        found = read(opened(path))
        plan = plan_of(_network(found, model, options, classes))
        matched = match(found.state, plan) if found.state else Matched({}, {}, False)
        masks, notes = _masks(found, matched, plan)
        notes += _more_notes(matched, plan)
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
    except ReproError as error:
        raise ReproError(f"{path}: {printable(error)}") from None
    source = Source(file=re.sub(r"[^\w .+-]", "_", path.name), layout=layout, sha256=checksum, notes=notes)
    stage = "imported" if matched.state else None
    facts = Facts(
        method=f"imported:{layout}", network=plan.network, provenance=provenance(source=source), stage=stage
    )
    return Ticket(masks, matched.state, {"imported": layout}), facts, notes


def _network(found: Found, model: str, options: Mapping[str, Any], classes: int | None) -> Network:
    """Read classes and channels off the first and the last weight."""
    tensors = found.state.values() if found.state else found.masks or ()
    shapes = [tuple(t.shape) for t in tensors if isinstance(t, Tensor) and t.dim() in (2, 4)]
    if not shapes:
        raise ReproError("no convolution and no linear layer in it")
    return Network(
        name=model,
        options=dict(options),
        classes=classes or max(1, shapes[-1][0]),
        channels=max(1, shapes[0][1]),
    )


def _masks(found: Found, matched: Matched, plan: Plan) -> tuple[Masks, list[str]]:
    """Bring masks under our names, or read them off zeros where there are none."""
    if found.masks is None:
        note = "no masks in this layout: weights that are exactly 0 are taken for pruned"
        return mask_from_nonzero(matched.state, plan.layers), [note]
    if isinstance(found.masks, list):
        if len(found.masks) != len(plan.layers):
            raise ReproError(
                f"{len(found.masks)} masks, our network has {len(plan.layers)} layers; name another"
            )
        pairs = zip(plan.layers, found.masks, strict=True)
        return Masks({layer.name: _mask(layer, mask) for layer, mask in pairs}), []
    return _named_masks(found.masks, matched, plan)


def _named_masks(given: Mapping[str, Tensor], matched: Matched, plan: Plan) -> tuple[Masks, list[str]]:
    """Pair masks with layers by the names that their weights have in the checkpoint."""
    theirs = {name: f"{module}.weight" for module, name in matched.modules.items()}
    known = {theirs.get(layer.name.removesuffix(".weight"), layer.name): layer for layer in plan.layers}
    masks, notes, dense = {}, [], []
    left = {name if name in known else f"{name}.weight": mask for name, mask in given.items()}
    for name, layer in known.items():
        if name in left:
            masks[layer.name] = _mask(layer, left.pop(name))
        else:
            masks[layer.name] = torch.ones(layer.shape, dtype=torch.bool)
            dense.append(layer.name)
    if len(dense) == len(plan.layers):
        raise ReproError("no mask has the name of a layer; the file is of another layout, or another network")
    if dense:
        notes.append(f"{len(dense)} layers have no mask and are taken as dense: {', '.join(dense[:5])}")
    for name, mask in left.items():
        if not bool((mask != 0).all()):
            raise ReproError(f"{name.removesuffix('.weight')}: a mask of no weight of ours prunes something")
    return Masks(masks), notes


def _mask(layer: Layer, mask: Tensor) -> Tensor:
    if not fitted(mask, layer.shape):
        raise ReproError(f"layer {layer.name}: it is {list(layer.shape)}, its mask {list(mask.shape)}")
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ReproError(f"layer {layer.name}: its mask holds other values than 0 and 1")
    return (mask != 0).reshape(layer.shape).contiguous()


def _more_notes(matched: Matched, plan: Plan) -> list[str]:
    notes = []
    if matched.by_order:
        pairs = list(matched.modules.items())
        shown = ", ".join(f"{theirs} is {ours}" for theirs, ours in (pairs[0], pairs[-1]))
        notes.append(f"names differ, and layers are paired in order, all shapes agreeing: {shown}")
    scales = [n for n, t in matched.state.items() if n.endswith(".weight") and t.dim() == 1]
    if gone := sum(int((matched.state[name] == 0).sum()) for name in scales):
        notes.append(
            f"{gone} scales of batch norm are 0; they stay so in the weights, and are no part of our masks"
        )
    return notes
