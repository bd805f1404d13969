"""Sanity checks: each changes what it should, and only that."""

from __future__ import annotations

import inspect
from typing import Any, get_args, get_type_hints

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from repro.checks import DATA_CHECKS, MASK_CHECKS
from repro.checks.data import CHUNK, pixel_shuffle
from repro.data import Split
from repro.errors import ReproError
from repro.masks import Masks, Ticket
from repro.rng import stream

# --- tickets

SHAPES = {"a.weight": (8, 3, 3, 3), "b.weight": (16, 8, 1, 1), "c.weight": (10, 16)}


def fresh(generator: torch.Generator) -> dict[str, Tensor]:
    state = {n: torch.randn(s, generator=generator) for n, s in SHAPES.items()}
    return state | {"bn.running_mean": torch.zeros(8), "c.bias": torch.zeros(10)}


def ticket(seed=0, densities=(0.5, 0.1, 1.0)) -> Ticket:
    generator = stream(seed, "ticket")
    masks = {}
    for (name, shape), density in zip(SHAPES.items(), densities, strict=True):
        size = torch.Size(shape).numel()
        masks[name] = (torch.randperm(size, generator=generator) < round(density * size)).reshape(shape)
    return Ticket(Masks(masks), fresh(generator), {"score": "snip"})


def copied(source: Ticket) -> Ticket:
    weights = {n: t.clone() for n, t in source.weights.items()}
    return Ticket(Masks({n: m.clone() for n, m in source.masks.items()}), weights, dict(source.origin))


def same(left: Ticket, right: Ticket) -> bool:
    weights = all(torch.equal(t, right.weights[n]) for n, t in left.weights.items())
    return left.masks == right.masks and weights and list(left.weights) == list(right.weights)


def multiset(tensor: Tensor) -> list[float]:
    return sorted(tensor.flatten().tolist())


@pytest.mark.parametrize("name", MASK_CHECKS)
@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=10, derandomize=True)
def test_every_check_of_tickets_is_pure_seeded_and_changes_something(name, seed):
    check, given_, rng = MASK_CHECKS[name], ticket(seed), torch.get_rng_state()
    before = copied(given_)
    after = check(given_, stream(seed, "check"), fresh)
    assert same(given_, before) and given_.origin == before.origin
    assert not same(after, before)
    assert same(after, check(given_, stream(seed, "check"), fresh))
    assert not same(after, check(given_, stream(seed, "other"), fresh))
    assert torch.equal(torch.get_rng_state(), rng)
    assert after.masks.kept == before.masks.kept
    assert {n: (t.shape, t.dtype) for n, t in after.weights.items()} == {
        n: (t.shape, t.dtype) for n, t in before.weights.items()
    }
    assert after.origin == {"score": "snip", "checks": [name]}
    assert check(after, stream(0, "check"), fresh).origin["checks"] == [name, name]
    assert set(inspect.signature(check).parameters) == {"ticket", "generator", "fresh"}


def test_rearrange_keeps_layer_counts_and_weights():
    before = ticket()
    after = MASK_CHECKS["rearrange"](before, stream(0, "check"), fresh)
    assert after.masks.kept_per_layer() == before.masks.kept_per_layer()
    assert after.weights == before.weights  # the very same tensors
    assert torch.equal(after.masks["c.weight"], before.masks["c.weight"])
    for name in ("a.weight", "b.weight"):
        assert not torch.equal(after.masks[name], before.masks[name])


def test_rearrange_reaches_every_place_alike():
    mask = torch.arange(6).reshape(2, 3) < 2
    counts = torch.zeros(2, 3)
    generator = stream(0, "check")
    for _ in range(1200):
        counts += MASK_CHECKS["rearrange"](Ticket(Masks({"a": mask}), {}), generator, fresh).masks["a"]
    assert (counts / 1200 - 1 / 3).abs().max() < 0.07


@pytest.mark.parametrize(
    ("name", "moves"), [("random_ticket", "rearrange"), ("random_ticket_global", "permute_globally")]
)
def test_a_random_ticket_has_moved_masks_and_new_weights(name, moves):
    before = ticket(densities=(1.0, 0.1, 0.1))
    after = MASK_CHECKS[name](before, stream(0, "check"), fresh)
    assert after.masks == MASK_CHECKS[moves](before, stream(0, "check"), fresh).masks
    assert all(
        not torch.equal(value, before.weights[n]) for n, value in after.weights.items() if n in after.masks
    )
    counts = after.masks.kept_per_layer() == before.masks.kept_per_layer()
    assert counts == (name == "random_ticket")


