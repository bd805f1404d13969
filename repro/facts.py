"""What the record of a run says: the part known before it, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from . import measure, record
from .data import Data
from .flow import flow
from .masks import Masks
from .materials import macs
from .models import prunable
from .precision import flags
from .settings import Settings
from .train import Outcome


def head(s: Settings) -> dict[str, Any]:
    """Give the part of a record that is known before the run."""
    settings = {k: v.model_dump() if hasattr(v, "model_dump") else v for k, v in dict(s).items()}
    return {"format": record.FORMAT, "key": s.key(), "command": s.command(), "settings": settings}


def measured(
    s: Settings,
    model: torch.nn.Module,
    data: Data,
    outcome: Outcome,
    masks: Masks | None,
    where: torch.device,
    precision: str,
) -> dict[str, Any]:
    """Give the part of a record that is known after the run.

    Args:
        s: the run.
        model: the trained network.
        data: its images.
        outcome: what the training left behind.
        masks: what was kept; None for a dense network.
        where: the device it was trained on.
        precision: the number format it was trained in.
    """
    layers, costs, flows = prunable(model), macs(s, data), flow(model, masks, data.shape)
    kept = masks.kept_per_layer() if masks else {layer.name: layer.numel for layer in layers}
    densities = {layer.name: kept[layer.name] / layer.numel for layer in layers}
    curve = outcome.curve
    total = sum(layer.numel for layer in layers)
    return {
        "accuracy": _accuracy(curve),
        "density": sum(kept.values()) / total,
        "params": sum(p.numel() for p in model.parameters()),
        "flops": measure.flops(costs, densities),
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
            for layer in layers
        ],
        "curve": {k: [row.get(k) for row in curve] for k in curve[0]},
    }


def _accuracy(curve: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    best, last = max(curve, key=lambda row: row["test_accuracy"]), curve[-1]
    return {
        "final": last["test_accuracy"],
        "best": best["test_accuracy"],
        "best_epoch": best["epoch"],
        "top5": last["test_top5"],
        "validation": last.get("validation_accuracy"),
    }
