"""The bench: like is compared with like, statistics are right, records merge. No test looks at a time."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_cli import call

from repro import bench, paths, record
from repro.batches import batches
from repro.bench import (
    ceilings,
    inflight,
    material,
    numerics,
    pruning,
    reference,
    reference_masks,
    store,
    timing,
)
from repro.bench.cases import CASES, LONG
from repro.bench.material import Bench, Size
from repro.book import performance
from repro.captured import make_step
from repro.data import Data, Split
from repro.errors import ReproError
from repro.models import build, prunable
from repro.pruners import ALLOCATIONS, kept_counts, make_masks
from repro.report.moving import show_moves
from repro.report.performance import duels, duration, three
from repro.rng import stream
from repro.train import evaluate

TINY = Size(
    networks=(("resnet8", 0.25),),
    batches=(8,),
    masks=("vgg11", 0.125),
    moves=(("wrn10", 0.25),),
    epoch=40,
    test=20,
    pipeline=40,
    synflow=5,
    in_flight=(1,),
    seconds=0.01,
    loaders=(0,),
    ceiling=((64,), 1),
)


@pytest.fixture
def tiny() -> Bench:
    data, source = material.images(200, 40)
    return Bench(torch.device("cpu"), data, source, TINY, repeats=1)


# Statistics


def test_spread_gives_median_and_quartiles() -> None:
    assert timing.spread([5.0, 1.0, 2.0, 3.0, 4.0]) == (5, 3.0, 2.0, 4.0)
    assert timing.spread([2.0]) == (1, 2.0, 2.0, 2.0)
    with pytest.raises(ReproError, match="--repeats"):
        timing.spread([])


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=20), st.floats(0.1, 10))
def test_a_constant_factor_is_found_whatever_the_drift(times: list[float], factor: float) -> None:
    found = timing.spread(timing.ratios([factor * t for t in times], times))
    assert found.low <= found.median <= found.high
    assert found.median == pytest.approx(factor)


def test_ratios_want_pairs() -> None:
    assert timing.ratios([6.0, 8.0], [2.0, 4.0]) == [3.0, 2.0]
    with pytest.raises(ValueError):
        timing.ratios([1.0], [1.0, 2.0])


def test_works_take_turns_and_every_other_round_goes_backwards() -> None:
    order: list[str] = []
    ticks = itertools.count()
    works = {name: lambda name=name: order.append(name) for name in "ab"}
    times = timing.interleaved(works, 3, warm_up=1, per_turn=2, clock=lambda: float(next(ticks)))
    assert "".join(order) == "bbaa" + "aabb" + "bbaa" + "aabb"
    assert times == {"a": [0.5] * 3, "b": [0.5] * 3}, "one tick for a turn of two calls, no warm-up counted"


def test_the_device_is_waited_for_on_both_sides_of_the_work() -> None:
    seen: list[str] = []
    timing.interleaved(
        {"": lambda: seen.append("work")}, 1, warm_up=0, synchronise=lambda: seen.append("wait")
    )
    assert seen == ["wait", "work", "wait"]


# The plain loop does the same as ours


@pytest.mark.parametrize("network", [("resnet8", 0.25), ("vgg11", 0.125)])
def test_plain_steps_equal_ours(tiny: Bench, network: material.Network) -> None:
    """In float64: rounding, which differs between processors and layouts, must not hide a difference."""
    s = material.settings(network, 8)
    data = tiny.part(32)
    theirs, ours = (material.fresh(s, data, tiny.device, ours=mine).double() for mine in (False, True))
    masks = material.random_masks(ours, 0.3)
    loop = reference.PlainLoop(theirs, s, masks)
    update = make_step(ours, s, masks, precision="float32")
    loop.model.train(), update.model.train()
    losses = right = 0.0
    for x, y in batches(data.train, data, s, 0):
        loss, accuracy = loop.step(x.double().contiguous(), y)
        update(x.double(), y, s.optim.lr)
        losses, right = losses + loss * len(y), right + accuracy * len(y) / 100
    assert update.sums.tolist() == pytest.approx([losses, right], rel=1e-9)
    state = ours.state_dict()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(value, state[name].contiguous(), rtol=1e-8, atol=1e-9, msg=name)
    for name, mask in masks.items():
        assert not theirs.state_dict()[name][~mask].any(), "the mask read off the weights holds them"


def test_plain_pictures_are_our_images_and_evaluations_agree(tiny: Bench) -> None:
    s = material.settings(("resnet8", 0.25), 8)
    data = tiny.part(16, 30)
    plain = dict(enumerate(reference.loader(data.test, data, s, train=False)))
    x = torch.cat([x for x, _ in plain.values()])
    mean, std = data.constants()
    ours = material.fresh(s, data, tiny.device, ours=True)
    wanted = pruning.normalise(data.test.images, mean, std)
    torch.testing.assert_close(x, wanted.contiguous())
    loop = reference.PlainLoop(copy.deepcopy(ours), s)
    assert loop.evaluate(plain.values()) == pytest.approx(evaluate(ours, data.test, data, s)["accuracy"])


def test_plain_crops_lie_among_ours() -> None:
    """Each augmented picture is one of the 162 that a crop of the padded image, mirrored or not, can give."""
    data, _ = material.images(4, 4)
    s = material.settings(("resnet8", 0.25), 4)
    pictures = reference.Pictures(data.train, data, s, train=True)
    padded = torch.nn.functional.pad(data.train.images[0], (4,) * 4)
    crops = [padded[:, i : i + 32, j : j + 32] for i in range(9) for j in range(9)]
    mean, std = data.constants()
    known = pruning.normalise(torch.stack([*crops, *(c.flip(2) for c in crops)]), mean, std)
    for _ in range(5):
        image = pictures[0][0]
        assert (known - image).abs().amax((1, 2, 3)).min() < 1e-5


def test_the_plain_loader_takes_grey_images() -> None:
    split = Split(torch.full((4, 1, 8, 8), 255, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    data = Data("digits", split, None, split, 10)
    s = material.expand([material.SMALL])[0]
    x, _ = next(iter(reference.loader(split, data, s, train=True)))
    assert x.shape == (4, 1, 8, 8)


# Plain masks


@pytest.mark.parametrize("density", [0.3, 0.1])
@pytest.mark.parametrize(("name", "selection"), [("snip", "c1"), ("grasp", "c2"), ("synflow", "c3")])
def test_plain_scores_give_our_masks(tiny: Bench, name: str, selection: str, density: float) -> None:
    """In double precision and with the code's own thresholding, both ways keep the same weights."""
    ctx = pruning.context(tiny, ("resnet8", 0.25), density)
    ctx.model.double()

    def again() -> Any:
        return dataclasses.replace(ctx, generator=stream(0, "test"))

    ours = make_masks(again(), score=name, selection=selection)
    theirs = reference_masks.PLAIN[name](again())
    assert list(theirs) == list(ours)
    different = sum(int((theirs[n] != mask).sum()) for n, mask in ours.items())
    assert different == 0
    assert ours.density == pytest.approx(density, abs=2 / ours.total)


