"""Settings: every slip is one line, and the key is made of what differs from the defaults."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.checks import DATA_CHECKS, MASK_CHECKS
from repro.errors import ReproError
from repro.models import MODELS
from repro.optim import OPTIMIZERS, SCHEDULES
from repro.pruners import ALLOCATIONS, SCORES
from repro.section import options_of
from repro.settings import Check, Data, Model, Optim, Settings, Ticket, flat, parse

SNIP = {"ticket": {"score": "snip", "density": 0.1}}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"modle": {}}, ["modle", "unknown key", "did you mean 'model'"]),
        ({"model": {"widht": 2}}, ["model.widht", "did you mean 'width'"]),
        ({"model": {"name": "resnet23"}}, ["model.name", "'resnet23'", "did you mean 'resnet"]),
        ({"data": {"name": "cifar11"}}, ["data.name", "did you mean 'cifar1"]),
        ({"data": {"normalise": "nope"}}, ["normalis", "'nope'", "standard"]),
        ({"data": {"augment": "crop_flop"}}, ["data.augment", "did you mean 'crop_flip'"]),
        ({"ticket": {"score": "snop", "density": 0.1}}, ["ticket.score", "did you mean 'snip'"]),
        ({"ticket": {"score": "snip", "density": 0.0}}, ["ticket.density", "greater than 0"]),
        ({"ticket": {"score": "snip", "density": 1.5}}, ["ticket.density", "less than or equal to 1"]),
        ({"ticket": {"score": "snip", "density": float("nan")}}, ["ticket.density"]),
        ({"ticket": {"score": "random", "allocation": "erc"}}, ["ticket.allocation", "did you mean 'er"]),
        ({"ticket": {"density": 0.1}}, ["ticket.density", "not used without ticket.score"]),
        (
            {"ticket": {"score": "magnitude", "temperature": 1}},
            ["temperature", "not used by score 'magnitude'", "grasp"],
        ),
        ({"ticket": {"score": "snip", "sampler": "bernoulli"}}, ["ticket.sampler"]),
        ({"ticket": {"score": "snip", "count_dense": False}}, ["ticket.count_dense", "keep_dense"]),
        (
            {"optim": {"schedule": "cosine", "gamma": 0.2}},
            ["optim.gamma", "not used by schedule 'cosine'", "step"],
        ),
        ({"optim": {"optimizer": "adam", "momentum": 0.9}}, ["optim.momentum", "'adam'", "sgd"]),
        ({"optim": {"epochs": 5, "warmup": 5}}, ["optim.warmup"]),
        ({"optim": {"lr": "fast"}}, ["optim.lr", "'fast'"]),
        ({"check": {"name": "rearrange"}}, ["check.name", "dense"]),
        ({"check": {"name": "rearange"}}, ["did you mean 'rearrange'"]),
        (
            {"check": {"name": "random_labels"}, "ticket": {"score": "synflow", "density": 0.1}},
            ["check.name", "uses none"],
        ),
        ({"model": {"name": "vgg19"}}, ["vgg19", "16x16"]),
        ({"seed": -1}, ["seed"]),
        ({"data": "cifar10"}, ["data", "expected keys and values"]),
        ({"precision": "float8"}, ["precision"]),
        (
            {"ticket": {"score": "snip", "rewind": 3}},
            ["ticket.rewind", "'init'", "rewound, trained", "remove it"],
        ),
        ({"ticket": {"score": "snip", "weights": "rewound"}}, ["ticket.rewind", "epoch 0", "1 or more"]),
        ({"ticket": {"weights": "trained"}}, ["ticket.weights", "not used without ticket.score"]),
        ({"ticket": {"score": "snip", "pretrain": 3}}, ["ticket.pretrain", "no dense training", "remove it"]),
        (
            {"ticket": {"score": "magnitude", "weights": "trained", "rewind": 41, "pretrain": 40}},
            ["ticket.rewind", "41", "the 40 epochs", "lower it"],
        ),
        (
            {"ticket": {"score": "magnitude", "pretrain": 3}, "optim": {"epochs": 9, "warmup": 4}},
            ["ticket.pretrain", "3 epochs", "the 4 of optim.warmup"],
        ),
        ({"check": {"name": "invert"}}, ["check.name", "'invert'", "dense"]),
        (
            {"check": {"name": "invert"}, "ticket": {"score": "snip"}},
            ["check.name", "'invert'", "not ranked"],
        ),
        (
            {"ticket": {"score": "snip", "batch_size": 64, "samples_per_class": 5}},
            ["ticket.samples_per_class", "ticket.batch_size", "remove one"],
        ),
        (
            {"check": {"name": "half_data"}, "ticket": {"score": "random", "density": 0.1}},
            ["check.name", "uses none"],
        ),
    ],
)
def test_a_slip_is_one_line_that_names_the_place_and_the_mend(values: dict, words: list[str]) -> None:
    with pytest.raises(ReproError) as caught:
        parse(values)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line


def test_defaults_written_out_leave_the_key_alone() -> None:
    plain = parse(SNIP)
    full = {k: v.model_dump() if hasattr(v, "model_dump") else v for k, v in dict(plain).items()}
    assert "samples_per_class" in full["ticket"]
    assert parse(full).key() == plain.key()
    assert parse(full).changed() == {**SNIP, "seed": 0}


def test_every_changed_setting_changes_the_key() -> None:
    keys = {
        parse(v).key() for v in ({}, {"seed": 1}, SNIP, {"optim": {"lr": 0.2}}, {"optim": {"gamma": 0.2}})
    }
    assert len(keys) == 5


def test_keys_do_not_drift() -> None:
    """Records are found by key: a change here orphans every published record, so raise MEANING on purpose."""
    assert parse(SNIP).key() == "c32b031f681e"


def test_numbers_as_text_are_numbers() -> None:
    assert parse({"optim": {"lr": "5e-4"}}).key() == parse({"optim": {"lr": 0.0005}}).key()


def test_settings_are_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        parse(SNIP).seed = 3  # type: ignore[misc]


def test_the_command_repeats_the_run() -> None:
    from repro.grids import expand
    from repro.text import value

    s = parse(
        {
            **SNIP,
            "optim": {"milestones": [0.3, 0.6], "lr": 5e-4},
            "ticket": {**SNIP["ticket"], "keep_dense": ["last"]},
        }
    )
    words = shlex.split(s.command().removeprefix("repro run "))
    assert expand([{}], {k: value(v) for k, v in (w.split("=", 1) for w in words)}) == [s]


@given(st.sampled_from(sorted(SCORES)), st.sampled_from(["global", *sorted(ALLOCATIONS)]), st.floats(0.01, 1))
def test_every_score_goes_with_every_allocation(score: str, allocation: str, density: float) -> None:
    lent = {"densities": [0.5, 0.1]} if allocation == "induced" else {}
    s = parse({"ticket": {"score": score, "allocation": allocation, "density": density, **lent}})
    assert s == parse(s.changed())


@pytest.mark.parametrize("section", [Data, Model, Ticket, Check, Optim])
def test_options_never_clash(section: type) -> None:
    """An option must not have the name of a field, nor of an option in another menu of the section."""
    seen = set(section.model_fields)
    for menu in section.menus.values():
        options = {o for entry in menu.values() for o in options_of(entry).model_fields}
        assert not options & seen
        seen |= options


@pytest.mark.parametrize(
    "entry",
    [
        e
        for menu in (MODELS, SCORES, ALLOCATIONS, MASK_CHECKS, DATA_CHECKS, OPTIMIZERS, SCHEDULES)
        for e in menu.values()
    ],
)
def test_every_menu_entry_is_documented_and_its_options_have_valid_defaults(entry) -> None:
    assert (entry.__doc__ or "").strip()
    options = options_of(entry)
    assert options.model_validate(dict(options())) == options()


def test_flat() -> None:
    assert flat({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2}


def test_default_settings_are_valid() -> None:
    assert Settings().changed() == {"seed": 0}
