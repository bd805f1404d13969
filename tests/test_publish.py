"""Records on their way to the book and between machines: nothing lost, nothing believed, nothing overwritten."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro import files, paths, record, vet
from repro.checkpoint import load_tensors, save_tensors
from repro.errors import ReproError
from repro.experiment import run
from repro.facts import head
from repro.grids import expand, plan
from repro.intake import take
from repro.pool import table
from repro.publish import publish, tell, text
from repro.settings import Settings, parse
from repro.train import Stopped

NET = {"recipe": "digits", "model": {"name": "resnet8", "width": 0.25}, "data.subset": 200}


def one(score: str | None = "snip", epochs: int = 1, **over: object) -> Settings:
    ticket = {"score": score, "density": 0.3} if score else {}
    return expand([{**NET, "optim.epochs": epochs, "ticket": ticket, **over}])[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run's folder, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_BUILD", str(tmp_path_factory.mktemp("trained")))
        patch.setenv("REPRO_DEVICE", "cpu")
        run(one())
        return record.folder(one().key()).resolve()


@pytest.fixture
def real(trained: Path) -> dict[str, Any]:
    return record.read(trained / "record.json")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Change to the store of a named machine."""

    def change(name: str) -> None:
        monkeypatch.setenv("REPRO_BUILD", str(tmp_path / name))

    change("gpu")
    return change


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project of its own: one section, whose quick profile is a part of nothing else."""
    grids = {
        "paper": {**NET, "optim.epochs": 1, "ticket": {"score": "snip", "density": 0.3}, "seed": [0, 1]},
        "quick": {**NET, "optim.epochs": 2, "ticket": {"score": "magnitude", "density": 0.3}},
    }
    (tmp_path / "project" / "notebooks").mkdir(parents=True)
    folder = tmp_path / "project" / "params" / "section"
    folder.mkdir(parents=True)
    for name, grid in grids.items():
        (folder / f"{name}.yaml").write_text(json.dumps({"runs": [grid]}))
    monkeypatch.chdir(tmp_path / "project")
    assert paths.root() == tmp_path / "project"
    return tmp_path / "project"


def store(found: dict[str, Any], **over: object) -> str:
    """Put a record into this machine's store as if it had been made here; give its key."""
    s = parse(found["settings"] | over)
    found = found | {"curve": {k: v[-1:] * s.optim.epochs for k, v in found["curve"].items()}}
    record.finish(s.key(), found | json.loads(json.dumps(head(s))))
    return s.key()


def bytes_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "lock"]
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in found}


# --- the form of a published file


