"""From settings to a record: data, network, ticket, check, training. Each stage is made once and kept by its key.

A dense run doubles as the pre-training that tickets are cut from, so its weights are kept; a ticket is kept before
any check, so that one ticket serves them all. Locks see to it that two processes never make the same thing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch

from . import checkpoint, files, measure, record, seals
from .data import Data
from .errors import ReproError
from .facts import head, measured
from .keeping import keepers, kept, masks_file, mend, snapshots_in, under_way, weights_file
from .lineage import unchecked
from .masks import Masks, Ticket, texts
from .materials import (
    data_of,
    device,
    keep_memory,
    network,
    precision_for,
    threads,
    threads_for,
    training_data,
)
from .models import prunable
from .parts import Moment
from .settings import Settings
from .tickets import ticket_of
from .train import Report, Stopped, train

Stop = Callable[[], bool]
T = TypeVar("T")


class _Made:
    """Results of other runs, which are made first where they are not there."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def _folder(self, of: Settings, *snapshots: Moment) -> Path:
        offered = torch.get_num_threads()
        found = run(of, weights=True, snapshots=snapshots, threads_offered=offered, stop=self.stop)
        if found["status"] != "done":
            raise ReproError(
                f"the run before, {of.key()}, {found['status']}, no ticket can be cut: {found['reason']}"
            )
        return record.folder(of.key())

    def _kept(
        self,
        of: Settings,
        after: Moment | None,
        key: str,
        name: Callable[[Path, Moment | None], Path],
        load: Callable[[Path], T],
    ) -> T:
        """Read what a run has kept; the run is made again if that is damaged."""

        def path() -> Path:
            found = name(self._folder(of, *([] if after is None else [after])), after)
            if not found.exists():
                raise ReproError(f"ticket.{key}: the run before, {of.key()}, ended before {after}; lower it")
            return found

        try:
            return load(path())
        except seals.DamagedError:
            folder = record.folder(of.key())
            with files.lock(folder / "lock"):
                mend(folder)
            return load(path())

    def weights(self, of: Settings, after: Moment | None = None) -> dict[str, torch.Tensor]:
        return self._kept(
            of, after, "rewind", weights_file, lambda p: checkpoint.load_tensors(p, own=True)[0]
        )

    def start(self, of: Settings) -> Mapping[str, torch.Tensor]:
        return (
            make_ticket(of, stop=self.stop).weights
            if of.ticket.score
            else network(of, data_of(of)).state_dict()
        )

    def masks(self, of: Settings, after: Moment | None = None) -> Masks:
        return self._kept(of, after, "after", masks_file, lambda path: Masks.load(path, own=True))

    def pause(self) -> None:
        if self.stop():
            raise Stopped


def make_ticket(s: Settings, *, stop: Stop = lambda: False) -> Ticket:
    """Make, or fetch, the ticket of a run, with its check applied, making the runs before it first if need be.

    Raises:
        ReproError: when the run is dense, or the data or the density do not allow the ticket.
        Stopped: when asked to stop.
    """
    return ticket_of(s, _Made(stop))


def run(
    s: Settings,
    *,
    weights: bool = False,
    snapshots: Sequence[Moment] = (),
    threads_offered: int = 1,
    stop: Stop = lambda: False,
    report: Report = lambda *_: None,
) -> dict[str, Any]:
    """Train one run, unless its record is there already, and give the record.

    What is damaged of it, by its checksum, is set aside and named on standard error, and made again.

    Args:
        s: the run.
        weights: insist on the trained weights, which published records lack, and tickets unless asked.
        snapshots: insist, with `weights`, on those after each of these epochs, or steps, too.
        threads_offered: CPU threads that a large network may use; their number can change the last bits.
        stop: asked before each step; on True the run is saved and `Stopped` raised.
        report: told steps done, steps in all and the newest row of the curve.

    Raises:
        ReproError: on missing data or a ticket that cannot be made.
        Stopped: when asked to stop.
    """
    folder = record.folder(s.key())

    def made() -> bool:
        return record.find(s.key()) is not None and (not weights or kept(s, snapshots))

    if not made():
        with files.lock(folder / "lock"):
            if not made():  # another process may have made it while we waited
                mend(folder)
                _train_and_record(s, folder, threads_offered, stop, report, snapshots, weights)
    found = record.find(s.key())
    assert found is not None
    return record.read(found)


def _train_and_record(
    s: Settings,
    folder: Path,
    offered: int,
    stop: Stop,
    report: Report,
    snapshots: Sequence[Moment],
    keep: bool,
) -> None:
    record.begin(s.key(), s.changed())
    began, where, data = datetime.now(UTC), device(), data_of(s)
    keep_memory()
    measure.reset_peak_memory(where)
    resume, held = folder / "checkpoint.safetensors", folder / "masks.safetensors"
    snapshots = sorted(
        {*snapshots, *snapshots_in(folder)}, key=str
    )  # those there belong to the same training again
    past = under_way(folder, resume, snapshots, s.sparse.active)
    precision = past.get("precision") or precision_for(s, data, where)
    with threads(past.get("threads") or threads_for(s, data, offered)):
        model, masks, notes = _start(s, data, held if past else None, stop)
        if masks and not past:  # with the checkpoint all that is needed to go on, here or elsewhere
            masks.save(held, {name: json.dumps(value) for name, value in notes.items()})
        model.to(device=where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        outcome = train(
            model,
            training_data(s, where),
            s,
            masks=masks and masks.to(where),
            precision=precision,
            resume=resume,
            stop=stop,
            report=report,
            **keepers(folder, snapshots),
        )
        facts = {
            "status": outcome.status,
            "reason": outcome.reason,
            "when": began.isoformat(timespec="seconds"),
            **notes,
        }
        found = measured(s, model, data, outcome, masks, where, precision)
    if masks is None or keep:
        checkpoint.save_tensors(weights_file(folder), model.state_dict(), {"settings": s.changed()})
        if outcome.masks:
            outcome.masks.save(masks_file(folder))
    record.finish(s.key(), head(s) | facts | found)
    resume.unlink(missing_ok=True)
    held.unlink(missing_ok=True)


def _start(
    s: Settings, data: Data, held: Path | None, stop: Stop
) -> tuple[torch.nn.Module, Masks | None, dict[str, Any]]:
    """Give the network at its first weights, its masks, and what the record says of where they come from.

    Args:
        s: the run.
        data: its images.
        held: masks and notes of a run that goes on, if any.
        stop: asked now and then.

    Returns:
        Network, masks, and notes: `overlap` with the masks of the unchecked ticket, and `fresh`, the names of
        weights that are this network's own since they had another shape in the run that the ticket comes from.
    """
    model, notes = network(s, data), {"overlap": None, "fresh": []}
    if s.ticket.score is None:
        return model, Masks.ones(prunable(model)) if s.sparse.active else None, notes
    if held and held.exists():  # the weights come from the checkpoint
        known = texts(held)
        return model, Masks.load(held), {n: json.loads(known.get(n, json.dumps(v))) for n, v in notes.items()}
    ticket = make_ticket(s, stop=stop)
    model.load_state_dict(ticket.weights)
    notes["fresh"] = ticket.origin.get("fresh", [])
    if plain := unchecked(s):
        other = make_ticket(plain, stop=stop).masks
        notes["overlap"] = {
            "value": ticket.masks.overlap(other),
            "expected": ticket.masks.expected_overlap(other),
        }
    return model, ticket.masks, notes
