"""Data: read a set whole as tensors of uint8, bring it to size, take subsets, keep a part for validation."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from .. import paths
from ..errors import ReproError, pick
from .augment import AUGMENTATIONS, Draws, apply, draw, normalise
from .readers import Split, rank_in_class
from .sets import DATASETS, Constants, DataSet
from .store import fetch, listing, require, verify

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "Data",
    "DataSet",
    "Draws",
    "Split",
    "apply",
    "balanced_batch",
    "draw",
    "fetch",
    "listing",
    "load",
    "normalise",
    "random_batch",
    "rank_in_class",
    "verify",
]


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set ready for use. Its tensors are shared between calls of `load`: never write into them.

    Args:
        name: entry of `DATASETS`.
        train: training images, without those for validation.
        validation: images kept apart from the training set, or None.
        test: test images.
        classes: number of classes.
    """

    name: str
    train: Split
    validation: Split | None
    test: Split
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def replace(self, train: Split) -> Data:
        """Give the same data with another training split, e.g. a corrupted one."""
        return dataclasses.replace(self, train=train)

    def to(self, device: torch.device | str) -> Data:
        """Give the same data with all images and labels on a device."""
        train, held, test = (
            split and Split(split.images.to(device), split.labels.to(device))
            for split in (self.train, self.validation, self.test)
        )
        assert train and test
        return dataclasses.replace(self, train=train, validation=held, test=test)

    def constants(self, kind: str = "standard") -> Constants:
        """Give mean and standard deviation of pixels in [0, 1], one number for each channel of the images.

        Args:
            kind: name of the constants in the set's `normalise`.

        Raises:
            ReproError: if the set has no constants of that name.
        """
        mean, std = pick(DATASETS[self.name].normalise, kind, f"normalisation of {self.name}")
        repeat = self.shape[0] // len(mean)
        return mean * repeat, std * repeat


def load(
    name: str,
    *,
    root: str | Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    subset: int | None = None,
    validation: float = 0.0,
) -> Data:
    """Load a data set.

    Validation images are the last ones of the training set (of the subset, where there is one) in file order,
    as in the RigL report; they are never augmented.
    Differs from the RigL report, where validation images go through the training augmentation.
    Differs from Gohil et al., whose test images of Fashion-MNIST stay 28x28, and whose augmentation cuts the
    border of zeros itself, so that images shift by up to 2 pixels, where ours of 32x32 shift by up to 4.

    Args:
        name: entry of `DATASETS`.
        root: folder of the data, default `paths.data()`.
        size: side of the images in pixels, default as published. Fashion-MNIST gets to 32 by a border of
            zeros, everything else by linear interpolation with antialiasing.
        channels: default as published; 3 repeats grey images.
        subset: number of training images to use, the first of each class in file order; where it is no
            multiple of the classes, the first classes give one more.
        validation: fraction of the training images kept apart, in [0, 1).

    Raises:
        ReproError: if the set is unknown, not there, or corrupt, or if it has not got what is asked for.
    """
    entry = pick(DATASETS, name, "data set")
    train, test = _read(name, str(root or paths.data()))
    if subset is not None:
        train = _first(name, train, subset, entry.classes)
    train, test = (
        Split(
            _channels(name, _resize(images, entry.size if size is None else size, entry.padded), channels),
            labels,
        )
        for images, labels in (train, test)
    )
    if not 0 <= validation < 1:
        raise ReproError(f"validation is {validation}: it must be a fraction of at least 0 and below 1")
    kept = len(train.labels) - int(validation * len(train.labels) + 1e-9)
    held = Split(*(part[kept:] for part in train)) if kept < len(train.labels) else None
    return Data(name, Split(*(part[:kept] for part in train)), held, test, entry.classes)


def balanced_batch(split: Split, per_class: int, classes: int, generator: torch.Generator) -> Tensor:
    """Choose random examples of each class, by the labels as they are given (also where they are corrupted).

    Args:
        split: the examples to choose from.
        per_class: number of examples of each class, at least 1.
        classes: number of classes.
        generator: a generator on the CPU.

    Returns:
        int64 (per_class * classes,): indices in order of class, in random order within a class.

    Raises:
        ReproError: if a class has not got as many examples.
    """
    labels = split.labels.cpu()
    counts = torch.bincount(labels, minlength=classes)
    if int(counts.min()) < per_class:
        scarce = int(counts.argmin())
        raise ReproError(
            f"class {scarce} has {int(counts[scarce])} training examples, {per_class} were asked for: "
            "lower samples_per_class or enlarge the subset"
        )
    shuffled = torch.randperm(len(labels), generator=generator)
    chosen = shuffled[rank_in_class(labels[shuffled]) < per_class]
    return chosen[torch.argsort(labels[chosen], stable=True)]


def random_batch(split: Split, size: int, generator: torch.Generator) -> Tensor:
    """Choose random examples, whatever their classes.

    Args:
        split: the examples to choose from.
        size: number of examples, at least 1.
        generator: a generator on the CPU.

    Returns:
        int64 (size,): different indices in random order.

    Raises:
        ReproError: if there are not as many examples.
    """
    if size > len(split.labels):
        raise ReproError(
            f"there are {len(split.labels)} training examples, {size} were asked for: "
            "lower batch_size or enlarge the subset"
        )
    return torch.randperm(len(split.labels), generator=generator)[:size]


@functools.lru_cache(maxsize=4)
def _read(name: str, root: str) -> tuple[Split, Split]:
    require(name, root)
    return DATASETS[name].read(Path(root))


def _first(name: str, split: Split, count: int, classes: int) -> Split:
    available = torch.bincount(split.labels, minlength=classes)
    quota = torch.full((classes,), count // classes)
    quota[: count % classes] += 1
    if count < 1 or bool((available < quota).any()):
        raise ReproError(
            f"subset is {count}: data set {name!r} can give 1 to {classes * int(available.min())} images"
        )
    chosen = rank_in_class(split.labels) < quota[split.labels]
    return Split(split.images[chosen], split.labels[chosen])


def _resize(images: Tensor, size: int, padded: int | None) -> Tensor:
    native = images.shape[-1]
    if size < 1:
        raise ReproError(f"size is {size}: it must be at least 1 pixel")
    if size == native:
        return images
    if size == padded:
        return functional.pad(images, ((size - native) // 2,) * 4)
    result = images.new_empty((*images.shape[:2], size, size))
    for start in range(0, len(images), 1000):
        chunk = images[start : start + 1000].float()
        chunk = functional.interpolate(chunk, size=(size, size), mode="bilinear", antialias=True)
        result[start : start + 1000] = chunk.round_().clamp_(0, 255).to(torch.uint8)
    return result


def _channels(name: str, images: Tensor, channels: int | None) -> Tensor:
    native = images.shape[1]
    if channels in (None, native):
        return images
    if native == 1 and channels == 3:
        return images.repeat(1, 3, 1, 1)
    raise ReproError(f"channels is {channels}: data set {name!r} has {native}, and only 1 can become 3")
