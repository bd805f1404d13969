"""What a run keeps of its weights: at its end, after some epochs or steps, and while it is under way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import checkpoint, record, seals
from .errors import ReproError
from .parts import Moment, steps_of
from .settings import Settings
from .train import After, State


def weights_file(folder: Path, after: Moment | None = None) -> Path:
    """Name the file of a run's weights, after so many epochs (or steps, as "500it"), or (None) the last."""
    return folder / ("weights.safetensors" if after is None else f"weights-{after}.safetensors")


def masks_file(folder: Path, after: Moment | None = None) -> Path:
    """Name the file of a run's masks, after so many epochs (or steps) if they change, or (None) at its end."""
    return folder / ("masks-final.safetensors" if after is None else f"masks-{after}.safetensors")


def moments(words: Iterable[str], length: int) -> tuple[Moment, ...]:
    """Read after which epochs or steps weights are wanted.

    Args:
        words: "2" or "2ep" for epochs, "500it" for steps, "every10" for every tenth epoch.
        length: of the training in epochs.

    Raises:
        ReproError: for a word that is none of these, or an epoch beyond the training.
    """
    found: set[Moment] = set()
    for word in words:
        each = re.fullmatch(r"(every|)([1-9]\d{0,8})(ep|it|)", word)
        if not each or (each[1] and each[3] == "it"):
            raise ReproError(f"--snapshots {word}: no moment of a training; write e.g. 2, 500it or every10")
        number = int(each[2])
        if each[3] == "it":
            found.add(word)
        elif number > length:
            raise ReproError(f"--snapshots {word}: the training ends after {length} epochs; lower it")
        else:
            found |= set(range(number, length + 1, number)) if each[1] else {number}
    return tuple(sorted(found, key=str))


def snapshots_in(folder: Path) -> list[Moment]:
    """List after which epochs and steps the weights of a run are here."""
    names = [path.stem.removeprefix("weights-") for path in folder.glob("weights-*.safetensors")]
    return [int(n) if n.isdecimal() else n for n in names if n.removesuffix("it").isdecimal()]


def kept(s: Settings, snapshots: Iterable[Moment] = ()) -> bool:
    """Tell whether a run is finished and its trained weights are here, those after each of some epochs, and its masks.

    Masks that change are kept with the weights of each moment, others only once. A run that diverged has no later
    ones, and does not get them by another training. A file that is cut short or of another run is not here; its
    checksum is verified where it is read.
    """
    folder, changing, made = record.folder(s.key()), s.sparse.active, record.find(s.key())
    dense = s.ticket.score is None and not changing
    if made is None or not _whole(weights_file(folder)) or not (dense or _whole(masks_file(folder))):
        return False
    files = (weights_file, masks_file) if changing else (weights_file,)
    there = all(_whole(file(folder, n)) for n in snapshots for file in files)
    return there or record.read(made)["status"] != "done"


def _whole(path: Path) -> bool:
    try:
        return bool(seals.glance(path, own=True))
    except seals.DamagedError:
        return False


def mend(folder: Path) -> None:
    """Set aside, and name on standard error, the files of a run that are damaged; the caller holds its lock."""
    made = folder / "record.json"
    for path in [*([made] if made.exists() else []), *sorted(folder.glob("*.safetensors"))]:
        try:
            record.read(path) if path == made else seals.check(path, own=True)
        except seals.DamagedError as error:
            seals.set_aside(path, error)
    if not made.exists():
        (folder / "DONE").unlink(missing_ok=True)


def under_way(
    folder: Path, resume: Path, snapshots: Sequence[Moment], changing: bool = False
) -> dict[str, Any]:
    """Read what a checkpoint knows of its run; one that is past a snapshot which is missing is dropped.

    Args:
        folder: of the run.
        resume: its checkpoint, which may be missing.
        snapshots: after which the weights, and masks, are wanted.
        changing: the masks change while the run is trained.
    """
    past = checkpoint.read_about(resume) if resume.exists() else {}
    done = len(past.get("curve", ()))
    passed = [
        n
        for n in snapshots
        if (n <= done if isinstance(n, int) else (steps_of(n) or 0) <= past.get("step", 0))
    ]
    files = (weights_file, masks_file) if changing else (weights_file,)
    if any(not file(folder, n).exists() for n in passed for file in files):
        resume.unlink()
        return {}
    return past


def keepers(folder: Path, snapshots: Sequence[Moment]) -> dict[str, After]:
    """Make the functions that `train` calls after epochs and steps, by the names of its arguments."""

    def keeper(wanted: Mapping[int, Moment]) -> After:
        def keep(done: int, state: State) -> None:
            if done in wanted:
                if masks := state.masks():  # first, for the weights tell that all is here
                    masks.save(masks_file(folder, wanted[done]))
                checkpoint.save_tensors(weights_file(folder, wanted[done]), state.weights())

        return keep

    steps = {n: moment for moment in snapshots if (n := steps_of(moment)) is not None}
    epochs: dict[int, Moment] = {n: n for n in snapshots if isinstance(n, int)}
    return {"after_epoch": keeper(epochs), "after_step": keeper(steps)}
