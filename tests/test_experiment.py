"""Stages: each made once, kept by its key, and the right data corrupted for the right purpose."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest
import torch

from repro import experiment, paths, pool, record, scoring
from repro.checkpoint import load_tensors, save_tensors
from repro.errors import ReproError
from repro.experiment import make_ticket, run
from repro.grids import expand
from repro.lineage import pretraining
from repro.materials import corrupted, dataset
from repro.pool import plan, run_all, table
from repro.pruners import SCORES, Context, Scores
from repro.settings import Settings
from repro.text import value
from repro.tickets import ticket_key
from repro.train import Stopped

BASE = {
    "recipe": "digits",
    "model": {"name": "resnet8", "width": 0.25},
    "optim.epochs": 1,
    "data.subset": 200,
}


def one(**over: object) -> Settings:
    return expand([{**BASE, **{k.replace("__", "."): v for k, v in over.items()}}])[0]


def snip(**over: object) -> Settings:
    return one(ticket={"score": "snip", "density": 0.3}, **over)


def lt(**over: object) -> Settings:
    return one(ticket={"score": "magnitude", "density": 0.3}, **over)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Count what is really trained."""
    seen: list[Settings] = []
    real = experiment.train

    def spy(model, data, s, **more):
        seen.append(s)
        return real(model, data, s, **more)

    monkeypatch.setattr(experiment, "train", spy)
    return seen


def test_a_run_is_trained_once_and_its_record_holds_all(trainings: list[Settings]) -> None:
    s = snip()
    first, second = run(s), run(s)
    assert first == second
    assert len(trainings) == 1
    assert first["key"] == s.key()
    assert first["status"] == "done"
    assert first["density"] == pytest.approx(0.3, abs=1e-4)
    assert sum(x["kept"] for x in first["layers"]) == round(0.3 * sum(x["total"] for x in first["layers"]))
    assert 0 < first["flops"]["ratio"] < 1
    assert set(first["curve"]) >= {"epoch", "lr", "train_loss", "test_accuracy"}
    assert first["environment"]["versions"]["torch"]
    folder = record.folder(s.key())
    assert {p.name for p in folder.iterdir()} >= {"DONE", "record.json", "settings.yaml"}
    assert not (folder / "checkpoint.safetensors").exists()


def test_the_command_in_the_record_is_the_run() -> None:
    s = snip(seed=3)
    words = run(s)["command"].removeprefix("repro run ").split()
    assert expand([{}], {k: value(v) for k, v in (w.split("=", 1) for w in words)}) == [s]
    from repro.grids import plan as read_plan

    assert read_plan(record.folder(s.key()) / "settings.yaml") == [s]


def test_a_lottery_ticket_is_cut_from_the_dense_run_of_its_seed(trainings: list[Settings]) -> None:
    run(lt())
    run(one(ticket={"score": "magnitude", "density": 0.2}))
    assert [s.ticket.score for s in trainings] == [None, "magnitude", "magnitude"]
    before = pretraining(lt())
    assert before == one()
    trained, _ = load_tensors(record.folder(one().key()) / "weights.safetensors")
    ticket = make_ticket(lt())
    kept = torch.cat([trained[n][m].abs() for n, m in ticket.masks.items()])
    cut = torch.cat([trained[n][~m].abs() for n, m in ticket.masks.items()])
    assert kept.min() >= cut.max()
    for name in ticket.masks:
        assert not torch.equal(ticket.weights[name], trained[name]), (
            "training starts from the initial weights"
        )


def test_corrupting_data_corrupts_the_pretraining_and_not_the_ticket_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s = lt(check__name="random_labels")
    before = pretraining(s)
    assert before == one(check__name="random_labels")
    labels: dict[tuple[bool, str], torch.Tensor] = {}
    real = experiment.train

    def spy(model, data, settings, **more):
        labels[settings.ticket.score is None, settings.check.name] = data.train.labels.clone()
        return real(model, data, settings, **more)

    monkeypatch.setattr(experiment, "train", spy)
    run(s)
    clean = dataset("digits", None, None, 200, 0.0).train.labels
    assert torch.equal(labels[False, "random_labels"], clean)
    assert not torch.equal(labels[True, "random_labels"], clean)
    assert torch.equal(labels[True, "none"], clean), "for the ticket that the masks are compared with"


