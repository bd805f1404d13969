"""Masks say which weights are kept; a ticket is masks plus the initial weights they belong to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from . import files, seals
from .errors import ReproError, nearest
from .models import Layer


class Masks(Mapping[str, Tensor]):
    """Immutable mapping from parameter name to a boolean tensor: True where the weight is kept.

    Args:
        masks: one boolean tensor per prunable weight, in layer order, each of its weight's shape.

    Raises:
        ReproError: no layer at all, an empty tensor, or one that is not boolean.
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        """Check and count."""
        if not masks:
            raise ReproError("masks: at least one layer is needed, got none")
        for name, mask in masks.items():
            if mask.dtype != torch.bool or mask.numel() == 0:
                raise ReproError(f"masks: {name} must be a non-empty boolean tensor, got {mask.dtype}")
        self._masks = dict(masks)
        self._kept = {name: int(mask.count_nonzero()) for name, mask in masks.items()}

    def __getitem__(self, name: str) -> Tensor:
        """Give the mask of one layer."""
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        """Walk the names in layer order."""
        return iter(self._masks)

    def __len__(self) -> int:
        """Count the layers."""
        return len(self._masks)

    def __eq__(self, other: object) -> bool:
        """Compare names, order and every entry."""
        if not isinstance(other, Masks):
            return NotImplemented
        return list(self) == list(other) and all(torch.equal(m, other[n]) for n, m in self.items())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Show the size and the density."""
        return f"Masks({len(self)} layers, {self.kept} of {self.total} kept, density {self.density:.6g})"

    @property
    def total(self) -> int:
        """Number of entries."""
        return sum(mask.numel() for mask in self.values())

    @property
    def kept(self) -> int:
        """Number of entries kept."""
        return sum(self._kept.values())

    @property
    def density(self) -> float:
        """Fraction kept, in [0, 1]."""
        return self.kept / self.total

    def kept_per_layer(self) -> dict[str, int]:
        """Count the entries kept, by layer."""
        return dict(self._kept)

    def layer_densities(self) -> dict[str, float]:
        """Give the fraction kept, by layer."""
        return {name: self._kept[name] / mask.numel() for name, mask in self.items()}

    def collapsed(self) -> list[str]:
        """Name the layers of which nothing is kept: the signal cannot pass them."""
        return [name for name, kept in self._kept.items() if kept == 0]

    def overlap(self, other: Masks) -> float:
        """Give the entries kept by both over those kept by either (Jaccard index); 1 if none is kept.

        Args:
            other: masks of the same layers.
        """
        self._same_layers(other)
        both = sum(int((mask & other[name].to(mask.device)).count_nonzero()) for name, mask in self.items())
        either = self.kept + other.kept - both
        return both / either if either else 1.0

    def expected_overlap(self, other: Masks) -> float:
        """Give the overlap that chance alone explains: both masks random, with the layer counts they have.

        The expected intersection over the expected union, which is what `overlap` tends to in large layers.

        Args:
            other: masks of the same layers.
        """
        self._same_layers(other)
        theirs = other.kept_per_layer()
        both = math.fsum(self._kept[name] * theirs[name] / mask.numel() for name, mask in self.items())
        either = self.kept + other.kept - both
        return both / either if either else 1.0

    def _same_layers(self, other: Masks) -> None:
        if {n: m.shape for n, m in self.items()} != {n: m.shape for n, m in other.items()}:
            raise ReproError("masks: only masks of the same layers and shapes can be compared")

    def apply_(self, target: nn.Module | Mapping[str, Tensor]) -> None:
        """Set the pruned weights of a module or of a state to zero, in place.

        Args:
            target: a module with these parameters, or a mapping from their names to tensors.

        Raises:
            ReproError: a parameter is missing or has another shape.
        """
        tensors = dict(target.named_parameters()) if isinstance(target, nn.Module) else target
        for name, mask in self.items():
            if name not in tensors:
                raise ReproError(f"masks: no parameter {name!r} to mask: {nearest(name, tensors)}")
            if tensors[name].shape != mask.shape:
                shapes = f"{tuple(mask.shape)}, the parameter {tuple(tensors[name].shape)}"
                raise ReproError(f"masks: the mask of {name} has shape {shapes}")
        with torch.no_grad():
            for name, mask in self.items():
                tensors[name].masked_fill_(~mask.to(tensors[name].device), 0)

    def to(self, device: torch.device | str) -> Masks:
        """Copy to a device."""
        return Masks({name: mask.to(device) for name, mask in self.items()})

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write a safetensors file, whole or not at all.

        Args:
            path: the file, replaced if it exists.
            metadata: texts to store beside the masks; the keys "layers" (it holds the
                layer order), "name" and "sha256" are taken.
        """
        texts = {**(metadata or {}), "layers": json.dumps(list(self))}
        tensors = {name: mask.cpu().contiguous() for name, mask in self.items()}
        files.write(Path(path), seals.seal(serialise(tensors, texts), Path(path)))

    @classmethod
    def load(cls, path: str | Path, *, own: bool = False) -> Masks:
        """Read what `save` wrote, in layer order, after its checksum was verified, if it has one.

        Args:
            path: the file.
            own: refuse a file that was written under another name.

        Raises:
            DamagedError: the file is missing, damaged or no such file.
        """
        try:
            seals.check(Path(path), own=own)
            with safe_open(path, framework="pt") as file:
                order = json.loads((file.metadata() or {}).get("layers", "null")) or list(file.keys())
                if not isinstance(order, list) or not all(isinstance(name, str) for name in order):
                    raise ValueError("its layers are not named")
                return cls({name: file.get_tensor(name) for name in order})
        except (OSError, SafetensorError, ValueError, RecursionError, ReproError) as error:
            why = str(error).removeprefix(f"{path}: ").partition("; ")[0]
            raise seals.DamagedError(f"masks: cannot read {path}: {why}; remove it and prune again") from None

    @classmethod
    def ones(cls, layers: Iterable[Layer]) -> Masks:
        """Keep everything.

        Args:
            layers: the prunable layers, in order.
        """
        return cls({layer.name: torch.ones(layer.shape, dtype=torch.bool) for layer in layers})


def texts(path: str | Path) -> dict[str, str]:
    """Read the texts that `Masks.save` stored beside masks; raise ReproError when the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ReproError(f"masks: cannot read {path}: {error}; remove it and prune again") from None


def mask_from_nonzero(state: Mapping[str, Tensor], layers: Iterable[Layer]) -> Masks:
    """Guess masks from weights that are exactly zero: only to import checkpoints that hold no masks.

    Differs from the reference (Su et al. 2020, code): there, masks are guessed so at every training step,
    which freezes for good a kept weight that happens to become 0; ours are explicit.

    Args:
        state: parameter name to weights.
        layers: the prunable layers, in order.
    """
    return Masks({layer.name: state[layer.name] != 0 for layer in layers})


@dataclass(frozen=True)
class Ticket:
    """Masks, the initial weights that they are trained from, and where they came from.

    Args:
        masks: which weights are kept.
        weights: a whole initial state, buffers included; pruned weights may hold any value.
        origin: how it was made, in plain values that JSON can hold.
    """

    masks: Masks
    weights: Mapping[str, Tensor]
    origin: dict[str, Any] = field(default_factory=dict)
