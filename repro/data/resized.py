"""Random resized crops: boxes of random area and shape for many images at once, each resampled to the full side.

Every image is enlarged from its own box in a bilinear sampling of many at once, without a loop over images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

AREA = (0.08, 1.0)  # share of the image that a box covers
RATIO = (3 / 4, 4 / 3)  # its width over its height
ATTEMPTS = 10  # boxes that are tried before the whole image is taken
BLOCK = {
    "cpu": 96 << 10
}  # pixels sampled at once: floats of more are memory new from the system at every call


def boxes(n: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw n boxes: uniform in area, in the logarithm of width over height, and in where they fit.

    Args:
        n: number of boxes.
        size: side of the images in pixels.
        generator: a generator on the CPU.

    Returns:
        top, left, height and width in pixels, each int64 (n,).

    Source: torchvision, `RandomResizedCrop.get_params`.
    Differs from the reference, which draws the attempts one by one and stops at the first box that fits: here
    all are drawn, so that the stream of random numbers is another and the distribution the same.
    """
    drawn = torch.rand(2, ATTEMPTS, n, dtype=torch.float64, generator=generator)
    low, high = map(math.log, RATIO)
    area = AREA[0] + (AREA[1] - AREA[0]) * drawn[0]
    height, width = sides(area, torch.exp(low + (high - low) * drawn[1]), size)
    room = size + 1 - torch.stack([height, width])
    top, left = (torch.rand(2, n, dtype=torch.float64, generator=generator) * room).to(torch.int64)
    return top, left, height, width


def sides(area: Tensor, ratio: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Take the first attempt whose box fits into the image; the whole image where none does.

    Args:
        area: (attempts, n), share of the image that the box covers.
        ratio: (attempts, n), width over height.
        size: side of the image in pixels.

    Returns:
        height and width in pixels, each int64 (n,).

    Source: torchvision, `RandomResizedCrop.get_params`; its central crop is the whole image where that is square.
    """
    pixels = area * size**2
    tried = torch.stack([(pixels / ratio).sqrt(), (pixels * ratio).sqrt()]).round().to(torch.int64)
    fits = ((tried > 0) & (tried <= size)).all(0)
    first = fits.to(torch.uint8).argmax(0)  # of equal ones argmax gives the first
    taken = tried.gather(1, first.expand(2, 1, -1)).squeeze(1)
    height, width = torch.where(fits.any(0), taken, size)
    return height, width


def resize(images: Tensor, box: tuple[Tensor, Tensor, Tensor, Tensor], flip: Tensor) -> Tensor:
    """Enlarge each image's box to the side of the image, then mirror some; the images given stay as they are.

    Bilinear with pixels as squares: the middle of output pixel i lies at (i + 1/2) h / H - 1/2 of a box of h
    pixels, held to the middles of its first and last. A box is never larger than the image, so that there is
    nothing for an antialiasing filter to do. Values are exact before rounding if H is a power of two up to 128,
    else to 1e-3 grey levels.

    Args:
        images: uint8 (N, C, H, H).
        box: top, left, height and width in pixels, each int64 (N,), on the device of the images.
        flip: bool (N,), whether the result is mirrored left and right.

    Returns:
        uint8 (N, C, H, H).

    Source: torchvision, `functional.resized_crop` of tensors, bilinear.
    Differs from the reference for PIL images, by at most one grey level: PIL rounds after each of two passes.
    """
    size, each = images.shape[-1], images.shape[1:].numel()
    top, left, height, width = box
    rows, columns = _places(top, height, size), _places(left, width, size)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    n = max(1, BLOCK.get(images.device.type, images.numel()) // each)
    parts = zip(images.split(n), rows.split(n), columns.split(n), strict=True)
    return torch.cat([_sample(*part) for part in parts])


def _sample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    grid = torch.stack(torch.broadcast_tensors(columns[:, None, :], rows[:, :, None]), dim=-1)
    sampled = functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return sampled.round_().to(images.dtype)


def _places(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Where the middles of `size` pixels over each box lie, (N, size), from -1 to 1 between the image's edges.

    Kept in whole numbers, of which there are 2 size to a pixel, up to the division.
    """
    middle = (2 * torch.arange(size, device=start.device) + 1) * length[:, None] - size
    last = 2 * size * (length[:, None] - 1)
    inside = torch.minimum(middle.clamp_(min=0), last) + 2 * size * start[:, None]
    return (inside + size) / size**2 - 1
