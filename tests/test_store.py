"""The store: damage is found, set aside and made good; the index says what the files say; health and garbage."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from test_cli import call

from repro import experiment, files, health, index, paths, record, rows, seals
from repro.bench import records
from repro.bench.material import Bench, Size, images
from repro.checkpoint import load_tensors, save_tensors
from repro.errors import ReproError
from repro.experiment import run
from repro.grids import expand
from repro.health import garbage, needed, places, surroundings
from repro.intake import take
from repro.keeping import weights_file
from repro.masks import Masks
from repro.pool import plan, table
from repro.publish import publish
from repro.settings import Settings
from repro.tickets import ticket_key
from repro.train import Stopped

NET = {"recipe": "digits", "model": {"name": "resnet8", "width": 0.25}, "data.subset": 200}


def one(score: str | None = None, epochs: int = 1, **over: object) -> Settings:
    ticket = {"score": score, "density": 0.3} if score else {}
    return expand([{**NET, "optim.epochs": epochs, "ticket": ticket, **over}])[0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[2 * len(raw) // 3] ^= 1
    path.write_bytes(raw)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, with nothing planned and nothing published."""
    for name in ("params", "notebooks"):
        (tmp_path / "project" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture(autouse=True)
def _nothing_told() -> Iterator[None]:
    """Let every test hear each warning anew."""
    seals._TOLD.clear()
    yield
    seals._TOLD.clear()


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count what is really trained."""
    real, made = experiment.train, []

    def counting(model: Any, data: Any, s: Settings, **more: Any) -> Any:
        made.append(s.key())
        return real(model, data, s, **more)

    monkeypatch.setattr(experiment, "train", counting)
    return made


# --- checksums


def test_the_sum_of_a_record_is_of_its_canonical_rest() -> None:
    made = seals.sealed({"b": 1, "a": [1.5, None]})
    assert made["sha256"] == hashlib.sha256(b'{"a":[1.5,null],"b":1}').hexdigest()
    assert list(made) == ["b", "a", "sha256"]
    assert seals.opened(json.loads(json.dumps(made, indent=3, sort_keys=True))) == {"b": 1, "a": [1.5, None]}
    assert seals.sealed(made) == made, "sealed once"
    assert seals.opened({"old": 1}) == {"old": 1}
    with pytest.raises(seals.DamagedError, match="its checksum is not"):
        seals.opened(made | {"b": 2})


def test_every_flipped_byte_of_a_record_shows(tmp_path: Path) -> None:
    key = "0a1b2c3d4e5f"
    record.finish(key, {"format": 1, "key": key, "settings": {"seed": 0}, "curve": {"x": [1.25, None]}})
    path = record.folder(key) / "record.json"
    raw, good = path.read_bytes(), record.read(path)
    assert "sha256" not in good and good["curve"] == {"x": [1.25, None]}
    for place in range(len(raw) - 1):  # the last is the line's end
        for bit in (1, 8):
            path.write_bytes(raw[:place] + bytes([raw[place] ^ bit]) + raw[place + 1 :])
            try:
                assert record.read(path) == good, "blank for blank at most"
            except seals.DamagedError:
                continue
            assert raw[place : place + 1].isspace()


def test_every_flipped_byte_of_a_tensor_file_shows(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_tensors(path, {"a": torch.tensor([1.5, -2.0]), "b": torch.tensor([True])}, {"step": 3})
    raw = path.read_bytes()
    assert load_tensors(path, own=True)[1] == {"step": 3}
    for place in range(len(raw)):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(seals.DamagedError, match=re.escape(str(path))) as found:
            load_tensors(path)
        assert "\n" not in str(found.value)


def test_old_files_without_a_sum_are_taken_and_others_are_as_the_library_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    path.write_bytes(save({"a": torch.ones(3)}, {"about": '{"step": 1}'}))
    assert load_tensors(path, own=True)[1] == {"step": 1}
    masks = Masks({"z": torch.tensor([True, False]), "a": torch.tensor([True])})
    for length in range(8, 0, -1):
        masks.save(path, {"note": "x" * length})
        assert seals.check(path, own=True).begin % 8 == 0, "tensors are aligned"
    length = int.from_bytes(path.read_bytes()[:8], "little")
    known = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]
    assert (
        known["note"] == "x"
        and known["name"] == f"{tmp_path.name}/old.safetensors"
        and len(known["sha256"]) == 64
    )


@pytest.mark.parametrize("spoil", [cut, empty, lambda p: p.write_bytes(p.read_bytes() + b"x"), Path.unlink])
def test_a_file_of_another_length_shows_without_reading_it(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.ones(100)})
    assert seals.glance(path, own=True).table["a"]["shape"] == [100]
    spoil(path)
    for look in (seals.glance, seals.check, load_tensors, Masks.load):
        with pytest.raises(seals.DamagedError):
            look(path)


def test_a_file_of_another_run_shows_where_the_name_counts(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine" / "weights.safetensors", tmp_path / "theirs" / "weights.safetensors"
    save_tensors(theirs, {"a": torch.ones(1)})
    mine.parent.mkdir()
    shutil.copy(theirs, mine)
    assert load_tensors(mine)[0]["a"] == 1, "whoever copies a file may read it"
    for look in (seals.glance, seals.check, load_tensors, Masks.load):
        with pytest.raises(seals.DamagedError, match="was written as theirs/weights"):
            look(mine, own=True)


# --- damage is made good


def other(path: Path) -> None:
    """Put the record of another run under this name."""
    found = seals.sealed(record.read(path) | {"key": "0" * 12})
    path.write_text(json.dumps(found))


@pytest.mark.parametrize(
    "spoil", [cut_half := (lambda p: p.write_text(p.read_text()[:40])), empty, flip, other, Path.unlink]
)
def test_a_damaged_record_is_set_aside_and_the_run_made_again(
    trainings: list[str], capsys, spoil: Callable[[Path], None]
) -> None:
    s = one()
    before = run(s)
    path = record.folder(s.key()) / "record.json"
    spoil(path)
    raw = path.read_bytes() if path.exists() else None
    assert record.find(s.key()) is None
    assert list(plan([s])) == [s.key()], "the plan knows"
    assert list(table([s])["status"]) == ["missing"]
    assert s.key() not in set(record.load()["key"])
    again = run(s)
    assert trainings == [s.key()] * 2
    assert {k: again[k] for k in ("curve", "layers")} == {k: before[k] for k in ("curve", "layers")}
    assert plan([s]) == {} and record.find(s.key()) == path
    aside = seals.damaged() / "runs" / s.key() / "record.json"
    lines = capsys.readouterr().err.splitlines()
    assert all(str(path) in line and "damaged" in line for line in lines)
    if raw is not None:
        assert aside.read_bytes() == raw, "nothing is lost"
        assert sum(f"set aside as {aside}" in line for line in lines) == 1


def test_a_run_that_is_made_again_is_under_way_until_it_is_done() -> None:
    s = one()
    run(s)
    empty(record.folder(s.key()) / "record.json")
    stop_at(1, s)
    assert places.state(record.folder(s.key())) == "under way"


def test_what_is_damaged_twice_is_kept_twice() -> None:
    s = one()
    run(s)
    for _ in range(2):
        empty(record.folder(s.key()) / "record.json")
        run(s)
    assert {p.name for p in (seals.damaged() / "runs" / s.key()).iterdir()} == {
        "record.json",
        "record.json.2",
    }


@pytest.mark.parametrize("spoil", [cut, empty, flip])
def test_a_damaged_ticket_is_made_again(capsys, spoil: Callable[[Path], None]) -> None:
    s = one("snip")
    first = experiment.make_ticket(s).masks
    path = paths.build() / "tickets" / f"{ticket_key(s)}.safetensors"
    spoil(path)
    assert experiment.make_ticket(s).masks == first
    assert (seals.damaged() / "tickets" / path.name).exists()
    assert len(capsys.readouterr().err.splitlines()) == 1
    theirs = one("snip", seed=1)
    experiment.make_ticket(theirs)
    shutil.copy(path.with_name(f"{ticket_key(theirs)}.safetensors"), path)
    assert experiment.make_ticket(s).masks == first, "and the ticket of another run under this name"


def stop_at(steps: int, s: Settings) -> Path:
    """Begin a run and stop it after some steps; give its checkpoint."""
    calls = iter(range(10_000))

    def stop() -> bool:
        begun = (record.folder(s.key()) / "masks.safetensors").exists() or s.ticket.score is None
        return begun and next(calls) >= steps

    with pytest.raises(Stopped):
        run(s, stop=stop)
    return record.folder(s.key()) / "checkpoint.safetensors"


@pytest.mark.parametrize("name", ["checkpoint", "masks"])
@pytest.mark.parametrize("spoil", [cut, empty, flip])
def test_a_damaged_checkpoint_begins_anew_and_damaged_masks_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, name: str, spoil: Callable[[Path], None]
) -> None:
    s = one("snip", 2)
    path = stop_at(5, s)
    spoil(path.with_name(f"{name}.safetensors"))
    told: list[int] = []
    made = run(s, report=lambda done, *_: told.append(done))
    assert told == ([4, 8] if name == "checkpoint" else [8]), "anew, or from where it was"
    assert f"{name}.safetensors: damaged" in capsys.readouterr().err.replace("masks: cannot read ", "")
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "straight"))
    assert run(s)["curve"] == made["curve"]


@pytest.mark.parametrize("spoil", [cut, empty, flip])
def test_damaged_weights_are_trained_again_by_the_ticket_that_needs_them(
    trainings: list[str], capsys, spoil: Callable[[Path], None]
) -> None:
    s, dense = one("magnitude"), one()
    expected = experiment.make_ticket(s).masks
    shutil.rmtree(paths.build() / "tickets")
    path = weights_file(record.folder(dense.key()))
    raw = path.read_bytes()
    spoil(path)
    assert (dense.key() in plan([s])) == (spoil is not flip), "a changed length shows at once"
    assert experiment.make_ticket(s).masks == expected
    assert trainings == [dense.key()] * 2
    assert path.read_bytes() == raw, "the same to the last bit"
    assert (seals.damaged() / "runs" / dense.key() / path.name).exists()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_run_without_its_record_is_not_kept_though_its_weights_are_there(trainings: list[str]) -> None:
    s = one()
    run(s)
    for part in ("DONE", "record.json"):
        (record.folder(s.key()) / part).unlink()
    assert list(plan([one("magnitude")])) == [s.key(), one("magnitude").key()]
    assert run(s, weights=True)["status"] == "done"
    assert trainings == [s.key()] * 2


def test_a_damaged_published_record_is_named_and_ignored(elsewhere: Path, capsys) -> None:
    s = one()
    run(s)
    key = publish([s.key()]).written[0]
    path = paths.records() / f"{key}.json"
    assert json.loads(path.read_text())["sha256"], "published with its sum"
    shutil.rmtree(paths.build())
    assert record.find(key) == path
    path.write_text(path.read_text().replace('"reason": null', '"reason": "x"'))
    for _ in range(2):
        assert record.find(key) is None and list(plan([s])) == [key]
        assert record.load().empty
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and str(path) in lines[0] and f"git checkout -- {path}" in lines[0]
    assert path.exists(), "what git keeps is left where it is"


def test_a_record_whose_sum_is_wrong_is_neither_published_nor_imported(
    elsewhere: Path, tmp_path: Path
) -> None:
    s = one()
    run(s)
    path = record.folder(s.key()) / "record.json"
    publish(to=tmp_path / "out")
    path.write_text(path.read_text().replace('"memory_mb": ', '"memory_mb": 1'))
    assert "checksum" in publish(to=tmp_path / "more").refused[0]
    assert take(tmp_path / "out").records == [s.key()], "a sound one takes the place of a damaged one"
    assert record.find(s.key()) == path and (seals.damaged() / "runs" / s.key() / "record.json").exists()
    spoilt = tmp_path / "out" / f"{s.key()}.json"
    spoilt.write_text(spoilt.read_text().replace('"memory_mb": ', '"memory_mb": 1'))
    assert "checksum" in take(tmp_path / "out").refused[0]


def test_a_checkpoint_from_elsewhere_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = stop_at(3, one("snip", 2))
    flip(theirs)
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "home"))
    assert "checksum" in take(theirs.parent).refused[0]


def test_records_are_verified_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    records.fill(paths.build(), 2)
    sums = []
    real = seals.opened
    monkeypatch.setattr(seals, "opened", lambda content: sums.append(1) or real(content))
    for _ in range(3):
        path = record.find("000000000001")
        assert path and record.read(path)["key"] == "000000000001"
    assert len(sums) == 1
    os.utime(path)
    record.find("000000000001")
    assert len(sums) == 2, "a file that may have changed is verified again"


# --- the index


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the records that are really read."""
    real, seen = record.read, []

    def reading(path: Path) -> dict[str, Any]:
        seen.append(path.parent.name)
        return real(path)

    monkeypatch.setattr(record, "read", reading)
    return seen


def mine() -> pd.DataFrame:
    return record.load(record.stores()[0])


def aged(path: Path) -> None:
    """Let a file be older than the index waits for."""
    old = path.stat().st_mtime_ns - 60 * 10**9
    os.utime(path, ns=(old, old))


def test_only_new_and_changed_records_are_read(reads: list[str]) -> None:
    records.fill(paths.build(), 7)
    first = mine()
    assert sorted(reads) == [f"{i:012x}" for i in range(7)]
    reads.clear()
    made = index.place().with_suffix(".sum").stat().st_ino
    pd.testing.assert_frame_equal(mine(), first)
    assert reads == [] and index.place().with_suffix(".sum").stat().st_ino == made, "nothing is written"
    folder = record.folder("000000000003")
    found = json.loads((folder / "record.json").read_text()) | {"memory_mb": 7.5}
    (folder / "record.json").write_text(json.dumps(seals.sealed(found)))
    aged(folder / "record.json")
    shutil.rmtree(record.folder("000000000001"))
    (record.folder("000000000002") / "DONE").unlink()
    changed = mine().set_index("key")
    assert reads == ["000000000003"]
    assert list(changed.index) == [f"{i:012x}" for i in (0, 3, 4, 5, 6)]
    assert changed.loc["000000000003", "memory_mb"] == 7.5
    (record.folder("000000000002") / "DONE").touch()
    assert len(mine()) == 6


def test_a_record_that_was_just_written_is_not_trusted_to_stay(reads: list[str]) -> None:
    """A file can change twice within one tick of the clock, and keep its size."""
    records.fill(paths.build(), 1)
    path = record.folder("0" * 12) / "record.json"
    whole, now = json.loads(path.read_text()), time.time_ns()
    for memory in (1111.111, 2222.222):
        path.write_text(json.dumps(seals.sealed(whole | {"memory_mb": memory})))
        os.utime(path, ns=(now, now))
        assert mine()["memory_mb"].tolist() == [memory]
    assert len(reads) == 2


def test_the_table_is_the_same_with_and_without_whole_structures() -> None:
    run(one("snip"))
    records.fill(paths.build(), 3)
    light, full = mine(), record.load(record.stores()[0], full=True)
    assert list(full) == rows.COLUMNS
    pd.testing.assert_frame_equal(full.drop(columns=rows.HEAVY), light)
    by_hand = [
        {"key": r["key"]} | record.row(r["settings"], r, p)
        for p in map(Path, light["path"])
        for r in [record.read(p)]
    ]
    pd.testing.assert_frame_equal(full, record.frame(by_hand))
    pd.testing.assert_frame_equal(record.details(light[1:3]), full[1:3])
    assert list(record.load(paths.build() / "nowhere")) == [c for c in rows.COLUMNS if c not in rows.HEAVY]


def garbled(path: Path) -> None:
    path.write_bytes(b"no database at all")


def of_other_code(path: Path) -> None:
    path.with_suffix(".sum").write_text("0" * 64)


def other_table(path: Path) -> None:
    """Leave a database in order that holds another table."""
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE runs (other)")
    db.close()
    path.with_suffix(".sum").write_text(index._sum())


@pytest.mark.parametrize("spoil", [flip, cut, empty, garbled, of_other_code, other_table, Path.unlink])
def test_a_damaged_index_is_made_again(reads: list[str], spoil: Callable[[Path], None]) -> None:
    records.fill(paths.build(), 4)
    first = mine()
    reads.clear()
    spoil(index.place())
    pd.testing.assert_frame_equal(mine(), first)
    assert len(reads) == 4
    reads.clear()
    pd.testing.assert_frame_equal(mine(), first)
    assert reads == [] and index.state() == "sound"


def test_a_changed_number_inside_the_index_is_not_believed() -> None:
    records.fill(paths.build(), 2)
    first = mine()
    with sqlite3.connect(index.place()) as db:
        db.execute("UPDATE runs SET numbers = (SELECT zeroblob(length(numbers)))")
    db.close()
    pd.testing.assert_frame_equal(mine(), first)


def test_a_folder_that_cannot_be_written_to_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    records.fill(paths.build(), 3)
    first = mine()
    index._forget()

    def refuse(path: Path, **_: Any) -> Any:
        raise ReproError(f"{path}: read-only file system")

    monkeypatch.setattr(files, "lock", refuse)
    pd.testing.assert_frame_equal(mine(), first)
    assert not index.place().exists()


def test_a_damaged_record_is_left_out_and_named_without_being_read_again(reads: list[str], capsys) -> None:
    records.fill(paths.build(), 3)
    path = record.folder("000000000001") / "record.json"
    flip(path)
    aged(path)
    for _ in range(3):
        assert list(mine()["key"]) == ["0" * 12, "000000000002"]
    assert len(reads) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and str(path) in lines[0]
    (record.folder("000000000002") / "record.json").unlink()
    assert list(mine()["key"]) == ["0" * 12], "DONE without a record"


@given(changes=st.lists(st.tuples(st.sampled_from("+-~!"), st.integers(0, 4)), max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_whatever_happens_the_index_says_what_the_files_say(
    tmp_path_factory, changes: list[tuple[str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_BUILD", str(tmp_path_factory.mktemp("store")))
        patch.setattr(seals, "warn", lambda line: None)
        source = paths.build() / "source"
        records.fill(source, 5)
        for number, (what, i) in enumerate(changes):
            key = f"{i:012x}"
            folder = record.folder(key)
            if what == "+":
                shutil.copytree(source / "runs" / key, folder, dirs_exist_ok=True)
            elif what == "-":
                shutil.rmtree(folder, ignore_errors=True)
            elif folder.exists():
                found = json.loads((source / "runs" / key / "record.json").read_text())
                record.finish(key, found | {"memory_mb": float(number)})
                if what == "!":
                    cut(folder / "record.json")
                    (folder / "record.json").write_text("{" * number)
                aged(folder / "record.json")
            known = mine()
            index._forget()
            pd.testing.assert_frame_equal(mine(), known)
            if number % 2:
                index._forget()


def count(build: str) -> int:
    os.environ["REPRO_BUILD"] = build
    return sum(len(mine()) for _ in range(5))


def test_several_processes_use_one_index_while_records_appear() -> None:
    build = paths.build()
    records.fill(build, 40)
    late = build.parent / "late"
    records.fill(late, 80)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        counts = [pool.submit(count, str(build)) for _ in range(2)]
        for i in range(40, 80):
            shutil.copytree(late / "runs" / f"{i:012x}", record.folder(f"{i:012x}"))
            mine()
        assert all(5 * 40 <= c.result() <= 5 * 80 for c in counts)
    assert len(mine()) == 80 and index.state() == "sound"


def test_threads_share_the_index_too() -> None:
    records.fill(paths.build(), 20)
    found: list[int] = []
    both = [threading.Thread(target=lambda: found.append(len(mine()))) for _ in range(4)]
    for t in both:
        t.start()
    for t in both:
        t.join()
    assert found == [20] * 4


def test_a_killed_update_is_found_out() -> None:
    """What was committed without its checksum is not believed, and read anew."""
    records.fill(paths.build(), 3)
    first = mine()
    before = index.place().with_suffix(".sum").read_text()
    records.fill(paths.build() / "more", 4)
    shutil.copytree(paths.build() / "more" / "runs" / "000000000003", record.folder("000000000003"))
    assert len(mine()) == len(first) + 1
    index.place().with_suffix(".sum").write_text(before)
    assert index.state() == "stale"
    assert len(mine()) == 4


# --- health


@pytest.mark.parametrize(
    ("version", "bounds", "fit"),
    [
        ("2.6.0+cu124", ">=2.6", True),
        ("2.5.1", ">=2.6", False),
        ("2.10", ">=2.6", True),
        ("1.0.4.post1", ">=1.0.4.post1,<2", True),
        ("2.0", ">=1.0.4.post1,<2", False),
        ("2", "<=2.0", True),
        ("3.1", "!=3.1", False),
        ("0.9", "", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, bounds: str, fit: bool) -> None:
    assert surroundings.fits(version, bounds) == fit


def test_versions_out_of_bounds_need_attention(elsewhere: Path) -> None:
    assert [f.level for f in surroundings.versions()] == ["note"], "no pyproject.toml here"
    told = 'requires-python = ">=3.99"\ndependencies = ["numpy>=99", "nowhere-to-be-found>=1", "pandas>=1"]\n'
    (elsewhere / "pyproject.toml").write_text(f"[project]\n{told}")
    lines = [f.line() for f in surroundings.versions()]
    assert len(lines) == 3 and all(line.startswith("act") for line in lines)
    assert (
        "Python 3." in lines[0] and "numpy" in lines[1] and "nowhere-to-be-found is not installed" in lines[2]
    )


def test_a_full_disk_and_missing_data_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [f.level for f in surroundings.room()] == ["ok", "ok"]
    monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(10, 5, 5))
    assert [f.level for f in surroundings.room()] == ["act", "act"]
    monkeypatch.setenv("REPRO_DEVICE", "cuda:77")
    if not torch.cuda.is_available():
        assert [f.level for f in surroundings.devices()] == ["act"]
    monkeypatch.setattr(
        "repro.data.listing", lambda: [{"name": "x", "status": "corrupt"}, {"name": "y", "status": "missing"}]
    )
    assert [f.level for f in surroundings.data_sets()] == ["ok", "note", "act"]


def acts(deep: bool = False) -> list[str]:
    from repro.health import store

    return [f.line() for f in store.examine(deep) if f.level == "act"]


def test_a_sound_store_is_healthy_and_a_run_under_way_is_no_fault(elsewhere: Path) -> None:
    from repro.health import store

    run(one("magnitude"))
    stop_at(5, one("snip", 2))
    assert acts(deep=True) == []
    lines = [f.line() for f in store.examine(False)]
    (line,) = [line for line in lines if "under way" in line]
    assert "1 of 2 epochs, 5 steps: `repro run " in line and one("snip", 2).key() in line
    assert any("2 finished runs" in line for line in lines)
    with files.lock(record.folder(one("snip", 2).key()) / "lock"):
        assert any("a process is making it" in f.line() for f in store.examine(False))


def test_each_kind_of_damage_is_found_with_what_to_do(elsewhere: Path) -> None:
    s = one("magnitude")
    run(s)
    flip(weights_file(record.folder(one().key())))
    assert acts() == [], "the heads and the lengths are right"
    (line,) = acts(deep=True)
    assert "weights.safetensors" in line and "checksum" in line and "remove it" in line
    empty(paths.build() / "tickets" / f"{ticket_key(s)}.safetensors")
    (line,) = acts()
    assert "tickets" in line and "empty" in line
    flip(record.folder(s.key()) / "record.json")
    assert len(acts()) == 2
    (paths.build() / "runs" / "0123456789ab").mkdir()
    assert any("0123456789ab: a run that got to no checkpoint: `repro gc --yes`" in line for line in acts())
    (record.folder(one().key()) / "DONE").unlink()
    assert any("without its marker DONE: run it again" in line for line in acts())
    left = paths.build() / "runs" / "0123456789ab" / ".record.json.a1b2c3d4"
    left.touch()
    assert not any(".record.json" in line for line in acts()), "it may still be written"
    os.utime(left, (1, 1))
    assert any("never finished" in line for line in acts())


def test_rot_that_leaves_no_trace_shows_only_when_all_is_read(elsewhere: Path) -> None:
    records.fill(paths.build(), 2)
    assert acts() == []
    path = record.folder("0" * 12) / "record.json"
    facts = path.stat()
    flip(path)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    record._SOUND.clear()
    assert acts() == []
    assert len(acts(deep=True)) == 1


def test_doctor_ends_with_one_if_something_needs_attention(elsewhere: Path, monkeypatch, capsys) -> None:
    fine = [health.Finding("ok", "all is well"), health.Finding("note", "by the way", "nothing to do")]
    monkeypatch.setattr(surroundings, "examine", lambda: iter(fine))
    code, out, _ = call(capsys, "doctor")
    assert code == 0 and out.startswith("ok    all is well\nnote  by the way: nothing to do\n")
    (paths.build() / "runs" / "0123456789ab").mkdir(parents=True)
    code, out, _ = call(capsys, "doctor", "--deep")
    assert code == 1 and "act   " in out


# --- what can go


def kinds(**how: float) -> list[tuple[str, str]]:
    return sorted((item.kind, item.path.name) for item in garbage.listed(**how))


def test_what_nobody_needs_can_go_and_records_never_do(elsewhere: Path, capsys) -> None:
    s = one("magnitude")
    made = run(s, weights=True)
    (paths.build() / "runs" / "0123456789ab").mkdir()
    seals.set_aside(_spoilt(paths.build() / "x" / "y.json"), ReproError("x"))
    left = paths.build() / "tickets" / ".t.safetensors.a1b2c3d4"
    left.touch()
    ticket = f"{ticket_key(s)}.safetensors"
    expected = [("damaged", "y.json"), ("masks", "masks-final.safetensors"), ("orphan", "0123456789ab")]
    expected += [("ticket", ticket), *[("weights", "weights.safetensors")] * 2]
    assert kinds() == sorted(expected)
    os.utime(left, (1, 1))
    assert ("temporary", left.name) in kinds()
    before = {p for p in paths.build().rglob("*")}
    code, out, _ = call(capsys, "gc")
    assert (
        code == 0
        and "7 that can go" in out
        and "nothing was removed" in out
        and "no unfinished run needs it" in out
    )
    assert {p for p in paths.build().rglob("*")} == before
    code, out, _ = call(capsys, "gc", "--yes")
    assert code == 0 and "7 removed" in out
    assert record.read(record.find(s.key())) == made and len(mine()) == 2
    assert {p.name for p in record.folder(s.key()).iterdir()} == {
        "DONE",
        "record.json",
        "settings.yaml",
        "lock",
    }
    assert not record.folder("0123456789ab").exists() and not any(seals.damaged().rglob("*"))
    assert call(capsys, "gc")[1] == "nothing can go\n"
    assert list(table([s])["status"]) == ["done"]


def _spoilt(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("x")
    return path


def test_what_an_unfinished_run_needs_stays(elsewhere: Path) -> None:
    s = one("magnitude", 2, **{"ticket.weights": "rewound", "ticket.rewind": 1})
    stop_at(3, s)
    (before,) = [x for x in needed.unfinished()]
    assert before == s
    folders = {item.path.parent.name for item in garbage.listed()}
    assert folders == set(), "the pre-training, its snapshot, the ticket, the checkpoint: all are needed"
    (elsewhere / "params" / "a").mkdir()
    run(s)
    assert {name for _, name in kinds()} == {
        f"{ticket_key(s)}.safetensors",
        "weights.safetensors",
        "weights-1.safetensors",
    }
    grid = {**NET, "optim.epochs": 2, "ticket": {"score": "magnitude", "density": 0.7}}
    (elsewhere / "params" / "a" / "b.yaml").write_text(json.dumps({"runs": [grid]}))
    assert {name for _, name in kinds()} == {f"{ticket_key(s)}.safetensors", "weights-1.safetensors"}
    run(expand([grid])[0])
    assert ("weights", "weights.safetensors") in kinds(), "planned, and done"


def test_what_is_in_use_or_young_stays(elsewhere: Path) -> None:
    run(one())
    orphan = paths.build() / "runs" / "0123456789ab"
    orphan.mkdir()
    found = garbage.listed()
    assert len(found) == 2
    assert garbage.listed(older=3600) == []
    os.utime(weights_file(record.folder(one().key())), (1, 1))
    assert [item.kind for item in garbage.listed(older=3600)] == ["weights"]
    with files.lock(record.folder(one().key()) / "lock"):
        (orphan / "checkpoint.safetensors").touch()  # it has got further meanwhile
        gone, left = garbage.remove(found)
    assert (gone.number, len(left)) == (0, 2)
    assert weights_file(record.folder(one().key())).exists() and orphan.exists()
    with files.lock(orphan / "lock"):
        (orphan / "checkpoint.safetensors").unlink()
        assert [item.kind for item in garbage.listed()] == ["weights"]


def test_an_unreadable_folder_of_a_run_is_an_orphan_only_without_a_checkpoint(elsewhere: Path) -> None:
    folder = paths.build() / "runs" / "0123456789ab"
    folder.mkdir(parents=True)
    states = []
    for part in ("record.json", "checkpoint.safetensors", "DONE"):
        states.append(places.state(folder))
        (folder / part).touch()
    assert [*states, places.state(folder)] == ["orphan", "unmarked", "under way", "done"]
    assert places.settings(folder) is None


# --- the bench, and the size that it is about


def test_the_bench_lists_made_up_records() -> None:
    given = Bench(torch.device("cpu"), *images(20, 10), Size(records=30), repeats=2)
    before = paths.build()
    cold, warm = records.store(given)
    assert paths.build() == before and not before.exists()
    assert (cold["n"], warm["n"], cold["records"]) == (1, 2, 30)
    assert warm["median_s"] > 0 and 20_000 < 1000 * warm["record_kb"] < 60_000
    assert 20 < warm["process_mib"] < 1000


def test_made_up_records_are_sound_and_as_large_as_real_ones() -> None:
    size = records.fill(paths.build(), 160)
    frame = mine()
    assert set(frame["method"]) == {"magnitude", "erk", "snip", "grasp", "synflow"}
    assert frame.groupby(["method", "density"]).size().min() == 5 and set(frame["seed"]) == set(range(5))
    path = record.folder("0" * 12) / "record.json"
    assert abs(path.stat().st_size - size) < 100
    found = record.read(path)
    assert len(found["curve"]["lr"]) == 160 and len(found["layers"]) == 20
    assert rows.overview(frame)["runs"].sum() == 160


@pytest.mark.reliability
def test_fifty_thousand_records_are_listed_in_two_seconds_and_500_mb(tmp_path: Path) -> None:
    records.fill(paths.build(), 50_000)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as fresh:
        fresh.submit(records.listed, 1).result()
    with ProcessPoolExecutor(1, mp_context=context) as fresh:
        spent, peak = fresh.submit(records.listed, 5).result()
    assert min(spent) < 2.0 and peak < 500
