"""The whole report in one call."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from concurrent.futures import as_completed
from pathlib import Path

from .. import paths
from ..errors import ReproError
from ..grids import expand
from ..pool import run_all
from ..progress import Waiting
from ..publish import RECORDED
from ..workers import deaf, workers_of
from .html import build
from .kernels import keep
from .notebooks import Page, check, execute, sections
from .staging import stage


def make_report(profile: str = "quick") -> Path:
    """Train what is missing of a profile, execute every notebook, and build the book.

    Args:
        profile: parameter files to run live; the published protocol is added from its records, without training.

    Returns:
        the page to open.

    Raises:
        ReproError: if no section has such a profile, or a notebook or the book fails.
    """

    def has(page: Page) -> bool:
        return (paths.root() / "params" / page.section / f"{page.profile}.yaml").is_file()

    live = [page for s in sections() if has(page := Page(s, profile))]
    if not live:
        raise ReproError(f"no params/<section>/{profile}.yaml; the profiles are smoke, quick and paper")
    recorded = [page for s in sections() if profile != RECORDED and has(page := Page(s, RECORDED))]
    for page in [*live, *recorded]:
        check(page)
    plans = [
        expand(page.params().get("runs"), source=f"params/{page.section}/{profile}.yaml") for page in live
    ]
    frame = run_all([s for plan in plans for s in plan])
    failed = frame[frame["status"] == "failed"]
    if len(failed):
        print(f"warning: {len(failed)} runs failed, the first: {failed.iloc[0]['reason']}", file=sys.stderr)
    _execute_all({page: page in live for page in [*live, *recorded]})
    stage([*live, *recorded])
    return build()


def _execute(page: Page, train: bool) -> Path:
    """Execute a page in a worker, which keeps its kernel for the next one."""
    keep()
    return execute(page.section, page.profile, train=train)


def _execute_all(pages: Mapping[Page, bool]) -> None:
    """Execute notebooks side by side, as many as there are cores; the value says whether each may train."""
    with (
        Waiting("executing notebooks", len(pages)) as waiting,
        workers_of(min(os.cpu_count() or 1, len(pages))) as pool,
    ):
        with deaf():
            going = {pool.submit(_execute, page, train): page for page, train in pages.items()}
        for done, future in enumerate(as_completed(going), 1):
            future.result()
            waiting.update(done, going[future].name)