def test_a_score_sees_corrupted_data_only_under_a_data_check(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, torch.Tensor] = {}
    real = scoring.samplers

    def spy(split, data, s, where):
        seen[s.check.name] = split.labels
        return real(split, data, s, where)

    monkeypatch.setattr(scoring, "samplers", spy)
    clean = dataset("digits", None, None, 200, 0.0).train
    for s in (snip(), snip(check__name="rearrange"), snip(check__name="random_labels")):
        make_ticket(s)
    assert torch.equal(seen["none"], clean.labels)
    assert "rearrange" not in seen, "one ticket serves every check of masks"
    assert torch.equal(seen["random_labels"], corrupted(clean, snip(check__name="random_labels"), 10).labels)
    assert not torch.equal(seen["random_labels"], clean.labels)


def test_checks_share_the_ticket_and_change_it() -> None:
    plain, moved, fresh = (make_ticket(snip(check__name=n)) for n in ("none", "rearrange", "reinitialise"))
    assert plain.masks.kept_per_layer() == moved.masks.kept_per_layer()
    assert plain.masks != moved.masks
    assert plain.masks == fresh.masks
    assert ticket_key(snip()) == ticket_key(snip(check__name="rearrange")) == ticket_key(snip(optim__lr=0.3))
    assert ticket_key(snip()) != ticket_key(snip(check__name="random_labels"))
    assert ticket_key(lt()) != ticket_key(lt(optim__lr=0.3)), (
        "a trained network's ticket depends on its training"
    )
    assert len(list((paths.build() / "tickets").glob("*.safetensors"))) == 1


def test_runs_of_one_seed_start_from_the_same_weights() -> None:
    a, b = make_ticket(snip()), make_ticket(one(ticket={"score": "random", "density": 0.1}))
    assert all(torch.equal(a.weights[n], b.weights[n]) for n in a.weights)
    c = make_ticket(snip(seed=1))
    assert not torch.equal(a.weights["conv.weight"], c.weights["conv.weight"])


def test_a_stopped_run_leaves_no_record_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = snip()
    calls = iter(range(100))
    with pytest.raises(Stopped):
        run(s, stop=lambda: next(calls) >= 3)  # asked once by the score, then before each step
    folder = record.folder(s.key())
    assert not (folder / "DONE").exists()
    assert record.find(s.key()) is None
    assert load_tensors(folder / "checkpoint.safetensors")[1]["step"] == 2
    resumed = run(s)
    assert not (folder / "checkpoint.safetensors").exists()
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "undisturbed"))
    straight = run(s)
    assert (resumed["curve"], resumed["accuracy"]) == (straight["curve"], straight["accuracy"])


def test_two_at_once_never_do_the_same_run(trainings: list[Settings]) -> None:
    s = snip()
    both = [threading.Thread(target=run, args=(s,)) for _ in range(2)]
    for t in both:
        t.start()
    for t in both:
        t.join()
    assert len(trainings) == 1


def test_a_diverged_run_is_a_record(tmp_path: Path) -> None:
    s = snip(optim__lr=1e12, optim__epochs=3)
    got = run(s)
    assert got["status"] == "diverged"
    assert "epoch 1" in got["reason"]
    json.loads(record.find(s.key()).read_text(), parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    assert list(table([s])["status"]) == ["diverged"]


def test_a_damaged_record_or_weight_file_is_one_line_and_made_again(capsys) -> None:
    s = one()
    run(s)
    ticket = make_ticket(lt())
    shutil.rmtree(paths.build() / "tickets")
    path = record.find(s.key())
    path.write_text("{")
    assert list(table([s])["status"]) == ["missing"]
    (record.folder(s.key()) / "weights.safetensors").write_bytes(b"nonsense")
    assert make_ticket(lt()).masks == ticket.masks
    assert list(table([s])["status"]) == ["done"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3, "the record, the record set aside, the weights set aside"
    assert all("damaged" in line for line in lines)


def test_the_plan_names_prerequisites_first_and_only_what_is_missing() -> None:
    runs = [lt(), lt(check__name="rearrange"), one(), snip()]
    todo = plan(runs)
    assert next(iter(todo)) == one().key()
    assert todo[one().key()][1], "weights are needed"
    assert len(todo) == 4
    run(one())
    assert one().key() not in plan(runs)


def test_the_plan_keeps_the_order_asked_for() -> None:
    """So that a short budget goes to what decides most, and not to the dense networks of all that follows."""
    runs = [snip(), lt(), snip(seed=1), lt(seed=1)]
    asked = [snip(), one(), lt(), snip(seed=1), one(seed=1), lt(seed=1)]
    assert [job.settings for job in plan(runs).values()] == asked
    first = next(iter(plan([one(), snip(), lt()]).values()))
    assert first.settings == one() and first.weights, "needed later, so its weights are kept"


def test_run_all_reads_only_when_told_to(trainings: list[Settings]) -> None:
    frame = run_all([snip(), one()], train=False)
    assert list(frame["status"]) == ["missing", "missing"]
    assert frame["accuracy"].isna().all()
    assert list(frame["method"]) == ["snip", "dense"]
    assert trainings == []


def test_run_all_in_worker_processes_equals_one_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = [lt(), one(), snip()]
    alone = run_all(runs, workers=1)
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "other"))
    together = run_all(runs, workers=2)
    assert list(together["status"]) == ["done"] * 3
    assert list(alone["accuracy"]) == list(together["accuracy"])
    assert [c["train_loss"] for c in alone["curve"]] == [c["train_loss"] for c in together["curve"]]


