"""What the book says about each claim: a summary, a table for the introduction, a section on the claims page."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ..claims import Claim, Verdict, claims, criterion, evaluate
from ..report import judged
from .notebooks import Page
from .tables import cell, link, table

COLOURS = {"supported": "success", "contradicted": "danger", "inconclusive": "warning"}
WORDS = [*COLOURS, "pending"]
PLACES = {"paper": "published protocol", "quick": "quick scale"}  # in the order of the columns

Found = dict[tuple[str, str], Verdict]  # by claim and profile


def judge(records: Mapping[Page, pd.DataFrame]) -> Found:
    """Judge every claim of every page, with the margin and the densities of the page's parameter file."""
    found: Found = {}
    for page, frame in records.items():
        given = page.params()
        own = [claim for claim in claims().values() if claim.section == page.section]
        if own:
            frame = judged(frame, given.get("usual"))
        for claim in own:
            choice = {"densities": given.get("densities"), "profile": page.profile}
            found[claim.id, page.profile] = evaluate(claim, frame, given.get("margin"), **choice)
    return found


def _profiles(found: Found) -> list[str]:
    there = {profile for _, profile in found}
    return [p for p in PLACES if p in there] + sorted(there - set(PLACES))


def _badge(verdict: Verdict | None) -> str:
    word = verdict.word if verdict else "pending"
    return f"{{bdg-{COLOURS[word]}}}`{word}`" if word in COLOURS else f"*{word}*"


def summary(found: Found) -> str:
    """Count the verdicts, one line for each scale."""
    lines = []
    for profile in _profiles(found):
        words = [v.word for (_, p), v in found.items() if p == profile]
        counts = [f"{words.count(w)} {w}" for w in WORDS if w in words]
        told = "nothing has been run yet" if set(words) == {"pending"} else ", ".join(counts)
        lines.append(f"- **{PLACES.get(profile, profile).capitalize()}**, {len(words)} claims: {told}.")
    return "\n".join(lines or ["No page that judges a claim has been run yet."]) + "\n"


def overview(found: Found) -> str:
    """Write the table of the introduction: a row for each claim, a column for each scale."""
    profiles = _profiles(found)
    rows = []
    for claim in claims().values():
        badges = [_badge(found.get((claim.id, p))) for p in profiles]
        rows.append([f"[{claim.title}](#claim-{claim.id})", f"{{cite:t}}`{claim.work}`", *badges])
    return table(["claim", "from", *(PLACES.get(p, p) for p in profiles)], rows)


def _section(claim: Claim, found: Found) -> str:
    rows = []
    for profile in _profiles(found):
        verdict = found.get((claim.id, profile))
        if verdict:
            declared = " — margin set by the profile" if verdict.declared else ""
            used = criterion(claim, verdict.margin) + declared
            page = link(Page(claim.section, profile), PLACES.get(profile, profile))
            rows.append([page, _badge(verdict), used, f"{verdict.scale}: {verdict.reason}"])
    densities = f"; at densities {', '.join(f'{d:g}' for d in claim.densities)}" if claim.densities else ""
    parts = [
        f"(claim-{claim.id})=\n## {claim.title}",
        f"{claim.says} — {{cite:t}}`{claim.work}`",
        f"Criterion\n: {claim.criterion}{densities}.",
        f"Note\n: {cell(claim.note)}" if claim.note else "",
        table(["scale", "verdict", "judged by", "why"], rows) if rows else "No page judges this claim yet.",
    ]
    return "\n\n".join(filter(None, parts))


def sections(found: Found) -> str:
    """Write the body of the claims page: a section for each claim."""
    return "\n\n".join(_section(claim, found) for claim in claims().values()) + "\n"
