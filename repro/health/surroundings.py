"""The surroundings: Python and libraries against the bounds of pyproject.toml, devices, data sets, room on the disk."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

from .. import paths
from ..errors import ReproError
from ..record import installed
from .finding import Finding, size

ROOM = 10**9  # bytes that should be free
_TESTS = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}


def examine() -> Iterator[Finding]:
    """Look at everything around the store."""
    yield from versions()
    yield from devices()
    yield from data_sets()
    yield from room()


def fits(version: str, bounds: str) -> bool:
    """Tell whether a version lies within bounds such as ">=1.0.4.post1,<2"; only the numbers before any word count."""
    wanted = re.findall(r"(>=|<=|==|!=|>|<)\s*([\d.]+)", bounds)
    return all(_TESTS[sign](_release(version), _release(bound)) for sign, bound in wanted)


def _release(text: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", text)
    numbers = [int(n) for n in found[0].split(".")] if found else []
    return tuple((numbers + [0] * 4)[:4])


def versions() -> Iterator[Finding]:
    """Compare Python and every dependency with the bounds of pyproject.toml."""
    file = paths.root() / "pyproject.toml"
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        python, needed = project["requires-python"], project["dependencies"]
    except (OSError, ValueError, LookupError) as error:
        yield Finding(
            "note", f"{file} cannot be read ({error})", "run in the project to have versions compared"
        )
        return
    if not fits(platform.python_version(), python):
        yield Finding("act", f"Python {platform.python_version()}, but {python} is needed", "install that")
    wrong = 0
    for line in needed:
        name, bounds = re.match(r"([\w.-]+)(?:\[.*\])?(.*)", line).groups()  # pyright: ignore[reportOptionalMemberAccess]
        version = installed(name)
        if version is None or not fits(version, bounds):
            wrong += 1
            yield Finding(
                "act", f"{name} {version or 'is not installed'}, but {bounds} is needed", "`pip install -e .`"
            )
    if not wrong:
        told = f"Python {platform.python_version()}, torch {installed('torch')}, all {len(needed)} dependencies in bounds"
        yield Finding("ok", told)


def devices() -> Iterator[Finding]:
    """Name the devices that torch sees, and the one that runs would be made on."""
    import torch

    from ..materials import device
    from ..measure import device_name

    found = [
        f"{torch.cuda.get_device_name(i)} ({size(torch.cuda.get_device_properties(i).total_memory)})"
        for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    told = f"{len(found)} GPU: {', '.join(found)}" if found else "no GPU"
    asked = os.environ.get("REPRO_DEVICE")
    try:
        where = device()
        if where.type == "cuda" and not found:
            raise ReproError("torch sees no GPU")
        yield Finding("ok", f"{told}; runs are made on {device_name(where)}, {os.cpu_count()} cores")
    except (RuntimeError, ReproError) as error:
        yield Finding(
            "act", f"REPRO_DEVICE={asked} cannot be used ({error})", "unset it, or mend the GPU's driver"
        )


def data_sets() -> Iterator[Finding]:
    """Say which data sets are here."""
    from ..data import listing

    states = {str(row["name"]): str(row["status"]) for row in listing()}
    here = [name for name, state in states.items() if state in ("ok", "built in")]
    absent = [name for name, state in states.items() if state == "missing"]
    yield Finding("ok", f"data sets in {paths.data()}: {', '.join(here)}")
    if absent:
        yield Finding(
            "note", f"not here: {', '.join(absent)}", "`repro data fetch NAME` gets one, or says how"
        )
    for name, state in states.items():
        if state not in ("ok", "built in", "missing"):
            yield Finding(
                "act", f"data set {name} is {state}", f"`repro data verify {name}` says what, and the way out"
            )


def room() -> Iterator[Finding]:
    """Look how much room is left where runs and data lie, and whether it can be written to."""
    for name, folder in {"REPRO_BUILD": paths.build(), "REPRO_DATA": paths.data()}.items():
        there = _existing(folder)
        free = shutil.disk_usage(there).free
        level, do = ("act", f"free some, or name another folder in {name}") if free < ROOM else ("ok", "")
        yield Finding(level, f"{folder}: {size(free)} free", do)
        if not os.access(there, os.W_OK):
            yield Finding("act", f"{there} cannot be written to", f"name another folder in {name}")


def _existing(folder: Path) -> Path:
    return next(p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir())
