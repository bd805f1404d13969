"""The files of CIFAR, which Python objects were written into: read step by step, so that nothing in them can be called.

Such a file is a program that builds objects on a stack. Only the steps that build numbers, texts, lists, mappings and
the description of an array are taken; torchvision takes every step, whatever function a file names.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ReproError
from ..text import sized

LIMIT = 2**28  # bytes; the training file of CIFAR-100 has 148 MiB
KNOWN = ("_reconstruct", "ndarray", "dtype", "encode")  # what describes an array


@dataclass
class _Described:
    """What a file wants to have made: by which name, of what, and with which state."""

    name: str
    given: tuple[Any, ...] = ()
    state: Any = None


class _Stack:
    """The stack of a file, and what it keeps for later."""

    def __init__(self) -> None:
        self.held: list[Any] = []
        self.marks: list[int] = []
        self.kept: dict[int, Any] = {}

    def cut(self, count: int | None = None) -> list[Any]:
        """Take off the last `count` objects, or those since the last mark."""
        at = self.marks.pop() if count is None else len(self.held) - count
        if not 0 <= at <= len(self.held):
            raise ValueError("its steps do not fit together")
        taken, self.held[at:] = self.held[at:], []
        return taken

    def push(self, made: Any) -> None:
        """Put an object on top."""
        self.held.append(made)

    def named(self, module: str, name: str) -> None:
        """Put a name on top, if it is one of those that describe arrays."""
        if module.split(".")[0] not in ("numpy", "_codecs") or name not in KNOWN:
            raise ValueError(f"it names {module}.{name}, which is no array")
        self.push(_Described(name))

    def reduce(self) -> None:
        """Describe what a call would make."""
        what, given = self.cut(2)
        self.push(_Described(what.name, tuple(given)))

    def build(self) -> None:
        """Note the state of what is on top."""
        (state,) = self.cut(1)
        self.held[-1].state = state

    def fill(self, items: list[Any]) -> None:
        """Put names and values into the mapping on top."""
        self.held[-1].update(zip(items[::2], items[1::2], strict=True))


STEPS: dict[str, Callable[[_Stack, Any], object]] = {
    "PROTO": lambda stack, _: None,
    "FRAME": lambda stack, _: None,
    "NONE": lambda stack, _: stack.push(None),
    "NEWTRUE": lambda stack, _: stack.push(True),
    "NEWFALSE": lambda stack, _: stack.push(False),
    "EMPTY_LIST": lambda stack, _: stack.push([]),
    "EMPTY_DICT": lambda stack, _: stack.push({}),
    "EMPTY_TUPLE": lambda stack, _: stack.push(()),
    "MARK": lambda stack, _: stack.marks.append(len(stack.held)),
    "LIST": lambda stack, _: stack.push(stack.cut()),
    "DICT": lambda stack, _: (items := stack.cut(), stack.push({}), stack.fill(items)),
    "TUPLE": lambda stack, _: stack.push(tuple(stack.cut())),
    "TUPLE1": lambda stack, _: stack.push(tuple(stack.cut(1))),
    "TUPLE2": lambda stack, _: stack.push(tuple(stack.cut(2))),
    "TUPLE3": lambda stack, _: stack.push(tuple(stack.cut(3))),
    "APPEND": lambda stack, _: (item := stack.cut(1), stack.held[-1].extend(item)),
    "APPENDS": lambda stack, _: (items := stack.cut(), stack.held[-1].extend(items)),
    "SETITEM": lambda stack, _: stack.fill(stack.cut(2)),
    "SETITEMS": lambda stack, _: stack.fill(stack.cut()),
    "GLOBAL": lambda stack, told: stack.named(*told.split(" ", 1)),
    "STACK_GLOBAL": lambda stack, _: stack.named(*stack.cut(2)),
    "REDUCE": lambda stack, _: stack.reduce(),
    "BUILD": lambda stack, _: stack.build(),
    "MEMOIZE": lambda stack, _: stack.kept.update({len(stack.kept): stack.held[-1]}),
    **dict.fromkeys(
        ("PUT", "BINPUT", "LONG_BINPUT"), lambda stack, at: stack.kept.update({at: stack.held[-1]})
    ),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda stack, at: stack.push(stack.kept[at])),
    **dict.fromkeys(
        [
            "INT",
            "BININT",
            "BININT1",
            "BININT2",
            "LONG",
            "LONG1",
            "STRING",
            "BINSTRING",
            "SHORT_BINSTRING",
            "UNICODE",
            "BINUNICODE",
            "SHORT_BINUNICODE",
            "BINBYTES",
            "SHORT_BINBYTES",
        ],
        lambda stack, told: stack.push(told),
    ),
}


def _content(raw: bytes) -> Any:
    """Take the steps of a file; raise ValueError at one that is not known here."""
    stack = _Stack()
    for step, told, _ in pickletools.genops(raw):
        if step.name == "STOP":
            return stack.cut(1)[0]
        if step.name not in STEPS:
            raise ValueError(f"step {step.name} builds neither plain values nor arrays")
        STEPS[step.name](stack, told)
    raise ValueError("cut short")


def _matrix(described: Any) -> np.ndarray:
    """Make the matrix of bytes that a file describes; raise ValueError when it describes none."""
    if not isinstance(described, _Described) or len(described.state or ()) != 5:
        raise ValueError("its data are no array")
    _, shape, kind, turned, raw = described.state
    if isinstance(raw, _Described) and raw.name == "encode":
        raw = raw.given[0]
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(kind, _Described) or kind.given[:1] != ("u1",) or not isinstance(raw, bytes):
        raise ValueError("its data are no bytes")
    if not isinstance(shape, tuple) or shape != (len(raw) // 3072, 3072):
        raise ValueError("its data are no images")
    return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if turned else "C").copy("C")


def batch(path: Path) -> tuple[Tensor, Tensor]:
    """Read one file.

    Args:
        path: a mapping of data, uint8 (N, 3072), and labels or fine_labels, N whole numbers from 0 to 99.

    Returns:
        images, uint8 (N, 3, 32, 32), and labels, int64 (N,).

    Raises:
        ReproError: the file holds anything else.
    """
    try:
        found = _content(sized(path, LIMIT))
        pixels, told = _matrix(found["data"]), found["labels" if "labels" in found else "fine_labels"]
        if len(told) != len(pixels) or not all(type(label) is int and 0 <= label < 100 for label in told):
            raise ValueError("its labels are no classes of its images")
        return torch.from_numpy(pixels).view(-1, 3, 32, 32), torch.tensor(told, dtype=torch.int64)
    except Exception as error:  # a damaged file can raise anything
        raise ReproError(f"{path}: no file of CIFAR ({error}); remove it and fetch the set again") from None
