"""The files of a run as one parcel, to carry it between machines that do not share a folder; nothing in it is believed."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from .. import checkpoint, files, paths, record, vet
from ..errors import ReproError
from ..keeping import masks_file, snapshots_in, weights_file
from ..parts import Moment
from ..settings import Settings

MOMENT = r"(-(final|[1-9]\d*(it)?))?"
NAMES = re.compile(
    rf"record\.json|settings\.yaml|checkpoint\.safetensors|(weights|masks){MOMENT}\.safetensors"
)


class Part(NamedTuple):
    """One file: its bytes, and their SHA-256 as the sender counted it."""

    raw: bytes
    digest: str


Parcel = Mapping[str, Part]


def pack(key: str, after: Collection[Moment] | None = None) -> Parcel:
    """Pack what the folder of a run holds: record and weights of a finished one, the state of one under way.

    Args:
        key: of the run.
        after: pack the weights of these moments alone, and the last; None for all.
    """
    folder = record.folder(key)
    found = sorted(path for path in folder.glob("*") if NAMES.fullmatch(path.name) and path.is_file())
    if not (folder / "DONE").exists():
        found = [path for path in found if path.name != "record.json"]
    left_out = () if after is None else {*snapshots_in(folder)} - {*after}
    others = {name(folder, moment).name for moment in left_out for name in (weights_file, masks_file)}
    return {path.name: _part(path.read_bytes()) for path in found if path.name not in others}


def _part(raw: bytes) -> Part:
    return Part(raw, hashlib.sha256(raw).hexdigest())


def unpack(s: Settings, parcel: Parcel) -> bool:
    """Write the files of a run into this machine's store, each whole or not at all, the marker that it counts last.

    A finished run that is here stays, but for weights that are missing; of two states under way the further one stays.

    Args:
        s: the run that the parcel should hold.
        parcel: see `pack`.

    Returns:
        Whether anything was written.

    Raises:
        ReproError: when a file is damaged, has an odd name, or belongs to another run.
    """
    key, folder = s.key(), record.folder(s.key())
    _check(s, parcel)
    with files.lock(folder / "lock"):
        done = (folder / "DONE").exists()
        if not done and "record.json" not in parcel and not _further(folder, parcel):
            return False
        wanted = [n for n in parcel if not (done and (folder / n).exists()) and n != "record.json"]
        wanted = [n for n in wanted if not (done and n in ("checkpoint.safetensors", "masks.safetensors"))]
        last = [n for n in ("checkpoint.safetensors",) if n in wanted]  # it tells that the rest is there
        for name in [*(n for n in wanted if n not in last), *last]:
            files.write(folder / name, parcel[name].raw)
        if "record.json" in parcel and not done:
            record.begin(key, s.changed())
            files.write(folder / "record.json", parcel["record.json"].raw)
            files.write(folder / "DONE", "")
            for left in ("checkpoint", "masks"):
                (folder / f"{left}.safetensors").unlink(missing_ok=True)
            wanted.append("record.json")
    return bool(wanted)


def _check(s: Settings, parcel: Parcel) -> None:
    for name, part in parcel.items():
        if not NAMES.fullmatch(name):
            raise ReproError(f"run {s.key()} came with a file {name!r}, which no run has; it was not taken")
        if _part(part.raw).digest != part.digest:
            raise ReproError(f"run {s.key()} came with a damaged {name}; the same command fetches it again")
    if not parcel:
        return
    paths.build().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.build(), prefix=".parcel-") as place:
        for name, part in parcel.items():
            path = Path(place) / name
            path.write_bytes(part.raw)
            if name == "record.json" and vet.load(path)[1].key() != s.key():
                raise ReproError(f"run {s.key()} came with the record of another; it was not taken")
            if path.suffix == ".safetensors":
                checkpoint.read_about(path)


def _further(folder: Path, parcel: Parcel) -> bool:
    """Tell whether the state in a parcel is further than that in a folder."""
    if "checkpoint.safetensors" not in parcel:
        return False
    with tempfile.TemporaryDirectory() as place:
        theirs = Path(place) / "checkpoint.safetensors"
        theirs.write_bytes(parcel[theirs.name].raw)
        return _step(theirs) > _step(folder / theirs.name)


def _step(path: Path) -> int:
    try:
        return int(checkpoint.read_about(path)["step"]) if path.exists() else -1
    except (ReproError, KeyError, ValueError):
        return -1
