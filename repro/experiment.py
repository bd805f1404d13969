"""From settings to a record: data, network, ticket, check, training. Each stage is made once and kept by its key.

A dense run doubles as the pre-training that tickets are cut from, so its weights are kept; a ticket is kept before
any check, so that one ticket serves them all. Locks see to it that two processes never make the same thing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from . import checkpoint, files, measure, record
from .data import Data
from .masks import Masks, Ticket
from .materials import (
    data_of,
    device,
    keep_memory,
    macs,
    network,
    precision_for,
    threads,
    threads_for,
    training_data,
)
from .models import prunable
from .precision import flags
from .settings import Settings
from .tickets import pretraining, ticket_of
from .train import Outcome, Report, Stopped, train

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
        run(before, weights=True, threads_offered=torch.get_num_threads(), stop=stop, report=report)
        return checkpoint.load_tensors(record.folder(before.key()) / "weights.safetensors")[0]

    def pause() -> None:
        if stop():
            raise Stopped

    return ticket_of(s, trained, pause)


def run(
    s: Settings,
    *,
    weights: bool = False,
    threads_offered: int = 1,
    stop: Stop = lambda: False,
    report: Report = lambda *_: None,
) -> dict[str, Any]:
    """Train one run, unless its record is there already, and give the record.

    Args:
        s: the run.
        weights: insist on the trained weights, which published records lack; for dense runs.
        threads_offered: CPU threads that a large network may use; their number can change the last bits.
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
        with files.lock(folder / "lock"):
            if not made():  # another process may have made it while we waited
                _train_and_record(s, folder, threads_offered, stop, report)
    found = record.find(s.key())
    assert found is not None
    return record.read(found)


def _train_and_record(s: Settings, folder: Path, offered: int, stop: Stop, report: Report) -> None:
    record.begin(s.key(), s.changed())
    began, where, data = datetime.now(UTC), device(), data_of(s)
    keep_memory()
    measure.reset_peak_memory(where)
    resume, held = folder / "checkpoint.safetensors", folder / "masks.safetensors"
    before = checkpoint.read_about(resume) if resume.exists() else {}
    precision = before.get("precision") or precision_for(s, data, where)
    with threads(before.get("threads") or threads_for(s, data, offered)):
        model, masks = _start(s, data, held if before else None, stop, report)
        if masks and not before:
            masks.save(held)  # with the checkpoint all that is needed to go on, here or elsewhere
        model.to(device=where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        outcome = train(
            model,
            training_data(s, where),
            s,
            masks=masks and masks.to(where),
            precision=precision,
            resume=resume,
            stop=stop,
            report=report,
        )
        facts = {
            "status": outcome.status,
            "reason": outcome.reason,
            "when": began.isoformat(timespec="seconds"),
        }
        measured = _measured(s, model, data, outcome, masks, where, precision)
    if masks is None:
        checkpoint.save_tensors(folder / "weights.safetensors", model.state_dict(), {"settings": s.changed()})
    record.finish(s.key(), head(s) | facts | measured)
    resume.unlink(missing_ok=True)
    held.unlink(missing_ok=True)


def _start(
    s: Settings, data: Data, held: Path | None, stop: Stop, report: Report
) -> tuple[torch.nn.Module, Masks | None]:
    """Give the network at its initial weights and its masks; those in `held`, if given, of a run that goes on."""
    model = network(s, data)
    if s.ticket.score is None:
        return model, None
    if held and held.exists():
        return model, Masks.load(held)  # the weights come from the checkpoint
    ticket = make_ticket(s, stop=stop, report=report)
    model.load_state_dict(ticket.weights)
    return model, ticket.masks


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
    precision: str,
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
            for layer in layers
        ],
        "curve": {k: [row.get(k) for row in curve] for k in curve[0]},
    }
