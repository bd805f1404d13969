"""The engine of a batch: who runs where, what is tried again, and that nothing is lost or believed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_cli import ROOT, TINY, call
from test_experiment import lt, one, snip

from repro import experiment, files, paths, pool, record
from repro.engine import job as jobs
from repro.engine import parcel, queue
from repro.engine.assign import assign, dealt, gpus, share, stages
from repro.engine.child import broken
from repro.engine.job import Engine, Job, Lanes, Pulse, Sign, WorkerDiedError, make, portable, reason
from repro.engine.parcel import Part, pack, unpack
from repro.engine.queue import Queue
from repro.errors import ReproError
from repro.experiment import run
from repro.pool import plan, run_all
from repro.pruners import custom
from repro.settings import Settings
from repro.train import Stopped

KEYS = [f"{i:02d}" for i in range(9)]
KILLED, BROKEN = WorkerDiedError(-signal.SIGKILL), WorkerDiedError(-signal.SIGSEGV)


# --- who runs where -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flying", "room", "alone", "chosen"),
    [
        ({}, {"0": 2, "1": 2}, (), "00:0 01:1 02:0 03:1"),
        ({"x": "0"}, {"0": 2, "1": 2}, (), "00:1 01:0 02:1"),
        ({"x": "0", "y": "0"}, {"0": 1, "1": 1}, (), "00:1"),
        ({}, {"0": 2, "1": 2}, ("00",), "00:0 01:1 02:1"),
        ({"x": "0"}, {"0": 2, "1": 2}, ("x",), "00:1 01:1"),
        (
            {"x": "0", "y": "1"},
            {"0": 2, "1": 2},
            ("00",),
            "01:1",
        ),  # 00 waits for place 0, which stays free for it
        ({"x": "0"}, {"0": 2}, ("00",), ""),
    ],
)
def test_places_by_hand(flying: dict, room: dict, alone: tuple, chosen: str) -> None:
    found = assign(KEYS, flying, room, alone)
    assert " ".join(f"{key}:{place}" for key, place in found) == chosen


@given(
    st.integers(0, 9),
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 3), min_size=1),
    st.lists(st.sampled_from("abc"), max_size=4),
    st.sets(st.sampled_from([*KEYS, "f0", "f1"])),
)
def test_no_place_takes_more_than_it_has_room_for_and_who_is_alone_is(n, room, at, alone) -> None:
    at = [p for i, p in enumerate(at) if p in room and at[: i + 1].count(p) <= room[p]]
    flying = {f"f{i}": p for i, p in enumerate(at)}
    found = assign(KEYS[:n], flying, room, alone)
    after = flying | dict(found)
    assert len({key for key, _ in found}) == len(found)
    for key, place in found:
        together = [k for k, p in after.items() if p == place]
        assert len(together) <= room[place]
        assert together == [key] or not alone & {*together}
    if not alone:
        assert len(found) == min(n, sum(room.values()) - len(flying)), "nothing stays free"


@given(st.sets(st.text("0123456789abcdef", min_size=4, max_size=4), max_size=30), st.integers(1, 9))
def test_shares_are_disjoint_complete_and_equal(keys: set[str], of: int) -> None:
    shares = [share(keys, i, of) for i in range(of)]
    assert set().union(*shares) == keys
    assert sum(map(len, shares)) == len(keys)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert shares == [share(sorted(keys, reverse=True), i, of) for i in range(of)], "whatever the order"


def test_shares_count_from_nought_and_keep_the_order() -> None:
    assert dealt([30, 10, 20], ["c", "a", "b"], 0, 2) == [30, 10]
    assert dealt([30, 10, 20], ["c", "a", "b"], 1, 2) == [20]
    with pytest.raises(ReproError, match=r"count from 0 to 7; for Slurm --array=0-7"):
        share(KEYS, 8, 8)


def test_stages_by_hand() -> None:
    assert stages({}) == []
    assert stages({"a": {"done"}, "b": set(), "c": {"a"}, "d": {"c", "b"}}) == [2, 1, 1]


def test_names_of_gpus() -> None:
    assert gpus("0, 1,GPU-ab") == ("0", "1", "GPU-ab")
    for wrong in ("", "0,,1", "0,0"):
        with pytest.raises(ReproError, match="each GPU once"):
            gpus(wrong)


# --- what is tried again --------------------------------------------------------------------------------------------


class Shop:
    """Lanes that end runs as told: for each key the outcomes of its attempts, then "done"; "hang" waits to be killed."""

    def __init__(self, told: dict[str, Sequence[Any]], shared: bool = False) -> None:
        self.told = {key: [*outcomes] for key, outcomes in told.items()}
        self.started: list[tuple[str, str, int]] = []
        self.flying: dict[str, tuple[Future[str], str]] = {}
        self.lanes = Lanes(self.submit, Event(), self.signs, self.end, shared=shared)

    def submit(self, job: Job) -> Future[str]:
        key, future = job.settings.key(), Future[str]()
        together = sum(place == job.place for f, place in self.flying.values() if not f.done())
        self.started.append((key, job.place, together))
        self.flying[key] = future, job.place
        outcome = self.told.get(key) and self.told[key].pop(0)
        if isinstance(outcome, Exception):
            self._die(key, outcome)
        elif outcome != "hang":
            future.set_result("done")
        return future

    def _die(self, key: str, error: Exception) -> None:
        place = self.flying[key][1]
        for other, (future, at) in self.flying.items():
            lost = other == key or (self.lanes.shared and at == place and isinstance(error, WorkerDiedError))
            if lost and not future.done():
                future.set_exception(error)

    def signs(self) -> dict[str, Sign]:
        return {key: Sign(99.0) for key, (future, _) in self.flying.items() if not future.done()}

    def end(self, key: str) -> None:
        self._die(key, WorkerDiedError(-signal.SIGKILL))

    def attempts(self, key: str) -> int:
        return sum(k == key for k, *_ in self.started)


def served(shop: Shop, runs: Sequence[Settings], room: dict[str, int], timeout: float | None = None):
    made = Queue(plan(runs), shop.lanes, room, 4, timeout)
    fates: dict[str, str] = {}
    for key, fate in made.each():
        try:
            fates[key] = fate()
        except Exception as error:
            fates[key] = reason(error, key)
    return made, fates


RUNS = [snip(seed=i) for i in range(4)]
A, B, C, D = (s.key() for s in RUNS)


def test_a_run_whose_worker_dies_is_tried_again_and_fails_the_third_time() -> None:
    shop = Shop({A: [BROKEN, BROKEN], B: [BROKEN] * 3})
    made, fates = served(shop, RUNS, {"": 2})
    assert fates == {A: "done", B: "its worker died 3 times, the last: SIGSEGV", C: "done", D: "done"}
    assert [shop.attempts(key) for key in (A, B, C, D)] == [3, 3, 1, 1]
    assert made.room == {"": 2}, "memory was not the reason"
    assert (made.view().done, made.view().failed) == (4, 1)


def test_killed_for_want_of_memory_one_less_is_in_flight() -> None:
    shop = Shop({A: [KILLED], B: [WorkerDiedError(-signal.SIGKILL)]})
    made, fates = served(shop, RUNS, {"": 4})
    assert fates == dict.fromkeys((A, B, C, D), "done")
    assert made.room == {"": 2}
    made, _ = served(Shop({A: [KILLED, WorkerDiedError(-9), WorkerDiedError(-9)]}), RUNS, {"": 2})
    assert made.room == {"": 1}, "never none"


def test_two_that_fill_the_memory_together_are_each_tried_alone() -> None:
    full = MemoryError()
    _, fates = served(Shop({A: [full], B: [full]}), RUNS[:2], {"": 2})
    assert fates == {A: "done", B: "done"}
    _, fates = served(Shop({A: [full], B: [full, full]}), RUNS[:2], {"": 2})
    assert fates == {A: "done", B: reason(full, B)}


def test_a_hung_run_is_killed_and_tried_again_and_lowers_nothing() -> None:
    made, fates = served(Shop({A: ["hang"], B: ["hang"] * 3}), RUNS, {"": 2}, timeout=30)
    assert fates[A] == "done"
    assert fates[B] == "its worker died 3 times, the last: no sign of life for 30 s"
    assert made.room == {"": 2}


def test_without_a_timeout_nothing_is_killed() -> None:
    shop = Shop({})
    made = Queue(plan(RUNS[:1]), shop.lanes, {"": 1}, 1)
    shop.end = lambda key: pytest.fail("killed")
    made.flying[A] = ""
    made._end_hung()


def test_in_a_shared_process_whoever_was_there_goes_on_alone() -> None:
    shop = Shop({A: ["hang", "done"], B: ["hang", "done"], C: [BROKEN] * 3}, shared=True)
    _, fates = served(shop, RUNS, {"0": 4})
    assert fates == {A: "done", B: "done", C: "its worker died 3 times, the last: SIGSEGV", D: "done"}
    assert [together for key, _, together in shop.started[4:] if key in (A, B, C)] == [0] * 4


def test_one_death_of_a_shared_process_lowers_its_room_once() -> None:
    made, fates = served(Shop({A: ["hang"], B: ["hang"], C: [KILLED]}, shared=True), RUNS, {"0": 4})
    assert set(fates.values()) == {"done"}
    assert made.room == {"0": 3}


def test_in_a_shared_process_others_do_not_pay_for_a_hung_one() -> None:
    shop = Shop({A: ["hang"] * 3}, shared=True)
    signs = shop.signs
    shop.lanes = shop.lanes._replace(signs=lambda: {k: s for k, s in signs().items() if k == A})
    shop.told[B] = ["hang"]  # B is at work when A is killed for the first time; then A goes on alone
    made, fates = served(shop, RUNS[:2], {"0": 2}, timeout=30)
    assert "no sign of life" in fates[A]
    assert fates[B] == "done"
    assert made.attempts[B] == 0


def test_what_needs_a_failed_run_fails_with_it_and_is_not_tried() -> None:
    shop = Shop({one().key(): [BROKEN] * 3})
    _, fates = served(shop, [lt(), RUNS[0]], {"": 2})
    assert shop.attempts(lt().key()) == 0
    assert fates[lt().key()].startswith(f"the run before, {one().key()}, failed: its worker died 3 times")
    assert fates[A] == "done"


def test_a_run_that_another_process_makes_is_waited_for_without_a_worker(monkeypatch) -> None:
    shop, looks = Shop({}), []
    held = files.lock(record.folder(A) / "lock")
    held.__enter__()

    def wait(seconds: float) -> bool:
        looks.append([key for key, *_ in shop.started])
        held.__exit__(None, None, None)
        return False

    monkeypatch.setattr(shop.lanes.stop, "wait", wait)
    _, fates = served(shop, RUNS[:2], {"": 1})
    assert looks == [[B]], "the other one was made meanwhile"
    assert fates == {A: "done", B: "done"}


def test_the_view_counts_devices_and_epochs(monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr(queue.time, "monotonic", lambda: now[0])
    runs = [snip(seed=i, optim__epochs=10) for i in range(4)]
    for shared, devices in ((False, 3), (True, 2)):
        shop = Shop({s.key(): ["hang"] for s in runs}, shared)
        signs = {runs[0].key(): Sign(0, 30, 100)}
        made = Queue(plan(runs), shop.lanes._replace(signs=lambda signs=signs: signs), {"0": 2, "1": 1}, 4)
        made._start()
        now[0] += 3600
        view = made.view()
        assert view.hours == pytest.approx(devices)
        assert (view.done, view.waiting, view.share) == (0, 1, 3 / 40)
        assert view.flying[0] == ("snip 0.3 resnet8 digits seed 0", 3, 10, 3600)


# --- a run, its signs and its errors --------------------------------------------------------------------------------


def test_every_step_is_a_sign_of_life_and_every_epoch_tells_how_far() -> None:
    s, cells, seen = snip(optim__epochs=3), [0.0, 0.0, 0.0], []

    def stop() -> bool:
        seen.append((cells[0], cells[1], cells[2]))
        return False

    assert make(Job(s), stop, Pulse(cells)) == "done"
    times = [when for when, *_ in seen]
    assert times == sorted(times) and times[0] > 0 and len({*times}) == len(times)
    assert sorted({(done, total) for _, done, total in seen}) == [(0, 0), (4, 12), (8, 12)]
    assert Pulse(cells).read()[1:] == (12, 12)
    assert Pulse(cells).read().age < 60
    assert not jobs.HERE


def test_an_odd_error_leaves_its_traceback_and_a_good_end_removes_it(monkeypatch) -> None:
    s = snip()
    file = record.folder(s.key()) / "error.txt"
    with monkeypatch.context() as m:
        m.setattr(experiment, "train", lambda *_, **__: 1 / 0)
        frame = run_all([s], workers=1)
    assert frame["status"][0] == "failed"
    assert frame["reason"][0] == f"ZeroDivisionError: division by zero; where: {file}"
    assert "test_engine.py" in file.read_text()
    assert list(run_all([s], workers=1)["status"]) == ["done"]
    assert not file.exists()


def test_errors_travel_in_a_form_that_every_process_reads() -> None:
    assert str(portable(ReproError("so"))) == "so"
    assert type(portable(files.BusyError("so"))) is ReproError
    assert type(portable(torch.OutOfMemoryError("full"))) is torch.OutOfMemoryError
    assert type(portable(MemoryError())) is MemoryError
    assert reason(portable(KeyError("x")), "k").startswith("KeyError: 'x'; where:")
    assert broken(RuntimeError("CUDA error: an illegal memory access"))
    assert not broken(torch.OutOfMemoryError("CUDA error: out of memory"))
    assert not broken(RuntimeError("shapes differ"))


def test_deaths_have_names() -> None:
    assert str(KILLED) == "SIGKILL, perhaps for want of memory"
    assert (str(WorkerDiedError(3)), str(WorkerDiedError(1, "CUDA error"))) == ("exit code 3", "CUDA error")
    assert str(WorkerDiedError(-250)) == "signal 250"
    assert (KILLED.killed, BROKEN.killed) == (True, False)


# --- real processes -------------------------------------------------------------------------------------------------

OWN = """
import os, signal, time
from pathlib import Path

