"""The queue: a budget ends it cleanly, a full memory lowers the number in flight, unfinished runs can be moved."""

from __future__ import annotations

import resource
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_experiment import lt, one, snip

from repro import experiment, flight, pool, record
from repro.experiment import run
from repro.materials import data_of, keep_memory, threads_for
from repro.pool import plan, run_all
from repro.settings import Settings
from repro.train import Stopped
from repro.workers import Job, Lanes, deaf, streams


class Clock:
    """A stop request that comes at the n-th question."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def stopped(s: Settings, after: int) -> None:
    with pytest.raises(Stopped):
        run(s, stop=Clock(after))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_budget_stops_everything_saved_and_the_next_call_goes_on(
    workers: int,
) -> None:
    runs = [snip(seed=i, optim__epochs=400) for i in range(3)]
    began = time.monotonic()
    frame = run_all(runs, workers=workers, budget=1.0 if workers == 1 else 6.0)
    assert time.monotonic() - began < 60, "it ended long before the runs could"
    assert set(frame["status"]) <= {"stopped", "missing"}
    folders = [record.folder(s.key()) for s in runs]
    kept = [(folder / "checkpoint.safetensors").exists() for folder in folders]
    assert kept.count(True) <= list(frame["status"]).count(
        "stopped"
    )  # one may have been stopped while scoring
    assert not any((folder / "DONE").exists() for folder in folders)
    assert not [p for folder in folders for p in folder.glob(".*")], "nothing half-written"


def test_budgets_add_up_to_the_undisturbed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = lt()
    for _ in range(200):
        stop = Clock(3)
        try:
            run(s, stop=stop)
            break
        except Stopped:
            continue
    pieces = record.read(record.find(s.key()))
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "straight"))
    straight = run(s)
    assert pieces["curve"] == straight["curve"]
    assert pieces["accuracy"] == straight["accuracy"]


def test_no_budget_is_left_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = run_all([snip()], workers=1, budget=300.0)
    assert list(frame["status"]) == ["done"]


def test_an_unfinished_run_moves_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = lt()
    run(one(), weights=True)
    stopped(s, 2)
    folder = record.folder(s.key())
    assert {"checkpoint.safetensors", "masks.safetensors"} <= {p.name for p in folder.iterdir()}
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "elsewhere"))
    shutil.copytree(folder, record.folder(s.key()))
    assert list(plan([s])) == [s.key()], "no pre-training is needed there"
    monkeypatch.setattr(experiment, "make_ticket", lambda *_, **__: pytest.fail("the masks came along"))
    moved = run(s)
    monkeypatch.undo()
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "straight"))
    assert moved["curve"] == run(s)["curve"]
    assert not (record.folder(s.key()) / "masks.safetensors").exists()


def test_a_moved_run_keeps_its_precision_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = snip()
    monkeypatch.setattr(experiment, "precision_for", lambda *_: "bfloat16")
    monkeypatch.setattr(experiment, "threads_for", lambda *_: 2)
    stopped(s, 2)
    monkeypatch.setattr(experiment, "precision_for", lambda *_: pytest.fail("settled before"))
    monkeypatch.setattr(experiment, "threads_for", lambda *_: pytest.fail("chosen before"))
    made = run(s)["environment"]
    assert (made["precision"], made["threads"]) == ("bfloat16", 2)


def test_only_large_networks_take_the_threads_on_offer() -> None:
    small, large = snip(), one(model__name="resnet32", model__width=1.0, data__size=32)
    assert threads_for(small, data_of(small), 8) == 1
    assert threads_for(large, data_of(large), 8) == 8


def test_freed_memory_is_kept_within_a_run_and_handed_back_before_the_next() -> None:
    if not keep_memory():
        pytest.skip("no glibc")
    tensor = torch.ones(2**26)  # 256 MiB
    del tensor
    held = resident_mb()
    assert held > 256, "kept"
    keep_memory()
    assert resident_mb() < held - 200, "handed back"


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def test_ctrl_c_while_a_worker_is_started_waits_and_is_not_lost() -> None:
    inside = False
    with pytest.raises(KeyboardInterrupt), deaf():
        signal.raise_signal(signal.SIGINT)
        inside = True
    assert inside


class Card:
    """Lanes on a pretended GPU that holds `room` runs at once."""

    def __init__(self, room: int) -> None:
        self.room, self.started, self.done = room, [], []
        self.flying: list[tuple[Future[str], Job]] = []

    @contextmanager
    def lanes(self, kind: str, n: int) -> Iterator[Lanes]:
        yield Lanes(self.submit, pool.threading.Event())

    def submit(self, job: Job) -> Future[str]:
        future: Future[str] = Future()
        self.started.append(job)
        self.flying = [f for f in self.flying if not f[0].done()]
        if len(self.flying) >= self.room:
            future.set_exception(torch.OutOfMemoryError("full"))
        else:
            self.flying.append((future, job))
            pool.threading.Timer(0.02, self.end, [future, job]).start()
        return future

    def end(self, future: Future[str], job: Job) -> None:
        self.done.append(job.settings.key())
        future.set_result("done")


@pytest.mark.parametrize("room", [1, 2, 3])
def test_a_full_memory_lowers_the_number_in_flight_and_loses_nothing(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card(room)
    monkeypatch.setattr(pool, "lanes", card.lanes)
    todo = plan([snip(seed=i) for i in range(7)])
    fates = {key: fate() for key, fate in pool._each(todo, 4, None)}
    assert fates == dict.fromkeys(todo, "done")
    assert sorted(card.done) == sorted(todo)
    assert len(card.started) <= 7 + 4 - room, "it stays lowered"


def test_a_run_that_never_fits_fails_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "lanes", Card(0).lanes)
    frame = run_all([snip(), snip(seed=1)], workers=2)
    assert list(frame["status"]) == ["failed", "failed"]
    assert "lower optim.batch" in frame["reason"][0]


def test_cores_are_shared_between_runs_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(9)
    monkeypatch.setattr(pool, "lanes", card.lanes)
    monkeypatch.setattr(pool.os, "cpu_count", lambda: 8)
    list(pool._each(plan([snip(seed=i) for i in range(3)]), 8, None))
    assert [job.threads for job in card.started] == [2, 2, 2]
    card.started.clear()
    list(pool._each(plan([snip(seed=9)]), 8, None))
    assert [job.threads for job in card.started] == [8]


def test_threads_of_one_process_give_the_records_of_one_run_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lanes of a GPU, on the CPU: streams left out."""
    monkeypatch.setattr("repro.workers._on_stream", lambda job, stop: pool_make(job, stop))
    runs = [lt(), snip(), one(seed=2)]
    monkeypatch.setattr(pool, "lanes", lambda kind, n: streams(n))
    together = run_all(runs, workers=3)
    monkeypatch.undo()
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "alone"))
    alone = run_all(runs, workers=1)
    assert list(together["accuracy"]) == list(alone["accuracy"])


