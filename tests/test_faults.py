"""Faults tried for real: processes killed, disks filled, clocks moved, files spoilt, while batches of small runs are made.

Whatever happens, and once it is over: no run is lost, none is done twice, no file is half-written, and what comes out
equals what an undisturbed batch gives, to the last bit. `reliability.note` keeps the counts.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import disturbed
import pytest
import yaml
from disturbed import Watch, end, finished, hit, serving, start, told, workers
from reliability import note

from repro import experiment, files, paths, record, run_all
from repro.grids import expand, plan
from repro.pruners import custom
from repro.settings import Settings
from repro.train import Stopped

pytestmark = pytest.mark.reliability
PLAN = """
runs:
  - &net {recipe: digits, model: {name: resnet8, width: 0.25}, data.subset: 200, optim: {epochs: 3, batch: 16}, seed: [0, 1, 2]}
  - {<<: *net, ticket: {score: magnitude, density: 0.3, weights: rewound, rewind: 1}}
  - {<<: *net, ticket: {score: snip, density: [0.1, 0.3]}}
  - {<<: *net, seed: [0, 1], ticket: {score: imp, rounds: [1, 2, 3], rate: 0.4, weights: rewound, rewind: 1}}
  - {<<: *net, seed: [0, 1], ticket: {score: random, allocation: erk, density: 0.1}, sparse: {method: [set, rigl], interval: 2}}
