"""Progress: a quiet log when nobody looks at a terminal."""

from __future__ import annotations

import io

import pytest

from repro import progress
from repro.progress import LONGEST, Board, Flying, View, Waiting, clock, hours


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3:20 min"), (7500, "2:05 h")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_short_work_is_silent() -> None:
    log = io.StringIO()
    with Waiting("training", 3, log) as w:
        for i in range(1, 4):
            w.update(i)
    assert log.getvalue() == ""


def test_long_work_tells_a_line_an_interval_with_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    with Waiting("training", 10, log) as w:
        for i in range(1, 11):
            now[0] += 6.0
            w.update(i, "snip done")
    lines = log.getvalue().splitlines()
    assert lines[0] == "training: 3 of 10, 42 s left; snip done"
    assert len(lines) == 4
    assert lines[-1] == "training: 10 of 10 in 1:00 min"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar() -> None:
    log = Terminal()
    with Waiting("training", 2, log) as w:
        w.update(1, "half")
        w.bar.refresh()
    assert "training" in log.getvalue()
    assert "1/2" in log.getvalue()


def view(n: int = 2) -> View:
    flying = [Flying(f"snip 0.1 seed {i}", 3 + i, 10, 65.0) for i in range(n)]
    return View(done=5, failed=1, waiting=8 - n, flying=flying, share=0.25, hours=1.2345)


def test_a_batch_is_told_in_a_line_an_interval_and_one_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    with Board("training", 13, log) as board:
        board.watch(view)
        for _ in range(4):
            now[0] += 10.0
            board.tell("grasp diverged")
    assert log.getvalue().splitlines() == [
        "training: 5 of 13, 1 failed, 2 running, 6 waiting, 1:00 min left, 1.2 device-hours; grasp diverged",
        "training: 5 of 13, 1 failed, 2 running, 6 waiting, 2:00 min left, 1.2 device-hours; grasp diverged",
        "training: 5 of 13 in 40 s, 1 failed, 1.2 device-hours",
    ]


def test_a_short_batch_is_silent() -> None:
    log = io.StringIO()
    with Board("training", 1, log) as board:
        board.tell("snip done")
    assert log.getvalue() == ""


def test_a_terminal_gets_one_table_of_the_runs_in_flight() -> None:
    log = Terminal()
    with Board("training", 13, log) as board:
        board.watch(view)
        board.tell("grasp diverged")
        board.live.refresh()
    text = log.getvalue()
    for told in (
        "5 of 13, 1 failed, 2 running, 6 waiting",
        "snip 0.1 seed 1",
        "4/10",
        "40",
        "1:05 min",
        "grasp diverged",
    ):
        assert told in text
    board.look = lambda: view(LONGEST + 3)
    assert board.table().row_count == LONGEST + 1


@pytest.mark.parametrize(("spent", "text"), [(0.0123, "0.012"), (1.26, "1.3"), (123.4, "123")])
def test_device_hours_are_short(spent: float, text: str) -> None:
    assert hours(spent) == f"{text} device-hours"
