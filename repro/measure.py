"""What a network costs: multiply-accumulates, FLOPs at given densities, and memory."""

from __future__ import annotations

import copy
import os
import platform
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from .errors import ReproError

_PROC = Path("/proc/self")
_CPU = Path("/proc/cpuinfo")


def macs(model: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """Count the multiply-accumulates of every convolution and linear layer for one image.

    Shapes are traced once, in eval mode, on a copy without storage: weights, buffers and mode of the model
    stay untouched. Batch norm, pooling, activations and additions are not counted.
    Differs from the RigL report's counter, which runs the model itself in train mode: that shifts batch norm.

    Args:
        model: any network of Conv2d and Linear layers.
        shape: (C, H, W) of one image.

    Returns:
        Parameter name of the weight -> multiply-accumulates, in order of module registration.
    """
    bare = _without_storage(model).eval()
    counts: dict[str, int] = {}
    for name, module in bare.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            key = f"{name}.weight" if name else "weight"
            counts[key] = 0
            module.register_forward_hook(_counter(counts, key))
    with torch.no_grad():
        bare(torch.empty(1, *shape, device="meta"))
    return counts


def flops(macs: Mapping[str, int], densities: Mapping[str, float]) -> dict[str, float]:
    """Count the floating-point operations of inference on one image at given layer densities.

    Two operations per multiply-accumulate, those of pruned weights left out (Evci et al. 2020, appendix);
    biases are not counted. For a fixed mask training costs three times as much, so `ratio` holds for it too.

    Args:
        macs: multiply-accumulates of each layer, from `macs`.
        densities: density of each pruned layer in [0, 1]; a layer that is not named is dense.

    Returns:
        "inference" and "dense" in operations per image, and their "ratio".

    Raises:
        ReproError: if a density is given for a layer that the network has not got.
    """
    for name in densities:
        if name not in macs:
            raise ReproError(f"density given for {name!r}, which is no layer of the network")
    dense = 2.0 * sum(macs.values())
    inference = 2.0 * sum(count * densities.get(name, 1.0) for name, count in macs.items())
    return {"inference": inference, "dense": dense, "ratio": inference / dense}


def peak_memory_mb(device: torch.device | str) -> float:
    """Give the peak memory in MiB since `reset_peak_memory`: of a GPU's tensors, or of this whole process.

    That of a process holds all that is resident: libraries, data and what other threads compute. Where it
    cannot be reset (see there) it is the peak of the process's life.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = _PROC / "status"
    lines = status.read_text().splitlines() if status.is_file() else []
    marks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    if marks:
        return int(marks[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def reset_peak_memory(device: torch.device | str) -> bool:
    """Start a new count of peak memory; it begins with what is held now.

    On a CPU this needs Linux, which lowers its high-water mark when "5" is written to /proc/self/clear_refs.

    Returns:
        True if `peak_memory_mb` counts from here; False if it stays the peak of the process's life.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        handle = os.open(_PROC / "clear_refs", os.O_WRONLY)
        try:
            os.write(handle, b"5")
        finally:
            os.close(handle)
    except OSError:
        return False
    return True


def device_name(device: torch.device | str) -> str:
    """Name a device in words: the model of the GPU, or of the processor."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_info("model name") or platform.processor() or platform.machine()


def cpu_info(*fields: str) -> str:
    """Look up what Linux says about the first processor; "" where it says nothing.

    Args:
        fields: names of which the first found counts, e.g. "flags", or "Features" as ARM has it.
    """
    lines = _CPU.read_text().splitlines() if _CPU.is_file() else []
    said = (line.partition(":") for line in lines)
    return next((text.strip() for name, _, text in said if name.strip() in fields), "")


def _without_storage(model: nn.Module) -> nn.Module:
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.to("meta"), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.to("meta")
    return copy.deepcopy(model, memo)


def _counter(counts: dict[str, int], key: str):
    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            counts[key] += output.numel() * module.weight[0].numel()

    return hook
