"""What the record of a run says: the part known before it, and what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from . import measure, record
from .data import Data
from .flow import flow
from .lineage import pretraining
from .masks import Masks
from .materials import macs, total_macs
from .models import prunable
from .precision import flags
from .settings import Settings
from .sparse_training import STEP, train_ratio
from .train import Outcome


def head(s: Settings) -> dict[str, Any]:
    """Give the part of a record that is known before the run."""
    settings = {k: v.model_dump() if hasattr(v, "model_dump") else v for k, v in dict(s).items()}
    return {"format": record.FORMAT, "key": s.key(), "command": s.command(), "settings": settings}


def method_of(s: Settings) -> str:
    """Name what a run's weights are chosen by, as the tables do."""
    return record.method(head(s)["settings"])


def measured(
    s: Settings,
    model: torch.nn.Module,
    data: Data,
    outcome: Outcome,
    first: Masks | None,
    where: torch.device,
    precision: str,
) -> dict[str, Any]:
    """Give the part of a record that is known after the run.

    Args:
        s: the run.
        model: the trained network.
        data: its images.
        outcome: what the training left behind, the last masks among it.
        first: the masks that it began with; None for a dense network.
        where: the device it was trained on.
        precision: the number format it was trained in.
    """
    masks, moves = outcome.masks, outcome.moves
    layers, costs, flows = prunable(model), macs(s, data), flow(model, masks, data.shape)
    kept = masks.kept_per_layer() if masks else {layer.name: layer.numel for layer in layers}
    densities = {layer.name: kept[layer.name] / layer.numel for layer in layers}
    curve = outcome.curve
    return {
        "accuracy": _accuracy(curve),
        "density": masks.density if masks else 1.0,
        "params": sum(p.numel() for p in model.parameters()),
        "flops": _flops(s, data, measure.flops(costs, densities), moves),
        "sparse": moves and {k: moves[k] for k in ("updates", "dense_gradients", "steps", "explored")},
        "seconds": {"total": outcome.seconds},
        "memory_mb": measure.peak_memory_mb(where),
        "environment": record.environment()
        | {"device": measure.device_name(where), "threads": torch.get_num_threads(), "precision": precision}
        | flags(where),
        "layers": [
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "kept": int(kept[layer.name]),
                "total": layer.numel,
                "density": densities[layer.name],
                "macs": costs[layer.name],
            }
            | flows[layer.name]._asdict()
            | _moved(layer.name, first, moves)
            for layer in layers
        ],
        "curve": {k: [row.get(k) for row in curve] for k in curve[0]},
    }


def _flops(
    s: Settings, data: Data, own: Mapping[str, float], moves: Mapping[str, Any] | None
) -> dict[str, float]:
    """Compare what inference and training cost with the dense network of full width, trained for its usual length.

    Returns:
        inference and dense: operations for one image, of this network and of the full one; ratio: of the two;
        train_ratio: of training, by the published formula, that of the run that the ticket comes from included;
        train_counted: the same, added up step by step.
    """
    full = s.model.options("name").get("small", 1.0) == 1.0
    usual = s if full else s.model_copy(update={"model": s.model.model_copy(update={"small": 1.0})})
    dense = 2.0 * total_macs(usual, data)
    ratio, longer = own["inference"] / dense, s.optim.length / s.optim.epochs
    share = moves["share"] if moves else ratio
    usual_steps = moves["steps"] / longer if moves else 1.0
    counted = moves["spent"] / STEP / usual_steps if moves else ratio * longer
    before = _spent_before(s)
    return {
        "inference": own["inference"],
        "dense": dense,
        "ratio": ratio,
        "train_ratio": train_ratio(share, s.sparse.plan or s.sparse.learned, longer) + before["train_ratio"],
        "train_counted": counted + before["train_counted"],
    }


def _spent_before(s: Settings) -> Mapping[str, float]:
    """Look up what the training of the run cost that the ticket comes from; nothing where there is none."""
    first = pretraining(s)
    path = first and record.find(first.key())
    found = record.read(path)["flops"] if path else {}
    return {
        name: found.get(name, 0.0 if first is None else math.nan) for name in ("train_ratio", "train_counted")
    }


def _moved(name: str, first: Masks | None, moves: Mapping[str, Any] | None) -> dict[str, Any]:
    """Say of a layer whose mask has changed what it kept at first, how much of it ever lived, and its courses."""
    if not moves or not first:
        return {}
    found = {"kept_first": first.kept_per_layer()[name], "explored": moves["explored_layers"][name]}
    return found | moves.get("courses", {}).get(name, {})


def _accuracy(curve: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    best, last = max(curve, key=lambda row: row["test_accuracy"]), curve[-1]
    return {
        "final": last["test_accuracy"],
        "best": best["test_accuracy"],
        "best_epoch": best["epoch"],
        "top5": last["test_top5"],
        "validation": last.get("validation_accuracy"),
    }
