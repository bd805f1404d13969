"""The notebooks as they are committed, and run at the smallest scale."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import yaml

import repro
from repro import book, cells, claims, lineage, paths, pool, report
from repro.book import kernels
from repro.book.notebooks import parameter_names
from repro.grids import expand, params
from repro.settings import Settings

NOTEBOOKS = sorted((paths.root() / "notebooks").glob("*.ipynb"))
SECTIONS = [path.stem for path in NOTEBOOKS]
PARAMS = [(s, p.stem) for s in SECTIONS for p in sorted((paths.root() / "params" / s).glob("*.yaml"))]
ALLOWED = {"repro", "pandas", "seaborn"}
ALWAYS = {"profile", "title", "runs", "train"}
JUDGED = {"margin", "densities"}  # parameters of the pages that judge a claim, and of no other
QUICK = 840  # distinct runs of all quick files, 185 of them of a third of the size: five minutes on two cores
PLACE = [*cells.KEYS, "seed"]
# Sections whose time goes to many methods or rounds: three seeds instead of five.
MANY = (
    "rigl",
    "winning",
    "layer-collapse",
    "random-masks",
    "sparse-to-sparse",
    "soft-thresholds",
    "strong-tickets",
)
PLANNED = ["su2020-4", "su2020-5", "su2020-6", "answer42-1", "answer42-2"]
PLANNED += [
    name
    for name in claims.claims()
    if name.startswith(
        ("rigl", "morcos", "gohil", "snip", "synflow", "gadhikar", "granet", "liu", "edge", "str")
    )
]
WORKS = {s: "Sundar and Dwaraknath" for s in SECTIONS if s.startswith("rigl")} | {"winning-tickets": "Gohil"}
WORKS |= {"layer-collapse": "Tanaka", "sparse-to-sparse": "GraNet", "random-masks": "Gadhikar"}
WORKS |= {"soft-thresholds": "Kusupati", "strong-tickets": "Ramanujan"}

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=SECTIONS)


def _code(path: Path) -> list[nbformat.NotebookNode]:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def test_there_is_a_notebook_for_every_section_that_a_claim_names() -> None:
    assert {c.section for c in claims.claims().values()} <= set(SECTIONS)


def test_every_section_has_three_profiles_and_a_line_in_the_contents() -> None:
    assert {(s, p) for s in SECTIONS for p in ("smoke", "quick", "paper")} <= set(PARAMS)
    assert {s for s, _ in PARAMS} == {p.name for p in (paths.root() / "params").iterdir()}
    contents = yaml.safe_load((paths.root() / "book" / "_toc.yml").read_text())
    files = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    assert {f for f in files if f.startswith("notebooks/")} == {f"notebooks/{s}" for s in SECTIONS}


@each
def test_is_stripped_and_small(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(not c.outputs and c.execution_count is None for c in _code(path))
    assert len(notebook.cells) <= 15
    assert len({c.id for c in notebook.cells}) == len(notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3", "papermill needs to know the kernel"
    assert notebook.metadata.language_info.name == "python"


@each
def test_imports_only_what_notebooks_may(path: Path) -> None:
    for cell in _code(path):
        for node in ast.walk(ast.parse(cell.source)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert {n.split(".")[0] for n in names} <= ALLOWED


@each
def test_has_no_long_code(path: Path) -> None:
    assert all(len(cell.source.splitlines()) <= 10 for cell in _code(path))


@each
def test_uses_only_exported_names(path: Path) -> None:
    for cell in _code(path):
        for node in ast.walk(ast.parse(cell.source)):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "repro"
            ):
                assert node.attr in repro.__all__


@each
def test_parameters_are_readable_and_explained(path: Path) -> None:
    names = set(parameter_names(path))
    assert names >= ALWAYS
    assert (names & JUDGED) == (JUDGED if _claims(path.stem) else set())
    tagged = [c for c in _code(path) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert all("  # " in line for line in tagged[0].source.splitlines())


@each
def test_uses_every_parameter(path: Path) -> None:
    code = [c.source for c in _code(path) if "parameters" not in c.metadata.get("tags", [])]
    used = {n.id for source in code for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)}
    assert set(parameter_names(path)) <= used


@pytest.mark.parametrize(("section", "profile"), PARAMS, ids=["-".join(p) for p in PARAMS])
def test_parameter_files_fit_their_notebook(section: str, profile: str) -> None:
    given = params(f"{section}/{profile}")
    assert set(given) <= set(parameter_names(paths.root() / "notebooks" / f"{section}.ipynb"))
    assert expand(given["runs"], source=f"{section}/{profile}")


@pytest.mark.parametrize(("section", "profile"), PARAMS, ids=["-".join(p) for p in PARAMS])
def test_no_two_runs_of_a_file_share_a_row_and_a_seed(section: str, profile: str) -> None:
    usual = params(f"{section}/{profile}").get("usual")
    frame = cells.tidy(report.judged(pool.table(_planned(section, profile)), usual))
    assert not frame.duplicated(PLACE).any()


@pytest.mark.parametrize(("section", "profile"), PARAMS, ids=["-".join(p) for p in PARAMS])
def test_every_row_has_enough_seeds(section: str, profile: str) -> None:
    frame = pool.table(_planned(section, profile))
    many = section.startswith(MANY)
    few = profile != "quick" or many
    assert frame.groupby(cells.KEYS)["seed"].nunique().min() >= (3 if few else 5)


@pytest.mark.parametrize(("section", "profile"), PARAMS, ids=["-".join(p) for p in PARAMS])
def test_every_check_has_the_run_that_it_is_compared_with(section: str, profile: str) -> None:
    runs = pool.table(_planned(section, profile))
    original = set(runs[runs["check"] == "none"][[*cells.PLACE, "method", "seed"]].itertuples(index=False))
    checked = runs[runs["check"] != "none"][[*cells.PLACE, "method", "seed"]]
    assert set(checked.itertuples(index=False)) <= original


@pytest.mark.parametrize("profile", ["quick", "paper"])
@pytest.mark.parametrize("name", PLANNED)
def test_every_comparison_of_a_claim_is_planned(name: str, profile: str) -> None:
    claim = claims.claims()[name]
    usual = params(f"{claim.section}/{profile}").get("usual")
    runs = report.judged(pool.table(_planned(claim.section, profile)), usual)
    if profile == "paper":
        runs = runs[claim.protocol.covers(runs)]
    wanted = [
        m for part in claim.compare for m in (*part.run.get("method", []), *part.against.get("method", []))
    ]
    derived = {
        m for m in wanted if m.endswith(("at equal FLOPs", "at equal density"))
    }  # from runs that are done
    if profile == "quick":  # digits have no counterpart of CIFAR-100
        wanted = [m for m in wanted if "cifar100" not in m]
    open_end = {m for m in wanted if m.endswith(("~*", " from *"))}
    assert set(wanted) - derived - open_end <= set(runs["method"])
    assert all(runs["method"].str.startswith(m[:-1]).any() for m in open_end)
    if profile == "paper" and claim.densities:
        assert set(claim.densities) <= set(runs["density"])


def test_the_quick_report_is_small_and_three_sections_cost_nothing_of_their_own() -> None:
    free = {"answer42", "baselines", "what-explains-it"}
    paid = {s: _all_keys(_planned(s, "quick")) for s in SECTIONS}
    others = set().union(*(keys for s, keys in paid.items() if s not in free))
    assert len(others) <= QUICK
    assert set().union(*(paid[s] for s in free)) <= others


def test_the_replication_begins_with_its_table() -> None:
    first = pool.table(_planned("answer42", "paper")[:36])
    assert set(first["method"]) == {"smart_ratio"}
    assert set(first["density"]) == {0.1, 0.05, 0.02}
    published = claims.published("answer42")
    published = published[published["metric"] == claims.ACCURACY]
    ours = pool.table(_planned("answer42", "paper")).drop_duplicates(cells.KEYS)
    place = ["data", "model", "density", "method", "check"]
    cell = set(published[place].itertuples(index=False, name=None))
    assert cell <= set(ours[place].itertuples(index=False, name=None)), "everything it published is planned"


def _claims(section: str) -> list[str]:
    return [c.id for c in claims.claims().values() if c.section == section]


def _planned(section: str, profile: str) -> list[Settings]:
    return expand(params(f"{section}/{profile}")["runs"])


def _all_keys(runs: list[Settings]) -> set[str]:
    """Name the runs and the dense networks that they need."""
    return {s.key() for s in runs} | {need.settings.key() for s in runs for need in lineage.needs(s)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Share a build folder, so that its kernel can be kept and no run is made twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_keeping", True)
        yield tmp_path_factory.mktemp("shared")
        kernels._end_held()


def _text(path: Path) -> str:
    """Join all that an executed notebook shows."""
    shown = []
    for cell in _code(path):
        for output in cell.outputs:
            shown += [output.get("text", ""), *map(str, output.get("data", {}).values())]
    return "\n".join(shown)


@pytest.mark.parametrize("section", SECTIONS)
def test_runs_at_smoke_scale(section: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRO_BUILD", str(folder / "smoke"))
    monkeypatch.setenv(
        "REPRO_DATA", str(folder / "data")
    )  # the same for all, as in a report: the kernel stays
    runs = len(expand(params(f"{section}/smoke")["runs"]))
    shown = _text(book.execute(section, "smoke", train=True))
    assert f"{runs} of {runs} runs recorded" in shown
    assert shown.count('<section class="repro-card') == len(_claims(section))
    assert shown.count("<img") >= (0 if section == "baselines" else 3)
    assert shown.count("<table") >= 2


@pytest.mark.parametrize("section", SECTIONS)
def test_reads_the_published_scale_without_training(
    section: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRO_BUILD", str(folder / "paper"))
    monkeypatch.setenv(
        "REPRO_DATA", str(folder / "nothing")
    )  # no images are needed, so missing ones break nothing
    runs = len(expand(params(f"{section}/paper")["runs"]))
    shown = _text(book.execute(section, "paper", train=False))
    assert f" of {runs} runs recorded" in shown
    assert WORKS.get(section, "answer42") in shown
    assert not (paths.build() / "runs").exists()
