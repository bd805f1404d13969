"""The tidy table of runs: its columns, a run's row, and what of it an index keeps. Imports no torch."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .naming import density, method

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
HEAVY = ["curve", "layers", "settings"]  # whole structures, by far most of a record
NUMBERS = ["realised", *COLUMNS[COLUMNS.index("accuracy") : COLUMNS.index("device")]]
PLAIN = [name for name in COLUMNS if name not in (*HEAVY, *NUMBERS, "path")]
_PACKED = struct.Struct(f"<{len(NUMBERS)}d")


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
    table[NUMBERS] = table[NUMBERS].astype(float)
    return table


def packed(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Bring a row, without path and whole structures, into the values of PLAIN and the bytes of NUMBERS.

    Raises:
        ValueError, TypeError: the row holds other values than plain ones and numbers.
    """
    plain = tuple(row[name] for name in PLAIN)
    for name, value in zip(PLAIN, plain, strict=True):
        if isinstance(value, str):
            value.encode()  # half a surrogate pair is no text
        elif not (
            value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)
        ):
            raise TypeError(f"{name} is no plain value")
    numbers = (math.nan if row[name] is None else float(row[name]) for name in NUMBERS)
    return (*plain, _PACKED.pack(*numbers))


def light(rows: Sequence[Sequence[Any]], where: Sequence[str]) -> pd.DataFrame:
    """Bring what `packed` gave into the table, without the columns HEAVY.

    Args:
        rows: values of one run each.
        where: the path of each.
    """
    columns: dict[str, Any] = (
        dict(zip(PLAIN, map(list, zip(*rows, strict=True)), strict=False)) if rows else {}
    )
    held = b"".join(row[-1] for row in rows)
    numbers = np.frombuffer(held, dtype="<f8").reshape(len(rows), len(NUMBERS)).astype(float)
    columns |= {name: numbers[:, i] for i, name in enumerate(NUMBERS)} | {"path": list(where)}
    return pd.DataFrame({name: columns.get(name, []) for name in COLUMNS if name not in HEAVY})


def overview(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarise a table: one row for each data set, model, method, check, density and status, with runs, mean accuracy, seconds."""
    groups = frame.groupby(["data", "model", "method", "check", "density", "status"])
    summary = groups.agg(runs=("key", "size"), accuracy=("accuracy", "mean"), seconds=("seconds", "sum"))
    return summary.reset_index()
