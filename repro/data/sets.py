"""The data sets: a menu of what each is, and the constants that normalise it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from . import readers, tiny
from .readers import File, Split

Constants = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of each channel


def _nothing(root: Path) -> None:
    """Download nothing: the set comes with a dependency."""


@dataclass(frozen=True)
class DataSet:
    """A data set as its authors published it.

    Args:
        title: name for people.
        classes: number of classes.
        channels: 1 for grey, 3 for colour.
        size: side of the images in pixels.
        train: number of training images.
        test: number of test images.
        cite: where it comes from.
        normalise: named constants for pixels in [0, 1]; "standard" is the default.
        read: from the folder of the data to the training and the test split.
        files: the files of the set; none if it comes with a dependency.
        download: puts the files below a folder, from the network.
        inspect: in place of checksums, tells what is there below a folder and in which state.
        bring: what to put there by hand, for a set that cannot be downloaded.
        padded: size that is reached by a border of zeros instead of resizing.
    """

    title: str
    classes: int
    channels: int
    size: int
    train: int
    test: int
    cite: str
    normalise: dict[str, Constants]
    read: Callable[[Path], tuple[Split, Split]]
    files: Callable[[], list[File]] = list
    download: Callable[[Path], None] = _nothing
    inspect: Callable[[Path], list[tuple[str, str]]] | None = None
    bring: str = ""
    padded: int | None = None


# "standard" is Su et al.'s where they have the set: for CIFAR-10 it has the mean over images of each image's
# deviation, "pixel" the deviation over all pixels. "s003" is the RigL report's, "s004" Gadhikar et al.'s,
# "half" Gohil et al.'s. For digits and Fashion-MNIST "standard" is measured on the training split.
_CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
_PER_IMAGE: Constants = (_CIFAR10_MEAN, (0.2023, 0.1994, 0.2010))
_HALF: Constants = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_TINY = tiny.Folder(classes=200, size=64, train=100_000, test=10_000)
_CIFAR10 = DataSet(
    title="CIFAR-10",
    classes=10,
    channels=3,
    size=32,
    train=50_000,
    test=10_000,
    cite="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    normalise={
        "standard": _PER_IMAGE,
        "s003": _PER_IMAGE,
        "s004": _PER_IMAGE,
        "pixel": (_CIFAR10_MEAN, (0.2470, 0.2435, 0.2616)),
        "half": _HALF,
    },
    read=readers.read_cifar10,
    files=lambda: readers.cifar_files("CIFAR10"),
    download=readers.downloader("CIFAR10"),
)


def _half(whole: DataSet, name: str, first: Literal[0, 1], train: int, test: int) -> DataSet:
    """Describe a half of a set, which lies in the files of the whole."""
    read = readers.every_second(whole.read, first)
    cite = f"{whole.cite}; halved as by Gohil et al., 2020"
    return replace(whole, title=f"{whole.title}{name}", train=train, test=test, cite=cite, read=read)


_DIGITS = DataSet(
    title="Digits",
    classes=10,
    channels=1,
    size=8,
    train=1201,
    test=596,
    cite="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (as in scikit-learn)",
    normalise={"standard": ((0.3048,), (0.3757,)), "half": ((0.5,), (0.5,))},
    read=readers.read_digits,
)

DATASETS: dict[str, DataSet] = {
    "digits": _DIGITS,
    "digitsa": _half(_DIGITS, " a", 0, 602, 300),
    "digitsb": _half(_DIGITS, " b", 1, 599, 296),
    "fashionmnist": DataSet(
        title="Fashion-MNIST",
        classes=10,
        channels=1,
        size=28,
        train=60_000,
        test=10_000,
        cite="Xiao, Rasul and Vollgraf, arXiv 1708.07747, 2017",
        normalise={"standard": ((0.2860,), (0.3530,)), "half": ((0.5,), (0.5,))},
        read=readers.read_fashionmnist,
        files=readers.fashionmnist_files,
        download=readers.downloader("FashionMNIST"),
        padded=32,
    ),
    "cifar10": _CIFAR10,
    "cifar10a": _half(_CIFAR10, "a", 0, 25_000, 5_000),
    "cifar10b": _half(_CIFAR10, "b", 1, 25_000, 5_000),
    "cifar100": DataSet(
        title="CIFAR-100",
        classes=100,
        channels=3,
        size=32,
        train=50_000,
        test=10_000,
        cite="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        normalise={
            "standard": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
            "s003": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
            "s004": ((0.507075, 0.486549, 0.440918), (0.267334, 0.256438, 0.276150)),
            "pixel": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
            "half": _HALF,
        },
        read=readers.read_cifar100,
        files=lambda: readers.cifar_files("CIFAR100"),
        download=readers.downloader("CIFAR100"),
    ),
    "svhn": DataSet(
        title="SVHN",
        classes=10,
        channels=3,
        size=32,
        train=73_257,
        test=26_032,
        cite="Netzer et al., Reading Digits in Natural Images, NIPS workshop, 2011",
        normalise={"standard": _HALF, "half": _HALF},
        read=readers.read_svhn,
        files=readers.svhn_files,
        download=readers.downloader("SVHN"),
    ),
    "tinyimagenet": DataSet(
        title="Tiny-ImageNet",
        classes=_TINY.classes,
        channels=3,
        size=_TINY.size,
        train=_TINY.train,
        test=_TINY.test,
        cite="Le and Yang, Tiny ImageNet Visual Recognition Challenge, course CS 231N, Stanford, 2015",
        normalise={
            "standard": ((0.480246, 0.448072, 0.397548), (0.276986, 0.269064, 0.282082)),
            "half": _HALF,
        },
        read=_TINY.read,
        inspect=_TINY.inspect,
        bring=tiny.BRING,
    ),
}
