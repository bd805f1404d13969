"""Tiny-ImageNet from a miniature of its folder: both layouts, labels, the file of pixels, what is missing."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from repro import data
from repro.data import AUGMENTATIONS, DATASETS, fetch, listing, load, normalise, tiny, verify
from repro.data.tiny import FOLDER, Folder
from repro.errors import ReproError
from repro.grids import expand
from repro.recipes import RECIPES
from repro.settings import parse

WNIDS = ["n02000003", "n01000001", "n01500002"]  # as in wnids.txt, not in order
SMALL = Folder(classes=3, size=8, train=12, test=6)


def picture(path: Path, value: int, mode="RGB") -> None:
    """Write an image of one colour, whose red tells it apart (after JPEG, about)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8), (value, 0, 90) if mode == "RGB" else value).save(path, "JPEG", quality=100)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """The layout as distributed: 4 training images of each of 3 classes, 6 for testing."""
    entry = DATASETS["tinyimagenet"]
    change = dict(classes=3, size=8, train=12, test=6, read=SMALL.read, inspect=SMALL.inspect)
    monkeypatch.setitem(DATASETS, "tinyimagenet", dataclasses.replace(entry, **change))
    folder = tmp_path / "sets" / FOLDER
    for wnid in reversed(WNIDS):
        c = sorted(WNIDS).index(wnid)
        for i in range(4):
            picture(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 60 * c + 10 * i)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("boxes\t0\n")
    lines = []
    for i in range(6):
        picture(folder / "val" / "images" / f"val_{i}.JPEG", 40 * i)
        lines.append(f"val_{i}.JPEG\t{WNIDS[i % 3]}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(WNIDS))
    picture(folder / "test" / "images" / "test_0.JPEG", 0)
    return folder.parent


def red(images: torch.Tensor) -> list[int]:
    return [round(v / 10) * 10 for v in images[:, 0].float().mean((1, 2)).tolist()]


def reorganise(root: Path, inner: str) -> None:
    val = root / FOLDER / "val"
    for line in (val / "val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        target = val / wnid / inner / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (val / "images" / name).rename(target)
    (val / "val_annotations.txt").unlink()
    (val / "images").rmdir()


def test_the_layout_as_distributed(root):
    found = load("tinyimagenet", root=root)
    assert found.shape == (3, 8, 8) and found.classes == 3
    assert found.train.images.dtype == torch.uint8 and found.train.labels.dtype == torch.int64
    assert found.train.labels.tolist() == [0, 1, 2] * 4  # one of each class in turn
    assert red(found.train.images) == [60 * c + 10 * i for i in range(4) for c in range(3)]
    assert found.test.labels.tolist() == [2, 0, 1] * 2  # by sorted WordNet numbers
    assert red(found.test.images) == [40 * i for i in range(6)]
    assert int(found.train.images[:, 1].max()) < 12 and int(found.train.images[:, 2].min()) > 80
    held = load("tinyimagenet", root=root, validation=0.25).validation
    assert held and held.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("backwards", [False, True])
def test_the_order_in_which_a_disk_lists_its_files_does_not_matter(root, monkeypatch, backwards):
    listed = tiny._entries
    monkeypatch.setattr(
        tiny, "_entries", lambda folder: sorted(listed(folder), key=lambda e: e.name, reverse=backwards)
    )
    train, test = SMALL.read(root)
    assert train.labels.tolist() == [0, 1, 2] * 4 and test.labels.tolist() == [2, 0, 1] * 2
    assert red(train.images)[:4] == [0, 60, 120, 10] and red(test.images) == [40 * i for i in range(6)]


@pytest.mark.parametrize("inner", ["", "images"])
def test_validation_images_in_folders_of_their_class_are_the_same_set(root, inner):
    before = SMALL.read(root)
    reorganise(root, inner)
    for old, new in zip(before, SMALL.read(root), strict=True):
        assert torch.equal(old.images, new.images) and torch.equal(old.labels, new.labels)
    assert {state for _, state in verify("tinyimagenet", root)} == {"ok"}


def test_images_copied_into_folders_of_their_class_count_once(root):
    val = root / FOLDER / "val"
    (val / WNIDS[0]).mkdir()
    for i in (0, 3):
        shutil.copy(val / "images" / f"val_{i}.JPEG", val / WNIDS[0])
    assert len(load("tinyimagenet", root=root).test.labels) == 6


def test_grey_images_get_three_equal_channels(root):
    path = root / FOLDER / "train" / WNIDS[1] / "images" / f"{WNIDS[1]}_0.JPEG"
    picture(path, 77, "L")
    first = load("tinyimagenet", root=root).train.images[0]
    assert (first == 77).all()


def pixel_files(root: Path) -> list[Path]:
    return sorted(root.glob("*.safetensors"))


def test_the_second_time_no_image_is_decoded(root, monkeypatch):
    first = SMALL.read(root)
    assert len(pixel_files(root)) == 1
    monkeypatch.setattr(tiny, "_pixels", lambda path, size: pytest.fail("decoded again"))
    for old, new in zip(first, SMALL.read(root), strict=True):
        assert torch.equal(old.images, new.images) and torch.equal(old.labels, new.labels)


def test_a_changed_image_and_a_broken_file_of_pixels_are_read_anew(root):
    SMALL.read(root)
    (before,) = pixel_files(root)
    picture(root / FOLDER / "train" / WNIDS[1] / "images" / f"{WNIDS[1]}_0.JPEG", 200)
    assert red(SMALL.read(root)[0].images)[0] == 200
    (after,) = pixel_files(root)  # the old one is gone
    assert after != before and [p.name for p in root.iterdir() if p.suffix == ".part"] == []
    after.write_bytes(after.read_bytes()[:99])
    assert red(SMALL.read(root)[0].images)[0] == 200


def test_a_folder_that_cannot_be_written_to_keeps_its_pixels_in_the_build_folder(root, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    before = sorted(root.iterdir())
    SMALL.read(root)
    assert sorted(root.iterdir()) == before
    assert len(pixel_files(tmp_path / "_build" / "data")) == 1


def test_what_is_missing_is_counted_and_told_in_one_line(root, tmp_path):
    rows = verify("tinyimagenet", root)
    assert rows == [
        (f"{FOLDER}/train: 12 of 12 images, 3 of 3 classes", "ok"),
        (f"{FOLDER}/val: 6 of 6 images, 3 of 3 classes", "ok"),
    ]
    assert fetch("tinyimagenet", root) == "nothing to do: all images are there"
    (root / FOLDER / "val" / "images" / "val_3.JPEG").unlink()
    assert verify("tinyimagenet", root)[1] == (f"{FOLDER}/val: 5 of 6 images, 3 of 3 classes", "incomplete")
    assert {r["name"]: r["status"] for r in listing(root)}["tinyimagenet"] == "incomplete"
    data._read.cache_clear()
    with pytest.raises(ReproError, match=r"is incomplete: .*val: 5 of 6 images, 3 of 3 classes: unpack http"):
        load("tinyimagenet", root=root)
    shutil.rmtree(root / FOLDER / "val")
    with pytest.raises(
        ReproError, match=r"is incomplete: .*/val: 0 of 6 images, 0 of 3 classes is not there"
    ):
        load("tinyimagenet", root=root)
    with pytest.raises(
        ReproError, match=r"cannot be fetched into .*: unpack http.*/train/ and .*/val/"
    ) as caught:
        fetch("tinyimagenet", tmp_path / "none")
    assert "\n" not in str(caught.value) and not (tmp_path / "none").exists()
    assert {r["name"]: r["status"] for r in listing(tmp_path / "none")}["tinyimagenet"] == "missing"


def test_images_that_are_broken_or_of_another_size_are_named(root):
    path = root / FOLDER / "val" / "images" / "val_4.JPEG"
    for content, word in {b"": "cannot identify", path.read_bytes()[:300]: "truncated"}.items():
        path.write_bytes(content)
        with pytest.raises(ReproError, match=f"(?i)val_4.JPEG: .*{word}"):
            SMALL.read(root)
    Image.new("RGB", (9, 8)).save(path)
    with pytest.raises(ReproError, match=r"val_4.JPEG: 9x8 pixels, not 8x8"):
        SMALL.read(root)
    assert not pixel_files(root)


def test_the_whole_set_is_described_as_published():
    entry = DATASETS["tinyimagenet"]
    assert (entry.classes, entry.channels, entry.size, entry.train, entry.test) == (
        200,
        3,
        64,
        100_000,
        10_000,
    )
    (mean, std), x = entry.normalise["standard"], torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    wanted = (1 - np.array([0.480246, 0.448072, 0.397548])) / np.array([0.276986, 0.269064, 0.282082])
    assert normalise(x, mean, std)[0, :, 0, 0].tolist() == pytest.approx(wanted.tolist())


@pytest.mark.parametrize(
    ("name", "batch", "decay"),
    [("su2020-tiny", 64, 1e-4), ("grasp-vgg-tiny", 128, 5e-4), ("grasp-resnet-tiny", 128, 1e-4)],
)
def test_recipes(name, batch, decay):
    (s,) = expand([RECIPES[name]], {}, "test")
    s = parse(s) if isinstance(s, dict) else s
    assert (s.optim.epochs, s.optim.batch, s.optim.weight_decay, s.optim.lr) == (300, batch, decay, 0.1)
    drops = [round(m * s.optim.epochs) for m in s.optim.options("schedule")["milestones"]]
    assert drops == [150, 225] and s.data.name == "tinyimagenet"
    assert AUGMENTATIONS[s.data.augment].pad(64) == 4 and AUGMENTATIONS[s.data.augment].flip
