"""Tell somebody who waits how far things are: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

QUIET = 2.0  # seconds before the first word, so that short work stays silent
INTERVAL = 15.0  # seconds between two lines of a log


def clock(seconds: float) -> str:
    """Write a duration as people say it: 45 s, 3:20 min, 2:05 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    small, unit = (divmod(whole, 60), "min") if whole < 3600 else (divmod(whole // 60, 60), "h")
    return f"{small[0]}:{small[1]:02d} {unit}"


class Waiting:
    """Show how much of some work is done and how long the rest will take.

    Args:
        what: the work, a few words.
        total: how many units it has.
        stream: where to write; standard error by default.
    """

    def __init__(self, what: str, total: int, stream: TextIO | None = None) -> None:
        self.what, self.total, self.done, self.note = what, total, 0, ""
        self.stream = stream or sys.stderr
        self.began = self.told = time.monotonic()
        self.bar: Progress | None = None
        if self.stream.isatty():
            self.bar = _bar(self.stream)
            self.task = self.bar.add_task(what, total=total, note="")

    def __enter__(self) -> Waiting:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        spent = time.monotonic() - self.began
        if self.bar:
            self.bar.stop()
        if spent > QUIET:
            self._line(f"{self.what}: {self.done} of {self.total} in {clock(spent)}")

    def update(self, done: int, note: str = "") -> None:
        """Say that `done` units are finished; `note` is what to show beside, e.g. the newest accuracy."""
        self.done, self.note, now = done, note, time.monotonic()
        if self.bar:
            self.bar.update(self.task, completed=done, note=note)
        elif now - self.told > INTERVAL and done:
            left = (now - self.began) / done * (self.total - done)
            self._line(
                f"{self.what}: {done} of {self.total}, {clock(left)} left{'; ' + note if note else ''}"
            )
            self.told = now

    def _line(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


def _bar(stream: TextIO) -> Progress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[note]}"),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=Console(file=stream),
        transient=True,
    )
