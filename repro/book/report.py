"""The whole report in one call."""

from __future__ import annotations

from pathlib import Path

from .. import paths
from ..errors import ReproError
from ..grids import expand
from ..pool import run_all
from ..progress import Waiting
from .html import build
from .notebooks import Page, execute, sections
from .staging import stage

PUBLISHED = "paper"  # the profile whose records come with the book


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
    recorded = [page for s in sections() if profile != PUBLISHED and has(page := Page(s, PUBLISHED))]
    plans = [
        expand(page.params().get("runs"), source=f"params/{page.section}/{profile}.yaml") for page in live
    ]
    run_all([s for plan in plans for s in plan])
    with Waiting("executing notebooks", len(live) + len(recorded)) as waiting:
        for done, page in enumerate([*live, *recorded], 1):
            execute(page.section, page.profile, train=page in live)
            waiting.update(done, page.name)
    stage([*live, *recorded])
    return build()
