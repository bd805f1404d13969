"""Lay out the book's source: written pages, executed notebooks, generated fragments, table of contents."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml

from .. import paths
from ..errors import ReproError
from . import fragments, notebooks
from .notebooks import Page

WIDGETS = "application/vnd.jupyter.widget-view+json"  # would load scripts from the network


@dataclass(frozen=True)
class Scale:
    """How a profile is presented: its caption in the contents, and the note at the top of its pages."""

    caption: str
    note: str


SCALES = {
    "quick": Scale(
        "Quick, run live on this machine",
        "**Not the published protocol.** Small images of handwritten digits, small networks, a short "
        "schedule, trained on the machine that built this book. The published numbers beside ours come from other "
        "data and networks: compare directions, not values.",
    ),
    "paper": Scale(
        "Published protocol, recorded",
        "Nothing was trained for this page: it reads the records stored with the book. "
        "Runs that nobody has made yet are shown as a dash.",
    ),
    "smoke": Scale(
        "Smoke test",
        "A few seconds of training, to see that the machinery runs. The numbers mean nothing.",
    ),
}


def scale(profile: str) -> Scale:
    """Look up how a profile is presented; a profile without an entry gets a plain one."""
    note = "As set in the section's parameter file."
    return SCALES.get(profile, Scale(f"Profile {profile}", note))


def _contents(written: dict[str, Any], pages: Iterable[Page]) -> dict[str, Any]:
    """Turn the written table of contents into that of the book: each notebook becomes its executed pages."""
    pages = list(pages)
    order = [*SCALES, *sorted({p.profile for p in pages} - set(SCALES))]
    parts = []
    for part in written["parts"]:
        files = [chapter["file"] for chapter in part["chapters"]]
        sections = [Path(f).name for f in files if f.startswith("notebooks/")]
        plain = [f for f in files if not f.startswith("notebooks/")]
        for profile in order:
            made = [p for s in sections for p in pages if (p.section, p.profile) == (s, profile)]
            if made:
                chapters = [{"file": f"sections/{p.name}"} for p in made]
                parts.append({"caption": scale(profile).caption, "chapters": chapters})
        if plain:
            parts.append({"caption": part["caption"], "chapters": [{"file": f} for f in plain]})
    return {**written, "parts": parts}


FOLDED = {"parameters": "Show the defaults", "injected-parameters": "Show the parameters of this page"}


def _fold(cell: Any) -> None:
    """Fold a cell's code away, under a line that says what it holds: readers come for the results."""
    tags = cell.metadata.get("tags", [])
    if cell.cell_type == "code":
        told = next((FOLDED[tag] for tag in tags if tag in FOLDED), "Show the code")
        cell.metadata["tags"] = [*tags, "hide-cell" if "hide-output" in tags else "hide-input"]
        cell.metadata.setdefault("mystnb", {"code_prompt_show": told, "code_prompt_hide": "Hide"})


def _page(page: Page) -> nbformat.NotebookNode:
    """Prepare an executed notebook for the book: note on the scale, parameters folded away, no widgets."""
    notebook = nbformat.read(page.executed, as_version=4)
    for cell in notebook.cells:
        _fold(cell)
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if WIDGETS not in o.get("data", {})]
    kind = "note" if page.profile == "paper" else "warning"
    shown = scale(page.profile)
    banner = f":::{{admonition}} {shown.caption}\n:class: {kind}\n{shown.note}\n:::"
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(banner, id="scale"))
    for name in set(notebook.metadata) - {"kernelspec", "language_info"}:
        del notebook.metadata[name]
    return notebook


def _fill(folder: Path, pages: list[Page]) -> None:
    source = paths.root() / "book"
    unused = shutil.ignore_patterns("records", "reference", "_build", ".ipynb_checkpoints")
    shutil.copytree(source, folder, ignore=unused)
    contents = _contents(yaml.safe_load((source / "_toc.yml").read_text(encoding="utf-8")), pages)
    (folder / "_toc.yml").write_text(yaml.safe_dump(contents, sort_keys=False), encoding="utf-8")
    (folder / "sections").mkdir()
    for page in pages:
        nbformat.write(_page(page), folder / "sections" / f"{page.name}.ipynb")
    (folder / "generated").mkdir()
    for name, text in fragments.write(pages).items():
        (folder / "generated" / name).write_text(text, encoding="utf-8")


def stage(pages: Iterable[Page | tuple[str, str]] | None = None) -> Path:
    """Build the source folder of the book, from which `build` makes the HTML.

    Args:
        pages: (section, profile) of the executed notebooks to show; all that have been executed if not given.

    Returns:
        the folder `book` in the build folder, replaced as a whole.

    Raises:
        ReproError: if a page has not been executed, or its section is not in the table of contents.
    """
    given = notebooks.pages() if pages is None else pages
    chosen = sorted(Page(*p) if isinstance(p, tuple) else p for p in given)
    listed = (paths.root() / "book" / "_toc.yml").read_text(encoding="utf-8").split()
    for page in chosen:
        if not page.executed.is_file():
            raise ReproError(f"page {page.name} has no executed notebook; run `repro report`")
        if f"notebooks/{page.section}" not in listed:
            line = f"- file: notebooks/{page.section}"
            raise ReproError(f"book/_toc.yml does not list section {page.section!r}; add {line!r}")
    target = paths.build() / "book"
    fresh = target.with_name(f".book-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.parent.mkdir(parents=True, exist_ok=True)
        _fill(fresh, chosen)
        shutil.rmtree(target, ignore_errors=True)
        fresh.replace(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target
