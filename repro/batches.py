"""One epoch's batches: everything random is drawn at once, so that any batch can be entered again."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .data import Data, Split
from .data.augment import apply, draw, normalise
from .rng import stream
from .settings import Settings

CHUNK = {"cpu": 3 << 20, "cuda": 24 << 20}  # bytes of pixels at once: more falls out of a processor's cache


def batches(
    split: Split, data: Data, s: Settings, epoch: int, start: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield one epoch's batches, shuffled and augmented, from batch `start` on.

    A last batch of a single image is left out: batch normalisation has no statistics for it.

    Args:
        split: the training images, uint8 (N, C, H, W), and labels, on the device.
        data: gives the normalisation constants.
        s: batch size, augmentation and seed.
        epoch: which epoch, from 0.
        start: how many batches were already taken.
    """
    n, size, kind = len(split.labels), split.images.shape[-1], s.data.augment
    mean, std = data.constants(s.data.normalise)
    generator = stream(s.seed, "epoch", epoch)
    order = torch.randperm(n, generator=generator).to(split.images.device)
    draws = draw(kind, n, size, generator).to(split.images.device)
    room = CHUNK.get(split.images.device.type, CHUNK["cpu"])
    per_chunk = max(1, room // split.images[0].numel() // s.optim.batch) * s.optim.batch
    first, skip = divmod(start * s.optim.batch, per_chunk)
    for begin in range(first * per_chunk, n, per_chunk):
        index = order[begin : begin + per_chunk]
        images = apply(kind, split.images[index], draws[begin : begin + per_chunk])
        inputs, labels = normalise(images, mean, std), split.labels[index]
        for i in range(skip, len(index), s.optim.batch):
            if len(index) - i > 1:
                yield inputs[i : i + s.optim.batch], labels[i : i + s.optim.batch]
        skip = 0


def first_batch(s: Settings, data: Data, where: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the first batch of the first epoch, on a device.

    Args:
        s: batch size, augmentation and seed.
        data: the training images, on any device.
        where: the device.
    """
    x, y = next(iter(batches(data.train, data, s, 0)))
    return x.to(where), y.to(where)


def steps_per_epoch(n: int, batch: int) -> int:
    """Count the batches that `batches` yields for `n` images."""
    return n // batch + (n % batch > 1)


def shapes(n: int, batch: int, image: tuple[int, int, int]) -> list[tuple[int, ...]]:
    """List the shapes (N, C, H, W) of the batches that `batches` yields for `n` images."""
    sizes = {min(batch, n), n % batch if n > batch else 0}
    return [(size, *image) for size in sorted(sizes, reverse=True) if size > 1]
