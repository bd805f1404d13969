"""How the source works lay out their checkpoints: where weights and masks stand in each.

Only what is known of them is read: top-level keys, and whether masks are kept. Their files are opened without running
any code of theirs; where a file holds objects of their classes, that is refused with what to do instead.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import ReproError
from ..vet import short
from .plan import LARGEST as LARGEST_STATE

LARGEST = 4 * 2**30  # bytes
Named = dict[str, Tensor]


class Found(NamedTuple):
    """What a checkpoint holds: weights by name, and masks by name or in the order of layers, where there are any."""

    state: Named
    masks: Named | list[Tensor] | None = None


def gohil(raw: Any) -> Found:
    """Gohil et al.: {epoch, model_state_dict, optimizer_state_dict}; pruned weights are 0, there are no masks."""
    return Found(_tensors(_at(raw, "model_state_dict"), "model_state_dict"))


def su2020(raw: Any) -> Found:
    """Su et al.: {state_dict, ...}; pruned weights are 0, there are no masks."""
    return Found(_tensors(_at(raw, "state_dict"), "state_dict"))


def answer42(raw: Any) -> Found:
    """answer42: {net, mask, ...}; the masks by name or in order. Files that hold modules cannot be opened."""
    masks = raw.get("mask") if isinstance(raw, Mapping) else None
    return Found(_tensors(_at(raw, "net"), "net"), None if masks is None else _masks(masks, "mask"))


def rigl(raw: Any) -> Found:
    """The RigL report: {model, mask: {masks: {parameter: mask}, ...}, ...}; a layer without a mask is dense."""
    return Found(_tensors(_at(raw, "model"), "model"), _masks(_at(_at(raw, "mask"), "masks"), "mask.masks"))


def gadhikar(raw: Any) -> Found:
    """Gadhikar et al.: a state, alone or as {state_dict}, pruned weights 0; or a list of masks in layer order.

    States of edge-popup hold scores, those of STR thresholds: their weights alone do not say what is pruned.
    """
    if isinstance(raw, Sequence):
        return Found({}, _masks(raw, "the list"))
    state = _tensors(
        raw["state_dict"] if isinstance(raw, Mapping) and "state_dict" in raw else raw, "state_dict"
    )
    for name in state:
        if re.search("score|thresh", name.rpartition(".")[2], re.IGNORECASE):
            raise ReproError(
                f"{short(name)}: weights here are pruned by scores or thresholds, and not 0; "
                "import the list of masks, or a state whose pruned weights are set to 0"
            )
    return Found(state)


def synflow(raw: Any) -> Found:
    """Synaptic-Flow: a state with a buffer `NAME_mask` beside each parameter `NAME` that may be pruned."""
    state = _tensors(raw, "the state")
    masks = {name.removesuffix("_mask"): mask for name, mask in state.items() if name.endswith("_mask")}
    if not masks:
        raise ReproError("no buffer NAME_mask; the file is of another layout")
    rest = {name: tensor for name, tensor in state.items() if not name.endswith("_mask")}
    return Found(rest, masks)


LAYOUTS: dict[str, Callable[[Any], Found]] = {
    "gohil": gohil,
    "su2020": su2020,
    "answer42": answer42,
    "rigl": rigl,
    "gadhikar": gadhikar,
    "synflow": synflow,
}


def opened(path: Path) -> Any:
    """Read a torch file without running code from it.

    Raises:
        ReproError: the reason, when it is missing, too large, damaged, or holds anything but plain values.
    """
    if not path.is_file():
        raise ReproError("no such file")
    try:
        size = path.stat().st_size
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(part.file_size for part in archive.infolist()))
        if size > LARGEST:
            raise ReproError(f"it holds more than {LARGEST // 2**30} GiB")
        return torch.load(path, map_location="cpu", weights_only=True)
    except ReproError:
        raise
    except Exception as error:  # a damaged file can make torch raise anything
        raise ReproError(_refusal(str(error))) from None


def _refusal(text: str) -> str:
    found = re.search(
        r"GLOBAL (\S+) was not an allowed global|Unsupported (?:global|class)[: ]+(?:GLOBAL )?(\S+)", text
    )
    if found or "Weights only load failed" in text:
        what = found and (found[1] or found[2])
        return (
            f"it holds objects of {what or 'classes'}, which only running code from the file could bring back, and that "
            "is never done; where the code it comes from is trusted, load it there and save tensors by name only: "
            "state_dict() for the network, {parameter name: mask} for masks"
        )
    return f"damaged or no torch file ({short(text)}); get it again"


def _at(raw: Any, key: str) -> Any:
    if not isinstance(raw, Mapping) or key not in raw:
        held = ", ".join(map(str, list(raw)[:8])) if isinstance(raw, Mapping) else type(raw).__name__
        raise ReproError(f"no key {key!r}: the file is of another layout (it holds {short(held)})")
    return raw[key]


def _plain(tensor: Any) -> bool:
    """Tell whether something is an ordinary tensor in memory: no sparse, quantised or storageless one."""
    return (
        isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_complex()
        and tensor.dim() <= 4
        and tensor.numel() <= LARGEST_STATE  # of a small storage a view can be of any size
    )


def _tensors(raw: Any, where: str) -> Named:
    """Take a state: tensors by name, without the prefix of data-parallel training."""
    if (
        not isinstance(raw, Mapping)
        or not raw
        or not all(isinstance(k, str) and _plain(v) for k, v in raw.items())
    ):
        raise ReproError(f"{where}: no state, that is tensors by name; the file is of another layout")
    if odd := [name for name in raw if not re.fullmatch(r"[\w.-]{1,200}", name, re.ASCII)]:
        raise ReproError(f"{where}: {short(odd[0])!r} is no name of a tensor; the file is damaged")
    prefix = "module." if all(name.startswith("module.") for name in raw) else ""
    return {name.removeprefix(prefix): tensor.detach() for name, tensor in raw.items()}


def _masks(raw: Any, where: str) -> Named | list[Tensor]:
    if isinstance(raw, Sequence) and not isinstance(raw, str) and raw and all(map(_plain, raw)):
        return [mask.detach() for mask in raw]
    if isinstance(raw, Mapping):
        return _tensors(raw, where)
    raise ReproError(f"{where}: no masks by name, and no list of masks; the file is of another layout")
