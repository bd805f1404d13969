"""The generated part of the page of tickets: every ticket file there is, as a download with what its card says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .. import paths, record
from ..errors import ReproError
from ..report.style import check_name, data_name, method_style, model_name, percent
from ..settings import Settings, parse
from ..ticketfile import Card, load
from ..ticketfile.card import printable
from ..ticketfile.store import SUFFIX
from ..vet import short
from .tables import code as _code
from .tables import longest as _longest
from .tables import plain as _plain
from .tables import table

FOLDER = "tickets-published"  # in the build folder: this machine's own
HEAD = ["ticket", "method", "data", "network", "density", "layers", "size", "weights", "seed", "accuracy"]
NOTHING = """:::{note}
There is no ticket file yet. `repro ticket export` writes one; in `book/tickets` it is listed here.
:::
"""


@dataclass(frozen=True)
class _Entry:
    """A ticket file that could be read, how the staged page links to it, and its run if the card's settings give one."""

    path: Path
    link: str
    card: Card
    run: Settings | None


def fragment() -> str:
    """Write the table of all ticket files, the published ones first, their commands, and which files are no use."""
    entries, faults = [], []
    for path, link in _files():
        try:
            entries.append(_read(path, link))
        except ReproError as error:
            why = printable(str(error).removeprefix(f"{path}: "))
            faults.append(f"- {_code(printable(path.name))}: {_plain(why)}\n")
    parts = [table(HEAD, map(_row, entries))] if entries else []
    parts += ["## Made by\n", *map(_made_by, entries)] if entries else []
    parts += ["## Not readable\n", "".join(faults)] if faults else []
    return "\n".join(parts) or NOTHING


def _files() -> list[tuple[Path, str]]:
    """List files with their addresses as seen from the staged book, which lies in the build folder."""
    places = {paths.root() / "book" / "tickets": "tickets", paths.build() / FOLDER: f"../{FOLDER}"}
    return [
        (p, f"{near}/{p.name}") for folder, near in places.items() for p in sorted(folder.glob(f"*{SUFFIX}"))
    ]


def _read(path: Path, link: str) -> _Entry:
    if not re.fullmatch(r"\w[\w.+-]*", path.name, re.ASCII):
        raise ReproError("its name has other characters than letters, digits and . _ + -; rename it")
    _, card = load(path)
    try:
        run = None if card.settings is None else parse(card.settings)
    except ReproError:
        run = None  # settings of another version
    return _Entry(path, link, card, run)


def _row(entry: _Entry) -> list[str | int | None]:
    card, name = entry.card, entry.path.name.removesuffix(SUFFIX)
    options, accuracy = card.network.options, _accuracy(entry)
    width, data = options.get("width", 1.0), (card.data or {}).get("name")
    check = entry.run and entry.run.check.name
    method = method_style(short(card.method)).label
    return [
        f"{{download}}`{name} <{entry.link}>`" + (" (this machine)" if entry.link.startswith("..") else ""),
        _plain(method if check in (None, "none") else f"{method}, {check_name(check)}"),
        None if data is None else _plain(data_name(short(data))),
        _plain(model_name(card.network.name, float(width))),
        percent(card.density.realised),
        len(card.layers),
        _size(entry.path.stat().st_size),
        ", ".join(filter(None, [card.weights.stage, card.weights.mode])),
        card.seed,
        None if accuracy is None else f"{accuracy:.2f} %",
    ]


def _accuracy(entry: _Entry) -> float | None:
    """Look up the final test accuracy of a ticket's run, on its card or else in a record that is here."""
    if entry.card.accuracy is not None or entry.run is None:
        return entry.card.accuracy
    found = record.find(entry.run.key())
    try:
        return None if found is None else record.read(found)["accuracy"]["final"]
    except (ReproError, KeyError, TypeError):
        return None


def _made_by(entry: _Entry) -> str:
    """Show the command that makes a ticket's run again, spelled anew from its settings."""
    source, name = entry.card.provenance.source, entry.path.name.removesuffix(SUFFIX)
    if entry.run is None:
        told = (
            f"imported from {_code(short(source.file))}"
            if source
            else "its card gives no settings that this version knows"
        )
        return f"{_code(name)}: {told}.\n"
    command = entry.run.command()
    fence = "`" * max(3, _longest(command) + 1)
    return f"{_code(name)}:\n\n{fence}console\n$ {command}\n{fence}\n"


def _size(count: int) -> str:
    return f"{count / 1000:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"
