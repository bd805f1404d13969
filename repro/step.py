"""One optimisation step: forward, loss, backward, masked gradients, update. Eager, or a captured CUDA graph.

Nothing in a step waits for the device: losses and counts add up in `sums`. On CUDA the step of a network, batch shape
and recipe is captured once; every seed, density, ticket and rate of that shape is put into the same memory and
replays it.
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
from torch.nn.functional import cross_entropy

from . import optim
from .masks import Masks
from .precision import computing
from .settings import Settings

Replay = Callable[[], None]
KEPT = 2  # captured steps that a thread keeps: their memory is reserved as long
WARM_UP = 3  # eager steps before a capture: autotuning, and the optimiser's state comes to be
_capturing = threading.Lock()
_mine = threading.local()


class Step:
    """The eager step, on a network where it lies.

    With a zero weight and a zero gradient the decay, the momentum and Adam's moments of a pruned entry are exactly
    zero too, so zeroing weights once and masking the gradients holds weights and optimiser state.
    Differs from the reference codes of Su et al., which take for pruned what happens to be zero.
    """

    def __init__(
        self, model: nn.Module, s: Settings, masks: Masks | None = None, precision: str = "float32"
    ) -> None:
        """Make the optimiser and zero the pruned weights.

        Args:
            model: the network at its initial weights, on its device.
            s: optim is used here.
            masks: which weights may live; None for all.
            precision: "float32" or "bfloat16", for forward and backward pass.
        """
        self.model, self.precision, self.smoothing = model, precision, s.optim.label_smoothing
        self.optimizer = optim.OPTIMIZERS[s.optim.optimizer](
            optim.groups(model, s.optim.weight_decay, s.optim.decay_1d),
            s.optim.lr,
            **s.optim.options("optimizer"),
        )
        device = next(model.parameters()).device
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        weights = dict(model.named_parameters())
        self._masked: list[Tensor] = [weights[name] for name in masks or ()]
        self._factors = [torch.empty_like(w) for w in self._masked]
        if masks:
            self._put(masks)

    def __call__(self, x: Tensor, y: Tensor, lr: float) -> None:
        """Update the weights once.

        Args:
            x: normalised images (N, C, H, W) on the device, N at least 2.
            y: labels (N,), int64.
            lr: learning rate of this step.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self._update(x, y)

    @torch.no_grad()
    def _put(self, masks: Masks) -> None:
        for factor, mask in zip(self._factors, masks.values(), strict=True):
            factor.copy_(mask)
        torch._foreach_mul_(self._masked, self._factors)  # pyright: ignore

    def _update(self, x: Tensor, y: Tensor) -> None:
        with computing(self.precision, x.device):
            logits = self.model(x)
        logits = logits.float() if self.precision == "bfloat16" else logits
        loss = cross_entropy(logits, y, label_smoothing=self.smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self._masked:
            torch._foreach_mul_([w.grad for w in self._masked], self._factors)  # pyright: ignore
        self.optimizer.step()
        with torch.no_grad():
            self.sums += torch.stack([loss * len(y), (logits.argmax(1) == y).sum()])


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
            s: optim is used here.
            masks: masks of the layers that will be masked, with any entries; None for dense networks.
            precision: as in `Step`.
            shapes: (N, C, H, W) of every batch that will come.
            record: turns a function into one that repeats its work on the device, e.g. `cuda_graph`.
        """
        super().__init__(copy.deepcopy(model), s, masks, precision)
        device = self.sums.device
        self._rate = torch.tensor(s.optim.lr, device=device)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate
            if "capturable" in group:  # Adam asks for it, and then warns of the eager steps before a capture
                group["capturable"] = True
        self.optimizer._warned_capturable_if_run_uncaptured = True  # pyright: ignore
        self.model.train()
        self._replays: dict[int, tuple[Tensor, Tensor, Replay]] = {}
        for shape in shapes:
            x = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
            y = torch.zeros(len(x), dtype=torch.int64, device=device)
            self._replays[len(x)] = (x, y, record(lambda x=x, y=y: self._update(x, y)))

    @torch.no_grad()
    def load(self, model: nn.Module, masks: Masks | None) -> None:
        """Put a network and its masks in place and forget the optimiser's past.

        A momentum of zero gives the same first step as none.
        """
        self.model.load_state_dict(model.state_dict())
        if masks:
            self._put(masks)
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
        self._rate.fill_(lr)
        replay()


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

    A captured step trains a network of its own: its `model` holds the trained weights.

    Args:
        model: the network at its initial weights, on its device.
        s: model and optim are used here.
        masks: which weights may live; None for all.
        precision: "float32" or "bfloat16".
        shapes: (N, C, H, W) of every batch that will come; for captured steps.
        record: how to capture; default `cuda_graph` on CUDA, elsewhere the step is eager.
    """
    if next(model.parameters()).device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        record = record or cuda_graph
    if record is None:
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
