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

from . import checkpoint, optim
from .batches import batches, steps_per_epoch
from .data import Data, Split
from .data.augment import normalise
from .masks import Masks
from .settings import Settings

EVALUATION_BATCH = {"cpu": 250, "cuda": 2500}  # more falls out of a processor's cache; a GPU wants it large
SAVE_EVERY = 60.0  # seconds between checkpoints
Report = Callable[[int, int, dict[str, float]], None]


class Stopped(Exception):  # noqa: N818 (not an error: the state is saved)
    """The run was asked to stop; it has been saved and goes on from there next time."""


@dataclass
class Outcome:
    """What a training leaves behind."""

    status: str
    reason: str | None
    curve: list[dict[str, float]]
    seconds: float


@dataclass
class State:
    """Everything that a checkpoint holds."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    sums: torch.Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    curve: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= checkpoint.pack_optimizer(self.optimizer) | {"sums": self.sums}
        checkpoint.save_tensors(
            path, tensors, {"step": self.step, "curve": self.curve, "seconds": self.seconds}
        )

    def restore(self, path: Path) -> None:
        """Take up the state that `save` wrote."""
        tensors, about = checkpoint.load_tensors(path)
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        checkpoint.unpack_optimizer(self.optimizer, tensors)
        self.sums.copy_(tensors["sums"])
        self.step, self.curve, self.seconds = about["step"], about["curve"], about["seconds"]


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, data: Data, s: Settings) -> dict[str, float]:
    """Measure mean loss and top-1 and top-5 accuracy in percent, in evaluation mode, without augmentation."""
    model.eval()
    mean, std = data.constants(s.data.normalise)
    sums = torch.zeros(3, dtype=torch.float64, device=split.images.device)
    at_once = EVALUATION_BATCH.get(split.images.device.type, 250)
    for i in range(0, len(split.labels), at_once):
        x = normalise(split.images[i : i + at_once], mean, std)
        y = split.labels[i : i + at_once]
        with precision(s, x.device):
            logits = model(x).float()
        right = logits.topk(min(5, data.classes), dim=1).indices == y[:, None]
        sums += torch.stack(
            [cross_entropy(logits, y, reduction="sum"), right[:, 0].sum(), right.any(1).sum()]
        )
    loss, top1, top5 = (sums / len(split.labels)).tolist()
    return {"loss": loss, "accuracy": 100 * top1, "top5": 100 * top5}


def precision(s: Settings, device: torch.device) -> torch.autocast:
    """Compute in the precision that the settings name; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=s.precision == "bfloat16")


def hold(model: nn.Module, masks: Masks | None) -> Callable[[], None]:
    """Zero the pruned weights and give the function that keeps them so, to be called before each optimiser step.

    With a zero weight and a zero gradient the decay, the momentum and Adam's moments of a pruned entry are exactly
    zero too, so masking the gradients alone holds weights and optimiser state.
    Differs from the reference codes of Su et al., which take for pruned what happens to be zero.
    """
    if masks is None:
        return lambda: None
    weights = dict(model.named_parameters())
    with torch.no_grad():
        factors = [torch.empty_like(weights[name]).copy_(mask) for name, mask in masks.items()]
        torch._foreach_mul_([weights[name] for name in masks], factors)  # pyright: ignore

    def mask_gradients() -> None:
        torch._foreach_mul_([g for name in masks if (g := weights[name].grad) is not None], factors)  # pyright: ignore

    return mask_gradients


def train(
    model: nn.Module,
    data: Data,
    s: Settings,
    *,
    masks: Masks | None = None,
    resume: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    report: Report = lambda done, total, row: None,
) -> Outcome:
    """Train a network in place and record its curve.

    Args:
        model: the network at its initial weights, on the device that the data are on.
        data: training, test and perhaps validation images.
        s: data, optim, seed and precision are used here.
        masks: which weights may live; None for all.
        resume: the checkpoint file, written now and then and taken up if it is there; None for none.
        stop: asked before each step; on True the state is saved.
        report: told steps done, steps in all and the newest row of the curve.

    Raises:
        Stopped: when `stop` said so; the same call goes on from there.
    """
    mask_gradients = hold(model, masks)
    optimizer = optim.OPTIMIZERS[s.optim.optimizer](
        optim.groups(model, s.optim.weight_decay, s.optim.decay_1d),
        s.optim.lr,
        **s.optim.options("optimizer"),
    )
    state = State(model, optimizer, sums=torch.zeros(2, dtype=torch.float64, device=data.train.images.device))
    if resume and resume.exists():
        state.restore(resume)
    try:
        status, reason = _epochs(state, data, s, mask_gradients, resume, stop, report)
    except Stopped:
        if resume:
            state.save(resume)
        raise
    return Outcome(status, reason, state.curve, state.seconds)


def _epochs(
    state: State,
    data: Data,
    s: Settings,
    mask_gradients: Callable[[], None],
    resume: Path | None,
    stop: Callable[[], bool],
    report: Report,
) -> tuple[str, str | None]:
    per_epoch = steps_per_epoch(len(data.train.labels), s.optim.batch)
    o = s.optim
    factor = optim.rate(
        o.schedule,
        o.options("schedule"),
        epochs=o.epochs,
        steps=per_epoch,
        warmup=o.warmup,
        per_step=o.per_step,
    )
    saved = time.monotonic()
    for epoch in range(state.step // per_epoch, o.epochs):
        _one_epoch(state, data, s, epoch, per_epoch, factor, mask_gradients, stop)
        row = _end_of_epoch(state, data, s, epoch, o.lr * factor(state.step - 1))
        if not math.isfinite(row["train_loss"]):
            return "diverged", f"training loss {row['train_loss']} in epoch {epoch + 1}"
        report(state.step, per_epoch * o.epochs, row)
        if resume and time.monotonic() - saved > SAVE_EVERY and epoch + 1 < o.epochs:
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
    mask_gradients: Callable[[], None],
    stop: Callable[[], bool],
) -> None:
    state.model.train()
    began = time.monotonic()
    for x, y in batches(data.train, data, s, epoch, state.step % per_epoch):
        if stop():
            state.seconds += time.monotonic() - began
            raise Stopped
        for group in state.optimizer.param_groups:
            group["lr"] = s.optim.lr * factor(state.step)
        with precision(s, x.device):
            logits = state.model(x)
        loss = cross_entropy(logits.float(), y, label_smoothing=s.optim.label_smoothing)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        mask_gradients()
        state.optimizer.step()
        with torch.no_grad():
            state.sums += torch.stack([loss * len(y), (logits.argmax(1) == y).sum()])
        state.step += 1
    state.seconds += time.monotonic() - began


def _end_of_epoch(state: State, data: Data, s: Settings, epoch: int, lr: float) -> dict[str, Any]:
    began = time.monotonic()
    loss, right = state.sums.tolist()
    state.sums.zero_()
    n = min(len(data.train.labels), steps_per_epoch(len(data.train.labels), s.optim.batch) * s.optim.batch)
    row: dict[str, Any] = {
        "epoch": epoch + 1,
        "lr": lr,
        "train_loss": loss / n,
        "train_accuracy": 100 * right / n,
    }
    for name, split in {"test": data.test, "validation": data.validation}.items():
        if split is not None:
            row |= {f"{name}_{k}": v for k, v in evaluate(state.model, split, data, s).items()}
    state.curve.append(row)
    state.seconds += time.monotonic() - began
    return row
