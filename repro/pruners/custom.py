"""Pruners of one's own: functions in a file that the command line names, held to the contract of `scores`.

The name under which such a function joins the menu holds a hash of its file, so that the keys of its runs depend
on its code. Only `load` runs that code; names in records and parameter files never do.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import torch
from torch import Tensor

from ..errors import ReproError, lacks_memory, nearest
from .context import Context
from .scores import SCORES
from .select import Scores, budget, check_finite

EXAMPLE = "examples/loud.py:loud"
LONGEST = 200  # characters of somebody else's error


@dataclass(frozen=True)
class Own:
    """A function in a file, as both were when the command began.

    Args:
        path: of the file, for messages.
        source: what the file holds; worker processes make the function from it.
        function: its name.
        uses_data: whether it asks its context for images, as a trial finds out.
    """

    path: str
    source: bytes
    function: str
    uses_data: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.source).hexdigest()

    @property
    def name(self) -> str:
        """The name in the menu of scores: the function's, and the first eight letters of the file's hash."""
        return f"{self.function}-{self.digest[:8]}"

    def wrong(self, what: str) -> ReproError:
        """Make an error that names the function."""
        return ReproError(f"{self.path}:{self.function}: {what}")


OWN: dict[str, Own] = {}  # what was added to the menu in this process, by name


def is_own(name: object) -> bool:
    """Tell whether a score in a record has the name of somebody's own function, on this machine or another."""
    return isinstance(name, str) and re.fullmatch(r"[^\W\d]\w*-[0-9a-f]{8}", name) is not None


def read(word: str) -> Own:
    """Read the file that a word of the form PATH.py:function names; nothing in it is run.

    Raises:
        ReproError: when the word has no such form, or the file is missing or cannot be read.
    """
    path, colon, function = word.rpartition(":")
    if not colon or not path or not function.isidentifier():
        raise ReproError(f"{word}: name a file and a function in it, e.g. {EXAMPLE}")
    try:
        return Own(path, Path(path).read_bytes(), function)
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise ReproError(f"{path}: {reason}; give the path of a Python file, e.g. {EXAMPLE}") from None


