"""Augmentation: equal to torchvision image by image, and in distribution."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import chi2_contingency, chisquare, ks_2samp, kstest
from torchvision.transforms import RandomCrop, RandomHorizontalFlip, RandomResizedCrop
from torchvision.transforms import functional as reference

from repro.data.augment import AUGMENTATIONS, BoxDraws, apply, draw, normalise
from repro.data.resized import boxes, resize, sides
from repro.errors import ReproError
from repro.rng import stream


def pictures(n: int, channels: int, size: int, seed: int = 0) -> torch.Tensor:
    shape = (n, channels, size, size)
    return torch.randint(0, 256, shape, generator=stream(seed, "pictures"), dtype=torch.uint8)


def reference_box(image, draws, i):
    """The i-th box of one image with torchvision: crop, enlarge, then mirror."""
    box = [int(x[i]) for x in (draws.dy, draws.dx, draws.height, draws.width)]
    size = list(image.shape[-2:]) if isinstance(image, torch.Tensor) else [image.height, image.width]
    result = reference.resized_crop(image, *box, size, antialias=True)
    return reference.hflip(result) if draws.flip[i] else result


def one_by_one(kind, images, draws):
    """The same with torchvision, image by image: pad, crop, then mirror. Resized ones are not rounded."""
    entry, results = AUGMENTATIONS[kind], []
    size = images.shape[-1]
    if entry.resized:
        return torch.stack([reference_box(image.float(), draws, i) for i, image in enumerate(images)])
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
    ours, theirs = apply(kind, images, draws), one_by_one(kind, images, draws)
    assert ours.dtype == torch.uint8 and ours.shape == images.shape
    if AUGMENTATIONS[
        kind
    ].resized:  # theirs before rounding: ours lies at the nearest grey level, either at a tie
        assert (ours - theirs).abs().max() < 0.501
    else:
        assert torch.equal(ours, theirs)
    assert torch.equal(images, before)


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_distribution(kind):
    n, entry = 40_000, AUGMENTATIONS[kind]
    draws, width = draw(kind, n, 32, stream(0, "draws")), 2 * entry.pad(32) + 1
    assert isinstance(draws, BoxDraws) == entry.resized
    if not entry.resized:  # where boxes lie depends on their size: tested below
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


@pytest.mark.parametrize("kind", ["crop_flip", "resized_crop_flip"])
@pytest.mark.parametrize("size", [16, 21, 32])
def test_draws_of_an_epoch_can_be_replayed_in_parts(kind, size):
    images, draws = pictures(50, 3, size), draw(kind, 50, size, stream(0))
    whole = apply(kind, images, draws)
    parts = [apply(kind, images[i : i + 7], draws[i : i + 7].to("cpu")) for i in range(0, 50, 7)]
    assert torch.equal(whole, torch.cat(parts))
    for some in (torch.tensor([3, 1]), draws.flip):
        assert torch.equal(whole[some], apply(kind, images[some], draws[some]))
    assert len(draws[:9]) == 9 and all(len(numbers) == 9 for numbers in vars(draws[:9]).values())


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


def test_older_kinds_draw_what_they_always_drew():
    draws = draw("crop_flip", 6, 32, stream(0, "draws"))
    assert draws.dy.tolist() == [1, 5, 5, 5, 4, 5] and draws.dx.tolist() == [7, 1, 0, 3, 5, 0]
    assert draws.flip.int().tolist() == [0, 1, 1, 0, 0, 0]


# Boxes enlarged to the whole image


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.sampled_from([1, 3]), st.integers(0, 99))
def test_boxes_are_at_most_a_grey_level_from_torchvision_of_tensors_and_of_pictures(size, channels, seed):
    images, draws = pictures(5, channels, size, seed), draw("resized_crop_flip", 5, size, stream(seed))
    for i, (image, ours) in enumerate(zip(images, apply("resized_crop_flip", images, draws), strict=True)):
        assert (ours.int() - reference_box(image, draws, i)).abs().max() <= 1
        array = image.permute(1, 2, 0).numpy()  # what a data set of torchvision hands to its transforms
        picture = reference_box(Image.fromarray(array.squeeze(-1) if channels == 1 else array), draws, i)
        assert (ours.int() - reference.pil_to_tensor(picture)).abs().max() <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(0, 99))
def test_a_box_of_the_whole_image_changes_no_pixel(size, seed):
    images, flip = pictures(4, 3, size, seed), torch.tensor([False, True, False, True])
    zero, full = torch.zeros(4, dtype=torch.int64), torch.full((4,), size)
    result = resize(images, (zero, zero, full, full), flip)
    assert torch.equal(result[~flip], images[~flip])
    assert torch.equal(result[flip], images[flip].flip(3))


def test_box_by_hand():
    """Two columns of four become four: 10 and 50 give 10, 20, 40, 50. No pixel beside the box enters."""
    image = torch.tensor([[255, 10, 50, 255]] * 4, dtype=torch.uint8).view(1, 1, 4, 4)
    for flip, row in ((False, [10, 20, 40, 50]), (True, [50, 40, 20, 10])):
        box = tuple(torch.tensor([x]) for x in (0, 1, 4, 2))
        assert resize(image, box, torch.tensor([flip]))[0, 0].tolist() == [row] * 4
        upright = tuple(torch.tensor([x]) for x in (1, 0, 2, 4))
        assert resize(image.mT, upright, torch.tensor([flip]))[0, 0].mT.tolist() == [[10, 20, 40, 50]] * 4


def test_sides_are_those_of_the_first_attempt_that_fits():
    wide, narrow = 4 / 3, 3 / 4
    area = torch.tensor([[0.5, 1.0, 1.0, 1e-6], [0.2, 0.5, 1.0, 1.0], [0.1, 0.2, 1.0, 0.5]]).double()
    ratio = torch.tensor(
        [[wide, wide, wide, 1.0], [1.0, narrow, narrow, 1.0], [1.0, 1.0, wide, 1.0]]
    ).double()
    height, width = sides(area, ratio, 32)
    # 512 pixels at 4:3 are 26.1 by 19.6; the whole area at 4:3 or 3:4 needs 37 pixels: no attempt, the whole image
    assert list(zip(height.tolist(), width.tolist(), strict=True)) == [(20, 26), (26, 20), (32, 32), (32, 32)]


def test_where_no_attempt_fits_the_whole_image_is_taken(monkeypatch):
    monkeypatch.setattr("repro.data.resized.AREA", (1.5, 2.0))
    images, draws = pictures(40, 3, 12), draw("resized_crop_flip", 40, 12, stream(0))
    assert (draws.dy == 0).all() and (draws.dx == 0).all()
    assert (draws.height == 12).all() and (draws.width == 12).all()
    mirrored = torch.where(draws.flip[:, None, None, None], images.flip(3), images)
    assert torch.equal(apply("resized_crop_flip", images, draws), mirrored)
    monkeypatch.undo()
    tiny = draw("resized_crop_flip", 200, 1, stream(0))  # the box of an attempt may round to no pixel at all
    assert (tiny.height == 1).all() and (tiny.width == 1).all() and (tiny.dy == 0).all()


@pytest.mark.parametrize("size", [32, 200])
def test_boxes_are_distributed_as_torchvisions(size):
    ours, canvas = torch.stack(boxes(20_000, size, stream(0, "boxes"))).double(), torch.empty(1, size, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        scale, ratio = [0.08, 1.0], [3 / 4, 4 / 3]
        drawn = [RandomResizedCrop.get_params(canvas, scale, ratio) for _ in range(5000)]
    theirs = torch.tensor(drawn).double().T
    for what in (
        lambda top, left, height, width: height * width,
        lambda top, left, height, width: width / height,
        lambda top, left, height, width: height,
        lambda top, left, height, width: top,
        lambda top, left, height, width: left,
        lambda top, left, height, width: top + height - left,
    ):
        assert ks_2samp(what(*ours), what(*theirs)).pvalue > 1e-3
    for what, low, high in ((ours[2] * ours[3] / size**2, 0.08, 1.0), (ours[3] / ours[2], 3 / 4, 4 / 3)):
        slack = 3 / size  # both sides are rounded to whole pixels, the least are a quarter of the image's
        assert low * (1 - slack) < what.min() < low * (1 + slack)
        assert high * (1 - slack) < what.max() < high * (1 + slack)


@pytest.mark.parametrize("size", [5, 32])
def test_boxes_lie_inside_and_uniformly_where_they_fit(size):
    n = 40_000
    top, left, height, width = boxes(n, size, stream(1, "boxes"))
    within = torch.rand(2, n, generator=stream(0, "within"))
    for start, length, u in zip((top, left), (height, width), within, strict=True):
        assert start.min() == 0 and length.min() > 0 and (start + length <= size).all()
        assert (start + length == size).any()
        assert kstest((start + u) / (size - length + 1), "uniform").pvalue > 1e-3
    free = (height < size) & (width < size)
    one, other = (2 * top > size - height)[free], (2 * left > size - width)[free]
    table = [[int(((one == a) & (other == b)).sum()) for b in (True, False)] for a in (True, False)]
    assert chi2_contingency(table).pvalue > 1e-3


def test_mirroring_and_boxes_are_all_that_is_drawn_in_this_order():
    generator, again = stream(3), stream(3)
    draws = draw("resized_crop_flip", 10, 32, generator)
    assert torch.equal(torch.rand(10, generator=again) < 0.5, draws.flip)
    drawn = torch.stack(boxes(10, 32, again))
    assert torch.equal(drawn, torch.stack([draws.dy, draws.dx, draws.height, draws.width]))
    assert torch.equal(torch.rand(4, generator=again), torch.rand(4, generator=generator))


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
