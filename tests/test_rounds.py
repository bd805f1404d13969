"""Iterative pruning, one run a round, and tickets that are taken from another run."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_experiment import one, trainings  # noqa: F401 (a fixture)

from repro import data, facts, materials, naming, parts, record
from repro.batches import steps_per_epoch
from repro.checkpoint import load_tensors
from repro.data import DATASETS, Split
from repro.errors import ReproError
from repro.experiment import make_ticket, masks_file, run, weights_file
from repro.keeping import moments
from repro.lineage import lineage, needs, origin, pretraining
from repro.masks import Masks
from repro.materials import data_of, network, training_data
from repro.optim import rate
from repro.pool import plan, run_all
from repro.rng import stream
from repro.scoring import prune_again
from repro.section import nothing
from repro.settings import Settings, parse
from repro.train import Stopped, train


def imp(rounds: int, **over: object) -> Settings:
    ticket = {"score": "imp", "rounds": rounds, "rate": 0.5, "weights": "rewound", "rewind": 1}
    return one(ticket=ticket | over.pop("ticket", {}), optim__epochs=2, **over)  # type: ignore[operator]


def ended(s: Settings) -> tuple[dict[str, torch.Tensor], Masks]:
    folder = record.folder(s.key())
    return load_tensors(weights_file(folder))[0], Masks.load(masks_file(folder))


def before(s: Settings) -> Settings:
    first = pretraining(s)
    assert first is not None
    return first


# Rounds


def test_a_round_is_cut_from_the_one_before_and_starts_from_the_dense_one() -> None:
    third = imp(3)
    second, first = before(third), before(before(third))
    assert [s.ticket.options("score")["rounds"] for s in (second, first)] == [2, 1]
    dense = before(first)
    assert dense.ticket.score is None and origin(third) == origin(first) == dense
    assert [n.settings for n in needs(third)] == [dense, second]
    assert needs(third)[0].snapshots == (1,), "late resetting needs the weights after that epoch"
    assert [n.settings for n in needs(first)] == [dense], "one dense run gives masks and weights"
    on = imp(2, ticket={"weights": "trained", "rewind": 0})
    assert origin(on) == pretraining(on)


def test_the_lineage_of_a_round_goes_back_to_the_dense_network() -> None:
    third = imp(3)
    assert {s.key() for s in lineage(third)} == {imp(2).key(), imp(1).key(), before(imp(1)).key()}
    assert list(lineage(before(imp(1)))) == []


def test_the_queue_holds_every_round_once_and_in_order() -> None:
    todo = plan([imp(3), imp(2)])
    rounds = [job.settings.ticket.options("score").get("rounds", 0) for job in todo.values()]
    assert rounds == [0, 1, 2, 3]
    assert [job.weights for job in todo.values()] == [True, True, True, False]
    assert next(iter(todo.values())).snapshots == (1,)


def test_masks_are_nested_exact_and_the_largest_of_what_was_left() -> None:
    tickets = {r: make_ticket(imp(r)) for r in (1, 2, 3)}
    total = tickets[1].masks.total
    for r, ticket in tickets.items():
        assert ticket.masks.kept == math.floor(total * 0.5**r + 0.5)
        assert imp(r).ticket.target == 0.5**r
    for r in (2, 3):
        weights, kept = ended(imp(r - 1))
        assert kept == tickets[r - 1].masks
        assert all((mask <= kept[name]).all() for name, mask in tickets[r].masks.items())
        stays = torch.cat([weights[n][m].abs() for n, m in tickets[r].masks.items()])
        goes = torch.cat([weights[n][kept[n] & ~m].abs() for n, m in tickets[r].masks.items()])
        assert stays.min() >= goes.max()


def test_every_round_starts_from_the_same_early_weights() -> None:
    tickets = [make_ticket(imp(r)) for r in (1, 2)]
    snapshot = load_tensors(weights_file(record.folder(before(imp(1)).key()), 1))[0]
    for ticket in tickets:
        assert all(torch.equal(value, snapshot[name]) for name, value in ticket.weights.items())
    on = make_ticket(imp(2, ticket={"weights": "trained", "rewind": 0}))
    last, _ = ended(before(imp(2, ticket={"weights": "trained", "rewind": 0})))
    assert all(torch.equal(value, last[name]) for name, value in on.weights.items())


def test_within_an_allocation_every_layer_loses_the_same_share() -> None:
    masks = make_ticket(imp(2, ticket={"allocation": "uniform"})).masks
    assert all(abs(d - 0.25) < 1 / masks[n].numel() for n, d in masks.layer_densities().items())


def test_by_sensitivity_masks_are_nested_and_others() -> None:
    small = {"by": "snip"}
    first, second = (make_ticket(imp(r, ticket=small)).masks for r in (1, 2))
    assert all((mask <= first[name]).all() for name, mask in second.items())
    assert first != make_ticket(imp(1)).masks and first.kept == make_ticket(imp(1)).masks.kept


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.sampled_from(["magnitude", "snip"]), st.floats(0.05, 0.9), st.booleans())
def test_whatever_was_trained_and_kept_rounds_are_nested_and_exact(seed, by, share, ties) -> None:
    """Even where weights are equal, or zero where they live."""
    s = imp(2, seed=seed, ticket={"by": by, "rate": share})
    own, generator = network(s, data_of(s)).state_dict(), stream(seed, "trained")
    trained = {n: torch.randn(v.shape, generator=generator) if v.ndim > 1 else v for n, v in own.items()}
    first = Masks(
        {n: torch.rand(v.shape, generator=generator) > share for n, v in trained.items() if v.ndim > 1}
    )
    if ties:
        trained = {n: v.sign() if v.ndim > 1 else v for n, v in trained.items()}
    found = prune_again(s, data_of(s), trained, first, lambda: None)
    wanted = math.floor(first.total * s.ticket.target + 0.5)
    assert found.kept == wanted
    if wanted <= first.kept:
        assert all((mask <= first[name]).all() for name, mask in found.items())


def test_on_request_every_round_ranks_all_weights_anew() -> None:
    both = [make_ticket(imp(r, ticket={"by": "snip", "nested": False})).masks for r in (1, 2)]
    assert both[1].kept == make_ticket(imp(2, ticket={"by": "snip"})).masks.kept
    assert any((mask & ~both[0][name]).any() for name, mask in both[1].items())


@pytest.mark.parametrize(
    ("words", "found"),
    [(["2"], (2,)), (["2ep", "4"], (2, 4)), (["every2"], (2, 4)), (["3it", "every3"], (3, "3it")), ([], ())],
)
def test_moments_are_epochs_steps_or_every_so_many(words: list[str], found: tuple) -> None:
    assert moments(words, 5) == found


@pytest.mark.parametrize("word", ["0", "x", "everyit", "every3it", "-1", "6", "1.5"])
def test_other_moments_are_one_line(word: str) -> None:
    with pytest.raises(ReproError, match=re.escape(f"--snapshots {word}: ")):
        moments([word], 5)


def test_snapshots_are_kept_on_request() -> None:
    s = one(ticket={"score": "snip", "density": 0.3}, optim__epochs=2)
    run_all([s], weights=True, snapshots=["1", "3it"])
    names = {path.name for path in record.folder(s.key()).glob("weights*")}
    assert names == {"weights.safetensors", "weights-1.safetensors", "weights-3it.safetensors"}


def test_a_killed_round_goes_on_and_the_rounds_before_it_are_not_made_again(trainings) -> None:  # noqa: F811
    s = imp(2)
    straight = run(s)
    made = len(trainings)
    again = imp(2, seed=1)
    run(before(again), weights=True)
    steps = iter(range(100))

    def stop() -> bool:
        held = (record.folder(again.key()) / "masks.safetensors").exists()
        return held and next(steps) >= 3

    with pytest.raises(Stopped):
        run(again, stop=stop)
    trained = len(trainings)
    found = run(again)
    assert len(trainings) == trained + 1, "only the round itself goes on"
    assert made == 3 and found["status"] == straight["status"] == "done"


def test_records_say_the_density_of_the_round_and_what_all_rounds_cost() -> None:
    s = imp(2)
    found = run(s)
    row = record.row(found["settings"], found)
    assert (row["method"], row["density"]) == ("imp@rewound", 0.25)
    assert row["realised"] == pytest.approx(0.25, abs=1e-3)
    one_round = record.read(record.folder(before(s).key()) / "record.json")
    own = found["flops"]["ratio"]
    assert found["flops"]["train_ratio"] == pytest.approx(own + one_round["flops"]["train_ratio"])
    assert one_round["flops"]["train_ratio"] > 1, "the dense network's training counts"
    snip = imp(1, ticket={"by": "snip"})
    assert naming.method(facts.head(snip)["settings"]) == "imp:snip@rewound"


@pytest.mark.parametrize(
    ("ticket", "words"),
    [
        ({"density": 0.1}, "ticket.density: not used by score 'imp'"),
        ({"rounds": 0}, "ticket.rounds"),
        ({"rate": 1.0}, "ticket.rate"),
        ({"weights": "start", "rewind": 0}, "'start' is that of the other run"),
        ({"unit": "kernel"}, "ticket.unit: not used by score 'imp'"),
        ({"sampler": "bernoulli"}, "sampler"),
    ],
)
def test_what_rounds_have_no_use_for_is_an_error(ticket: dict, words: str) -> None:
    with pytest.raises(ReproError, match=words) as error:
        imp(1, ticket=ticket)
    assert "\n" not in str(error.value)


# Late resetting to a step, and batch-norm scales


def test_weights_are_rewound_to_exactly_a_step(trainings) -> None:  # noqa: F811
    s = imp(1, ticket={"rewind": "2it"})
    ticket, steps = make_ticket(s), steps_per_epoch(200, s.optim.batch)
    assert steps > 2 and s.schedule == ("2it", 2)
    dense = before(s)
    assert needs(s)[0].snapshots == ("2it",)
    two = network(dense, data_of(dense)).to(memory_format=torch.channels_last)  # pyright: ignore
    calls = iter(range(10))
    with pytest.raises(Stopped):
        train(two, training_data(dense, torch.device("cpu")), dense, stop=lambda: next(calls) >= 2)
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in ticket.weights.items())
    assert imp(1, ticket={"rewind": "1ep"}) == imp(1), "epochs may be spelled out"


def test_the_rate_goes_on_from_the_step() -> None:
    plan_, steps = {"epochs": 4, "steps": 10, "warmup": 0.0}, 10
    for each in (True, False):
        straight = rate("linear", {}, per_step=each, **plan_)  # pyright: ignore
        later = rate("linear", {}, per_step=each, start=7 / steps, **plan_)  # pyright: ignore
        assert [later(i) for i in range(20)] == [straight(i + 7) for i in range(20)]


def test_a_step_beyond_the_run_is_one_line() -> None:
    with pytest.raises(ReproError, match="ended before 900it; lower it") as error:
        make_ticket(imp(1, ticket={"rewind": "900it"}))
    assert "\n" not in str(error.value)
    with pytest.raises(ReproError, match=r"ticket\.rewind"):
        imp(1, ticket={"rewind": "5 steps"})


def test_scales_of_batch_norm_are_ranked_and_pruned_on_request() -> None:
    s = imp(2, ticket={"norms": True})
    found = run(s)
    ticket, plain = make_ticket(s), make_ticket(imp(2))
    scales = set(ticket.masks) - set(plain.masks)
    assert scales == {n for n in ticket.weights if n.endswith(".weight") and ticket.weights[n].ndim == 1}
    assert ticket.masks.kept == math.floor(ticket.masks.total * 0.25 + 0.5)
    assert found["density"] == pytest.approx(0.25, abs=1e-3)
    taken = transferred(source=SOURCE + " ticket.norms=true")
    assert make_ticket(taken).masks == ticket.masks
    with pytest.raises(ReproError, match=r"ticket\.norms"):
        one(ticket={"score": "snip", "density": 0.1, "norms": True})


# Transfer


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two sets beside the digits: all of them in other order, and only those below 5."""
    real = DATASETS["digits"]

    def few(root) -> tuple[Split, Split]:
        return tuple(Split(x.images[x.labels < 5], x.labels[x.labels < 5]) for x in real.read(root))  # pyright: ignore

    monkeypatch.setitem(DATASETS, "few", dataclasses.replace(real, classes=5, read=few))
    monkeypatch.setitem(parts.Data.menus["name"], "few", nothing)
    materials.dataset.cache_clear()
    yield
    materials.dataset.cache_clear()