def dies(ctx):
    os.kill(os.getpid(), signal.SIGSEGV)

def once(ctx):
    mark = Path(r"{place}") / "once"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {{x.name: x.weight.abs() if hasattr(x, "weight") else __import__("torch").ones(x.shape) for x in ctx.layers}}

def hangs(ctx):
    mark = Path(r"{place}") / "hung"
    if not mark.exists():
        mark.touch()
        time.sleep(600)
    return {{x.name: __import__("torch").ones(x.shape) for x in ctx.layers}}

def tells(ctx):
    (Path(r"{place}") / f"gpu-{{os.environ.get('CUDA_VISIBLE_DEVICES')}}-{{os.getpid()}}").touch()
    return {{x.name: __import__("torch").ones(x.shape) for x in ctx.layers}}
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Register pruners that misbehave; give the names in the menu."""
    path = tmp_path / "own.py"
    path.write_text(OWN.format(place=tmp_path))
    made = [custom.read(f"{path}:{name}") for name in ("dies", "once", "hangs", "tells")]
    for one_of in made:
        custom.register(one_of)
    yield {o.function: o.name for o in made}
    for one_of in made:
        custom.OWN.pop(one_of.name)
        custom.SCORES.pop(one_of.name)


def by(name: str, **over: object) -> Settings:
    return one(ticket={"score": name, "density": 0.3}, **over)


def test_workers_that_die_end_neither_the_batch_nor_the_other_runs(own, tmp_path, monkeypatch) -> None:
    runs = [by(own["dies"]), by(own["once"]), snip(), lt()]
    frame = run_all(runs, workers=2)
    assert list(frame["status"]) == ["failed", "done", "done", "done"]
    assert frame["reason"][0] == "its worker died 3 times, the last: SIGSEGV"
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "alone"))
    assert list(run_all(runs[1:], workers=1)["accuracy"]) == list(frame["accuracy"][1:])


def test_a_run_killed_in_the_middle_goes_on_to_the_same_end(tmp_path, monkeypatch) -> None:
    """Killed again and again, from outside, while it trains."""
    runs = [snip(seed=i, optim__epochs=30) for i in range(2)]
    killed = []

    def watch(look):
        def kill() -> None:
            for key in [s.key() for s in runs]:
                deadline = time.monotonic() + 60
                while crew and key not in crew[0].signs() and time.monotonic() < deadline:
                    time.sleep(0.05)
            time.sleep(1.0)
            crew[0].end(runs[0].key())
            killed.append(runs[0].key())

        pool.threading.Thread(target=kill, daemon=True).start()

    from repro.engine import crew as crews

    crew: list[Any] = []
    real = crews.Crew.__init__
    monkeypatch.setattr(
        crews.Crew, "__init__", lambda self, *a, **k: (real(self, *a, **k), crew.append(self))[0]
    )
    fates = {k: f() for k, f in pool._each(plan(runs), 2, None, watch=watch)}
    assert killed
    assert set(fates.values()) == {"done"}
    accuracy = [record.read(record.find(s.key()))["curve"] for s in runs]
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "alone"))
    assert accuracy == [run(s)["curve"] for s in runs]


def test_each_gpu_has_a_process_that_sees_it_alone(own, tmp_path, monkeypatch) -> None:
    """GPUs, on the CPU: REPRO_DEVICE says so, and streams are left out."""
    runs = [*(by(own["tells"], seed=i) for i in range(6)), lt()]
    frame = run_all(runs, engine=Engine(gpus=("5", "GPU-ab"), per_gpu=2))
    assert set(frame["status"]) == {"done"}
    seen = sorted(path.name.rsplit("-", 1)[0] for path in tmp_path.glob("gpu-*"))
    assert seen == ["gpu-5", "gpu-GPU-ab"], "one process each"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "alone"))
    assert list(run_all(runs, workers=1)["accuracy"]) == list(frame["accuracy"])


def test_a_gpu_that_is_not_there_is_named(monkeypatch) -> None:
    monkeypatch.delenv("REPRO_DEVICE")
    if torch.cuda.is_available():
        pytest.skip("a GPU")
    with pytest.raises(ReproError, match="no such GPU here"):
        run_all([snip()], engine=Engine(gpus=("7",), per_gpu=1))


@pytest.mark.reliability
def test_a_process_that_hangs_is_replaced(own) -> None:
    frame = run_all([by(own["hangs"]), snip()], workers=1, engine=Engine(timeout=20.0))
    assert list(frame["status"]) == ["done", "done"]


@pytest.mark.reliability
def test_a_death_in_a_shared_process_takes_nobody_along(own) -> None:
    frame = run_all([by(own["dies"]), lt(), snip()], engine=Engine(gpus=("0",), per_gpu=3))
    assert list(frame["status"]) == ["failed", "done", "done"]


def test_the_page_on_clusters_shows_the_examples_as_they_are() -> None:
    page = (ROOT / "book" / "cluster.md").read_text()
    for name, kind in (("slurm.sbatch", "bash"), ("submit.py", "python")):
        assert f"```{kind}\n{(ROOT / 'examples' / name).read_text()}```" in page


@pytest.mark.reliability
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_the_signals_by_which_schedulers_end_jobs_save_everything(number: int) -> None:
    words = [*TINY[:3], "optim.epochs=500", "seed=[0,1]"]
    command = [sys.executable, "-m", "repro", "run", *words]
    going = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 90
    while len(list(paths.build().glob("runs/*/settings.yaml"))) < 2:
        assert time.monotonic() < deadline and going.poll() is None
        time.sleep(0.05)
    time.sleep(2)
    os.killpg(going.pid, number)
    _, err = going.communicate(timeout=90)
    assert going.returncode == 2
    assert "the same command goes on" in err.strip().splitlines()[-1]
    assert len(list(paths.build().glob("runs/*/checkpoint.safetensors"))) == 2


# --- parcels --------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Go to another machine's store."""
    return lambda: monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "elsewhere"))


