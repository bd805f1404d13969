"""Tables of runs as `repro.record` makes them, without any run."""

from __future__ import annotations

import numpy as np
import pandas as pd

from repro.record import COLUMNS


def layers_of(density: float, empty: int = 0) -> list[dict]:
    made = []
    for i in range(4):
        total = 1000 * (i + 1)
        kept = 0 if i < empty else int(total * density)
        made.append(
            {"name": f"layer{i}", "shape": [total], "kept": kept, "total": total, "density": kept / total}
        )
    return made


def run(**given) -> dict:
    density, seed = given.get("density", 0.1), given.get("seed", 0)
    usual = {
        "status": "done",
        "data": "digits",
        "model": "resnet20",
        "width": 0.5,
        "method": "snip",
        "check": "none",
        "density": density,
        "realised": density,
        "seed": seed,
        "epochs": 20,
        "accuracy": 95.0,
        "collapsed": 0.0,
        "layers": layers_of(density),
        "command": "repro run",
        "path": "runs/x",
    }
    made = usual | given
    names = ("data", "model", "width", "method", "check", "density", "seed", "epochs")
    return {"key": "-".join(str(made[n]) for n in names)} | made


def runs(*cells: dict, seeds: int = 5, spread: float = 0.05, base: float = 95.0) -> pd.DataFrame:
    """Make runs of some cells; `shift` of a cell moves its accuracy, its seeds share a common part."""
    rows = []
    for number, cell in enumerate(cells):
        noise = np.random.default_rng(number).normal(0, spread, seeds)
        shift = cell.get("shift", 0.0)
        given = {k: v for k, v in cell.items() if k != "shift"}
        rows += [run(**(given | {"seed": s, "accuracy": base + s + shift + noise[s]})) for s in range(seeds)]
    return pd.DataFrame(rows, columns=COLUMNS)


def without(frame: pd.DataFrame, status: str, **where) -> pd.DataFrame:
    """Make the runs of some cells missing, diverged or failed."""
    frame = frame.copy()
    chosen = np.logical_and.reduce([frame[name] == value for name, value in where.items()])
    frame.loc[chosen, "status"] = status
    frame.loc[chosen, "accuracy"] = np.nan
    return frame
