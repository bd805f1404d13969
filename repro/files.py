"""Files that a reader finds whole or not at all, and locks that die with their holder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import ReproError


def write(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises:
        ReproError: when the folder cannot be written to.
    """
    raw = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise ReproError(
            f"{path.parent}: {error.strerror}; free it, or name another folder in REPRO_BUILD"
        ) from None


def check_writable(folder: Path) -> None:
    """Find out before long work whether a folder can be written to; raise ReproError with one line if not."""
    probe = folder / f".writable-{os.getpid()}"
    write(probe, "")
    probe.unlink(missing_ok=True)


class BusyError(ReproError):
    """Another process holds the lock."""


@contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path` inside the block; the system frees it when its process dies.

    Raises:
        BusyError: when another holds it and `wait` is False.
        ReproError: when the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path)
        held.acquire(blocking=wait)
    except Timeout:
        raise BusyError(f"{path.parent}: in use by another process; try again when it is done") from None
    except OSError as error:
        reason = error.strerror or "cannot be locked"
        raise ReproError(f"{path.parent}: {reason}; free it, or name another folder in REPRO_BUILD") from None
    try:
        yield
    finally:
        held.release()
