"""The page of tickets: what is there is listed and can be taken away, what is damaged is told, nothing is believed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from markdown_it import MarkdownIt
from test_ticketfile import facts, ticket_of

from repro import book, paths, record, ticketfile
from repro.book import fragments, gallery
from repro.settings import parse
from repro.ticketfile.store import SUFFIX

ROOT = paths.root()
PUBLISHED = sorted((ROOT / "book" / "tickets").glob(f"*{SUFFIX}"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project without sections and without tickets."""
    root = tmp_path / "project"
    for name in ("params", "notebooks"):
        (root / name).mkdir(parents=True)
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("records", "tickets"))
    monkeypatch.chdir(root)
    monkeypatch.setenv("REPRO_BUILD", str(root / "_build"))
    return root


def _publish(root: Path, *files: Path) -> Path:
    folder = root / "book" / "tickets"
    folder.mkdir(exist_ok=True)
    for file in files:
        shutil.copy(file, folder)
    return folder


def _cells(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if f"`{name} <" in line)
    return [cell.strip() for cell in line.strip("|").split(" | ")]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.name)
def test_published_tickets_load_and_are_what_their_card_says(path: Path) -> None:
    ticket, card = ticketfile.load(path)
    beside = json.loads(path.with_name(path.name.removesuffix(".safetensors") + ".json").read_text())
    assert beside["sha256"] == card.sha256
    assert card.settings is not None
    s = parse(card.settings)
    assert (s.key(), s.command()) == (card.provenance.key, card.provenance.command)
    assert ticket.masks.density == card.density.realised
    initial = ticketfile.rebuild(card)
    assert initial.keys() == ticket.weights.keys()
    masks = {name: ticket.masks.get(name, torch.tensor(True)) for name in initial}
    pairs = (
        (initial[n] * m, ticket.weights[n] * m) for n, m in masks.items()
    )  # another processor may round otherwise
    same = all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)
    assert same == (card.weights.stage == "initial")
    assert path.stat().st_size < 20_000


def test_three_kinds_of_tickets_are_published() -> None:
    told = {(card.method, card.weights.stage) for _, card in map(ticketfile.load, PUBLISHED)}
    assert told >= {("imp@rewound", "rewound"), ("erk", "initial"), ("snip", "trained")}


def test_table_lists_published_tickets_first_and_says_what_their_cards_do(project: Path) -> None:
    _publish(project, *PUBLISHED)
    own = paths.build() / gallery.FOLDER / f"a{SUFFIX}"
    ticketfile.save(own, ticket_of(), facts())
    text = fragments.write([])["gallery.md"]
    listed = re.findall(r"{download}`(\S+) <", text)
    assert listed == [path.name.removesuffix(SUFFIX) for path in PUBLISHED] + ["a"]
    size = f"{PUBLISHED[1].stat().st_size / 1000:.1f} kB"
    assert _cells(text, "digitsb-resnet8-snip-trained")[1:] == (
        ["SNIP", "Digits b", "ResNet-8, width 0.5", "4.665 %", "10", size, "trained, kept", "0", "55.74 %"]
    )
    assert _cells(text, "digitsb-resnet8-erk")[-3:] == ["initial, kept", "0", "—"]
    assert _cells(text, "a")[0].endswith("(this machine)")
    for path in PUBLISHED:
        assert f"```console\n$ {ticketfile.load(path)[1].provenance.command}\n```" in text
    assert "`a`: its card gives no settings" in text


def test_accuracy_comes_from_a_record_where_the_card_has_none(project: Path) -> None:
    (path,) = [path for path in PUBLISHED if "erk" in path.name]
    _publish(project, path)
    key = ticketfile.load(path)[1].provenance.key
    assert key
    record.finish(key, {"format": record.FORMAT, "key": key, "settings": {}, "accuracy": {"final": 61.25}})
    assert _cells(gallery.fragment(), "digitsb-resnet8-erk")[-1] == "61.25 %"
    (record.folder(key) / "record.json").write_text("{")
    assert _cells(gallery.fragment(), "digitsb-resnet8-erk")[-1] == "—"


def test_a_check_is_named_beside_the_method(project: Path) -> None:
    _, card = ticketfile.load(PUBLISHED[0])
    assert card.settings
    s = card.settings | {"check": card.settings["check"] | {"name": "rearrange"}}
    path = project / "book" / "tickets" / f"checked{SUFFIX}"
    ticketfile.save(path, ticket_of(), facts(settings=s))
    assert _cells(gallery.fragment(), "checked")[1].startswith("Random, ")
    assert "earrange" in _cells(gallery.fragment(), "checked")[1]


def test_damaged_files_are_told_in_one_line_each_and_the_others_listed(project: Path) -> None:
    folder = _publish(project, *PUBLISHED)
    raw = bytearray(PUBLISHED[0].read_bytes())
    raw[-1] ^= 1
    (folder / f"bad{SUFFIX}").write_bytes(raw)
    (folder / f"short{SUFFIX}").write_bytes(raw[:100])
    (folder / f"gone{SUFFIX}").symlink_to("nowhere")
    shutil.copy(PUBLISHED[0], folder / f"a`<b>{SUFFIX}")
    text = gallery.fragment()
    told = text.split("## Not readable\n")[1].strip().splitlines()
    assert [line.split("`: ")[0].strip("-` ") for line in told[1:]] == [
        f"{n}{SUFFIX}" for n in ("bad", "gone", "short")
    ]
    assert "checksum" in told[1] and "no such file" in told[2] and "damaged" in told[3]
    assert told[0].startswith("- `` a`<b>") and "rename it" in told[0]
    assert str(folder) not in text
    assert len(re.findall("{download}", text)) == len(PUBLISHED)


def test_words_of_a_card_stay_words(project: Path) -> None:
    odd = "a|b `c` *d* [e](f) {g}`h` $i$ &lt; " + "+" * 5000
    path = project / "book" / "tickets" / f"odd{SUFFIX}"
    ticketfile.save(path, ticket_of(), facts(method=odd, data={"name": "x|*y*"}))
    made = MarkdownIt("commonmark").enable("table").render(gallery.fragment())
    row = made.split("<tbody>")[1].split("</tbody>")[0]
    assert row.count("<td") == len(gallery.HEAD)
    assert not re.search(r"<(em|a |code>[ch])", row)
    assert "x|*y*" in row and "&amp;lt;" in row
    hostile = "<script>| **x** `y` \\| &lt;"
    shown = MarkdownIt("commonmark").renderInline(gallery._plain(hostile))
    assert shown == "&lt;script&gt;| **x** `y` \\| &amp;lt;"
    assert MarkdownIt("commonmark").renderInline(gallery._code("a``b<i>")) == "<code>a``b&lt;i&gt;</code>"


def test_links_lead_from_the_staged_page_to_the_files(project: Path) -> None:
    _publish(project, *PUBLISHED)
    own = paths.build() / gallery.FOLDER / f"mine{SUFFIX}"
    ticketfile.save(own, ticket_of(), facts())
    source = book.stage([])
    text = (source / "generated" / "gallery.md").read_text()
    targets = re.findall(r"{download}`\S+ <(.+?)>`", text)
    assert len(targets) == len(PUBLISHED) + 1
    for target, file in zip(targets, [*PUBLISHED, own], strict=True):
        assert (source / target).read_bytes() == file.read_bytes()
    assert "generated/gallery.md" in (source / "gallery.md").read_text()
    assert "gallery" in (source / "_toc.yml").read_text()


def test_without_tickets_the_page_says_so(project: Path) -> None:
    assert "There is no ticket file yet" in gallery.fragment()