def test_permute_globally_keeps_the_total_only():
    before = ticket(densities=(1.0, 0.1, 0.1))
    after = MASK_CHECKS["permute_globally"](before, stream(0, "check"), fresh)
    assert after.weights == before.weights
    for density in after.masks.layer_densities().values():
        assert density == pytest.approx(before.masks.density, abs=0.15)


def test_shuffle_kept_moves_kept_values_among_kept_places():
    before = ticket()
    after = MASK_CHECKS["shuffle_kept"](before, stream(0, "check"), fresh)
    assert after.masks == before.masks
    for name, mask in before.masks.items():
        old, new = before.weights[name], after.weights[name]
        assert multiset(new[mask]) == multiset(old[mask])
        assert not torch.equal(new[mask], old[mask])
        assert torch.equal(new[~mask], old[~mask])
    for name in ("bn.running_mean", "c.bias"):
        assert torch.equal(after.weights[name], before.weights[name])


def test_shuffle_all_moves_values_across_the_mask():
    before = ticket()
    after = MASK_CHECKS["shuffle_all"](before, stream(0, "check"), fresh)
    assert after.masks == before.masks
    for name, mask in before.masks.items():
        old, new = before.weights[name], after.weights[name]
        assert multiset(new) == multiset(old)
        assert not torch.equal(new, old)
        assert multiset(new[mask]) != multiset(old[mask]) or mask.all()
    for name in ("bn.running_mean", "c.bias"):
        assert torch.equal(after.weights[name], before.weights[name])


def test_reinitialise_takes_a_fresh_state_whole():
    before = ticket()
    after = MASK_CHECKS["reinitialise"](before, stream(5, "check"), fresh)
    expected = fresh(stream(5, "check"))
    assert after.masks == before.masks
    assert all(torch.equal(after.weights[n], t) for n, t in expected.items())
    with pytest.raises(ReproError, match="another network"):
        MASK_CHECKS["reinitialise"](before, stream(5, "check"), lambda generator: {"a": torch.zeros(2)})


@pytest.mark.parametrize(
    ("name", "densities"),
    [
        ("rearrange", (1.0, 0.0, 1.0)),
        ("permute_globally", (1.0, 1.0, 1.0)),
        ("permute_globally", (0.0, 0.0, 0.0)),
        ("shuffle_kept", (1 / 216, 1 / 128, 0.0)),
    ],
)
def test_a_check_that_could_change_nothing_says_so(name, densities):
    with pytest.raises(ReproError, match="changes nothing"):
        MASK_CHECKS[name](ticket(densities=densities), stream(0, "check"), fresh)


# --- data

CLASSES = 5


def split(n=40, channels=3, side=6) -> Split:
    images = torch.randint(256, (n, channels, side, side), generator=stream(0, "images"), dtype=torch.uint8)
    return Split(images, torch.arange(n) % CLASSES)


def options_of(check) -> list[dict]:
    hint = get_type_hints(check).get("kind")
    return [{"kind": k} for k in get_args(hint)] if hint else [{}]


CASES = [(name, o) for name, check in DATA_CHECKS.items() for o in options_of(check)]
KINDS = [o["kind"] for name, o in CASES if name == "pixel_shuffle"]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_every_check_of_data_is_pure_seeded_and_changes_something(name, options):
    check, before, rng = DATA_CHECKS[name], split(), torch.get_rng_state()
    images, labels = before.images.clone(), before.labels.clone()
    after = check(before, CLASSES, stream(0, "check"), **options)
    assert torch.equal(before.images, images) and torch.equal(before.labels, labels)
    assert isinstance(after, Split)
    assert (after.images.dtype, after.labels.dtype) == (torch.uint8, torch.int64)
    assert after.images.shape[1:] == images.shape[1:] and len(after.images) == len(after.labels)
    changed = [a.shape != b.shape or not torch.equal(a, b) for a, b in zip(after, before, strict=True)]
    assert any(changed)
    again = check(before, CLASSES, stream(0, "check"), **options)
    assert all(torch.equal(a, b) for a, b in zip(after, again, strict=True))
    if options != {"kind": "first"}:
        other = check(before, CLASSES, stream(1, "check"), **options)
        assert not all(torch.equal(a, b) for a, b in zip(after, other, strict=True))
    assert torch.equal(torch.get_rng_state(), rng)


