"""Checksums that files carry of their own content, and what becomes of a file that is damaged. Imports no torch.

A record holds the SHA-256 of the rest of it in canonical JSON, so that the layout of the file does not matter. A
safetensors file holds, among its texts, that of all other texts, of its table of tensors and of their bytes, and the
name it was written under. Files without a checksum are older than it and taken as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from . import paths
from .errors import ReproError

SUM, NAME = "sha256", "name"  # an entry of a record, and texts of a safetensors file
HEADER_LIMIT = 100_000_000  # bytes, as the format itself has it
PIECE = 2**20
_LIKE_SUM = re.compile(r"[0-9a-f]{64}")
_TOLD: set[str] = set()


class DamagedError(ReproError):
    """A file does not hold what was written into it, or is another's."""


class Header(NamedTuple):
    """What stands before the tensors of a safetensors file: its table, its texts, and where the bytes begin."""

    table: dict[str, Any]
    texts: dict[str, str]
    begin: int


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Add to plain JSON-able values the checksum of all of them, in the last place."""
    plain = {name: value for name, value in content.items() if name != SUM}
    return plain | {SUM: hashlib.sha256(_canonical(plain)).hexdigest()}


def opened(content: Mapping[str, Any]) -> dict[str, Any]:
    """Take the checksum from what `sealed` gave.

    Raises:
        DamagedError: there is one, and it is not that of the rest, or has lost its name.
    """
    plain = {name: value for name, value in content.items() if name != SUM}
    if SUM in content and sealed(plain)[SUM] != content[SUM]:
        raise DamagedError("its checksum is not that of its content")
    if any(isinstance(value, str) and _LIKE_SUM.fullmatch(value) for value in plain.values()):
        raise DamagedError("its checksum has another name")
    return plain


def seal(raw: bytes, path: Path) -> bytes:
    """Put into the bytes of a safetensors file their checksum and the name of the file.

    Args:
        raw: the whole file, as the library lays it out.
        path: where it will stand; the last two parts are its name, e.g. "0a763ec42ca7/weights.safetensors".
    """
    (length,) = struct.unpack_from("<Q", raw)
    table = json.loads(raw[8 : 8 + length])
    texts = {k: v for k, v in table.pop("__metadata__", {}).items() if k != SUM} | {NAME: _name(path)}
    held = memoryview(raw)[8 + length :]
    total = hashlib.sha256(_canonical([table, texts]))
    total.update(held)
    head = json.dumps({"__metadata__": texts | {SUM: total.hexdigest()}, **table}).encode()
    head += b" " * (-len(head) % 8)  # the tensors are aligned
    return b"".join((struct.pack("<Q", len(head)), head, held))


def _name(path: Path) -> str:
    return "/".join(path.absolute().parts[-2:])


def glance(path: Path, *, own: bool = False) -> Header:
    """Check the header of a safetensors file and its length, without reading the tensors.

    Args:
        path: the file.
        own: it must have been written under this name, where it says under which.

    Raises:
        DamagedError: it is missing, empty, cut short, too long, without a readable header, or another's.
    """
    try:
        with path.open("rb") as file:
            return _header(path, file, own)
    except OSError as error:
        raise DamagedError(f"{path}: damaged ({error.strerror}); remove it and run again") from None


def check(path: Path, *, own: bool = False) -> Header:
    """Check a safetensors file by `glance`, and its content by its checksum where it has one.

    Raises:
        DamagedError: as for `glance`, or the content is not what was written.
    """
    try:
        with path.open("rb") as file:
            header = _header(path, file, own)
            if SUM in header.texts or NAME in header.texts:
                texts = {k: v for k, v in header.texts.items() if k != SUM}
                total = hashlib.sha256(_canonical([header.table, texts]))
                while piece := file.read(PIECE):
                    total.update(piece)
                if total.hexdigest() != header.texts.get(SUM):
                    raise ValueError("its checksum is not that of its content")
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path}: damaged ({_why(error)}); remove it and run again") from None
    return header


def _header(path: Path, file: BinaryIO, own: bool) -> Header:
    try:
        size = path.stat().st_size
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else HEADER_LIMIT
        if length > min(HEADER_LIMIT, size - 8):
            raise ValueError("cut short" if size else "empty")
        table = json.loads(file.read(length))
        texts = table.pop("__metadata__", {})
        end = max((entry["data_offsets"][1] for entry in table.values()), default=0)
        if size != 8 + length + end:
            raise ValueError("cut short or too long")
        if own and texts.get(NAME, _name(path)) != _name(path):
            raise ValueError(f"it was written as {texts[NAME]}")
        return Header(table, dict(texts), 8 + length)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{path}: damaged ({_why(error)}); remove it and run again") from None


def _why(error: Exception) -> str:
    known = type(error) is ValueError  # not one of its kinds, whose texts speak of bytes and columns
    if isinstance(error, OSError):
        return error.strerror or "unreadable"
    return str(error) if known else "its header cannot be read"


def warn(line: str) -> None:
    """Tell something on standard error, once in a process."""
    if line not in _TOLD:
        _TOLD.add(line)
        print(line, file=sys.stderr, flush=True)


def damaged() -> Path:
    """Where damaged files are kept."""
    return paths.build() / "damaged"


def set_aside(path: Path, error: Exception) -> Path:
    """Move a damaged file of the build folder out of the way, under the name it has there, and say so in one line.

    Args:
        path: the file; the caller holds the lock of its run or ticket.
        error: what is wrong with it; told.

    Returns:
        Where it lies now.

    Raises:
        ReproError: when it cannot be moved.
    """
    place = damaged() / path.absolute().relative_to(paths.build().absolute())
    number = 1
    while place.exists():
        number += 1
        place = place.with_name(f"{path.name}.{number}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    except OSError as failed:
        raise ReproError(f"{path}: damaged, and cannot be set aside: {failed.strerror}; remove it") from None
    told = str(error).removeprefix(f"{path}: ").partition("; ")[0]
    warn(f"{path}: {told}; set aside as {place}, and made again")
    return place