@pytest.mark.parametrize("network", ["resnet8", "vgg11", "resnet32", "vgg19"])
@pytest.mark.parametrize("density", [0.5, 0.1, 0.05, 0.02])
def test_plain_densities_give_our_counts(network: str, density: float) -> None:
    layers = prunable(build(network, classes=10, channels=3, generator=torch.Generator()))
    sizes = {x.name: x.numel for x in layers}
    ours = ALLOCATIONS["erk"](layers, density)
    assert reference_masks.erk_densities(layers, density) == pytest.approx(list(ours.values()))
    counts = kept_counts(sizes, ALLOCATIONS["smart_ratio"](layers, density))
    theirs = reference_masks.smart_counts(layers, density)
    for layer, theirs_, ours_ in zip(layers, theirs, counts.values(), strict=True):
        assert abs(theirs_ - ours_) <= 1 + 1e-5 * layer.numel, "up to rounding: ours is in single precision"


@pytest.mark.parametrize("name", ["erk", "smart_ratio"])
def test_plain_random_masks_keep_what_ours_keep(tiny: Bench, name: str) -> None:
    ctx = pruning.context(tiny, ("vgg11", 0.125), 0.1)
    ours = make_masks(ctx, **pruning.OURS[name]).kept_per_layer()
    theirs = {n: int(mask.sum()) for n, mask in reference_masks.PLAIN[name](ctx).items()}
    assert list(theirs) == list(ours)
    assert all(abs(theirs[n] - ours[n]) <= 1 for n in ours)


