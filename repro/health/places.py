"""What lies in the build folder: folders of runs and how far they are, tickets, and files that were never finished."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from .. import files, paths
from ..errors import ReproError
from ..settings import Settings, parse
from ..text import load, sized

State = Literal["done", "under way", "unmarked", "orphan"]
SETTINGS_LIMIT = 2**16  # bytes
HOUR = 3600.0
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}|\.writable-\d+")
_ELSEWHERE = ("data", "damaged")  # folders that `files.write` never writes to


def runs() -> list[Path]:
    """List the folders of runs, by name."""
    store = paths.build() / "runs"
    return sorted(p for p in store.iterdir() if p.is_dir()) if store.is_dir() else []


def tickets() -> list[Path]:
    """List the files of tickets, by name."""
    return sorted((paths.build() / "tickets").glob("*.safetensors"))


def state(folder: Path) -> State:
    """Say how far a run is: done, under way with a checkpoint, recorded without its marker, or nothing of all that."""
    parts: dict[State, str] = {
        "done": "DONE",
        "under way": "checkpoint.safetensors",
        "unmarked": "record.json",
    }
    for name, part in parts.items():
        if (folder / part).exists():
            return name
    return "orphan"


def settings(folder: Path) -> Settings | None:
    """Read the settings of a run's folder; None when they are missing, damaged or of another version."""
    try:
        found = load(sized(folder / "settings.yaml", SETTINGS_LIMIT).decode())
        s = parse(found) if isinstance(found, dict) else None
    except (ReproError, UnicodeDecodeError):
        return None
    return s if s and s.key() == folder.name else None


def held(lock: Path) -> bool:
    """Tell whether a process holds a lock file; one that is not there is free."""
    if not lock.exists():
        return False
    try:
        with files.lock(lock, wait=False):
            return False
    except files.BusyError:
        return True
    except ReproError:  # it cannot even be opened
        return False


def temporary(older: float = HOUR) -> Iterator[Path]:
    """List files that were begun, not finished, and not touched for so many seconds."""
    build, latest = paths.build(), time.time() - older
    if not build.is_dir():
        return
    below = [p for p in sorted(build.iterdir()) if p.is_dir() and p.name not in _ELSEWHERE]
    for folder in [build, *below, *runs()]:
        for path in sorted(folder.glob(".*")):
            if _TEMPORARY.fullmatch(path.name) and path.is_file() and path.stat().st_mtime <= latest:
                yield path
