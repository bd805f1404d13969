"""What commands print of planned runs without starting any."""

from __future__ import annotations

import json
from collections.abc import Sequence

import yaml

from .facts import head
from .pool import table
from .settings import Settings
from .text import show_table

SHOWN = ["key", "data", "model", "method", "check", "density", "seed"]


def print_settings(planned: Sequence[Settings]) -> None:
    """Print all settings of some runs, defaults included, as YAML documents that `repro run` reads again."""
    for s in planned:
        known = head(s)
        plain = json.loads(json.dumps(known["settings"]))
        print(f"# {known['key']}: {known['command']}\n{yaml.safe_dump(plain, sort_keys=False)}---")


def list_runs(planned: Sequence[Settings]) -> None:
    """List runs and which of them are done."""
    frame = table(planned)
    show_table(frame[[*SHOWN, "status"]].to_dict("records"))
    print(f"{len(frame)} runs, {(frame['status'] != 'missing').sum()} of them done; nothing was started")