def test_a_finished_run_travels_with_its_weights_and_serves_there(elsewhere) -> None:
    run(one())
    sent = pack(one().key())
    assert sorted(sent) == ["record.json", "settings.yaml", "weights.safetensors"]
    elsewhere()
    assert unpack(one(), sent)
    assert not unpack(one(), sent), "the second time everything is there"
    assert list(plan([lt()])) == [lt().key()], "no pre-training is needed there"
    assert (record.folder(one().key()) / "DONE").exists()


def test_only_the_moments_that_are_needed_travel() -> None:
    run(one(optim__epochs=3), weights=True, snapshots=(1, 2))
    key = one(optim__epochs=3).key()
    assert {"weights-1.safetensors", "weights-2.safetensors"} <= {*pack(key)}
    assert {n for n in pack(key, (2,)) if "-" in n} == {"weights-2.safetensors"}


def stopped(s: Settings, after: int) -> parcel.Parcel:
    calls = iter(range(1000))
    with pytest.raises(Stopped):
        run(s, stop=lambda: next(calls) >= after)
    return pack(s.key())


def test_of_two_states_under_way_the_further_one_stays(elsewhere) -> None:
    s = snip(optim__epochs=4)
    early, late = stopped(s, 3), stopped(s, 5)
    assert sorted(early) == ["checkpoint.safetensors", "masks.safetensors", "settings.yaml"]
    elsewhere()
    assert unpack(s, early)
    assert unpack(s, late)
    assert not unpack(s, late), "no further than what is there"
    assert not unpack(s, early)
    held = (record.folder(s.key()) / "checkpoint.safetensors").read_bytes()
    assert held == late["checkpoint.safetensors"].raw
    assert not (record.folder(s.key()) / "DONE").exists()


