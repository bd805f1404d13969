"""Tiny-ImageNet: 110,000 small files in folders, decoded side by side once and kept as one file of pixels.

Nobody may hand the images on, so that nothing is fetched here: the user brings the folder.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .. import files, paths
from ..errors import ReproError
from ..progress import Waiting
from ..text import sized
from .readers import Split

FOLDER = "tiny-imagenet-200"
ANNOTATIONS_LIMIT = 2**24  # bytes; those of 10,000 images take a twentieth
BRING = (
    f"unpack http://cs231n.stanford.edu/{FOLDER}.zip there by hand, so that it holds {FOLDER}/train/ "
    f"and {FOLDER}/val/"
)


class Image(NamedTuple):
    """One file: its name, where it lies (text, as 110,000 paths cost a second), size and time, and its class."""

    name: str
    path: str
    stamp: tuple[int, int]
    label: int


class Folder(NamedTuple):
    """The folder as its authors distribute it, or with the images in val/ sorted into folders of their class.

    Args:
        classes: number of classes, in the order of their WordNet numbers.
        size: side of the images in pixels.
        train: number of training images, in train/<class>/images/.
        test: number of images in val/images/ with val_annotations.txt, or in val/<class>/ (or images/ in it). The
            labels of test/ are not published.
    """

    classes: int
    size: int
    train: int
    test: int

    def inspect(self, root: Path) -> list[tuple[str, str]]:
        """Count the images, as there are no checksums: (what and how many, "ok", "missing" or "incomplete")."""
        rows = []
        parts = zip(("train", "val"), _list(root / FOLDER), (self.train, self.test), strict=True)
        for part, found, wanted in parts:
            classes = len({image.label for image in found})
            state = "ok" if (len(found), classes) == (wanted, self.classes) else "incomplete"
            counts = f"{len(found)} of {wanted} images, {classes} of {self.classes} classes"
            rows.append((f"{FOLDER}/{part}: {counts}", state if found else "missing"))
        return rows

    def read(self, root: Path) -> tuple[Split, Split]:
        """Read all images, from the file of pixels where that is there and none of them has changed since.

        Training images come one of each class in turn, so that the last ones, which are held out for validation,
        are of all classes; test images in the order of their names. Grey ones get three channels.

        Raises:
            ReproError: an image cannot be decoded or has another size.
        """
        train, test = _list(root / FOLDER)
        told = repr([(image.name, image.stamp, image.label) for image in (*train, *test)])
        name = f"{FOLDER}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.safetensors"
        kept = (root if os.access(root, os.W_OK) else paths.build() / "data") / name
        with files.lock(kept.parent / f".{FOLDER}.lock"):
            images = _load(kept)
            if images is None:
                images = self._decode([*train, *test])
                _save(kept, images)
        labels = torch.tensor([image.label for image in (*train, *test)])
        n = len(train)
        return Split(images[:n], labels[:n]), Split(images[n:], labels[n:])

    def _decode(self, images: list[Image]) -> Tensor:
        pixels = torch.empty(len(images), 3, self.size, self.size, dtype=torch.uint8)
        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,
            Waiting("decoding Tiny-ImageNet", len(images)) as wait,
        ):
            for i, image in enumerate(pool.map(lambda image: _pixels(image.path, self.size), images)):
                pixels[i] = image
                if i % 256 == 0:
                    wait.update(i + 1)
            wait.update(len(images))
        return pixels


def _list(folder: Path) -> tuple[list[Image], list[Image]]:
    """List the images of train/ and of val/ with the labels that their folders or the annotations give."""
    classes = {
        name: i for i, name in enumerate(sorted(p.name for p in _entries(folder / "train") if _is_class(p)))
    }
    train = [
        (rank, image)
        for name, label in classes.items()
        for rank, image in enumerate(_images(folder / "train" / name, label))
    ]
    train.sort(key=lambda ranked: (ranked[0], ranked[1].label))
    told = dict(_annotations(folder / "val" / "val_annotations.txt"))
    loose = _images(folder / "val", -1)
    val = {x.name: x._replace(label=classes[told[x.name]]) for x in loose if told.get(x.name) in classes}
    for name, label in classes.items():
        val |= {x.name: x for x in _images(folder / "val" / name, label)}
    return [image for _, image in train], [val[name] for name in sorted(val)]


def _images(folder: Path, label: int) -> list[Image]:
    """List the JPEG files of a folder and of images/ in it, by name."""
    found = []
    for entry in (*_entries(folder), *_entries(folder / "images")):
        if entry.name.lower().endswith((".jpeg", ".jpg")) and not entry.name.startswith("."):
            stat = entry.stat()
            found.append(Image(entry.name, entry.path, (stat.st_size, stat.st_mtime_ns), label))
    return sorted(found)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_class(entry: os.DirEntry[str]) -> bool:
    return re.fullmatch(r"n\d{8}", entry.name) is not None


def _annotations(path: Path) -> Iterator[tuple[str, str]]:
    """Read which class each image of val/ is of: name, class and a box, between tabs."""
    text = sized(path, ANNOTATIONS_LIMIT).decode(errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        name, _, rest = line.partition("\t")
        yield name, rest.partition("\t")[0]


def _pixels(path: str, size: int) -> Tensor:
    import numpy as np
    from PIL import Image as Picture

    try:
        with Picture.open(
            path, formats=("JPEG", "PNG")
        ) as picture:  # of all formats, the fewest ways to go wrong
            if picture.size != (size, size):  # before memory is taken for them
                width, height = picture.size
                raise ValueError(f"{width}x{height} pixels, not {size}x{size}")
            pixels = np.asarray(picture.convert("RGB"))
    except Exception as error:  # Pillow raises many kinds of broken files
        reason = " ".join(str(error).split())[:200]
        raise ReproError(f"{path}: {reason}: unpack the archive again") from None
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def _load(path: Path) -> Tensor | None:
    try:
        return load_file(path)["images"]
    except (OSError, SafetensorError, KeyError):
        return None


def _save(path: Path, images: Tensor) -> None:
    """Write the file whole or not at all, and remove those of images as they were before."""
    part = path.with_suffix(".part")
    try:
        save_file({"images": images}, part)
        part.chmod(0o644)
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise ReproError(f"{path}: {' '.join(str(error).split())[:200]}: free 1.4 GB there") from None
    for old in path.parent.glob(f"{FOLDER}-*.safetensors"):
        if old != path:
            old.unlink(missing_ok=True)
