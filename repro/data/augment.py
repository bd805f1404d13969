"""Random augmentation in two phases: draw the numbers of a whole epoch at once, then apply them by batch.

Every image has its own draw, as with one transform call per image; the pixels move in a single gather on
uint8 (or in a bilinear sampling, `resized`), without a loop over images, on whatever device they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import ReproError, pick
from .resized import boxes, resize


class Augmentation(NamedTuple):
    """What an augmentation does.

    Args:
        pad: from the side of the image in pixels to the widest shift in pixels.
        border: what enters at the border: zeros, or the image mirrored without repeating its edge.
        flip: mirror left and right with probability one half.
        resized: enlarge a box of random area and shape to the whole image, instead of shifting it.
    """

    pad: Callable[[int], int]
    border: Literal["zero", "reflect"]
    flip: bool
    resized: bool = False


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(lambda size: 0, "zero", False),
    "flip": Augmentation(lambda size: 0, "zero", True),
    "crop": Augmentation(lambda size: size // 8, "zero", False),  # digits: a mirrored 2 or 5 is another sign
    "crop_flip": Augmentation(lambda size: 4, "zero", True),  # Su et al., answer42, Gohil et al.
    "reflect_crop_flip": Augmentation(lambda size: 4, "reflect", True),  # the RigL report on CIFAR-10
    "resized_crop_flip": Augmentation(lambda size: 0, "zero", True, resized=True),  # the same on CIFAR-100
}


@dataclass(frozen=True)
class Draws:
    """The random numbers of n images: tensors of length n. An index, slice or mask takes some of them.

    Args:
        dy: int64, row of the padded image where the crop begins, 0 to 2 pad.
        dx: int64, column of the padded image where the crop begins, 0 to 2 pad.
        flip: bool, whether the crop is mirrored left and right.
    """

    dy: Tensor
    dx: Tensor
    flip: Tensor

    def __len__(self) -> int:
        return len(self.flip)

    def __getitem__(self, where: slice | Tensor) -> Self:
        return type(self)(*(numbers[where] for numbers in vars(self).values()))

    def to(self, device: torch.device | str) -> Self:
        """Copy the draws to a device."""
        return type(self)(*(numbers.to(device) for numbers in vars(self).values()))


@dataclass(frozen=True)
class BoxDraws(Draws):
    """The random numbers of n images of which a box is enlarged, dy and dx being its first row and column.

    Args:
        height: int64, rows of the box.
        width: int64, columns of the box.
    """

    height: Tensor
    width: Tensor


def draw(kind: str, n: int, size: int, generator: torch.Generator) -> Draws:
    """Draw the random numbers for n images.

    Args:
        kind: name in `AUGMENTATIONS`.
        n: number of images, e.g. of a whole epoch.
        size: side of the images in pixels.
        generator: a generator on the CPU.

    Raises:
        ReproError: if the augmentation is unknown, or too wide for images of this size.
    """
    pad, _, flip = _plan(kind, size)
    if pad and pad >= size:
        raise ReproError(
            f"augmentation {kind!r} shifts by up to {pad} pixels, too much for images of {size}x{size}: "
            "use 'crop', 'flip' or 'none', or enlarge the data's size"
        )
    offsets = torch.zeros(2, n, dtype=torch.int64)
    mirrored = torch.zeros(n, dtype=torch.bool)
    if pad:
        offsets = torch.randint(0, 2 * pad + 1, (2, n), generator=generator)
    if flip:
        mirrored = torch.rand(n, generator=generator) < 0.5
    if AUGMENTATIONS[kind].resized:
        dy, dx, height, width = boxes(n, size, generator)
        return BoxDraws(dy, dx, mirrored, height, width)
    return Draws(offsets[0], offsets[1], mirrored)


def apply(kind: str, images: Tensor, draws: Draws) -> Tensor:
    """Augment a batch with numbers drawn before; the images given are left as they are.

    Args:
        kind: name in `AUGMENTATIONS`, the one that the numbers were drawn for.
        images: (N, C, H, H), any type; uint8 is what it is fast for. Resized ones hold whole numbers up to 255.
        draws: the numbers of these N images, on the device of the images.

    Returns:
        (N, C, H, H) of the same type.
    """
    if isinstance(draws, BoxDraws):
        return resize(images, (draws.dy, draws.dx, draws.height, draws.width), draws.flip)
    n, channels, size = images.shape[:3]
    pad, border, flip = _plan(kind, size)
    if not pad and not flip:
        return images
    line = torch.arange(size, device=images.device)
    rows = draws.dy[:, None] + line
    columns = draws.dx[:, None] + torch.where(draws.flip[:, None], size - 1 - line, line)
    side = size
    if pad and border == "zero":
        images, side = functional.pad(images, (pad,) * 4), size + 2 * pad
    elif pad:
        rows, columns = _mirror(rows - pad, size), _mirror(columns - pad, size)
    index = rows[:, :, None] * side + columns[:, None, :]
    index = index.view(n, 1, size * size).expand(n, channels, size * size)
    return images.reshape(n, channels, side * side).gather(2, index).view(n, channels, size, size)


def normalise(
    images: Tensor,
    mean: Sequence[float] | Tensor,
    std: Sequence[float] | Tensor,
    memory_format: torch.memory_format = torch.channels_last,
) -> Tensor:
    """Turn pixels into the network's input: (pixel / 255 - mean) / std.

    Args:
        images: uint8 (N, C, H, W).
        mean: one number per channel, of pixels in [0, 1]; a tensor on the images' device is not copied.
        std: one number above 0 per channel, likewise.
        memory_format: order of the result in memory.

    Returns:
        float32 (N, C, H, W).
    """
    centre = torch.as_tensor(mean, dtype=torch.float32, device=images.device).view(-1, 1, 1) * 255
    spread = torch.as_tensor(std, dtype=torch.float32, device=images.device).view(-1, 1, 1) * 255
    # Arithmetic before the change of order: four times as fast on a CPU as the other way round.
    scaled = images.to(torch.float32, copy=True).sub_(centre).div_(spread)
    return scaled.contiguous(memory_format=memory_format)


def _plan(kind: str, size: int) -> tuple[int, str, bool]:
    entry = pick(AUGMENTATIONS, kind, "augmentation")
    return entry.pad(size), entry.border, entry.flip


def _mirror(index: Tensor, size: int) -> Tensor:
    return size - 1 - (size - 1 - index.abs()).abs()
