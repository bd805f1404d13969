"""What the tests of reliability survived, kept for a page: a JSON file that several tests, and processes, add to."""

from __future__ import annotations

import json
import os
from pathlib import Path

from repro import files

VARIABLE = "REPRO_RELIABILITY"  # the path of the file; without it nothing is written


def note(kind: str, tried: int, survived: int, what: str) -> None:
    """Write down what a test tried and survived, in place of what the same test told before.

    Args:
        kind: what was done, e.g. "spoilt files" or "process kills".
        tried: how often.
        survived: how often it ended as it should; a test that notes less than it tried should fail too.
        what: to what, in a few words; names the entry within its kind.
    """
    if not (told := os.environ.get(VARIABLE)):
        return
    path = Path(told)
    with files.lock(path.with_name(f"{path.name}.lock")):
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        found.setdefault(kind, {})[what] = {"tried": tried, "survived": survived}
        files.write(path, json.dumps(found, indent=1, sort_keys=True) + "\n")
