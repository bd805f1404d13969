"""Whether the folder of a run under way, copied from another machine, holds what is needed to go on here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import nn

from . import seals
from .checkpoint import read_about
from .data import DATASETS
from .errors import ReproError
from .learned import parametrize_
from .masks import Masks, texts
from .models import MODELS, prunable
from .section import one_line
from .settings import Settings, parse
from .text import load, sized
from .vet import Amount, Count, Form, Overlap, short

SETTINGS_LIMIT = 2**16  # bytes
MASKS_LIMIT = 2**20  # bytes beside the masks
TENSORS_LIMIT = 4 * 2**30
_OVERLAP = TypeAdapter(Overlap | None)
_FRESH = TypeAdapter(list[str])


class _Moves(Form):
    updates: Count
    dense_gradients: Count
    steps: Count
    spent: Amount
    share: Amount
    alpha: float | None
    replaced: Amount
    level: Count = 0
    seen: Count = 0
    courses: dict[str, dict[str, list[float]]] = {}


class _Progress(Form):
    step: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0)]
    curve: list[dict[str, float | None]]
    precision: Literal["float32", "bfloat16"]
    threads: Annotated[int, Field(ge=1, le=1024)]
    moves: _Moves | None = None


def check(folder: Path) -> tuple[Settings, int]:
    """Check the folder of a run under way and give its settings and the steps done.

    Raises:
        ReproError: the reason, when the settings are not those that the folder is named by, or the checkpoint
            or the masks do not belong to them.
    """
    s = _settings(folder / "settings.yaml")
    if s.key() != folder.name:
        raise ReproError(f"its settings.yaml gives key {s.key()}: changed, or of another version of repro")
    model = _network(s)
    layers = prunable(model)
    if s.sparse.learned:
        parametrize_(model, s)
    weights = {f"model.{k}": tuple(v.shape) for k, v in model.state_dict().items()}
    held = _shapes(folder / "checkpoint.safetensors")
    if {k: v for k, v in held.items() if k.startswith("model.")} != weights or "sums" not in held:
        raise ReproError("its checkpoint is not of the network in its settings.yaml")
    seals.check(folder / "checkpoint.safetensors", own=True)
    try:
        about = _Progress.model_validate(read_about(folder / "checkpoint.safetensors"))
    except ValidationError as error:
        raise ReproError(f"its checkpoint: {short(one_line(error))}") from None
    if s.sparse.active:
        kinds = ("explored", "before", *(["mask"] if s.sparse.plan else ()))
        wanted = {f"{kind}.{x.name}": x.shape for x in layers for kind in kinds}
        if about.moves is None or not wanted.items() <= held.items():
            raise ReproError("its checkpoint does not hold the masks that move or are learned")
    if s.ticket.score is not None:
        path = folder / "masks.safetensors"
        if not path.is_file():
            raise ReproError("its masks.safetensors is missing; copy the whole folder")
        if path.stat().st_size > MASKS_LIMIT + sum(layer.numel for layer in prunable(model, s.ticket.norms)):
            raise ReproError("its masks are larger than those of the network in its settings.yaml")
        masks = {k: tuple(v.shape) for k, v in Masks.load(path).items()}
        if masks != {layer.name: layer.shape for layer in prunable(model, s.ticket.norms)}:
            raise ReproError("its masks are not of the network in its settings.yaml")
        try:
            _OVERLAP.validate_json(texts(path).get("overlap", "null"))
            _FRESH.validate_json(texts(path).get("fresh", "[]"))
        except ValidationError:
            raise ReproError("its masks hold notes that are none") from None
    return s, about.step


def _network(s: Settings) -> nn.Module:
    """Lay out the network of a run without storage; raise ReproError when its options are beyond all measure."""
    facts = DATASETS[s.data.name]
    try:
        with torch.device("meta"):
            return MODELS[s.model.name](
                facts.classes, s.data.channels or facts.channels, **s.model.options("name")
            )
    except (RuntimeError, OverflowError, TypeError, ValueError) as error:
        raise ReproError(f"its network cannot be laid out ({short(error)})") from None


def _settings(path: Path) -> Settings:
    try:
        found = load(sized(path, SETTINGS_LIMIT).decode(), references=False)
    except (ReproError, UnicodeDecodeError) as error:
        raise ReproError(f"its settings.yaml: {short(error)}") from None
    if not isinstance(found, dict):
        raise ReproError("its settings.yaml holds no settings")
    return parse(found)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        if not path.is_file() or path.stat().st_size > TENSORS_LIMIT:
            raise ReproError(f"its {path.name} is no plain file of at most {TENSORS_LIMIT // 2**30} GiB")
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ReproError(f"its {path.name} is damaged ({short(error)})") from None
