"""What runs are made of: a device, data, a network with its initial weights. The same settings give the same."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch

from . import measure, precision
from .checks import DATA_CHECKS
from .data import Data, Split, load
from .models import build
from .rng import stream
from .settings import Settings

GLIBC = ((-4, 0), (-1, 2**31 - 1), (-2, 2**26))  # M_MMAP_MAX none, M_TRIM_THRESHOLD never, M_TOP_PAD 64 MiB
LARGE = precision.PAYS  # multiply-accumulates for one image from which a step is long enough to share


def device() -> torch.device:
    """Choose where to compute: `REPRO_DEVICE`, else a GPU if there is one, else the CPU."""
    return torch.device(os.environ.get("REPRO_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu"))


def keep_memory() -> bool:
    """Hand back what earlier work has freed, and from now on keep freed memory for the next step.

    Every step on a CPU frees and takes hundreds of megabytes: if the C library returns them to the system each time,
    up to a tenth of the time goes into getting empty pages again.

    Returns:
        True where the C library (glibc) could be asked.
    """
    try:
        library = ctypes.CDLL(None)
        return all(library.mallopt(*option) for option in GLIBC) and library.malloc_trim(0) >= 0
    except (OSError, AttributeError):  # another C library
        return False


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


def _which(s: Settings) -> tuple[str, int | None, int | None, int | None, float]:
    return s.data.name, s.data.size, s.data.channels, s.data.subset, s.data.validation


def data_of(s: Settings) -> Data:
    """Load the data that the settings name."""
    return dataset(*_which(s))


@lru_cache(maxsize=2)
def _placed(where: torch.device, *which: Any) -> Data:
    return dataset(*which).to(where)


def training_data(s: Settings, where: torch.device) -> Data:
    """Give the images on a device, once for all runs there; those of a dense run with its data check applied."""
    data = data_of(s)
    placed = data if where.type == "cpu" else _placed(where, *_which(s))
    if s.ticket.score or s.check.name not in DATA_CHECKS:
        return placed
    split = corrupted(data.train, s, data.classes)
    return placed.replace(train=Split(split.images.to(where), split.labels.to(where)))


def threads_for(s: Settings, data: Data, offered: int) -> int:
    """Choose a run's CPU threads: those on offer for a large network, one for a small, which gains nothing."""
    return offered if total_macs(s, data) >= LARGE else 1


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


def total_macs(s: Settings, data: Data) -> int:
    """Count the multiply-accumulates of the dense network for one image."""
    return sum(macs(s, data).values())


def precision_for(s: Settings, data: Data, where: torch.device, wanted: str | None = None) -> str:
    """Settle the number format that a run computes in: "float32" or "bfloat16".

    Args:
        s: the run.
        data: images of the shape that its network sees.
        where: the device that it computes on.
        wanted: another wish than that of the settings, e.g. "auto".
    """
    return precision.settle(wanted or s.precision, total_macs(s, data), where)


@lru_cache(maxsize=64)
def _macs(
    name: str, options: tuple[tuple[str, Any], ...], classes: int, shape: tuple[int, int, int]
) -> dict[str, int]:
    made = build(name, classes=classes, channels=shape[0], generator=torch.Generator(), **dict(options))
    return measure.macs(made, shape)
