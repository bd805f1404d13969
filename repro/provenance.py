"""Where and by what something was made: versions, machine, commit. Imports no torch."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from . import paths


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
