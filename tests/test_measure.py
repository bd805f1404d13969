"""Costs: hand-counted layers, agreement with torch's counter, no side effects."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from repro import measure
from repro.errors import ReproError
from repro.models import MODELS, build, prunable
from repro.rng import stream


def tiny() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 6, 1, groups=2),
        nn.Flatten(),
        nn.Linear(6 * 16, 5),
    )


def test_macs_by_hand():
    counts = measure.macs(tiny(), (2, 8, 8))
    assert counts == {"0.weight": 16 * 4 * 18, "2.weight": 16 * 6 * 2, "4.weight": 96 * 5}
    assert list(counts) == [layer.name for layer in prunable(tiny())]


def test_macs_of_a_single_layer():
    assert measure.macs(nn.Conv2d(1, 1, 3), (1, 5, 5)) == {"weight": 81}


def test_a_layer_used_twice_counts_twice():
    shared = nn.Linear(4, 4)
    assert measure.macs(nn.Sequential(shared, shared), (1, 1, 4)) == {"0.weight": 32}


@pytest.mark.parametrize("name", ["resnet8", "resnet50", "vgg11"])
def test_macs_are_half_of_torchs_flops(name):
    with torch.device("meta"):
        model = MODELS[name](10, 3, width=0.25).eval()
        image = torch.empty(1, 3, 16, 16)
    with FlopCounterMode(display=False) as counter:
        model(image)
    assert 2 * sum(measure.macs(model, (3, 16, 16)).values()) == counter.get_total_flops()


def test_macs_have_no_side_effects():
    model = build("resnet8", classes=10, channels=1, generator=stream(0, "init"), width=0.5).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    measure.macs(model, (1, 8, 8))
    assert model.training and all(m.training for m in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.device.type == "cpu" and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    assert torch.equal(random, torch.get_rng_state())


def test_flops():
    macs = {"a": 100, "b": 300}
    assert measure.flops(macs, {}) == {"inference": 800.0, "dense": 800.0, "ratio": 1.0}
    assert measure.flops(macs, {"a": 0.5, "b": 0.1}) == pytest.approx(
        {"inference": 160.0, "dense": 800.0, "ratio": 0.2}
    )
    assert measure.flops(macs, {"b": 0.0})["ratio"] == 0.25
    with pytest.raises(ReproError, match="'c', which is no layer"):
        measure.flops(macs, {"c": 1.0})


def test_memory_and_device():
    measure.reset_peak_memory("cpu")
    assert 10 < measure.peak_memory_mb("cpu") < 1_000_000
    assert measure.device_name("cpu")


def test_the_peak_falls_when_the_count_begins_anew():
    """64 MiB are held, let go, and forgotten; the bounds leave room for what else the process does."""
    if not measure.reset_peak_memory("cpu"):
        pytest.skip("the peak of a process cannot be reset on this system")
    before = measure.peak_memory_mb("cpu")
    block = mmap.mmap(-1, 64 * 2**20)  # not from the C library, which may keep what is freed
    block.write(b"1" * len(block))
    with_block = measure.peak_memory_mb("cpu")
    assert 56 < with_block - before < 160
    block.close()
    assert measure.peak_memory_mb("cpu") > with_block - 8, "a peak stays until the count begins anew"
    assert measure.reset_peak_memory("cpu")
    assert measure.peak_memory_mb("cpu") < with_block - 32


def test_where_the_peak_cannot_be_reset_it_is_that_of_the_life(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(measure, "_PROC", tmp_path / "nowhere")
    block = torch.ones(64 * 2**20, dtype=torch.uint8)
    del block
    with_block = measure.peak_memory_mb("cpu")
    assert measure.reset_peak_memory("cpu") is False
    assert measure.peak_memory_mb("cpu") > with_block - 8 > 64
    assert not (tmp_path / "nowhere").exists()
