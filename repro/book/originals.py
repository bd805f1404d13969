"""The commands of the original codes beside ours: tables made from `book/commands.yaml`."""

from __future__ import annotations

from typing import Any

from .. import paths
from ..errors import ReproError, nearest
from ..text import value
from .tables import table

COMMANDS = "commands.yaml"
KEYS = {"original", "ours", "note", "flags"}


def groups() -> list[dict[str, Any]]:
    """Read the groups of rows.

    Raises:
        ReproError: when a row has an unknown key, or lacks the original or the note.
    """
    path = paths.root() / "book" / COMMANDS
    if not path.is_file():
        return []
    found = value(path.read_text(encoding="utf-8"))
    for row in (row for group in found for row in group["rows"]):
        for key in row:
            if key not in KEYS:
                raise ReproError(f"book/{COMMANDS}: unknown key {key!r}: {nearest(key, KEYS)}")
        if not {"original", "note"} <= set(row):
            raise ReproError(f"book/{COMMANDS}: a row needs `original` and `note`: {row}")
    return found


def fragment() -> str:
    """Write a section with a table for each group."""
    parts = []
    for group in groups():
        rows = [[_code(row["original"]), _code(row.get("ours")), row["note"]] for row in group["rows"]]
        parts.append(f"## {group['title']}\n\n{table(['original', 'ours', 'note'], rows)}")
    return "\n".join(parts) or "No commands are listed yet.\n"


def _code(command: str | None) -> str | None:
    return command and f"`{' '.join(command.split())}`"