def test_plain_pruners_leave_the_network_as_it_is(tiny: Bench) -> None:
    ctx = pruning.context(tiny, ("vgg11", 0.125))
    before = copy.deepcopy(ctx.model.state_dict())
    for plain in reference_masks.PLAIN.values():
        plain(ctx)
    assert all(torch.equal(v, before[k]) for k, v in ctx.model.state_dict().items())


# Costs


def test_flop_and_bytes_of_a_step_counted_by_hand() -> None:
    """One convolution, one channel to two: 3 x 3 x 1 x 2 weights and a bias of two."""
    model = torch.nn.Conv2d(1, 2, 3, padding=1)
    activations = 3 * 16 + 2 * 32  # input thrice, output twice, of a 4 x 4 image
    weights = 8 * 4 * (18 + 2)
    assert ceilings.training_gb(model, (1, 4, 4), 5, "float32") == pytest.approx(
        1e-9 * (4 * 5 * activations + weights)
    )
    assert ceilings.training_gb(model, (1, 4, 4), 5, "bfloat16") == pytest.approx(
        1e-9 * (2 * 5 * activations + weights)
    )
    data, _ = material.images(2, 2)
    s = material.settings(("vgg19", 1.0))
    assert ceilings.training_gflop(s, data, 64) == pytest.approx(6e-9 * 64 * 398_136_320)


# Every case gives rows of the promised form


@pytest.mark.parametrize("name", ["ceiling", "step", "pipeline", "epoch", "evaluation", "masks"])
def test_cases_give_rows_with_units(tiny: Bench, name: str) -> None:
    rows = CASES[name](tiny)
    assert rows
    json.dumps(rows, allow_nan=False)
    for row in rows:
        assert row["n"] >= 1
        if name != "ceiling":
            assert row["loop"] in ("plain", "ours")
            assert 0 < row["low_s"] <= row["median_s"] <= row["high_s"]
            assert ("speed_up" in row) == (row["loop"] == "ours")


def test_updates_of_masks_are_set_against_the_steps_between_them(tiny: Bench) -> None:
    rows = CASES["moves"](tiny)
    assert [row["method"] for row in rows] == ["set:erk", "rigl:erk", "snfs:erk"]
    for row in rows:
        assert row["share_low"] <= row["share"] <= row["share_high"]
        assert row["share"] == pytest.approx((row["median_s"] / row["step_s"] - 1) / 100)
    shown = show_moves({"cases": {"moves": {"rows": rows}}})
    assert [r[0] for r in shown.rows] == ["SET (ERK)", "RigL (ERK)", "SNFS (ERK)"]
    assert shown.rows[0][6].startswith(f"{100 * rows[0]['share']:.2f} %")


def test_memory_is_measured_above_what_the_process_had(tiny: Bench) -> None:
    row = pruning.peak(dataclasses.replace(tiny, data=tiny.part(128)), "training")
    assert row["process_mib"] > 50
    assert (row["batch"], row["format"]) == (128, "float32")


def test_workers_count_their_steps() -> None:
    s = material.settings(("resnet8", 0.25), 4)
    data = inflight.random_images(s, (3, 32, 32))
    with inflight.tempfile.TemporaryDirectory() as folder:
        assert inflight.spin(s, data, folder, 1, 0.01) > 0
        assert len(list(Path(folder).iterdir())) == 2


def test_workers_that_never_come_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflight, "PATIENCE", 0.0)
    with pytest.raises(ReproError, match="of 2 processes"):
        inflight._meet(tmp_path, "ready", 2)


