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
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from . import checkpoint, measure
from .batches import batches, shapes, steps_per_epoch
from .captured import make_step
from .data import Data, Split
from .data.augment import normalise
from .learned import Learner, parametrize_, plain_, plain_state
from .masks import Masks
from .models import prunable
from .mover import Mover
from .precision import computing
from .settings import Settings
from .step import Step, rates

EVALUATION_BATCH = {"cpu": 250, "cuda": 2500}  # more falls out of a processor's cache; a GPU wants it large
SAVE_EVERY = 60.0  # seconds between checkpoints
Report = Callable[[int, int, dict[str, float]], None]
Rate = Callable[[int], float]


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
    mover: Mover | Learner | None = None
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

    def weights(self) -> dict[str, Tensor]:
        """Give the network's state by the names it has outside of training, and the weights that take effect."""
        return plain_state(self.update.model)

    def masks(self) -> Masks | None:
        """Give the masks as they are now; None where they do not change."""
        return self.mover.masks if self.mover else None


After = Callable[[int, State], None]


class _Calls(NamedTuple):
    stop: Callable[[], bool]
    report: Report
    after_epoch: After
    after_step: After


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
    after_epoch: After = lambda epochs, state: None,
    after_step: After = lambda steps, state: None,
) -> Outcome:
    """Train a network in place and record its curve.

    Args:
        model: the network at its initial weights, on the device that the data are on.
        data: training, test and perhaps validation images.
        s: data, sparse, optim and seed are used here.
        masks: which weights may live, at first if they move or are learned; None for all.
        precision: "float32" or "bfloat16", as `settle` gives it.
        resume: the checkpoint file, written now and then and taken up if it is there; None for none.
        stop: asked before each step; on True the state is saved.
        report: told steps done, steps in all and the newest row of the curve.
        after_epoch: given the epochs done and the state after each, before it is saved.
        after_step: given the steps done and the state after each.

    Raises:
        ReproError: when masks cannot move or be learned as the settings say.
        Stopped: when `stop` said so; the same call goes on from there.
    """
    state = _begin(model, data, s, masks, precision)
    if resume and resume.exists():
        state.restore(resume)
    try:
        status, reason = _epochs(state, data, s, resume, _Calls(stop, report, after_epoch, after_step))
    except Stopped:
        if resume:
            state.save(resume)
        plain_(model)
        raise
    if state.update.model is not model:
        model.load_state_dict(state.update.model.state_dict())
    outcome = Outcome(status, reason, state.curve, state.seconds, masks)
    if state.mover:
        outcome.masks, outcome.moves = state.mover.masks, state.mover.summary()
    plain_(model)
    return outcome


def _begin(model: nn.Module, data: Data, s: Settings, masks: Masks | None, precision: str) -> State:
    """Make the step of a run and what changes its masks; where they are learned, the network is parametrized."""
    n, batch, learned = len(data.train.labels), s.optim.batch, s.sparse.learned
    layers = prunable(model)
    costs = measure.macs(model, data.shape) if s.sparse.active else {}
    if learned and masks is None:
        masks = Masks.ones(layers).to(data.train.images.device)
    held = parametrize_(model, s, masks) if learned else masks
    step = make_step(model, s, held, precision=precision, shapes=shapes(n, batch, data.shape))
    per_epoch = steps_per_epoch(n, batch)
    if masks and learned:
        return State(step, Learner(s, step, masks, costs, per_epoch))
    if masks and s.sparse.plan:
        return State(step, Mover(s, step, masks, layers, costs, s.optim.length * per_epoch, data.shape))
    return State(step)


def _epochs(
    state: State, data: Data, s: Settings, resume: Path | None, calls: _Calls
) -> tuple[str, str | None]:
    per_epoch, length = steps_per_epoch(len(data.train.labels), s.optim.batch), s.optim.length
    rate, saved = rates(s, per_epoch), time.monotonic()
    for epoch in range(state.step // per_epoch, length):
        _one_epoch(state, data, s, epoch, per_epoch, rate, calls)
        row = _end_of_epoch(state, data, s, epoch, rate(state.step - 1))
        if not math.isfinite(row["train_loss"]):
            return "diverged", f"training loss {row['train_loss']} in epoch {epoch + 1}"
        calls.after_epoch(epoch + 1, state)
        calls.report(state.step, per_epoch * length, row)
        if resume and time.monotonic() - saved > SAVE_EVERY and epoch + 1 < length:
            state.save(resume)
            saved = time.monotonic()
    return "done", None


def _one_epoch(
    state: State, data: Data, s: Settings, epoch: int, per_epoch: int, rate: Rate, calls: _Calls
) -> None:
    state.update.model.train()
    began = time.monotonic()
    for x, y in batches(data.train, data, s, epoch, state.step % per_epoch):
        if calls.stop():
            state.seconds += time.monotonic() - began
            raise Stopped
        lr = rate(state.step)
        state.update.reseed(s.seed, state.step)
        if state.mover:
            state.mover(x, y, lr, state.step)
        else:
            state.update(x, y, lr)
        state.step += 1
        calls.after_step(state.step, state)
    state.seconds += time.monotonic() - began


def _end_of_epoch(state: State, data: Data, s: Settings, epoch: int, lr: float) -> dict[str, Any]:
    began = time.monotonic()
    loss, right = state.update.sums.tolist()
    state.update.sums.zero_()
    n = min(len(data.train.labels), steps_per_epoch(len(data.train.labels), s.optim.batch) * s.optim.batch)
    row: dict[str, Any] = {"epoch": epoch + 1, "lr": lr, "train_loss": loss / n}
    row["train_accuracy"] = 100 * right / n
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
