"""Tell somebody who waits how far things are: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.progress import Progress
    from rich.table import Table

LONGEST = 20  # runs in flight that a terminal shows
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


class Flying(NamedTuple):
    """A run in flight: its name, epochs done and in all, seconds since it started here."""

    name: str
    epoch: int
    length: int
    seconds: float


class View(NamedTuple):
    """How a batch stands.

    Args:
        done: runs that have ended, failed ones included.
        failed: those of them that failed.
        waiting: runs that have not started, or start again.
        flying: those in flight.
        share: of all epochs, how many are done, 0 to 1.
        hours: how long devices have worked, together; a device is a GPU, or a worker on a CPU.
    """

    done: int
    failed: int
    waiting: int
    flying: Sequence[Flying]
    share: float
    hours: float


Look = Callable[[], View]


class Board(Waiting):
    """Show how a batch stands: one live table on a terminal, a line now and then elsewhere.

    Args:
        what: the work, a few words.
        total: how many runs it has.
        stream: where to write; standard error by default.
    """

    def __init__(self, what: str, total: int, stream: TextIO | None = None) -> None:
        super().__init__(what, total, stream)
        self.bar, self.live, self.look = None, None, _nothing
        if self.stream.isatty():
            self.live = _live(self.stream, self.shown)

    def __enter__(self) -> Board:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        view = self.look()
        if self.live:
            self.live.stop()
        if time.monotonic() - self.began > QUIET:
            failed = f", {view.failed} failed" if view.failed else ""
            spent = clock(time.monotonic() - self.began)
            self._line(f"{self.what}: {view.done} of {self.total} in {spent}{failed}, {hours(view.hours)}")

    def watch(self, look: Look) -> None:
        """Take the function that says how things stand."""
        self.look = look

    def tell(self, note: str) -> None:
        """Say what just ended."""
        self.note, now = note, time.monotonic()
        if not self.live and now - self.told > INTERVAL:
            self._line(f"{self.headline()}; {note}")
            self.told = now

    def headline(self) -> str:
        """Give the state of the whole batch in one line."""
        view, spent = self.look(), time.monotonic() - self.began
        parts = [f"{self.what}: {view.done} of {self.total}"]
        parts += [f"{view.failed} failed"] if view.failed else []
        parts += [f"{len(view.flying)} running, {view.waiting} waiting"]
        parts += [f"{clock(spent / view.share * (1 - view.share))} left"] if view.share else []
        return ", ".join([*parts, hours(view.hours)])

    def shown(self) -> Group:
        """Make what a terminal shows: the whole in a line, the runs in flight, and what ended last."""
        from rich.console import Group
        from rich.text import Text

        table = [self.table()] if self.look().flying else []
        return Group(Text(self.headline()), *table, Text(self.note))

    def table(self) -> Table:
        """Make the table of the runs in flight, the longest there first."""
        from rich.table import Table

        made = Table(box=None)
        made.add_column("running", no_wrap=True)
        for name in ("epoch", "%", "for"):
            made.add_column(name, justify="right")
        flying = self.look().flying
        for run in flying[:LONGEST]:
            percent = f"{100 * run.epoch // max(1, run.length)}"
            made.add_row(run.name, f"{run.epoch}/{run.length}", percent, clock(run.seconds))
        if len(flying) > LONGEST:
            made.add_row(f"and {len(flying) - LONGEST} more")
        return made


def hours(spent: float) -> str:
    """Write device-hours: two digits of small numbers, none of large ones."""
    return f"{spent:.2g} device-hours" if spent < 10 else f"{spent:.0f} device-hours"


def _nothing() -> View:
    return View(0, 0, 0, (), 0.0, 0.0)


def _live(stream: TextIO, shown: Callable[[], Group]) -> Live:
    from rich.console import Console
    from rich.live import Live

    return Live(get_renderable=shown, console=Console(file=stream), refresh_per_second=2, transient=True)
