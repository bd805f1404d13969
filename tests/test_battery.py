"""The battery for pruners of one's own: faults told before training, answers that follow from tests, one page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic import run, without
from test_cli import call
from test_scores import context

from repro import paths, record
from repro.battery import check_pruner, densities_of
from repro.battery.answers import (
    BETTER,
    NO,
    NO_GAIN,
    NO_LOSS,
    OPEN,
    SAME,
    UNKNOWN,
    WORSE,
    YES,
    beats_all,
    compare,
)
from repro.battery.grid import plan_battery
from repro.battery.words import answers
from repro.errors import ReproError
from repro.grids import expand
from repro.masks import Masks
from repro.models import prunable
from repro.pruners import SCORES, custom, make_masks, needs_data
from repro.pruners.select import budget
from repro.publish import publish
from repro.record import COLUMNS
from repro.report import figure_layers, show_figure, show_runs
from repro.workers import Job, processes

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "loud.py"
TINY = {"optim.epochs": 1, "data.subset": 200, "model.width": 0.25}
HEAD = "import random, torch, copy\nimport numpy as np\nfrom repro.masks import Masks\n"
GOOD = "return {x.name: torch.rand(x.shape, generator=ctx.generator) for x in ctx.layers}"


@pytest.fixture(autouse=True)
def _leave_the_menu_as_it_was() -> Iterator[None]:
    before = dict(SCORES)
    yield
    SCORES.clear()
    SCORES.update(before)
    custom.OWN.clear()


def written(folder: Path, body: str, line: str = "def mine(ctx):") -> str:
    file = folder / "own.py"
    file.write_text(f"{HEAD}{line}\n    {body}\n")
    return f"{file}:mine"


def tried(word: str, **over: Any) -> Any:
    return plan_battery(custom.read(word), (0.1, 0.05), 3, {**TINY, **over})


# --- what is wrong with a function is told in one line, before anything is trained

SAME_SHAPE = "torch.ones(x.shape)"
EACH = "return {{x.name: {} for x in ctx.layers}}"
BODIES = [
    ("return None", "gave a NoneType; return a mapping"),
    ("return {}", "nothing for layer conv.weight"),
    ("return {x.name: torch.ones(x.shape) for x in ctx.layers[1:]}", "conv.weight (1 of"),
    ("return {x.name[:-1]: torch.ones(x.shape) for x in ctx.layers}", "did you mean 'conv.weight'"),
    (EACH.format("torch.ones(x.shape)[..., None]"), "its weight (4, 1, 3, 3)"),
    (EACH.format("torch.ones(x.shape).long()"), "of type int64; give floating-point"),
    (EACH.format("torch.ones(x.shape).tolist()"), "has a list, not a tensor"),
    (EACH.format("torch.full(x.shape, float('nan'))"), "NaN scores in layer conv.weight"),
    (EACH.format("torch.full(x.shape, -float('inf'))"), "infinite scores in layer conv.weight"),
    (
        EACH.format("torch.ones(x.shape, dtype=torch.bool)"),
        "masks keep 4964 weights, asked for are 496 (density 0.1 of 4964)",
    ),
    (
        EACH.format("torch.zeros(x.shape).to(torch.bool if 'conv' in x.name else None)"),
        "give masks or scores, not both",
    ),
    (EACH.format("torch.rand(x.shape)"), "generator=ctx.generator"),
    (EACH.format("torch.from_numpy(np.random.rand(*x.shape))"), "called again with an equal context"),
    (EACH.format("torch.ones(x.shape) * random.random()"), "called again with an equal context"),
    ("ctx.model.conv.weight.data.mul_(2); " + GOOD, "changes the weight conv.weight; work on a copy"),
    ("ctx.model.train()(ctx.sample(1, 0)[0]); " + GOOD, "changes the buffer "),
    ("ctx.model.eval(); " + GOOD, "changes the mode (train or eval) of the network"),
    ("ctx.model.requires_grad_(False); " + GOOD, "changes requires_grad of conv.weight"),
    ("ctx.model.eval().train()(ctx.sample(1, 0)[0]).sum().backward(); " + GOOD, "changes the buffer"),
    (
        "sum(p.sum() for p in ctx.model.parameters()).backward(); " + GOOD,
        "changes the gradient of conv.weight",
    ),
    ("ctx.model.double(); " + GOOD, "changes the weight conv.weight"),
    ("ctx.model.conv.register_forward_hook(print); " + GOOD, "changes the hooks of conv"),
    ("ctx.model.fc = torch.nn.Identity(); " + GOOD, "changes the modules of the network"),
    ("x = 1\n    return x / 0", "own.py:6: ZeroDivisionError: division by zero"),
    ("raise ValueError('two\\nlines')", "own.py:5: ValueError: two lines"),
    ("return {'a': ctx.trained['x']}", 'an option of: str = "trained"'),
    ("return {x.name: ctx.model.get_parameter(x.name) for x in ctx.layer}", "AttributeError"),
]
LINES = [
    ("def mine():", "cannot be called with a context alone"),
    ("def mine(ctx, other):", "missing a required argument: 'other'"),
    ("def mine(ctx, *, power=1.0):", "option 'power' has no type"),
    ("def mine(ctx, *, power: float):", "option 'power' has no default"),
    ("def mine(ctx, *, density: float = 0.5):", "rename it"),
    ("def mine(ctx, *, power: Any = 1.0):", "unknown type of an option"),
    ("def mine(ctx, *, power: torch.Tensor = None):", "an option cannot be a setting"),
    ("def mime(ctx):", "no function 'mine': did you mean 'mime'?"),
    ("def mine(ctx:", "own.py:4: SyntaxError"),
    ("mine = 3\ndef other(ctx):", "a int, not a function"),
    ("import nonsense_module\ndef mine(ctx):", "own.py:4: ModuleNotFoundError: No module named"),
    ("raise SystemExit(3)\ndef mine(ctx):", "own.py:4: SystemExit: 3"),
    ("class Mine: pass\nmine = Mine()\ndef other(ctx):", "a Mine, not a function"),
]
if sys.version_info >= (3, 14):  # annotations are looked at later there
    LINES = [case for case in LINES if "Any" not in case[0]]


def told_before_training(word: str, hint: str) -> None:
    with pytest.raises(ReproError) as caught:
        check_pruner(word, densities=(0.1, 0.05), seeds=3, overrides=TINY)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "own.py" in str(caught.value)
    assert not (paths.build() / "runs").exists()


@pytest.mark.parametrize(("body", "hint"), BODIES)
def test_what_a_function_does_wrong_is_told_before_training(tmp_path: Path, body: str, hint: str) -> None:
    told_before_training(written(tmp_path, body), hint)


@pytest.mark.parametrize(("line", "hint"), LINES)
def test_a_function_of_another_form_is_told_before_training(tmp_path: Path, line: str, hint: str) -> None:
    told_before_training(written(tmp_path, GOOD, line), hint)


def test_a_fault_at_the_second_density_alone_is_found(tmp_path: Path) -> None:
    body = "if ctx.density < 0.1: return {}\n    " + GOOD
    told_before_training(written(tmp_path, body), "nothing for layer")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["nowhere.py:mine"], "nowhere.py: no such file or directory; give the path"),
        (["examples/loud.py"], "name a file and a function in it"),
        (["examples/loud.py:a.b"], "name a file and a function in it"),
        (["examples:loud"], "is a directory"),
        (["examples/loud.py:lout"], "did you mean 'loud'?"),
        (["examples/loud.py:Context"], "a type, not a function"),
        (["examples/loud.py:loud", "--density", "0.1,1"], "'1' is no number between 0 and 1"),
        (["examples/loud.py:loud", "--density", ""], "is no number between"),
        (["examples/loud.py:loud", "--seeds", "0"], "give 1 or more"),
        (["examples/loud.py:loud", "seed=3"], "use --seeds"),
        (["examples/loud.py:loud", "ticket.density=0.1"], "use --density"),
        (["examples/loud.py:loud", "ticket.score=snip"], "use the name of another function"),
        (["examples/loud.py:loud", "ticket.weights=trained"], "start from the initial weights"),
        (["examples/loud.py:loud", "check.name=rearrange"], "chooses its checks"),
        (["examples/loud.py:loud", "ticket.powr=2"], "did you mean 'power'"),
        (["examples/loud.py:loud", "optim.lr=[0.1,0.05]"], "has several values"),
        (["examples/loud.py:loud", "model.name=resnet9"], "did you mean 'resnet"),
        (["examples/loud.py:thin", "ticket.allocation=erk"], "which leave ticket.allocation nothing to do"),
        (["examples/loud.py:loud", "nonsense"], "not a setting"),
    ],
)
def test_a_mistake_in_the_command_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], hint: str
) -> None:
    monkeypatch.chdir(ROOT)
    code, _, err = call(capsys, "check", *words)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert hint in err
    assert not (paths.build() / "runs").exists()


# --- what the trial finds out decides which checks are run


def checks_of(plan: Any) -> set[str]:
    return {s.check.name for s in plan.pruned}


TICKET_CHECKS = {"none", "rearrange", "shuffle_kept", "reinitialise", "invert"}
DATA_CHECKS = {"random_labels", "pixel_shuffle", "half_data"}


def test_asking_for_images_counts_not_the_name_of_an_option(tmp_path: Path) -> None:
    asks = tried(written(tmp_path, "ctx.sample(1, 0); " + GOOD))
    assert asks.uses_data
    assert checks_of(asks) == TICKET_CHECKS | DATA_CHECKS
    never = tried(written(tmp_path, GOOD, "def mine(ctx, *, samples_per_class: int = 3):"))
    assert not never.uses_data
    assert checks_of(never) == TICKET_CHECKS
    assert not needs_data(never.own.name)
    assert needs_data(asks.own.name)


def test_trained_weights_are_data(tmp_path: Path) -> None:
    body = "return {x.name: ctx.trained[x.name].abs() for x in ctx.layers}"
    plan = tried(written(tmp_path, body, 'def mine(ctx, *, of: str = "trained"):'))
    assert plan.uses_data
    assert checks_of(plan) == TICKET_CHECKS | DATA_CHECKS
    spoils = "ctx.trained['conv.weight'].zero_(); " + body
    word = written(tmp_path, spoils, 'def mine(ctx, *, of: str = "trained"):')
    told_before_training(word, "changes the trained weight conv.weight")


def test_masks_have_no_ranking_to_invert() -> None:
    plan = tried(f"{EXAMPLE}:thin")
    assert plan.masks
    assert checks_of(plan) == TICKET_CHECKS - {"invert"}


def test_the_runs_of_a_battery_are_counted() -> None:
    plan = plan_battery(custom.read(f"{EXAMPLE}:connection"), (0.05, 0.1), 5, {"ticket.samples_per_class": 2})
    assert plan.densities == (0.1, 0.05)
    assert len(plan.pruned) == 5 * 2 * (1 + 4 + 3)
    assert len(plan.others) == 5 * 2 * 2 + 5
    assert {s.ticket.options("score")["samples_per_class"] for s in plan.pruned} == {2}
    assert {(s.ticket.score, s.ticket.allocation) for s in plan.others} == {
        ("random", "smart_ratio"),
        ("random", "erk"),
        (None, "global"),
    }


@given(st.floats(0.001, 0.999))
def test_masks_of_a_function_are_taken_as_they_are(density: float) -> None:
    own = custom.read(f"{EXAMPLE}:thin")
    custom.register(own)
    made = make_masks(context(density=density), score=own.name)
    found = custom.load(own)(context(density=density))
    assert made == Masks(found)
    assert made.kept == budget(made.total, density)


# --- names, keys, and whose code runs


def test_the_name_and_so_the_key_follow_the_file(tmp_path: Path) -> None:
    first = tried(written(tmp_path, GOOD))
    second = tried(written(tmp_path, GOOD + "  # changed"))
    assert re.fullmatch(r"mine-[0-9a-f]{8}", first.own.name)
    assert first.own.name.endswith(first.own.digest[:8])
    assert not {s.key() for s in first.pruned} & {s.key() for s in second.pruned}
    assert [s.key() for s in first.others] == [s.key() for s in second.others]


def test_a_parameter_file_or_a_record_never_runs_code(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    word = written(
        tmp_path, GOOD, f"from pathlib import Path\nPath({str(touched)!r}).touch()\ndef mine(ctx):"
    )
    own = custom.read(word)
    for name in (word, own.name):
        with pytest.raises(ReproError, match=r"unknown ticket\.score"):
            expand([{"recipe": "digits", "ticket": {"score": name, "density": 0.1}}])
    assert not touched.exists()
    custom.load(own)
    assert touched.exists(), "only this runs it"


@pytest.mark.slow
def test_workers_get_the_file_as_it_was_at_the_start(tmp_path: Path) -> None:
    plan = tried(written(tmp_path, GOOD))
    (tmp_path / "own.py").write_text("raise ValueError('edited meanwhile')")
    with processes(1) as lanes:
        assert lanes.submit(Job(plan.pruned[0])).result(timeout=120) == "done"
    assert record.find(plan.pruned[0].key())


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("mine-0123abcd", True),
        ("mine-0123abc", False),
        ("snip", False),
        ("x y-0123abcd", False),
        (None, False),
    ],
)
def test_names_of_own_pruners_are_known_anywhere(name: str | None, own: bool) -> None:
    assert custom.is_own(name) is own


def test_what_asks_a_run_to_stop_passes_through(tmp_path: Path) -> None:
    from repro.train import Stopped

    own = custom.read(written(tmp_path, GOOD))
    for error in (Stopped(), torch.OutOfMemoryError("full"), ReproError("ours")):

        def raising(ctx: Any, error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error)):
            custom.call(own, raising, context(), {})


# --- words from synthetic tables

ME = "your loud"
SHIFTS = (-0.2, -0.1, 0.0, 0.1, 0.2)


def table(*cells: tuple[str, str, float, float], seeds: int = 5, base: float = 90.0) -> pd.DataFrame:
    """Make runs of (method, check, density, shift): seeds differ much, differences between cells little."""
    rows = []
    for i, (method, check, density, shift) in enumerate(cells):
        for seed in range(seeds):
            noise = np.random.default_rng(i).permutation(SHIFTS)[seed] if i else 0.0
            given = {"method": method, "check": check, "density": density, "seed": seed}
            rows.append(run(**given, accuracy=base + 2 * seed + shift + noise))
    return pd.DataFrame(rows, columns=COLUMNS)


def world(
    labels: float = 0.0,
    pixels: float = 0.0,
    places: float = 0.0,
    smart: float = 0.0,
    erk: float = 0.0,
    sparse: float | None = None,
    seeds: int = 5,
) -> pd.DataFrame:
    """Make runs at densities 10 % and, if `sparse` is given, 5 %, where it shifts the smart ratio's tickets."""
    cells: list[tuple[str, str, float, float]] = []
    for density, shift in [(0.1, smart), *([(0.05, sparse)] if sparse is not None else [])]:
        cells += [(ME, "none", density, 0.0), (ME, "random_labels", density, labels)]
        cells += [(ME, "pixel_shuffle", density, pixels), (ME, "rearrange", density, places)]
        cells += [("smart_ratio", "none", density, shift), ("erk", "none", density, erk)]
    return table(*cells, seeds=seeds)


