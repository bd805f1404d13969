"""Which number format a run computes in: settled from the machine and the network, recorded, never silent."""

from __future__ import annotations

from functools import cache

import torch

from .measure import cpu_info

PAYS = (
    3_000_000  # multiply-accumulates for one image: smaller networks gain nothing (measured, one CPU thread)
)
UNITS = {"avx512_bf16", "amx_bf16", "bf16"}  # what processors call their bfloat16 arithmetic


def settle(wanted: str, macs: int, device: torch.device) -> str:
    """Turn the setting into "float32" or "bfloat16".

    "auto" takes bfloat16 where the device has arithmetic for it and the network is large enough to gain: a rule
    and no stopwatch, so that the same settings on the same kind of machine always give the same bits.

    Args:
        wanted: "auto", "float32" or "bfloat16".
        macs: multiply-accumulates of the dense network for one image.
        device: where the run computes.
    """
    if wanted != "auto":
        return wanted
    return "bfloat16" if macs >= PAYS and has_bfloat16(device.type) else "float32"


@cache
def has_bfloat16(kind: str) -> bool:
    """Tell whether devices of this kind ("cpu" or "cuda") multiply bfloat16 in hardware here."""
    if kind == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    return not UNITS.isdisjoint(cpu_info("flags", "Features").split())


def computing(precision: str, device: torch.device) -> torch.autocast:
    """Compute in `precision` inside the block; weights, their gradients and the updates stay float32.

    The cast weights are not kept: a step uses each once, and a captured step must not hold on to them.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)


def flags(device: torch.device) -> dict[str, bool | str]:
    """Give the switches of torch that change the numbers of a run on `device`."""
    if device.type != "cuda":
        return {}
    return {
        "tf32_convolution": torch.backends.cudnn.allow_tf32,
        "tf32_product": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn": str(torch.backends.cudnn.version()),
    }
