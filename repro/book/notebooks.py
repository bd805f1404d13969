"""From a notebook and a parameter file to an executed notebook."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd

from .. import paths
from ..errors import ReproError, nearest
from ..files import lock
from ..grids import expand, params
from . import kernels


@dataclass(frozen=True, order=True)
class Page:
    """One page of the book: a section's notebook at one profile."""

    section: str
    profile: str

    @property
    def name(self) -> str:
        """The page's file name in the book, without a suffix."""
        return f"{self.section}-{self.profile}"

    @property
    def source(self) -> Path:
        """The notebook as it is committed, stripped of outputs."""
        return paths.root() / "notebooks" / f"{self.section}.ipynb"

    @property
    def executed(self) -> Path:
        """Where the executed notebook lies."""
        return paths.build() / "notebooks" / self.section / f"{self.profile}.ipynb"

    def params(self) -> dict[str, Any]:
        """Read the page's parameter file."""
        return params(f"{self.section}/{self.profile}")

    def records(self) -> pd.DataFrame:
        """Load what is recorded of the page's runs; never trains."""
        from ..pool import run_all  # late: brings torch

        return run_all(expand(self.params().get("runs", []), source=self.name), train=False)


def sections() -> list[str]:
    """List the sections: the stems of the notebooks."""
    return sorted(p.stem for p in (paths.root() / "notebooks").glob("*.ipynb"))


def pages() -> list[Page]:
    """List every page that has been executed, in the order of the sections."""
    made = (paths.build() / "notebooks").glob("*/*.ipynb")
    known = sections()
    return sorted(Page(p.parent.name, p.stem) for p in made if p.parent.name in known and "." not in p.stem)


def parameter_names(notebook: Path) -> list[str]:
    """List the names in a notebook's parameters cell.

    Raises:
        ReproError: if no cell carries the tag `parameters`, or papermill cannot read a line of it.
    """
    from papermill import inspect_notebook

    cells = nbformat.read(notebook, as_version=4).cells
    tagged = [c.source for c in cells if "parameters" in c.metadata.get("tags", [])]
    if not tagged:
        raise ReproError(f"{notebook.name} has no cell tagged `parameters`; tag the one with the defaults")
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of what we raise
    names = list(inspect_notebook(notebook))
    for line in tagged[0].splitlines():
        if line.strip() and not line.startswith("#") and re.split(r"\W", line)[0] not in names:
            form = "`name: type = value  # help`, no = in the help"
            raise ReproError(f"{notebook.name}: papermill cannot read {line!r}; write {form}")
    return names


def _parameters(page: Page, train: bool) -> dict[str, Any]:
    """Gather the parameters of a page and check them against its notebook."""
    if not page.source.is_file():
        raise ReproError(f"no notebook for section {page.section!r}: {nearest(page.section, sections())}")
    known = parameter_names(page.source)
    given = {**page.params(), "profile": page.profile, "train": train}
    for name in given:
        if name not in known:
            where = f"params/{page.section}/{page.profile}.yaml"
            raise ReproError(f"{where}: {page.source.name} has no parameter {name!r}: {nearest(name, known)}")
    return given


def check(page: Page) -> None:
    """Refuse a page whose notebook or parameter file is faulty, before anything is trained for it.

    Raises:
        ReproError: naming the file and what to mend.
    """
    _parameters(page, train=False)


def _stamp(page: Page, given: Mapping[str, Any], records: pd.DataFrame) -> str:
    """Hash what an executed notebook depends on: notebook, parameters, package, published numbers, records."""
    reference = paths.root() / "book"
    files = [
        page.source,
        *kernels.PACKAGE.rglob("*.py"),
        *reference.glob("reference/*"),
        reference / "claims.yaml",
    ]
    content = [hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files) if f.is_file()]
    runs = records[["key", "status", "when", "accuracy"]].to_json()
    return hashlib.sha256(json.dumps([content, given, runs, sys.version]).encode()).hexdigest()


def _is_current(page: Page, given: Mapping[str, Any]) -> bool:
    if not page.executed.is_file():
        return False
    records = page.records()
    if given["train"] and not set(records["status"]) <= {"done", "diverged"}:
        return False  # something is left to train, or to try again
    stamp = nbformat.read(page.executed, as_version=4).metadata.get("repro", {}).get("stamp")
    return stamp == _stamp(page, given, records)


def _run(page: Page, given: Mapping[str, Any], partial: Path) -> None:
    """Execute the notebook into `partial`; raise ReproError with one line if a cell fails."""
    from nbclient.exceptions import DeadKernelError
    from papermill import PapermillExecutionError, execute_notebook

    options: dict[str, Any] = {"progress_bar": sys.stderr.isatty(), "kernel_name": kernels.NAME}
    options["extra_arguments"] = ["--log-level=CRITICAL"]  # of the kernel, on our standard error
    try:
        with kernels.lent() as options["km"]:
            execute_notebook(page.source, partial, dict(given), cwd=page.source.parent, **options)
    except (PapermillExecutionError, DeadKernelError) as error:
        if getattr(error, "ename", "") == "KeyboardInterrupt":
            raise KeyboardInterrupt from None
        failed = page.executed.with_suffix(".failed.ipynb")
        partial.replace(failed)
        cause = "the kernel died (out of memory?)"
        if isinstance(error, PapermillExecutionError):
            told = str(error.evalue).strip().splitlines() or [""]
            cause = f"cell {error.exec_count}: {error.ename}: {told[0]}"
        what = f"{page.source.name} at profile {page.profile!r}"
        raise ReproError(f"{what} failed, {cause}; read {failed}") from None
    except RuntimeError as error:  # the kernel did not answer
        raise ReproError(f"{page.source.name}: {error}; the same command goes on") from None


def execute(section: str, profile: str, *, train: bool) -> Path:
    """Run a section's notebook with a profile's parameters; do nothing if it is up to date.

    Args:
        section: stem of the notebook and name of the folder with its parameter files.
        profile: stem of the parameter file, e.g. `quick`.
        train: whether missing runs are trained; otherwise the notebook only reads records.

    Returns:
        the executed notebook in the build folder.

    Raises:
        ReproError: on an unknown name, a bad parameter file, or a failed cell (what was executed up to there is
            kept as `<profile>.failed.ipynb`).
    """
    page = Page(section, profile)
    given = _parameters(page, train)
    with lock(page.executed.with_suffix(".lock")):  # a second process waits, then finds everything done
        if not _is_current(page, given):
            _renew(page, given)
    return page.executed


def _renew(page: Page, given: Mapping[str, Any]) -> None:
    """Run the notebook beside its place, then move it there with a stamp of what it was made from."""
    partial = page.executed.with_suffix(".partial.ipynb")
    try:
        _run(page, given, partial)
        notebook = nbformat.read(partial, as_version=4)
        notebook.metadata["repro"] = {"stamp": _stamp(page, given, page.records())}
        nbformat.write(notebook, partial)
        partial.replace(page.executed)
    finally:
        partial.unlink(missing_ok=True)
    page.executed.with_suffix(".failed.ipynb").unlink(missing_ok=True)