def words(frame: pd.DataFrame, data: tuple[str, ...] = ("random_labels", "pixel_shuffle")) -> list[str]:
    made = answers(frame, ME, data=data, places=["rearrange"], others=["smart_ratio", "erk"])
    assert [a.question.split()[0] for a in made] == ["Does", "Do", "Does"]
    return [a.word for a in made]


def test_a_pruner_that_uses_data_and_places_and_beats_chance() -> None:
    assert words(world(labels=-5, pixels=-6, places=-4, smart=-3, erk=-4)) == ["yes", "yes", "yes"]


def test_a_pruner_of_which_nothing_matters() -> None:
    assert words(world()) == ["no", "no", "no"]


def test_a_pruner_that_cannot_be_told() -> None:
    """Two seeds show nothing, however large the difference."""
    assert words(world(labels=-5, places=0.0, smart=-3, seeds=2)) == ["cannot tell"] * 3


def test_without_data_there_is_nothing_to_test() -> None:
    made = answers(world(), ME, data=[], places=["rearrange"], others=["smart_ratio"])[0]
    assert (made.word, len(made.cells)) == ("no", 0)
    assert "asked neither for images" in made.text


def test_one_check_that_hurts_is_enough_and_all_are_needed_for_no() -> None:
    assert words(world(labels=-5))[0] == "yes"
    noisy = world()
    one = noisy["check"].eq("pixel_shuffle")
    noisy.loc[one, "accuracy"] += [9.0, -9.0, 7.0, -7.0, 0.0]
    assert words(noisy)[0] == "cannot tell"


