"""Verdicts as cards for their page and as a table for the introduction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape

from .. import cells
from ..claims import Verdict, criterion
from .html import DASH, Cell, Column, Table, number, p_value, span
from .menus import CHECKS, WORKS
from .style import check_name, data_name, method_style, model_name, percent

# word: icon, colour of the badge. Each badge sets text and background together, so that it reads on any page.
WORDS = {
    "supported": ("✔", "#14532d"),
    "contradicted": ("✘", "#7f1d1d"),
    "inconclusive": ("≈", "#5c4400"),
    "pending": ("…", "#374151"),
    "measured": ("•", "#374151"),
}
Link = str | Callable[[Verdict], str]


def icon(word: str) -> str:
    """The sign of a verdict word, for those who do not see colours."""
    return WORDS[word][0]


def _badge(word: str) -> str:
    sign, colour = WORDS[word]
    look = f"background:{colour};color:#ffffff;border-radius:.3em;padding:.15em .6em;font-weight:bold"
    return f'<span style="{look}"><span aria-hidden="true">{sign}</span> {escape(word)}</span>'


def margin_words(verdict: Verdict) -> str:
    """Say which margin was used, and that it is not the published one if so."""
    if verdict.claim.kind == "better" and verdict.margin == 0:
        return "none (any difference counts)"
    used = f"{verdict.margin:g} {verdict.claim.unit}"
    if not verdict.declared:
        return f"{used} (the claim's own)"
    own = f"the claim's own is {verdict.claim.margin:g} {verdict.claim.unit}"
    return f"{used} (declared by {verdict.profile or 'this profile'}; {own})"


@dataclass(frozen=True)
class VerdictCard:
    """A verdict to show on its page: words first, every cell behind a fold."""

    verdict: Verdict

    def _repr_html_(self) -> str:
        v, claim = self.verdict, self.verdict.claim
        note = (
            ""
            if v.at_scale or v.word == "pending"
            else " This is not the published protocol: it neither confirms nor refutes the paper."
        )
        facts = {
            "Criterion": criterion(claim, v.margin),
            "Margin": margin_words(v),
            "Scale": f"{v.scale}.{note}",
            "Result": v.reason,
            "p": f"{p_value(v.p)} for the claim, {p_value(v.p_against)} against it" if v.p == v.p else DASH,
            "Note": claim.note,
        }
        term, told = "font-weight:bold", "margin:0 0 .3em 1.2em"
        listed = "".join(
            f'<dt style="{term}">{escape(k)}</dt><dd style="{told}">{escape(text)}</dd>'
            for k, text in facts.items()
            if text
        )
        source = WORKS.get(claim.work, claim.work)
        frame = (
            f"border:1px solid {WORDS[v.word][1]};border-left-width:.5em;border-radius:.3em;padding:.6em 1em"
        )
        return (
            f'<section class="repro-card repro-{v.word}" style="{frame};margin:1em 0" '
            f'aria-label="Verdict on {escape(claim.id)}: {v.word}">'
            f'<p style="margin:0 0 .4em">{_badge(v.word)} <strong>{escape(claim.title)}</strong> '
            f"({escape(claim.id)}, {escape(source)})</p>"
            f'<p style="margin:0 0 .4em">{escape(claim.says)}</p>'
            f'<dl style="margin:0">{listed}</dl>{self._cells()}</section>'
        )

    def _cells(self) -> str:
        if self.verdict.cells.empty:
            return ""
        inner = cells_table(self.verdict)._repr_html_()
        return f"<details><summary>All {len(self.verdict.cells)} cells</summary>{inner}</details>"


def verdict_card(verdict: Verdict) -> VerdictCard:
    """Make the card of a verdict; end a notebook cell with it."""
    return VerdictCard(verdict)


def cells_table(verdict: Verdict) -> Table:
    """List the cells that a verdict rests on."""
    heads = ("Data", "Network", "Method", "Check")
    columns = [Column(head, "key") for head in heads] + [
        Column("Density", "number"),
        Column("Against", "key"),
    ]
    columns += [Column(head, "number") for head in ("Difference", "95 % interval", "90 % interval", "n", "p")]
    columns.append(Column("Cell", "text"))
    rows = []
    for c in cells.rows(verdict.cells):
        known = [data_name(c["data"]), model_name(c["model"], c["width"]), method_style(c["method"]).label]
        against = "Original" if c["control"] == "none" else _against(c["control"])
        ends = [span(c["low"], c["high"]), span(c["low90"], c["high90"])]
        seeds = f"{c['n']} ({c['lost']} lost)" if c["lost"] else str(c["n"])
        word = f"{icon(c['verdict'])} {c['verdict']}"
        known += [check_name(c["check"]), percent(c["density"]), against, number(c["mean"], sign=True)]
        rows.append((*known, *ends, seeds, p_value(c["p"]), word))
    unit = (
        "percentage points"
        if verdict.claim.unit == "pp"
        else f"units of {verdict.claim.unit}, lower being better"
    )
    caption = (
        f"Differences in {unit}, paired by seed, with t intervals; the 90 % one is that of the two "
        "one-sided tests. p: for the cell alone; contradicted cells stay so after Holm's correction."
    )
    return Table(tuple(columns), tuple(rows), caption)


def _against(name: str) -> str:
    if name in CHECKS:
        return check_name(name)
    return WORKS[name] if name in WORKS else method_style(name).label


def verdict_table(verdicts: Iterable[Verdict], link: Link = "{section}.html") -> Table:
    """List verdicts for the introduction, each with a link to its page.

    Args:
        verdicts: from `claims.evaluate` or `Verdict.from_dict`.
        link: where a claim's page is: a pattern with {section}, {profile} or {id}, or a function of the
            verdict.

    Returns:
        A table; `markdown()` gives it as Markdown for a page's source.
    """
    heads = ("Claim", "Work", "Verdict", "Scale", "Margin", "Result")
    columns = tuple(Column(head) for head in heads)
    rows = []
    for v in verdicts:
        known = {"section": v.claim.section, "profile": v.profile, "id": v.claim.id}
        target = link.format(**known) if isinstance(link, str) else link(v)
        work, word = WORKS.get(v.claim.work, v.claim.work), f"{icon(v.word)}\u00a0{v.word}"
        used = DASH if v.claim.kind == "better" and v.margin == 0 else f"{v.margin:g} {v.claim.unit}"
        declared = f" (own {v.claim.margin:g})" if v.declared else ""
        rows.append((Cell(v.claim.title, target), work, word, v.scale, used + declared, v.reason))
    caption = (
        "Supported and contradicted are outcomes of tests at the 5 % level over paired seeds; inconclusive: "
        "neither was shown; pending: nothing has been run. Quick and reduced scale are not the published protocol."
    )
    return Table(columns, tuple(rows), caption)
