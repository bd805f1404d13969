"""Is all well here? The environment and this machine's store examined, each finding with what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .finding import Finding

__all__ = ["Finding", "examine", "healthy"]


def examine(*, deep: bool = False) -> Iterator[Finding]:
    """Look at everything, one finding after the other.

    Args:
        deep: read every file of the store and verify its checksum.
    """
    from . import store, surroundings

    yield from surroundings.examine()
    yield from store.examine(deep)


def healthy(findings: Iterable[Finding]) -> bool:
    """Tell whether nothing needs attention."""
    return all(finding.level != "act" for finding in findings)
