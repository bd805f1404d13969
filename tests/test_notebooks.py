"""The notebooks as they are committed, and run at the smallest scale."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest

import repro
from repro import book, claims, paths
from repro.book.notebooks import parameter_names
from repro.grids import expand, params

NOTEBOOKS = sorted((paths.root() / "notebooks").glob("*.ipynb"))
SECTIONS = [path.stem for path in NOTEBOOKS]
PARAMS = [(s, p.stem) for s in SECTIONS for p in sorted((paths.root() / "params" / s).glob("*.yaml"))]
ALLOWED = {"repro", "pandas", "seaborn"}

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=SECTIONS)


def _code(path: Path) -> list[nbformat.NotebookNode]:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def test_there_is_a_notebook_for_every_section_that_a_claim_names() -> None:
    assert {c.section for c in claims.claims().values()} <= set(SECTIONS)


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
    assert {"profile", "title", "margin", "densities", "runs", "train"} <= set(parameter_names(path))
    tagged = [c for c in _code(path) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert all("  # " in line for line in tagged[0].source.splitlines())


@pytest.mark.parametrize(("section", "profile"), PARAMS, ids=["-".join(p) for p in PARAMS])
def test_parameter_files_fit_their_notebook(section: str, profile: str) -> None:
    given = params(f"{section}/{profile}")
    assert set(given) <= set(parameter_names(paths.root() / "notebooks" / f"{section}.ipynb"))
    assert expand(given["runs"])


def _text(path: Path) -> str:
    """Join all that an executed notebook shows."""
    shown = []
    for cell in _code(path):
        for output in cell.outputs:
            shown += [output.get("text", ""), *map(str, output.get("data", {}).values())]
    return "\n".join(shown)


@pytest.mark.parametrize("section", SECTIONS)
def test_runs_at_smoke_scale(section: str) -> None:
    runs = len(expand(params(f"{section}/smoke")["runs"]))
    shown = _text(book.execute(section, "smoke", train=True))
    assert f"{runs} of {runs} runs recorded" in shown
    assert shown.count("repro-card") >= 1
    assert shown.count("<img") >= 3


@pytest.mark.parametrize("section", SECTIONS)
def test_reads_the_published_scale_without_training(section: str) -> None:
    runs = len(expand(params(f"{section}/paper")["runs"]))
    shown = _text(book.execute(section, "paper", train=False))
    assert f" of {runs} runs recorded" in shown
    assert "answer42" in shown
    assert not (paths.build() / "runs").exists()