"""
RUNS = 22
KILLS = 200


class Whole(NamedTuple):
    """A parameter file, and what an undisturbed batch of it gives: records without what varies, and dense weights."""

    file: Path
    records: dict[str, dict]
    weights: dict[str, bytes]

    def equals(self, build: Path) -> bool:
        return (self.records, self.weights) == (disturbed.kept(build), disturbed.weights(build))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Make an undisturbed batch."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "plan.yaml").write_text(PLAN)
    build = folder / "_build"
    assert finished(["batch", folder / "plan.yaml", "--workers", 2], build) == 0, told(build)
    found = Whole(folder / "plan.yaml", disturbed.kept(build), disturbed.weights(build))
    assert (len(found.records), len(found.weights)) == (RUNS, 3)
    return found


# --- killed processes -----------------------------------------------------------------------------------------------


def _strike(pid: int, rng: random.Random, count: Counter[str]) -> signal.Signals | None:
    """Kill a process, or ask it to end, or hold it for a moment; tell how, if it was there."""
    sign = rng.choices([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP], [8, 1, 1])[0]
    if not hit(pid, sign):
        return None
    if sign == signal.SIGSTOP:
        time.sleep(rng.uniform(0, 0.3))
        hit(pid, signal.SIGCONT)
    count[sign.name] += 1
    return sign


class Life(NamedTuple):
    """A program under way: when it is struck down, and whether it was asked to end."""

    until: float
    asked: bool = False


def _kill_batches(whole: Whole, build: Path, rng: random.Random, count: Counter[str]) -> None:
    """Make one batch by two programs at once, each struck down again and again and started anew.

    How long they live is drawn from up to the time that it takes to make a first run, longer while nothing gets finished,
    shorter when something does: so most strikes hit runs in their middle, however fast the machine is.
    """
    watch, words, flying, made = Watch(build), ["batch", whole.file, "--workers", 1], dict[int, Life](), 1
    with serving(whole.file, build) as server:
        began, first = time.monotonic(), server.start(words)
        while not disturbed.kept(build):
            time.sleep(0.005)
            assert server.ended(first) is None, told(build)
        span, flying[first] = time.monotonic() - began, Life(time.monotonic())
        while True:
            while len(flying) < 2:
                flying[server.start(words)] = Life(time.monotonic() + rng.uniform(0, span))
            pid = min(flying, key=lambda pid: flying[pid].until)
            time.sleep(max(0.0, flying[pid].until - time.monotonic()))
            sign = _strike(pid, rng, count)
            flying[pid] = Life(time.monotonic() + span / 6, flying[pid].asked or sign == signal.SIGTERM)
            if sign == signal.SIGKILL:
                code = server.wait(pid)
                count["SIGKILL"] -= code != -sign  # it had ended
                count["from a checkpoint"] += code == -sign and _under_way(build)
            else:
                code = server.ended(pid)
            watch.look()
            before, made = made, len(watch.written)
            span *= 1.1 if before == made else 0.8
            if code == 0:
                del flying[pid]
                break
            if code is not None:
                assert code == -signal.SIGKILL or flying[pid].asked, f"exit code {code}: {told(build)}"
                del flying[pid]
        for pid, life in flying.items():
            assert server.wait(pid) == 0 or life.asked, told(build)
    watch.look()
    assert not watch.twice()


def _under_way(build: Path) -> bool:
    return any((build / "runs").glob("*/checkpoint.safetensors"))


def _kill_workers(whole: Whole, build: Path, rng: random.Random, count: Counter[str]) -> None:
    """Make a batch in two worker processes; one, or the program that started them, is struck down after each record."""
    watch, seen = Watch(build), -1
    words = ["batch", whole.file, "--workers", 2]
    process = start(words, build)
    try:
        while (code := process.poll()) != 0:
            if code is not None:
                reason = str(told(build).splitlines()[-1:])
                known = code == -signal.SIGKILL or "stopped;" in reason or "its worker died 3 times" in reason
                assert known, f"exit code {code}: {told(build)}"
                process = start(words, build)
            there, made = workers(process.pid), len(disturbed.kept(build))
            if there and made > seen:
                seen = made
                time.sleep(rng.uniform(0, 0.3))
                _strike(process.pid if rng.random() < 0.15 else rng.choice(there), rng, count)
            watch.look()
            time.sleep(0.05)
    finally:
        end(process)
    assert not watch.twice()


def test_batches_outlive_hundreds_of_kills(whole: Whole, tmp_path: Path) -> None:
    rng, count, rounds, same = random.Random(2024), Counter[str](), 0, 0
    in_workers, way = 0, _kill_workers
    while count["SIGKILL"] < KILLS:
        if way is _kill_workers and count["SIGKILL"] >= KILLS / 20:
            in_workers, way = count["SIGKILL"], _kill_batches
        rounds += 1
        assert rounds < 60, f"batches end before they are struck: {count}"
        way(whole, tmp_path / f"round{rounds}", rng, count)
        same += whole.equals(tmp_path / f"round{rounds}")
    assert count["SIGTERM"] and count["SIGSTOP"] and count["from a checkpoint"] > KILLS / 10, count
    good = same == rounds
    n, kind = count["SIGKILL"], "killed processes"
    note(
        kind,
        in_workers,
        in_workers * good,
        "killed outright (SIGKILL): workers of a batch, and what started them",
    )
    note(
        kind,
        n - in_workers,
        (n - in_workers) * good,
        "killed outright (SIGKILL): two batches at once on one store",
    )
    note(kind, count["SIGTERM"], count["SIGTERM"] * good, "asked to end (SIGTERM)")
    note(
        "killed processes", count["SIGSTOP"], count["SIGSTOP"] * good, "held for a moment (SIGSTOP, SIGCONT)"
    )
    assert good, count


# --- the disk and the clock -----------------------------------------------------------------------------------------


@contextmanager
def _mounted(place: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Mount a small disk in memory; gives the function that mounts it again with other options. Needs rights."""
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place], capture_output=True)
    if made.returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        yield lambda how: subprocess.run(["mount", "-o", f"remount,{how}", place], check=True) and None
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def _refused(whole: Whole, build: Path, hint: str) -> None:
    """Check that a batch ended in one line that says why, and left nothing that is half-written."""
    Watch(build).look()
    errors = [line for line in told(build).splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and hint in errors[0], told(build)
    assert "Traceback" not in told(build)
    assert disturbed.kept(build).items() <= whole.records.items()


@pytest.mark.parametrize("size", ["60k", "300k", "700k"])
def test_a_full_disk(whole: Whole, tmp_path: Path, size: str) -> None:
    words = ["batch", whole.file, "--workers", 2]
    with _mounted(tmp_path / "disk", size) as again:
        build = tmp_path / "disk"  # the log lies beside it
        code = finished(words, build)
        _refused(whole, build, "No space left on device")
        made = len(disturbed.kept(build))
        again("size=50m")
        good = code == 2 and finished(words, build) == 0 and whole.equals(build)
    note("full disk", 1, int(good), f"a disk of {size}B, given room later")
    assert good
    assert made < RUNS


def test_a_disk_that_takes_no_large_files(whole: Whole, tmp_path: Path) -> None:
    """A limit of the system, as quotas have it: records fit, weights do not."""
    build, words = tmp_path / "_build", ["batch", whole.file, "--workers", 2]
    code = finished(words, build, DISTURB_FILE_SIZE="20000")
    _refused(whole, build, "File too large")
    made = len(disturbed.kept(build))
    good = code == 2 and finished(words, build) == 0 and whole.equals(build)
    note("full disk", 1, int(good), "a limit on the size of files, lifted later")
    assert good
    assert made < RUNS


def test_a_store_that_cannot_be_written(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = ["batch", tmp_path / "few.yaml", "--workers", 1]
    few = whole.file.read_text().splitlines()[:3]
    (tmp_path / "few.yaml").write_text("\n".join(few) + "\n")
    with _mounted(tmp_path / "disk", "50m") as again:
        build = tmp_path / "disk"  # the log lies beside it
        assert finished(done, build) == 0, told(build)
        before = {path: path.stat().st_mtime_ns for path in build.rglob("*")}
        again("ro")
        codes = [finished(["status", whole.file], build), finished(done, build)]
        codes.append(finished(["batch", whole.file, "--workers", 2], build))
        shown, again_same = (
            told(build),
            before == {path: path.stat().st_mtime_ns for path in build.rglob("*")},
        )
        monkeypatch.setenv("REPRO_BUILD", str(build))
        table = run_all(plan(whole.file), train=False)
        again("rw")
        good = finished(["batch", whole.file, "--workers", 2], build) == 0 and whole.equals(build)
    assert codes == [0, 0, 2], shown
    assert "Read-only file system" in shown and "Traceback" not in shown
    assert list(table["status"][:3]) == ["done"] * 3, "what is there can be read"
    assert again_same
    note("read-only store", 3, 3 * good, "looking up, a finished batch, an unfinished one")
    assert good


def test_a_clock_that_jumps(whole: Whole, tmp_path: Path) -> None:
    """By up to 400 days, at each look at it, in every process; and the files are of other days than the clock says."""
    rng, tried, good, build = random.Random(7), 3, True, tmp_path / "_build"
    for i in range(tried):
        words = ["batch", whole.file, "--workers", i + 1]
        process = start(words, build, DISTURB_CLOCK=str(i))
        try:
            if i + 1 < tried:
                time.sleep(5 + i)
                process.kill()
            else:
                good &= process.wait(120) == 0
        finally:
            end(process)
        for path in build.rglob("*"):
            if path.is_file() and rng.random() < 0.5:
                when = time.time() + disturbed.DAY * rng.uniform(-400, 400)
                os.utime(path, (when, when))
    good = good and finished(["batch", whole.file], build) == 0 and whole.equals(build)
    note(
        "wrong clock",
        tried,
        tried * good,
        "a clock that jumps by up to 400 days, forward and back, and files of other days",
    )
    assert good, told(build)
    assert len({when[:4] for when in _whens(build)}) > 1, "the clock did jump"


def _whens(build: Path) -> list[str]:
    return [record.json.loads(path.read_text())["when"] for path in (build / "runs").glob("*/record.json")]


# --- others on the same store -----------------------------------------------------------------------------------------


def test_batches_at_once_on_one_store_do_each_run_once(whole: Whole, tmp_path: Path) -> None:
    build, log = tmp_path / "_build", tmp_path / "log"
    both = [start(["batch", whole.file, "--workers", 3], build, DISTURB_LOG=str(log)) for _ in range(2)]
    most = 0
    try:
        while any(process.poll() is None for process in both):
            most = max(most, sum(1 + len(workers(p.pid)) for p in both if p.poll() is None))
            time.sleep(0.1)
    finally:
        for process in both:
            end(process)
    assert [process.returncode for process in both] == [0, 0], told(build)
    lines = [line.split() for line in log.read_text().splitlines()]
    once = {key: 1 for key in whole.records} == dict(Counter(key for key, _ in lines))
    assert most == 8
    assert len({pid for _, pid in lines}) > 2, "they did share the work"
    good = once and whole.equals(build)
    note("two batches at once", RUNS, RUNS * good, "runs of two batches in eight processes on one store")
    assert good, lines


HOLDS = """
import sys, time
from pathlib import Path
from repro import files
with files.lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("content", ["", "4711 another-machine\n", "\0" * 4096])
def test_locks_left_by_the_dead_hold_nobody_up(whole: Whole, content: str) -> None:
    needed = [paths.build() / "runs" / key / "lock" for key in whole.records]
    for lock in needed[1:]:
        lock.parent.mkdir(parents=True)
        lock.write_text(content)
    needed[0].parent.mkdir(parents=True)
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(needed[0])], stdout=subprocess.PIPE)
    try:
        assert holder.stdout and holder.stdout.readline()
        needed[0].write_text(content)
        with pytest.raises(files.BusyError), files.lock(needed[0], wait=False):
            pass
    finally:
        holder.kill()
        holder.communicate()
    frame = run_all(plan(whole.file), workers=1)
    good = set(frame["status"]) == {"done"} and whole.equals(paths.build())
    what = {"": "empty", "4": "naming a process of another machine"}.get(content[:1], "full of zeros")
    note(
        "locks of the dead",
        RUNS,
        RUNS * good,
        f"lock files, {what}, one of a process killed while it held it",
    )
    assert good


# --- files spoilt -----------------------------------------------------------------------------------------------------


def _halved(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def _flipped(raw: bytes) -> bytes:
    at = len(raw) - len(raw) // 4
    return raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]


def _emptied(raw: bytes) -> bytes:
    return b""


def _zeroed(raw: bytes) -> bytes:
    return raw[: len(raw) // 3] + bytes(len(raw) - len(raw) // 3)


WAYS = {"cut short": _halved, "one bit flipped": _flipped, "emptied": _emptied, "zeros at the end": _zeroed}


def _stopped_after(s: Settings, steps: int) -> Path:
    """Stop a run after so many steps; give its checkpoint."""
    seen: list[None] = []

    def stop() -> bool:
        seen.append(None)
        return len(seen) > steps

    with pytest.raises(Stopped):
        experiment.run(s, stop=stop)
    return record.folder(s.key()) / "checkpoint.safetensors"


def _a_record(dense: Settings, s: Settings) -> Path:
    return record.folder(s.key()) / "record.json"


def _a_dense_record(dense: Settings, s: Settings) -> Path:
    shutil.rmtree(record.folder(s.key()))
    return record.folder(dense.key()) / "record.json"


def _weights(dense: Settings, s: Settings) -> Path:
    shutil.rmtree(record.folder(s.key()))
    shutil.rmtree(paths.build() / "tickets")  # made anew from them
    return record.folder(dense.key()) / "weights.safetensors"


def _rewound(dense: Settings, s: Settings) -> Path:
    shutil.rmtree(record.folder(s.key()))
    return record.folder(dense.key()) / "weights-1.safetensors"


def _ticket(dense: Settings, s: Settings) -> Path:
    shutil.rmtree(record.folder(s.key()))
    (found,) = (paths.build() / "tickets").rglob("*.safetensors")
    return found


def _checkpoint(dense: Settings, s: Settings) -> Path:
    shutil.rmtree(record.folder(s.key()))
    return _stopped_after(s, 20)


def _masks(dense: Settings, s: Settings) -> Path:
    return _checkpoint(dense, s).with_name("masks.safetensors")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "what", [_a_record, _a_dense_record, _weights, _rewound, _ticket, _checkpoint, _masks]
)
def test_spoilt_files_are_found_told_and_made_again(what: Callable, way: str, whole: Whole, capfd) -> None:
    dense, s = (plan(whole.file)[i] for i in (0, 3))
    assert set(run_all([dense, s], workers=1)["status"]) == {"done"}
    path = what(dense, s)
    raw = path.read_bytes()
    path.write_bytes(WAYS[way](raw))
    assert path.read_bytes() != raw
    capfd.readouterr()
    frame = run_all([dense, s], workers=1)
    err = capfd.readouterr().err
    assert str(path) in err, err
    assert "Traceback" not in err
    assert list((paths.build() / "damaged").rglob("*.*")), "what was damaged is kept"
    made = disturbed.kept(paths.build())
    good = set(frame["status"]) == {"done"} and made == {k: whole.records[k] for k in (dense.key(), s.key())}
    good &= disturbed.weights(paths.build())[dense.key()] == whole.weights[dense.key()]
    note("files spoilt on the disk", 1, int(good), f"{what.__name__.strip('_').replace('_', ' ')}: {way}")
    assert good


# --- runs that misbehave ----------------------------------------------------------------------------------------------

GREEDY = """
import os, signal, sys, time
from pathlib import Path
import torch

HERE = Path(__file__).parent

def ones(ctx):
    return {layer.name: torch.ones(layer.shape) for layer in ctx.layers}

def first(ctx):
    mark = HERE / f"{sys._getframe(1).f_code.co_name}-{os.getpid()}"
    seen = [*HERE.glob(f"{sys._getframe(1).f_code.co_name}-*")]
    mark.touch()
    time.sleep(1)  # others are at work meanwhile
    return not seen

def raises(ctx):
    if first(ctx):
        raise MemoryError
    return ones(ctx)

def asks(ctx):
    import resource
    if first(ctx):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.getrlimit(resource.RLIMIT_AS)[1]))
        held = [bytearray(2**24) for _ in range(10**6)]
    return ones(ctx)

