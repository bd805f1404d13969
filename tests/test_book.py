"""Executing, staging and building, on a project of two tiny notebooks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pandas as pd
import pytest
import yaml

from repro import book, claims, paths, record
from repro.book import fragments, kernels, staging, tables, verdicts
from repro.book.notebooks import Page, parameter_names
from repro.errors import ReproError

DEFAULTS = 'profile: str = "quick"  # which\nmargin: float = None  # points\nruns: list = None  # grids\ntrain: bool = True  # or read'
ROOT = paths.root()
GRID = [{"ticket": {"score": "snip", "density": [0.1, 0.05]}, "seed": [0, 1, 2]}]


def _notebook(path: Path, *code: str, tags: tuple[str, ...] = ("parameters",)) -> None:
    v = nbformat.v4
    cells = [
        v.new_markdown_cell("# Tiny\n\nMore words."),
        v.new_code_cell(code[0], metadata={"tags": list(tags)}),
    ]
    cells += [v.new_code_cell(c) for c in code[1:]]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    meta = {"kernelspec": kernel, "language_info": {"name": "python"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(v.new_notebook(cells=cells, metadata=meta), path)


def _params(section: str, profile: str, **values: object) -> None:
    path = Path("params") / section / f"{profile}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"runs": GRID, **values}))


def _frame(accuracy: float | None, **more: object) -> pd.DataFrame:
    """Make the table of runs of a page: SNIP with and without a check, three seeds."""
    rows = []
    for seed in range(3):
        for check in ("none", "rearrange"):
            row = {
                "key": f"k{seed}{check}",
                "data": "digits",
                "model": "resnet20",
                "width": 1.0,
                "method": "snip",
            }
            row |= {"check": check, "density": 0.1, "seed": seed, "epochs": 2, "command": "repro run a|b"}
            if accuracy is not None:
                row |= {"accuracy": accuracy + 0.1 * seed, "status": "done", "seconds": 61.0, "device": "cpu"}
                row |= {"when": f"2026-01-0{seed + 1}", "commit": "abc", "memory_mb": 100.0}
            rows.append({"status": "missing"} | row | more)
    return record.frame(rows)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project with one section, whose records are made up."""
    root = tmp_path / "project"
    (root / "params").mkdir(parents=True)
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("records"))
    _notebook(root / "notebooks" / "corrupted-data.ipynb", DEFAULTS, "print(profile, train)")
    monkeypatch.chdir(root)
    monkeypatch.setenv("REPRO_BUILD", "_build")  # relative, though the kernel works in notebooks/
    monkeypatch.setattr(Page, "records", lambda page: _frame(90.0 if page.profile == "quick" else None))
    return root