numbers = st.one_of(st.none(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
values = st.recursive(
    st.one_of(numbers, st.text(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
)


@given(
    st.dictionaries(st.text().filter(lambda k: k not in ("curve", "layers")), values),
    st.dictionaries(st.text(), st.lists(numbers)),
    st.lists(st.dictionaries(st.text(), numbers)),
)
def test_what_is_written_reads_back_exactly_and_order_does_not_matter(rest, curve, layers) -> None:
    found = rest | {"curve": curve, "layers": layers}
    written = text(found)
    assert json.loads(written) == found
    assert text(dict(reversed(found.items()))) == written
    assert written.endswith("}\n") and "\r" not in written


def test_each_entry_each_curve_and_each_layer_has_one_line(real) -> None:
    lines = text(real).splitlines()
    assert len(lines) == 2 + len(real) + len(real["curve"]) + 1 + len(real["layers"]) + 1
    changed = copy.deepcopy(real)
    changed["curve"]["train_loss"][0] += 1
    changed["layers"][3]["kept"] += 1
    differing = [a for a, b in zip(lines, text(changed).splitlines(), strict=True) if a != b]
    assert [line.split(":")[0] for line in differing] == [' "train_loss"', ' {"dead"']


# --- publishing


def test_publishing_twice_changes_no_byte_and_the_pages_read_it(
    machine, real, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store(real)
    made = publish()
    assert (made.written, made.there, made.planned, len(made.missing)) == ([key], [], 2, 1)
    assert "1 of 2 planned runs not finished" in made.lines()[0]
    before = bytes_of(paths.records())
    again = publish()
    assert (again.written, again.there) == ([], [key])
    assert bytes_of(paths.records()) == before
    ours = table([one()]).drop(columns="path")
    machine("empty")
    assert record.find(key) == paths.records() / f"{key}.json"
    assert record.read(paths.records() / f"{key}.json") == real
    pd.testing.assert_frame_equal(table([one()]).drop(columns="path"), ours)
    assert list(record.load()["key"]) == [key]
    assert publish().there == [key], "what another machine published is there, not missing"


def test_another_machines_record_stays_unless_ours_is_asked_for(machine, real, project: Path) -> None:
    key = store(real)
    publish()
    theirs = (paths.records() / f"{key}.json").read_bytes()
    store(real | {"memory_mb": 1.5})
    made = publish()
    assert (made.written, made.differ) == ([], [key])
    assert key in made.lines()[1] and "--replace" in made.lines()[1]
    assert (paths.records() / f"{key}.json").read_bytes() == theirs
    assert publish([key[:5]], replace=True).written == [key]
    assert publish([key[:5]], replace=True).there == [key], "the same record is not written again"
    assert record.read(paths.records() / f"{key}.json")["memory_mb"] == 1.5
    (paths.records() / f"{key}.json").write_text("{")
    assert publish().differ == [key], "a damaged file is not ours"


def test_runs_that_the_report_trains_live_never_enter_the_book(machine, real, project: Path) -> None:
    quick = plan("params/section/quick.yaml")[0]
    wanted = store(real)
    live = store(real, optim=dict(quick.optim), ticket=dict(quick.ticket))
    before = store(real, optim=dict(quick.optim), ticket={})
    assert live == quick.key() and before == one(None, 2).key()
    assert publish().written == [wanted]
    mixed = publish([wanted, live, before])
    assert mixed.live == sorted([live, before]) and "--to" in mixed.lines()[1]
    for words in (["params/section/quick.yaml"], [live], [before]):
        for book in (None, project / "book" / "records", project / "copy" / "book" / "records"):
            with pytest.raises(ReproError, match="trains these runs live"):
                publish(words, book)
    assert [p.stem for p in paths.records().iterdir()] == [wanted]
    assert set(publish(to=project / "away").written) == {wanted, live, before}


def test_without_words_only_the_published_protocol_enters_the_book(machine, real, project: Path) -> None:
    other = store(real, seed=7)
    assert publish().written == []
    assert publish([other[:6]]).written == [other]


def test_a_word_that_names_nothing_is_one_line(machine, real, project: Path) -> None:
    with pytest.raises(ReproError, match="no finished run with this key"):
        publish(["zzz"])
    store(real), store(real, seed=1)
    with pytest.raises(ReproError, match="2 finished runs"):
        publish([""])
    with pytest.raises(ReproError, match="no such file"):
        publish(["nowhere.yaml"])
    (project / "taken").write_text("")
    with pytest.raises(ReproError, match=r"another folder with --to"):
        publish(to=project / "taken")


def test_publish_gives_out_nothing_that_import_would_refuse(machine, real, project: Path, capsys) -> None:
    key = store(real)
    (record.folder("0" * 12)).mkdir()
    shutil.copytree(record.folder(key), record.folder("0" * 12), dirs_exist_ok=True)
    made = publish(to=project / "away")
    assert made.written == [key] and len(made.refused) == 1
    with pytest.raises(ReproError, match="1 refused"):
        tell(made)
    assert f"refused: {record.folder('0' * 12)}" in capsys.readouterr().err


# --- importing finished runs


def test_there_and_back_again(machine, trained: Path, real, project: Path) -> None:
    shutil.copytree(trained, record.folder(trained.name))
    published = publish(to=project / "out").written
    machine("home")
    assert take(project / "out").records == published == [trained.name]
    folder = record.folder(trained.name)
    assert record.read(folder / "record.json") == real
    assert (folder / "settings.yaml").read_bytes() == (trained / "settings.yaml").read_bytes()
    assert plan(folder / "settings.yaml") == [one()]
    before = bytes_of(paths.build())
    assert take(project / "out").here == [trained.name]
    assert bytes_of(paths.build()) == before
    assert publish().written == [trained.name]
    assert bytes_of(paths.records())[f"{trained.name}.json"][0] == (
        (project / "out" / f"{trained.name}.json").read_bytes()
    ), "the same record is the same file, whichever way it went"


def test_run_folders_as_another_machine_has_them(machine, trained: Path) -> None:
    assert take(trained.parent).records == [trained.name]
    assert (record.folder(trained.name) / "record.json").read_bytes() == (
        trained / "record.json"
    ).read_bytes()
    machine("other")
    assert take(trained).records == [trained.name], "a single run folder will do"


def test_our_own_record_stays(machine, real, tmp_path: Path) -> None:
    key = store(real)
    before = bytes_of(paths.build())
    theirs = tmp_path / "theirs"
    files.write(theirs / f"{key}.json", text(real | {"memory_mb": 1.5}))
    found = take(theirs)
    assert found.ours == [key] and key in found.lines()[1]
    assert bytes_of(paths.build()) == before


def test_a_folder_without_records_is_one_line(machine, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ReproError, match="no such folder"):
        take(tmp_path / "nowhere")
    (tmp_path / "empty" / "runs").mkdir(parents=True)
    with pytest.raises(ReproError, match=r"did you mean .*runs"):
        take(tmp_path / "empty")
    shutil.copytree(trained, record.folder(trained.name))
    for own in (record.folder(trained.name), record.folder(trained.name).parent):
        with pytest.raises(ReproError, match="this is the store"):
            take(own)


def mangled(found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Give file name, content and reason of records that must be refused."""
    key, good = found["key"], json.dumps(found)

    def but(**over: Any) -> str:
        return json.dumps(found | over)

    def deeper(name: str, **over: Any) -> str:
        return but(**{name: found[name] | over})

    other = found["settings"] | {"seed": 9}
    yield key, good[: len(good) // 2], "no valid JSON"
    yield key, "", "no valid JSON"
    yield key, "[" * 100_000, "no valid JSON"
    yield key, "[1]", "not a record of format"
    yield key, but(format=2), "not a record of format"
    yield key, but(settings=other), "its key does not follow"
    yield key, but(key="../../../evil"), "its key does not follow"
    yield "..evil", but(key="..evil"), "its key does not follow"
    yield "other", good, f"it holds key {key}"
    yield key, but(command="repro run; echo evil"), "its command does not follow"
    yield key, but(settings=found["settings"] | {"seed": False}), "its settings does not follow"
    yield key, but(settings=found["settings"] | {"sed": 0}), "did you mean 'seed'"
    yield key, but(settings=found["settings"] | {"model": {"name": "x" * 10_000}}), "unknown model.name"
    yield key, json.dumps({k: v for k, v in found.items() if k != "layers"}), "layers: field required"
    yield key, but(layers=5), "layers"
    yield key, but(layers=[found["layers"][0] | {"kept": 10**9}]), "more weights are kept"
    yield key, but(status="splendid"), "status"
    yield key, deeper("accuracy", final=99.0), "final accuracy"
    yield key, deeper("accuracy", best="NaN"), "accuracy.best"
    yield key, deeper("accuracy", best=float("nan")), "no valid JSON"
    yield key, good.replace('"memory_mb": ', '"memory_mb": 1e999, "x": '), "no finite number"
    yield key, deeper("flops", ratio=10**400), "16 digits"
    yield key, deeper("curve", lr=[]), "columns differ in length"
    yield key, but(curve={k: v * 2 for k, v in found["curve"].items()}), "its training"
    yield key, but(reason="\ud800"), "no valid JSON"
    yield key, but(reason="\x1b[2J"), "markup or control characters"
    yield key, but(reason="<script>"), "markup or control characters"
    yield key, deeper("environment", device="\x9b2J"), "markup or control characters"


def test_nothing_mangled_comes_in_and_all_else_does(machine, real, tmp_path: Path, capsys) -> None:
    for number, (name, content, reason) in enumerate(mangled(real)):
        machine(f"home{number}")
        theirs = tmp_path / "theirs" / str(number)
        files.write(theirs / f"{name}.json", content)
        files.write(theirs / f"{parse(real['settings'] | {'seed': 1}).key()}.json", _seed_1(real))
        outside = {p for p in tmp_path.rglob("*") if paths.build() not in p.parents}
        found = take(theirs)
        assert len(found.records) == 1, "the sound one is taken"
        assert len(found.refused) == 1, (name, content[:80], reason)
        line = found.refused[0]
        assert str(theirs / f"{name}.json") in line and reason in line
        assert "\n" not in line and len(line) < 600
        assert {p for p in tmp_path.rglob("*") if paths.build() not in p.parents} - {paths.build()} == outside
        assert len(list(record.stores()[0].iterdir())) == 1
        with pytest.raises(ReproError, match="1 refused"):
            tell(found)
        assert capsys.readouterr().err.count("refused: ") == 1


def _seed_1(found: dict[str, Any]) -> str:
    return text(found | json.loads(json.dumps(head(parse(found["settings"] | {"seed": 1})))))


def test_an_oversized_record_is_not_even_read(machine, real, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "theirs" / f"{real['key']}.json"
    files.write(path, text(real))
    with path.open("r+b") as file:
        file.truncate(vet.RECORD_LIMIT + 1)
    assert "larger than 32 MiB" in take(path.parent).refused[0]
    path.unlink()
    path.mkdir()
    (path.parent / f"{'0' * 12}.json").symlink_to(tmp_path / "nowhere")
    assert [line.rsplit(": ", 1)[1] for line in take(path.parent).refused] == ["no plain file"] * 2


def _leaves(value: Any, place: tuple = ()) -> Iterator[tuple]:
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for k, v in inner:
        yield from _leaves(v, (*place, k))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(data=st.data())
def test_whatever_is_accepted_the_pages_can_read(real, tmp_path: Path, data: st.DataObject) -> None:
    """One value anywhere in a record becomes another: it is refused in one line, or it fits into the table."""
    found = copy.deepcopy(real)
    *above, last = data.draw(st.sampled_from([p for p in _leaves(found) if p]))
    holder = found
    for step in above:
        holder = holder[step]
    holder[last] = data.draw(values)
    (tmp_path / "x.json").write_text(json.dumps(found))
    try:
        accepted, s = vet.load(tmp_path / "x.json")
    except ReproError as error:
        assert "\n" not in str(error)
        return
    assert s == one()
    row = record.frame([record.row(accepted["settings"], accepted)]).iloc[0]
    assert row["key"] != row["key"] or row["accuracy"] == real["accuracy"]["final"]
    text(accepted)


def test_settings_of_every_parameter_file_come_back_from_their_record() -> None:
    runs = [s for file in sorted((paths.root() / "params").glob("*/*.yaml")) for s in plan(file)]
    assert len(runs) > 300
    for s in runs:
        written = json.loads(json.dumps(head(s)))
        assert json.loads(json.dumps(head(parse(written["settings"])))) == written


# --- runs under way


def stopped(s: Settings, steps: int) -> Path:
    """Begin a run here and stop it after some steps; give its folder."""
    folder, calls = record.folder(s.key()), iter(range(10_000))

    def stop() -> bool:
        begun = (folder / "masks.safetensors").exists() or s.ticket.score is None
        return begun and next(calls) >= steps

    with pytest.raises(Stopped):
        run(s, stop=stop)
    assert load_tensors(folder / "checkpoint.safetensors")[1]["step"] == steps
    return folder


@pytest.mark.parametrize("score", [None, "magnitude"])
def test_a_run_goes_on_where_another_machine_left_it(machine, score: str | None) -> None:
    s = one(score, 2)
    theirs = stopped(s, 5)
    machine("straight")
    straight = run(s)
    machine("home")
    assert take(theirs.parent).under_way == [s.key()]
    folder = record.folder(s.key())
    assert {p.name for p in folder.iterdir()} - {"lock"} == {p.name for p in theirs.iterdir()} - {"lock"}
    again = take(theirs.parent)
    assert again.records == again.under_way == [] and s.key() in again.here
    seen: list[int] = []
    resumed = run(s, report=lambda done, *_: seen.append(done))
    assert seen == [8], "only the second epoch was left"
    assert (resumed["curve"], resumed["layers"]) == (straight["curve"], straight["layers"])
    assert not (paths.build() / "tickets").exists(), "neither ticket nor pre-training was made again"
    before = bytes_of(paths.build())
    assert s.key() in take(theirs.parent).here, "finished here: nothing to take"
    assert bytes_of(paths.build()) == before


def moving(method: str) -> Settings:
    """A run whose masks move at every second step: from a random mask, or from the dense network."""
    ticket = {"score": "random", "allocation": "erk", "density": 0.3} if method == "rigl" else {}
    final = {"density": 0.3} if method == "gmp" else {}
    return expand(
        [{**NET, "optim.epochs": 2, "ticket": ticket, "sparse": {"method": method, "interval": 2, **final}}]
    )[0]


@pytest.mark.parametrize("method", ["rigl", "gmp"])
def test_masks_that_move_go_on_where_another_machine_left_them(machine, method: str) -> None:
    s = moving(method)
    theirs = stopped(s, 5)
    machine("straight")
    straight = run(s)
    machine("home")
    assert take(theirs.parent).under_way == [s.key()]
    resumed = run(s)
    for name in ("curve", "layers", "sparse", "flops"):
        assert resumed[name] == straight[name]
    assert straight["sparse"]["updates"] == 3


@pytest.mark.parametrize(("name", "about"), [("explored.classifier.weight", {}), ("", {"moves": None})])
def test_a_checkpoint_without_the_masks_that_move_stays_out(machine, name: str, about: dict) -> None:
    theirs = stopped(moving("rigl"), 5)
    tensors, known = load_tensors(theirs / "checkpoint.safetensors")
    tensors.pop(name, None)
    save_tensors(theirs / "checkpoint.safetensors", tensors, known | about)
    machine("home")
    assert "masks that move" in take(theirs.parent).refused[0]


def test_of_two_states_of_a_run_the_further_stays(machine) -> None:
    s = one(epochs=2)
    near = stopped(s, 1)
    machine("home")
    far = stopped(s, 6)
    before = bytes_of(far)
    assert take(near).here == [s.key()]
    assert bytes_of(far) == before
    machine("gpu")
    assert take(far).under_way == [s.key()]
    assert load_tensors(near / "checkpoint.safetensors")[1]["step"] == 6


def test_a_finished_record_ends_our_own_beginning(machine, tmp_path: Path) -> None:
    s = one(epochs=2)
    run(s)
    files.write(tmp_path / "theirs" / f"{s.key()}.json", text(record.read(record.find(s.key()))))
    machine("home")
    folder = stopped(s, 1)
    assert take(tmp_path / "theirs").records == [s.key()]
    assert {p.name for p in folder.iterdir()} - {"lock"} == {"DONE", "record.json", "settings.yaml"}


def test_a_run_that_is_being_made_is_left_alone(machine, trained: Path, tmp_path: Path) -> None:
    theirs = stopped(one(epochs=2), 1)
    shutil.copytree(trained, theirs.parent / trained.name)
    machine("home")
    with files.lock(record.folder(theirs.name) / "lock"), files.lock(record.folder(trained.name) / "lock"):
        found = take(theirs.parent)
        assert found.busy == sorted([theirs.name, trained.name]) and "another process" in found.lines()[1]
    assert not [p for p in paths.build().rglob("*") if p.is_file() and p.name != "lock"]
    assert len(take(theirs.parent).records) == 1, "afterwards it is taken"


def spoil_settings(folder: Path) -> None:
    (folder / "settings.yaml").write_text("seed: 1\n")


def refer(folder: Path) -> None:
    (folder / "settings.yaml").write_text("a: &a [x]\nb: [*a, *a]\n")


def cut_checkpoint(folder: Path) -> None:
    raw = (folder / "checkpoint.safetensors").read_bytes()
    (folder / "checkpoint.safetensors").write_bytes(raw[:-1])


def other_network(folder: Path) -> None:
    tensors, about = load_tensors(folder / "checkpoint.safetensors")
    save_tensors(folder / "checkpoint.safetensors", tensors | {"model.conv.weight": torch.zeros(1)}, about)


def many_threads(folder: Path) -> None:
    tensors, about = load_tensors(folder / "checkpoint.safetensors")
    save_tensors(folder / "checkpoint.safetensors", tensors, about | {"threads": 10**6})


def no_masks(folder: Path) -> None:
    (folder / "masks.safetensors").unlink()


def spoil_masks(folder: Path) -> None:
    (folder / "masks.safetensors").write_bytes(b"nonsense")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_settings, "settings.yaml gives key"),
        (refer, "holds references"),
        (cut_checkpoint, "damaged"),
        (other_network, "not of the network"),
        (many_threads, "threads: input should be less than"),
        (no_masks, "copy the whole folder"),
        (spoil_masks, "cannot read"),
    ],
)
def test_a_spoilt_run_under_way_stays_out(
    machine, tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    theirs = stopped(one(epochs=2), 1)
    spoil(theirs)
    machine("home")
    found = take(theirs.parent)
    assert len(found.refused) == 1 and reason in found.refused[0]
    assert str(theirs) in found.refused[0] and "\n" not in found.refused[0]
    assert not list(paths.build().rglob("*.safetensors"))
