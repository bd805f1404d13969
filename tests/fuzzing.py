"""Spoilt files for the tests: changes of bytes and of structures, and how a loader must take what comes of them."""

from __future__ import annotations

import copy
import json
import os
import random
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repro import seals
from repro.errors import LONGEST, ReproError

SLOWEST = 5.0  # seconds of computing that one input may take
WORDS = (
    b"\x00",
    b"\xff",
    b"{",
    b"}",
    b"[",
    b"[" * 400,
    b"]",
    b'"',
    b"\\",
    b"\n",
    b"&a ",
    b"*a",
    b"!!python/name:os.system ",
)
WORDS += (
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b"0x" + b"f" * 5000,
    b"-1",
    b"null",
    b"<<: ",
    b"\xed\xa0\x80",
    b"\x1b[2J",
    b"../",
    b"a: ",
)
WORDS += (
    b"2024-99-99",
    b"0b_",
    b"!!binary x",
    b"? [1]",
    b"!!set {1}",
    b"@/dev/zero",
    b"1:99:99",
    b"---\n",
    b"%YAML 9\n",
    b"\xe2\x80\xa8",
)
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    10**30,
    1.5,
    -0.0,
    1e308,
    "",
    "x",
    "\x1b[2J\n",
    "../../x",
    "\ud800",
)
ODD += (
    [],
    {},
    [[]],
    [None],
    {"": None},
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "9" * 50,
    [0] * 9,
)


def spoilt(raw: bytes, rng: random.Random) -> bytes:
    """Change bytes: bits, single bytes, blocks cut, doubled, swapped or put in."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, more = (rng.randrange(len(data) + 1) for _ in range(2))
        low, high = min(at, more), min(max(at, more), min(at, more) + rng.choice((1, 8, 64, 4096)))
        match rng.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at % len(data)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
            case 2:
                del data[at:]
            case 3:
                del data[low:high]
            case 4:
                data[at:at] = rng.choice(WORDS)
            case 5:
                data[at:at] = data[low:high]
            case _:
                data = data[high:] + data[low:high] + data[:low]
    return bytes(data)


def places(tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Name every node below the top of a structure of lists and mappings."""
    for key, below in (
        tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    ):
        yield (*at, key)
        yield from places(below, (*at, key))


def warped(tree: Any, rng: random.Random) -> Any:
    """Change a structure: odd values, entries gone, moved or new, and nesting."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 2))):
        known = list(places(tree))
        if not known:
            return rng.choice(ODD)
        *way, last = rng.choice(known)
        inside = tree
        for key in way:
            inside = inside[key]
        match rng.randrange(5):
            case 0:
                del inside[last]
            case 1:
                inside[last] = [inside[last]]
            case 2 if isinstance(inside, dict):
                inside[str(rng.choice(ODD))] = inside[last]
            case 3:
                other = tree
                for key in rng.choice(known):
                    other = other[key]
                inside[last] = copy.deepcopy(other)
            case _:
                inside[last] = copy.deepcopy(rng.choice(ODD))
    return tree


def spelt(tree: Any) -> bytes:
    """Write a structure as JSON, half surrogate pairs as escapes."""
    return json.dumps(tree).encode()


def split(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Take a safetensors file apart into header and data."""
    size = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


def joined(header: Any, data: bytes, size: int | None = None) -> bytes:
    """Put header and data together, the length of the header as it is or as one says."""
    text = header if isinstance(header, bytes) else spelt(header)
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def unsealed(raw: bytes) -> bytes:
    """Take checksum and name out of a safetensors file, so that what is done to it meets all that comes after."""
    header, data = split(raw)
    for name in (seals.SUM, seals.NAME):
        header["__metadata__"].pop(name, None)
    return joined(header, data)


def lying(raw: bytes, rng: random.Random, notes: tuple[str, ...] = ()) -> bytes:
    """Make a safetensors file lie: about lengths, shapes, offsets, formats, names and the texts of its header."""
    header, data = split(raw)
    match rng.randrange(6):
        case 0:
            return joined(
                header, data, rng.choice((0, 1, len(raw), 2**31, 2**63, 2**64 - 1, rng.randrange(4096)))
            )
        case 1 | 2 if notes:
            told = header["__metadata__"]
            name = rng.choice(notes)
            told[name] = (
                spoilt(told[name].encode(), rng).decode(errors="replace")
                if rng.random() < 0.5
                else (spelt(warped(json.loads(told[name]), rng)).decode())
            )
            return joined(header, data)
        case 3:
            name = rng.choice([n for n in header if n != "__metadata__"])
            begin, end = header[name]["data_offsets"]
            header[name] |= rng.choice(
                (
                    {"shape": [2**40, 2**20]},
                    {"shape": [0]},
                    {"shape": [1] * 70},
                    {"shape": [2**63]},
                    {"dtype": "F64"},
                    {"dtype": "BOOL"},
                    {"dtype": "F4"},
                    {"dtype": "U8"},
                    {"shape": []},
                    {"data_offsets": [0, end - begin]},
                    {"data_offsets": [end, begin]},
                    {"data_offsets": [begin, 2**62]},
                )
            )
            return joined(header, data)
        case 4:
            return joined(warped(header, rng), data)
        case _:
            return spoilt(raw, rng)


def held(load: Callable[[], Any]) -> bool:
    """Call a loader: True if it gave something, False if it refused in one line; anything else fails the test."""
    began = time.thread_time()
    try:
        load()
        return True
    except ReproError as error:
        text = str(error)
        assert text and all(c.isprintable() or c == "\xa0" for c in text) and len(text) <= LONGEST, repr(text)
        return False
    finally:
        assert time.thread_time() - began < SLOWEST


def put(path: Path, raw: bytes) -> Path:
    """Write a file anew, never in place: a reader may have the old one mapped."""
    path.unlink(missing_ok=True)
    path.write_bytes(raw)
    return path


_LEFT_ALONE: list[str] = []  # where files may be written while a loader is watched; empty: nobody watches
_SEEN: list[str] = []
RUNS = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.spawn",
    "os.posix_spawn",
    "subprocess.Popen",
    "socket.connect",
)
CHANGES = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.chmod",
    "os.truncate",
    "shutil.rmtree",
)


def _hook(event: str, given: tuple[Any, ...]) -> None:
    if not _LEFT_ALONE:
        return
    writes = (
        event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )
    if event in RUNS:
        _SEEN.append(f"{event} {given!r}")
    elif event in CHANGES or writes:
        if event in ("os.remove", "os.rmdir") and given[1] != -1:
            return  # of a folder that shutil.rmtree was told, which is an event of its own
        for place in given[: 2 if event in ("os.rename", "os.link") else 1]:
            path = "" if isinstance(place, int) else os.path.abspath(os.fsdecode(place))  # noqa: PTH100 - called often
            if path and not path.startswith((*_LEFT_ALONE, "/dev/null")) and "__pycache__" not in path:
                _SEEN.append(f"{event} {path}")


sys.addaudithook(_hook)


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Fail when anything inside the block starts a process, connects, or changes a file outside a folder."""
    _SEEN.clear()
    _LEFT_ALONE.append(f"{folder.resolve()}/")
    try:
        yield
    finally:
        _LEFT_ALONE.clear()
    assert not _SEEN, _SEEN[:5]
