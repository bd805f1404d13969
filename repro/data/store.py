"""The folder of the data: what is there, whether it is sound, and how it gets there."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import tempfile
from pathlib import Path

from .. import paths
from ..errors import ReproError, pick
from .sets import DATASETS


def verify(name: str, root: str | Path | None = None) -> list[tuple[str, str]]:
    """Compare the files of a data set with their published checksums, or count them where there are none.

    Args:
        name: entry of `DATASETS`.
        root: the folder of the data, default `paths.data()`.

    Returns:
        (path below root, "ok", "missing", "corrupt" or "incomplete") for each file, or folder of files with
        their number; nothing for a set without files.
    """
    entry, folder = pick(DATASETS, name, "data set"), Path(root or paths.data())
    if entry.inspect:
        return entry.inspect(folder)
    return [(path, _state(folder / path, md5)) for path, md5 in entry.files()]


def require(name: str, root: str | Path) -> None:
    """Refuse a data set that is not there or not sound.

    Raises:
        ReproError: naming the folder or the file, and the command, or what to do, that mends it.
    """
    states = verify(name, root)
    mend = DATASETS[name].bring or f"run `repro data fetch {name}`"
    corrupt = [path for path, state in states if state == "corrupt"]
    if corrupt:
        raise ReproError(
            f"data set {name!r} is corrupt: {Path(root) / corrupt[0]} has a wrong checksum: "
            f"remove it and run `repro data fetch {name}`"
        )
    missing = [path for path, state in states if state == "missing"]
    if len(missing) == len(states) and missing:
        raise ReproError(f"data set {name!r} is not in {root}: {mend}")
    if missing:
        raise ReproError(f"data set {name!r} is incomplete: {Path(root) / missing[0]} is not there: {mend}")
    partial = [path for path, state in states if state == "incomplete"]
    if partial:
        raise ReproError(f"data set {name!r} is incomplete: {Path(root) / partial[0]}: {mend}")


def fetch(name: str, root: str | Path | None = None) -> str:
    """Download a data set with torchvision unless it is there; nothing half-written is ever left in `root`.

    The files arrive and are verified in a temporary folder beside their place, then move; corrupt files are
    replaced.

    Args:
        name: entry of `DATASETS`.
        root: the folder of the data, default `paths.data()`; it is made if need be.

    Returns:
        What was done, in words.

    Raises:
        ReproError: if the network or the disk fails, what came has wrong checksums, or the set cannot be
            downloaded.
    """
    root = Path(root or paths.data())
    status, entry = _status([state for _, state in verify(name, root)]), pick(DATASETS, name, "data set")
    if status in ("ok", "built in"):
        sound = "all images are there" if entry.inspect else "checksums match"
        return "nothing to do: " + (sound if status == "ok" else "it comes with a dependency")
    if entry.bring:
        raise ReproError(f"data set {name!r} cannot be fetched into {root}: {entry.bring}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".fetch-{name}-", dir=root) as folder:
            DATASETS[name].download(Path(folder))
            _settle(name, Path(folder), root)
    except (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ReproError(
            f"cannot fetch data set {name!r} into {root}: {reason[:200]}: check the network and the folder, "
            f"or copy the files there by hand and run `repro data verify {name}`"
        ) from None
    return f"fetched into {root}"


def listing(root: str | Path | None = None) -> list[dict[str, str | int]]:
    """Describe every data set and its state in a folder.

    Args:
        root: the folder of the data, default `paths.data()`.

    Returns:
        One row for each entry of `DATASETS`: name, title, classes, channels, size, train, test, cite, status.
        The status is "built in", "ok", "missing", "incomplete" or "corrupt".
    """
    rows: list[dict[str, str | int]] = []
    for name, entry in DATASETS.items():
        row: dict[str, str | int] = {"name": name, "title": entry.title, "classes": entry.classes}
        row |= {"channels": entry.channels, "size": entry.size, "train": entry.train, "test": entry.test}
        rows.append(row | {"cite": entry.cite, "status": _status([state for _, state in verify(name, root)])})
    return rows


def _status(states: list[str]) -> str:
    if not states:
        return "built in"
    if "corrupt" in states:
        return "corrupt"
    if set(states) <= {"ok", "missing"} and len(set(states)) == 1:
        return states[0]
    return "incomplete"


def _state(path: Path, md5: str) -> str:
    if not path.is_file():
        return "missing"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return "ok" if digest.hexdigest() == md5 else "corrupt"


def _settle(name: str, folder: Path, root: Path) -> None:
    for path, state in verify(name, folder):
        if state != "ok":
            raise RuntimeError(f"the download of {path} is {state}")
    for path, _ in DATASETS[name].files():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        (folder / path).replace(target)
