"""Augmentation: equal to torchvision image by image, and in distribution."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare
from torchvision.transforms import RandomCrop, RandomHorizontalFlip
from torchvision.transforms import functional as reference

from repro.data.augment import AUGMENTATIONS, apply, draw, normalise
from repro.errors import ReproError
from repro.rng import stream


def pictures(n: int, channels: int, size: int, seed: int = 0) -> torch.Tensor:
    shape = (n, channels, size, size)
    return torch.randint(0, 256, shape, generator=stream(seed, "pictures"), dtype=torch.uint8)


def one_by_one(kind, images, draws):
    """The same with torchvision, image by image: pad, crop, then mirror."""
    entry, results = AUGMENTATIONS[kind], []
    size = images.shape[-1]
    pad, mode = entry.pad(size), {"zero": "constant", "reflect": "reflect"}[entry.border]
    for image, dy, dx, flip in zip(images, draws.dy, draws.dx, draws.flip, strict=True):
        if pad:
            image = reference.pad(image.float(), [pad] * 4, padding_mode=mode).to(torch.uint8)
        image = reference.crop(image, int(dy), int(dx), size, size)
        results.append(reference.hflip(image) if flip else image)
    return torch.stack(results)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(AUGMENTATIONS)), st.integers(2, 40), st.sampled_from([1, 3]), st.integers(0, 99))
def test_equal_to_torchvision_with_the_same_draws(kind, size, channels, seed):
    if 0 < size <= AUGMENTATIONS[kind].pad(size):
        with pytest.raises(ReproError, match="too much for images"):
            draw(kind, 3, size, stream(seed))
        return
    images = pictures(7, channels, size, seed)
    before = images.clone()
    draws = draw(kind, len(images), size, stream(seed, "draws"))
    assert torch.equal(apply(kind, images, draws), one_by_one(kind, images, draws))
    assert torch.equal(images, before)


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_distribution(kind):
    n, entry = 40_000, AUGMENTATIONS[kind]
    draws, width = draw(kind, n, 32, stream(0, "draws")), 2 * entry.pad(32) + 1
    cells = torch.bincount(draws.dy * width + draws.dx, minlength=width * width)
    assert len(cells) == width * width
    assert width == 1 or chisquare(cells).pvalue > 1e-3
    flips = int(draws.flip.sum())
    assert abs(flips - n / 2) < 4 * (n / 4) ** 0.5 if entry.flip else flips == 0
    if entry.flip and width > 1:
        table = torch.stack(
            [torch.bincount(draws.dy[draws.flip == f], minlength=width) for f in (True, False)]
        )
        assert chi2_contingency(table).pvalue > 1e-3


def test_distribution_equals_torchvisions():
    n, ours = 3000, draw("crop_flip", 3000, 32, stream(1, "draws"))
    ramp = torch.arange(32 * 32).view(1, 32, 32) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        crop, mirror = RandomCrop(32, padding=4), RandomHorizontalFlip()
        theirs = torch.stack([mirror(crop(ramp)) for _ in range(n)])
    mine = apply("crop_flip", ramp.expand(n, 1, 32, 32), ours)
    for at in (
        (0, 16, 16),
        (0, 16, 0),
    ):  # the pixel in the middle tells the offset and the flip, one below the border
        middle, other = mine[:, *at], theirs[:, *at]
        for what in (lambda x: (x - 1) // 32, lambda x: (x - 1) % 32):
            a, b = (torch.bincount(what(x) + 1, minlength=33) for x in (middle, other))
            table = torch.stack([a, b])
            assert chi2_contingency(table[:, table.sum(0) > 0]).pvalue > 1e-3


def test_draws_of_an_epoch_can_be_replayed_in_parts():
    images, draws = pictures(50, 3, 16), draw("crop_flip", 50, 16, stream(0))
    whole = apply("crop_flip", images, draws)
    parts = [apply("crop_flip", images[i : i + 7], draws[i : i + 7].to("cpu")) for i in range(0, 50, 7)]
    assert torch.equal(whole, torch.cat(parts))
    some = torch.tensor([3, 1])
    assert torch.equal(whole[some], apply("crop_flip", images[some], draws[some]))
    assert len(draws[:9]) == 9


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_draws_come_from_the_generator_alone(kind):
    before = torch.get_rng_state()
    a, b, c = (draw(kind, 100, 32, stream(seed)) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))
    same = all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(c).values(), strict=True))
    assert same == (kind == "none")


def test_width_of_the_shift_of_digits():
    assert [AUGMENTATIONS["crop"].pad(size) for size in (4, 8, 16, 32)] == [0, 1, 2, 4]
    assert not AUGMENTATIONS["crop"].flip


def test_crop_by_hand():
    image = torch.arange(1, 17, dtype=torch.uint8).view(1, 1, 4, 4)
    draws = draw("crop_flip", 1, 8, stream(0))
    draws.dy[:], draws.dx[:], draws.flip[:] = (
        3,
        5,
        True,
    )  # one row of zeros enters above, one column right, mirrored
    assert apply("crop_flip", image, draws)[0, 0].tolist() == [
        [0, 0, 0, 0],
        [0, 4, 3, 2],
        [0, 8, 7, 6],
        [0, 12, 11, 10],
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise(channels):
    images, mean, std = pictures(5, channels, 8), (0.5, 0.4, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels]
    result = normalise(images, mean, std)
    expected = reference.normalize(images.float() / 255, list(mean), list(std))
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    assert result.dtype == torch.float32 and result.is_contiguous(memory_format=torch.channels_last)
    assert normalise(images, mean, std, torch.contiguous_format).is_contiguous()
    assert torch.equal(result, normalise(images, torch.tensor(mean), torch.tensor(std)))
    assert images.dtype == torch.uint8


def test_mistakes_are_told():
    with pytest.raises(ReproError, match="unknown augmentation 'flop': did you mean 'flip'"):
        draw("flop", 1, 8, stream(0))
    with pytest.raises(ReproError, match="shifts by up to 4 pixels, too much for images of 4x4"):
        draw("reflect_crop_flip", 1, 4, stream(0))
