"""Files of strangers: whatever is in them, a loader gives a sound object or one line, runs nothing and writes nowhere.

Each loader gets changed copies of a sound file: bits, blocks, structures, and lies in the header. A few of each in the
default suite, more than 100,000 in all in the slow one; `reliability.note` keeps the counts.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from fuzzing import held, lying, put, spelt, split, spoilt, unsealed, warped, watched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from reliability import note

from repro import checkpoint, grids, paths, record, text, vet
from repro.bench import store as bench
from repro.data.cifar import batch
from repro.data.tiny import FOLDER, Folder, _pixels
from repro.errors import ReproError
from repro.flight import _known
from repro.grids import expand
from repro.intake import take
from repro.masks import Masks, texts
from repro.models import build, prunable
from repro.settings import parse
from repro.ticketfile import codings, foreign
from repro.ticketfile import load as load_ticket
from repro.ticketfile.card import plain, read
from repro.tuning import results
from repro.tuning.journal import Journal, Told
from repro.tuning.study import Study

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parent.parent
NET = {"name": "resnet8", "width": 0.25}
GRID = {
    "runs": [{"recipe": "digits", "seed": [0, 1], "model": NET, "optim": {"epochs": 2, "schedule": "step"}}]
}
GRID["runs"] += [
    {"ticket": {"score": "mask_of", "source": "ticket.score=snip ticket.density=0.2"}, "optim.lr": 0.1}
]
GRID["runs"] += [
    {"ticket": {"score": ["snip", "random"], "density": [0.1, 0.2]}, "sparse": {"method": "static"}}
]


class Case(NamedTuple):
    """A loader: what makes a spoilt file, and what reads it and checks what it gives."""

    make: Callable[[random.Random], Any]
    load: Callable[[Any], Any]


def structure(tree: Any) -> Callable[[random.Random], bytes]:
    """Spoil JSON, by its structure or by its bytes."""
    return lambda rng: spelt(warped(tree, rng)) if rng.random() < 0.7 else spoilt(spelt(tree), rng)


def near_ends(raw: bytes, rng: random.Random) -> bytes:
    """Spoil a file near its head or its end, where the structure of pickles and archives stands."""
    n = min(len(raw), rng.choice((100, 1000, 5000)))
    return spoilt(raw[:n], rng) + raw[n:] if rng.random() < 0.5 else raw[:-n] + spoilt(raw[-n:], rng)


def masks_files(tmp: Path) -> Case:
    path = tmp / "x.safetensors"
    Masks({"a.weight": torch.rand(3, 4) > 0.5, "b.weight": torch.rand(5) > 0.5}).save(
        path, {"overlap": '{"value": 0.5}'}
    )
    raw = path.read_bytes()

    def load(raw: bytes) -> None:
        held(lambda: all(type(k) is type(v) is str for k, v in texts(put(path, raw)).items()) or 1 / 0)
        masks = Masks.load(path)
        assert masks.total > 0 and all(mask.dtype == torch.bool for mask in masks.values())

    both = raw, unsealed(raw), unsealed(raw)
    return Case(lambda rng: lying(rng.choice(both), rng, ("layers", "overlap")), load)


def checkpoints(tmp: Path) -> Case:
    path = tmp / "checkpoint.safetensors"
    tensors = {"model.a": torch.rand(3, 4), "sums": torch.zeros(2), "optimizer.0.exp_avg": torch.rand(3, 4)}
    checkpoint.save_tensors(path, tensors, {"step": 3, "curve": [{"loss": 1.0}], "seconds": 1.0})
    raw = path.read_bytes()

    def load(raw: bytes) -> None:
        held(lambda: checkpoint.read_about(put(path, raw)).keys())
        found, about = checkpoint.load_tensors(path)
        assert isinstance(about, dict) and all(
            t.numel() * t.element_size() <= len(raw) for t in found.values()
        )

    both = raw, unsealed(raw), unsealed(raw)
    return Case(lambda rng: lying(rng.choice(both), rng, ("about",)), load)


def tickets(tmp: Path) -> Case:
    raw, path = (GOLDEN / "tiny.ticket.safetensors").read_bytes(), tmp / "x.ticket.safetensors"

    def load(raw: bytes) -> None:
        ticket, card = load_ticket(put(path, raw))
        assert ticket.masks.kept == card.kept and ticket.masks.total == card.total

    return Case(lambda rng: lying(raw, rng, ("card",)), load)


def cards(tmp: Path) -> Case:
    header, _ = split((GOLDEN / "tiny.ticket.safetensors").read_bytes())
    return Case(
        structure(json.loads(header["__metadata__"]["card"])),
        lambda raw: read(plain(raw.decode(errors="replace"))),
    )


def codes(tmp: Path) -> Case:
    mask = np.random.default_rng(0).random(900) < 0.1
    made = {}
    for rate in (0.02, 0.1, 0.5):
        mask = np.random.default_rng(0).random(900) < rate
        coding, raw = codings.encode(mask)
        made[coding] = raw.tobytes(), int(mask.sum())

    def make(rng: random.Random) -> Any:
        coding = rng.choice(sorted(made))
        raw, kept = made[coding]
        return rng.choice((coding, coding, "bits", "gaps+zlib")), spoilt(raw, rng), kept

    def load(given: Any) -> None:
        coding, raw, kept = given
        found = codings.decode(coding, np.frombuffer(raw, np.uint8), 900, kept)
        assert found.shape == (900,) and found.sum() == kept

    return Case(make, load)


def checkpoints_of_others(tmp: Path) -> Case:
    net, path, files = (
        build("resnet8", classes=4, channels=1, generator=torch.Generator(), width=0.25),
        tmp / "c.pth",
        [],
    )
    state, masks = net.state_dict(), {layer.name: torch.ones(layer.shape) for layer in prunable(net)}
    given = {"gohil": {"model_state_dict": state}, "rigl": {"model": state, "mask": {"masks": masks}}}
    for layout, raw in (given | {"gadhikar": list(masks.values())}).items():
        for new in (True, False):
            torch.save(raw, path, _use_new_zipfile_serialization=new)
            files.append((layout, path.read_bytes()))

    def make(rng: random.Random) -> Any:
        layout, raw = rng.choice(files)
        return layout, near_ends(raw, rng) if rng.random() < 0.7 else spoilt(raw, rng)

    def load(given: Any) -> None:
        ticket, _, _ = foreign.take(
            put(path, given[1]), layout=given[0], model="resnet8", words=["width=0.25"], classes=4
        )
        assert list(ticket.masks) == list(masks)

    return Case(make, load)


def records(tmp: Path) -> Case:
    found = [json.loads(p.read_bytes()) for p in sorted((ROOT / "book" / "records").glob("*.json"))[:3]]
    path = tmp / "r.json"

    def load(raw: bytes) -> None:
        made, s = vet.load(put(path, raw))
        assert made["key"] == s.key() and made["command"] == s.command()

    return Case(lambda rng: structure(rng.choice(found))(rng), load)


def stores(tmp: Path) -> Case:
    name, folder = min((ROOT / "book" / "records").glob("*.json")), tmp / "store"
    folder.mkdir()

    def load(raw: bytes) -> None:
        held(lambda: record.read(put(folder / name.name, raw)))
        if record.load(folder).empty:  # told on standard error
            raise ReproError("damaged, and counts as not there")

    return Case(structure(json.loads(name.read_bytes())), load)


def run_folders(tmp: Path) -> Case:
    s = expand([{"recipe": "digits", "model": NET}])[0]
    net, folder = (
        build("resnet8", classes=10, channels=1, generator=torch.Generator(), width=0.25),
        tmp / "theirs" / s.key(),
    )
    tensors = {f"model.{k}": v for k, v in net.state_dict().items()} | {"sums": torch.zeros(2)}
    about = {"step": 1, "seconds": 1.0, "curve": [{"loss": 1.0}], "precision": "float32", "threads": 1}
    checkpoint.save_tensors(folder / "checkpoint.safetensors", tensors, about)
    parts = {"checkpoint.safetensors": unsealed((folder / "checkpoint.safetensors").read_bytes())}
    parts["settings.yaml"] = spelt(s.changed())

    def make(rng: random.Random) -> Any:
        name = rng.choice(sorted(parts))
        raw = lying(parts[name], rng, ("about",)) if name.startswith("check") else structure(s.changed())(rng)
        return {**parts, name: raw}

    def load(given: dict[str, bytes]) -> None:
        for name, raw in given.items():
            put(folder / name, raw)
        shutil.rmtree(record.folder(s.key()), ignore_errors=True)
        found = take(folder.parent)
        assert len(found.refused) + len(found.under_way) == 1
        if found.refused:
            assert not list(paths.build().rglob("*.safetensors"))
            raise (
                ReproError(found.refused[0]) if found.refused[0].isprintable() else ValueError(found.refused)
            )

    return Case(make, load)


def parameter_files(tmp: Path) -> Case:
    shipped = [p.read_bytes() for p in sorted((ROOT / "params").glob("*/*.yaml")) if p.stat().st_size < 2000]
    path = tmp / "x.yaml"

    def make(rng: random.Random) -> bytes:
        return structure(GRID)(rng) if rng.random() < 0.6 else spoilt(rng.choice(shipped), rng)

    def load(raw: bytes) -> None:
        held(lambda: isinstance(grids.read(put(path, raw)), dict) or 1 / 0)
        for s in grids.plan(path)[:3]:
            assert parse(s.changed()).key() == s.key()

    return Case(make, load)


def numbers(tmp: Path) -> Case:
    path = tmp / "n.json"

    def load(raw: bytes) -> None:
        assert all(type(n) in (int, float) for n in text.numbers(put(path, raw)))

    return Case(structure({"a": 0.5, "b": 2, "total": 3}), load)


def words(tmp: Path) -> Case:
    told = (
        b"optim.epochs=2",
        b"ticket.density=[0.1, 0.2]",
        b'ticket.source="a.b=c d.e=f"',
        b"x={a: 1}",
        b"a=5e-4",
    )
    return Case(
        lambda rng: spoilt(rng.choice(told), rng).decode(errors="replace"),
        lambda raw: text.assignments([raw.replace("=@", "=")]),
    )


def studies(tmp: Path) -> Case:
    tune = {
        "trials": 3,
        "sampler": "tpe",
        "space": {"optim.lr": {"low": 0.01, "high": 1.0, "log": True}, "optim.batch": [32, 64]},
    }
    path = tmp / "s.yaml"
    tree = {"tune": tune, "runs": [{"recipe": "digits", "data.validation": 0.1, "model": NET}]}
    return Case(structure(tree), lambda raw: Study.read(put(path, raw)))


def _study() -> tuple[Study, Path]:
    space = {"optim.lr": {"low": 0.01, "high": 1.0, "log": True}}
    study = Study.read(
        {"tune": {"trials": 3, "space": space}, "runs": [{"recipe": "digits", "data.validation": 0.1}]}
    )
    path = study.file(".journal")
    path.parent.mkdir(parents=True)
    return study, path


def journals(tmp: Path) -> Case:
    study, path = _study()
    journal = Journal(study)
    journal.tell([(trial, Told(point, "complete", 90.0, None)) for trial, point in journal.ask(2, [], 0)])
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]

    def make(rng: random.Random) -> bytes:
        made = warped(lines, rng) if rng.random() < 0.7 else lines
        raw = b"".join(spelt(line) + b"\n" for line in made) if isinstance(made, list) else b"[]\n"
        return raw if made is not lines else spoilt(raw, rng)

    return Case(make, lambda raw: (put(path, raw), Journal(study).finished()))


def summaries(tmp: Path) -> Case:
    study, path = _study()
    results.keep(study, [Told({"optim.lr": 0.1}, "complete", 90.0, None)])
    path = study.file(".json")

    def load(raw: bytes) -> None:
        put(path, raw)
        assert {type(trial["number"]) for trial in results.summary(study)["trials"]} <= {int}

    return Case(structure(json.loads(path.read_bytes())), load)


def bench_records(tmp: Path) -> Case:
    found = json.loads(min((ROOT / "book" / "records" / "bench").glob("*.json")).read_bytes())
    small = {"rows": [{"format": "float32", "gflop_per_s": 5.0}, {"gb_per_s": 2.0}]}
    found["cases"] = {
        "ceiling": small,
        "step": {**found["cases"]["step"], "rows": found["cases"]["step"]["rows"][:2]},
    }
    path = tmp / "b.json"
    return Case(structure(found), lambda raw: bench.combined([bench.read(put(path, raw))]))


def flights(tmp: Path) -> Case:
    path = tmp / "flight.json"

    def load(raw: bytes) -> None:
        known = _known(put(path, raw))
        assert all(int(n) > 0 and rate >= 0 for rates in known.values() for n, rate in rates.items())
        if len(known) < 2:
            raise ReproError("damaged, and measured again")

    return Case(structure({"a card": {"1": 5.0, "2": 9.5}, "another": {"1": 1}}), load)


def cifar_files(tmp: Path) -> Case:
    pixels, path = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8), tmp / "batch"
    files = [pickle.dumps({"data": pixels, "labels": [1, 2]}, protocol) for protocol in range(5)]

    def load(raw: bytes) -> None:
        images, labels = batch(put(path, raw))
        assert images.dtype == torch.uint8 and images.shape == (len(labels), 3, 32, 32)

    return Case(lambda rng: near_ends(rng.choice(files), rng), load)


def _pictures() -> list[bytes]:
    picture, made = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)), []
    for kind in ("JPEG", "JPEG", "JPEG", "PNG", "GIF", "TIFF", "BMP", "PPM"):
        made.append(io.BytesIO())
        picture.save(made[-1], kind)
    return [file.getvalue() for file in made]


def images(tmp: Path) -> Case:
    files, path = _pictures(), tmp / "x.JPEG"

    def load(raw: bytes) -> None:
        assert _pixels(str(put(path, raw)), 8).shape == (3, 8, 8)

    return Case(lambda rng: spoilt(rng.choice(files), rng), load)


def annotations(tmp: Path) -> Case:
    (tmp / FOLDER / "train" / "n00000001").mkdir(parents=True)
    path = tmp / FOLDER / "val" / "val_annotations.txt"
    put_in = path.parent / "images"
    put_in.mkdir(parents=True)
    (put_in / "a.JPEG").touch()
    raw = b"a.JPEG\tn00000001\t0\t0\t3\t3\nb.JPEG\tn00000002\t0\t0\t3\t3\n"

    def load(raw: bytes) -> None:
        (_, _), (told, state) = Folder(1, 8, 1, 1).inspect(put(path, raw) and tmp)
        if state == "missing":
            raise ReproError(told)

    return Case(lambda rng: spoilt(raw, rng), load)


CASES: dict[Callable[[Path], Case], int] = {  # and how many files of each in the slow suite
    masks_files: 12_000,
    checkpoints: 10_000,
    tickets: 8_000,
    cards: 10_000,
    codes: 10_000,
    checkpoints_of_others: 8_000,
    records: 6_000,
    stores: 4_000,
    run_folders: 1_000,
    parameter_files: 8_000,
    numbers: 10_000,
    words: 10_000,
    studies: 4_000,
    journals: 3_000,
    summaries: 4_000,
    bench_records: 4_000,
    flights: 5_000,
    cifar_files: 6_000,
    images: 6_000,
    annotations: 5_000,
}


def survived(case: Callable[[Path], Case], tmp: Path, count: int, seed: object) -> int:
    """Give a loader so many spoilt files; count those that it took for sound."""
    made, rng, sound = case(tmp), random.Random(f"{case.__name__} {seed}"), 0
    record.environment()  # asks git, once
    with watched(tmp), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch and Pillow about what they find odd
        for _ in range(count):
            raw = made.make(rng)
            sound += held(lambda raw=raw: made.load(raw))
    return sound


def test_the_slow_suite_tries_a_hundred_thousand() -> None:
    assert sum(CASES.values()) >= 100_000


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_spoilt_file_is_sound_or_one_line(case: Callable[[Path], Case], tmp_path: Path) -> None:
    survived(case, tmp_path, max(10, CASES[case] // 150), "few")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_thousands_of_spoilt_files_are_sound_or_one_line(
    case: Callable[[Path], Case], tmp_path: Path
) -> None:
    count = CASES[case]
    sound = survived(case, tmp_path, count, "many")
    assert 0 < sound < count, "spoiling must leave some files sound, and others not, or nothing was tried"
    note("spoilt files", count, count, case.__name__.replace("_", " "))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(PLAIN, st.sampled_from(["data", "model", "ticket", "check", "sparse", "optim", "seed", "x"]))
def test_any_values_are_settings_or_one_line(value: Any, section: str) -> None:
    held(lambda: parse({section: value}))
    held(lambda: grids.expand([{section: value}]))
    held(lambda: plain(json.dumps({"format_version": 1, section: value})))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=40) | st.text("[]{}&*a:!? -\n'\"#|>%@`0x_.~<", max_size=40))
def test_any_text_is_yaml_or_one_line(given_text: str) -> None:
    held(lambda: text.load(given_text))
    held(lambda: text.load(given_text, references=False))
    held(lambda: text.assignments([given_text.replace("=@", "=")]))


def test_what_was_survived_is_kept_where_one_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REPRO_RELIABILITY", raising=False)
    note("kills", 1, 1, "training")
    path = tmp_path / "deep" / "found.json"
    monkeypatch.setenv("REPRO_RELIABILITY", str(path))
    for tried in (5, 7):
        note("spoilt files", tried, 4, "b")
    note("kills", 3, 3, "training")
    note("spoilt files", 2, 2, "a")
    assert path.read_text() == json.dumps(json.loads(path.read_text()), indent=1, sort_keys=True) + "\n"
    a, b = {"tried": 2, "survived": 2}, {"tried": 7, "survived": 4}
    assert json.loads(path.read_text()) == {
        "kills": {"training": {"tried": 3, "survived": 3}},
        "spoilt files": {"a": a, "b": b},
    }