def test_a_real_difference_below_the_margin_counts_as_none() -> None:
    frame = world(places=-1.0)
    row = compare(frame, ME, checks=["rearrange"]).iloc[0]
    assert row["p_worse"] < 0.001
    assert row["high"] < 0
    assert row["word"] == SAME
    assert compare(frame, ME, checks=["rearrange"], margin=0.5).iloc[0]["word"] == WORSE


def test_a_check_that_helps_is_no_use_of_what_it_breaks() -> None:
    assert words(world(places=+5))[1] == "no"
    told = answers(world(places=5), ME, data=[], places=["rearrange"], others=["erk"])[1].text
    assert "a loss of 2 pp or more is excluded" in told


def test_the_questions_have_a_side() -> None:
    """Where the difference may well be above the margin, but on the side that answers no."""
    frame = world()
    frame.loc[frame["check"] == "rearrange", "accuracy"] += [4.0, -1.0, 3.0, 0.0, 1.0]
    frame.loc[frame["method"] == "erk", "accuracy"] += [4.0, -1.0, 3.0, 0.0, 1.0]
    moved, chance = compare(frame, ME, checks=["rearrange"]), compare(frame, ME, others=["erk"])
    assert list(moved["word"]) == [NO_LOSS]
    assert list(chance["word"]) == [NO_GAIN]
    assert moved["high90"][0] > 2
    assert moved["low90"][0] > -2
    assert words(frame)[1:] == ["no", "no"]
    turned = world()
    turned.loc[turned["check"] == "rearrange", "accuracy"] -= [4.0, -1.0, 3.0, 0.0, 1.0]
    turned.loc[turned["method"].isin(["erk", "smart_ratio"]), "accuracy"] -= [4.0, -1.0, 3.0, 0.0, 1.0] * 2
    assert words(turned)[1:] == ["cannot tell", "cannot tell"]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"smart": -4, "erk": -4}, "yes"),
        ({"smart": -4, "erk": 0}, "no"),
        ({"smart": -4, "erk": 6}, "no"),
        ({"smart": -4, "erk": -4, "sparse": -4}, "yes"),
        ({"smart": -4, "erk": -4, "sparse": 0}, "it depends"),
        ({"smart": 0, "erk": -4, "sparse": 0}, "no"),
    ],
)
def test_to_beat_chance_is_to_beat_every_random_ticket_everywhere(given: dict[str, float], word: str) -> None:
    assert words(world(**given))[2] == word