def load(own: Own) -> Callable[..., Any]:
    """Run the file and give its function, once it has the form of a pruner.

    Raises:
        ReproError: when the file fails to run, has no such function, or the function takes no context or has
            an option without type or default.
    """
    module = ModuleType(f"own_pruner_{own.digest[:8]}")
    module.__file__ = own.path
    sys.modules[module.__name__] = module  # where type hints and dataclasses look their names up
    try:
        exec(compile(own.source, own.path, "exec"), vars(module))
    except (Exception, SystemExit) as error:
        raise ReproError(f"{told(error, own.path)}; the file must run before its pruner can") from None
    known = [n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
    found = vars(module).get(own.function)
    if found is None:
        raise ReproError(f"{own.path}: no function {own.function!r}: {nearest(own.function, known)}")
    if not inspect.isfunction(found):
        raise own.wrong(f"a {type(found).__name__}, not a function; write def {own.function}(ctx)")
    _check_form(own, found)
    return found


def _check_form(own: Own, function: Callable[..., Any]) -> None:
    signature = inspect.signature(function)
    example = f"def {own.function}(ctx, *, power: float = 1.0)"
    options = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    for p in options:
        if p.annotation is p.empty or p.default is p.empty:
            lack = "type" if p.annotation is p.empty else "default"
            raise own.wrong(f"option {p.name!r} has no {lack}; write e.g. {example}")
    try:
        signature.bind(None)
    except TypeError as error:
        raise own.wrong(f"cannot be called with a context alone ({error}); write e.g. {example}") from None
    try:
        get_type_hints(function)
    except Exception as error:
        raise own.wrong(f"unknown type of an option ({told(error, own.path)})") from None


def told(error: BaseException, path: str) -> str:
    """Tell an exception of somebody's file in one line: the file, the line in it, the kind, the message."""
    lines = [n for f, n in traceback.walk_tb(error.__traceback__) if f.f_code.co_filename == path]
    line, message = (lines or [None])[-1], str(error)
    if isinstance(error, SyntaxError) and error.filename == path:
        line, message = error.lineno, error.msg
    short = " ".join(message.split())
    short = short if len(short) <= LONGEST else short[:LONGEST] + "..."
    where = f"{path}:{line}" if line else path
    return f"{where}: {type(error).__name__}{': ' if short else ''}{short}"


def call(own: Own, function: Callable[..., Any], ctx: Context, options: Mapping[str, Any]) -> Any:
    """Call the function; what it raises becomes one line, but for what asks the run to stop or wait.

    Raises:
        ReproError: when it raises anything.
    """
    try:
        return function(ctx, **options)
    except Exception as error:
        ours = type(error).__module__.split(".")[0] == __name__.split(".")[0]
        if ours or lacks_memory(error):
            raise
        hint = ""
        if ctx.trained is None and b".trained" in own.source:
            hint = '; trained weights are there for functions with an option of: str = "trained"'
        raise ReproError(f"{told(error, own.path)}{hint}") from None


def are_masks(found: Any) -> bool:
    """Tell whether a function gave boolean masks rather than scores."""
    return isinstance(found, Mapping) and any(getattr(t, "dtype", None) == torch.bool for t in found.values())


def checked(own: Own, found: Any, ctx: Context) -> Scores:
    """Hold what a function gave to the contract, in the order of the layers; masks become scores of 1 and 0.

    Raises:
        ReproError: when layers are missing or unknown, a tensor has another shape or type than it should or is
            not finite, or masks keep another number of weights than asked for.
    """
    if not isinstance(found, Mapping):
        raise own.wrong(f"gave a {type(found).__name__}; return a mapping from layer name to tensor")
    shapes = {x.name: x.shape for x in ctx.layers}
    for name in found:
        if name not in shapes:
            raise own.wrong(f"layer {name!r} is none of ctx.layers: {nearest(name, shapes)}")
    missing = [name for name in shapes if name not in found]
    if missing:
        raise own.wrong(f"nothing for layer {missing[0]} ({len(missing)} of {len(shapes)} are missing)")
    masks = are_masks(found)
    for name, shape in shapes.items():
        _check_tensor(own, name, found[name], shape, masks)
    if masks:
        kept = sum(int(found[name].count_nonzero()) for name in shapes)
        total = sum(x.numel for x in ctx.layers)
        if kept != (wanted := budget(total, ctx.density)):
            asked = f"asked for are {wanted} (density {ctx.density:g} of {total})"
            raise own.wrong(f"its masks keep {kept} weights, {asked}")
        return {name: found[name].float() for name in shapes}
    scores = {name: found[name].detach() for name in shapes}
    scores = {n: t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for n, t in scores.items()}
    try:
        check_finite(scores)
    except ReproError as error:
        raise own.wrong(str(error)) from None
    return scores


def _check_tensor(own: Own, name: str, found: Any, shape: tuple[int, ...], masks: bool) -> None:
    if not isinstance(found, Tensor):
        raise own.wrong(f"layer {name} has a {type(found).__name__}, not a tensor")
    if tuple(found.shape) != shape:
        raise own.wrong(f"layer {name} has shape {tuple(found.shape)}, its weight {shape}")
    kind = str(found.dtype).removeprefix("torch.")
    if masks and found.dtype != torch.bool:
        raise own.wrong(f"layer {name} is of type {kind}, others are masks; give masks or scores, not both")
    if not masks and not found.is_floating_point():
        raise own.wrong(f"layer {name} is of type {kind}; give floating-point scores or boolean masks")


def register(own: Own) -> Callable[..., Any]:
    """Add the function to the menu of scores of this process, under a name of its own, and give it bare."""
    function = load(own)

    @wraps(function)
    def entry(ctx: Context, **options: Any) -> Scores:
        return checked(own, call(own, function, ctx, options), ctx)

    SCORES[own.name] = entry
    OWN[own.name] = own
    return function