def test_a_finished_run_replaces_one_under_way_and_never_the_other_way_round(elsewhere) -> None:
    s = snip(optim__epochs=2)
    under_way = stopped(s, 3)
    run(s)
    finished = pack(s.key())
    elsewhere()
    unpack(s, under_way)
    assert unpack(s, finished)
    assert not (record.folder(s.key()) / "checkpoint.safetensors").exists()
    assert not unpack(s, under_way)
    assert not (record.folder(s.key()) / "masks.safetensors").exists()


def test_nothing_in_a_parcel_is_believed(elsewhere) -> None:
    s = snip()
    run(s), run(snip(seed=1))
    sent, other = pack(s.key()), pack(snip(seed=1).key())
    raw = sent["record.json"].raw
    elsewhere()
    cases = {
        "odd name": {"../x": sent["settings.yaml"]},
        "damaged record.json": {"record.json": Part(raw[:-9], sent["record.json"].digest)},
        "record of another": {"record.json": other["record.json"]},
        "damaged or unreadable": {"weights.safetensors": parcel._part(b"\xff" * 99)},
    }
    for told, files_of in cases.items():
        with pytest.raises(ReproError, match="file '../x'" if told == "odd name" else told):
            unpack(s, {**sent, **files_of})
    assert not list(record.folder(s.key()).glob("*")), "nothing was written"
    assert unpack(s, sent)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "some.yaml"
    path.write_text(
        "runs:\n  - {recipe: digits, model: {name: resnet8, width: 0.25}, optim.epochs: 1, data.subset: 200,\n"
        "     ticket: {score: [magnitude, snip], density: 0.3}, seed: [0, 1]}\n"
    )
    return str(path)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--index", "4/4"], "count from 0 to 3"),
        (["--index", "1"], "write e.g. 0/8"),
        (["--gpus", "0,0"], "each GPU once"),
        (["--gpus", "0", "--workers", "2"], "--per-gpu"),
        (["--gpus", "0", "--engine", "ray"], "Ray knows"),
        (["--per-gpu", "2"], "--gpus"),
        (["--per-gpu", "0", "--gpus", "0"], "1 or more"),
        (["--address", "auto"], "--engine ray"),
        (["--timeout", "5"], "write e.g. 90s"),
    ],
)
def test_options_that_do_not_go_together(capsys, file: str, words: list[str], hint: str) -> None:
    code, _, err = call(capsys, "batch", file, *words)
    assert (code, err.count("\n")) == (2, 1)
    assert hint in err


