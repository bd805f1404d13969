"""The search over settings: what is tried, what decides, and that a stopped search is the search it was."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_cli import call
from test_experiment import BASE, trainings  # noqa: F401

from repro import files, paths, pool, record, tuning
from repro.errors import ReproError
from repro.facts import head
from repro.settings import Settings
from repro.tuning import Study, preview, ranking, studies, told, tune
from repro.tuning.space import Range, read_space

RIGL = {"ticket": {"score": "random", "density": 0.3}, "sparse": {"method": "rigl", "interval": 2}}
SPACE = {
    "sparse.alpha": {"low": 0.1, "high": 0.6},
    "sparse.interval": {"low": 2, "high": 10, "step": 2},
    "optim.lr": [0.1, 0.05],
}
GRID = {"sparse.interval": [2, 4, 8], "optim.lr": [0.1, 0.05]}


def content(space: Mapping[str, Any] = SPACE, seeds: int = 2, **asked: Any) -> dict[str, Any]:
    grid = {**BASE, **RIGL, "data.validation": 0.2, "seed": list(range(seeds))}
    return {"title": "a search", "runs": [grid], "tune": {"space": dict(space), **asked}}


def written(folder: Path, **made: Any) -> str:
    file = folder / "search.yaml"
    file.write_text(yaml.safe_dump(made or content(), sort_keys=False))
    return str(file)


class Trainer:
    """Stands for `run_all`: makes up results, counts what it trains, and can be stopped before the n-th run."""

    def __init__(self, outcome: Callable[[Settings], Mapping[str, Any]]) -> None:
        self.outcome = outcome
        self.made: dict[str, dict[str, Any]] = {}
        self.trained: list[str] = []
        self.calls: list[int] = []
        self.stop: tuple[int, str] | None = None

    def run_all(self, runs: list[Settings], **_: Any) -> pd.DataFrame:
        self.calls.append(len(runs))
        for s in runs:
            if s.key() in self.made:
                continue
            if self.stop and len(self.trained) >= self.stop[0]:
                if self.stop[1] == "killed":
                    raise KeyboardInterrupt
                break
            self.trained.append(s.key())
            found = {"status": "done", "reason": None, **self.outcome(s)}
            if found["status"] != "failed":
                self.made[s.key()] = found
            else:
                return self._and_failed(runs, s.key(), found)
        return self.table(runs)

    def _and_failed(self, runs: list[Settings], key: str, found: Mapping[str, Any]) -> pd.DataFrame:
        frame = self.run_all([s for s in runs if s.key() != key])
        lost = self.table([s for s in runs if s.key() == key]).assign(status="failed", reason=found["reason"])
        return pd.concat([frame, lost], ignore_index=True)

    def table(self, runs: list[Settings]) -> pd.DataFrame:
        rows = [
            {"key": s.key()} | record.row(head(s)["settings"], None) | self.made.get(s.key(), {})
            for s in runs
        ]
        return record.frame(rows)


def bowl(s: Settings) -> dict[str, Any]:
    """Best at a fraction of 0.4, an interval of 6 and the larger rate; tests prefer the opposite."""
    value = 90 - 100 * (s.sparse.alpha - 0.4) ** 2 - (s.sparse.interval - 6) ** 2 + 20 * s.optim.lr + s.seed  # type: ignore[attr-defined]
    return {"validation": value, "accuracy": 100 - value / 2}


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    made = Trainer(bowl)
    monkeypatch.setattr(pool, "run_all", made.run_all)
    monkeypatch.setattr(pool, "table", made.table)
    return made


def kept(source: Any, **how: Any) -> list[dict[str, Any]]:
    return json.loads(Study.read(source, **how).file(".json").read_text())["trials"]


def test_a_grid_tries_every_combination_once_the_reference_first(trainer: Trainer) -> None:
    source = content(GRID, sampler="grid")
    table = tune(source, workers=2)
    points = [tuple(t["settings"].values()) for t in kept(source)]
    assert sorted(points) == sorted((i, lr) for i in (2, 4, 8) for lr in (0.1, 0.05))
    orders = [Study.read(content(GRID, sampler="grid", seed=i)).points for i in range(4)]
    assert all(order[0] == {"sparse.interval": 2, "optim.lr": 0.1} for order in orders)
    assert orders[0] != orders[1], "the others come in an order of chance"
    assert len(trainer.trained) == len(set(trainer.trained)) == 12
    assert len(table) == 6
    tune(source, workers=2)
    assert len(trainer.trained) == 12


def test_some_of_a_grid_are_the_first_of_all(trainer: Trainer) -> None:
    source = content(GRID, sampler="grid", seed=3)
    tune(source, trials=3, workers=2)
    some = [t["settings"] for t in kept(source)]
    tune(source, workers=2)
    assert [t["settings"] for t in kept(source)][:3] == some
    assert len(trainer.trained) == 12


def test_tpe_is_determined_by_file_seed_and_batch_and_finds_the_better(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        monkeypatch.setenv("REPRO_BUILD", str(tmp_path / name))
        source = content(trials=20, seed=seed)
        table = tune(source, workers=2)
        found.append(kept(source))
    assert found[0] == found[1] != found[2]
    assert found[0][0]["settings"] == {"sparse.alpha": 0.3, "sparse.interval": 2, "optim.lr": 0.1}
    late = [t["validation"] for t in found[0][10:]]
    early = [t["validation"] for t in found[0][:10]]
    assert sum(late) > sum(early), "it looks where earlier trials did well"
    assert table["validation"].iloc[0] == table["validation"].max()
    for t in found[0]:
        assert 0.1 <= t["settings"]["sparse.alpha"] <= 0.6
        assert t["settings"]["sparse.interval"] in (2, 4, 6, 8, 10)
        assert t["settings"]["optim.lr"] in (0.1, 0.05)


@pytest.mark.parametrize("how", ["killed", "time is up"])
@pytest.mark.parametrize(
    ("sampler", "after"), [("grid", 1), ("grid", 4), ("grid", 9), ("tpe", 1), ("tpe", 4), ("tpe", 21)]
)
def test_a_stopped_search_goes_on_as_if_it_had_not_been(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sampler: str, how: str, after: int
) -> None:
    """Two trials of two runs a batch, so that stops fall between batches and within; the last when TPE has begun to model."""
    source = content(GRID if sampler == "grid" else SPACE, sampler=sampler, trials=12, batch=2)
    tune(source)
    whole, runs = kept(source), set(trainer.trained)
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "again"))
    trainer.made.clear()
    trainer.trained.clear()
    trainer.stop = after, how
    if how == "killed":
        with pytest.raises(KeyboardInterrupt):
            tune(source)
    else:
        tune(source)
    assert kept(source) == whole[: after // 4 * 2], "a batch counts when all of it is done"
    trainer.stop = None
    tune(source)
    assert kept(source) == whole
    assert len(trainer.trained) == len(set(trainer.trained))
    assert set(trainer.trained) == runs


def test_trials_can_be_added(trainer: Trainer) -> None:
    source = content(trials=4, batch=2)
    tune(source)
    tune(source, trials=8)
    longer = kept(source)
    Study.read(source).file(".journal").unlink()
    tune(source, trials=8)
    assert kept(source) == longer
    assert len(trainer.trained) == len(set(trainer.trained))


def test_a_batch_fills_the_runs_in_flight(trainer: Trainer) -> None:
    tune(content(trials=7), workers=5)
    assert trainer.calls == [6, 6, 2], "three trials of two seeds at once; the last is alone"


def test_validation_chooses_and_not_the_test_images(trainer: Trainer) -> None:
    trainer.outcome = lambda s: {"validation": 10.0 * s.sparse.interval, "accuracy": 99.0 - s.sparse.interval}  # type: ignore[attr-defined]
    source = content(GRID, sampler="grid")
    table = tune(source, workers=2)
    assert table["sparse.interval"].iloc[0] == 8
    assert table["test"].iloc[0] == 91 == table["test"].min()
    assert {t["validation"] for t in kept(source)} == {20, 40, 80}


def test_the_best_is_compared_with_the_reference_within_seeds(trainer: Trainer) -> None:
    """Gains of 1, 2 and 3 points: mean 2, half width 4.303 / sqrt(3)."""
    trainer.outcome = lambda s: {
        "validation": 80.0 + 5 * s.seed + (1 + s.seed if s.optim.lr == 0.05 else 0),
        "accuracy": 70.0,
    }
    source = content({"optim.lr": [0.1, 0.05]}, seeds=3, sampler="grid")
    table = tune(source, workers=2)
    assert list(table["trial"]) == [1, 0]
    assert list(table["reference"]) == [False, True]
    assert list(table["validation"]) == [87, 85]
    assert table["half"].iloc[1] == pytest.approx(4.3027 * 5 / 3**0.5, rel=1e-4)
    rows, lines = told(source)
    assert rows[1][""] == "reference"
    assert "+2.00 ±2.48 in validation" in lines[1]
    assert "+0.00 ±0.00 in test" in lines[1]
    assert "trial 1: optim.lr=0.05" in lines[0]


def test_a_reference_outside_the_space_is_trained_and_is_no_trial(trainer: Trainer) -> None:
    source = content({"sparse.interval": [4, 8]}, sampler="grid")
    table = tune(source, workers=2)
    outside = table[table["reference"]].iloc[0]
    assert (outside["trial"], outside["sparse.interval"], outside["n"]) == (-1, 2, 2)
    assert pd.isna(outside["rank"])
    assert len(table) == 3
    assert len(kept(source)) == 2
    assert list(studies(source)["trial"]) == [-1, -1, 0, 0, 1, 1]


def test_a_diverged_run_prunes_its_trial_and_the_search_goes_on(trainer: Trainer) -> None:
    def outcome(s: Settings) -> dict[str, Any]:
        gone = s.optim.lr == 0.1 and s.seed == 1
        return {"status": "diverged", "reason": "loss is NaN"} if gone else bowl(s)

    trainer.outcome = outcome
    source, lines = content(GRID, sampler="grid"), list[str]()
    table = tune(source, workers=2, tell=lines.append)
    states = {t["settings"]["optim.lr"]: t["state"] for t in kept(source)}
    assert states == {0.1: "pruned", 0.05: "complete"}
    assert lines[0] == "trial 0 (1 of 6): sparse.interval=2 optim.lr=0.1: seed 1 diverged: loss is NaN"
    assert table["rank"].isna().sum() == 3
    assert table["reason"].iloc[-1] == "seed 1 diverged: loss is NaN"
    assert "reference was not completed" in told(source)[1][1]
    before = list(trainer.trained)
    tune(source, workers=2)
    assert trainer.trained == before, "a diverged run has its record"


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_failed_trial_is_told_and_made_by_the_next_call(trainer: Trainer, sampler: str) -> None:
    trainer.outcome = lambda s: (
        {"status": "failed", "reason": "disk full"} if s.sparse.interval in (2, 6) else bowl(s)  # type: ignore[attr-defined]
    )
    source = content(GRID if sampler == "grid" else SPACE, sampler=sampler, trials=6, seed=2)
    tune(source, workers=2)
    states = [t["state"] for t in kept(source)]
    assert len(states) == 6 and {"failed", "complete"} == set(states)
    trainer.outcome = bowl
    tune(source, workers=2)
    assert [t["state"] for t in kept(source)] == ["complete"] * 6


def test_a_search_without_one_completed_trial_is_an_error(trainer: Trainer) -> None:
    trainer.outcome = lambda s: {"status": "diverged", "reason": "loss is NaN"}
    source = content(trials=3)
    tune(source, workers=2)
    with pytest.raises(ReproError, match="no trial was completed; the first: seed 0 diverged: loss is NaN"):
        told(source)


def test_another_space_is_another_study_and_finds_the_runs(trainer: Trainer) -> None:
    first = content(GRID, sampler="grid")
    tune(first, workers=2)
    more = content(GRID | {"sparse.interval": [2, 4]}, sampler="grid")
    assert Study.read(first).digest != Study.read(more).digest
    assert Study.read(first).digest != Study.read(content(GRID, sampler="grid", seed=1)).digest
    assert Study.read(first).digest == Study.read(first, trials=3).digest
    with pytest.raises(ReproError, match="no trial of this study is here yet; `repro tune`"):
        studies(more)
    tune(more, workers=2)
    assert len(trainer.trained) == 12
    assert len(kept(more)) == 4
    assert len(kept(first)) == 6


def test_a_file_and_its_content_are_one_study(trainer: Trainer, tmp_path: Path) -> None:
    source = content(GRID, sampler="grid")
    file = written(tmp_path, **source)
    tune(file, workers=2)
    assert Study.read(file).file(".json").name.startswith("search-")
    pd.testing.assert_frame_equal(ranking(source), ranking(file))


def test_a_torn_line_and_a_left_lock_do_no_harm(trainer: Trainer) -> None:
    source = content(trials=6, batch=2)
    tune(source)
    whole = kept(source)
    journal = Study.read(source).file(".journal")
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[: len(lines) // 2]) + lines[-1][:20])
    Path(f"{journal}.lock").symlink_to(journal)
    tune(source)
    assert kept(source) == whole
    assert Path(f"{journal}.lock").is_symlink(), "it was not waited for"
    journal.write_text("no journal\n" * 3)
    with pytest.raises(ReproError, match=r"journal: damaged .* remove it"):
        tune(source)


def test_a_study_is_of_one_process_at_a_time(trainer: Trainer) -> None:
    source = content(trials=2)
    with (
        files.lock(Study.read(source).file(".lock")),
        pytest.raises(files.BusyError, match="another process"),
    ):
        tune(source)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"tune": None}, "no key `tune`"),
        ({"space": {}}, "tune.space: name the settings to search"),
        ({"smapler": "tpe"}, "tune.smapler: unknown key: did you mean 'sampler'"),
        ({"sampler": "random"}, "tune.sampler"),
        ({"trials": 0}, "tune.trials"),
        ({"space": {"ticket.desnity": [0.1]}}, "did you mean 'density'"),
        ({"space": {"sparse.power": [1.0, 2.0]}}, "sparse.power: not used by decay"),
        ({"space": {"sparse.alpha": 0.1}}, "sparse.alpha: give a list of choices, or low and high"),
        ({"space": {"sparse.alpha": []}}, "give a list of choices"),
        ({"space": {"sparse.alpha": [0.1, 0.1]}}, "given twice"),
        ({"space": {"sparse.alpha": {"low": 0.1}}}, "a range needs low and high"),
        ({"space": {"sparse.alpha": {"low": 0.6, "high": 0.1}}}, "not below high"),
        ({"space": {"sparse.alpha": {"low": "a", "high": 0.1}}}, "low: give a number"),
        ({"space": {"sparse.alpha": {"low": 0.1, "hihg": 0.2}}}, "did you mean 'high'"),
        ({"space": {"sparse.alpha": {"low": 0.1, "high": 0.6, "step": 0.2}}}, "step 0.2"),
        ({"space": {"optim.lr": {"low": 0, "high": 1, "log": True}}}, "log"),
        ({"space": {"sparse.alpha": {"low": 0.1, "high": 1.5}}}, "sparse.alpha=1.5: sparse.alpha: input should"),
        ({"space": {"sparse.interval": [2, 0]}}, "sparse.interval=0"),
        ({"space": {"sparse.interval": {"low": 0.5, "high": 9.5}}}, "sparse.interval"),
        ({"space": {"seed": [0, 1]}}, "seed stays as it is"),
        ({"space": {"recipe": ["digits"]}}, "recipe stays"),
        ({"space": {"data.validation": [0.1]}}, "data.validation stays"),
        ({"sampler": "grid"}, "sparse.alpha: sampler grid needs a list of choices, or a step"),
        ({"space": {"optim.lr": [[0.1, 0.2], 0.1]}}, "differ in the seed only, these in optim.lr"),
    ],
)  # fmt: skip
def test_a_bad_search_is_one_line_and_exit_code_2(capsys, tmp_path: Path, change, hint: str) -> None:
    made = content()
    made = {"runs": made["runs"]} if "tune" in change else made | {"tune": made["tune"] | change}
    code, _, err = call(capsys, "tune", written(tmp_path, **made))
    assert (code, err.count("\n")) == (2, 1), err
    assert hint in err
    assert "search.yaml" in err
    assert not list(paths.build().rglob("*"))


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["data.validation=0"], "data.validation is 0, and validation accuracy chooses; set it"),
        (
            ["optim.epochs=[1,2]", "optim.lr=[0.1,0.05]"],
            "these in optim.epochs, optim.lr; give each one value",
        ),
        (["optim.epohcs=1"], "did you mean 'epochs'"),
        (["--sampler", "random"], "grid"),
        (["--trials", "0"], "give 1 or more"),
        (["nowhere.yaml"], "not a setting"),
    ],
)
def test_a_bad_command_is_one_line_and_exit_code_2(capsys, tmp_path: Path, words, hint: str) -> None:
    code, _, err = call(capsys, "tune", written(tmp_path), *words)
    assert (code, err.count("\n")) == (2, 1), err
    assert hint in err
    assert not list(paths.build().rglob("*"))


def test_a_drawn_combination_that_is_invalid_is_one_line(trainer: Trainer) -> None:
    """Each end is valid beside the first of the others; high floors above low fractions are not."""
    space = {"sparse.alpha": [0.5, 0.2], "sparse.floor": [0.1, 0.3]}
    with pytest.raises(ReproError, match=r"^tune: tune.space: sparse.alpha=0.2 sparse.floor=0.3: .* fall$"):
        tune(content(space, trials=30), workers=2)


def test_without_optuna_one_line_says_how_to_get_it(
    capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trainer: Trainer
) -> None:
    source = content(GRID, sampler="grid")
    tune(source, workers=2)
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = call(capsys, "tune", written(tmp_path, **source))
    assert (code, err.count("\n")) == (2, 1)
    assert "pip install 'repro-jackpot[tune]'" in err
    assert len(studies(source)) == 12, "results need none of it"
    assert len(ranking(source)) == 6
    assert call(capsys, "tune", written(tmp_path, **source), "--dry-run")[0] == 0


@given(
    low=st.integers(-20, 20),
    count=st.integers(1, 30),
    step=st.sampled_from([1, 5, 0.1, 0.05, 0.25, 1e-3]),
)
def test_steps_are_numbers_as_they_are_written(low: int, count: int, step: float) -> None:
    high = round(low + count * step, 6)
    ends = {"low": low, "high": int(high) if high == int(high) else high, "step": step}
    entry = read_space({"x.y": ends})["x.y"]
    assert isinstance(entry, Range)
    values = entry.grid()
    assert values is not None and len(values) == count + 1
    assert (values[0], values[-1]) == (low, high)
    assert all(len(str(v)) <= 8 and entry.holds(v) and entry.value(v + step * 1e-7) == v for v in values)
    assert not entry.holds(low + step / 2)
    assert {type(v) for v in values} == {int if isinstance(step, int) else float}


def test_lists_and_nothing_can_be_choices(trainer: Trainer) -> None:
    trainer.outcome = lambda s: {"validation": float(len(s.ticket.keep_dense)), "accuracy": 0.0}
    space = {"ticket.keep_dense": [["first"], ["first", "last"], []]}
    for sampler in ("grid", "tpe"):
        table = tune(content(space, sampler=sampler, trials=12), workers=2)
        assert table["ticket.keep_dense"].iloc[0] == ["first", "last"]
        assert len(table) == 3, "trials of the same settings make one row"
        assert list(table["reference"]) == [False, False, True]


def test_a_real_search_on_digits(capsys, tmp_path: Path, trainings: list[Settings]) -> None:  # noqa: F811
    file = written(tmp_path, **content({"sparse.alpha": {"low": 0.1, "high": 0.6, "step": 0.1}}, trials=3))
    code, out, _ = call(capsys, "tune", file, "--workers", "1", "--dry-run")
    assert code == 0
    assert "3 trials by sampler tpe, 2 runs each; 0 trials done; nothing was started" in out
    code, out, _ = call(capsys, "tune", file, "--workers", "1")
    assert code == 0
    assert out.count("(1 of 3)") == out.count("(3 of 3)") == 1
    assert "reference" in out
    assert "test (chooses nothing)" in out
    code, again, _ = call(capsys, "tune", file, "--workers", "1")
    assert again.splitlines() == out.splitlines()[3:]
    runs = tuning.studies(file)
    assert list(runs.columns) == ["trial", "reference", *record.COLUMNS]
    assert runs["status"].eq("done").all() and runs["validation"].notna().all()
    assert len(runs) == 6
    made = {t["number"]: t for t in kept(file)}
    for number, mine in runs.groupby("trial"):
        assert made[number]["validation"] == pytest.approx(mine["validation"].mean())
        assert made[number]["keys"] == list(mine["key"])
    assert preview(file)[1] == ["3 trials by sampler tpe, 2 runs each; 3 trials done; nothing was started"]


def test_a_budget_stops_a_real_search_with_what_is_under_way_saved(capsys, tmp_path: Path) -> None:
    file = written(tmp_path, **content({"optim.lr": [0.1, 0.05]}, seeds=1, sampler="grid"))
    code, out, _ = call(capsys, "tune", file, "optim.epochs=500", "--workers", "1", "--budget", "2s")
    assert code == 0
    assert "the time is up: 0 of 2 trials done; the same command goes on" in out
    assert len(list(paths.build().glob("runs/*/checkpoint.safetensors"))) == 1
