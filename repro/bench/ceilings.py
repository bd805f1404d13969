"""What the device can do at best, measured, and what a training step needs of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import conv2d

from ..data import Data
from ..materials import total_macs
from ..settings import Settings
from .material import Bench
from .store import Row
from .timing import interleaved

FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


def training_gflop(s: Settings, data: Data, images: int) -> float:
    """Count 10^9 operations of a training step: three passes of two operations for each multiply-accumulate.

    Args:
        s: the network is used here.
        data: images of the shape that it sees.
        images: in the batch.
    """
    return 6e-9 * total_macs(s, data) * images


def training_gb(model: nn.Module, shape: tuple[int, int, int], batch: int, format: str) -> float:
    """Estimate the 10^9 bytes that a training step moves when each layer works by itself.

    Forward, a layer reads its input and writes its output; backward, it reads the output's gradient and its input
    and writes the input's gradient. Each weight is read twice and its gradient written; the update reads weight,
    gradient and momentum and writes weight and momentum, in float32. Additions of residual blocks are not counted.

    Args:
        model: the network; it stays as it is.
        shape: (C, H, W) of one image.
        batch: number of images.
        format: "float32" or "bfloat16", of the activations.
    """
    moved = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal moved
        moved += 3 * inputs[0].numel() + 2 * output.numel()

    twin = copy.deepcopy(model).eval()
    for module in twin.modules():
        if next(module.children(), None) is None:
            module.register_forward_hook(count)
    with torch.no_grad():
        twin(torch.zeros(1, *shape, device=next(twin.parameters()).device))
    weights = sum(p.numel() for p in model.parameters())
    return 1e-9 * ((2 if format == "bfloat16" else 4) * batch * moved + 4 * 8 * weights)


def ceiling(bench: Bench) -> list[Row]:
    """Measure the fastest products and convolutions in three number formats, and the fastest copy.

    Each row is the best of some sizes and rounds: a ceiling is what was reached once, no average.
    """
    rounds = bench.rounds(5)
    rows = [_product(bench, name, rounds) for name in FORMATS]
    if bench.device.type == "cuda":
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            rows.append(_product(bench, "float32", rounds) | {"what": "product of matrices, TF32"})
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before
    return [*rows, *(_convolution(bench, name, rounds) for name in FORMATS), _copy(bench, rounds)]


def _best(bench: Bench, call: Callable[[], object], rounds: int) -> float:
    """Give the shortest time in seconds."""
    turns = 10 if bench.device.type == "cuda" else 1
    found = interleaved({"": call}, rounds, warm_up=2, per_turn=turns, synchronise=bench.synchronise)
    return min(found[""])


def _product(bench: Bench, format: str, rounds: int) -> Row:
    bench.tell(f"products in {format}")
    reached = []
    for side in bench.size.ceiling[0]:
        a, b = (torch.ones(side, side, dtype=FORMATS[format], device=bench.device) for _ in "ab")
        found = _best(bench, lambda a=a, b=b: a @ b, rounds)
        reached.append((2e-9 * side**3 / found, side))
    rate, side = max(reached)
    return _row("product of matrices", format, rounds, f"{side} x {side}") | {"gflop_per_s": rate}


def _convolution(bench: Bench, format: str, rounds: int) -> Row:
    """Try 3 x 3 convolutions of the networks measured: 64 to 512 channels, images of 32 to 4 pixels."""
    bench.tell(f"convolutions in {format}")
    largest, reached = bench.size.ceiling[0][-1], []
    for channels, side in ((64, 32), (128, 16), (256, 8), (512, 4)):
        count = max(1, largest // 32) * (2 if format != "float64" else 1)
        like: dict[str, Any] = {"dtype": FORMATS[format], "device": bench.device}
        x = torch.ones(count, channels, side, side, **like).contiguous(memory_format=torch.channels_last)
        w = torch.ones(channels, channels, 3, 3, **like).contiguous(memory_format=torch.channels_last)
        found = _best(bench, lambda x=x, w=w: conv2d(x, w, padding=1), rounds)
        macs = count * side * side * channels * channels * 9
        reached.append((2e-9 * macs / found, f"{count} images of {side} x {side}, {channels} channels"))
    rate, size = max(reached)
    return _row("convolution, 3 x 3", format, rounds, size) | {"gflop_per_s": rate}


def _copy(bench: Bench, rounds: int) -> Row:
    """Copy what no cache holds: every byte is read once and written once."""
    bench.tell("copying memory")
    mib = bench.size.ceiling[1]
    source = torch.ones(mib << 18, dtype=torch.float32, device=bench.device)
    target = torch.empty_like(source)
    found = _best(bench, lambda: target.copy_(source), rounds)
    moved = 2 * source.numel() * source.element_size()
    return _row("copy, read and write", "any", rounds, f"{mib} MiB") | {"gb_per_s": 1e-9 * moved / found}


def _row(what: str, format: str, rounds: int, size: str) -> Row:
    return {"what": what, "format": format, "n": rounds, "size": size}
