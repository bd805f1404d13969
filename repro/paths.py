"""Every folder of the project in one place."""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path:
    """Find the project: the nearest folder at or above the current one that has `params` and `notebooks`.

    Falls back to the checkout that this package was imported from.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return Path(__file__).resolve().parent.parent


def build() -> Path:
    """Where everything that is made lands: `REPRO_BUILD`, default `_build` of the project."""
    return Path(os.environ.get("REPRO_BUILD") or root() / "_build")


def data() -> Path:
    """Where data sets lie: `REPRO_DATA`, default `_build/data` of the project."""
    return Path(os.environ.get("REPRO_DATA") or root() / "_build" / "data")


def records() -> Path:
    """The published records, committed with the book."""
    return root() / "book" / "records"
