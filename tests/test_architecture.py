"""The shape of the house: imports flow one way, modules stay small, the tree holds what it should."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "repro").rglob("*.py"))


def test_imports_point_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_functions_stay_small(file: Path) -> None:
    text = file.read_text()
    assert text.count("\n") <= 250
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert length <= 40, f"{node.name}: {length} lines"


@pytest.mark.parametrize("file", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_pickles_and_no_global_seed(file: Path) -> None:
    text = file.read_text()
    assert not re.search(
        r"\bpickle\b|torch\.load\((?!.*weights_only=True\))|manual_seed\((?!int)|yaml\.(unsafe_)?load\((?!.*_Loader)",
        text,
    )


def test_the_lock_names_no_index_and_covers_the_dependencies() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.match(r"^[A-Za-z0-9._-]+==[^ ]+( ; .+)?$", line) for line in pins)
    locked = {re.split("==", line)[0].lower().replace("_", "-") for line in pins}
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    assert {re.split(r"[<>=]", w)[0] for w in wanted} <= locked


def test_citation_and_notebooks_are_well_formed() -> None:
    import yaml

    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["cff-version"] == "1.2.0"
    for file in (ROOT / "notebooks").glob("*.ipynb"):
        assert all(not c.get("outputs") for c in json.loads(file.read_text())["cells"])
