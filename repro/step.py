"""One optimisation step: forward, loss, backward, masked gradients, update. `captured` records it on CUDA.

Nothing in a step waits for the device: losses and counts add up in `sums`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.parametrize import is_parametrized

from . import optim
from .masks import Masks
from .models import dropouts
from .parts import steps_of
from .precision import computing
from .rng import reseed
from .settings import Settings
from .sparse_training import Popup


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
            model: the network at its initial weights, on its device; where weights are computed from others
                (`repro.learned`), those others are masked.
            s: optim and sparse are used here.
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
        self.masked: dict[str, Tensor] = {name: trained_weight(model, name) for name in masks or ()}
        self._factors = [torch.empty_like(w) for w in self.masked.values()]
        self._dense_momentum = bool(s.sparse.plan and s.sparse.plan.dense_momentum)
        self._noise = torch.Generator() if device.type == "cpu" and dropouts(model) else None
        for layer in dropouts(model):
            layer.generator = self._noise
        if masks:
            self.put(masks)

    def __call__(self, x: Tensor, y: Tensor, lr: float) -> None:
        """Update the weights once.

        Args:
            x: normalised images (N, C, H, W) on the device, N at least 2.
            y: labels (N,), int64.
            lr: learning rate of this step.
        """
        self._set_rate(lr)
        self._update(x, y)

    def gradients(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Give the slopes of all weights that can be masked, also of those that are; the weights stay.

        Args:
            x: as for a step; its loss counts in `sums`.
            y: likewise.
        """
        self._backward(x, y)
        return self._slopes()

    def finish(self, lr: float) -> None:
        """Complete the step that `gradients` began."""
        self._set_rate(lr)
        self._finish()

    @torch.no_grad()
    def put(self, masks: Masks) -> None:
        """Put masks in place: pruned weights become zero, and (unless momentum is dense) so does their past.

        Args:
            masks: of the layers that the step was made for.
        """
        if not self.masked:
            return
        for factor, mask in zip(self._factors, masks.values(), strict=True):
            factor.copy_(mask)
        torch._foreach_mul_(list(self.masked.values()), self._factors)  # pyright: ignore
        if not self._dense_momentum:
            for weight, factor in zip(self.masked.values(), self._factors, strict=True):
                for value in self.past(weight):
                    value.mul_(factor)

    def past(self, weight: Tensor) -> list[Tensor]:
        """List what the optimiser remembers of each entry of a weight: momentum, Adam's moments."""
        state = self.optimizer.state.get(weight, {}).values()
        return [v for v in state if isinstance(v, Tensor) and v.shape == weight.shape]

    def reseed(self, seed: int, number: int) -> None:
        """Start the noise of dropout anew for a step, on a CPU; a GPU draws it from the device's own generator.

        Args:
            seed: of the run.
            number: of the step.
        """
        if self._noise:
            reseed(self._noise, seed, "dropout", number)

    def _set_rate(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("rate", 1.0)

    def _slopes(self) -> dict[str, Tensor]:
        return {name: w.grad for name, w in self.masked.items() if w.grad is not None}

    def _update(self, x: Tensor, y: Tensor) -> None:
        self._backward(x, y)
        self._finish()

    def _backward(self, x: Tensor, y: Tensor) -> None:
        with computing(self.precision, x.device):
            logits = self.model(x)
        logits = logits.float() if self.precision == "bfloat16" else logits
        loss = cross_entropy(logits, y, label_smoothing=self.smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        with torch.no_grad():
            self.sums += torch.stack([loss * len(y), (logits.argmax(1) == y).sum()])

    def _finish(self) -> None:
        weights = list(self.masked.values())
        if weights and not self._dense_momentum:
            torch._foreach_mul_([w.grad for w in weights], self._factors)  # pyright: ignore
        self.optimizer.step()
        if weights and self._dense_momentum:
            with torch.no_grad():
                torch._foreach_mul_(weights, self._factors)  # pyright: ignore


def trained_weight(model: nn.Module, name: str) -> Tensor:
    """Find the parameter behind a weight: the weight, or what a parametrization computes it from.

    Args:
        model: the network.
        name: of the weight in a network without parametrizations.
    """
    owner, _, last = name.rpartition(".")
    module = model.get_submodule(owner)
    if is_parametrized(module, last):
        return module.get_parameter(f"parametrizations.{last}.original")
    return module.get_parameter(last)


def rates(s: Settings, per_epoch: int) -> Callable[[int], float]:
    """Make the function from the step of a run to its learning rate.

    Source: of schedules that begin anew at each level of edge-popup, Gadhikar et al. 2023, code.

    Args:
        s: the run.
        per_epoch: steps of an epoch.
    """
    o, learned = s.optim, s.sparse.learned
    begun, length = s.schedule

    def factor(epochs: int, stretch: float, start: float = 0.0) -> Callable[[int], float]:
        return optim.rate(
            o.schedule,
            o.options("schedule"),
            epochs=epochs,
            steps=per_epoch,
            warmup=o.warmup,
            per_step=o.per_step,
            start=start,
            stretch=stretch,
        )

    if isinstance(learned, Popup) and learned.levels > 1 and learned.restart:
        begins = learned.begins(o.length)
        lengths = [end - begin for begin, end in zip(begins, (*begins[1:], o.length), strict=True)]
        of_run = optim.in_parts([n * per_epoch for n in begins], [factor(n, o.multiplier) for n in lengths])
    else:
        start = begun if isinstance(begun, int) else (steps_of(begun) or 0) / per_epoch
        of_run = factor(length, o.multiplier if length == o.length else 1.0, start)
    return lambda number: o.lr * of_run(number)