def test_ray_is_asked_for_by_name_where_it_is_missing(capsys, file: str, monkeypatch) -> None:
    monkeypatch.setattr("repro.engine.cluster.find_spec", lambda name: None)
    code, _, err = call(capsys, "batch", file, "--engine", "ray")
    assert code == 2
    assert "pip install 'repro-jackpot[ray]'" in err


def test_shares_of_a_batch_make_the_whole_of_it(capsys, file: str) -> None:
    code, out, _ = call(capsys, "batch", file, "--dry-run")
    assert code == 0
    assert "4 runs, 0 of them done" in out
    assert "what others need first: 4, then 2 runs" in out
    shown = []
    for i in range(3):
        code, out, err = call(capsys, "batch", file, "--index", f"{i}/3", "--workers", "1")
        assert code == 0, err
        shown += [line.split()[0] for line in out.splitlines() if " done" in line]
    assert len(shown) == len({*shown}) == 4
    assert "4 done" in call(capsys, "status", file)[1]
    assert call(capsys, "batch", file, "--index", "8/9", "--workers", "1")[0] == 0, "an empty share"


def test_a_batch_ends_with_what_failed_and_why(capsys, file: str, monkeypatch) -> None:
    def fails(s: Settings, **more: Any):
        if s.ticket.score:
            raise ReproError(f"no {s.ticket.score} today")
        return run(s, **more)

    monkeypatch.setattr(jobs, "run", fails)
    code, out, err = call(capsys, "batch", file, "--workers", "1")
    assert code == 2
    told = [line for line in out.splitlines() if line.startswith("failed: ")]
    assert len(told) == 2
    assert told[0].endswith("no magnitude today") and told[0].count(",") == 1
    assert "4 of 4 runs failed" in err


