"""The page Reliability: what the tests noted is published with its machine and commit, and nothing else is believed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import reliability as notes
import yaml
from markdown_it import MarkdownIt

from repro import files, paths
from repro.book import fragments, reliability
from repro.errors import ReproError

ROOT = paths.root()
COUNTS = {"full disk": {"60k": {"tried": 1, "survived": 1}}, "killed processes": {}}
COUNTS["killed processes"] = {
    "workers": {"tried": 1200, "survived": 1199},
    "a|b <i>": {"tried": 3, "survived": 3},
}


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Note something as the tests do."""
    path = tmp_path / "noted.json"
    monkeypatch.setenv(notes.VARIABLE, str(path))
    notes.note("full disk", 9, 2, "60k")  # replaced
    for kind, entries in COUNTS.items():
        for what, counts in entries.items():
            notes.note(kind, counts["tried"], counts["survived"], what)
    return path


def test_without_the_variable_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(notes.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    notes.note("full disk", 1, 1, "60k")
    assert not [*tmp_path.iterdir()]


def test_notes_are_published_with_machine_commit_and_day(noted: Path, tmp_path: Path) -> None:
    path = reliability.publish(noted, "AMD EPYC, 2 cores", tmp_path / "out")
    assert path == tmp_path / "out" / "amd-epyc-2-cores.json"
    found = reliability.read(path)
    assert found["faults"] == COUNTS
    assert (found["format"], found["machine"]) == (1, "AMD EPYC, 2 cores")
    head = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    assert head.returncode or found["commit"].rstrip("+") == head.stdout.strip()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["when"])
    assert list(found) == sorted(found), "entries in order, so that a change shows as a few lines"
    fewer = noted.with_name("fewer.json")
    fewer.write_text('{"full disk": {"1m": {"tried": 2, "survived": 2}}}')
    assert reliability.publish(fewer, "AMD EPYC, 2 cores", tmp_path / "out") == path
    assert list(reliability.read(path)["faults"]) == ["full disk"], "replaced as a whole: one commit for all"


def test_the_table_has_a_line_for_each_count() -> None:
    record = {"machine": "A_B", "commit": None, "when": "2026-01-02T03:04:05+00:00", "python": "3.11.7"}
    text = reliability.fragment([record | {"versions": {"torch": "2.6.0"}, "faults": COUNTS}])
    assert text == (
        "## A\\_B\n\nTried 2026-01-02, commit unknown, Python 3.11.7, torch 2.6.0: 1 203 of 1 204 survived.\n\n"
        "| what was done | to what | tried | survived |\n"
        "| --- | --- | --- | --- |\n"
        "| full disk | 60k | 1 | 1 |\n"
        "| killed processes | a\\|b \\<i\\> | 3 | 3 |\n"
        "|  | workers | 1 200 | 1 199 |\n"
    )
    html = MarkdownIt().enable("table").render(text)
    assert "<i>" not in html and html.count("<tr>") == 4


def test_without_records_the_page_says_so_and_how_to_make_one(tmp_path: Path, monkeypatch) -> None:
    assert "make reliability" in reliability.fragment([])
    monkeypatch.setattr(paths, "records", lambda: tmp_path)
    assert reliability.fragment() == reliability.NOTHING
    assert fragments.write([])["reliability.md"] == reliability.NOTHING


def test_records_are_shown_in_order_of_their_machines(noted: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(paths, "records", lambda: tmp_path)
    for machine in "hbgcafde":
        reliability.publish(noted, machine)
    shown = fragments.write([])["reliability.md"]
    assert re.findall("^## (.*)", shown, re.M) == [*"abcdefgh"]


@pytest.mark.parametrize("path", sorted(reliability.published().glob("*.json")), ids=lambda path: path.name)
def test_what_is_published_is_sound_and_all_survived(path: Path) -> None:
    counts = [c for entries in reliability.read(path)["faults"].values() for c in entries.values()]
    assert all(c["tried"] == c["survived"] > 0 for c in counts)


WRONG = [
    "",
    "[]",
    "{}",
    '{"a": 1}',
    '{"a": {"b": 1}}',
    '{"a": {"b": {"tried": 1}}}',
    '{"a": {"b": {"tried": 1, "survived": 2}}}',
    '{"a": {"b": {"tried": 1, "survived": -1}}}',
    '{"a": {"b": {"tried": 1, "survived": true}}}',
    '{"a": {"b": {"tried": 1, "survived": 1, "more": 1}}}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_notes_and_records_that_are_none_are_refused_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "noted.json"
    path.write_text(text)
    with pytest.raises(ReproError, match=r"noted.json: no notes of tests .*; run `make reliability`$"):
        reliability.publish(path, "a", tmp_path)
    for content in (text, f'{{"kind": "reliability", "format": 1, "machine": "a", "faults": {text or "1"}}}'):
        path.write_text(content)
        with pytest.raises(ReproError, match=r"noted\.json: damaged reliability record .*remove it"):
            reliability.read(path)
    with pytest.raises(ReproError, match="no plain file"):
        reliability.publish(tmp_path / "none", "a", tmp_path)


def test_records_of_other_versions_and_without_a_machine_are_refused(noted: Path, tmp_path: Path) -> None:
    path = reliability.publish(noted, "a", tmp_path)
    sound = json.loads(path.read_text())
    for other in ({"format": 2}, {"kind": "bench"}, {"machine": None}):
        files.write(path, json.dumps(sound | other))
        with pytest.raises(ReproError, match="damaged reliability record"):
            reliability.read(path)


def test_the_page_explains_every_fault_that_is_tried_and_is_in_the_book() -> None:
    page = (ROOT / "book" / "reliability.md").read_text(encoding="utf-8")
    assert "generated/reliability.md" in page
    chapters = [
        c["file"]
        for p in yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())["parts"]
        for c in p["chapters"]
    ]
    assert "reliability" in chapters
    told = {title.lower() for title in re.findall(r"^\*\*(.+?)\.\*\*", page, re.M)}
    tests = (ROOT / "tests" / "test_faults.py").read_text()
    tried = {*re.findall(r'note\(\s*"([^"]+)"', tests), "spoilt files"}  # the latter by test_fuzz.py
    assert len(tried) > 9
    assert tried <= told
