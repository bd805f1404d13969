"""From settings to a record: data, network, ticket, check, training. Each stage is made once and kept by its key.

A dense run doubles as the pre-training that tickets are cut from, so its weights are kept; a ticket is kept before
any check, so that one ticket serves them all. Locks see to it that two processes never make the same thing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from . import checkpoint, files, measure, record
from .data import Data
from .errors import ReproError
from .facts import head, measured
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
from .settings import Settings
from .tickets import pretraining, ticket_of, unchecked
from .train import AfterEpoch, Report, Stopped, train

Stop = Callable[[], bool]


def make_ticket(s: Settings, *, stop: Stop = lambda: False) -> Ticket:
    """Make, or fetch, the ticket of a run, with its check applied, making the run before it first if need be.

    Raises:
        ReproError: when the run is dense, or the data or the density do not allow the ticket.
        Stopped: when asked to stop.
    """

    def made(*snapshots: int) -> Path:
        first = pretraining(s)
        assert first is not None
        offered = torch.get_num_threads()
        found = run(first, weights=True, snapshots=snapshots, threads_offered=offered, stop=stop)
        if found["status"] != "done":
            raise ReproError(
                f"the run before, {first.key()}, {found['status']}, no ticket can be cut: {found['reason']}"
            )
        return record.folder(first.key())

    def trained(epochs: int | None) -> dict[str, torch.Tensor]:
        folder = made() if epochs is None else made(epochs)
        return checkpoint.load_tensors(weights_file(folder, epochs))[0]

    def ended() -> Masks:
        return Masks.load(masks_file(made()))

    def pause() -> None:
        if stop():
            raise Stopped

    return ticket_of(s, trained, ended, pause)


def weights_file(folder: Path, epochs: int | None = None) -> Path:
    """Name the file of a run's weights, after so many epochs or (None) the last."""
    return folder / ("weights.safetensors" if epochs is None else f"weights-{epochs}.safetensors")


def masks_file(folder: Path) -> Path:
    """Name the file of the masks that a run ended with."""
    return folder / "masks-final.safetensors"


def _snapshots(folder: Path) -> list[int]:
    names = [path.stem.removeprefix("weights-") for path in folder.glob("weights-*.safetensors")]
    return [int(name) for name in names if name.isdecimal()]


def kept(s: Settings, snapshots: Iterable[int] = ()) -> bool:
    """Tell whether the trained weights of a run are here, those after each of some epochs, and its last masks.

    A run that diverged has no later ones, and does not get them by another training.
    """
    folder = record.folder(s.key())
    dense = s.ticket.score is None and s.sparse.plan is None
    if not weights_file(folder).exists() or not (dense or masks_file(folder).exists()):
        return False
    return all(weights_file(folder, n).exists() for n in snapshots) or not _finished(folder)


def _finished(folder: Path) -> bool:
    return record.read(folder / "record.json")["status"] == "done" if (folder / "DONE").exists() else True


def run(
    s: Settings,
    *,
    weights: bool = False,
    snapshots: Sequence[int] = (),
    threads_offered: int = 1,
    stop: Stop = lambda: False,
    report: Report = lambda *_: None,
) -> dict[str, Any]:
    """Train one run, unless its record is there already, and give the record.

    Args:
        s: the run.
        weights: insist on the trained weights, which published records lack, and tickets unless asked.
        snapshots: insist, with `weights`, on those after each of these epochs too.
        threads_offered: CPU threads that a large network may use; their number can change the last bits.
        stop: asked before each step; on True the run is saved and `Stopped` raised.
        report: told steps done, steps in all and the newest row of the curve.

    Raises:
        ReproError: on missing data or a ticket that cannot be made.
        Stopped: when asked to stop.
    """
    folder = record.folder(s.key())

    def made() -> bool:
        return kept(s, snapshots) if weights else record.find(s.key()) is not None

    if not made():
        with files.lock(folder / "lock"):
            if not made():  # another process may have made it while we waited
                _train_and_record(s, folder, threads_offered, stop, report, snapshots, weights)
    found = record.find(s.key())
    assert found is not None
    return record.read(found)


def _train_and_record(
    s: Settings, folder: Path, offered: int, stop: Stop, report: Report, snapshots: Sequence[int], keep: bool
) -> None:
    record.begin(s.key(), s.changed())
    began, where, data = datetime.now(UTC), device(), data_of(s)
    keep_memory()
    measure.reset_peak_memory(where)
    resume, held = folder / "checkpoint.safetensors", folder / "masks.safetensors"
    snapshots = sorted({*snapshots, *_snapshots(folder)})  # those there belong to the same training again
    past = _under_way(folder, resume, snapshots)
    precision = past.get("precision") or precision_for(s, data, where)
    with threads(past.get("threads") or threads_for(s, data, offered)):
        model, masks, overlap = _start(s, data, held if past else None, stop)
        if masks and not past:  # with the checkpoint all that is needed to go on, here or elsewhere
            masks.save(held, {"overlap": json.dumps(overlap)})
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
            after_epoch=_keeper(folder, snapshots),
        )
        facts = {
            "status": outcome.status,
            "reason": outcome.reason,
            "when": began.isoformat(timespec="seconds"),
            "overlap": overlap,
        }
        found = measured(s, model, data, outcome, masks, where, precision)
    if masks is None or keep:
        checkpoint.save_tensors(weights_file(folder), model.state_dict(), {"settings": s.changed()})
        if outcome.masks:
            outcome.masks.save(masks_file(folder))
    record.finish(s.key(), head(s) | facts | found)
    resume.unlink(missing_ok=True)
    held.unlink(missing_ok=True)


def _under_way(folder: Path, resume: Path, snapshots: Sequence[int]) -> dict[str, Any]:
    """Read what a checkpoint knows of its run; one that is past a snapshot which is missing is dropped."""
    past = checkpoint.read_about(resume) if resume.exists() else {}
    done = len(past.get("curve", ()))
    if any(n <= done and not weights_file(folder, n).exists() for n in snapshots):
        resume.unlink()
        return {}
    return past


def _keeper(folder: Path, snapshots: Sequence[int]) -> AfterEpoch:
    def keep(epochs: int, model: torch.nn.Module) -> None:
        if epochs in snapshots:
            checkpoint.save_tensors(weights_file(folder, epochs), model.state_dict())

    return keep


def _start(
    s: Settings, data: Data, held: Path | None, stop: Stop
) -> tuple[torch.nn.Module, Masks | None, dict[str, float] | None]:
    """Give the network at its first weights, its masks and their overlap with those of the unchecked ticket.

    Args:
        s: the run.
        data: its images.
        held: masks and overlap of a run that goes on, if any.
        stop: asked now and then.
    """
    model = network(s, data)
    if s.ticket.score is None:
        return model, Masks.ones(prunable(model)) if s.sparse.plan else None, None
    if held and held.exists():
        # the weights come from the checkpoint
        return model, Masks.load(held), json.loads(texts(held).get("overlap", "null"))
    ticket = make_ticket(s, stop=stop)
    model.load_state_dict(ticket.weights)
    plain = unchecked(s)
    if plain is None:
        return model, ticket.masks, None
    other = make_ticket(plain, stop=stop).masks
    found = {"value": ticket.masks.overlap(other), "expected": ticket.masks.expected_overlap(other)}
    return model, ticket.masks, found