@pytest.mark.slow
def test_flight_scaling_and_table_with_real_processes(tiny: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"recipe": "digits", "model": {"name": "resnet8", "width": 0.25}, "optim.epochs": 1}
    for module in ("inflight", "scale"):
        monkeypatch.setattr(f"repro.bench.{module}.SMALL", small)
    given = dataclasses.replace(tiny, size=dataclasses.replace(TINY, runs=2, in_flight=(1, 2)))
    rows = CASES["flight"](given)
    assert {row["way"] for row in rows} == {"plain", "one run, all threads", "1 in flight", "2 in flight"}
    assert {row["axis"] for row in CASES["scaling"](given)} == {"width", "density", "runs"}
    plain, ours = CASES["table"](given)
    assert (plain["loop"], ours["runs"]) == ("plain", 2)
    assert not (paths.build() / "runs").exists(), "the table is made in a folder of its own"


# Number formats


def test_precision_pairs_by_seed() -> None:
    found = {"float32": [70.0, 72.0, 74.0], "bfloat16": [70.5, 72.5, 74.5]}
    first, second = numerics.compared(found)
    assert first["accuracy_percent"] == 72.0
    assert first["deviation_points"] == pytest.approx(2.0)
    assert second["difference_points"] == pytest.approx(0.5)
    assert second["difference_low"] == pytest.approx(0.5), "equal pairs leave no doubt, however seeds differ"
    json.dumps(numerics.compared({"float32": [70.0], "bfloat16": [71.0]}), allow_nan=False)


def test_precision_runs_are_ordinary_pairs(tiny: Bench) -> None:
    planned = numerics.runs(dataclasses.replace(tiny, repeats=None, size=Size()))
    assert {name: len(part) for name, part in planned.items()} == {"float32": 5, "bfloat16": 5}
    for a, b in zip(*planned.values(), strict=True):
        assert a.model_copy(update={"precision": "bfloat16"}) == b