def pool_make(job: Job, stop) -> str:
    from repro.workers import _make

    return _make(job, stop.is_set)


rates = st.dictionaries(st.sampled_from([1, 2, 4, 8, 16]), st.floats(0.1, 1e4), min_size=1)


@given(rates)
def test_the_number_in_flight_is_the_smallest_that_is_nearly_fastest(measured: dict[int, float]) -> None:
    chosen = flight.best(measured)
    assert measured[chosen] * flight.WORTH >= max(v for n, v in measured.items() if n >= chosen)
    for n in measured:
        if n < chosen:
            assert any(measured[m] >= flight.WORTH * measured[n] for m in measured if m > n)


@pytest.mark.parametrize(
    ("measured", "chosen"),
    [
        ({1: 100, 2: 180, 4: 300, 8: 302}, 4),
        ({1: 100}, 1),
        ({1: 100, 2: 104}, 1),
        ({1: 100, 2: 90, 4: 150}, 4),
    ],
)
def test_numbers_in_flight_by_hand(measured: dict[int, float], chosen: int) -> None:
    assert flight.best(measured) == chosen


def test_memory_bounds_the_number_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    assert flight.fits(4, 20, 100)
    assert not flight.fits(5, 20, 100)


def test_a_cpu_bears_one_run_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flight.os, "cpu_count", lambda: 6)
    assert flight.number([snip()]) == 6


def test_networks_of_another_width_are_measured_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rates are kept by a name; on a pretended GPU, where the width alone decides what is fastest."""
    measured = []

    def rates_of(s: Settings, *_: object) -> dict[int, float]:
        measured.append(s.key())
        return {1: 1.0, 2: 2.0 if s.model.options("name")["width"] == 0.25 else 1.0}

    monkeypatch.setattr(flight, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(flight.measure, "device_name", lambda _: "card")
    monkeypatch.setattr(flight, "rates", rates_of)
    narrow, wide = ([snip(model__width=width)] for width in (0.25, 0.5))
    assert [flight.number(runs) for runs in (narrow, wide, narrow)] == [2, 1, 2]
    assert len(measured) == 2