SOURCE = "ticket.score=imp ticket.rounds=2 ticket.rate=0.5 ticket.weights=rewound ticket.rewind=1"


def transferred(words: str = "", **ticket: object) -> Settings:
    given = {"score": "mask_of", "density": 0.25, "source": f"{words} {SOURCE}", "weights": "start"} | ticket
    return one(ticket=given, optim__epochs=2)


def test_a_ticket_from_the_same_data_is_the_ticket_itself() -> None:
    mine, theirs = make_ticket(transferred()), make_ticket(imp(2))
    assert mine.masks == theirs.masks and mine.origin["fresh"] == []
    assert all(torch.equal(value, theirs.weights[name]) for name, value in mine.weights.items())


@pytest.mark.usefixtures("halves")
def test_a_ticket_from_other_classes_brings_all_but_the_last_layer() -> None:
    s = transferred("data.name=few")
    source, ticket = s.source, make_ticket(s)
    assert source.data.name == "few" and source.data.subset == s.data.subset
    assert naming.method(facts.head(s)["settings"]) == "mask_of(imp@rewound from few)@start"
    theirs = make_ticket(source)
    assert ticket.origin["fresh"] == ["classifier.weight", "classifier.bias"]
    own = materials.network(s, data.load("digits")).state_dict()
    for name, value in ticket.weights.items():
        assert torch.equal(value, own[name] if name.startswith("classifier") else theirs.weights[name])
    last = "classifier.weight"
    assert ticket.masks[last].all() and ticket.masks[last].shape[0] == 10
    assert all(torch.equal(ticket.masks[n], theirs.masks[n]) for n in theirs.masks if n != last)
    drawn = make_ticket(transferred("data.name=few", mismatch="random")).masks[last]
    assert drawn.float().mean().item() == pytest.approx(theirs.masks[last].float().mean().item(), abs=0.01)
    assert run(s)["fresh"] == ["classifier.weight", "classifier.bias"], "the record says so"


def test_a_ticket_found_with_another_optimiser() -> None:
    s = transferred("optim.optimizer=adam optim.lr=3e-3")
    assert s.source.optim.optimizer == "adam" and s.optim.optimizer == "sgd"
    assert naming.method(facts.head(s)["settings"]) == "mask_of(imp@rewound from adam)@start"
    assert make_ticket(s).masks != make_ticket(imp(2)).masks


def test_init_only_starts_early_weights_of_another_set() -> None:
    """What Gohil et al.'s code does: masks are found on the target, from the source's early weights."""
    s = transferred(weights="rewound", rewind=1)
    first = pretraining(s)
    assert first is not None and origin(s) == first


def test_a_source_of_another_network_is_one_line() -> None:
    with pytest.raises(ReproError, match=r"another network, conv\.weight differs") as error:
        make_ticket(transferred("model.width=0.5"))
    assert "\n" not in str(error.value)


def test_start_needs_another_run() -> None:
    with pytest.raises(ReproError, match="'start' is that of the other run"):
        parse({"ticket": {"score": "snip", "density": 0.1, "weights": "start"}})
