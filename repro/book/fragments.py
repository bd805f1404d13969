"""Texts of the book that are generated with it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ..progress import clock
from ..recipes import RECIPES
from ..record import installed
from . import gallery, originals, performance, reliability, verdicts
from .notebooks import Page
from .tables import code, link, plain, table

SOFTWARE = ("repro-jackpot", "torch", "torchvision", "numpy", "pandas", "scipy", "papermill", "jupyter-book")
STATES = ("done", "diverged", "failed", "missing")
HIDDEN = ["curve", "layers", "settings"]  # columns that hold whole structures


def _pages(records: dict[Page, pd.DataFrame]) -> str:
    rows = []
    for page, frame in records.items():
        runs = frame.to_dict("records")
        counts = [sum(run["status"] == state for run in runs) for state in STATES]
        newest = max((run["when"] for run in runs if isinstance(run["when"], str)), default=None)
        name = str(page.params().get("title") or page.section.replace("-", " ").capitalize())
        day = newest and plain(newest[:10])
        rows.append([link(page, name), page.profile, len(runs), *counts, _spent(runs), day])
    return table(["page", "profile", "runs", *STATES, "time", "newest"], rows)


def _spent(runs: list[dict[Any, Any]]) -> str:
    return clock(sum(run["seconds"] for run in runs if run["seconds"] > 0))


def _unfinished(runs: list[dict[Any, Any]]) -> str:
    lost = [run for run in runs if run["status"] in ("diverged", "failed")]
    rows = [[code(r["key"]), r["status"], _told(r["reason"]), code(r["command"])] for r in lost]
    head = ["run", "status", "reason", "command"]
    return table(head, rows) if rows else "Every run that was started has finished, and none diverged.\n"


def _told(reason: Any) -> str | None:
    return plain(reason) if isinstance(reason, str) else None


def _machines(runs: list[dict[Any, Any]]) -> str:
    made = {run["key"]: run for run in runs if run["status"] != "missing"}.values()
    groups: dict[tuple[str, str, str], list[dict[Any, Any]]] = {}
    for run in made:
        precision = run["precision"] if isinstance(run["precision"], str) else "not recorded"
        group = str(run["device"] or ""), precision, str(run["commit"] or "unknown")
        groups.setdefault(group, []).append(run)
    rows = []
    for (*where, commit), group in sorted(groups.items()):
        memory = max((run["memory_mb"] for run in group if run["memory_mb"] > 0), default=None)
        rows.append([*map(plain, (*where, commit)), len(group), _spent(group), memory and f"{memory:.0f} MB"])
    head = ["device", "computed in", "commit", "runs", "training time", "peak memory"]
    return table(head, rows) if rows else "No run has been made yet.\n"


def _software() -> str:
    rows: list[list[Any]] = [
        ["Python", platform.python_version()],
        ["system", f"{platform.system()} {platform.machine()}"],
    ]
    rows += [["CPU cores", os.cpu_count()]]
    rows += [[name, installed(name)] for name in SOFTWARE]
    return table(["software", "version"], rows)


def _recipes() -> str:
    plain = ("epochs", "batch", "lr", "weight_decay")
    rows = []
    for name, recipe in RECIPES.items():
        optim, data = recipe.get("optim", {}), recipe.get("data", {})
        rest = {k: v for k, v in optim.items() if k not in plain}
        other = ", ".join(f"{k} {_short(v)}" for k, v in {**data, **rest}.items())
        rows.append([f"`{name}`", *(_short(optim.get(k)) for k in plain), other])
    return table(["recipe", "epochs", "batch", "learning rate", "weight decay", "other settings"], rows)


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return "[" + ", ".join(map(str, map(_short, value))) + "]"
    return f"{value:.3g}" if isinstance(value, float) else value


def write(pages: Iterable[Page]) -> dict[str, str]:
    """Generate every fragment, by file name.

    Args:
        pages: the pages of the book; their records are read, nothing is trained.
    """
    records = {page: page.records() for page in pages}
    marked = [frame.assign(section=p.section, profile=p.profile) for p, frame in records.items()]
    listed = pd.concat(marked, ignore_index=True) if marked else pd.DataFrame(columns=["key", "status"])
    runs = listed.to_dict("records")
    found = verdicts.judge(records)
    return {
        "summary.md": verdicts.summary(found),
        "verdicts.md": verdicts.overview(found),
        "claims.md": verdicts.sections(found),
        "pages.md": _pages(records),
        "unfinished.md": _unfinished(runs),
        "machines.md": _machines(runs),
        "software.md": _software(),
        "recipes.md": _recipes(),
        "performance.md": performance.fragment(),
        "reliability.md": reliability.fragment(),
        "gallery.md": gallery.fragment(),
        "from-original.md": originals.fragment(),
        "runs.csv": listed.drop(columns=HIDDEN, errors="ignore").to_csv(index=False),
    }
