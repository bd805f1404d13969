"""A weight of which the entries of highest score are used, and the scores learned (edge-popup)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ReproError
from ..pruners.ranking import top_k
from ..sparse_training import Popup
from ..sparse_training.learned import rounded

CONSTANT = 0.5  # Gadhikar et al. 2023, code


class Subnetwork(nn.Module):
    """The parametrization w -> w m, m = 1 for the k entries of largest |score| among those allowed, else 0.

    The slope passes the choice as if m were |score|: that of a score is sign(score) w dL/dw_eff where allowed,
    and 0 elsewhere. Source: Ramanujan et al. 2020, section 3 and code.

    Args:
        scores: where they start, of the weight's shape.
        allowed: (same shape) boolean, True where an entry may be chosen.
        k: how many are chosen; None for biases that compete with `layer`.
        layer: of biases, the parametrization of the weight whose k places they compete for.
    """

    allowed: Tensor
    k: Tensor

    def __init__(
        self, scores: Tensor, allowed: Tensor, k: int | None, layer: Subnetwork | None = None
    ) -> None:
        """Hold scores, and what is allowed."""
        super().__init__()
        self.scores = nn.Parameter(scores)
        self.register_buffer("allowed", allowed)
        self.register_buffer("k", None if k is None else torch.tensor(k, device=scores.device))
        self._layer = layer._layer if layer else []  # a list, so that no part appears in another's state
        self._layer.append(self)

    @property
    def entries(self) -> int:
        """Number of entries of the layer that compete."""
        return sum(part.scores.numel() for part in self._layer)

    def forward(self, weight: Tensor) -> Tensor:
        """Set what is not chosen to zero."""
        return weight * _Through.apply(self.scores, self.allowed, self.alive(weight).to(weight.dtype))

    @torch.no_grad()
    def alive(self, weight: Tensor) -> Tensor:
        """Mark what is chosen; of equal scores the first of the layer, its weights before its biases."""
        worth = [part._worth() for part in self._layer]
        chosen = choose(torch.cat(worth) if len(worth) > 1 else worth[0], self._layer[0].k)
        place = next(i for i, part in enumerate(self._layer) if part is self)
        return chosen.split([w.numel() for w in worth])[place].reshape(weight.shape)

    def _worth(self) -> Tensor:
        size = self.scores.detach().abs().nan_to_num()  # of a training that diverges
        return size.masked_fill(~self.allowed, -1.0).flatten()


class _Through(torch.autograd.Function):
    """The mask, with the slope that |score| has in its place."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, allowed: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(scores, allowed)
        return mask

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        scores, allowed = ctx.saved_tensors
        return grads[0] * scores.sign() * allowed, None, None


def choose(worth: Tensor, k: Tensor) -> Tensor:
    """Mark the k highest entries of a vector; of equal ones, the first. Nothing waits for a GPU.

    Args:
        worth: (n,) without NaN.
        k: how many, a whole number in a tensor on the same device.
    """
    return top_k(worth, int(k)) if worth.is_cpu else by_sorting(worth, k)


def by_sorting(worth: Tensor, k: Tensor) -> Tensor:
    """Do as `choose`, by a stable sort, where ranks need not leave the device."""
    order = worth.argsort(descending=True, stable=True)
    best = torch.arange(len(worth), device=worth.device) < k
    return torch.empty_like(best).scatter_(0, order, best)


def first_scores(
    shape: torch.Size, fan_in: int, how: str, generator: torch.Generator, *, conv: bool
) -> Tensor:
    """Draw where scores start.

    Args:
        shape: of a weight, or (n,) of biases.
        fan_in: inputs of one unit.
        how: as in `edge_popup`.
        generator: where numbers come from, on the CPU.
        conv: whether the layer is a convolution.
    """
    if how == "constant" and conv:
        return torch.full(shape, CONSTANT)
    bound = math.sqrt(6 / fan_in) if len(shape) == 1 else 1 / math.sqrt(fan_in)
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def level_counts(spec: Popup, name: str, held: int, total: int) -> tuple[int, ...]:
    """Count the entries that a layer keeps at each level.

    Args:
        spec: densities and levels.
        name: of the layer.
        held: entries that the source keeps, ranked biases among them.
        total: entries of the layer.

    Raises:
        ReproError: when the source keeps fewer than the density asks for, but for rounding.
    """
    if spec.density * total > held + 0.5:
        raise ReproError(
            f"sparse.density: {spec.density:g} is above what the ticket keeps in layer {name}, "
            f"{held / total:.4g}; lower it"
        )
    return tuple(min(held, rounded(density, total)) for density in spec.densities(held / total))
