"""Tickets that begin at random: layer densities lent by another mask, rounds of pruning from a random mask."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from test_experiment import one

from repro import naming, record
from repro.cells import tidy
from repro.checkpoint import load_tensors
from repro.errors import ReproError
from repro.experiment import make_ticket, masks_file, run, weights_file
from repro.grids import expand
from repro.lineage import lineage, needs, origin, pretraining
from repro.masks import Masks
from repro.materials import data_of, network
from repro.models import prunable
from repro.pruners.allocation import induced
from repro.scoring import reset
from repro.settings import Settings
from repro.text import value


def lent(**more: object) -> Settings:
    ticket = {"score": "random", "allocation": "induced", "density": 0.2, "like": "ticket.score=snip"}
    return one(ticket=ticket | more)


def from_random(rounds: int, **more: object) -> Settings:
    start = "ticket.score=random ticket.allocation=balanced ticket.density=0.4"
    ticket = {"score": "imp", "rounds": rounds, "rate": 0.5, "start": start}
    return one(ticket=ticket | more, optim__epochs=2)


def layers_of(s: Settings) -> list:
    return list(prunable(network(s, data_of(s))))


# Densities of another mask


def test_er_snip_keeps_as_many_weights_of_each_layer_as_snip_and_others() -> None:
    ours, theirs = make_ticket(lent()).masks, make_ticket(one(ticket={"score": "snip", "density": 0.2})).masks
    assert ours.kept_per_layer() == theirs.kept_per_layer()
    assert ours.overlap(theirs) < 0.5


def test_at_another_density_all_layers_are_scaled_alike() -> None:
    half = make_ticket(lent(density=0.1, like="ticket.score=snip ticket.density=0.2")).masks
    theirs = make_ticket(one(ticket={"score": "snip", "density": 0.2})).masks
    for name, kept in half.kept_per_layer().items():
        assert abs(kept - theirs.kept_per_layer()[name] / 2) <= 1
    assert half.density == pytest.approx(0.1, abs=1e-3)


def test_the_bernoulli_sampler_draws_with_the_lent_densities() -> None:
    drawn = make_ticket(lent(sampler="bernoulli")).masks
    theirs = make_ticket(one(ticket={"score": "snip", "density": 0.2})).masks
    assert drawn.kept_per_layer() != theirs.kept_per_layer()
    for name, mask in drawn.items():
        p = theirs.layer_densities()[name]
        spread = math.sqrt(p * (1 - p) * mask.numel())
        assert abs(int(mask.sum()) - p * mask.numel()) <= 5 * spread + 1e-9


def test_masks_that_moved_lend_the_densities_they_ended_with() -> None:
    words = "ticket.score=random ticket.allocation=uniform ticket.density=0.2 sparse.method=rigl_sm sparse.interval=1"
    s = lent(like=words)
    source = pretraining(s)
    assert source is not None and source.sparse.method == "rigl_sm"
    assert [n.settings for n in needs(s)] == [source]
    masks = make_ticket(s).masks
    moved = Masks.load(masks_file(record.folder(source.key())))
    assert masks.kept_per_layer() == moved.kept_per_layer()
    uniform = make_ticket(one(ticket={"score": "random", "allocation": "uniform", "density": 0.2})).masks
    assert masks.kept_per_layer() != uniform.kept_per_layer()


def test_er_imp_needs_the_rounds_before_its_mask() -> None:
    s = lent(density=0.25, like="ticket.score=imp ticket.rounds=2 ticket.rate=0.5")
    assert [x.ticket.score for x in lineage(s)] == ["imp", None]
    assert origin(s) is None


def test_densities_come_from_a_file_too(tmp_path: Path) -> None:
    n = len(layers_of(lent()))
    shares = [0.9**i for i in range(n)]
    named = tmp_path / "shares.json"
    named.write_text(json.dumps({f"layer{i}": share for i, share in enumerate(shares)} | {"total": 3}))
    assert value(f"@{named}") == shares
    s = lent(like=None, densities=value(f"@{named}"))
    assert expand([s.changed()]) == [s]
    found = make_ticket(s).masks.layer_densities()
    scale = [
        found[x.name] / share for x, share in zip(layers_of(s), shares, strict=True) if found[x.name] < 1
    ]
    assert max(scale) / min(scale) < 1.1


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("{", "cannot be read"), ('["a"]', "neither"), ("[true]", "neither"), ("3", "neither")],
)
def test_a_file_of_something_else_is_refused(text: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ReproError, match=wrong):
        value(f"@{tmp_path / 'x.json'}")


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(ReproError, match="@nowhere"):
        value("@nowhere.json")


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"like": None}, "needs it, or ticket.densities"),
        ({"densities": [0.1, 0.2]}, "not both"),
        ({"like": None, "densities": [0.1, 0.2]}, "2 densities for"),
        ({"like": "seed=3"}, "would be dense"),
        ({"like": "ticket.scoer=snip"}, "ticket.like: ticket.scoer"),
        ({"like": "model.width=1 ticket.score=snip model.name=vgg11 data.size=16"}, "another network"),
    ],
)
def test_densities_of_nothing_are_refused(more: dict[str, object], wrong: str) -> None:
    with pytest.raises(ReproError, match=wrong):
        make_ticket(lent(**more))


def test_layers_that_the_other_mask_emptied_stay_empty_and_full_ones_share_out() -> None:
    layers = layers_of(lent())[:3]
    total = sum(x.numel for x in layers)
    found = induced(layers, 0.5, densities=(1.0, 0.0, 0.3))
    assert found[layers[0].name] == 1.0 and found[layers[1].name] == 0.0
    assert sum(found[x.name] * x.numel for x in layers) == pytest.approx(0.5 * total)
    with pytest.raises(ReproError, match="leave no room"):
        induced(layers, 0.99, densities=(1.0, 0.0, 0.3))
    with pytest.raises(ReproError, match="lie in"):
        induced(layers, 0.5, densities=(1.0, 0.0, 1.3))


# Rounds from a random mask


def test_rounds_begin_with_a_random_mask_and_count_from_its_density() -> None:
    s = from_random(2)
    chain = list(lineage(s))
    assert [x.ticket.score for x in chain] == ["imp", "random"]
    assert s.ticket.target == pytest.approx(0.1) and naming.density(s.model_dump()) == pytest.approx(0.1)
    first = make_ticket(chain[-1]).masks
    one_round, two_rounds = make_ticket(from_random(1)).masks, make_ticket(s).masks
    for name, mask in two_rounds.items():
        assert not (mask & ~one_round[name]).any() and not (one_round[name] & ~first[name]).any()
    assert one_round.density == pytest.approx(0.2, abs=1e-3)


def test_learning_rate_rewinding_from_a_random_mask_goes_on_with_trained_weights() -> None:
    s = from_random(1, weights="trained")
    before = origin(s)
    assert before is not None and before.ticket.score == "random" and before.ticket.density == 0.4
    ticket = make_ticket(s)
    trained, _ = load_tensors(weights_file(record.folder(before.key())))
    assert all(torch.equal(ticket.weights[n], trained[n]) for n in trained)


def test_each_round_may_go_by_chance_or_by_the_flow_of_ones() -> None:
    made = [make_ticket(from_random(1, by=by)).masks for by in ("magnitude", "random", "synflow")]
    start = make_ticket(pretraining(from_random(1)) or from_random(1)).masks
    for masks in made:
        assert masks.density == pytest.approx(0.2, abs=1e-3)
        assert all(not (mask & ~start[name]).any() for name, mask in masks.items())
    assert made[1].overlap(made[0]) < 0.6 and made[2] != made[0]


def test_round_0_must_be_a_ticket() -> None:
    with pytest.raises(ReproError, match=r"ticket\.start: round 0"):
        from_random(1, start="optim.lr=0.1")


# Trained weights, set back in part


OWN = {
    "conv.weight": torch.tensor([1.0, -2.0]),
    "bn.weight": torch.ones(1),
    "bn.running_mean": torch.zeros(1),
    "bn.num_batches_tracked": torch.tensor(0),
}
THEIRS = {
    "conv.weight": torch.tensor([-3.0, -0.5]),
    "bn.weight": torch.full((1,), 7.0),
    "bn.running_mean": torch.full((1,), 4.0),
    "bn.num_batches_tracked": torch.tensor(9),
}


@pytest.mark.parametrize(
    ("what", "weight", "norm"),
    [
        ("none", [-3.0, -0.5], 7.0),
        ("norms", [-3.0, -0.5], 1.0),
        ("amplitude", [-1.0, -2.0], 7.0),
        ("sign", [3.0, -0.5], 7.0),
    ],
)
def test_what_is_set_back(what: str, weight: list[float], norm: float) -> None:
    found = reset(OWN, THEIRS, what, ["conv.weight"])
    assert found["conv.weight"].tolist() == weight
    assert found["bn.weight"].item() == norm
    assert found["bn.running_mean"].item() == (0.0 if what == "norms" else 4.0)


def test_a_reset_needs_trained_weights_and_keeps_the_masks() -> None:
    with pytest.raises(ReproError, match=r"ticket\.reset: .* trained"):
        from_random(1, reset="norms")
    plain, changed = (from_random(1, weights="trained", reset=how) for how in ("none", "sign"))
    assert make_ticket(plain).masks == make_ticket(changed).masks
    assert run(changed)["status"] == "done"
    assert naming.method(changed.model_dump()) == "imp:balanced@trained/sign"


# Names


@pytest.mark.parametrize(
    ("ticket", "sparse", "name"),
    [
        (
            {"score": "random", "allocation": "erk", "density": 0.1, "sampler": "bernoulli"},
            {},
            "erk/bernoulli",
        ),
        ({"score": "random", "allocation": "erk", "density": 0.1, "flow": "move"}, {}, "erk/move"),
        (
            {"score": "random", "allocation": "induced", "density": 0.1, "like": "ticket.score=snip"},
            {},
            "induced(snip)",
        ),
        (
            {"score": "random", "allocation": "erk", "density": 0.5},
            {"method": "gmp", "density": 0.1},
            "gmp:erk(0.5)",
        ),
    ],
)
def test_what_a_random_start_is_called(ticket: dict, sparse: dict, name: str) -> None:
    assert naming.method(one(ticket=ticket, **({"sparse": sparse} if sparse else {})).model_dump()) == name


def test_learned_densities_are_averaged_over_the_seeds_of_a_cell() -> None:
    import pandas as pd

    rows = [
        {"data": "d", "model": "m", "width": 1.0, "check": "none", "key": f"{m}{s}", "status": "done"}
        | {"method": m, "seed": s, "accuracy": 50.0, "density": d}
        for m, s, d in [
            ("str:erk(0.5)", 0, 0.1),
            ("str:erk(0.5)", 1, 0.2003),
            ("stray", 0, 0.3),
            ("stray", 1, 0.4),
        ]
    ]
    found = tidy(pd.DataFrame(rows)).set_index("key")["density"]
    assert found.tolist() == [0.15, 0.15, 0.3, 0.4]


# Masks of a moment


def test_the_ticket_of_a_level_is_the_mask_of_that_epoch() -> None:
    words = "ticket.score=random ticket.allocation=uniform ticket.density=0.5 sparse.method=edge_popup "
    words += "sparse.density=0.2 sparse.levels=2 sparse.anneal=true sparse.first=0.45"
    last = one(ticket={"score": "mask_of", "density": 0.2, "source": words}, optim__epochs=2)
    first = one(ticket={"score": "mask_of", "density": 0.3, "source": words, "after": "1ep"}, optim__epochs=2)
    assert [n.snapshots for n in needs(first)] == [(1,)] and naming.method(first.model_dump()).endswith(
        ", 1)"
    )
    early, late = make_ticket(first).masks, make_ticket(last).masks
    assert early.density == pytest.approx(0.3, abs=2e-3) and late.density == pytest.approx(0.2, abs=2e-3)


def test_a_moment_of_masks_that_stay_is_refused() -> None:
    with pytest.raises(ReproError, match=r"ticket\.after: the masks .* do not change"):
        one(
            ticket={
                "score": "mask_of",
                "density": 0.2,
                "source": "ticket.score=snip ticket.density=0.2",
                "after": 1,
            }
        )
