"""Curves for TensorBoard and Weights & Biases: every epoch once, nothing when nobody asks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from test_cli import TINY, call
from test_experiment import lt, snip
from test_pool import Clock

from repro import paths, record, track, workers
from repro.errors import ReproError
from repro.experiment import run
from repro.pool import run_all
from repro.settings import Settings
from repro.track import curves, kinds, tracked
from repro.train import Stopped

ROOT = Path(__file__).parent.parent
NAMES = {"lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "test_top5"}


class Fake:
    """A tracker that writes down what it is told, in a file that survives it."""

    look: ClassVar[str] = "look at {folder}"

    def __init__(self, folder: Path, s: Settings, after: int) -> None:
        self.path = folder / "told.jsonl"
        self._tell({"opened": after, "key": s.key()})

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        self._tell({"epoch": number} | dict(values))

    def summary(self, results: Mapping[str, float]) -> None:
        self._tell({"results": dict(results)})

    def close(self) -> None:
        self._tell({"closed": True})

    def _tell(self, what: Mapping[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(what) + "\n")


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds.KINDS, "json", Fake)  # a library that is always there


def told(key: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (track.folder("json", key) / "told.jsonl").read_text().splitlines()]


def epochs(key: str) -> list[int]:
    return [line["epoch"] for line in told(key) if "epoch" in line]


def make(s: Settings, stop=lambda: False) -> Mapping[str, Any]:
    return tracked("json", s, lambda report: run(s, stop=stop, report=report))


def test_every_run_in_the_queue_has_its_curve_pre_training_too() -> None:
    s = lt(optim__epochs=2)
    run_all([s], workers=1, track="json")
    frame = record.load(paths.build() / "runs", full=True)
    assert set(frame["method"]) == {"dense", "magnitude"}
    for _, row in frame.iterrows():
        lines = told(row["key"])
        assert [next(iter(line)) for line in lines] == ["opened", "epoch", "epoch", "results", "closed"]
        assert set(lines[1]) == NAMES | {"epoch"}
        assert [line["test_accuracy"] for line in lines[1:3]] == row["curve"]["test_accuracy"]
        found = lines[3]["results"]
        assert (found["accuracy"], found["density"]) == (row["accuracy"], row["realised"])
        assert "validation" not in found


def test_validation_is_tracked_where_there_is_some() -> None:
    s = snip(data__validation=0.2)
    make(s)
    assert {"validation_loss", "validation_accuracy", "validation_top5"} < set(told(s.key())[1])
    assert "validation" in told(s.key())[-2]["results"]


def test_stopped_anywhere_no_epoch_is_written_twice_or_left_out() -> None:
    s = snip(optim__epochs=4)
    for _ in range(200):
        try:
            make(s, Clock(3))
            break
        except Stopped:
            continue
    assert epochs(s.key()) == [1, 2, 3, 4]
    assert len([line for line in told(s.key()) if "results" in line]) == 1
    assert [line["opened"] for line in told(s.key()) if "opened" in line] != [0], "it was stopped in between"


def test_a_run_killed_after_its_checkpoint_repeats_epochs_that_are_not_written_again() -> None:
    s = snip(optim__epochs=4)
    with pytest.raises(Stopped):
        run(s, stop=Clock(9))  # 4 steps an epoch: the checkpoint holds 2 epochs
    tracker = curves.Tracker("json", s)
    tracker.report(0, 0, {"epoch": 3, "test_loss": 1.0})  # an attempt that was killed after its third
    tracker.close()
    assert epochs(s.key()) == [1, 2, 3], "begun late: what the checkpoint knows comes first"
    make(s)
    assert epochs(s.key()) == [1, 2, 3, 4]


def test_a_training_from_the_start_replaces_the_curve() -> None:
    s = snip(optim__epochs=2)
    make(s)
    (record.folder(s.key()) / "DONE").unlink()
    make(s)
    assert epochs(s.key()) == [1, 2]
    assert told(s.key())[0]["opened"] == 0


def test_finished_runs_are_caught_up_on_and_only_once() -> None:
    s = snip(optim__epochs=2)
    run_all([s], workers=1)
    assert not (paths.build() / "track").exists()
    for _ in range(2):
        run_all([s], train=False, track="json")
    assert epochs(s.key()) == [1, 2]
    assert len([line for line in told(s.key()) if "results" in line]) == 1


def test_a_diverged_run_has_no_point_where_there_is_no_number() -> None:
    s = snip()
    made = {
        "curve": {"epoch": [1, 2], "train_loss": [3.0, None], "test_accuracy": [10.0, 9.0]},
        "density": 0.2,
        "accuracy": {"final": 9.0, "best": 10.0, "top5": 50.0, "validation": None},
    }
    track.catch_up("json", [(s, made)])
    assert told(s.key())[2] == {"epoch": 2, "test_accuracy": 9.0}


def test_nobody_asks_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a tracker was made")

    monkeypatch.setattr(curves, "Tracker", never)
    run_all([snip()], workers=1)
    assert workers.Job(snip()).track is None
    assert not (paths.build() / "track").exists()


def test_trackers_are_imported_only_when_asked_for() -> None:
    code = "import repro.pool, sys; print(sorted({'tensorboard', 'wandb', 'torch.utils.tensorboard'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("tensorbord", "did you mean 'tensorboard'"), ("wandb", "`pip install wandb` gets it")],
)
def test_what_cannot_be_tracked_is_told_before_training(
    capsys, monkeypatch: pytest.MonkeyPatch, kind: str, hint: str
) -> None:
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    code, _, err = call(capsys, "run", *TINY, "--track", kind)
    assert (code, err.count("\n"), hint in err) == (2, 1, True), err
    assert not paths.build().exists()
    with pytest.raises(ReproError):
        run_all([snip()], train=False, track=kind)


def test_the_command_says_where_the_curves_are(capsys) -> None:
    code, out, _ = call(capsys, "run", *TINY, "--track", "json", "--workers", "1")
    assert code == 0
    assert f"look at {track.folder('json')}" in out


def test_two_processes_track_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers import the menu anew, so the real TensorBoard takes the place of the fake."""
    pytest.importorskip("tensorboard")
    runs = [snip(seed=i) for i in range(2)]
    run_all(runs, workers=2, track="tensorboard")
    for s in runs:
        assert list(track.folder("tensorboard", s.key()).glob("events.out.tfevents.*"))


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_back_the_curves_of_a_run_that_was_stopped() -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    s = snip(optim__epochs=3)
    with pytest.raises(Stopped):
        tracked("tensorboard", s, lambda report: run(s, stop=Clock(6), report=report))
    tracked("tensorboard", s, lambda report: run(s, report=report))
    found = EventAccumulator(str(track.folder("tensorboard", s.key()))).Reload()
    made = record.read(record.find(s.key()))
    assert set(found.Tags()["scalars"]) >= NAMES | {"final/accuracy", "final/density"}
    for name in NAMES:
        points = found.Scalars(name)
        assert [p.step for p in points] == [1, 2, 3]
        assert [p.value for p in points] == pytest.approx(made["curve"][name])
    assert found.Scalars("final/accuracy")[0].value == pytest.approx(made["accuracy"]["final"])
    settings = found.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert s.command() in settings
    assert "score: snip" in settings


@pytest.mark.filterwarnings("ignore")
def test_wandb_stays_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    s = snip(optim__epochs=2)
    tracked("wandb", s, lambda report: run(s, report=report))
    (kept,) = track.folder("wandb", s.key()).glob("wandb/offline-run-*")
    assert s.key() in kept.name
    assert list(kept.glob("*.wandb"))
