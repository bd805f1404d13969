"""A machine with torch and little else: training and carrying records need neither papermill nor Jupyter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TINY = "recipe=digits model.name=resnet8 model.width=0.25 optim.epochs=1 data.subset=200"

BLOCKER = """
import sys
from importlib.abc import MetaPathFinder

ABSENT = ("papermill", "nbformat", "nbclient", "IPython", "ipykernel", "seaborn", "matplotlib", "sphinx", "statsmodels")


class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in ABSENT or top.startswith("jupyter"):
            raise ModuleNotFoundError(f"No module named {name!r} on this bare machine", name=name)


sys.meta_path.insert(0, Absent())
"""

COMMANDS = f"""
import os, sys
from repro.cli import main

def call(line):
    sys.argv = ["repro", *line.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code, line

try:
    import papermill
    raise AssertionError("papermill can be imported: this test tests nothing")
except ModuleNotFoundError as error:
    assert "bare machine" in str(error)

import repro.pool, repro.publish, repro.intake
assert "sklearn" not in sys.modules, "needed by the digits alone"

run = "run {TINY} ticket.score=snip ticket.density=0.2"
call(run)
call("status")
call("publish --to out")
os.environ["REPRO_BUILD"] = os.path.abspath("home")
call("import out")
call(run)
"""


def test_run_status_publish_and_import_on_a_bare_machine(tmp_path: Path) -> None:
    """The blocker is a sitecustomize, so that it is there before anything else."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "out: 1 written, 0 there already" in done.stdout
    assert "out: 1 taken, 0 here already" in done.stdout
    ran = [line.split()[0] for line in done.stdout.splitlines() if line.startswith(tuple("0123456789abcdef"))]
    keys = {p.stem for p in (tmp_path / "out").iterdir()}
    assert sum(word in keys for word in ran) == 2, "the same run, shown by both machines"
    assert not list((tmp_path / "home").rglob("tickets")), "at home nothing was trained again"