def test_precision_needs_real_images(tiny: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    with pytest.raises(ReproError, match="repro data fetch cifar10"):
        CASES["precision"](tiny)


# Records


def _case(when: str, *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    environment = {"versions": {"torch": "2.15"}, "commit": "abc"}
    about = {"when": when, "threads": 2, "data": "CIFAR-10", "flags": {}, "environment": environment}
    return about | ({"rows": list(rows)} if rows else {}) | more


CEILING = [
    {"what": "product of matrices", "format": "float32", "n": 5, "size": "2 x 2", "gflop_per_s": 100.0},
    {"what": "convolution, 3 x 3", "format": "float32", "n": 5, "size": "x", "gflop_per_s": 50.0},
    {"what": "copy, read and write", "format": "any", "n": 5, "size": "1 MiB", "gb_per_s": 10.0},
]
ABOUT = {"model": "resnet32", "width": 2.0, "batch": 64}
PLAIN = ABOUT | {"loop": "plain", "format": "float32", "n": 3, "median_s": 0.4, "low_s": 0.39, "high_s": 0.41}
OURS = ABOUT | {"loop": "ours", "format": "float32", "n": 3, "median_s": 0.2, "low_s": 0.19, "high_s": 0.21}
OURS |= {"speed_up": 2.0, "speed_up_low": 1.9, "speed_up_high": 2.1, "gflop_per_s": 25.0, "gb_per_s": 1.0}


def test_fractions_are_of_the_fastest_product_in_the_same_format() -> None:
    made = store.merged(None, "X", "ceiling", _case("2026-01-01", *CEILING))
    made = store.merged(made, "X", "step", _case("2026-01-02", PLAIN, OURS | {"fraction_of_flops": 9.0}))
    plain, ours = made["cases"]["step"]["rows"]
    assert (ours["fraction_of_flops"], ours["fraction_of_bytes"]) == (0.25, 0.1)
    assert "fraction_of_flops" not in plain
    assert made["cases"]["ceiling"]["rows"] == CEILING, "a ceiling is no share of itself"


def test_a_case_replaces_its_own_rows_only() -> None:
    one = store.merged(None, "X", "step", _case("2026-01-01", PLAIN))
    two = store.merged(one, "X", "masks", _case("2026-01-02", PLAIN))
    three_ = store.merged(two, "X", "step", _case("2026-01-03", PLAIN, OURS))
    assert [len(three_["cases"][n]["rows"]) for n in ("step", "masks")] == [2, 1]
    four = store.merged(three_, "X", "step", _case("2026-01-04", impossible="no data"))
    assert four["cases"]["step"] == three_["cases"]["step"], "what was measured stays"
    five = store.merged(four, "X", "precision", _case("2026-01-04", impossible="no data"))
    assert five["cases"]["precision"]["impossible"] == "no data"


@pytest.mark.parametrize(
    ("device", "name"),
    [("NVIDIA H200", "nvidia-h200"), ("Intel(R) Xeon(TM) @ 2.0GHz, 2 cores", "intel-xeon-2-0ghz-2-cores")],
)
def test_a_device_names_its_file(device: str, name: str) -> None:
    assert store.slug(device) == name


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params", "notebooks"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_published_records_are_read_beside_ours_and_are_no_runs(project: Path) -> None:
    first = store.merged(None, "CPU, 2 cores", "step", _case("2026-01-01", PLAIN, OURS))
    path = store.save(first)
    assert store.load() == [first]
    assert store.publish() == [project / "book" / "records" / "bench" / "cpu-2-cores.json"]
    text = store.publish()[0].read_text()
    assert text == path.read_text(), "publishing again changes nothing"
    assert record.load().empty, "a bench record is no record of a run"
    store.save(store.merged(None, "GPU", "step", _case("2026-01-01", PLAIN, OURS)), store.published())
    newer = store.merged(None, "CPU, 2 cores", "step", _case("2026-02-01", PLAIN))
    store.save(store.merged(newer, "CPU, 2 cores", "masks", _case("2025-01-01", PLAIN)))
    assert [r["device"] for r in store.load()] == ["CPU, 2 cores", "GPU"]
    assert store.load()[0]["cases"]["step"]["when"] == "2026-02-01", "the newer one is shown"
    assert set(json.loads(store.publish()[0].read_text())["cases"]) == {"step", "masks"}


def test_damaged_bench_records_are_named(project: Path) -> None:
    path = store.here() / "x.json"
    for text in ("{", "[]", '{"kind": "bench", "format": 99, "cases": {}}', '{"kind": "bench", "format": 1}'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        with pytest.raises(ReproError, match=re.escape(str(path))):
            store.load()


def test_bench_writes_after_each_case_and_reports_what_is_impossible(
    monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    def fails(given: Bench) -> list[dict[str, Any]]:
        raise ReproError("data set 'x' is not here")

    seen: list[str] = []
    monkeypatch.setattr("repro.bench.cases.CASES", {"step": lambda given: [PLAIN, OURS], "masks": fails})
    made = bench.bench(size=TINY, show=lambda name, case: seen.append(name))
    assert seen == ["step", "masks"]
    assert made["cases"]["masks"]["impossible"] == "data set 'x' is not here"
    assert made["cases"]["step"]["rows"][1]["speed_up"] == 2.0
    assert made["cases"]["step"]["data"] in ("CIFAR-10", "random pixels in the shape of CIFAR-10")
    assert store.load() == [json.loads(json.dumps(made))]
    with pytest.raises(ReproError, match="not here"):
        bench.bench(["masks"], size=TINY)


def test_rows_are_shown_with_equal_columns() -> None:
    shown = bench.compact([{"a": 1234.5, "each": [1]}, {"b": 0.012345, "a": None}])
    assert shown == [{"a": "1234", "b": ""}, {"a": "", "b": "0.0123"}]


# The command line


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["stp"], "did you mean 'step'"),
        (["step", "--repeats", "0"], "give 1 or more"),
        (["step", "--publish"], "takes no CASE"),
        (["--publish"], "`repro bench` does that"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(capsys, project: Path, words: list[str], hint: str) -> None:
    code, _, err = call(capsys, "bench", *words)
    lines = [line for line in err.splitlines() if not line.startswith("bench: ")]
    assert (code, len(lines)) == (2, 1), err
    assert lines[0].startswith("error: ")
    assert hint in lines[0]
    assert not store.here().exists()


def test_help_names_every_case(capsys) -> None:
    _, out, _ = call(capsys, "bench", "--help")
    assert all(re.search(rf"\b{name}\b", out) for name in CASES)
    assert set(LONG) <= set(CASES)


def test_bench_prints_tables_and_publishes(capsys, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro.bench.cases.CASES", {"step": lambda given: [PLAIN, OURS], "precision": None})
    code, out, _ = call(capsys, "bench", "--repeats", "1")
    assert code == 0
    assert "speed_up" in out
    assert "precision: not measured" in out
    code, out, _ = call(capsys, "bench", "--publish")
    assert code == 0
    assert "published" in out


# The page


def _record() -> dict[str, Any]:
    run = {
        "model": "resnet8",
        "width": 1.0,
        "batch": 64,
        "n": 2,
        "low_steps_per_s": 9.0,
        "high_steps_per_s": 11.0,
    }
    run |= {"steps_per_s": 10.0, "images_per_s": 640.0, "format": "float32"}
    flying = [run | {"loop": "plain", "way": "plain", "in_flight": 1}]
    flying += [
        run | {"loop": "ours", "way": f"{n} in flight", "in_flight": n, "speed_up": 1.0 * n} for n in (1, 2)
    ]
    scaled = ABOUT | {"axis": "density", "value": 0.1, "loop": "ours", "n": 1}
    scaled |= {"median_s": 0.1, "low_s": 0.1, "high_s": 0.1}
    pair = numerics.compared({"float32": [70.0, 71.0], "bfloat16": [70.5, 71.0]})
    score = {"model": "vgg19", "width": 1.0, "method": "synflow", "density": 0.1, "iterations": 100, "n": 1}
    spent = {"median_s": 50.0, "low_s": 50.0, "high_s": 50.0, "format": "float64"}
    faster = {"speed_up": 4.0, "speed_up_low": 4.0, "speed_up_high": 4.0}
    cases = {
        "ceiling": CEILING,
        "step": [PLAIN, OURS],
        "masks": [score | spent | {"loop": "plain"}, score | spent | faster | {"loop": "ours"}],
        "flight": flying,
        "scaling": [scaled],
        "memory": [ABOUT | {"work": "training", "peak_mib": 1000.0, "of_training": 1.0, "format": "float32"}],
        "precision": [{"model": "resnet20", "width": 1.0, "images": 5000, "epochs": 6} | row for row in pair],
    }
    made: dict[str, Any] | None = None
    for name, rows in cases.items():
        made = store.merged(made, "Some <CPU> $1", name, _case("2026-01-01", *rows))
    assert made
    return store.merged(made, "Some <CPU> $1", "table", _case("2026-01-02", impossible="no data"))


def test_page_shows_every_case_and_says_how_it_was_measured() -> None:
    made = _record()
    text = performance.fragment([made])
    for words in (
        "2.00 × (1.90 to 2.10)",
        "400 ms",
        "25 %",
        "Mask: SynFlow",
        "4.00 ×",
        "50.0 s",
        "2 in flight",
    ):
        assert words in text, words
    assert "+0.25 ±" in text
    assert "1,000 MiB" in text
    assert "Not possible here: table: no data." in text
    assert "Measured 2026-01-01, torch 2.15, 2 threads, images: CIFAR-10, commit abc" in text
    assert text.count("<figure") == 2
    for block in re.findall(r"<(figure|div)(.*?)</\1>", text, flags=re.DOTALL):
        assert "\n\n" not in block[1], "an empty line would end the block of HTML"
    assert [d.plain["median_s"] for d in duels(made)] == [0.4, 50.0]


def test_page_without_any_record_names_the_command(project: Path) -> None:
    assert "`repro bench`" in performance.fragment()
    assert "`repro bench`" in performance.fragment([])


def test_page_of_a_device_without_comparisons() -> None:
    made = store.merged(None, "X", "ceiling", _case("2026-01-01", *CEILING))
    text = performance.fragment([made])
    assert "100 GFLOP/s" in text
    assert "<figure" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.01234, "0.0123"), (1.999, "2.00"), (999.6, "1,000"), (12345, "12,300")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert three(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(61.2, "61.2 s"), (0.5, "500 ms"), (2e-5, "20.0 µs"), (None, "—")]
)
def test_times_have_a_unit(value: float | None, text: str) -> None:
    assert duration(value) == text
