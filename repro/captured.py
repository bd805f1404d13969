"""The step as a captured CUDA graph, which every run of the same structure replays.

On CUDA the step of a network, batch shape and recipe is captured once; every seed, density, ticket and rate of that
shape is put into the same memory and replays it.
"""

from __future__ import annotations

import copy
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .masks import Masks
from .settings import Settings
from .sparse_training import Popup
from .step import Step

Replay = Callable[[], None]
KEPT = 2  # captured steps that a thread keeps: their memory is reserved as long
WARM_UP = 3  # eager steps before a capture: autotuning, and the optimiser's state comes to be
_capturing = threading.Lock()
_mine = threading.local()


class Captured(Step):
    """A step that was recorded once for each batch size and is replayed; networks are put into its memory."""

    def __init__(
        self,
        model: nn.Module,
        s: Settings,
        masks: Masks | None,
        precision: str,
        shapes: Sequence[tuple[int, ...]],
        record: Callable[[Replay], Replay],
    ) -> None:
        """Record the step on a copy of the network.

        Args:
            model: a network of the structure wanted; it is not changed.
            s: optim and sparse are used here.
            masks: masks of the layers that will be masked, with any entries; None for dense networks.
            precision: as in `Step`.
            shapes: (N, C, H, W) of every batch that will come.
            record: turns a function into one that repeats its work on the device, e.g. `cuda_graph`.
        """
        super().__init__(copy.deepcopy(model), s, masks, precision)
        device = self.sums.device
        self._rates = {
            g.get("rate", 1.0): torch.tensor(s.optim.lr, device=device) for g in self.optimizer.param_groups
        }
        for group in self.optimizer.param_groups:
            group["lr"] = self._rates[group.get("rate", 1.0)]
            if "capturable" in group:  # Adam asks for it, and then warns of the eager steps before a capture
                group["capturable"] = True
        self.optimizer._warned_capturable_if_run_uncaptured = True  # pyright: ignore
        self.model.train()
        self._replays: dict[int, tuple[Tensor, Tensor, Replay]] = {}
        self._slope_replays: dict[int, tuple[Replay, list[Tensor | None]]] = {}
        for shape in shapes:
            x = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
            y = torch.zeros(len(x), dtype=torch.int64, device=device)
            self._replays[len(x)] = (x, y, record(lambda x=x, y=y: self._update(x, y)))
            if s.sparse.plan:
                replay = record(lambda x=x, y=y: self._backward(x, y))
                self._slope_replays[len(x)] = replay, [p.grad for p in self.model.parameters()]

    @torch.no_grad()
    def load(self, model: nn.Module, masks: Masks | None) -> None:
        """Put a network and its masks in place and forget the optimiser's past.

        A momentum of zero gives the same first step as none.
        """
        self.model.load_state_dict(model.state_dict())
        if masks:
            self.put(masks)
        for state in self.optimizer.state.values():
            for value in state.values():
                if isinstance(value, Tensor):
                    value.zero_()
        self.sums.zero_()

    def __call__(self, x: Tensor, y: Tensor, lr: float) -> None:
        """Update the weights once, as `Step` does, by a replay."""
        inputs, labels, replay = self._replays[len(y)]
        inputs.copy_(x)
        labels.copy_(y)
        self._set_rate(lr)
        replay()

    def gradients(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Give the slopes of all weights that can be masked, by a replay; the next one writes over them."""
        inputs, labels, _ = self._replays[len(y)]
        replay, slopes = self._slope_replays[len(y)]
        inputs.copy_(x)
        labels.copy_(y)
        for parameter, slope in zip(self.model.parameters(), slopes, strict=True):
            parameter.grad = slope
        replay()
        return self._slopes()

    def _set_rate(self, lr: float) -> None:
        for factor, rate in self._rates.items():
            rate.fill_(lr * factor)


def cuda_graph(work: Replay) -> Replay:
    """Record the kernels that `work` starts on the current device and give the function that starts them again.

    One capture at a time; other threads may compute meanwhile.
    """
    with _capturing:
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                work()
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            work()
    return graph.replay


def make_step(
    model: nn.Module,
    s: Settings,
    masks: Masks | None = None,
    *,
    precision: str = "float32",
    shapes: Sequence[tuple[int, ...]] = (),
    record: Callable[[Replay], Replay] | None = None,
) -> Step:
    """Make the step of a run; on CUDA this thread captures it, unless it has captured one of this structure before.

    A captured step trains a network of its own: its `model` holds the trained weights. Scores are trained by the
    eager step everywhere (edge-popup): their ranking is not captured.

    Args:
        model: the network at its initial weights, on its device.
        s: model, optim and sparse are used here.
        masks: which weights may live; None for all.
        precision: "float32" or "bfloat16".
        shapes: (N, C, H, W) of every batch that will come; for captured steps.
        record: how to capture; default `cuda_graph` on CUDA, elsewhere the step is eager.
    """
    if next(model.parameters()).device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        record = record or cuda_graph
    if record is None or isinstance(s.sparse.learned, Popup):
        return Step(model, s, masks, precision)
    kept: OrderedDict[str, Captured] = _mine.__dict__.setdefault("kept", OrderedDict())
    key = _structure(model, s, masks, precision, shapes)
    step = kept.pop(key, None) or Captured(model, s, masks, precision, shapes, record)
    kept[key] = step
    while len(kept) > KEPT:
        kept.popitem(last=False)
    step.load(model, masks)
    return step


def _structure(
    model: nn.Module,
    s: Settings,
    masks: Masks | None,
    precision: str,
    shapes: Sequence[tuple[int, ...]],
) -> str:
    """Name all that a captured step depends on and that cannot be put into its memory."""
    o = s.optim
    fixed: list[Any] = [o.optimizer, o.options("optimizer"), o.weight_decay, o.decay_1d, o.label_smoothing]
    plan = s.sparse.plan
    fixed += [plan is not None, bool(plan and plan.dense_momentum)]  # what is captured, and what it masks
    fixed += [repr(s.sparse.learned)]
    tensors = {name: list(value.shape) for name, value in model.state_dict().items()}
    where = str(next(model.parameters()).device)
    parts = [
        s.model.changed(),
        s.model.name,
        tensors,
        list(masks or ()),
        precision,
        list(shapes),
        fixed,
        where,
    ]
    return json.dumps(parts, default=str)
