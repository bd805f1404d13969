"""Texts of records and tickets stay texts: whatever they say, pages have the same tags as with harmless words.

And Jupyter listens to this machine alone.
"""

from __future__ import annotations

import dataclasses
import json
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from synthetic import runs

from repro import claims, report
from repro.battery.answers import DATA, LUCK, PLACES, YES, Answer, compare
from repro.battery.page import Verdict
from repro.book import fragments, gallery, kernels, performance, tables
from repro.report.html import Cell, Column, Table
from repro.report.style import Picture

ROOT = Path(__file__).parent.parent
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</td></table><script>",
    "--><svg/onload=alert(1)>",
    "`</code><b>`` <i>",
    "[a](javascript:alert(1)) ![b](http://x/y.png) <http://x>",
    "{download}`a <../../etc/passwd>` $x$ **b** _c_ | d\n\n# e\n- f",
    "&lt;script&gt; &#60;b> \\<u>",
)
texts = st.sampled_from(HOSTILE) | st.text("<>&\"'`|\\[](){}*_$#!-=/ \nab", max_size=30).map("x".__add__)
anything = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Tags(HTMLParser):
    """Every tag of a page with the names of its attributes, and all of its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[str]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, [name for name, _ in attrs]))

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(markdown: str) -> str:
    """Render as the book does: tables, raw HTML let through."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)


def unlike(html: str, harmless: str) -> list:
    """List the tags that one page has and the other has not, in their order."""
    made, wanted = Tags(html).tags, Tags(harmless).tags
    return [pair for pair in zip(made, wanted, strict=False) if pair[0] != pair[1]] or made[len(wanted) :]


@anything
@given(texts)
def test_tables_and_figures_show_texts_as_they_are(text: str) -> None:
    def table(word: str) -> Table:
        columns = Column(word, "key"), Column(word, "number"), Column(word)
        return Table(columns, ((word, Cell(word, "a.html"), Cell(word)),) * 2, word)

    html = table(text)._repr_html_()
    assert not unlike(html, table("x")._repr_html_()) and Tags(html).text.count(text.replace("\r", "")) >= 4
    assert not unlike(rendered(table(text).markdown()), rendered(table("x").markdown()))
    linked = Table((Column("x"),), ((Cell("x", text),),), "")._repr_html_()
    assert not unlike(linked, Table((Column("x"),), ((Cell("x", "y"),),), "")._repr_html_())
    shown = Picture("<svg></svg>", text, text)._repr_html_()
    assert not unlike(shown, Picture("<svg></svg>", "x", "x")._repr_html_()) and text in Tags(shown).text


@anything
@given(texts)
def test_words_of_the_book_stay_words(text: str) -> None:
    line = MarkdownIt("commonmark", {"html": True})
    assert not Tags(line.renderInline(tables.plain(text))).tags
    assert [tag for tag, _ in Tags(line.renderInline(tables.code(text))).tags] == ["code"]
    assert " ".join(Tags(line.renderInline(tables.plain(text))).text.split()) == " ".join(text.split())
    row = rendered(tables.table(["a", "b"], [[tables.plain(text), tables.code(text)]]))
    assert [tag for tag, _ in Tags(row).tags][-3:] == ["td", "td", "code"]
    assert (gallery._plain, gallery._code) == (tables.plain, tables.code)


def frame(word: str, *, names: bool = True) -> pd.DataFrame:
    """Make a table of runs all of whose texts are one; names of data and methods too, unless a page orders by them."""
    made = runs({"method": "snip"}, {"method": "snip", "density": 0.05}, seeds=3).assign(status="diverged")
    for name in ("key", "reason", "command", "commit", "device", "precision", "when", "path"):
        made[name] = word
    return made.assign(**dict.fromkeys(("data", "model", "method", "check"), word)) if names else made


@pytest.mark.parametrize("text", HOSTILE)
def test_tables_of_runs(text: str) -> None:
    for show in (report.show_runs, report.show_table):
        html = show(frame(text))._repr_html_()
        assert not unlike(html, show(frame("x"))._repr_html_()) and "<script" not in html
        assert not unlike(rendered(show(frame(text)).markdown()), rendered(show(frame("x")).markdown()))


