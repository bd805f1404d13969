"""Records: what is kept of a run, where, and how it is read back as one tidy table. Imports no torch.

A run's folder holds `settings.yaml` (enough to repeat it), `record.json` (everything measured), `DONE` (written
last: without it the run does not count) and, for dense networks, the weights that tickets are made from.
"""

from __future__ import annotations

import json
import math
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from . import paths
from .errors import ReproError
from .files import write
from .naming import density, method

FORMAT = 1
COLUMNS = [
    "key",
    "status",
    "reason",
    "data",
    "model",
    "width",
    "method",
    "check",
    "density",
    "realised",
    "seed",
    "epochs",
    "accuracy",
    "best",
    "top5",
    "collapsed",
    "overlap",
    "overlap_expected",
    "effective",
    "dead",
    "units",
    "params",
    "flops_ratio",
    "train_flops_ratio",
    "train_flops_counted",
    "explored",
    "validation",
    "train_loss",
    "seconds",
    "memory_mb",
    "device",
    "precision",
    "commit",
    "when",
    "command",
    "path",
    "curve",
    "layers",
    "settings",
]


def folder(key: str) -> Path:
    """Where the run with this key lives while it is made and after."""
    return paths.build() / "runs" / key


def begin(key: str, settings: Mapping[str, Any]) -> None:
    """Write down, in a run's folder, the settings that repeat it."""
    plain = json.loads(json.dumps(settings))
    write(folder(key) / "settings.yaml", yaml.safe_dump(plain, sort_keys=False))


def finish(key: str, record: Mapping[str, Any]) -> None:
    """Write a run's record, then the marker that makes it count."""
    write(folder(key) / "record.json", json.dumps(_finite(record), indent=1) + "\n")
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
    """Locate the record of a finished run, here or published; None when there is none."""
    mine, published = stores()
    if (mine / key / "DONE").exists():
        return mine / key / "record.json"
    return published / f"{key}.json" if (published / f"{key}.json").exists() else None


def read(path: Path) -> dict[str, Any]:
    """Read one record; raise ReproError with one line when it is damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or record.get("format") != FORMAT or "key" not in record:
            raise ValueError("not a record of this version")
    except (OSError, ValueError) as error:
        raise ReproError(f"{path}: damaged record ({error}); remove it and run again") from None
    return record


def row(
    settings: Mapping[str, Any], record: Mapping[str, Any] | None, path: Path | None = None
) -> dict[str, Any]:
    """Make the table row of a run from its settings and, once it is there, its record."""
    s, r = settings, record or {}
    accuracy, environment = r.get("accuracy", {}), r.get("environment", {})
    return {
        "data": s["data"]["name"],
        "model": s["model"]["name"],
        "width": s["model"].get("width", 1.0),
        "method": method(s),
        "check": s["check"]["name"],
        "density": r.get("density") if (ends := density(s)) is None else ends,
        "seed": s["seed"],
        "epochs": round(s["optim"]["epochs"] * s["optim"].get("multiplier", 1)),
        "status": r.get("status", "missing"),
        "reason": r.get("reason"),
        "realised": r.get("density"),
        "accuracy": accuracy.get("final"),
        "best": accuracy.get("best"),
        "top5": accuracy.get("top5"),
        **_masks(r),
        "params": r.get("params"),
        **_costs(r.get("flops", {})),
        "explored": (r.get("sparse") or {}).get("explored"),
        "validation": accuracy.get("validation"),
        "train_loss": (r.get("curve", {}).get("train_loss") or [None])[-1],
        "seconds": r.get("seconds", {}).get("total"),
        "memory_mb": r.get("memory_mb"),
        "device": environment.get("device"),
        "precision": environment.get("precision"),
        "commit": environment.get("commit"),
        "when": r.get("when"),
        "command": r.get("command"),
        "path": str(path) if path else None,
        "curve": r.get("curve"),
        "layers": r.get("layers"),
        "settings": dict(s),
    }


def _masks(r: Mapping[str, Any]) -> dict[str, Any]:
    overlap, layers = r.get("overlap") or {}, r.get("layers") or []
    return {
        "collapsed": sum(layer["kept"] == 0 for layer in layers) if layers else None,
        "overlap": overlap.get("value"),
        "overlap_expected": overlap.get("expected"),
        "effective": _total(layers, "effective", of="total"),
        "dead": _total(layers, "dead"),
        "units": _total(layers, "units"),
    }


def _costs(flops: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "flops_ratio": "ratio",
        "train_flops_ratio": "train_ratio",
        "train_flops_counted": "train_counted",
    }
    return {column: flops.get(name) for column, name in names.items()}


def _total(layers: Sequence[Mapping[str, Any]], name: str, of: str | None = None) -> float | None:
    """Add up a count over layers, as a share of another if `of` names one; None if a record does not have it."""
    if not layers or any(layer.get(name) is None for layer in layers):
        return None
    return sum(layer[name] for layer in layers) / (sum(layer[of] for layer in layers) if of else 1)


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Bring rows into the one table that every page reads."""
    table = pd.DataFrame(list(rows), columns=COLUMNS)
    numbers = ["realised", *COLUMNS[COLUMNS.index("accuracy") : COLUMNS.index("device")]]
    table[numbers] = table[numbers].astype(float)
    return table


def load(*folders: Path) -> pd.DataFrame:
    """Read all finished records below the folders (default: this machine's and the published), one row per run."""
    found: dict[str, dict[str, Any]] = {}
    for store in folders or stores():
        files = [p.with_name("record.json") for p in sorted(store.glob("*/DONE"))]
        for path in [*files, *sorted(store.glob("*.json"))]:
            record = read(path)
            found.setdefault(record["key"], {"key": record["key"]} | row(record["settings"], record, path))
    return frame(found.values())


@cache
def environment() -> dict[str, Any]:
    """Describe where a run happens: versions, machine, commit (with a + when the tree has changes)."""
    names = ("repro-jackpot", "torch", "torchvision", "numpy")
    return {
        "python": platform.python_version(),
        "versions": {name: installed(name) for name in names},
        "system": platform.system(),
        "machine": platform.machine(),
        "commit": _commit(),
    }


def installed(name: str) -> str | None:
    """Give the version of an installed package, None if it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=paths.root(), capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        dirty = git("status", "--porcelain", "--", "repro")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return None
