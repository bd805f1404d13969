"""Tickets that start from a trained network: whose weights, which schedule, which data, and kept how often."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_experiment import lt, one, trainings  # noqa: F401 (a fixture)

from repro import experiment, facts, keeping, optim, pool, record
from repro.checkpoint import load_tensors
from repro.errors import ReproError
from repro.experiment import kept, make_ticket, run, weights_file
from repro.grids import expand
from repro.lineage import needs, pretraining, unchecked
from repro.masks import Masks, texts
from repro.pool import plan
from repro.settings import Settings, parse
from repro.tickets import ticket_key
from repro.train import Stopped


def rewound(weights: str = "trained", rewind: int = 1, **over: object) -> Settings:
    ticket = {"score": "magnitude", "density": 0.3, "weights": weights, "rewind": rewind}
    return one(ticket=ticket, optim__epochs=3, **over)


def dense_weights(s: Settings, epochs: int | None = None) -> dict[str, torch.Tensor]:
    before = pretraining(s)
    assert before is not None
    return load_tensors(weights_file(record.folder(before.key()), epochs))[0]


def equal(a, b) -> bool:
    return all(torch.equal(value, b[name]) for name, value in a.items())


# Which weights


def test_each_kind_starts_from_its_weights_with_one_mask() -> None:
    first, second, third = (
        make_ticket(rewound(w, r)) for w, r in (("init", 0), ("rewound", 2), ("trained", 2))
    )
    s = rewound("rewound", 2)
    assert equal(second.weights, dense_weights(s, 2)), "buffers of batch norm included"
    assert equal(third.weights, dense_weights(s))
    assert not equal(dense_weights(s), dense_weights(s, 2))
    assert not equal(first.weights, dense_weights(s, 2))
    assert first.masks == second.masks == third.masks
    assert len({ticket_key(rewound(w, r)) for w, r in (("init", 0), ("rewound", 2), ("trained", 2))}) == 1


def test_the_snapshot_is_the_network_after_exactly_so_many_epochs() -> None:
    s = rewound("rewound", 2)
    make_ticket(s)
    curve = record.read(record.folder(one(optim__epochs=3).key()) / "record.json")["curve"]
    model = experiment.network(s, experiment.data_of(s))
    model.load_state_dict(dense_weights(s, 2))
    data = experiment.training_data(s, torch.device("cpu"))
    found = experiment_evaluate(model, data, s)
    assert found == pytest.approx(curve["test_accuracy"][1]), (
        "two epochs, where answer42 keeps those after 41 of 40"
    )


def experiment_evaluate(model, data, s: Settings) -> float:
    from repro.train import evaluate

    return evaluate(model, data.test, data, s)["accuracy"]


def test_training_begins_at_those_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str | None, dict[str, torch.Tensor]] = {}
    real = experiment.train

    def spy(model, data, s, **more):
        seen[s.ticket.score] = {k: v.clone() for k, v in model.state_dict().items()}
        return real(model, data, s, **more)

    monkeypatch.setattr(experiment, "train", spy)
    s = rewound()
    run(s)
    assert equal(seen["magnitude"], dense_weights(s))


def test_random_and_hybrid_tickets_go_with_trained_weights() -> None:
    dense = one(optim__epochs=3)
    hybrid = {"score": "magnitude", "allocation": "smart_ratio", "density": 0.3, "weights": "trained"}
    control = {"score": "random", "allocation": "smart_ratio", "density": 0.3, "weights": "trained"}
    a, b = (make_ticket(one(ticket=t, optim__epochs=3)) for t in (hybrid, control))
    assert a.masks.kept_per_layer() == b.masks.kept_per_layer(), "the same densities of layers"
    trained = load_tensors(weights_file(record.folder(dense.key())))[0]
    assert equal(a.weights, trained) and equal(b.weights, trained)
    for name, mask in a.masks.items():
        size = trained[name].abs()
        assert mask.all() or not mask.any() or size[mask].min() >= size[~mask].max()


# The dense run is made once, with every snapshot that is asked for


def test_one_dense_run_serves_all_and_keeps_what_is_asked_for(trainings: list[Settings]) -> None:  # noqa: F811
    runs = [rewound("rewound", 1), rewound("rewound", 2), rewound("trained", 2), lt(optim__epochs=3)]
    todo = plan(runs)
    first = next(iter(todo.values()))
    assert (first.settings, first.weights, first.snapshots) == (one(optim__epochs=3), True, (1, 2))
    assert len(todo) == 5
    pool.run_all(runs, workers=1)
    assert sum(s.ticket.score is None for s in trainings) == 1
    assert plan(runs) == {}
    assert kept(one(optim__epochs=3), (1, 2)) and not kept(one(optim__epochs=3), (1, 3))


def test_a_snapshot_asked_for_later_is_made_by_training_again(trainings: list[Settings]) -> None:  # noqa: F811
    dense = one(optim__epochs=3)
    run(dense, weights=True, snapshots=(1,))
    before = load_tensors(weights_file(record.folder(dense.key()), 1))[0]
    run(dense, weights=True, snapshots=(1,))
    assert len(trainings) == 1
    run(dense, weights=True, snapshots=(2,))
    assert len(trainings) == 2
    assert equal(before, load_tensors(weights_file(record.folder(dense.key()), 1))[0]), "of the same training"
    assert kept(dense, (1, 2))


def test_a_stopped_dense_run_goes_on_only_if_it_has_its_snapshots(trainings: list[Settings]) -> None:  # noqa: F811
    dense = one(optim__epochs=3)
    steps = iter(range(100))

    def stop_in_last_epoch() -> bool:
        return next(steps) == 10  # four steps an epoch

    with pytest.raises(Stopped):
        run(dense, weights=True, snapshots=(1,), stop=stop_in_last_epoch)
    resume = record.folder(dense.key()) / "checkpoint.safetensors"
    assert keeping.under_way(resume.parent, resume, (1,))["step"] == 10
    assert keeping.under_way(resume.parent, resume, (1, 3))["step"] == 10, "epoch 3 is yet to come"
    run(dense, weights=True, snapshots=(2,))
    assert kept(dense, (1, 2)), "started anew, for the second epoch had gone by"


def test_a_dense_run_that_diverged_is_told_in_one_line() -> None:
    s = rewound("rewound", 2, optim__lr=1e30)
    with pytest.raises(ReproError, match=r"run before, \w+, diverged, no ticket can be cut"):
        run(s)


def test_pretraining_may_be_of_another_length() -> None:
    ticket = {"score": "magnitude", "density": 0.3, "weights": "trained", "pretrain": 2}
    s = one(ticket=ticket)
    before = pretraining(s)
    assert before is not None and (before.optim.epochs, s.optim.epochs) == (2, 1)
    assert before == one(optim__epochs=2), "the key of the plain dense run, shared with others"
    assert len(run(s)["curve"]["epoch"]) == 1


# The schedule


@pytest.mark.parametrize(
    ("rewind", "epochs", "expected"),
    [
        (0, 160, {0: 1.0, 79: 1.0, 80: 0.1, 120: 0.01, 159: 0.01}),
        (40, 160, {0: 1.0, 39: 1.0, 40: 0.1, 79: 0.1, 80: 0.01, 159: 0.01}),  # answer42's fine-tuning
        (100, 60, {0: 0.1, 19: 0.1, 20: 0.01, 59: 0.01}),  # beyond a milestone: no return to the full rate
    ],
)
def test_a_rewound_ticket_goes_on_in_the_schedule_of_the_dense_run(
    rewind: int, epochs: int, expected: dict[int, float]
) -> None:
    ticket = {"score": "magnitude", "weights": "trained", "rewind": rewind, "density": 0.1, "pretrain": 160}
    s = parse({"ticket": ticket, "optim": {"epochs": epochs}})
    start, length = s.schedule
    options = s.optim.options("schedule")
    factor = optim.rate("step", options, epochs=length, steps=2, warmup=0, per_step=False, start=start)
    assert {e: pytest.approx(factor(2 * e)) for e in expected} == expected


def test_without_rewinding_the_schedule_is_the_tickets_own() -> None:
    ticket = {"score": "magnitude", "weights": "trained", "density": 0.1, "pretrain": 40}
    assert parse({"ticket": ticket}).schedule == (0, 160)
    assert parse({"ticket": ticket | {"rewind": 20}}).schedule == (20, 40)


@pytest.mark.parametrize("schedule", sorted(optim.SCHEDULES))
@pytest.mark.parametrize("per_step", [False, True])
def test_beyond_its_end_a_schedule_keeps_its_last_value(schedule: str, per_step: bool) -> None:
    whole = optim.rate(schedule, {}, epochs=8, steps=3, warmup=1, per_step=per_step)
    late = optim.rate(schedule, {}, epochs=8, steps=3, warmup=1, per_step=per_step, start=5)
    assert [late(i) for i in range(9)] == pytest.approx([whole(15 + i) for i in range(9)])
    assert [late(i) for i in range(9, 30)] == pytest.approx([late(8)] * 21)


def test_the_curve_has_the_rates() -> None:
    made = run(rewound("trained", 2))
    assert made["curve"]["lr"] == pytest.approx([0.01, 0.01, 0.01]), "epoch 2 of 3 and after"


# Checks


def test_half_the_data_are_for_the_dense_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[tuple[str | None, str], int] = {}
    real = experiment.train

    def spy(model, data, s, **more):
        sizes[s.ticket.score, s.check.name] = len(data.train.labels)
        return real(model, data, s, **more)

    monkeypatch.setattr(experiment, "train", spy)
    run(rewound(check__name="half_data"))
    assert sizes == {(None, "half_data"): 100, (None, "none"): 200, ("magnitude", "half_data"): 200}


def test_a_random_ticket_on_trained_weights_can_have_them_corrupted() -> None:
    ticket = {"score": "random", "allocation": "erk", "density": 0.3, "weights": "trained"}
    plain, half = one(ticket=ticket), one(ticket=ticket, check__name="half_data")
    assert ticket_key(plain) == ticket_key(half), "the mask sees no data"
    assert pretraining(plain) != pretraining(half)
    assert not equal(make_ticket(plain).weights, make_ticket(half).weights)


def test_shuffling_shuffles_the_weights_that_the_ticket_starts_from() -> None:
    plain, shuffled = make_ticket(rewound()), make_ticket(rewound(check__name="shuffle_all"))
    assert plain.masks == shuffled.masks
    for name in plain.masks:
        assert torch.equal(
            plain.weights[name].flatten().sort()[0], shuffled.weights[name].flatten().sort()[0]
        )
    assert not equal(plain.weights, shuffled.weights)


# How far masks agree with those of the unchecked ticket


@pytest.mark.parametrize("check", ["random_labels", "half_data", "invert", "rearrange", "permute_globally"])
def test_a_record_holds_the_overlap_with_the_unchecked_ticket(check: str) -> None:
    s = one(ticket={"score": "snip", "density": 0.3}, check__name=check)
    plain = one(ticket={"score": "snip", "density": 0.3})
    assert unchecked(s) == plain
    a, b = make_ticket(s).masks, make_ticket(plain).masks
    assert run(s)["overlap"] == {"value": a.overlap(b), "expected": a.expected_overlap(b)}
    assert run(plain)["overlap"] is None
    if check == "invert":
        assert a.overlap(b) == 0
    row = record.load().set_index("key").to_dict("index")[s.key()]
    assert (row["overlap"], row["overlap_expected"]) == (a.overlap(b), a.expected_overlap(b))


def test_where_masks_stay_there_is_no_overlap_to_tell() -> None:
    for check in ("shuffle_kept", "shuffle_all", "reinitialise", "none"):
        assert unchecked(one(ticket={"score": "snip", "density": 0.3}, check__name=check)) is None
    assert unchecked(one(check__name="random_labels")) is None, "a dense run has no masks"


def test_a_lottery_ticket_of_corrupted_data_needs_the_clean_dense_run_too() -> None:
    s = lt(check__name="random_labels")
    assert [n.settings for n in needs(s)] == [one(check__name="random_labels"), one()]
    assert [job.settings for job in plan([s]).values()] == [*(n.settings for n in needs(s)), s]
    assert [n.settings for n in needs(rewound("rewound", 1, check__name="half_data"))] == [
        one(check__name="half_data", optim__epochs=3),
        one(optim__epochs=3),
    ]


def test_the_overlap_survives_a_stop(tmp_path: Path) -> None:
    s = one(ticket={"score": "snip", "density": 0.3}, check__name="random_labels")
    steps = iter(range(100))
    with pytest.raises(Stopped):
        run(s, stop=lambda: next(steps) == 4)
    folder = record.folder(s.key())
    stored = json.loads(texts(folder / "masks.safetensors")["overlap"])
    assert isinstance(Masks.load(folder / "masks.safetensors"), Masks)
    made = run(s)
    assert made["overlap"] == stored
    assert 0 < stored["value"] <= 1 and 0 < stored["expected"] < 1


# Names


@pytest.mark.parametrize(
    ("ticket", "name"),
    [
        ({"score": "magnitude"}, "magnitude"),
        ({"score": "magnitude", "of": "init"}, "magnitude:init"),
        ({"score": "magnitude", "weights": "trained"}, "magnitude@trained"),
        ({"score": "magnitude", "weights": "rewound", "rewind": 1}, "magnitude@rewound"),
        ({"score": "random", "allocation": "smart_ratio"}, "smart_ratio"),
        ({"score": "random", "allocation": "smart_ratio", "family": "cubic"}, "smart_ratio:cubic"),
        (
            {"score": "magnitude", "allocation": "smart_ratio", "weights": "trained"},
            "magnitude+smart_ratio@trained",
        ),
        ({"score": "random", "weights": "trained"}, "random@trained"),
    ],
)
def test_methods_have_names_of_their_own(ticket: dict, name: str) -> None:
    s = parse({"ticket": {"density": 0.1, **ticket}})
    assert record.method(facts.head(s)["settings"]) == name


def test_a_record_counts_effective_weights_and_dead_units() -> None:
    s = one(ticket={"score": "snip", "density": 0.3})
    made = run(s)
    row = record.load().set_index("key").to_dict("index")[s.key()]
    assert row["units"] == sum(layer["shape"][0] for layer in made["layers"])
    assert 0 < row["effective"] <= made["density"]
    assert row["dead"] == sum(layer["dead"] for layer in made["layers"]) >= 0
    dense = run(one())
    assert sum(layer["dead"] for layer in dense["layers"]) == 0
    old = dense | {"layers": [{k: v for k, v in x.items() if k != "dead"} for x in dense["layers"]]}
    assert record.row(dict(old["settings"]), old)["dead"] is None, "a record older than the count"


def test_grids_of_rewinding_expand() -> None:
    grid = {
        "recipe": "digits",
        "ticket": {"score": "magnitude", "density": 0.1, "weights": "trained", "rewind": [0, 2]},
    }
    assert [s.schedule for s in expand([grid])] == [(0, 7), (2, 7)]
