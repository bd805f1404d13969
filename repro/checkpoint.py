"""Checkpoints and weights as safetensors files: no pickles, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from . import seals
from .files import write


def save_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any] | None = None
) -> None:
    """Write named tensors and JSON-able facts about them.

    Args:
        path: the file to make or replace.
        tensors: any shapes and types; stored contiguous, on the CPU.
        about: what else to keep; text in the file's header.
    """
    plain = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    write(path, seals.seal(save(plain, metadata={"about": json.dumps(about or {})}), path))


def load_tensors(path: Path, *, own: bool = False) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote, after its checksum was verified, if it has one.

    Args:
        path: the file.
        own: refuse a file that was written under another name.

    Raises:
        DamagedError: with one line, when the file is missing or damaged.
    """
    seals.check(path, own=own)
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _about(file)  # noqa: SIM118


def read_about(path: Path) -> dict[str, Any]:
    """Read the facts alone of what `save_tensors` wrote, unverified; raise DamagedError when they are unreadable."""
    with _opened(path) as file:
        return _about(file)


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    """Open a file for reading; damage that shows inside the block becomes a DamagedError."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise seals.DamagedError(
            f"{path}: damaged or unreadable ({error}); remove it and run again"
        ) from None


def _about(file: safe_open) -> dict[str, Any]:
    about = json.loads((file.metadata() or {}).get("about", "{}"))
    if not isinstance(about, dict):
        raise ValueError("its facts are no mapping")
    return about


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Flatten the optimiser's state into named tensors."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        f"optimizer.{i}.{name}": value
        for i, p in enumerate(params)
        for name, value in optimizer.state.get(p, {}).items()
        if isinstance(value, torch.Tensor)
    }


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `pack_optimizer` took, in the parameters' own memory format.

    State that is there already is written over in place: a captured step holds on to its memory.
    """
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for place, value in tensors.items():
        if place.startswith("optimizer."):
            _, i, name = place.split(".", 2)
            p = params[int(i)]
            like = torch.empty_like(p) if value.shape == p.shape else torch.empty_like(value)
            optimizer.state[p].setdefault(name, like).copy_(value)
