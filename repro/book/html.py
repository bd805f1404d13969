"""From the staged source to HTML that opens from a file path without a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from .. import paths
from ..errors import ReproError
from .staging import stage

JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"
OPTIONS = ("-n", "-W", "--keep-going", "-q")  # missing references and warnings are errors


def _mathjax() -> Path:
    """Find the one MathJax file that draws formulas without fonts or further files."""
    try:
        package = distribution("sphinx-mathjax-offline")
    except PackageNotFoundError:
        raise ReproError("no package sphinx-mathjax-offline; pip install sphinx-mathjax-offline") from None
    return Path(str(package.locate_file("sphinx-mathjax-offline/static/mathjax/tex-svg.js")))


def _first_fault(log: str) -> str:
    """Pick the line of a log that tells what is wrong."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    marked = [line for line in lines if any(word in line for word in ("WARNING:", "ERROR:", "Error:"))]
    return (marked or lines or ["no output"])[0][:200]


def build() -> Path:
    """Make the HTML of the staged book.

    Returns:
        the page to open, `html/index.html` in the build folder; the old pages stay when the build fails.

    Raises:
        ReproError: on any warning or error of the build, with the first of them and the path of the log.
    """
    source, target = paths.build() / "book", paths.build() / "html"
    if not (source / "_toc.yml").is_file():
        stage()
    mathjax = _mathjax()
    work, log = paths.build() / "sphinx", paths.build() / "book.log"
    shutil.rmtree(work, ignore_errors=True)
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", str(source), "--path-output", str(work), *OPTIONS]
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    told = done.stdout + done.stderr
    log.write_text(told, encoding="utf-8")
    made = work / "_build" / "html"
    if done.returncode or not (made / "index.html").is_file():
        raise ReproError(f"the book did not build: {_first_fault(told)}; full log: {log}")
    (made / "_static" / "mathjax").mkdir(parents=True)
    shutil.copy(mathjax, made / "_static" / "mathjax")
    shutil.rmtree(target, ignore_errors=True)
    made.replace(target)
    shutil.rmtree(work, ignore_errors=True)
    return target / "index.html"