def test_a_failed_run_is_named_and_the_others_are_kept() -> None:
    bad = one(ticket={"score": "random", "allocation": "smart_ratio", "density": 0.001})
    frame = run_all([bad, one()], workers=1)
    assert list(frame["status"]) == ["failed", "done"]
    assert "smart" in frame["reason"][0]
    assert record.find(bad.key()) is None, "it may be tried again"


def test_a_read_only_build_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "file" / "below"))
    with pytest.raises(ReproError, match="REPRO_BUILD"):
        run(one())


def test_missing_data_name_the_command() -> None:
    with pytest.raises(ReproError, match="repro data fetch svhn"):
        run(one(data__name="svhn", data__augment="crop_flip", data__subset=100))


def test_a_missing_data_set_fails_its_runs_and_no_others(trainings: list[Settings]) -> None:
    absent = one(data__name="svhn", data__augment="crop_flip", data__subset=100)
    frame = run_all([absent, snip()], workers=1).set_index("key")
    assert frame.loc[snip().key(), "status"] == "done"
    assert frame.loc[absent.key(), "status"] == "failed"
    assert "repro data fetch svhn" in str(frame.loc[absent.key(), "reason"])
    assert [s.data.name for s in trainings] == ["digits"]
    with pytest.raises(ReproError, match="repro data fetch svhn"):
        run_all([absent], workers=1)


def test_published_records_count_as_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = snip()
    published = tmp_path / "published"
    published.mkdir()
    (published / f"{s.key()}.json").write_text(json.dumps(run(s)))
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "empty"))
    monkeypatch.setattr(paths, "records", lambda: published)
    assert list(run_all([s], train=False)["status"]) == ["done"]
    assert plan([s]) == {}
    assert len(record.load()) == 1


def test_tensors_survive_the_round_trip(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(2, 3).to(memory_format=torch.contiguous_format),
        "b": torch.tensor([True, False]),
    }
    save_tensors(tmp_path / "x.safetensors", tensors, {"step": 3})
    back, about = load_tensors(tmp_path / "x.safetensors")
    assert about == {"step": 3}
    assert all(torch.equal(back[k], tensors[k]) for k in tensors)
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_ctrl_c_saves_and_the_next_call_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    real = experiment.train

    def interrupted(model, data, s, **more):
        os.kill(os.getpid(), signal.SIGINT)
        return real(model, data, s, **more)

    monkeypatch.setattr(experiment, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_all([snip()], workers=1)
    assert record.find(snip().key()) is None
    assert (record.folder(snip().key()) / "checkpoint.safetensors").exists()
    monkeypatch.setattr(experiment, "train", real)
    assert list(pool.run_all([snip()], workers=1)["status"]) == ["done"]


def loud(ctx: Context, *, power: float = 1.0) -> Scores:
    """Score |w| ** power at initialisation: the example of the README."""
    state = ctx.model.state_dict()
    return {layer.name: state[layer.name].abs() ** power for layer in ctx.layers}


def test_a_new_pruner_costs_one_function_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        "def loud(ctx: Context, *, power: float = 1.0) -> Scores:" in (paths.root() / "README.md").read_text()
    )
    monkeypatch.setitem(SCORES, "loud", loud)
    runs = [
        one(ticket={"score": "loud", "power": 2, "density": 0.3, "allocation": a}, check__name=c)
        for a in ("global", "erk")
        for c in ("none", "rearrange", "reinitialise")
    ]
    assert len({s.key() for s in runs}) == 6
    assert [run(s)["status"] for s in runs] == ["done"] * 6
    with pytest.raises(ReproError, match=r"ticket\.power: input should be a valid number"):
        one(ticket={"score": "loud", "power": "much", "density": 0.3})
    with pytest.raises(ReproError, match="not used by score 'snip', only by loud"):
        one(ticket={"score": "snip", "power": 2, "density": 0.3})
