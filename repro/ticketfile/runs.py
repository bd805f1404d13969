"""The ticket of a run: the one that its training starts from, or what it ended with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import checkpoint, record
from ..errors import ReproError
from ..experiment import make_ticket, masks_file, weights_file
from ..facts import head
from ..grids import expand
from ..masks import Masks, Ticket
from ..materials import data_of
from ..naming import density, method
from ..settings import Settings, parse
from ..text import assignments
from .card import Facts, Network, Provenance, Source


def run_of(words: Sequence[str]) -> Settings:
    """Find the one run that words mean: a key, or its first letters, or settings `key=value`.

    Raises:
        ReproError: when there is none, or more than one.
    """
    if len(words) == 1 and "=" not in words[0]:
        return _recorded(words[0])
    found = expand([{}], assignments(words), "command line")
    if len(found) != 1:
        raise ReproError(
            f"these settings are {len(found)} runs, and a ticket is of one; give one value of each"
        )
    return found[0]


def _recorded(start: str) -> Settings:
    frame = record.load()
    rows = frame[frame["key"].str.startswith(start)]
    if len(rows) != 1:
        found = "no run" if rows.empty else f"{len(rows)} runs"
        raise ReproError(f"{start}: {found} with this key; `repro status` lists what there is")
    key, path = rows.iloc[0][["key", "path"]]
    s = parse(record.read(Path(path))["settings"])
    if s.key() != key:
        raise ReproError(f"{key}: the record is of another version of repro; run it again: {s.command()}")
    return s


def first(s: Settings) -> tuple[Ticket, Facts]:
    """Make, or fetch, the ticket that the training of a run starts from; the run itself need not be there.

    Raises:
        ReproError: when the run is dense, or its ticket cannot be made.
    """
    if s.ticket.norms:
        raise ReproError("ticket.norms: ticket files hold no masks of batch-norm scales; remove it")
    ticket = make_ticket(s)
    stage = {"init": "initial", "start": "taken"}.get(s.ticket.weights, s.ticket.weights)
    rewind = s.ticket.rewind if s.ticket.weights == "rewound" else None
    return ticket, _facts(s, s.ticket.target, stage=stage, rewind=rewind)


def final(s: Settings) -> tuple[Ticket, Facts]:
    """Give the masks and the trained weights that a run ended with.

    Raises:
        ReproError: when it is not finished, kept no weights on this machine, or is dense.
    """
    folder = record.folder(s.key())
    if s.ticket.score is None and not s.sparse.active:
        raise ReproError("ticket.score: the dense network has no ticket; name a score")
    files = weights_file(folder), masks_file(folder)
    if not (folder / "DONE").exists() or not all(file.exists() for file in files):
        raise ReproError(
            f"{s.key()}: what it ended with is not on this machine; `{s.command()} --keep-weights` keeps it"
        )
    made, settings = record.read(folder / "record.json"), head(s)["settings"]
    origin = {"settings": s.changed(), "final": True}
    ticket = Ticket(Masks.load(files[1]), checkpoint.load_tensors(files[0])[0], origin)
    requested = density(settings) or made["density"]  # of learned thresholds, what came out
    return ticket, _facts(s, requested, stage="trained", accuracy=made["accuracy"]["final"])


def provenance(s: Settings | None = None, source: Source | None = None) -> Provenance:
    """Say when and by what a ticket is written down, and of which run or file it is."""
    where = record.environment()
    return Provenance(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=where["commit"],
        python=where["python"],
        versions=where["versions"],
        key=s and s.key(),
        command=s and s.command(),
        source=source,
    )


def _facts(s: Settings, requested: float, **more: Any) -> Facts:
    settings, data = head(s)["settings"], data_of(s)
    return Facts(
        method=method(settings),
        network=Network(
            name=s.model.name,
            options=s.model.options("name"),
            classes=data.classes,
            channels=data.shape[0],
        ),
        provenance=provenance(s),
        data=settings["data"],
        requested=requested,
        seed=s.seed,
        settings=settings,
        **more,
    )