# --- Ray ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a cluster of two real nodes of one core each, the second with a store of its own; give its address."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        made.add_node(num_cpus=1, env_vars={"REPRO_BUILD": str(tmp_path / "node")})
        yield made.address
    finally:
        made.shutdown()


def tasks() -> set[int]:
    lines = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True).stdout.splitlines()
    return {int(line.split()[0]) for line in lines if "ray::_task" in line}


@pytest.mark.reliability
@pytest.mark.filterwarnings("ignore")
def test_a_ray_cluster_makes_the_same_records_and_trains_nothing_for_nobody(
    own, two_nodes: str, tmp_path: Path, monkeypatch
) -> None:
    long = {"optim__epochs": 60}  # so that one node alone does not make them all
    tickets = [one(ticket={"score": "magnitude", "density": d}, **long) for d in (0.3, 0.2, 0.1)]
    runs = [by(own["dies"]), by(own["once"]), *tickets]
    frame = run_all(runs, engine=Engine("ray", address=two_nodes))
    assert list(frame["status"]) == ["failed", *["done"] * 4], list(frame["reason"])
    assert frame["reason"][0].startswith("its worker died 3 times, the last: Ray: ")
    assert not list(paths.build().glob(".seen*"))
    there = {path.parent.name for path in (tmp_path / "node").glob("runs/*/DONE")}
    assert there & {s.key() for s in runs}, "the second node took part"
    if there & {s.key() for s in tickets}:
        dense = one(**long).key()
        theirs = tmp_path / "node" / "runs" / dense / "record.json"
        assert theirs.read_bytes() == (record.folder(dense) / "record.json").read_bytes(), "it was sent"
    file = tmp_path / "long.yaml"
    file.write_text(
        "runs: [{recipe: digits, model: {name: resnet8, width: 0.25}, optim.epochs: 900, seed: [0, 1]}]\n"
    )
    words = ["batch", str(file), "--engine", "ray", "--address", two_nodes]
    going = subprocess.Popen([sys.executable, "-m", "repro", *words], cwd=ROOT)
    deadline = time.monotonic() + 120
    begun = [paths.build(), tmp_path / "node"]
    while not all(any("epochs: 900" in p.read_text() for p in b.glob("runs/*/settings.yaml")) for b in begun):
        assert time.monotonic() < deadline and going.poll() is None
        time.sleep(0.2)
    at_work = tasks()
    assert len(at_work) >= 2
    going.kill()
    going.wait()
    while at_work & tasks() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not at_work & tasks(), "no orphan trains on"
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "alone"))
    assert list(run_all(runs[1:], workers=1)["accuracy"]) == list(frame["accuracy"][1:])