def asks_torch(ctx):
    import resource
    if first(ctx):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.getrlimit(resource.RLIMIT_AS)[1]))
        held = [torch.zeros(2**22) for _ in range(10**6)]
    return ones(ctx)

def is_killed(ctx):
    if first(ctx):
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does
    return ones(ctx)

def always(ctx):
    raise MemoryError
"""


@pytest.fixture
def greedy(tmp_path: Path, whole: Whole) -> Iterator[Callable[[str], Settings]]:
    """Give the function that makes a run whose ticket is made by a pruner of GREEDY."""
    (tmp_path / "greedy.py").write_text(GREEDY)
    made: list[custom.Own] = []

    def by(name: str) -> Settings:
        own = custom.read(f"{tmp_path / 'greedy.py'}:{name}")
        custom.register(own)
        made.append(own)
        (grid,) = yaml.safe_load(PLAN)["runs"][:1]
        return expand([{**grid, "seed": 0, "ticket": {"score": own.name, "density": 0.3}}])[0]

    yield by
    for own in made:
        custom.OWN.pop(own.name)
        custom.SCORES.pop(own.name)


@pytest.mark.parametrize("how", ["raises", "asks", "asks_torch", "is_killed"])
def test_runs_that_lack_memory_are_tried_again(how: str, whole: Whole, greedy: Callable) -> None:
    runs = plan(whole.file)
    snip = [s for s in runs if s.ticket.score == "snip"][:3]
    frame = run_all([greedy(how), *snip], workers=3)
    made = disturbed.kept(paths.build())
    good = set(frame["status"]) == {"done"} and all(made[s.key()] == whole.records[s.key()] for s in snip)
    words = {"raises": "MemoryError", "asks": "a limit, met by Python", "asks_torch": "a limit, met by torch"}
    note("want of memory", 1, int(good), words.get(how, "killed as the system kills"))
    assert good, frame[["status", "reason"]].to_dict("records")


def test_a_run_too_large_for_the_memory_fails_alone(whole: Whole, greedy: Callable) -> None:
    snip = [s for s in plan(whole.file) if s.ticket.score == "snip"][:2]
    frame = run_all([greedy("always"), *snip], workers=2)
    good = list(frame["status"]) == ["failed", "done", "done"] and "does not fit" in frame["reason"][0]
    note("want of memory", 1, int(good), "one run alone too large: it fails, the others do not")
    assert good, frame[["status", "reason"]].to_dict("records")


def test_a_run_that_diverges_is_recorded_as_such(whole: Whole, tmp_path: Path) -> None:
    build, file = tmp_path / "_build", tmp_path / "wild.yaml"
    file.write_text(PLAN + "  - {<<: *net, optim: {epochs: 3, batch: 16, lr: 1.0e+9}, seed: [0, 1, 2]}\n")
    code = finished(["batch", file, "--workers", 2], build)
    made = disturbed.kept(build)
    wild = [made[key] for key in made if key not in whole.records]
    good = code == 0 and [content["status"] for content in wild] == ["diverged"] * 3
    good &= all("training loss" in content["reason"] for content in wild)
    good &= {key: made[key] for key in whole.records} == whole.records
    note("runs that diverge", 3, 3 * good, "a learning rate of 1e9")
    assert good, told(build)


def test_workers_that_hang_are_killed_and_their_runs_tried_again(whole: Whole, tmp_path: Path) -> None:
    build, held = tmp_path / "_build", list[int]()
    process = start(["batch", whole.file, "--workers", 2, "--timeout", "15s"], build)
    try:
        while process.poll() is None:
            time.sleep(0.05)
            if not held and len(disturbed.kept(build)) > 3:
                held += [pid for pid in workers(process.pid) if hit(pid, signal.SIGSTOP)]
        assert process.returncode == 0, told(build)
    finally:
        for pid in held:
            hit(pid, signal.SIGCONT)
        end(process)
    assert len(held) == 2
    good = whole.equals(build)
    note("workers that hang", 2, 2 * good, "both of a batch at once, stopped for good, --timeout 15s")
    assert good
