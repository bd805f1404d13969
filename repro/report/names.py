"""Words for the names of methods and checks that have no entry in the menus."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .menus import DATA, MOVING, Style

EQUAL, FROM = " at equal FLOPs", " from "
TAKEN = re.compile(r"mask_of\(.+ from (\w+)\)(?:@(\w+))?")
ORIGINS = ("Random, ", "Static, ")
SIGNS = "+:@*/"


def read_name(menu: Mapping[str, Style], name: str) -> str:
    """Read a name of parts, `moving:score+allocation:option/unit@weights*longer~setting=value`, from its end.

    Args:
        menu: what has a label; reading stops as soon as the rest is there.
        name: of a method, as `record.method` and `by_setting` make it, or of a check.
    """
    if name in menu:
        return menu[name].label
    if name.endswith(EQUAL):
        return read_name(menu, name.removesuffix(EQUAL)) + EQUAL
    if taken := TAKEN.fullmatch(name):
        begun = {"start": "", None: ", initial weights"}.get(taken[2], f", {taken[2]} weights")
        return f"Ticket from {DATA.get(taken[1], taken[1].capitalize())}{begun}"
    if FROM in name:
        known, _, where = name.rpartition(FROM)
        return f"{read_name(menu, known)}, early weights of {DATA.get(where, where)}"
    known, _, settings = name.partition("~")
    if known and settings:
        words = [word.replace("=", " ").replace("_", " ") for word in settings.split(",")]
        return ", ".join([read_name(menu, known), *words])
    end = _last_sign(name)
    if end > 0:
        return _joined(menu, name[:end], name[end], name[end + 1 :])
    if name.startswith("mask_of(") and name.endswith(")"):
        return f"Static, mask of {read_name(menu, name[8:-1])}"
    return MOVING.get(name) or name.replace("_", " ")


def _joined(menu: Mapping[str, Style], first: str, sign: str, last: str) -> str:
    """Read what stands before a sign, and add what stands after it in words."""
    if sign == ":" and first in MOVING:
        start = read_name(menu, last)
        for origin in ORIGINS:
            start = start.removeprefix(origin)
        return f"{MOVING[first]} ({start})"
    words = last.replace("_", " ")
    added = {"@": f"{words} weights", "*": f"{words}x training", "/": f"whole {words}s"}
    return f"{read_name(menu, first)}, {added.get(sign, words)}"


def _last_sign(name: str) -> int:
    """Find the last sign outside brackets; for a method that moves masks the colon after it comes last of all."""
    depth, found = 0, []
    for i, letter in enumerate(name):
        depth += (letter == "(") - (letter == ")")
        if letter in SIGNS and depth == 0:
            found.append(i)
    own = [i for i in found if name[:i] not in MOVING]
    return (own or found or [-1])[-1]
