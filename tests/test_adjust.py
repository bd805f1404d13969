"""What is done to the kept weights of a ticket: by hand, against autograd, and what must stay as it was."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import repro.adjust
from repro.adjust import ADJUSTMENTS, orthogonal, scale
from repro.errors import ReproError
from repro.masks import Masks
from repro.models import build as network
from repro.models import initial_state, prunable
from repro.rng import stream
from repro.section import options_of


def bits(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def loss(weight: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Compute || (M W)(M W)^T - I ||^2 as it stands in the paper."""
    kept = (weight * mask).flatten(1)
    return (kept @ kept.T - torch.eye(len(kept), dtype=kept.dtype)).square().sum()


def drawn(*shape: int, density: float, seed: int = 0, size: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = stream(seed, "drawn")
    weight = size * torch.randn(shape, generator=generator, dtype=torch.float64)
    return weight, torch.rand(shape, generator=generator) < density


def tiny() -> tuple[dict[str, torch.Tensor], Masks]:
    """Lay out a state of two masked layers, of 4 and 2 weights, a masked scale, and something else."""
    weights = {
        "a.weight": torch.tensor([[1.0, -2.0], [math.nan, 4.0]]),
        "a.bias": torch.tensor([5.0, 6.0]),
        "norm.weight": torch.tensor([7.0, 8.0]),
        "b.weight": torch.tensor([[9.0], [10.0]]),
    }
    masks = {"a.weight": bits([[1, 0], [0, 1]]), "norm.weight": torch.tensor([True, False])}
    return weights, Masks(masks | {"b.weight": bits([[0], [1]])})


@pytest.mark.parametrize(("by", "density"), [("network", 3 / 6), ("layer", 1 / 2)])
def test_scale_by_hand(by, density):
    weights, masks = tiny()
    after = scale(weights, masks, scale_by=by)
    grown = 1 / math.sqrt(density)
    torch.testing.assert_close(after["a.weight"], torch.tensor([[grown, 0.0], [0.0, 4 * grown]]))
    torch.testing.assert_close(after["b.weight"], torch.tensor([[0.0], [10 * grown]]))


def test_densities_of_layers_and_of_the_network_differ():
    weights = {"a": torch.ones(2, 2), "b": torch.ones(1, 4)}
    masks = Masks({"a": bits([[1, 0], [0, 0]]), "b": bits([[1, 1, 1, 1]])})
    by_layer, by_network = scale(weights, masks, scale_by="layer"), scale(weights, masks)
    assert by_layer["a"].tolist() == [[2.0, 0.0], [0.0, 0.0]] and torch.equal(by_layer["b"], weights["b"])
    torch.testing.assert_close(by_network["a"][0, 0], torch.tensor(math.sqrt(8 / 5)))
    torch.testing.assert_close(by_network["b"], torch.full((1, 4), math.sqrt(8 / 5)))


@pytest.mark.parametrize("adjust", ADJUSTMENTS.values())
def test_only_kept_weights_of_masked_layers_change(adjust):
    weights, masks = tiny()
    before = {name: tensor.clone() for name, tensor in weights.items()}
    after = adjust(weights, masks)
    assert list(after) == list(weights)
    for name, tensor in weights.items():
        assert torch.equal(tensor.nan_to_num(), before[name].nan_to_num()), "the given state stays"
        same = name in ("a.bias", "norm.weight")
        assert (after[name] is tensor) == same
        assert same or not after[name][~masks[name]].any(), "pruned weights may hold anything, and end as 0"
        assert same or after[name][masks[name]].all()


@pytest.mark.parametrize("adjust", ADJUSTMENTS.values())
def test_odd_masks(adjust):
    weights, masks = tiny()
    scales = Masks({"norm.weight": masks["norm.weight"]})
    assert all(after is weights[name] for name, after in adjust(weights, scales).items())
    nothing = Masks({"a.weight": bits([[0, 0], [0, 0]])})
    assert not adjust(weights, nothing)["a.weight"].any()
    with pytest.raises(ReproError, match="no parameter 'c' to mask"):
        adjust(weights, Masks({"c": bits([[1]])}))
    with pytest.raises(ReproError, match=r"the mask of b.weight has shape \(1, 1\)"):
        adjust(weights, Masks({"b.weight": bits([[1]])}))
    with pytest.raises(ReproError, match="unknown density to scale by 'layers': did you mean 'layer'"):
        scale(weights, masks, scale_by="layers")


@pytest.mark.parametrize("init", ["kaiming_normal_fan_in_all", "signed_constant"])
def test_scaled_weights_have_the_size_of_a_fan_in_that_counts_kept_weights(init):
    options = {"classes": 10, "channels": 3, "width": 0.5, "init": init}
    layers = prunable(network("resnet8", generator=stream(0), **options))
    state = initial_state("resnet8", generator=stream(0), **options)
    masks = Masks({x.name: torch.rand(x.shape, generator=stream(1, x.name)) < 0.2 for x in layers})
    after = scale(state, masks)
    for layer in layers[1:]:
        kept = after[layer.name][masks[layer.name]]
        fan_in = math.prod(layer.shape[1:]) * masks.density
        noise = 0 if init == "signed_constant" else 5 / math.sqrt(2 * len(kept))
        assert kept.square().mean().sqrt().item() == pytest.approx(math.sqrt(2 / fan_in), rel=noise + 1e-5)


@given(st.integers(1, 7), st.integers(1, 7), st.sampled_from([0.3, 0.7, 1.0]), st.integers(0, 99))
def test_one_step_follows_the_gradient_that_autograd_finds(rows, columns, density, seed):
    weight, mask = drawn(rows, columns, density=density, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("repro.adjust.PROMISE", 0.0)
        options = {"repair_steps": 1, "repair_rate": 1e-3, "repair_tolerance": 0}
        after = orthogonal({"w": weight}, Masks({"w": mask}), **options)
    weight.requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(weight, mask), weight)
    expected = (weight.detach() * mask) - 1e-3 * slope
    torch.testing.assert_close(after["w"], expected, rtol=0, atol=1e-9)


@settings(max_examples=30)
@given(
    st.integers(1, 9), st.integers(1, 12), st.sampled_from([0.1, 0.5, 1.0]), st.sampled_from([1e-3, 0.3, 1e3])
)
def test_the_loss_falls_and_stays_finite(rows, columns, density, size):
    weight, mask = drawn(rows, columns, density=density, size=size)
    masks, losses = Masks({"w": mask}), [loss(weight, mask).item()]
    for steps in (1, 2, 5, 20, 100):
        after = orthogonal({"w": weight}, masks, repair_steps=steps, repair_rate=0.5)["w"]
        losses.append(loss(after, mask).item())
        assert not after[~mask].any()
    assert losses == sorted(losses, reverse=True) and math.isfinite(losses[-1])
    assert losses[-1] < losses[0] or not mask.any() or losses[0] < 1e-6


@pytest.mark.parametrize("shape", [(6, 10), (10, 6), (8, 2, 3, 3), (40, 2, 3, 3), (1, 5), (5, 1), (7, 7)])
def test_whole_matrices_become_orthogonal_along_their_shorter_side(shape):
    weight, _ = drawn(*shape, density=1.0)
    after = orthogonal({"w": weight.float()}, Masks({"w": torch.ones(shape, dtype=torch.bool)}))["w"]
    assert after.shape == shape and after.dtype == torch.float32 and after.is_contiguous()
    flat = after.flatten(1)
    gram = flat @ flat.T if len(flat) <= flat.shape[1] else flat.T @ flat
    gap = (gram - torch.eye(len(gram))).norm().item()
    assert gap <= 1e-3 * math.sqrt(len(gram)), "the default tolerance, per row"


def test_a_mask_that_allows_orthogonality_gets_it_and_one_that_does_not_gets_near():
    weight, mask = drawn(16, 90, density=0.3)
    after = orthogonal({"w": weight}, Masks({"w": mask}))["w"]
    assert loss(after, mask) < 1.01e-6 * 16 < loss(weight, mask)
    mask[3], mask[4] = False, False  # nothing is left of two rows
    after = orthogonal({"w": weight}, Masks({"w": mask}))["w"]
    assert loss(after, mask).item() == pytest.approx(2, abs=1e-3)
    same = bits(
        [[1, 0, 0], [1, 0, 0]]
    )  # both rows see one input: a, b with (a^2 - 1)^2 + (b^2 - 1)^2 + 2 (ab)^2
    after = orthogonal({"w": torch.full((2, 3), 0.9)}, Masks({"w": same}), repair_tolerance=0)["w"]
    torch.testing.assert_close(after[:, 0], torch.full((2,), math.sqrt(0.5)), rtol=1e-3, atol=0)


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_weights_of_any_size_get_there_in_time(size):
    weight, mask = drawn(16, 90, density=0.3, size=size)
    after = orthogonal({"w": weight}, Masks({"w": mask}), repair_steps=150)["w"]
    assert loss(after, mask) < 1.01e-6 * 16


def test_momentum_saves_most_of_the_steps():
    weight, mask = drawn(32, 288, density=0.1, size=0.1)
    after = orthogonal({"w": weight}, Masks({"w": mask}), repair_steps=80)["w"]
    assert loss(after, mask) < 2e-5 * 32, "without momentum 7e-4, and hundreds of steps more"


def test_the_tolerance_ends_the_descent():
    weight, mask = drawn(12, 40, density=0.5)
    gaps = [
        loss(orthogonal({"w": weight}, Masks({"w": mask}), repair_tolerance=t)["w"], mask).item()
        for t in (10.0, 0.1, 1e-2, 1e-4)
    ]
    assert gaps[0] == loss(weight, mask).item(), "near enough already"
    assert all(1e-4 * t**2 < gap / 12 <= t**2 for t, gap in zip((0.1, 1e-2, 1e-4), gaps[1:], strict=True))


def test_steps_are_counted_in_losses(monkeypatch):
    calls, gap = [], repro.adjust._gap
    monkeypatch.setattr("repro.adjust._gap", lambda w: calls.append(w.shape) or gap(w))
    weight, mask = drawn(5, 9, density=0.4, size=100.0)
    orthogonal({"w": weight}, Masks({"w": mask}), repair_steps=7, repair_tolerance=0)
    assert len(calls) == 8, "one before the first step"


def test_repair_may_be_scaled_afterwards():
    weight, mask = drawn(6, 20, density=0.4)
    masks = Masks({"w": mask})
    plain, scaled = (orthogonal({"w": weight}, masks, scaled=x)["w"] for x in (False, True))
    torch.testing.assert_close(scaled, plain / math.sqrt(masks.density))


def test_repair_of_a_network_is_the_same_every_time():
    options = {"classes": 10, "channels": 3, "width": 0.5, "init": "looks_linear"}
    layers = prunable(network("resnet8", generator=stream(0), **options))
    state = initial_state("resnet8", generator=stream(0), **options)
    masks = Masks({x.name: torch.rand(x.shape, generator=stream(1, x.name)) < 0.5 for x in layers})
    before = torch.get_rng_state()
    one, two = orthogonal(state, masks), orthogonal(state, masks)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], two[name]) for name in state)
    for layer in layers:
        assert loss(one[layer.name], masks[layer.name]) < loss(state[layer.name], masks[layer.name])


def test_options_are_settings():
    names = {name: set(options_of(entry).model_fields) for name, entry in ADJUSTMENTS.items()}
    repair = {"repair_steps", "repair_rate", "repair_tolerance", "scaled"}
    assert names == {"scale": {"scale_by"}, "orthogonal": repair}