def test_differences_and_p_values_by_hand() -> None:
    frame = table((ME, "none", 0.1, 0.0), (ME, "rearrange", 0.1, 0.0), seeds=3)
    frame.loc[frame["check"] == "rearrange", "accuracy"] = [86.0, 89.0, 92.0]  # 90, 92, 94 without
    row = compare(frame, ME, checks=["rearrange"]).iloc[0]
    assert (row["n"], row["lost"], row["mean"]) == (3, 0, -3.0)
    half = 4.302653 / 3**0.5  # t(0.975, 2) x standard deviation 1 / root 3
    assert (row["low"], row["high"]) == pytest.approx((-3 - half, -3 + half))
    t = 3 * 3**0.5  # with two degrees of freedom P(T > t) = (1 - t / root(2 + t t)) / 2
    assert row["p_worse"] == pytest.approx((1 - t / (2 + t * t) ** 0.5) / 2)
    assert row["p_better"] == pytest.approx(1 - row["p_worse"])
    assert row["word"] == WORSE


def test_holm_corrects_within_a_question() -> None:
    frame = table(*((ME, c, 0.1, 0.0) for c in ("none", "random_labels", "pixel_shuffle")), seeds=3)
    for check, ends in (("random_labels", [84.0, 89.0, 91.5]), ("pixel_shuffle", [96.0, 82.0, 94.0])):
        frame.loc[frame["check"] == check, "accuracy"] = ends
    alone = compare(frame, ME, checks=["random_labels"])
    both = compare(frame, ME, checks=["random_labels", "pixel_shuffle"])
    assert 0.025 < alone["p_worse"][0] < 0.05
    assert alone["word"][0] == WORSE
    assert both["p_worse"][0] == pytest.approx(2 * alone["p_worse"][0])
    assert list(both["word"]) == [OPEN, OPEN]


