"""Progress: a quiet log when nobody looks at a terminal."""

from __future__ import annotations

import io

import pytest

from repro import progress
from repro.progress import Waiting, clock


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
