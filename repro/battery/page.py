"""The battery's page: three answers, and under them what they rest on. One file, light or dark as the reader's."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import cells
from ..files import write
from ..report import Table, figure_accuracy, figure_differences, figure_layers, show_figure, show_table
from ..report.html import DASH, Column, number, p_value, span
from ..report.style import percent
from .answers import DEPENDS, NO, SHOWN_BY, UNKNOWN, YES, Answer
from .words import against_name

COLOURS = {YES: "#14532d", NO: "#7f1d1d", DEPENDS: "#5c4400", UNKNOWN: "#374151"}
SIGNS = {YES: "✔", NO: "✘", DEPENDS: "±", UNKNOWN: "?"}
LOOK = """
:root { color-scheme: light dark; --line: #c9c9c4; --soft: #f3f3ef; }
@media (prefers-color-scheme: dark) { :root { --line: #4a4a4a; --soft: #262626; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  background: Canvas; color: CanvasText; }
h1 { line-height: 1.2; margin-bottom: .3rem; }
h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
code { background: var(--soft); padding: .1em .3em; border-radius: .2em; overflow-wrap: anywhere; }
table { font-size: .85rem; margin: .5rem 0; }
th, td { border-bottom: 1px solid var(--line); }
caption { font-size: .85rem; padding-bottom: .4em; }
figcaption { font-size: .85rem; }
.answer { border: 1px solid var(--line); border-left-width: .5em; border-radius: .3em; padding: .5em 1em;
  margin: .8em 0; }
.answer h2 { border: 0; margin: 0; font-size: 1.1rem; }
.answer p { margin: .3em 0 0; }
.badge { color: #fff; border-radius: .3em; padding: .1em .6em; font-weight: bold; white-space: nowrap; }
.note { background: var(--soft); padding: .6em 1em; border-radius: .3em; }
dt { font-weight: bold; } dd { margin: 0 0 .4em 1.2em; }
"""


@dataclass(frozen=True)
class Verdict:
    """What the battery found, ready to be shown and stored.

    Args:
        title: name of the function.
        method: its name in the table of runs.
        answers: to the three questions.
        extra: comparisons with the checks that belong to no question.
        runs: table of runs.
        margin: percentage points.
        facts: what else the page tells, e.g. the command that repeats it.
    """

    title: str
    method: str
    answers: Sequence[Answer]
    extra: pd.DataFrame
    runs: pd.DataFrame
    margin: float
    facts: dict[str, str]

    def lines(self) -> list[str]:
        """Tell the scale, and the answers in a line each."""
        return [self.facts["scale"]] + [f"{a.question} {a.word.capitalize()}. {a.text}" for a in self.answers]

    def save(self, folder: Path) -> Path:
        """Write `index.html` and `verdict.json` into a folder, and give the page's path."""
        write(folder / "verdict.json", json.dumps(self.plain(), indent=1, allow_nan=False) + "\n")
        write(folder / "index.html", self.html())
        return folder / "index.html"

    def plain(self) -> dict[str, Any]:
        """Give it as values that JSON can hold."""
        told = [
            {"question": a.question, "answer": a.word, "text": a.text, "comparisons": _rows(a.cells)}
            for a in self.answers
        ]
        head = {"pruner": self.title, "margin": self.margin, **self.facts}
        keys = sorted(self.runs["key"])
        return {**head, "questions": told, "other_comparisons": _rows(self.extra), "runs": keys}

    def html(self) -> str:
        """Lay the page out."""
        plain = self.runs[self.runs["check"] == "none"]
        broken = self.runs[self.runs["method"] == self.method]
        figures = [
            show_figure(figure_accuracy(plain, by="method")),
            show_figure(figure_differences(broken[broken["check"] != "invert"], margin=self.margin)),
            show_figure(figure_layers(plain)),
        ]
        accuracy, checks, layers = (figure._repr_html_() for figure in figures)
        tables = [show_table(plain), *self._tables()]
        against, checked, random = (table._repr_html_() for table in tables)
        facts = "".join(
            f"<dt>{escape(k.capitalize())}</dt><dd>{_fact(k, v)}</dd>"
            for k, v in self.facts.items()
            if k != "scale"
        )
        inverted = broken["check"].eq("invert").any()
        left = (
            "<p>Scores upside down are in the table alone: they would squeeze the figure.</p>"
            if inverted
            else ""
        )
        parts = [
            f"<h1>{escape(self.title)}: verdict</h1>",
            f'<p class="note">{escape(self.facts["scale"])}</p>',
            *(_answer(a) for a in self.answers),
            f"<h2>Beside random tickets</h2>{against}{accuracy}{random}",
            f"<h2>What each check changes</h2>{checked}{checks}{left}",
            f"<h2>Which layers it keeps</h2>{layers}",
            f"<h2>How this was made</h2><dl>{facts}</dl>",
        ]
        head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        head += f"<title>{escape(self.title)}: verdict</title><style>{LOOK}</style>"
        body = "\n".join(parts)
        return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{body}\n</main></body></html>\n'

    def _tables(self) -> list[Table]:
        *before, last = self.answers
        checks = pd.concat([t for t in (*(a.cells for a in before), self.extra) if len(t)])
        told = "Accuracy with the check minus without, percentage points, paired by seed."
        theirs = (
            f"Accuracy of {self.title} minus that of the random ticket, percentage points, paired by seed."
        )
        shared = _overlaps(self.runs[self.runs["method"] == self.method])
        return [_comparisons(checks, "Check", told, shared), _comparisons(last.cells, "Against", theirs)]


def _answer(answer: Answer) -> str:
    colour, sign = COLOURS[answer.word], SIGNS[answer.word]
    badge = f'<span class="badge" style="background:{colour}"><span aria-hidden="true">{sign}</span> {answer.word}</span>'
    head = f"<h2>{escape(answer.question)} {badge}</h2>"
    return (
        f'<section class="answer" style="border-color:{colour}">{head}<p>{escape(answer.text)}</p></section>'
    )


def _fact(name: str, text: str) -> str:
    return f"<code>{escape(text)}</code>" if name in ("command", "sha256") else escape(text)


def _overlaps(runs: pd.DataFrame) -> dict[tuple[str, float], str]:
    """Say how much the masks have in common with those without the check, and how much chance explains."""
    made = {}
    for (check, density), cell in runs.dropna(subset=["overlap"]).groupby(["check", "density"]):
        shared, chance = cell["overlap"].mean(), cell["overlap_expected"].mean()
        told = f" ({100 * chance:.0f} %)" if math.isfinite(chance) else ""
        made[str(check), round(float(str(density)), 9)] = f"{100 * shared:.0f} %{told}"
    return made


def _comparisons(
    table: pd.DataFrame, head: str, told: str, shared: dict[tuple[str, float], str] | None = None
) -> Table:
    numbers = [
        "p",
        "Difference",
        "95 % interval",
        "90 % interval",
        "n",
        *(["Shared (chance)"] if shared else []),
    ]
    columns = [Column(head, "key"), Column("Density", "number"), Column("Shown", "key")]
    columns += [Column(name, "number") for name in numbers]
    rows = []
    for c in cells.rows(table):
        row = [
            against_name(c["against"]),
            percent(c["density"]),
            c["word"],
            p_value(c.get(SHOWN_BY[c["word"]], np.nan)),
        ]
        ends = [span(c["low"], c["high"]), span(c["low90"], c["high90"])]
        seeds = f"{c['n']} ({c['lost']} lost)" if c["lost"] else str(c["n"])
        overlap = [shared.get((c["against"], c["density"]), DASH)] if shared else []
        rows.append((*row, number(c["mean"], sign=True), *ends, seeds, *overlap))
    told += " p: of the paired t test that shows the word: no difference beyond the margin; worse, better than 0; not"
    told += " worse, not better by the margin."
    told += " Shared: what the masks with and without the check keep both." if shared else ""
    return Table(tuple(columns), tuple(rows), told)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in cells.rows(table)
    ]