def _message(error: pytest.ExceptionInfo[ReproError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_unknown_section_names_the_nearest(project: Path) -> None:
    _params("corrupt-data", "quick")
    with pytest.raises(ReproError) as error:
        book.execute("corrupt-data", "quick", train=False)
    assert "did you mean 'corrupted-data'" in _message(error)


def test_missing_parameter_file_is_named(project: Path) -> None:
    with pytest.raises(ReproError) as error:
        book.execute("corrupted-data", "nightly", train=False)
    assert "nightly.yaml" in _message(error)


def test_unknown_parameter_names_the_nearest(project: Path) -> None:
    _params("corrupted-data", "quick", margn=2.0)
    with pytest.raises(ReproError) as error:
        book.execute("corrupted-data", "quick", train=False)
    assert "'margn'" in _message(error)
    assert "did you mean 'margin'" in _message(error)


def test_notebook_without_parameters_cell_is_refused(project: Path) -> None:
    _params("corrupted-data", "quick")
    _notebook(project / "notebooks" / "corrupted-data.ipynb", DEFAULTS, tags=())
    with pytest.raises(ReproError) as error:
        book.execute("corrupted-data", "quick", train=False)
    assert "no cell tagged `parameters`" in _message(error)


def test_faults_are_told_before_anything_is_trained(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[object] = []
    monkeypatch.setattr("repro.book.report.run_all", trained.append)
    _params("corrupted-data", "quick")
    _notebook(project / "notebooks" / "corrupted-data.ipynb", DEFAULTS, tags=())
    with pytest.raises(ReproError, match="no cell tagged `parameters`"):
        book.make_report("quick")
    assert trained == []


def test_parameter_that_papermill_cannot_read_is_refused(project: Path) -> None:
    path = project / "notebooks" / "corrupted-data.ipynb"
    _notebook(path, "profile: str = 'x'  # a\nmargin: float = 2  # None = none")
    with pytest.raises(ReproError) as error:
        parameter_names(path)
    assert "None = none" in _message(error)


def test_execute_passes_parameters_once_and_keeps_the_old_page_when_a_cell_fails(project: Path) -> None:
    _params("corrupted-data", "quick", margin=5e-4)
    path = book.execute("corrupted-data", "quick", train=False)
    assert path == paths.build() / "notebooks" / "corrupted-data" / "quick.ipynb"
    made = nbformat.read(path, as_version=4)
    assert made.cells[-1].outputs[0].text == "quick False\n"
    assert "margin = 0.0005" in made.cells[2].source
    before = path.stat().st_mtime_ns
    assert book.execute("corrupted-data", "quick", train=False) == path
    assert path.stat().st_mtime_ns == before, "nothing changed, so nothing was run"

    _notebook(project / "notebooks" / "corrupted-data.ipynb", DEFAULTS, "raise ValueError('first\\nsecond')")
    with pytest.raises(ReproError) as error:
        book.execute("corrupted-data", "quick", train=False)
    assert "ValueError: first" in _message(error)
    assert path.with_suffix(".failed.ipynb").is_file()
    assert path.stat().st_mtime_ns == before
    assert sorted(p.name for p in path.parent.glob("*.ipynb")) == ["quick.failed.ipynb", "quick.ipynb"]
    assert book.pages() == [Page("corrupted-data", "quick")]


def test_execute_runs_again_while_something_is_left_to_train(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _params("corrupted-data", "paper")
    path = book.execute("corrupted-data", "paper", train=True)
    before = path.stat().st_mtime_ns
    book.execute("corrupted-data", "paper", train=True)
    assert path.stat().st_mtime_ns > before
    monkeypatch.setattr(Page, "records", lambda page: _frame(80.0))
    book.execute("corrupted-data", "paper", train=True)
    before = path.stat().st_mtime_ns
    book.execute("corrupted-data", "paper", train=True)
    assert path.stat().st_mtime_ns == before


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep kernels as the workers of a report do, until the test is over."""
    monkeypatch.setattr(kernels, "_keeping", True)
    yield
    kernels._end_held()


def _outcome(section: str, *code: str) -> tuple[list[str], list[int]]:
    """Execute a notebook; give what its cells print, and their numbers."""
    _notebook(Path("notebooks") / f"{section}.ipynb", DEFAULTS, *code)
    _params(section, "quick")
    cells = nbformat.read(book.execute(section, "quick", train=False), as_version=4).cells
    ran = [c for c in cells if c.cell_type == "code"]
    return [o.text.strip() for c in ran for o in c.outputs], [c.execution_count for c in ran]


WHO = "import os; print(os.getpid())"


def test_a_kept_kernel_goes_on_without_what_the_last_notebook_left(
    project: Path, keeping: None, capsys: pytest.CaptureFixture[str]
) -> None:
    first, counts = _outcome("corrupted-data", "left = 1", WHO)
    again, same = _outcome("random-tickets", "print('left' in globals(), 'os' in globals())", WHO)
    assert again == ["False False", first[0]], "the same process, and nothing in its memory"
    assert not capsys.readouterr().out, "clearing it says nothing"
    assert (counts, same) == ([1, 2, 3, 4], [1, 2, 3, 4])


def test_a_kept_kernel_can_start_worker_processes(project: Path, keeping: None) -> None:
    """Which import the main module by a name that clearing a kernel takes away."""
    start = (
        "import multiprocessing as m; p = m.get_context('spawn').Process(target=len, args=('ab',)); p.start()"
    )
    _outcome("corrupted-data", WHO)
    ended, _ = _outcome("random-tickets", start, "p.join(); print(p.exitcode)")
    assert ended == ["0"]


def test_a_kernel_is_not_kept_for_other_folders_or_after_an_error(
    project: Path, keeping: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,), _ = _outcome("corrupted-data", WHO)
    monkeypatch.setenv("REPRO_BUILD", "_other")
    (other,), _ = _outcome("corrupted-data", WHO)
    assert other != first
    with pytest.raises(ReproError, match="ZeroDivisionError"):
        _outcome("random-tickets", "1 / 0")
    assert not kernels._held


def test_kernels_end_with_their_notebook_unless_they_are_kept(project: Path) -> None:
    (first,), _ = _outcome("corrupted-data", WHO)
    assert not kernels._held
    with pytest.raises(ProcessLookupError):
        os.kill(int(first), 0)


def _executed(page: Page) -> None:
    """Pretend that a page has been executed."""
    _params(page.section, page.profile, margin=2.0)
    _notebook(page.executed, DEFAULTS, "1", tags=("parameters",))
    made = nbformat.read(page.executed, as_version=4)
    made.cells.insert(
        2, nbformat.v4.new_code_cell("margin = 2.0", metadata={"tags": ["injected-parameters"]})
    )
    widget = {staging.WIDGETS: {"model_id": "0"}, "text/plain": "bar"}
    shown = [nbformat.v4.new_output("display_data", widget), nbformat.v4.new_output("stream", text="words")]
    made.cells[-1].outputs = shown
    made.metadata["papermill"] = {"duration": 1}
    nbformat.write(made, page.executed)


def test_stage_lists_each_section_once_for_each_profile(project: Path) -> None:
    for profile in ("quick", "paper", "nightly"):
        _executed(Page("corrupted-data", profile))
    source = book.stage()
    parts = yaml.safe_load((source / "_toc.yml").read_text())["parts"]
    listed = {p["caption"]: [c["file"] for c in p["chapters"]] for p in parts}
    assert listed["Quick, run live on this machine"] == ["sections/corrupted-data-quick"]
    assert listed["Published protocol, recorded"] == ["sections/corrupted-data-paper"]
    assert listed["Profile nightly"] == ["sections/corrupted-data-nightly"]
    assert "methods" in listed["Background"]
    assert list(listed)[1:3] == ["Quick, run live on this machine", "Published protocol, recorded"]
    assert not (source / "reference").exists()


def test_stage_folds_parameters_tells_the_scale_and_drops_widgets(project: Path) -> None:
    _executed(Page("corrupted-data", "quick"))
    source = book.stage([("corrupted-data", "quick")])
    made = nbformat.read(source / "sections" / "corrupted-data-quick.ipynb", as_version=4)
    assert "Not the published protocol" in made.cells[1].source
    tags = [c.metadata.get("tags", []) for c in made.cells]
    assert ["parameters", "hide-input"] in tags
    assert ["injected-parameters", "hide-input"] in tags
    assert [o.output_type for o in made.cells[-1].outputs] == ["stream"]
    assert "papermill" not in made.metadata


def test_stage_refuses_a_page_that_was_not_executed_or_is_not_listed(project: Path) -> None:
    with pytest.raises(ReproError) as error:
        book.stage([("corrupted-data", "quick")])
    assert "corrupted-data-quick" in _message(error)
    _executed(Page("new-section", "quick"))
    with pytest.raises(ReproError) as error:
        book.stage([("new-section", "quick")])
    assert "- file: notebooks/new-section" in _message(error)


def test_table_escapes_what_would_break_it() -> None:
    assert tables.table(["a|b", "c"], [["x\ny", None], [float("nan"), 0]]) == (
        "| a\\|b | c |\n| --- | --- |\n| x y | — |\n| — | 0 |\n"
    )


def test_status_counts_runs_and_lists_those_that_diverged(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page("corrupted-data", "quick")
    _executed(page)
    made = fragments.write([page])
    assert (
        "| [Corrupted data](sections/corrupted-data-quick.ipynb) | quick | 6 | 6 | 0 | 0 | 0 | 6:06 min |"
        in made["pages.md"]
    )
    assert "none diverged" in made["unfinished.md"]
    assert "| cpu | not recorded | abc | 6 | 6:06 min | 100 MB |" in made["machines.md"]
    assert made["runs.csv"].count("\n") == 7
    monkeypatch.setattr(Page, "records", lambda page: _frame(10.0, status="diverged", reason="loss is nan"))
    assert "loss is nan" in fragments.write([page])["unfinished.md"]
    assert "a\\|b" in fragments.write([page])["unfinished.md"]


def test_verdicts_of_both_scales_stand_side_by_side(project: Path) -> None:
    pages = [Page("layerwise-rearrange", p) for p in ("paper", "quick")]
    for page in pages:
        _params(page.section, page.profile, **({"margin": 2.0} if page.profile == "quick" else {}))
    found = verdicts.judge({p: p.records() for p in pages})
    assert {v.word for (_, p), v in found.items() if p == "paper"} == {"pending"}
    assert found["su2020-2", "quick"].margin == 2.0
    assert found["su2020-2", "paper"].margin == claims.claims()["su2020-2"].margin
    assert verdicts.overview(found).count("\n") == 2 + len(claims.claims())
    assert "**Published protocol**, 2 claims: nothing has been run yet." in verdicts.summary(found)
    text = verdicts.sections(found)
    assert all(f"(claim-{name})=" in text for name in claims.claims())
    assert "margin set by the profile" in text


def test_verdicts_without_any_page() -> None:
    assert verdicts.summary({}) == "No page that judges a claim has been run yet.\n"
    assert "No page judges this claim yet." in verdicts.sections({})


def test_a_section_without_a_claim_is_shown_and_judges_nothing(project: Path) -> None:
    page = Page("what-explains-it", "quick")
    _notebook(page.source, DEFAULTS, "1")
    _executed(page)
    found = verdicts.judge({page: page.records()})
    assert found == {}
    assert verdicts.overview(found).count("*pending*") == 0
    assert verdicts.overview(found).count("\n") == 2 + len(claims.claims())
    assert "What explains it" in fragments.write([page])["pages.md"]
    source = book.stage([page])
    assert (source / "sections" / "what-explains-it-quick.ipynb").is_file()


class _Resources(HTMLParser):
    """Collect what a page loads by itself, as against links to follow."""

    LOADS = (("script", "src"), ("img", "src"), ("iframe", "src"), ("link", "href"), ("source", "src"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [value for name, key in self.LOADS if tag == name and (value := given.get(key))]
        self.images += [given] if tag == "img" else []


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the real book around a made-up page."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("project")
        for name in ("params", "notebooks"):
            (root / name).mkdir()
        shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("records"))
        patch.chdir(root)
        patch.setenv("REPRO_BUILD", str(root / "_build"))
        patch.setattr(Page, "records", lambda page: _frame(90.0))
        _notebook(root / "notebooks" / "corrupted-data.ipynb", DEFAULTS)
        _executed(Page("corrupted-data", "quick"))
        book.stage()
        return book.build().parent


def test_pages_load_nothing_from_the_network(html: Path) -> None:
    pages = [p for p in sorted(html.rglob("*.html")) if "_static" not in p.parts]
    assert len(pages) >= 9
    for page in pages:
        for address in _Resources(page.read_text(encoding="utf-8")).found:
            parts = urlsplit(address)
            if parts.scheme != "data":
                assert not parts.scheme and not parts.netloc, f"{page.name} loads {address}"
                assert (page.parent / unquote(parts.path)).exists(), f"{page.name}: no {address}"
    for style in html.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_book_has_search_maths_name_and_footer(html: Path) -> None:
    methods = (html / "methods.html").read_text(encoding="utf-8")
    assert "_static/mathjax/tex-svg.js" in methods
    assert (html / "_static" / "mathjax" / "tex-svg.js").stat().st_size > 1_000_000
    assert "Jackpot" in methods
    assert "living reproducibility report" in methods
    assert (html / "searchindex.js").is_file()
    assert all(
        image.get("alt")
        for p in html.rglob("*.html")
        for image in _Resources(p.read_text(encoding="utf-8")).images
    )


def test_book_shows_verdicts_on_both_pages_and_links_every_run(html: Path) -> None:
    for page in ("index.html", "intro.html", "claims.html", "status.html"):
        assert (html / page).is_file()
    assert claims.claims()["su2020-1"].title in (html / "intro.html").read_text(encoding="utf-8")
    assert list((html / "_downloads").rglob("runs.csv"))


def test_build_tells_the_first_warning_and_where_the_log_is(project: Path) -> None:
    _executed(Page("corrupted-data", "quick"))
    source = book.stage()
    (source / "intro.md").write_text("# Broken\n\n[nowhere](not-a-page.md)\n")
    with pytest.raises(ReproError) as error:
        book.build()
    assert "not-a-page.md" in _message(error)
    assert str(paths.build() / "book.log") in _message(error)
    assert not (paths.build() / "html").exists()


def _dom(page: Path, profile: Path) -> str:
    """Load a page in a headless browser and give the document that its scripts made of it."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
    ]
    flags += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=8000", "--dump-dom"]
    command = [browser, *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.browser
def test_maths_is_drawn_and_search_finds_from_a_file_path(html: Path, tmp_path: Path) -> None:
    assert _dom(html / "methods.html", tmp_path / "a").count("<mjx-container") > 20
    page = html / "search.html"
    query = page.with_name("searched.html")
    query.write_text(page.read_text(encoding="utf-8").replace("<head>", SEARCH), encoding="utf-8")
    found = _dom(query, tmp_path / "b").split('id="search-results"')[1]
    assert "glossary.html" in found


SEARCH = "<head><script>history.replaceState(null, '', '?q=rewinding')</script>"
