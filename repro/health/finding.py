"""What an examination finds: one line that says what is so, and what to do about it."""

from __future__ import annotations

from typing import Literal, NamedTuple

MOST = 10  # findings of one kind that are told one by one


class Finding(NamedTuple):
    """One finding.

    Args:
        level: "ok" as it should be, "note" worth knowing, "act" needs attention.
        what: what was found.
        do: what to do; "" where there is nothing.
    """

    level: Literal["ok", "note", "act"]
    what: str
    do: str = ""

    def line(self) -> str:
        """Write it as one line of text."""
        return f"{self.level:4}  {self.what}" + (f": {self.do}" if self.do else "")


def few(findings: list[Finding], kind: str) -> list[Finding]:
    """Keep the first findings of a kind, and say how many more there are."""
    left = len(findings) - MOST
    if left <= 0:
        return findings
    return [*findings[:MOST], findings[0]._replace(what=f"and {left} more {kind}", do="")]


def size(count: float) -> str:
    """Write a number of bytes with the unit that suits it."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
