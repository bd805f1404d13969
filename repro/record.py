"""Records: what is kept of a run, where, and how it is read back as one tidy table. Imports no torch.

A run's folder holds `settings.yaml` (enough to repeat it), `record.json` (everything measured), `DONE` (written
last: without it the run does not count) and, for dense networks, the weights that tickets are made from. A record
whose checksum is wrong counts as not there.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from . import index, paths, seals
from .errors import ReproError
from .files import write
from .naming import method as method
from .provenance import environment as environment
from .provenance import installed as installed
from .rows import COLUMNS as COLUMNS
from .rows import HEAVY, light, packed
from .rows import frame as frame
from .rows import row as row
from .text import sized

FORMAT = 1
LIMIT = 32 * 2**20  # bytes; the record of a run of 1000 epochs takes less than one hundredth
_SOUND: dict[Path, tuple[int, ...]] = {}  # verified in this process: path, and inode, size and time of change


def folder(key: str) -> Path:
    """Where the run with this key lives while it is made and after."""
    return paths.build() / "runs" / key


def begin(key: str, settings: Mapping[str, Any]) -> None:
    """Write down, in a run's folder, the settings that repeat it."""
    plain = json.loads(json.dumps(settings))
    write(folder(key) / "settings.yaml", yaml.safe_dump(plain, sort_keys=False))


def finish(key: str, record: Mapping[str, Any]) -> None:
    """Write a run's record, then the marker that makes it count."""
    plain = json.loads(json.dumps(_finite(record)))
    write(folder(key) / "record.json", json.dumps(seals.sealed(plain), indent=1) + "\n")
    write(folder(key) / "DONE", "")


def _finite(value: Any) -> Any:
    """Replace what JSON has no number for, as in the curve of a diverged run, by null."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def stores() -> tuple[Path, ...]:
    """Where records are looked for: runs of this machine first, then the published ones."""
    return paths.build() / "runs", paths.records()


def find(key: str) -> Path | None:
    """Locate the sound record of a finished run, here or published; None when there is none.

    A damaged record is named on standard error and counts as not there.
    """
    published = stores()[1] / f"{key}.json"
    return mine(key) or (published if published.exists() and _sound(published) else None)


def mine(key: str) -> Path | None:
    """Locate the sound record of a run that was finished on, or brought to, this machine."""
    path = stores()[0] / key / "record.json"
    return path if path.with_name("DONE").exists() and _sound(path) else None


def _sound(path: Path) -> bool:
    if _SOUND.get(path) == _stamp(path):
        return True
    try:
        read(path)
    except seals.DamagedError as error:
        seals.warn(str(error))
        return False
    return True


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def read(path: Path) -> dict[str, Any]:
    """Read one record, and verify its checksum, if it has one, unless this process did so before.

    Raises:
        DamagedError: with one line, when it is damaged, of another format, or of another run than its name says.
    """
    stamp = _stamp(path)
    try:
        record = json.loads(sized(path, LIMIT))
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise ValueError("not a record of this version")
        if not isinstance(record.get("key"), str) or not isinstance(record.get("settings", {}), dict):
            raise ValueError("without a key, or its settings are none")
        if record["key"] != (path.parent.name if path.name == "record.json" else path.stem):
            raise ValueError("of another run")
        if stamp is None or _SOUND.get(path) != stamp:
            seals.opened(record)
    except (ReproError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from None
    if stamp:
        _SOUND[path] = stamp
    record.pop(seals.SUM, None)
    return record


def _damaged(path: Path, why: object) -> seals.DamagedError:
    published = paths.records() in path.parents
    mend = (
        f"ignored: `git checkout -- {path}` brings it back"
        if published
        else "it counts as not done: run it again"
    )
    return seals.DamagedError(f"{path}: damaged record ({why}); {mend}")


def load(*folders: Path, full: bool = False) -> pd.DataFrame:
    """Tabulate all finished records below the folders, one row per run.

    Damaged records are named on standard error and left out. Rows come from an index of what the files say, so that
    only new and changed files are read.

    Args:
        folders: by default this machine's runs and the published records.
        full: with the columns of whole structures, `rows.HEAVY`, for which every file is read; see `details`.
    """
    found: dict[str, tuple[str, list[Any]]] = {}
    for store in folders or stores():
        for name, fault, *values in _indexed(store):
            if fault:
                seals.warn(fault)
            else:
                found.setdefault(values[0], (_path(store, name), values))
    table = light([values for _, values in found.values()], [path for path, _ in found.values()])
    return details(table) if full else table


def faults(*, deep: bool = False) -> list[str]:
    """Say of each damaged record, here and published, what is wrong with it, and after a semicolon what to do.

    Args:
        deep: read every file, also those that have not changed since they were last read.
    """
    found = [(_path(store, name), fault) for store in stores() for name, fault, *_ in _indexed(store)]
    told = [fault for _, fault in found if fault]
    for path, fault in found if deep else ():
        if not fault:
            try:
                read(Path(path))
            except seals.DamagedError as error:
                told.append(str(error))
    return told


def _indexed(store: Path) -> list[index.Row]:
    return index.synced(store, _listed(store), partial(_packed, store))


def details(table: pd.DataFrame) -> pd.DataFrame:
    """Add the columns `curve`, `layers` and `settings` to rows of a table, read from the files that `path` names."""
    read_now = [read(Path(path)) if isinstance(path, str) else {} for path in table["path"]]
    return table.assign(
        **{name: pd.Series([r.get(name) for r in read_now], table.index, object) for name in HEAVY}
    )


def _listed(store: Path) -> dict[str, index.Stamp]:
    """List what records a folder has: run folders that are DONE, and single files; with size and time of change."""
    found: dict[str, index.Stamp] = {}
    with suppress(OSError), os.scandir(store) as entries:
        for entry in entries:
            path = entry.path
            if entry.is_dir():
                if not os.access(f"{path}/DONE", os.F_OK):
                    continue
                path = f"{path}/record.json"
            elif not entry.name.endswith(".json"):
                continue
            try:
                facts = os.stat(path)  # noqa: PTH116 - a Path for each of many files takes as long as all else
                found[entry.name] = facts.st_size, facts.st_mtime_ns
            except OSError:
                found[entry.name] = -1, 0
    return found


def _path(store: Path, name: str) -> str:
    return f"{store}/{name}" if name.endswith(".json") else f"{store}/{name}/record.json"


def _packed(store: Path, name: str) -> tuple[Any, ...]:
    """Read a record that a stranger may have put among the others, and make what the index keeps of it."""
    path = Path(_path(store, name))
    found = read(path)
    try:
        return packed({"key": found["key"]} | row(found["settings"], found))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise _damaged(path, repr(error)) from None
