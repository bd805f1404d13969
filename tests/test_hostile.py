"""Attacks by name: files that would run code, name other files, lead elsewhere, or grow; each ends in one line."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from fuzzing import held, joined, put, watched
from PIL import Image

from repro import checkpoint, errors, grids, paths, record, text, vet
from repro.data import cifar, readers, tiny
from repro.errors import LONGEST, ReproError
from repro.grids import expand
from repro.intake import take
from repro.masks import Masks
from repro.models import build
from repro.settings import Settings, parse
from repro.text import assignments, load, value
from repro.ticketfile import foreign


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def refused(load: Callable[[], Any], match: str = ".") -> str:
    with pytest.raises(ReproError, match=match) as caught:
        load()
    return str(caught.value)


def test_an_error_is_one_line_whatever_it_quotes() -> None:
    assert str(ReproError("a\n\tb  c\x1b[2J\x9f\u202e\ud800 é")) == "a  b  c\\x1b[2J\\x9f\\u202e\\ud800 é"
    assert len(str(ReproError("x" * 10**6))) == len(str(ReproError("\x00" * 10**6))) == LONGEST
    assert str(pickle.loads(pickle.dumps(ReproError("x")))) == "x", "errors cross processes"
    assert errors.line("1\xa0%") == "1\xa0%"


# Code


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("place", ["data", "labels", "more"])
def test_a_file_of_cifar_runs_no_code(tmp_path: Path, protocol: int, place: str) -> None:
    good = {"data": np.zeros((1, 3072), np.uint8), "labels": [3]}
    path = put(tmp_path / "batch", pickle.dumps(good | {place: Canary(tmp_path / "canary")}, protocol))
    with watched(tmp_path):
        assert "posix.mkdir" in refused(lambda: cifar.batch(path))
    assert not (tmp_path / "canary").exists()
    pickle.loads(path.read_bytes())
    assert (tmp_path / "canary").exists(), "it would have"


def test_a_file_of_cifar_is_read_as_python_2_wrote_it(tmp_path: Path) -> None:
    pixels = np.arange(2 * 3072).astype(np.uint8).reshape(2, 3072)
    shape, raw = b"K\x02M\x00\x0c\x86", pixels.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    state = b"(K\x01" + shape + kind + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    whole = b"\x80\x02}(U\x04data" + array + state + b"U\x06labels](K\x07K\x00eu."
    images, labels = cifar.batch(put(tmp_path / "batch", whole))
    assert labels.tolist() == [7, 0] and torch.equal(images.view(2, 3072), torch.from_numpy(pixels))


@pytest.mark.parametrize(
    "change", [{"labels": [100]}, {"labels": [1, 2]}, {"labels": ["a"]}, {"data": [0] * 3072}]
)
def test_a_file_of_cifar_holds_images_and_classes(tmp_path: Path, change: dict) -> None:
    good = {"data": np.zeros((1, 3072), np.uint8), "labels": [3]}
    assert len(cifar.batch(put(tmp_path / "batch", pickle.dumps(good)))[1]) == 1
    refused(lambda: cifar.batch(put(tmp_path / "batch", pickle.dumps(good | change))), "no file of CIFAR")


def test_a_floating_or_turned_array_is_told_apart(tmp_path: Path) -> None:
    turned = np.asfortranarray(np.arange(2 * 3072).astype(np.uint8).reshape(2, 3072))
    found = cifar.batch(put(tmp_path / "batch", pickle.dumps({"data": turned, "labels": [0, 1]})))
    assert torch.equal(found[0].view(2, 3072), torch.from_numpy(turned.copy("C")))
    floats = pickle.dumps({"data": np.zeros((2, 3072)), "labels": [0, 1]})
    refused(lambda: cifar.batch(put(tmp_path / "batch", floats)), "no bytes")


def test_fashion_mnist_beside_the_files_with_checksums_is_not_looked_at(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        put(raw / f"{part}-images-idx3-ubyte", struct.pack(">IIII", 0x803, 1, 28, 28) + bytes(784))
        put(raw / f"{part}-labels-idx1-ubyte", struct.pack(">II", 0x801, 1) + b"\x07")
    (raw.parent / "processed").mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save(
            (torch.ones(1, 28, 28, dtype=torch.uint8), torch.tensor([3])), raw.parent / "processed" / name
        )
    train, test = readers.read_fashionmnist(tmp_path)
    assert train.labels.tolist() == test.labels.tolist() == [7] and not train.images.any()


def test_yaml_and_checkpoints_run_no_code(tmp_path: Path) -> None:
    tag = f"!!python/object/apply:os.mkdir ['{tmp_path / 'canary'}']"
    with watched(tmp_path):
        refused(lambda: grids.plan(put(tmp_path / "x.yaml", f"runs: {tag}".encode())), "not valid YAML")
        refused(lambda: assignments([f"a={tag}"]), "a: .*not valid YAML")
        refused(
            lambda: parse(
                {"ticket": {"score": "mask_of", "source": f"a={tag.replace(' ', chr(92) + 'x20')}"}}
            )
        )
        for new in (True, False):
            torch.save(
                {"state_dict": Canary(tmp_path / "canary")},
                tmp_path / "x.pth",
                _use_new_zipfile_serialization=new,
            )
            refused(lambda: foreign.take(tmp_path / "x.pth", layout="su2020", model="resnet8"), "never done")
    assert not (tmp_path / "canary").exists()


# Files that name files


def test_settings_name_no_file(tmp_path: Path) -> None:
    path = put(tmp_path / "x.json", b"[0.5]")
    assert value(f"@{path}") == [0.5] and assignments([f"a=@{path}"]) == {"a": [0.5]}, (
        "the user's own words may"
    )
    told = {"score": "mask_of", "source": f"ticket.score=snip ticket.density=@{path}"}
    refused(lambda: parse({"ticket": told}), "on the command line alone")
    assert parse({"ticket": told | {"source": "ticket.score=snip ticket.density=0.5"}})
    for odd in ("/dev/zero", str(tmp_path), "nowhere\0"):
        refused(lambda odd=odd: value(f"@{odd}"), "cannot be read as numbers")


def under_way(folder: Path, score: str | None = None, **model: object) -> tuple[Settings, Path]:
    """Make the folder of a run under way, as another machine would have it."""
    ticket = {"score": score, "density": 0.5} if score else {}
    s = expand([{"recipe": "digits", "model": {"name": "resnet8", "width": 0.25} | model, "ticket": ticket}])[
        0
    ]
    net = build("resnet8", classes=10, channels=1, generator=torch.Generator(), width=0.25)
    tensors = {f"model.{k}": v for k, v in net.state_dict().items()} | {"sums": torch.zeros(2)}
    about = {"step": 1, "seconds": 1.0, "curve": [{"loss": 1.0}], "precision": "float32", "threads": 1}
    place = folder / s.key()
    checkpoint.save_tensors(place / "checkpoint.safetensors", tensors, about)
    put(place / "settings.yaml", yaml.safe_dump(s.changed()).encode())
    return s, place


def test_a_run_folder_brings_only_what_was_looked_at(tmp_path: Path) -> None:
    s, place = under_way(tmp_path / "theirs")
    os.mkfifo(place / "masks.safetensors")  # a dense run has none: reading it would wait for ever
    put(place / "weights.safetensors", b"x")
    with watched(tmp_path):
        assert take(place.parent).under_way == [s.key()]
    assert {p.name for p in record.folder(s.key()).iterdir()} >= {"settings.yaml", "checkpoint.safetensors"}
    assert not list(paths.build().rglob("masks.safetensors")) and not list(paths.build().rglob("weights*"))


def test_facts_and_settings_are_mappings(tmp_path: Path) -> None:
    path = put(tmp_path / "x.safetensors", joined({"__metadata__": {"about": "[]"}}, b""))
    refused(lambda: checkpoint.read_about(path), "its facts are no mapping")
    _, place = under_way(tmp_path / "theirs")
    put(place / "settings.yaml", b"[seed, 0]")
    assert "holds no settings" in take(place.parent).refused[0]


def test_masks_larger_than_the_network_are_not_read(tmp_path: Path) -> None:
    _, place = under_way(tmp_path / "theirs", "snip")
    big = {"a": {"dtype": "BOOL", "shape": [2**40], "data_offsets": [0, 2**40]}}
    path = put(place / "masks.safetensors", joined(big, b""))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 2**40)  # of nothing, which takes no place on the disk
    assert "larger than those of the network" in take(place.parent).refused[0]


@pytest.mark.parametrize("part", ["settings.yaml", "checkpoint.safetensors"])
def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path, part: str) -> None:
    _, place = under_way(tmp_path / "theirs")
    (place / part).unlink()
    os.mkfifo(place / part)
    os.mkfifo(place.parent / f"{'0' * 12}.json")
    assert len(take(place.parent).refused) == 2


def test_links_and_names_lead_nowhere(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "loop.json").symlink_to(theirs / "loop.json")
    (theirs / "secret.json").symlink_to("/etc/passwd")
    (theirs / "a\nb\x1b[2J.json").write_text("{}")
    known = json.loads(min((Path(__file__).parent.parent / "book" / "records").glob("*.json")).read_bytes())
    put(theirs / "up.json", json.dumps(known | {"key": "../../up"}).encode())
    with watched(tmp_path):
        found = take(theirs)
    assert len(found.refused) == 4 and not found.records
    assert all(line.isprintable() and "root:" not in line for line in found.refused)
    assert {p.name for p in tmp_path.iterdir()} <= {"theirs", "_build", "data"}


@pytest.mark.parametrize("width", [1e9, 1e300])
def test_a_network_beyond_all_measure_is_one_line(tmp_path: Path, width: float) -> None:
    _, place = under_way(tmp_path / "theirs", width=width)
    assert "cannot be laid out" in take(place.parent).refused[0]


# Growth in time and memory


def test_references_are_counted_before_they_grow() -> None:
    assert load("a: &a {x: 1}\nb: {<<: *a, y: *a}") == {"a": {"x": 1}, "b": {"x": 1, "y": {"x": 1}}}
    refer = ", ".join(["*{}"] * 9)
    lists = "\n".join(f"b{i}: &b{i} [{refer.replace('{}', f'b{i - 1}' if i else 'a')}]" for i in range(30))
    merges = lists.replace(" [", " {<<: [").replace("]", "]}")
    for bomb in (f"a: &a [1]\n{lists}", f"a: &a {{x: 1}}\n{merges}", "&a [*a]", "a: &a {<<: *a}"):
        refused(lambda bomb=bomb: load(bomb), "grow beyond")
    refused(lambda: load("a: &a 1\nb: *a", references=False), "line 2 .*holds references")


@pytest.mark.parametrize(
    "word", [".inf", ".nan", "1e999", "9" * 20, "9" * 5000, "0x" + "f" * 5000, "2024-99-99", "0b_"]
)
def test_numbers_are_finite_and_dates_are_dates(word: str) -> None:
    refused(lambda: load(f"a: {word}"), "not valid YAML")
    assert load("[0x1f, 5e-4, 1_000, -9223372036854775807]") == [31, 5e-4, 1000, 1 - 2**63]


def test_depth_and_breadth_take_no_minutes(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    for bomb in (
        "[" * 60_000,
        "- " * 30_000,
        "{a: " * 9_000,
        "a: {" + "".join(f"k{i}: 1, " for i in range(9000)) + "}",
    ):
        assert not held(lambda bomb=bomb: grids.plan(put(path, bomb.encode())))
    refused(lambda: grids.plan(put(path, b" " * (grids.SIZE + 1))), "larger than 0.25 MiB")
    axes = {name: list(range(2, 90)) for name in ("seed", "optim.epochs", "optim.batch")}
    assert not held(lambda: expand([axes])), "before the first of them is made"
    refused(lambda: parse({"optim": {"multiplier": 1e308, "epochs": 10**9}}), "too large")
    refused(lambda: text.nest({"a": 1, "a.b": 2}), "a: given as a value and as keys")
    refused(lambda: text.nest({"a" + ".b" * 5000: 1}), "so many parts")
    for source in (checkpoint.read_about, Masks.load):
        deep = {"__metadata__": {"about": "[" * 10**5, "layers": "[" * 10**5}}
        refused(lambda source=source, deep=deep: source(put(path, joined(deep, b""))))
    refused(lambda: text.numbers(put(path, b"[" * 10**5)), "cannot be read")


def test_a_run_in_a_run_in_a_run_ends(tmp_path: Path) -> None:
    words = "ticket.score=snip"
    for _ in range(12):
        inner = words.replace("\\", "\\\\").replace('"', '\\"').replace(" ", "\\x20")
        words = f'ticket.score=mask_of ticket.source="{inner}"'
        assert len(words) > 1000 or held(
            lambda words=words: parse({"ticket": {"score": "mask_of", "source": words}})
        )
    refused(lambda: parse({"ticket": {"score": "mask_of", "source": words}}), "more than 1000 characters")


BOMBS = """
import resource, sys
from pathlib import Path
from repro import checkpoint, grids, masks, record, text, underway, vet
from repro.data import cifar, tiny
from repro.errors import ReproError
from repro.ticketfile import load

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # MiB

