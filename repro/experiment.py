"""From settings to a record: data, network, ticket, check, training. Each stage is made once and kept by its key.

A dense run doubles as the pre-training that tickets are cut from, so its weights are kept; a ticket is kept before
any check, so that one ticket serves them all. Locks see to it that two processes never make the same thing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from . import checkpoint, files, measure, record
from .data import Data
from .masks import Masks, Ticket
from .materials import corrupted, data_of, device, macs, network, threads
from .models import prunable
from .settings import Settings
from .tickets import pretraining, ticket_of
from .train import Outcome, Report, train

Stop = Callable[[], bool]


def make_ticket(s: Settings, *, stop: Stop = lambda: False, report: Report = lambda *_: None) -> Ticket:
    """Make, or fetch, the ticket of a run, with its check applied, training the dense network first if need be.

    Raises:
        ReproError: when the run is dense, or the data or the density do not allow the ticket.
        Stopped: when asked to stop.
    """

    def trained() -> dict[str, torch.Tensor]:
        before = pretraining(s)
        assert before is not None
        run(before, weights=True, stop=stop, report=report)
        return checkpoint.load_tensors(record.folder(before.key()) / "weights.safetensors")[0]

    return ticket_of(s, trained)


def run(
    s: Settings, *, weights: bool = False, stop: Stop = lambda: False, report: Report = lambda *_: None
) -> dict[str, Any]:
    """Train one run, unless its record is there already, and give the record.

    Args:
        s: the run.
        weights: insist on the trained weights, which published records lack; for dense runs.
        stop: asked before each step; on True the run is saved and `Stopped` raised.
        report: told steps done, steps in all and the newest row of the curve.

    Raises:
        ReproError: on missing data or a ticket that cannot be made.
        Stopped: when asked to stop.
    """
    folder = record.folder(s.key())

    def made() -> bool:
        return (folder / "weights.safetensors").exists() if weights else record.find(s.key()) is not None

    if not made():
        with files.lock(folder / "lock"), threads(1):
            if not made():  # another process may have made it while we waited
                _train_and_record(s, folder, stop, report)
    found = record.find(s.key())
    assert found is not None
    return record.read(found)


def _train_and_record(s: Settings, folder: Path, stop: Stop, report: Report) -> None:
    files.write(folder / "settings.yaml", yaml.safe_dump(_plain(s.changed()), sort_keys=False))
    began, where, data = datetime.now(UTC), device(), data_of(s)
    ticket = make_ticket(s, stop=stop, report=report) if s.ticket.score else None
    model = network(s, data)
    if ticket:
        model.load_state_dict(ticket.weights)
    model.to(device=where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    train_split = data.train if ticket else corrupted(data.train, s, data.classes)
    resume = folder / "checkpoint.safetensors"
    masks = ticket.masks.to(where) if ticket else None
    outcome = train(
        model,
        data.replace(train=train_split).to(where),
        s,
        masks=masks,
        resume=resume,
        stop=stop,
        report=report,
    )
    if ticket is None:
        checkpoint.save_tensors(folder / "weights.safetensors", model.state_dict(), {"settings": s.changed()})
    facts = {"status": outcome.status, "reason": outcome.reason, "when": began.isoformat(timespec="seconds")}
    record.finish(s.key(), head(s) | facts | _measured(s, model, data, outcome, masks, where))
    resume.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def head(s: Settings) -> dict[str, Any]:
    """Give the part of a record that is known before the run."""
    settings = {k: v.model_dump() if hasattr(v, "model_dump") else v for k, v in dict(s).items()}
    return {"format": record.FORMAT, "key": s.key(), "command": s.command(), "settings": settings}


def _measured(
    s: Settings,
    model: torch.nn.Module,
    data: Data,
    outcome: Outcome,
    masks: Masks | None,
    where: torch.device,
) -> dict[str, Any]:
    layers, costs = prunable(model), macs(s, data)
    kept = masks.kept_per_layer() if masks else {layer.name: layer.numel for layer in layers}
    densities = {layer.name: kept[layer.name] / layer.numel for layer in layers}
    curve = outcome.curve
    best = max(curve, key=lambda row: row["test_accuracy"])
    total = sum(layer.numel for layer in layers)
    return {
        "accuracy": {
            "final": curve[-1]["test_accuracy"],
            "best": best["test_accuracy"],
            "best_epoch": best["epoch"],
            "top5": curve[-1]["test_top5"],
            "validation": curve[-1].get("validation_accuracy"),
        },
        "density": sum(kept.values()) / total,
        "params": sum(p.numel() for p in model.parameters()),
        "flops": measure.flops(costs, densities),
        "seconds": {"total": outcome.seconds},
        "memory_mb": measure.peak_memory_mb(where),
        "environment": record.environment()
        | {"device": measure.device_name(where), "threads": torch.get_num_threads()},
        "layers": [
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "kept": int(kept[layer.name]),
                "total": layer.numel,
                "density": densities[layer.name],
                "macs": costs[layer.name],
            }
            for layer in layers
        ],
        "curve": {k: [row.get(k) for row in curve] for k in curve[0]},
    }