def test_no_difference_is_not_corrected_where_all_are_needed_but_is_where_one_suffices() -> None:
    frame = world()
    frame.loc[frame["check"] == "rearrange", "accuracy"] += [2.0, -2.0, 1.0, -1.0, 0.0]
    frame.loc[frame["method"] == "erk", "accuracy"] += [2.0, -2.0, 1.0, -1.0, 0.0]
    smart, erk = (compare(frame, ME, others=[name]).iloc[0] for name in ("smart_ratio", "erk"))
    together = compare(frame, ME, others=["smart_ratio", "erk"])
    for name in ("p_same", "p_aside"):
        assert 0 < smart[name] < erk[name]
        assert list(together[name]) == [pytest.approx(2 * smart[name]), erk[name]]
    alone = [compare(frame, ME, checks=[check]).iloc[0] for check in ("random_labels", "rearrange")]
    both = compare(frame, ME, checks=["random_labels", "rearrange"])
    for name in ("p_same", "p_aside"):
        assert list(both[name]) == [row[name] for row in alone]
        assert 0 < alone[0][name] < alone[1][name]


def test_a_lost_run_leaves_its_comparison_without_evidence() -> None:
    frame = without(world(places=-5), "diverged", check="rearrange", seed=0)
    made = answers(frame, ME, data=[], places=["rearrange"], others=["smart_ratio"])
    assert made[1].word == UNKNOWN
    assert "a run diverged or failed" in made[1].text
    assert made[2].word == NO, "other comparisons stand"