def test_random_labels_are_uniform_and_leave_the_images():
    before = split(5000, 1, 2)
    after = DATA_CHECKS["random_labels"](before, CLASSES, stream(0, "check"))
    assert torch.equal(after.images, before.images)
    counts = torch.bincount(after.labels, minlength=CLASSES)
    assert len(counts) == CLASSES and (counts / 5000 - 0.2).abs().max() < 0.03
    assert (after.labels == before.labels).float().mean().item() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_pixel_shuffle_keeps_the_values_of_each_image(kind):
    before = split()
    after = pixel_shuffle(before, CLASSES, stream(0, "check"), kind=kind, labels=False)
    assert torch.equal(after.labels, before.labels)
    for old, new in zip(before.images, after.images, strict=True):
        assert multiset(old) == multiset(new)
        assert not torch.equal(old, new)
    corrupted = pixel_shuffle(before, CLASSES, stream(0, "check"), kind=kind)
    assert torch.equal(corrupted.images, after.images)
    assert not torch.equal(corrupted.labels, before.labels)


def places(kind: Any, n=6) -> Tensor:
    """Shuffle images whose values number their places: (n, C, H, W) of places come from."""
    numbers = torch.arange(3 * 6 * 6, dtype=torch.uint8).reshape(1, 3, 6, 6).expand(n, -1, -1, -1)
    return pixel_shuffle(
        Split(numbers, torch.zeros(n).long()), 2, stream(0, "check"), kind=kind
    ).images.long()


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_fixed_shuffle_treats_images_alike(kind):
    found = places(kind)
    assert all(torch.equal(found[0], image) for image in found[1:]) == (kind == "fixed_global")


def test_each_kind_of_shuffle_keeps_its_structure():
    channel, row, column = (lambda x: x // 36), (lambda x: x // 6 % 6), (lambda x: x % 6)
    full = places("per_image_full")
    assert any((channel(full[:, c]) != c).any() for c in range(3))
    spatial = places("per_image_spatial")
    rows_cols = places("per_image_rows_cols")
    for found in (spatial, rows_cols):  # whole pixels move: channels stay together
        assert all((channel(found[:, c]) == c).all() for c in range(3))
        assert torch.equal(found[:, 0] % 36, found[:, 1] % 36) and torch.equal(
            found[:, 0] % 36, found[:, 2] % 36
        )
    assert (row(rows_cols) == row(rows_cols[..., :1])).all() and (
        column(rows_cols) == column(rows_cols[..., :1, :])
    ).all()
    assert (row(rows_cols)[..., 0] != torch.arange(6)).any() and (
        column(rows_cols)[..., 0, :] != torch.arange(6)
    ).any()
    assert (row(spatial) != row(spatial[..., :1])).any()
    matrix = places("rows_of_matrix")
    assert (column(matrix) == torch.arange(6)).all()  # columns stay
    assert (matrix // 6 == matrix[..., :1] // 6).all()  # rows stay whole
    assert any((channel(matrix[:, c]) != c).any() for c in range(3))  # and change channel


def test_per_image_permutations_are_independent_of_chunks():
    n = CHUNK + 3
    images = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 1, 4).expand(n, -1, -1, -1)
    data = Split(images, torch.zeros(n).long())
    found = pixel_shuffle(data, 2, stream(0, "check"), kind="per_image_spatial", labels=False).images
    assert (found.sort(-1).values == torch.arange(4)).all()
    assert not torch.equal(found[:3], found[CHUNK:])
    first = (found.flatten(1)[:, 0].long()).bincount(minlength=4)
    assert (first / n - 0.25).abs().max() < 0.05


def test_half_data():
    before = split(11)
    first = DATA_CHECKS["half_data"](before, CLASSES, stream(0, "check"))
    assert torch.equal(first.images, before.images[:5]) and torch.equal(first.labels, before.labels[:5])
    marked = Split(torch.arange(200).reshape(-1, 1, 1, 1).to(torch.uint8), torch.arange(200))
    drawn = DATA_CHECKS["half_data"](
        marked, CLASSES, stream(0, "check"), kind="random_fraction", fraction=0.3
    )
    assert len(drawn.labels) == 60 == len(drawn.labels.unique())
    assert torch.equal(drawn.images.flatten().long(), drawn.labels) and torch.equal(
        drawn.labels, drawn.labels.sort()[0]
    )
    assert drawn.labels.max() > 100
    assert len(DATA_CHECKS["half_data"](split(10), 5, stream(0, "c"), fraction=0.7).labels) == 7
    for fraction in (0.01, 1.0):
        with pytest.raises(ReproError, match="half_data"):
            DATA_CHECKS["half_data"](before, CLASSES, stream(0, "check"), fraction=fraction)


def test_unknown_kinds_are_told_with_the_nearest():
    for name in ("pixel_shuffle", "half_data"):
        with pytest.raises(ReproError, match="did you mean"):
            DATA_CHECKS[name](
                split(), CLASSES, stream(0, "check"), kind="firsts" if name == "half_data" else "per_image"
            )