loaders = {"safetensors": (masks.Masks.load, masks.texts, checkpoint.load_tensors, checkpoint.read_about, load),
    "json": (record.read, text.numbers, vet.load), "yaml": (grids.plan,), "cifar": (cifar.batch,),
    "image": (lambda path: tiny._pixels(str(path), 64),)}
record.environment()
began = most()
for path in sorted(Path(sys.argv[1]).iterdir()):
    for read in loaders[path.suffix[1:]]:
        try:
            read(path)
            print("took", path.name)
        except ReproError:
            pass
        if most() - began > 300:
            sys.exit(f"{path.name}: {most() - began} MiB")
print(began, most() - began)
"""


def png(width: int, height: int, *more: tuple[bytes, bytes]) -> bytes:
    """Lay out a PNG file of one grey colour, with further blocks."""
    rows = zlib.compress(bytes(4096) * (height * (width + 1) // 4096 + 1)) if height < 20_000 else b""
    blocks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        *more,
        (b"IDAT", rows),
        (b"IEND", b""),
    ]
    told = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in blocks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(told)


def bombs(folder: Path) -> None:
    """Write files that are small on the disk, and would be large in memory."""
    one = {"a": {"dtype": "BOOL", "shape": [2**40], "data_offsets": [0, 2**40]}}
    for name, raw in {
        "length": joined(one, b"", 2**63),
        "shape": joined(one, b"\0" * 64),
        "overlap": joined(
            {k: one["a"] | {"shape": [64], "data_offsets": [0, 64]} for k in "abc"}, b"\0" * 64
        ),
        "header": struct.pack("<Q", 99_000_000) + b"{",
    }.items():
        put(folder / f"{name}.safetensors", raw)
    for name in ("sparse.safetensors", "sparse.json", "sparse.yaml", "sparse.cifar", "sparse.image"):
        with (folder / name).open("wb") as file:
            file.truncate(2**33)
    put(folder / "memo.cifar", b"\x80\x04Nr\xff\xff\xff\x07.")
    put(folder / "bytearray.cifar", b"\x80\x05\x96" + struct.pack("<Q", 2**33) + b".")
    put(
        folder / "array.cifar",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85U\x01O\x87R.",
    )
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    at = file.getvalue().index(b"\xff\xc0") + 5
    put(
        folder / "sides.image",
        file.getvalue()[:at] + struct.pack(">HH", 13_000, 13_000) + file.getvalue()[at + 4 :],
    )
    put(folder / "rows.image", png(12_000, 12_000))
    put(folder / "text.image", png(64, 64, (b"zTXt", b"a\0\0" + zlib.compress(bytes(2**28)))))
    put(folder / "profile.image", png(64, 64, (b"iCCP", b"a\0\0" + zlib.compress(bytes(2**28)))))
    refer = "".join(f"b{i}: &b{i} [{', '.join([f'*b{i - 1}' if i else '1'] * 9)}]\n" for i in range(30))
    put(folder / "laughs.yaml", refer.encode())


def test_what_would_grow_in_memory_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "bombs"
    folder.mkdir()
    bombs(folder)
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, str(folder)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-600:] + done.stdout
    took = {line.removeprefix("took ") for line in done.stdout.splitlines() if line.startswith("took ")}
    assert took <= {"text.image", "profile.image"}, "notes beside the pixels may be left out"


def test_an_image_of_another_size_or_kind_is_not_decoded(tmp_path: Path) -> None:
    for kind in ("GIF", "TIFF", "BMP", "PPM"):
        Image.new("RGB", (8, 8)).save(tmp_path / "x.JPEG", kind)
        refused(lambda: tiny._pixels(str(tmp_path / "x.JPEG"), 8), "unpack the archive again")
    Image.new("L", (8, 8)).save(tmp_path / "x.JPEG")
    assert tiny._pixels(str(tmp_path / "x.JPEG"), 8).shape == (3, 8, 8)
    assert vet.sized(put(tmp_path / "n", b"123"), 3) == b"123"
    refused(lambda: vet.sized(tmp_path / "n", 2), "larger than")
