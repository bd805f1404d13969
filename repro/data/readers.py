"""How each data set is read, and which files it consists of.

Torchvision is imported only when a set of its is asked for; digits come with scikit-learn. The files of a set have
matched their checksums when they are read; even so nothing in them can run code, and no other files are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .cifar import batch

File = tuple[str, str]  # path below the folder of the data, MD5


class Split(NamedTuple):
    """Images and labels in file order.

    Args:
        images: uint8 (N, C, H, W).
        labels: int64 (N,), from 0 to classes - 1.
    """

    images: Tensor
    labels: Tensor


def rank_in_class(labels: Tensor) -> Tensor:
    """Number the examples of each class in file order.

    Args:
        labels: int64 (N,).

    Returns:
        int64 (N,): how many earlier examples have the same label.
    """
    order, counts = torch.argsort(labels, stable=True), torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    ranks = torch.empty_like(labels)
    ranks[order] = torch.arange(len(labels)) - starts[labels[order]]
    return ranks


def read_digits(root: Path) -> tuple[Split, Split]:
    """Read the 1,797 handwritten digits of scikit-learn; `root` is not used.

    There is no published split of this file, so ours is fixed without randomness: within each class, in file
    order, every third example is for testing. Grey levels 0 to 16 become 0 to 255.
    """
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    images = torch.from_numpy(np.rint(pixels * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
    labels = torch.from_numpy(target.astype(np.int64))
    whole, test = Split(images, labels), rank_in_class(labels) % 3 == 2
    return _where(~test, whole), _where(test, whole)


def read_fashionmnist(root: Path) -> tuple[Split, Split]:
    """Read Fashion-MNIST with torchvision's functions, from `root`/FashionMNIST/raw.

    Differs from torchvision's class, which takes a folder `processed` beside it instead, whose files have no checksums.
    """
    from torchvision.datasets.mnist import read_image_file, read_label_file

    def split(part: str) -> Split:
        start = root / "FashionMNIST" / "raw" / part
        images, labels = f"{start}-images-idx3-ubyte", f"{start}-labels-idx1-ubyte"
        return Split(read_image_file(images).unsqueeze(1), read_label_file(labels).long())

    return split("train"), split("t10k")


def read_cifar10(root: Path) -> tuple[Split, Split]:
    """Read CIFAR-10 from `root`/cifar-10-batches-py."""
    return _cifar("CIFAR10", root)


def read_cifar100(root: Path) -> tuple[Split, Split]:
    """Read CIFAR-100 (fine labels) from `root`/cifar-100-python."""
    return _cifar("CIFAR100", root)


def _cifar(name: str, root: Path) -> tuple[Split, Split]:
    import torchvision.datasets

    source = getattr(torchvision.datasets, name)

    def split(files: list[list[str]]) -> Split:
        parts = [batch(root / source.base_folder / file) for file, _ in files]
        return Split(*(torch.cat(column) for column in zip(*parts, strict=True)))

    return split(source.train_list), split(source.test_list)


def every_second(
    read: Callable[[Path], tuple[Split, Split]], first: Literal[0, 1]
) -> Callable[[Path], tuple[Split, Split]]:
    """Make the function that reads one of two disjoint halves of a set, with the same share of every class.

    Of each class, in file order, one half has the 1st, 3rd, 5th example and so on, the other half the rest;
    training and test images alike.

    Source: Gohil et al. 2020, authors' code, which halves CIFAR-10 so for Morcos et al.'s CIFAR-10a and 10b.
    Differs from it: only training images are augmented, and anew whenever they are seen, where theirs and the
    test images are augmented once, as the halves are made; and the second half can be read, where theirs fails.

    Args:
        read: reads the whole set.
        first: 0 for the half that begins with the first example of each class, 1 for the other.
    """

    def half(root: Path) -> tuple[Split, Split]:
        train, test = (_where(rank_in_class(part.labels) % 2 == first, part) for part in read(root))
        return train, test

    return half


def read_svhn(root: Path) -> tuple[Split, Split]:
    """Read SVHN with torchvision: cropped digits, "train" (without "extra") and "test"; 0 is class 0."""
    from torchvision.datasets import SVHN

    def split(name: str) -> Split:
        part = SVHN(str(root), split=name)
        labels = torch.from_numpy(part.labels.astype(np.int64))
        return Split(torch.from_numpy(np.ascontiguousarray(part.data)), labels)

    return split("train"), split("test")


def _where(chosen: Tensor, split: Split) -> Split:
    return Split(split.images[chosen], split.labels[chosen])


def cifar_files(name: str) -> list[File]:
    """List the files of "CIFAR10" or "CIFAR100" with torchvision's checksums."""
    import torchvision.datasets

    source = getattr(torchvision.datasets, name)
    rows = [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]
    return [(f"{source.base_folder}/{file}", md5) for file, md5 in rows]


def svhn_files() -> list[File]:
    """List the files of SVHN with torchvision's checksums."""
    from torchvision.datasets import SVHN

    return [(SVHN.split_list[split][1], SVHN.split_list[split][2]) for split in ("train", "test")]


def fashionmnist_files() -> list[File]:
    """List the files of Fashion-MNIST with sums of the unpacked files, which torchvision has not."""
    sums = {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    }
    return [(f"FashionMNIST/raw/{file}", md5) for file, md5 in sums.items()]


def downloader(name: str) -> Callable[[Path], None]:
    """Make the function that lets torchvision download a set of its, called `name` there, to a folder."""

    def download(root: Path) -> None:
        import torchvision.datasets

        source = getattr(torchvision.datasets, name)
        if name == "SVHN":
            for split in ("train", "test"):
                source(str(root), split=split, download=True)
        else:
            source(root, download=True)

    return download
