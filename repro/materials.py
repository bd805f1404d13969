"""What runs are made of: a device, data, a network with its initial weights. The same settings give the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch

from . import measure
from .checks import DATA_CHECKS
from .data import Data, Split, load
from .models import build
from .rng import stream
from .settings import Settings


def device() -> torch.device:
    """Choose where to compute: `REPRO_DEVICE`, else a GPU if there is one, else the CPU."""
    return torch.device(os.environ.get("REPRO_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu"))


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Compute with `n` CPU threads inside the block: with one, a repeated run is equal to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=4)
def dataset(name: str, size: int | None, channels: int | None, subset: int | None, validation: float) -> Data:
    """Load a data set once per process."""
    return load(name, size=size, channels=channels, subset=subset, validation=validation)


def data_of(s: Settings) -> Data:
    """Load the data that the settings name."""
    return dataset(s.data.name, s.data.size, s.data.channels, s.data.subset, s.data.validation)


def corrupted(split: Split, s: Settings, classes: int) -> Split:
    """Apply the data check of `s`, if it has one, to training images."""
    if s.check.name not in DATA_CHECKS:
        return split
    return DATA_CHECKS[s.check.name](split, classes, stream(s.seed, "check"), **s.check.options("name"))


def network(s: Settings, data: Data, generator: torch.Generator | None = None) -> torch.nn.Module:
    """Build the network on the CPU, its initial weights drawn from the seed's stream or another generator."""
    return build(
        s.model.name,
        classes=data.classes,
        channels=data.shape[0],
        generator=generator or stream(s.seed, "init"),
        **s.model.options("name"),
    )


def macs(s: Settings, data: Data) -> dict[str, int]:
    """Count the multiply-accumulates of each layer for one image."""
    return _macs(s.model.name, tuple(s.model.options("name").items()), data.classes, data.shape)


@lru_cache(maxsize=64)
def _macs(
    name: str, options: tuple[tuple[str, Any], ...], classes: int, shape: tuple[int, int, int]
) -> dict[str, int]:
    made = build(name, classes=classes, channels=shape[0], generator=torch.Generator(), **dict(options))
    return measure.macs(made, shape)
