"""The training loop: one, for every run of the report.

Everything random in an epoch is drawn at its start from a stream named by seed and epoch, so that a run may be
stopped after any step and goes on bit-equal on a CPU. Losses and counts stay on the device until the epoch ends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from . import checkpoint, measure, optim
from .batches import batches, shapes, steps_per_epoch
from .captured import make_step
from .data import Data, Split
from .data.augment import normalise
from .masks import Masks
from .models import prunable
from .mover import Mover
from .parts import steps_of
from .precision import computing
from .settings import Settings
from .step import Step

EVALUATION_BATCH = {"cpu": 250, "cuda": 2500}  # more falls out of a processor's cache; a GPU wants it large
SAVE_EVERY = 60.0  # seconds between checkpoints
Report = Callable[[int, int, dict[str, float]], None]
AfterEpoch = Callable[[int, nn.Module], None]
AfterStep = Callable[[int, nn.Module], None]


class Stopped(Exception):  # noqa: N818 (not an error: the state is saved)
    """The run was asked to stop; it has been saved and goes on from there next time."""


@dataclass
class Outcome:
    """What a training leaves behind: how it ended, and the masks at its end (None for a dense network)."""

    status: str
    reason: str | None
    curve: list[dict[str, Any]]
    seconds: float
    masks: Masks | None = None
    moves: dict[str, Any] | None = None


@dataclass
class State:
    """Everything that a checkpoint holds."""

    update: Step
    mover: Mover | None = None
    step: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        tensors = {f"model.{k}": v for k, v in self.update.model.state_dict().items()}
        tensors |= checkpoint.pack_optimizer(self.update.optimizer) | {"sums": self.update.sums}
        about = {"step": self.step, "curve": self.curve, "seconds": self.seconds}
        about |= {"precision": self.update.precision, "threads": torch.get_num_threads()}
        if self.mover:
            tensors |= self.mover.pack()
            about["moves"] = self.mover.about
        checkpoint.save_tensors(path, tensors, about)

    def restore(self, path: Path) -> None:
        """Take up the state that `save` wrote."""
        tensors, about = checkpoint.load_tensors(path)
        weights = {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
        self.update.model.load_state_dict(weights)
        checkpoint.unpack_optimizer(self.update.optimizer, tensors)
        self.update.sums.copy_(tensors["sums"])
        self.step, self.curve, self.seconds = about["step"], about["curve"], about["seconds"]
        if self.mover:
            self.mover.restore(tensors, about["moves"])


@torch.no_grad()
def evaluate(
    model: nn.Module, split: Split, data: Data, s: Settings, precision: str = "float32"
) -> dict[str, float]:
    """Measure mean loss and top-1 and top-5 accuracy in percent, in evaluation mode, without augmentation."""
    model.eval()
    mean, std = data.constants(s.data.normalise)
    sums = torch.zeros(3, dtype=torch.float64, device=split.images.device)
    at_once = EVALUATION_BATCH.get(split.images.device.type, 250)
    for i in range(0, len(split.labels), at_once):
        x = normalise(split.images[i : i + at_once], mean, std)
        y = split.labels[i : i + at_once]
        with computing(precision, x.device):
            logits = model(x).float()
        right = logits.topk(min(5, data.classes), dim=1).indices == y[:, None]
        sums += torch.stack(
            [cross_entropy(logits, y, reduction="sum"), right[:, 0].sum(), right.any(1).sum()]
        )
    loss, top1, top5 = (sums / len(split.labels)).tolist()
    return {"loss": loss, "accuracy": 100 * top1, "top5": 100 * top5}


def train(
    model: nn.Module,
    data: Data,
    s: Settings,
    *,
    masks: Masks | None = None,
    precision: str = "float32",
    resume: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    report: Report = lambda done, total, row: None,
    after_epoch: AfterEpoch = lambda epochs, model: None,
    after_step: AfterStep = lambda steps, model: None,
) -> Outcome:
    """Train a network in place and record its curve.

    Args:
        model: the network at its initial weights, on the device that the data are on.
        data: training, test and perhaps validation images.
        s: data, sparse, optim and seed are used here.
        masks: which weights may live, at first if they move; None for all.
        precision: "float32" or "bfloat16", as `settle` gives it.
        resume: the checkpoint file, written now and then and taken up if it is there; None for none.
        stop: asked before each step; on True the state is saved.
        report: told steps done, steps in all and the newest row of the curve.
        after_epoch: given the epochs done and the network after each, before it is saved.
        after_step: given the steps done and the network after each.

    Raises:
        Stopped: when `stop` said so; the same call goes on from there.
    """
    n, batch = len(data.train.labels), s.optim.batch
    step = make_step(model, s, masks, precision=precision, shapes=shapes(n, batch, data.shape))
    state = State(step, _mover(s, step, masks, data))
    if resume and resume.exists():
        state.restore(resume)
    try:
        status, reason = _epochs(state, data, s, resume, stop, report, after_epoch, after_step)
    except Stopped:
        if resume:
            state.save(resume)
        raise
    if state.update.model is not model:
        model.load_state_dict(state.update.model.state_dict())
    outcome = Outcome(status, reason, state.curve, state.seconds, masks)
    if state.mover:
        outcome.masks, outcome.moves = state.mover.masks, state.mover.summary()
    return outcome


def _mover(s: Settings, step: Step, masks: Masks | None, data: Data) -> Mover | None:
    if s.sparse.plan is None or masks is None:
        return None
    steps = s.optim.length * steps_per_epoch(len(data.train.labels), s.optim.batch)
    return Mover(s, step, masks, prunable(step.model), measure.macs(step.model, data.shape), steps)


def _epochs(
    state: State,
    data: Data,
    s: Settings,
    resume: Path | None,
    stop: Callable[[], bool],
    report: Report,
    after_epoch: AfterEpoch,
    after_step: AfterStep,
) -> tuple[str, str | None]:
    per_epoch, o = steps_per_epoch(len(data.train.labels), s.optim.batch), s.optim
    begun, length = s.schedule
    factor = optim.rate(
        o.schedule,
        o.options("schedule"),
        epochs=length,
        steps=per_epoch,
        warmup=o.warmup,
        per_step=o.per_step,
        start=begun if isinstance(begun, int) else (steps_of(begun) or 0) / per_epoch,
        stretch=o.multiplier if length == o.length else 1.0,
    )
    saved = time.monotonic()
    for epoch in range(state.step // per_epoch, o.length):
        _one_epoch(state, data, s, epoch, per_epoch, factor, stop, after_step)
        row = _end_of_epoch(state, data, s, epoch, o.lr * factor(state.step - 1))
        if not math.isfinite(row["train_loss"]):
            return "diverged", f"training loss {row['train_loss']} in epoch {epoch + 1}"
        after_epoch(epoch + 1, state.update.model)
        report(state.step, per_epoch * o.length, row)
        if resume and time.monotonic() - saved > SAVE_EVERY and epoch + 1 < o.length:
            state.save(resume)
            saved = time.monotonic()
    return "done", None


def _one_epoch(
    state: State,
    data: Data,
    s: Settings,
    epoch: int,
    per_epoch: int,
    factor: Callable[[int], float],
    stop: Callable[[], bool],
    after_step: AfterStep,
) -> None:
    state.update.model.train()
    began = time.monotonic()
    for x, y in batches(data.train, data, s, epoch, state.step % per_epoch):
        if stop():
            state.seconds += time.monotonic() - began
            raise Stopped
        lr = s.optim.lr * factor(state.step)
        state.update.reseed(s.seed, state.step)
        if state.mover:
            state.mover(x, y, lr, state.step)
        else:
            state.update(x, y, lr)
        state.step += 1
        after_step(state.step, state.update.model)
    state.seconds += time.monotonic() - began


def _end_of_epoch(state: State, data: Data, s: Settings, epoch: int, lr: float) -> dict[str, Any]:
    began = time.monotonic()
    loss, right = state.update.sums.tolist()
    state.update.sums.zero_()
    n = min(len(data.train.labels), steps_per_epoch(len(data.train.labels), s.optim.batch) * s.optim.batch)
    row: dict[str, Any] = {
        "epoch": epoch + 1,
        "lr": lr,
        "train_loss": loss / n,
        "train_accuracy": 100 * right / n,
    }
    model, precision = state.update.model, state.update.precision
    for name, split in {"test": data.test, "validation": data.validation}.items():
        if split is not None:
            found = evaluate(model, split, data, s, precision)
            row |= {f"{name}_{k}": v for k, v in found.items()}
    if state.mover:
        row |= state.mover.row()
    state.curve.append(row)
    state.seconds += time.monotonic() - began
    return row
