"""Data: splits, sizes, subsets, checksums, fetching; real sets where they are."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from repro import data
from repro.data import (
    DATASETS,
    Split,
    balanced_batch,
    fetch,
    listing,
    load,
    random_batch,
    rank_in_class,
    verify,
)
from repro.data.readers import every_second
from repro.errors import ReproError
from repro.rng import stream


def write(path: Path, content: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def fake_cifar10(tmp_path, monkeypatch):
    """A CIFAR-10 of 20 images in each file, with checksums of its own."""
    source, folder, random = torchvision.datasets.CIFAR10, tmp_path / "fake", np.random.default_rng(0)

    def batch(name):
        pixels = random.integers(0, 256, (20, 3072), dtype=np.uint8)
        content = pickle.dumps({"data": pixels, "labels": [i % 10 for i in range(20)]})
        return [name, write(folder / source.base_folder / name, content)]

    monkeypatch.setattr(source, "train_list", [batch(f"data_batch_{i}") for i in range(1, 6)])
    monkeypatch.setattr(source, "test_list", [batch("test_batch")])
    names = pickle.dumps({"label_names": list("abcdefghij")})
    sums = {"filename": "batches.meta", "key": "label_names"}
    sums["md5"] = write(folder / source.base_folder / "batches.meta", names)
    monkeypatch.setattr(source, "meta", sums)
    return folder


def test_digits():
    digits = load("digits")
    entry = DATASETS["digits"]
    assert len(digits.train.labels) == entry.train and len(digits.test.labels) == entry.test
    assert digits.shape == (1, 8, 8) and digits.classes == 10 and digits.validation is None
    assert digits.train.images.dtype == torch.uint8 and digits.train.labels.dtype == torch.int64
    assert int(digits.train.images.max()) == 255 and int(digits.train.images.min()) == 0
    counts = torch.bincount(digits.test.labels) / torch.bincount(digits.train.labels)
    assert ((counts > 0.47) & (counts < 0.52)).all()


def test_digits_are_scikit_learns_and_disjoint():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    digits = load("digits")
    zeros = torch.from_numpy(np.rint(pixels[labels == 0] * 255 / 16)).to(torch.uint8).view(-1, 1, 8, 8)
    train, test = (split.images[split.labels == 0] for split in (digits.train, digits.test))
    assert torch.equal(test, zeros[2::3])
    assert torch.equal(train[:4], zeros[[0, 1, 3, 4]])


def test_constants_of_digits_are_those_of_the_training_split():
    pixels = load("digits").train.images.double() / 255
    (mean,), (std,) = DATASETS["digits"].normalise["standard"]
    assert mean == pytest.approx(pixels.mean().item(), abs=5e-5)
    assert std == pytest.approx(pixels.std().item(), abs=5e-5)


def test_constants():
    assert load("digits").constants() == ((0.3048,), (0.3757,))
    assert load("digits", channels=3).constants("half") == ((0.5,) * 3, (0.5,) * 3)
    with pytest.raises(
        ReproError, match="unknown normalisation of digits 'standart': did you mean 'standard'"
    ):
        load("digits").constants("standart")
    for entry in DATASETS.values():
        for mean, std in entry.normalise.values():
            assert len(mean) == len(std) == entry.channels and min(std) > 0
        assert "standard" in entry.normalise


@pytest.mark.parametrize("size", [4, 7, 8, 16, 32])
def test_sizes(size):
    native, digits = load("digits"), load("digits", size=size)
    assert digits.shape == (1, size, size) and digits.train.images.dtype == torch.uint8
    torch.testing.assert_close(
        digits.test.images.float().mean(), native.test.images.float().mean(), rtol=0.05, atol=0
    )
    assert torch.equal(digits.train.labels, native.train.labels)


def test_doubling_by_hand():
    image = torch.tensor([[0, 200], [100, 40]], dtype=torch.uint8).view(1, 1, 2, 2)
    doubled = data._resize(image, 4, None)[0, 0]
    assert doubled[0].tolist() == [0, 50, 150, 200] and doubled[:, 0].tolist() == [0, 25, 75, 100]
    assert data._resize(image, 1, None).item() == 85


def test_padding_instead_of_resizing():
    image = torch.full((1, 1, 28, 28), 9, dtype=torch.uint8)
    padded = data._resize(image, 32, 32)
    assert torch.equal(padded[..., 2:30, 2:30], image) and int(padded.sum()) == 9 * 28 * 28
    assert DATASETS["fashionmnist"].padded == 32


def test_channels():
    grey, colour = load("digits"), load("digits", channels=3)
    assert colour.shape == (3, 8, 8)
    assert all(torch.equal(colour.test.images[:, c], grey.test.images[:, 0]) for c in range(3))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 1150), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]))
def test_subset_and_validation(subset, fraction):
    whole, part = load("digits"), load("digits", subset=subset, validation=fraction)
    held = part.validation or Split(whole.train.images[:0], whole.train.labels[:0])
    labels = torch.cat([part.train.labels, held.labels])
    assert len(labels) == subset and len(held.labels) == int(fraction * subset + 1e-9)
    counts = torch.bincount(labels, minlength=10)
    assert counts.max() - counts.min() <= 1 and torch.equal(counts, counts.sort(descending=True).values)
    keep = rank_in_class(whole.train.labels) < counts[whole.train.labels]
    assert torch.equal(torch.cat([part.train.images, held.images]), whole.train.images[keep])


def test_rank_in_class():
    assert rank_in_class(torch.tensor([2, 0, 2, 2, 0, 1])).tolist() == [0, 0, 1, 2, 1, 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 58), st.integers(0, 1000))
def test_balanced_batch(per_class, seed):
    test, before = load("digits").test, torch.get_rng_state()
    chosen = balanced_batch(test, per_class, 10, stream(seed))
    assert test.labels[chosen].tolist() == [c for c in range(10) for _ in range(per_class)]
    assert len(chosen.unique()) == len(chosen)
    assert torch.equal(chosen, balanced_batch(test, per_class, 10, stream(seed)))
    assert torch.equal(before, torch.get_rng_state())


def test_balanced_batch_is_uniform_within_a_class():
    split = Split(torch.zeros(9, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 0, 1, 0, 1, 1]))
    chosen = torch.cat([balanced_batch(split, 2, 2, stream(seed)) for seed in range(1500)])
    counts = torch.bincount(chosen)
    assert all(abs(counts[i] - 750) < 90 for i in (0, 2, 4, 6))
    assert all(abs(counts[i] - 600) < 90 for i in (1, 3, 5, 7, 8))


def test_random_batch():
    test, before = load("digits").test, torch.get_rng_state()
    chosen = random_batch(test, 100, stream(1))
    assert len(chosen) == len(chosen.unique()) == 100 and torch.equal(
        chosen, random_batch(test, 100, stream(1))
    )
    assert not torch.equal(chosen, random_batch(test, 100, stream(2)))
    assert len(torch.bincount(test.labels[chosen]).unique()) > 1  # not balanced
    assert random_batch(test, 596, stream(1)).sort().values.tolist() == list(range(596))
    counts = torch.bincount(
        torch.cat([random_batch(test, 60, stream(i)) for i in range(1000)]), minlength=596
    )
    assert counts.min() > 60 and counts.max() < 145
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(ReproError, match=r"596 training examples, 597 were asked for: lower batch_size"):
        random_batch(test, 597, stream(1))


def test_data_with_another_training_split():
    digits = load("digits", validation=0.1)
    other = digits.replace(train=Split(digits.train.images, digits.train.labels.flip(0)))
    assert torch.equal(other.train.labels, digits.train.labels.flip(0)) and other.test is digits.test
    moved = digits.to("cpu")
    assert torch.equal(moved.train.images, digits.train.images) and moved.validation is not None


def test_mistakes_are_told():
    for kind, message in {
        "name": "unknown data set 'digit': did you mean 'digits'",
        "channels": "channels is 2: data set 'digits' has 1, and only 1 can become 3",
        "subset": "subset is 100000: data set 'digits' can give 1 to 1160",
        "validation": r"validation is 1.0: it must be a fraction",
        "size": "size is -1: it must be at least 1",
    }.items():
        value = {"name": "digit", "channels": 2, "subset": 100_000, "validation": 1.0, "size": -1}[kind]
        with pytest.raises(ReproError, match=message):
            load(**({"name": "digits"} | {kind: value}))
    with pytest.raises(ReproError, match="class 3 has 0 training examples, 1 were asked for"):
        balanced_batch(Split(torch.zeros(3, 1, 1, 1), torch.tensor([0, 1, 2])), 1, 4, stream(0))


@pytest.mark.parametrize("name", [name for name in DATASETS if not name.startswith("digits")])
def test_a_set_that_is_not_there(name, tmp_path):
    mend = DATASETS[name].bring or f"run `repro data fetch {name}`"
    with pytest.raises(ReproError, match=f"data set '{name}' is not in .*: {mend}"):
        load(name, root=tmp_path)
    assert {state for _, state in verify(name, tmp_path)} == {"missing"}


def test_reading_the_layout_of_cifar10(fake_cifar10):
    cifar = load("cifar10", root=fake_cifar10)
    assert cifar.shape == (3, 32, 32) and len(cifar.train.labels) == 100 and len(cifar.test.labels) == 20
    raw = pickle.loads((fake_cifar10 / "cifar-10-batches-py" / "data_batch_2").read_bytes())["data"]
    assert torch.equal(cifar.train.images[20:40], torch.from_numpy(raw).view(20, 3, 32, 32))
    assert cifar.train.labels[:12].tolist() == [*range(10), 0, 1]
    assert load("cifar10", root=fake_cifar10).train.images.data_ptr() == cifar.train.images.data_ptr()


def test_halves_by_hand():
    images = torch.arange(9, dtype=torch.uint8).view(9, 1, 1, 1)
    train, test = (
        Split(images, torch.tensor([1, 1, 0, 1, 0, 2, 0, 0, 1])),
        Split(images[:2], torch.tensor([1, 0])),
    )
    (a, held_a), (b, held_b) = (every_second(lambda root: (train, test), i)(Path()) for i in (0, 1))
    assert a.images.flatten().tolist() == [0, 2, 3, 5, 6] and a.labels.tolist() == [1, 0, 1, 2, 0]
    assert b.images.flatten().tolist() == [1, 4, 7, 8] and b.labels.tolist() == [1, 0, 0, 1]
    assert held_a.labels.tolist() == [1, 0] and held_b.images.shape == (0, 1, 1, 1)


def halves(root: Path) -> None:
    """Check that CIFAR-10a and 10b share CIFAR-10 out as they should."""
    whole, *parts = (load(name, root=root) for name in ("cifar10", "cifar10a", "cifar10b"))
    for split in ("train", "test"):
        all_of, a, b = (getattr(part, split) for part in (whole, *parts))
        flags, taken = [True] * 10, [torch.zeros(len(all_of.labels), dtype=torch.bool) for _ in range(2)]
        for i, label in enumerate(
            all_of.labels.tolist()
        ):  # as published: a flag for each class, turned each time
            taken[0 if flags[label] else 1][i] = True
            flags[label] = not flags[label]
        assert (taken[0] ^ taken[1]).all()
        for half, mine in zip((a, b), taken, strict=True):
            assert torch.equal(half.images, all_of.images[mine])
            assert torch.equal(half.labels, all_of.labels[mine])
            assert torch.bincount(half.labels).tolist() == [len(all_of.labels) // 20] * 10
    assert {part.classes for part in parts} == {10} and {part.shape for part in parts} == {(3, 32, 32)}


def test_halves_of_cifar10_are_disjoint_balanced_and_together_all(fake_cifar10):
    halves(fake_cifar10)
    entries = [DATASETS[name] for name in ("cifar10", "cifar10a", "cifar10b")]
    assert [(e.title, e.train, e.test) for e in entries] == [
        ("CIFAR-10", 50_000, 10_000), ("CIFAR-10a", 25_000, 5_000), ("CIFAR-10b", 25_000, 5_000),
    ]  # fmt: skip
    assert entries[0].normalise == entries[1].normalise == entries[2].normalise


def test_halves_share_the_files_of_the_whole(fake_cifar10, tmp_path, monkeypatch):
    for name in ("cifar10", "cifar10b"):
        entry = dataclasses.replace(DATASETS[name], download=copying(fake_cifar10))
        monkeypatch.setitem(DATASETS, name, entry)
    root = tmp_path / "root"
    with pytest.raises(ReproError, match=r"'cifar10b' is not in .*: run `repro data fetch cifar10b`"):
        load("cifar10b", root=root)
    assert fetch("cifar10b", root) == f"fetched into {root}"
    names = ("cifar10", "cifar10a", "cifar10b")
    assert [fetch(name, root) for name in names] == ["nothing to do: checksums match"] * 3
    assert len({str(verify(name, root)) for name in names}) == 1
    assert {row["status"] for row in listing(root) if row["name"] in names} == {"ok"}


@pytest.mark.parametrize("name", ["cifar10", "cifar10a", "cifar10b", "cifar100", "svhn", "fashionmnist"])
def test_sets_between_which_tickets_move_can_have_one_form(name):
    entry = DATASETS[name]
    assert 32 in (entry.size, entry.padded)
    image = torch.zeros(1, entry.channels, entry.size, entry.size, dtype=torch.uint8)
    form = data._channels(name, data._resize(image, 32, entry.padded), 3)
    made = data.Data(
        name, Split(form, torch.tensor([0])), None, Split(form, torch.tensor([0])), entry.classes
    )
    assert made.shape == (3, 32, 32) and made.constants("half") == ((0.5,) * 3, (0.5,) * 3)


def test_corrupt_and_incomplete_sets(fake_cifar10):
    path = fake_cifar10 / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(b"not a batch")
    with pytest.raises(
        ReproError, match=r"corrupt: .*data_batch_3 has .*: remove it and run `repro data fetch cifar10`"
    ):
        load("cifar10", root=fake_cifar10)
    assert ("cifar-10-batches-py/data_batch_3", "corrupt") in verify("cifar10", fake_cifar10)
    path.unlink()
    with pytest.raises(ReproError, match=r"data_batch_3 is not there: run `repro data fetch cifar10`"):
        load("cifar10", root=fake_cifar10)


def test_reading_the_layout_of_fashionmnist(tmp_path, monkeypatch):
    images = np.arange(3 * 784, dtype=np.uint8).reshape(3, 28, 28)
    sums = []
    for part in ("train", "t10k"):
        raw = Path("FashionMNIST") / "raw"
        content = struct.pack(">IIII", 0x803, 3, 28, 28) + images.tobytes()
        sums.append((f"{raw}/{part}-images-idx3-ubyte", content))
        sums.append((f"{raw}/{part}-labels-idx1-ubyte", struct.pack(">II", 0x801, 3) + bytes([7, 0, 9])))
    files = [(path, write(tmp_path / path, content)) for path, content in sums]
    entry = dataclasses.replace(DATASETS["fashionmnist"], files=lambda: files)
    monkeypatch.setitem(DATASETS, "fashionmnist", entry)
    fashion = load("fashionmnist", root=tmp_path, size=32, channels=3)
    assert fashion.shape == (3, 32, 32) and fashion.test.labels.tolist() == [7, 0, 9]
    for split, channel in itertools.product((fashion.train, fashion.test), range(3)):
        assert torch.equal(split.images[:, channel, 2:30, 2:30], torch.from_numpy(images))
        assert int(split.images[:, channel].sum()) == int(images.sum())  # nothing but zeros around them


def test_reading_the_layout_of_svhn(tmp_path, monkeypatch):
    pixels, sums = np.arange(32 * 32 * 3 * 4, dtype=np.uint8).reshape(32, 32, 3, 4), {}
    for split in ("train", "test"):
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": pixels, "y": np.array([[10], [1], [9], [10]])})
        sums[split] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", sums)
    svhn = load("svhn", root=tmp_path)
    assert svhn.test.labels.tolist() == [0, 1, 9, 0] and svhn.train.images.is_contiguous()
    assert torch.equal(svhn.train.images[2], torch.from_numpy(pixels[..., 2]).permute(2, 0, 1))


def with_download(monkeypatch, download) -> None:
    monkeypatch.setitem(DATASETS, "cifar10", dataclasses.replace(DATASETS["cifar10"], download=download))


def copying(source: Path):
    def download(folder: Path) -> None:
        for path, _ in DATASETS["cifar10"].files():
            write(folder / path, (source / path).read_bytes())
        write(folder / "cifar-10-python.tar.gz", b"the archive")

    return download


def test_fetch(fake_cifar10, tmp_path, monkeypatch):
    with_download(monkeypatch, copying(fake_cifar10))
    root = tmp_path / "new" / "data"
    write(root / "cifar-10-batches-py" / "test_batch", b"corrupt")
    assert fetch("cifar10", root) == f"fetched into {root}"
    assert {state for _, state in verify("cifar10", root)} == {"ok"}
    assert [path.name for path in root.iterdir()] == ["cifar-10-batches-py"]
    with_download(monkeypatch, None)
    assert fetch("cifar10", root) == "nothing to do: checksums match"
    assert fetch("digits", root) == "nothing to do: it comes with a dependency"


def test_failed_fetches_leave_nothing(fake_cifar10, tmp_path, monkeypatch):
    def broken(folder: Path) -> None:
        copying(fake_cifar10)(folder)
        raise OSError("<urlopen error\n no route to host>")

    def wrong(folder: Path) -> None:
        copying(fake_cifar10)(folder)
        write(folder / "cifar-10-batches-py" / "test_batch", b"half")

    for download, reason in {broken: "no route to host", wrong: "test_batch is corrupt"}.items():
        with_download(monkeypatch, download)
        with pytest.raises(ReproError, match=f"cannot fetch data set 'cifar10' into .*{reason}") as caught:
            fetch("cifar10", tmp_path / "root")
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "root").iterdir())


def test_fetching_into_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReproError, match="cannot fetch data set 'svhn'"):
        fetch("svhn", tmp_path / "file")


def test_listing(fake_cifar10):
    rows = {row["name"]: row for row in listing(fake_cifar10)}
    assert list(rows) == list(DATASETS)
    assert rows["digits"]["status"] == "built in" and rows["cifar10"]["status"] == "ok"
    assert rows["svhn"]["status"] == "missing" and rows["svhn"]["train"] == 73_257
    (fake_cifar10 / "cifar-10-batches-py" / "test_batch").unlink()
    assert {row["name"]: row for row in listing(fake_cifar10)}["cifar10"]["status"] == "incomplete"


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["fashionmnist", "cifar10", "cifar100"])
def test_real_sets(name):
    root = os.environ["REPRO_DATA"]
    if {state for _, state in verify(name, root)} == {"missing"}:
        pytest.skip(f"no {name} in {root}")
    found, entry = load(name), DATASETS[name]
    assert (len(found.train.labels), len(found.test.labels)) == (entry.train, entry.test)
    assert found.shape == (entry.channels, entry.size, entry.size)
    for split, count in ((found.train, entry.train), (found.test, entry.test)):
        assert torch.bincount(split.labels).tolist() == [count // entry.classes] * entry.classes
    mean, std = entry.normalise.get("pixel", entry.normalise["standard"])
    for c in range(entry.channels):
        pixels = found.train.images[:, c].double() / 255
        assert pixels.mean().item() == pytest.approx(mean[c], abs=1.1e-4)
        assert pixels.std().item() == pytest.approx(std[c], abs=1.1e-4)


@pytest.mark.realdata
def test_real_halves():
    assert [len(load(name).train.labels) for name in ("cifar10a", "cifar10b")] == [25_000] * 2
    halves(Path(os.environ["REPRO_DATA"]))
