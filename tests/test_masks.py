"""Masks: validation, counting, overlap, application, files."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from repro.errors import ReproError
from repro.masks import Masks, Ticket, mask_from_nonzero
from repro.models import prunable
from repro.rng import stream


def bits(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.bool)


def two() -> Masks:
    return Masks({"z": bits(1, 0, 0, 0).reshape(2, 2), "a": bits(1, 1)})


def test_counts_by_hand():
    masks = two()
    assert (masks.total, masks.kept, masks.density) == (6, 3, 0.5)
    assert masks.kept_per_layer() == {"z": 1, "a": 2}
    assert masks.layer_densities() == {"z": 0.25, "a": 1.0}
    assert list(masks) == ["z", "a"] and len(masks) == 2
    assert masks.collapsed() == []
    assert Masks({"z": bits(0, 0), "a": bits(1)}).collapsed() == ["z"]
    assert "3 of 6" in repr(masks)


@pytest.mark.parametrize(
    "bad", [{}, {"a": torch.ones(3)}, {"a": bits()}, {"a": bits(1), "b": torch.ones(2).int()}]
)
def test_invalid_masks_are_refused(bad):
    with pytest.raises(ReproError, match="masks: "):
        Masks(bad)


def test_immutable_mapping_that_does_not_follow_its_source():
    source = {"a": bits(1, 0)}
    masks = Masks(source)
    source["b"] = bits(1)
    assert list(masks) == ["a"]
    with pytest.raises(TypeError):
        masks["a"] = bits(0, 0)  # type: ignore[index]


def test_equality_looks_at_names_order_and_entries():
    assert two() == two()
    assert two() != Masks({"z": bits(1, 0, 0, 0).reshape(2, 2), "a": bits(1, 0)})
    assert two() != Masks({"a": two()["a"], "z": two()["z"]})
    assert two() != {"a": 1}


def test_overlap_by_hand():
    left, right = Masks({"a": bits(1, 1, 0, 0), "b": bits(1)}), Masks({"a": bits(0, 1, 1, 0), "b": bits(1)})
    assert left.overlap(right) == right.overlap(left) == 2 / 4
    assert left.overlap(left) == 1.0
    # by chance 2 * 2 / 4 + 1 * 1 / 1 = 2 of 3 + 3 - 2
    assert left.expected_overlap(right) == 2 / 4
    empty = Masks({"a": bits(0, 0)})
    assert empty.overlap(empty) == 1.0 == empty.expected_overlap(empty)
    assert empty.overlap(Masks({"a": bits(1, 0)})) == 0.0
    with pytest.raises(ReproError, match="same layers"):
        left.overlap(two())
    with pytest.raises(ReproError, match="same layers"):
        left.expected_overlap(two())


@given(first=st.integers(1, 20_000), second=st.integers(1, 20_000), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=10, derandomize=True)
def test_expected_overlap_is_what_random_masks_have(first, second, seed):
    generator = stream(seed, "overlap")

    def draw(kept: int) -> Masks:
        return Masks({"a": torch.randperm(20_000, generator=generator) < kept})

    left, right = draw(first), draw(second)
    spread = 6 * math.sqrt(first * second / 20_000 + 1) / max(first, second)
    assert left.overlap(right) == pytest.approx(left.expected_overlap(right), abs=spread)


def test_apply_zeroes_the_pruned_weights_and_nothing_else():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    state = {n: torch.full_like(t, 3.0) for n, t in model.state_dict().items()}
    model.load_state_dict(state)
    masks = Masks({"0.weight": bits(1, 0, 0, 1).reshape(2, 2)})
    state["0.weight"][0, 1] = math.nan
    for target in (model, state):
        masks.apply_(target)
        found = target.state_dict() if isinstance(target, nn.Module) else target
        assert found["0.weight"].tolist() == [[3, 0], [0, 3]]
        assert all((t == 3).all() for n, t in found.items() if n != "0.weight")


def test_apply_refuses_what_does_not_fit_and_then_changes_nothing():
    state = {"a": torch.ones(2), "b": torch.ones(3)}
    with pytest.raises(ReproError, match="shape"):
        Masks({"a": bits(0, 0), "b": bits(1, 0)}).apply_(state)
    with pytest.raises(ReproError, match="'c'"):
        Masks({"a": bits(0, 0), "c": bits(1, 0)}).apply_(state)
    assert state["a"].tolist() == [1, 1]


def test_files_keep_everything_the_order_too(tmp_path):
    path = tmp_path / "deep" / "masks.safetensors"
    two().save(path, {"score": "snip"})
    assert Masks.load(path) == two()
    assert list(Masks.load(path)) == ["z", "a"]
    Masks.ones(prunable(nn.Linear(3, 2))).save(path)
    assert Masks.load(path).total == 6
    assert [p.name for p in path.parent.iterdir()] == ["masks.safetensors"]


def test_a_failed_save_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "masks.safetensors"
    two().save(path)

    def fail(self, target):
        raise OSError(28, "disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(ReproError, match="disk full"):
        Masks({"a": bits(1)}).save(path)
    assert Masks.load(path) == two()
    assert list(tmp_path.iterdir()) == [path]


def test_unreadable_files_are_told_in_one_line(tmp_path):
    broken = tmp_path / "broken"
    broken.write_bytes(b"no tensors here")
    for path in (broken, tmp_path / "missing"):
        with pytest.raises(ReproError, match=path.name):
            Masks.load(path)


def test_ones_nonzero_and_device():
    layers = prunable(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2)))
    ones = Masks.ones(layers)
    assert ones.density == 1 and [m.shape for m in ones.values()] == [(2, 1, 3, 3), (2, 2)]
    state = {"0.weight": torch.zeros(2, 1, 3, 3), "1.weight": torch.tensor([[0.0, -1], [2, 0]])}
    assert mask_from_nonzero(state, layers).kept_per_layer() == {"0.weight": 0, "1.weight": 2}
    assert ones.to("cpu") == ones


def test_ticket_is_frozen():
    ticket = Ticket(two(), {})
    with pytest.raises(AttributeError):
        ticket.masks = two()  # type: ignore[misc]
    assert ticket.origin == {}