def test_the_direction_of_differences() -> None:
    frame = world(places=-5, smart=-3, erk=+4)
    assert compare(frame, ME, checks=["rearrange"])["mean"][0] == pytest.approx(-5, abs=0.3)
    against = compare(frame, ME, others=["smart_ratio", "erk"])
    assert list(against["against"]) == ["smart_ratio", "erk"]
    assert list(against["word"]) == [BETTER, WORSE]
    assert beats_all(against) == NO
    assert beats_all(against.iloc[:1]) == YES


def test_other_methods_in_the_table_change_nothing() -> None:
    frame = world(labels=-5)
    more = table(("snip", "none", 0.1, 3.0), ("snip", "random_labels", 0.1, 9.0))
    both = pd.concat([frame, more], ignore_index=True)
    pd.testing.assert_frame_equal(
        compare(frame, ME, checks=["random_labels"]), compare(both, ME, checks=["random_labels"])
    )


def test_densities_on_the_command_line() -> None:
    assert densities_of("0.1,0.05") == (0.1, 0.05)
    for text in ("", "x", "0", "1", "0.1,", "nan", "inf", "-0.1"):
        with pytest.raises(ReproError, match="write e"):
            densities_of(text)


# --- the whole battery, small


def test_the_whole_battery_once_and_a_second_call_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    settings = [f"{k}={v}" for k, v in TINY.items()]
    words = ["examples/loud.py:connection", *settings, "ticket.samples_per_class=2", "--density", "0.2"]
    words += ["--seeds", "3", "--workers", "1"]
    code, out, _ = call(capsys, "check", *words)
    assert code == 0
    page = Path(out.splitlines()[-1].removeprefix("open "))
    assert page == paths.build() / "check" / custom.read("examples/loud.py:connection").name / "index.html"
    html, verdict = page.read_text(), json.loads((page.parent / "verdict.json").read_text())
    assert out.splitlines()[1:4] == [
        f"{q['question']} {q['answer'].capitalize()}. {q['text']}" for q in verdict["questions"]
    ]
    assert [len(q["comparisons"]) for q in verdict["questions"]] == [3, 1, 2]
    others = [c["against"] for c in verdict["other_comparisons"]]
    assert others == ["shuffle_kept", "reinitialise", "invert"]
    assert len(verdict["runs"]) == 3 * (1 + 4 + 3) + 3 * 2 + 3
    assert verdict["sha256"] in html
    assert "33 were made now" in verdict["training"]
    assert html.count('class="answer"') == 3
    assert html.count("<img ") == html.count('src="data:image/svg+xml;base64,') == 3
    assert not re.search(r"<script|<link|https?://", html), "nothing is fetched"
    assert "prefers-color-scheme: dark" in html
    command = verdict["command"].split()
    assert command[:2] == ["repro", "check"]
    code, out, _ = call(capsys, *command[1:], "--out", str(tmp_path / "out"))
    assert code == 0
    again = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert "0 were made now" in again["training"]
    assert again["questions"] == verdict["questions"]
    _readable_elsewhere(verdict["runs"], tmp_path)