@pytest.mark.parametrize("text", HOSTILE)
def test_generated_parts_of_the_book(text: str) -> None:
    def parts(word: str) -> str:
        rows = frame(word, names=False).to_dict("records")
        return "\n".join((fragments._unfinished(rows), fragments._machines(rows)))

    def speeds(word: str) -> str:
        about = {"impossible": word, "when": word, "data": word, "threads": word, "flags": {word: word}}
        about["environment"] = {"commit": word, "versions": {"torch": word}}
        return performance.fragment([{"device": word, "cases": {"step": about, word: about}}])

    for write in (parts, speeds):
        assert not unlike(rendered(write(text)), rendered(write("x")))
    made = rendered(parts(text))
    assert made.count("<td") == 6 * 4 + 6


@pytest.mark.parametrize("text", HOSTILE)
def test_cards_of_verdicts(text: str) -> None:
    def card(word: str) -> report.VerdictCard:
        table = runs({"method": "snip"}, {"method": "snip", "check": "rearrange"}, seeds=3)
        verdict = claims.evaluate("su2020-2", table.assign(data="cifar10", model="resnet32", width=2.0))
        claim = verdict.claim.model_copy(update=dict.fromkeys(("id", "title", "says", "note", "work"), word))
        given = {"reason": word, "scale": word, "profile": word, "declared": True}
        cells = verdict.cells.assign(data=word, model=word, method=word, check=word, control=word)
        return report.verdict_card(dataclasses.replace(verdict, claim=claim, cells=cells, **given))

    html = card(text)._repr_html_()
    assert not unlike(html, card("x")._repr_html_()) and Tags(html).text.count(text) >= 6
    table = report.verdict_table([card(text).verdict])
    assert not unlike(table._repr_html_(), report.verdict_table([card("x").verdict])._repr_html_())


def test_the_page_of_an_own_pruner() -> None:
    def page(word: str) -> str:
        cells = [{"method": "mine"}, {"method": "mine", "check": "rearrange"}, {"method": "random"}]
        table = runs(*cells, seeds=3).assign(command=word, reason=word, device=word, overlap=float("nan"))
        checks = compare(table, "mine", checks=["rearrange"])
        last = compare(table, "mine", others=["random"])
        told = [Answer(q, YES, word, c) for q, c in ((DATA, checks), (PLACES, checks), (LUCK, last))]
        facts = {"scale": word, "command": word, "sha256": word, "made by": word}
        return Verdict(word, "mine", told, checks.iloc[:0], table, 2.0, facts).html()

    html = page(" ".join(HOSTILE))
    assert not unlike(html, page("x")) and "<script" not in html


# Jupyter


def test_the_lab_listens_to_this_machine_alone_and_asks_for_a_token() -> None:
    starts = []
    for path in (ROOT / "Makefile", *ROOT.glob("repro/**/*.py"), *ROOT.glob("tools/*"), *ROOT.glob(".ci/*")):
        if path.is_file():
            starts += [
                (path.name, line)
                for line in path.read_text().splitlines()
                if re.search(r"jupyter[ -](lab|notebook|server)", line)
            ]
    commands = [line for name, line in starts if name == "Makefile" and not line.startswith("lab:")]
    assert len(commands) == 1 and "--ip=127.0.0.1" in commands[0].split(), starts
    assert not re.search(r"token|password|allow[_-]|0\.0\.0\.0|public|root", commands[0])
    assert not [found for found in starts if found[0] != "Makefile"], "nothing else starts a server"
    assert not list(ROOT.glob("jupyter*_config.*")) + list(ROOT.glob("*/jupyter*_config.*"))


@pytest.mark.parametrize("local", [True, False])
def test_a_kernel_listens_to_this_machine_alone(
    local: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    if not local:  # as where paths are too long for sockets
        folder = tmp_path / ("long" * 30)
        folder.mkdir()
        monkeypatch.setattr(kernels.tempfile, "tempdir", str(folder))
    kernel = kernels._new()
    try:
        kernel.manager.write_connection_file()
        path = Path(kernel.manager.connection_file)
        told = json.loads(path.read_text())
        assert len(told["key"]) >= 32 and told["signature_scheme"] == "hmac-sha256"
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, "others cannot read the key"
        if local:
            assert told["transport"] == "ipc" and told["ip"].startswith(kernel.folder.name)
            assert stat.S_IMODE(Path(kernel.folder.name).stat().st_mode) == 0o700
        else:
            assert (told["transport"], told["ip"]) == ("tcp", "127.0.0.1")
    finally:
        kernel.end()
