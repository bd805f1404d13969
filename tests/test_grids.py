"""Parameter files: read safely and expanded into exactly the runs they spell out."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro import paths
from repro.errors import ReproError
from repro.grids import expand, plan, read
from repro.recipes import RECIPES
from repro.text import value

ROOT = Path(__file__).parent.parent


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    return file


def test_exponents_are_floats() -> None:
    assert [value(v) for v in ("5e-4", "1e3", "-2E+2", "1.5e-3", "7", "snip", "[0, 1]")] == [
        5e-4,
        1e3,
        -200.0,
        1.5e-3,
        7,
        "snip",
        [0, 1],
    ]


def test_lists_are_axes_and_repetitions_fall_away() -> None:
    runs = expand(
        [
            {
                "model": {"name": ["resnet8", "resnet20"]},
                "ticket": {"score": "snip", "density": [0.1, 0.05]},
                "seed": [0, 1],
            },
            {"model.name": "resnet8", "ticket.score": "snip", "ticket.density": 0.1},
        ]
    )
    assert len(runs) == 8
    assert {(s.model.name, s.ticket.density, s.seed) for s in runs} == {
        (m, d, k) for m in ("resnet8", "resnet20") for d in (0.1, 0.05) for k in (0, 1)
    }


def test_a_list_that_is_a_value_is_no_axis_and_a_list_of_lists_is() -> None:
    one = expand([{"optim": {"milestones": [0.3, 0.6]}}])
    two = expand([{"optim": {"milestones": [[0.3, 0.6], [0.5]]}}])
    assert [s.optim.milestones for s in one] == [(0.3, 0.6)]  # type: ignore[attr-defined]
    assert [s.optim.milestones for s in two] == [(0.3, 0.6), (0.5,)]  # type: ignore[attr-defined]


def test_a_recipe_is_overridden_and_options_of_another_choice_fall_away() -> None:
    (s,) = expand(
        [{"recipe": "gohil-resnet", "model.name": "resnet50", "optim": {"schedule": "cosine", "epochs": 3}}]
    )
    assert (s.optim.schedule, s.optim.epochs, s.optim.batch) == ("cosine", 3, 512)
    assert "milestones" not in s.optim.model_dump()


def test_overrides_lie_upon_every_grid() -> None:
    runs = expand(
        [{"seed": [0, 1]}, {"ticket": {"score": "snip", "density": 0.5}}], {"optim.epochs": 2, "seed": 7}
    )
    assert len(runs) == 2
    assert {(s.seed, s.optim.epochs) for s in runs} == {(7, 2)}


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_is_valid(name: str) -> None:
    grid = (
        {"recipe": name}
        if name == "digits"
        else {"recipe": name, "data.name": "cifar10", "model.name": "vgg16"}
    )
    if name == "rigl-cifar100":
        grid["data.name"] = "cifar100"
    (s,) = expand([grid])
    assert s.optim.epochs == RECIPES[name]["optim"]["epochs"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 1\n- 2\n", ["expected a mapping", "list"]),
        ("", ["expected a mapping"]),
        ("runs: []\n", ["at least one grid"]),
        ("runs:\n  - seed: []\n", ["seed", "empty list"]),
        ("runs:\n  - {}\n    x: [\n", ["line", "not valid YAML"]),
        ("seed: 1\nseed: 2\n", ["given twice"]),
        ("runs:\n  - recipe: sus2020\n", ["unknown recipe", "did you mean 'su2020'"]),
        ("runs:\n  - ticket: {desnity: 0.1, score: snip}\n", ["ticket.desnity", "did you mean 'density'"]),
        ("runs:\n  - 7\n", ["must be a mapping", "7"]),
        ("runs: !!python/object/apply:os.system ['true']\n", ["not valid YAML"]),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, text: str, words: list[str]) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ReproError) as caught:
        plan(file)
    line = str(caught.value)
    assert "\n" not in line
    for word in [str(file), *words]:
        assert word in line


def test_a_missing_or_binary_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ReproError, match="no such file"):
        read(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ReproError, match="not valid YAML"):
        read(tmp_path / "b.yaml")


@pytest.mark.parametrize(
    "file", sorted((ROOT / "params").glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}"
)
def test_every_shipped_file_is_a_plan(file: Path) -> None:
    assert plan(file)
    assert file.read_text().startswith("# "), "the first line says what it costs and is for"


def test_the_root_is_found_from_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "notebooks")
    assert paths.root() == ROOT
