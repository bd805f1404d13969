"""Sanity checks on data: corrupt what the pruner sees; the ticket is then trained on clean data."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..data import Split
from ..errors import ReproError, pick

Array = np.ndarray
CHUNK = 4096  # images at a time: bounds the memory that index arrays take


def random_labels(split: Split, classes: int, generator: torch.Generator) -> Split:
    """Replace every label by a class drawn at random, which may be the true one.

    Source: Su et al. 2020 (random labels).

    Args:
        split: images (N, C, H, W) and labels (N,); stays as it is.
        classes: number of classes.
        generator: draws the labels.
    """
    labels = torch.randint(classes, split.labels.shape, generator=generator)
    return Split(split.images, labels.to(split.labels))


def pixel_shuffle(
    split: Split,
    classes: int,
    generator: torch.Generator,
    *,
    kind: Literal[
        "per_image_full", "per_image_spatial", "per_image_rows_cols", "fixed_global", "rows_of_matrix"
    ] = "per_image_full",
    labels: bool = True,
) -> Split:
    """Permute the pixels within every image.

    Source: Su et al. 2020 (random pixels: per_image_full, in their code with random labels).

    Args:
        split: images (N, C, H, W) and labels (N,); stays as it is.
        classes: number of classes.
        generator: draws the permutations, then the labels.
        kind: per_image_full mixes places and channels, another permutation for each image;
            per_image_spatial moves whole pixels; per_image_rows_cols permutes rows and columns (answer42,
            GraSP); fixed_global uses one permutation of places and channels for all images; rows_of_matrix
            permutes the rows of the image seen as a matrix of C x H rows (answer42, SNIP).
        labels: whether labels are drawn at random too, as in Su et al.'s code.
    """
    shuffle = pick(SHUFFLES, kind, "pixel_shuffle.kind")
    seed = int(torch.randint(2**62, (), generator=generator))
    images = split.images.cpu().numpy()
    shuffled = torch.from_numpy(shuffle(images, np.random.default_rng(seed))).to(split.images.device)
    changed = Split(shuffled, split.labels)
    return random_labels(changed, classes, generator) if labels else changed


def half_data(
    split: Split,
    classes: int,
    generator: torch.Generator,
    *,
    kind: Literal["first", "random_fraction"] = "first",
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5,
) -> Split:
    """Keep a part of the examples, in file order.

    Source: Su et al. 2020 (half dataset); their code keeps the first 24,960 of 50,000, fraction 0.4992.

    Args:
        split: images (N, C, H, W) and labels (N,); stays as it is.
        classes: unused.
        generator: draws the examples of a random fraction.
        kind: the first examples, or random ones.
        fraction: share to keep, in (0, 1), rounded down.

    Raises:
        ReproError: no example would be left.
    """
    total = len(split.labels)
    count = math.floor(fraction * total + 1e-9)
    if not 0 < count < total:
        raise ReproError(f"half_data: fraction {fraction:g} of {total} examples keeps {count}; change it")
    keep: Callable[[], Tensor] = pick(
        {
            "first": lambda: torch.arange(count),
            "random_fraction": lambda: torch.randperm(total, generator=generator)[:count].sort().values,
        },
        kind,
        "half_data.kind",
    )
    index = keep()
    return Split(split.images[index], split.labels[index])


DATA_CHECKS: dict[str, Callable[..., Split]] = {
    "random_labels": random_labels,
    "pixel_shuffle": pixel_shuffle,
    "half_data": half_data,
}


def _full(images: Array, rng: np.random.Generator) -> Array:
    return rng.permuted(images.reshape(len(images), -1), axis=1).reshape(images.shape)


def _spatial(images: Array, rng: np.random.Generator) -> Array:
    n, channels, height, width = images.shape
    return _take(images.reshape(n, channels, height * width), 2, rng).reshape(images.shape)


def _rows_cols(images: Array, rng: np.random.Generator) -> Array:
    return _take(_take(images, 2, rng), 3, rng)


def _fixed(images: Array, rng: np.random.Generator) -> Array:
    flat = images.reshape(len(images), -1)
    return flat[:, rng.permutation(flat.shape[1])].reshape(images.shape)


def _matrix_rows(images: Array, rng: np.random.Generator) -> Array:
    n, channels, height, width = images.shape
    return _take(images.reshape(n, channels * height, width), 1, rng).reshape(images.shape)


def _take(images: Array, axis: int, rng: np.random.Generator) -> Array:
    """Permute one axis, each image by itself and alike in all other axes."""
    shape = [1] * images.ndim
    shape[axis] = size = images.shape[axis]
    out = np.empty_like(images)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        order = rng.permuted(np.tile(np.arange(size), (len(part), 1)), axis=1)
        out[start : start + CHUNK] = np.take_along_axis(part, order.reshape(len(part), *shape[1:]), axis)
    return out


SHUFFLES: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "per_image_full": _full,
    "per_image_spatial": _spatial,
    "per_image_rows_cols": _rows_cols,
    "fixed_global": _fixed,
    "rows_of_matrix": _matrix_rows,
}