def _readable_elsewhere(keys: list[str], folder: Path) -> None:
    """Read the records where nobody knows the pruner: they show, and stay out of what is published."""
    custom.OWN.clear()
    for name in [name for name in SCORES if custom.is_own(name)]:
        del SCORES[name]
    frame = record.load(paths.build() / "runs", full=True)
    assert set(keys) == set(frame["key"])
    assert "Connection-" in show_runs(frame)._repr_html_()
    assert "Connection-" in show_figure(figure_layers(frame)).alt
    copied = publish(to=folder / "copies")
    assert not copied.refused
    assert len(copied.own) == 24
    assert len(copied.written) == 9
    assert any("24 of pruners of your own" in line for line in copied.lines())


def test_an_own_run_that_fails_ends_in_one_line(tmp_path: Path) -> None:
    """It passes the trial and fails with the random numbers of the first seed."""
    body = "from repro.rng import stream\n    assert ctx.generator.initial_seed() == stream(0, 'trial').initial_seed()"
    word = written(tmp_path, f"{body}\n    {GOOD}")
    with pytest.raises(ReproError, match=r"^3 of 3 runs failed; the first: .*own\.py:6: AssertionError$"):
        check_pruner(word, densities=(0.2,), seeds=3, overrides=TINY, workers=1)
    assert not (paths.build() / "check").exists(), "no verdict"


@pytest.mark.slow
def test_the_command_with_two_workers(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "repro",
        "check",
        "examples/loud.py:loud",
        "--workers",
        "2",
        "--seeds",
        "3",
    ]
    words += [*(f"{k}={v}" for k, v in TINY.items()), "ticket.power=2", "--out", str(tmp_path / "page")]
    first = words[:5] + words[9:13] + words[5:9] + words[13:]
    done = subprocess.run(first, cwd=ROOT, capture_output=True, text=True, timeout=300, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("Does it use the data? No.")
    assert (tmp_path / "page" / "index.html").exists()


def test_the_examples_are_pruners() -> None:
    for name in ("loud", "connection", "thin"):
        assert prunable(context().model) and tried(f"{EXAMPLE}:{name}").own.function == name
