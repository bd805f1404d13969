"""Dropout: what it drops, and where its masks come from."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from repro.errors import ReproError
from repro.models import Dropout, build, dropouts
from repro.models.dropout import LEVELS
from repro.rng import stream

SHAPES = [(), (0, 3), (1,), (7,), (3, 5), (128, 10), (2, 3, 5, 7)]


def ones(*shape: int, **options) -> torch.Tensor:
    return torch.ones(*shape, **options)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("own", [True, False])
def test_drops_a_share_of_p_and_keeps_the_mean(p, own):
    layer = Dropout(p, stream(0, "drop") if own else None)
    torch.manual_seed(0)
    kept = layer(ones(512, 512)).flatten()
    noise = 5 * math.sqrt(p * (1 - p) / kept.numel())
    assert (kept == 0).double().mean().item() == pytest.approx(p, abs=noise)
    assert kept.double().mean().item() == pytest.approx(1, abs=noise / (1 - p))
    assert kept.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=2 / LEVELS / (1 - p))


def test_elements_are_independent_of_each_other():
    x = Dropout(0.3, stream(1, "drop"))(ones(2**18)) == 0
    for far in range(1, 9):  # four elements share one draw
        both = (x[far:] & x[:-far]).double().mean().item()
        assert both == pytest.approx(0.09, abs=5 * math.sqrt(0.09 * 0.91 / len(x)))
    assert (x.view(-1, 4).double().mean(0) - 0.3).abs().max() < 5 * math.sqrt(0.21 / len(x) * 4)


def test_a_seed_gives_its_masks_one_after_the_other():
    layer, again, other = (Dropout(0.5, stream(seed, "drop")) for seed in (0, 0, 1))
    x = torch.randn(64, 10, generator=stream(0, "x"))
    first, second = layer(x), layer(x)
    assert torch.equal(first, again(x)) and torch.equal(second, again(x))
    assert not torch.equal(first, second) and not torch.equal(first, other(x))


def test_the_global_generator_stays_where_it_is_and_counts_for_nothing():
    torch.manual_seed(3)
    before, x = torch.get_rng_state(), ones(1000)
    first = Dropout(0.5, stream(0, "drop"))(x)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(4)
    assert torch.equal(first, Dropout(0.5, stream(0, "drop"))(x))
    without = Dropout(0.5)(x)
    torch.manual_seed(4)
    assert torch.equal(without, nn.functional.dropout(x, 0.5))


@pytest.mark.parametrize("generator", [None, stream(0, "drop")], ids=["global", "own"])
def test_in_evaluation_and_at_zero_it_is_the_identity(generator):
    x = torch.randn(50, generator=stream(0, "x"))
    before = torch.get_rng_state(), generator and generator.get_state()
    assert torch.equal(Dropout(0.5, generator).eval()(x), x)
    assert torch.equal(Dropout(0.0, generator)(x), x)
    assert generator is None or torch.equal(before[1], generator.get_state())
    assert generator is None or torch.equal(before[0], torch.get_rng_state())


@given(
    st.sampled_from(SHAPES),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_any_shape_share_and_number_format(shape, p, dtype):
    layer = Dropout(p, stream(0, "drop"))
    x = ones(shape, dtype=dtype)
    kept = layer(x)
    assert kept.shape == x.shape and kept.dtype == dtype and torch.isfinite(kept).all()
    assert len(kept.unique()) <= 2 and (kept >= 0).all() and kept[kept > 0].ge(1).all()


def test_channels_last_images_stay_so_and_gradients_are_dropped_alike():
    x = torch.randn(4, 6, 5, 3, generator=stream(0, "x")).contiguous(memory_format=torch.channels_last)
    x.requires_grad_(True)
    kept = Dropout(0.4, stream(0, "drop"))(x)
    assert kept.is_contiguous(memory_format=torch.channels_last)
    flat = Dropout(0.4, stream(0, "drop"))(x.permute(0, 2, 3, 1).flatten())
    assert torch.equal(kept.permute(0, 2, 3, 1).flatten(), flat)  # drawn in the order of memory
    kept.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, kept)


def test_a_part_of_a_tensor_is_left_in_one_piece():
    whole = ones(6, 8)
    kept = Dropout(0.5, stream(0, "drop"))(whole[:, ::2])
    assert kept.shape == (6, 4) and 0 < int((kept == 0).sum()) < 24
    assert (whole == 1).all()


def test_copies_and_saved_layers_have_no_generator():
    layer = Dropout(0.25, stream(0, "drop"))
    model = nn.Sequential(nn.Linear(2, 2), layer)
    twin = copy.deepcopy(model)
    assert [m.p for m in dropouts(twin)] == [0.25] and dropouts(twin)[0].generator is None
    assert dropouts(twin)[0] is not layer and layer.generator is not None
    dropouts(twin)[0].generator = stream(0, "drop")
    assert torch.equal(dropouts(twin)[0](ones(99)), layer(ones(99)))
    torch.save(model, file := io.BytesIO())
    assert file.tell() and layer.state_dict() == {}


def test_a_networks_dropout_follows_its_generator():
    model = build("wrn10", classes=3, channels=1, generator=stream(0, "init"), width=0.5, dropout=0.4)
    x = torch.randn(4, 1, 8, 8, generator=stream(0, "x"))

    def trained(seed: int) -> torch.Tensor:
        generator = stream(seed, "drop")
        for layer in dropouts(model):
            layer.generator = generator
        return model.train()(x)

    assert len(dropouts(model)) == 3
    assert torch.equal(trained(0), trained(0)) and not torch.equal(trained(0), trained(1))
    assert torch.equal(model.eval()(x), model(x))


@pytest.mark.parametrize("p", [-0.1, 1.0, math.nan])
def test_other_shares_are_refused(p):
    with pytest.raises(ReproError, match="dropout must be at least 0 and below 1"):
        Dropout(p)


def test_it_shows_its_share():
    assert repr(Dropout(0.3)) == "Dropout(p=0.3)"
