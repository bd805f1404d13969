"""Words for the names of methods and checks that have no entry in the menus."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..cells import LEARNED
from .menus import DATA, MOVING, Style

EQUAL_FLOPS, EQUAL_DENSITY, FROM = " at equal FLOPs", " at equal density", " from "
TAKEN = re.compile(r"mask_of\(.+ from (\w+)\)(?:@(\w+))?")
LONGER = re.compile(r"(.+)\*([\d.]+)")
BEGUN = re.compile(r"(\w+):(.+)\(([\d.]+(?:e-\d+)?)\)")  # a method, and the density that it starts from
MENDED = re.compile(r"(\w+)/(move|add)(:.+)?")
ROUNDS = re.compile(r"imp(?::(snip|synflow|random))?(?::([^@+]+))?(?:@(\w+)(?:/(\w+))?)?")
ORIGINS = ("Random, ", "Static, ")
SIGNS = "+:@*/"
PHRASES = {"scope=layer": "uniform", "grow=random": "random growth", "grow=momentum": "growth by momentum"}
MENDS = {"move": "weights moved", "add": "weights added"}
STROKES = {
    "kernel": "whole kernels",
    **{how: f"flow repaired ({words})" for how, words in MENDS.items()},
    "bernoulli": "each weight drawn by itself",
    "scale": "scaled weights",
    "orthogonal": "orthogonal weights",
    "norms": "batch norm set back",
    "amplitude": "sizes set back",
    "sign": "signs set back",
}
ROUND_WEIGHTS = {None: "initial weights", "trained": "learning-rate rewinding"}


def read_name(menu: Mapping[str, Style], name: str) -> str:
    """Read a name of parts, `moving:score+allocation:option/unit@weights*longer~setting=value`, from its end.

    Args:
        menu: what has a label; reading stops as soon as the rest is there.
        name: of a method, as `record.method` and `by_setting` make it, or of a check.
    """
    if name in menu:
        return menu[name].label
    for ending in (EQUAL_FLOPS, EQUAL_DENSITY):
        if name.endswith(ending):
            return read_name(menu, name.removesuffix(ending)) + ending
    if taken := TAKEN.fullmatch(name):
        begun = {"start": "", None: ", initial weights"}.get(taken[2], f", {taken[2]} weights")
        return f"Ticket from {DATA.get(taken[1], taken[1].capitalize())}{begun}"
    known, _, where = name.rpartition(FROM)
    if known and ")" not in where:
        return f"{read_name(menu, known)}, early weights of {DATA.get(where, where)}"
    known, _, settings = name.partition("~")
    if known and settings:
        words = [PHRASES.get(w, w.replace("=", " ").replace("_", " ")) for w in settings.split(",")]
        return ", ".join([read_name(menu, known), *words])
    if longer := LONGER.fullmatch(name):
        return f"{read_name(menu, longer[1])}, {longer[2]}x training"
    return _read_parts(menu, name)


def along_knob(name: str) -> str:
    """Name a run without the setting that decides which density it learns; it lies on the line of that method."""
    learned = re.match(LEARNED, name) and not name.endswith((EQUAL_FLOPS, EQUAL_DENSITY))
    return name.partition("~")[0] if learned else name


def _read_parts(menu: Mapping[str, Style], name: str) -> str:
    """Read what a method starts from and how, once settings and length are read."""
    if (mended := MENDED.fullmatch(name)) and mended[1] in MOVING:
        return f"{read_name(menu, mended[1] + (mended[3] or ''))}, flow repaired in training ({MENDS[mended[2]]})"
    if (begun := BEGUN.fullmatch(name)) and begun[1] in MOVING:
        return _begun(menu, begun)
    if rounds := ROUNDS.fullmatch(name):
        return _rounds(menu, rounds)
    end = _last_sign(name)
    if end > 0:
        return _joined(menu, name[:end], name[end], name[end + 1 :])
    if name.startswith("mask_of(") and name.endswith(")"):
        return f"Static, mask of {read_name(menu, name[8:-1])}"
    if name.startswith("induced(") and name.endswith(")"):
        return f"Random, {_densities(menu, name)}"
    return MOVING.get(name) or name.replace("_", " ")


def _bare(menu: Mapping[str, Style], name: str) -> str:
    """Read a name within another, without the word for masks that stay."""
    text = read_name(menu, name)
    for origin in ORIGINS:
        text = text.removeprefix(origin)
    return text


def _begun(menu: Mapping[str, Style], begun: re.Match[str]) -> str:
    """Read a method and the masks it starts from, with their density; what else is told of these comes after."""
    head, start, density = begun.groups()
    end = next(iter(_signs(start)), len(start))
    if end < len(start):
        return read_name(menu, f"{head}:{start[:end]}({density}){start[end:]}")
    return f"{MOVING[head]} ({_bare(menu, start)}, from {100 * float(density):.4g} %)"


def _rounds(menu: Mapping[str, Style], rounds: re.Match[str]) -> str:
    """Read iterative pruning: by what, from which mask, with which weights."""
    by, start, weights, back = rounds.groups()
    how = "" if by is None else " at random" if by == "random" else f" by {read_name(menu, by)}"
    begun = f" from {_bare(menu, start)}" if start else ""
    told = [f"IMP{how}{begun}", ROUND_WEIGHTS.get(weights, f"{weights} weights")]
    return ", ".join([*told, *([STROKES.get(back, back)] if back else [])])


def _densities(menu: Mapping[str, Style], name: str) -> str:
    """Read `induced(...)`: whose layer densities a random mask has."""
    source = name.removeprefix("induced(").removesuffix(")")
    return "given densities" if source == "densities" else f"densities of {_bare(menu, source)}"


def _joined(menu: Mapping[str, Style], first: str, sign: str, last: str) -> str:
    """Read what stands before a sign, and add what stands after it in words."""
    if sign == ":" and first in MOVING:
        return f"{MOVING[first]} ({_bare(menu, last)})"
    words = _densities(menu, last) if last.startswith("induced(") else last.replace("_", " ")
    added = {"@": f"{words} weights", "*": f"{words}x training", "/": STROKES.get(last, words)}
    return f"{read_name(menu, first)}, {added.get(sign, words)}"


def _signs(name: str) -> list[int]:
    """Find the signs outside brackets."""
    depth, found = 0, []
    for i, letter in enumerate(name):
        depth += (letter == "(") - (letter == ")")
        if letter in SIGNS and depth == 0:
            found.append(i)
    return found


def _last_sign(name: str) -> int:
    """Find the last sign outside brackets; for a method that moves masks the colon after it comes last of all."""
    found = _signs(name)
    own = [i for i in found if name[:i] not in MOVING]
    return (own or found or [-1])[-1]
