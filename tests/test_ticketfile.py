"""Ticket files: nothing is lost, nothing in them is believed, and each command does what it says."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import types
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from test_cli import TINY, call
from torch.nn.utils import prune

from repro import paths, record, ticketfile
from repro.errors import ReproError
from repro.masks import Masks, Ticket
from repro.models import build, initial_state
from repro.rng import stream
from repro.ticketfile import Facts, Network, Provenance, codings
from repro.ticketfile.card import canonical
from repro.ticketfile.compare import compare
from repro.ticketfile.plan import plan_of
from repro.ticketfile.store import SUFFIX, card_file
from repro.ticketfile.torchprune import prune_state
from repro.ticketfile.weights import digest

GOLDEN = Path(__file__).parent / "golden" / "tiny.ticket.safetensors"
NETWORKS = [
    Network(name="resnet8", options={"width": 0.125}, classes=10, channels=1),
    Network(name="vgg11", options={"small": 0.001, "conv_bias": True}, classes=3, channels=3),
    Network(name="wrn10", options={"width": 0.25, "dropout": 0.0}, classes=2, channels=1),
]


def facts(network: Network = NETWORKS[0], **more: Any) -> Facts:
    about = {
        "method": "random",
        "seed": 5,
        "requested": 0.25,
        "provenance": Provenance(when="2024-05-06T07:08:09+00:00"),
    }
    return Facts(network=network, **{**about, **more})


def ticket_of(network: Network = NETWORKS[0], density: float = 0.25, seed: int = 5) -> Ticket:
    layers = plan_of(network).layers
    generator = stream(seed, "test")
    masks = Masks({layer.name: torch.rand(layer.shape, generator=generator) < density for layer in layers})
    weights = initial_state(
        network.name,
        classes=network.classes,
        channels=network.channels,
        generator=stream(seed, "init"),
        **network.options,
    )
    return Ticket(masks, weights, {"settings": {"seed": seed}})


def same_state(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return digest(a) == digest(b)


def masked(ticket: Ticket) -> dict[str, torch.Tensor]:
    state = {name: tensor.clone() for name, tensor in ticket.weights.items()}
    ticket.masks.apply_(state)
    return state


# Masks as bytes


def test_codings_by_hand() -> None:
    mask = np.zeros(20, np.bool_)
    mask[[0, 1, 9]] = True
    assert np.packbits(mask).tolist() == [0b11000000, 0b01000000, 0]
    assert codings._gaps(mask).tolist() == [0, 0, 7]
    far = np.zeros(2000, np.bool_)
    far[[255, 1021]] = True
    assert codings._gaps(far).tolist() == [255, 0, 255, 255, 255, 0]
    assert codings.encode(far)[0] == "gaps"
    assert codings.encode(np.ones(4000, np.bool_))[0] == "bits+zlib"
    assert codings.encode(np.arange(24) % 3 > 0)[0] == "bits"


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.floats(0, 1), st.integers(0, 2**32))
def test_every_coding_gives_every_mask_back(total: int, density: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random(total) < density
    kept = int(mask.sum())
    coding, raw = codings.encode(mask)
    assert np.array_equal(codings.decode(coding, raw, total, kept), mask)
    bits = np.packbits(mask)
    assert len(raw) <= len(bits)
    assert np.array_equal(codings.decode("bits", bits, total, kept), mask)
    if kept * codings.SPARSE <= total:
        gaps = codings._gaps(mask)
        assert np.array_equal(codings.decode("gaps", gaps, total, kept), mask)
        packed = np.frombuffer(zlib.compress(gaps.tobytes()), np.uint8)
        assert np.array_equal(codings.decode("gaps+zlib", packed, total, kept), mask)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["bits", "gaps", "bits+zlib", "gaps+zlib"]),
    st.binary(max_size=60),
    st.booleans(),
    st.integers(1, 400),
    st.integers(0, 400),
)
def test_any_bytes_are_a_mask_of_that_size_or_an_error(
    coding, raw, pack: bool, total: int, kept: int
) -> None:
    raw = zlib.compress(raw) if pack else raw
    try:
        found = codings.decode(coding, np.frombuffer(raw, np.uint8), total, kept)
    except ReproError:
        return
    assert (found.shape, found.dtype, int(found.sum())) == ((total,), np.bool_, kept)
    assert set(found.view(np.uint8).tolist()) <= {0, 1}


def test_a_bomb_takes_no_memory() -> None:
    bomb = np.frombuffer(zlib.compress(bytes(200 * 2**20), 9), np.uint8)
    tracemalloc.start()
    for coding in ("bits+zlib", "gaps+zlib"):
        with pytest.raises(ReproError, match="shorter or longer"):
            codings.decode(coding, bomb, 1000, 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 2**20


# The file


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(NETWORKS),
    st.sampled_from(["seed", "kept", "full", "none"]),
    st.floats(0, 1),
    st.integers(0, 2**40),
    st.booleans(),
)
def test_nothing_is_lost(tmp_path_factory, network, mode, density: float, seed: int, last: bool) -> None:
    path = tmp_path_factory.mktemp("t") / f"a{SUFFIX}"
    ticket = ticket_of(network, density, seed)
    if mode == "none":
        ticket = Ticket(ticket.masks, {}, ticket.origin)
    elif mode != "seed":  # any values, odd ones too
        for name, tensor in ticket.weights.items():
            tensor.copy_(torch.randn(tensor.shape, generator=stream(seed, name)) * 3)
        next(iter(ticket.weights.values())).view(-1)[:3] = torch.tensor([-0.0, torch.inf, torch.nan])
    if last:
        ticket = Ticket(
            ticket.masks,
            {
                k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v
                for k, v in ticket.weights.items()
            },
            ticket.origin,
        )
    told = facts(network, seed=seed, settings={"a": {"b": [1, 2.5, None, "ü"]}}, rewind=3)
    card = ticketfile.save(path, ticket, told, weights=mode)
    found, read = ticketfile.load(path)
    assert (found.masks, found.origin, read) == (ticket.masks, ticket.origin, card)
    kept = {
        k: torch.where(ticket.masks[k], v, 0) if k in ticket.masks else v for k, v in ticket.weights.items()
    }
    assert same_state(dict(found.weights), kept if mode == "kept" else dict(ticket.weights))
    assert json.loads(card_file(path).read_text()) == json.loads(json.dumps(card.model_dump()))
    assert (card.density.realised, card.density.requested) == (ticket.masks.density, 0.25)
    assert (card.settings, card.rewind, card.seed, card.init) == (
        told.settings,
        3,
        seed,
        plan_of(network).network.options["init"],
    )
    assert [(r.name, r.kept, r.total) for r in card.layers] == [
        (n, k, ticket.masks[n].numel()) for n, k in ticket.masks.kept_per_layer().items()
    ]


def test_the_golden_file_decoded_by_hand() -> None:
    """Read with nothing but json, numpy and hashlib: what the format is, for people who do not have this code."""
    raw = GOLDEN.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    text = header.pop("__metadata__").pop("card")
    card = json.loads(text)
    parts = {name: data[slice(*about["data_offsets"])] for name, about in header.items()}
    assert {k: card[k] for k in ("format_version", "method", "seed", "init", "rewind")} == {
        "format_version": 1,
        "method": "random",
        "seed": 5,
        "init": "kaiming_normal_fan_out",
        "rewind": None,
    }
    first, second = card["layers"][:2]
    assert first == {"name": "conv.weight", "shape": [1, 1, 3, 3], "kept": 5, "total": 9, "coding": "bits"}
    assert list(parts["mask.conv.weight"]) == [0b10101010, 0b10000000]
    assert np.frombuffer(parts["kept.conv.weight"], "<f4").tolist() == [1.0, 3.0, 5.0, 7.0, 9.0]
    assert (second["coding"], second["kept"]) == ("gaps", 1)
    assert list(parts["mask.stages.0.0.branch.0.weight"]) == [7], (
        "seven pruned ones, then the one that is kept"
    )
    assert np.frombuffer(parts["kept.stages.0.0.branch.0.weight"], "<f4").tolist() == [8.0]
    assert np.frombuffer(parts["whole.classifier.bias"], "<f4").tolist() == [1.0, 2.0]
    types = {"U8": "torch.uint8", "F32": "torch.float32", "I64": "torch.int64"}
    told = {k: v for k, v in card.items() if k != "sha256"}
    found = hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(parts):
        found.update(
            f"{name} {types[header[name]['dtype']]} {header[name]['shape']}\n".encode() + parts[name]
        )
    assert found.hexdigest() == card["sha256"]


def test_the_golden_file_is_still_read() -> None:
    ticket, card = ticketfile.load(GOLDEN)
    assert ticket.masks["conv.weight"].flatten().tolist() == [True, False] * 4 + [True]
    assert ticket.weights["conv.weight"].flatten().tolist() == [1, 0, 3, 0, 5, 0, 7, 0, 9]
    assert (card.kept, card.total) == (sum(r.kept for r in card.layers), ticket.masks.total)
    assert set(ticketfile.rebuild(card)) == set(ticket.weights), "its run's seed gives initial weights too"


def test_a_sparse_vgg19_takes_a_fortieth_of_the_dense_one(tmp_path: Path) -> None:
    network = Network(name="vgg19", options={}, classes=10, channels=3)
    ticket = ticket_of(network, 0.02)
    dense = len(serialise({k: v.contiguous() for k, v in ticket.weights.items()}))
    assert dense > 80_000_000
    sizes = {}
    for mode in ("seed", "kept"):
        path = tmp_path / f"{mode}{SUFFIX}"
        card = ticketfile.save(path, ticket, facts(network, requested=0.02), weights=mode)
        sizes[mode] = path.stat().st_size / dense
        assert card.kept == pytest.approx(0.02 * card.total, rel=0.01)
    assert sizes["kept"] < 0.027
    assert sizes["seed"] < 0.005
    loaded = ticketfile.load(tmp_path / f"kept{SUFFIX}")[0]
    assert same_state(dict(loaded.weights), masked(ticket))


def test_weights_by_seed_are_proved(tmp_path: Path) -> None:
    path, ticket = tmp_path / f"a{SUFFIX}", ticket_of()
    card = ticketfile.save(path, ticket, facts())
    assert same_state(ticketfile.rebuild(card), dict(ticket.weights))
    with pytest.raises(ReproError, match="not those that the seed gives"):
        ticketfile.save(path, ticket, facts(seed=6))
    with pytest.raises(ReproError, match="not those that the seed gives"):
        ticketfile.save(path, ticket, facts(seed=None))
    moved = Ticket(ticket.masks, {**ticket.weights, "bn.bias": ticket.weights["bn.bias"] + 1}, {})
    with pytest.raises(ReproError, match="store them with --weights kept"):
        ticketfile.save(path, moved, facts())
    assert ticketfile.load(path)[1] == card, "what was there is untouched"
    other = card.model_copy(update={"weights": card.weights.model_copy(update={"sha256": "0" * 64})})
    with pytest.raises(ReproError, match=r"gives other weights here .* --weights kept"):
        ticketfile.rebuild(other)
    with pytest.raises(ReproError, match="names none"):
        ticketfile.rebuild(card.model_copy(update={"seed": None}))


def test_what_does_not_fit_is_not_written(tmp_path: Path) -> None:
    path, ticket = tmp_path / f"a{SUFFIX}", ticket_of()
    fewer = Masks({k: v for k, v in ticket.masks.items() if k != "conv.weight"})
    less = {k: v for k, v in ticket.weights.items() if k != "bn.bias"}
    half = {k: v.half() if k == "bn.bias" else v for k, v in ticket.weights.items()}
    cases: list[tuple[Ticket, Facts, str, str]] = [
        (Ticket(fewer, ticket.weights), facts(), "kept", "conv.weight differs"),
        (Ticket(ticket.masks, less), facts(), "kept", "bn.bias differs"),
        (Ticket(ticket.masks, half), facts(), "full", "bn.bias differs"),
        (ticket, facts(NETWORKS[1]), "kept", "masks are not of network vgg11"),
        (ticket, facts(NETWORKS[0].model_copy(update={"name": "resnet9"})), "kept", "did you mean"),
        (
            ticket,
            facts(NETWORKS[0].model_copy(update={"options": {"widht": 1}})),
            "kept",
            "did you mean 'width'",
        ),
        (ticket, facts(method="<b>"), "kept", "markup"),
        (ticket, facts(settings={"x": float("nan")}), "kept", "no valid JSON"),
        (Ticket(ticket.masks, ticket.weights, {"x": path}), facts(), "kept", "give plain values"),
        (ticket, facts(), "none", "has weights"),
    ]
    for wrong, told, mode, hint in cases:
        with pytest.raises(ReproError, match=hint):
            ticketfile.save(path, wrong, told, weights=mode)  # type: ignore[arg-type]
    with pytest.raises(ReproError, match=r"call it .*/b\.ticket\.safetensors"):
        ticketfile.save(tmp_path / "b.safetensors", ticket, facts())
    assert not list(tmp_path.glob("*.safetensors"))


# Files by strangers


def forge(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> None:
    """Change a file and give it the right checksum again."""
    with safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()["card"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(card, tensors)
    card["sha256"] = digest(tensors, canonical(card))
    path.write_bytes(serialise(tensors, {"card": json.dumps(card)}))


def lie(**more: Any) -> Callable[[dict[str, Any], dict[str, torch.Tensor]], None]:
    def change(card: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        for place, value in more.items():
            at: Any = card
            *way, last = place.split("__")
            for step in way:
                at = at[int(step) if step.isdecimal() else step]
            at[last] = value

    return change


def stored(
    name: str, value: torch.Tensor | None
) -> Callable[[dict[str, Any], dict[str, torch.Tensor]], None]:
    def change(card: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value

    return change


def mask_as(
    coding: str, *raw: int, kept: int = 5
) -> Callable[[dict[str, Any], dict[str, torch.Tensor]], None]:
    def change(card: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        card["layers"][0] |= {"coding": coding, "kept": kept}
        total = sum(row["kept"] for row in card["layers"])
        card["density"]["realised"] = total / sum(row["total"] for row in card["layers"])
        tensors["mask.conv.weight"] = torch.tensor(raw, dtype=torch.uint8)
        tensors["kept.conv.weight"] = torch.ones(kept)

    return change


HOSTILE = {
    "another version": (
        lie(format_version=2),
        "its format is 2, and this version of repro reads 1; update it",
    ),
    "no version": (lambda card, _: card.pop("format_version"), "no card"),
    "more than is known": (lie(more=1), "more: extra inputs"),
    "less": (lambda card, _: card.pop("seed"), "seed: field required"),
    "a text for a number": (lie(seed="0"), "seed: input should be a valid integer"),
    "a colour for the terminal": (lie(method="\x1b[31mred"), "control characters"),
    "markup": (lie(method="<script>"), "markup"),
    "half a letter": (lie(method="\ud800"), "no valid JSON"),
    "text from right to left": (lie(method="\u202etseb"), "control characters"),
    "no number": (lie(accuracy=float("nan")), "no finite number"),
    "a number of many digits": (lie(seed=10**30), "more than 19 digits"),
    "another network": (lie(network__name="resnet14"), "layers are not those of resnet14"),
    "no network": (lie(network__name="os.system"), "unknown Model.name|unknown model"),
    "a huge network": (lie(network__options={"width": 1e6}), "more than the"),
    "a network beyond numbers": (lie(network__options={"width": 1e30}), "cannot be laid out|more than the"),
    "very many classes": (lie(network__classes=10**18), "cannot be laid out|more than the"),
    "a narrower network": (lie(network__options={"width": 0.125}), "layers are not those"),
    "a larger layer": (
        lie(layers__0__shape=[1, 1, 3, 4], layers__0__total=12),
        "density|conv.weight differs",
    ),
    "a layer that does not add up": (lie(layers__0__total=2**40), "counts do not fit its shape"),
    "more kept than there is": (lie(layers__0__kept=10), "counts do not fit"),
    "a kept one too many": (lie(layers__0__kept=6), "realised one is not that of the layers"),
    "another density": (lie(density__realised=0.5), "realised one is not that of the layers"),
    "an unknown coding": (lie(layers__0__coding="rle"), "coding"),
    "a path for a layer": (lie(layers__0__name="../../x"), "differs"),
    "a layer twice": (lambda card, _: card["layers"].append(card["layers"][0]), "twice|realised"),
    "layers in another order": (lambda card, _: card["layers"].reverse(), "differs"),
    "no checksum of weights": (lie(weights__sha256=None), "checksum is missing"),
    "other weights": (stored("whole.bn.bias", torch.zeros(1)), "not those that its card has the checksum of"),
    "a tensor more": (stored("extra", torch.ones(1)), "tensor extra: missing, or not of this ticket"),
    "a tensor less": (stored("whole.bn.bias", None), "tensor whole.bn.bias: missing"),
    "a mask less": (stored("mask.conv.weight", None), "tensor mask.conv.weight: missing"),
    "a tensor that rings": (stored("a\x07b", torch.ones(1)), r"tensor a\\x07b: missing"),
    "another number format": (stored("whole.bn.bias", torch.zeros(1).double()), "F64 of shape"),
    "another shape": (stored("whole.bn.bias", torch.zeros(2)), "does not fit the network"),
    "a mask of booleans": (stored("mask.conv.weight", torch.ones(9, dtype=torch.bool)), "BOOL of shape"),
    "a long mask": (stored("mask.conv.weight", torch.ones(3, dtype=torch.uint8)), "does not fit"),
    "a short mask": (mask_as("bits", 0b11111000), "layer conv.weight: its mask is shorter or longer"),
    "bits beyond the end": (mask_as("bits", 0b11111000, 1), "shorter or longer"),
    "more bits": (mask_as("bits", 0b11111100, 0), "does not keep 5 of 9"),
    "gaps for a dense mask": (mask_as("gaps", 0, 0, 0, 0, 0), "written as gaps"),
    "gaps beyond the end": (mask_as("gaps", 9, kept=1), "beyond the weight"),
    "gaps without end": (mask_as("gaps", 255, kept=1), "does not fit|does not keep"),
    "no gaps": (mask_as("gaps", kept=1), "does not keep 1 of 9"),
    "no stream": (mask_as("bits+zlib", 1, 2), "cannot be decompressed"),
    "a stream that goes on": (mask_as("gaps+zlib", 0x78, kept=1), "shorter or longer"),
    "the seed of other weights": (
        lambda card, tensors: (
            card["weights"].update(mode="seed"),
            [tensors.pop(n) for n in list(tensors) if not n.startswith("mask.")],
        ),
        "gives other weights here",
    ),
    "by seed without one": (lie(weights__mode="seed", seed=None), "seed: missing"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    path = tmp_path / f"a{SUFFIX}"
    path.write_bytes(GOLDEN.read_bytes())
    change, hint = HOSTILE[case]
    forge(path, change)
    with pytest.raises(ReproError, match=hint) as caught:
        ticketfile.load(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert told.isprintable(), told
    assert len(told) < 700


def _loads_or_refuses(path: Path, whole: tuple[Ticket, Any]) -> bool:
    try:
        ticket, card = ticketfile.load(path)
    except ReproError as error:
        assert str(error).isprintable()
        return False
    assert (ticket.masks, ticket.origin, card) == (whole[0].masks, whole[0].origin, whole[1])
    assert same_state(dict(ticket.weights), dict(whole[0].weights))
    return True


def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    raw, whole, path = GOLDEN.read_bytes(), ticketfile.load(GOLDEN), tmp_path / f"a{SUFFIX}"
    draw = np.random.default_rng(0)
    (length,) = struct.unpack("<Q", raw[:8])
    places = [*range(80), *range(80, 8 + length, 11), *range(8 + length, len(raw), 3)]
    for place in places:
        changed = bytearray(raw)
        changed[place] ^= 1 << draw.integers(8)
        path.write_bytes(changed)
        _loads_or_refuses(path, whole)
    data = [p for p in places if p >= 8 + length]
    for place in data[::4]:
        changed = bytearray(raw)
        changed[place] ^= 255
        path.write_bytes(changed)
        with pytest.raises(ReproError, match="checksum"):
            ticketfile.load(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    raw, path = GOLDEN.read_bytes(), tmp_path / f"a{SUFFIX}"
    for length in [*range(0, 64, 7), *range(64, len(raw), 331), len(raw) - 1]:
        path.write_bytes(raw[:length])
        with pytest.raises(ReproError, match=r"get it again|no card") as caught:
            ticketfile.load(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(raw + b"x")
    with pytest.raises(ReproError, match="get it again"):
        ticketfile.load(path)


def test_what_is_no_ticket_file(tmp_path: Path) -> None:
    path = tmp_path / f"a{SUFFIX}"
    with pytest.raises(ReproError, match="no such file"):
        ticketfile.load(path)
    with pytest.raises(ReproError, match="no such file"):
        ticketfile.load(tmp_path)
    for raw in (
        b"",
        b"hello",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**8) + b"{}",
        b"\x80\x04" * 99,
    ):
        path.write_bytes(raw)
        with pytest.raises(ReproError, match="damaged or no ticket file"):
            ticketfile.load(path)
    ticket_of().masks.save(path)
    with pytest.raises(ReproError, match="no card of a ticket"):
        ticketfile.load(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"format_version": 1, "origin": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"format_version": 1, "origin": ' + '{"a":' * 900 + "1" + "}" * 901,
        '{"format_version": 1, "x": "' + "a" * 5_000_000 + '"}',
        '{"format_version": 1, "x": "' + "a" * 50_000 + '"}',
        '{"format_version": ' + "9" * 10_000 + "}",
        '{"format_version": "' + "9" * 10_000 + '"}',
        '{"format_version": 1e999}',
        "[1]",
        "nonsense",
    ],
    ids=["deep list", "deep map", "long", "less long", "digits", "text", "infinite", "list", "nonsense"],
)
def test_a_card_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / f"a{SUFFIX}"
    path.write_bytes(serialise({"x": torch.zeros(1)}, {"card": text}))
    with pytest.raises(ReproError, match=r"card|format") as caught:
        ticketfile.load(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


# Other forms, and comparison


def test_torch_prune_takes_it_and_computes_the_same(tmp_path: Path) -> None:
    network, ticket = NETWORKS[0], ticket_of()
    x = torch.randn(4, 1, 8, 8, generator=stream(0, "x"))

    def made() -> torch.nn.Module:
        return build(
            "resnet8", classes=10, channels=1, generator=stream(99, "init"), **network.options
        ).eval()

    plain, pruned = made(), made()
    plain.load_state_dict(masked(ticket))
    for module in pruned.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            prune.identity(module, "weight")
    pruned.load_state_dict(prune_state(ticket))
    assert torch.equal(pruned(x), plain(x))
    assert not torch.equal(pruned(x), made()(x))
    for module in pruned.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            prune.remove(module, "weight")
    state = pruned.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in masked(ticket).items())
    with pytest.raises(ReproError, match="no weights"):
        prune_state(Ticket(ticket.masks, {}))


def test_two_tickets_side_by_side() -> None:
    a, b, c = ticket_of(density=0.5), ticket_of(density=0.5), ticket_of(density=0.3, seed=6)
    equal = compare(a, b)
    assert (equal.same_masks, equal.rows[-1]["overlap"], equal.weights.startswith("the same")) == (
        True,
        "1.0000",
        True,
    )
    found = compare(a, c)
    rows = {row["layer"]: row for row in found.rows}
    assert list(rows) == [*a.masks, "all"]
    one = rows["conv.weight"]
    both = int((a.masks["conv.weight"] & c.masks["conv.weight"]).sum())
    either = int((a.masks["conv.weight"] | c.masks["conv.weight"]).sum())
    assert (one["by both"], one["overlap"]) == (both, f"{both / either:.4f}")
    assert rows["all"]["by both"] == sum(row["by both"] for name, row in rows.items() if name != "all")
    assert float(rows["all"]["by chance"]) == pytest.approx(0.15 / 0.65, abs=0.02)
    assert "not the same" in found.weights
    same_start = Ticket(c.masks, a.weights)
    assert compare(a, same_start).weights.startswith("the same")
    only_kept = Ticket(c.masks, masked(same_start))
    assert compare(a, only_kept).weights.startswith("the same"), "pruned ones are not compared"
    assert "no weights" in compare(a, Ticket(c.masks, {})).weights
    with pytest.raises(ReproError, match=r"layer conv\.weight is not the same|layer .* is not the same"):
        compare(a, ticket_of(NETWORKS[2]))


# The commands

SNIP = [*TINY, "ticket.score=snip", "ticket.density=0.2"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "_build"))
    return tmp_path


def ok(capsys, *words: str) -> str:
    code, out, err = call(capsys, *words)
    assert code == 0, err
    return out


def fails(capsys, *words: str) -> str:
    code, _, err = call(capsys, *words)
    lines = [line for line in err.splitlines() if not line.startswith("training: ")]
    assert (code, len(lines)) == (2, 1), err
    assert lines[0].startswith("error: ")
    return lines[0]


def test_export_inspect_and_diff(capsys, here: Path) -> None:
    out = ok(capsys, "ticket", "export", *SNIP, "--to", f"a{SUFFIX}")
    assert "weights: seed" in out
    ok(capsys, "ticket", "export", *SNIP, "seed=1", "--to", f"b{SUFFIX}", "--weights", "kept")
    ticket, card = ticketfile.load(f"a{SUFFIX}")
    assert (card.method, card.network.name, card.network.classes, card.network.channels) == (
        "snip",
        "resnet8",
        10,
        1,
    )
    assert card.provenance.command and "ticket.score=snip" in card.provenance.command
    assert card.density.realised == pytest.approx(0.2, abs=1e-3)
    shown = ok(capsys, "ticket", "inspect", f"a{SUFFIX}")
    assert "checksums hold" in shown
    assert "not the card" not in shown
    assert "snip" in shown and "resnet8 (width=0.25" in shown and "0 weights" not in shown
    assert all(f"{n}" in shown for n in ticket.masks)
    assert f"{card.kept} of {card.total} weights kept; asked for 0.2" in shown
    card_file(f"a{SUFFIX}").write_text("{}")
    assert "not the card of this file" in ok(capsys, "ticket", "inspect", f"a{SUFFIX}")
    told = ok(capsys, "ticket", "diff", f"a{SUFFIX}", f"b{SUFFIX}")
    assert "masks: not the same" in told and "weights: not the same" in told
    assert told.splitlines()[0].split() == [
        "layer",
        "total",
        "kept",
        "by",
        "A",
        "kept",
        "by",
        "B",
        "by",
        "both",
        "overlap",
        "by",
        "chance",
    ]
    again = ok(capsys, "ticket", "diff", f"a{SUFFIX}", f"a{SUFFIX}")
    assert "masks: the same" in again and "weights: the same" in again
    assert not list(paths.build().rglob("record.json")), "no run was needed"


def test_export_by_key_and_evaluation_of_what_a_run_ended_with(capsys, here: Path) -> None:
    assert "--keep-weights" in fails(capsys, "ticket", "export", *SNIP, "--final")
    ok(capsys, "run", *SNIP, "--keep-weights", "--workers", "1")
    (done,) = (paths.build() / "runs").glob("*/DONE")
    key = done.parent.name
    assert f"{key}{SUFFIX}" in ok(capsys, "ticket", "export", key[:6])
    ok(capsys, "ticket", "export", key, "--final")
    final = here / f"{key}-final{SUFFIX}"
    card = ticketfile.load(final)[1]
    made = record.read(record.find(key))
    assert (card.weights.mode, card.weights.stage, card.accuracy) == (
        "kept",
        "trained",
        made["accuracy"]["final"],
    )
    assert card.provenance.key == key
    told = ok(capsys, "ticket", "evaluate", str(final))
    assert f"accuracy   {made['accuracy']['final']:.2f} %" in told
    assert f"recorded   {made['accuracy']['final']:.2f} %" in told
    assert f"pruned     {1 - made['density']:.4f}" in told
    assert [r.kept for r in card.layers] == [layer["kept"] for layer in made["layers"]]
    assert ok(capsys, "ticket", "evaluate", str(final), "precision=float32").count("%") == told.count("%")
    refused = fails(capsys, "ticket", "evaluate", f"{key}{SUFFIX}")
    assert "its weights are initial" in refused and "--final" in refused
    assert "optim: not used" in fails(capsys, "ticket", "evaluate", str(final), "optim.lr=1")
    assert "data.channels" in fails(capsys, "ticket", "evaluate", str(final), "data.channels=3")
    assert "--weights kept" in fails(capsys, "ticket", "export", key, "--final", "--weights", "seed")
    same = ok(capsys, "ticket", "diff", f"{key}{SUFFIX}", str(final))
    assert "masks: the same" in same and "weights: not the same" in same


def test_a_rewound_ticket_stores_what_is_kept(capsys, here: Path) -> None:
    words = [*TINY, "ticket.score=magnitude", "ticket.density=0.3", "ticket.weights=trained"]
    assert "weights: kept" in ok(capsys, "ticket", "export", *words, "--to", f"a{SUFFIX}")
    card = ticketfile.load(f"a{SUFFIX}")[1]
    assert (card.weights.stage, card.seed) == ("trained", 0)


def test_torch_prune_from_the_command_line(capsys, here: Path) -> None:
    ok(capsys, "ticket", "export", *SNIP, "--format", "torch-prune", "--to", "p.safetensors")
    ok(capsys, "ticket", "export", *SNIP, "--to", f"a{SUFFIX}")
    state, ticket = load_file("p.safetensors"), ticketfile.load(f"a{SUFFIX}")[0]
    assert same_state(state, prune_state(ticket))
    assert "remove it" in fails(
        capsys, "ticket", "export", *SNIP, "--format", "torch-prune", "--weights", "full"
    )
    assert "call it" in fails(capsys, "ticket", "export", *SNIP, "--format", "torch-prune", "--to", "p.pt")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["ticket"], "repro ticket --help"),
        (["ticket", "export", "zzz"], "repro status"),
        (["ticket", "export", *TINY], "no ticket"),
        (["ticket", "export", *TINY, "--final"], "no ticket"),
        (["ticket", "export", *SNIP, "seed=[0,1]"], "2 runs"),
        (["ticket", "export", *SNIP, "--to", "a.pt"], "call it"),
        (["ticket", "export", *SNIP, "--to", f"{GOLDEN}/b{SUFFIX}"], "; name another file"),
        (["ticket", "export", *SNIP, "--weights", "some"], "invalid choice"),
        (["ticket", "inspect", "nowhere"], "no such file"),
        (["ticket", "diff", str(GOLDEN), "nowhere"], "no such file"),
        (["ticket", "evaluate", str(GOLDEN)], "its weights are initial"),
        (["ticket", "push", "nowhere", "me/it"], "ends in"),
    ],
)
def test_a_mistake_is_one_line(capsys, here: Path, words: list[str], hint: str) -> None:
    assert hint in fails(capsys, *words)


# The Hub


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as publishing a few files needs, in memory."""

    files: dict[str, bytes]
    blobs: dict[str, bytes]
    log: list[str]

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def answer(self, value: Any, code: int = 200, **headers: str) -> None:
        raw = json.dumps(value).encode()
        self.send_response(code)
        for name, text in {
            "Content-Type": "application/json",
            "Content-Length": str(len(raw)),
            **headers,
        }.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def do_HEAD(self) -> None:
        name = self.path.rpartition("/")[2]
        self.log.append(f"HEAD {name}")
        if name in self.files:
            return self.answer({}, ETag='"1"', X_Repo_Commit="1" * 40)
        self.answer({}, 404, X_Error_Code="EntryNotFound")

    def do_PUT(self) -> None:
        self.blobs[self.path.rpartition("/")[2]] = self.body()
        self.answer({})

    def do_POST(self) -> None:
        raw, path = self.body(), self.path.partition("?")[0]
        self.log.append(f"POST {path}")
        if self.headers.get("Authorization") != "Bearer hf_test":
            return self.answer({"error": "no"}, 401)
        if path == "/api/repos/create":
            return self.answer({"url": f"{self.base()}/me/tickets", "id": "me/tickets", "name": "me/tickets"})
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if path.endswith("/preupload/main"):
            names = [f["path"] for f in json.loads(raw)["files"]]
            modes = [("lfs" if n.endswith(".safetensors") else "regular") for n in names]
            found = [
                {"path": n, "uploadMode": m, "shouldIgnore": False, "oid": None}
                for n, m in zip(names, modes, strict=True)
            ]
            return self.answer({"files": found})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{self.base()}/blob/{o['oid']}"}}}
                for o in json.loads(raw)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects})
        if path.endswith("/commit/main"):
            for line in map(json.loads, raw.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    self.files[value["path"]] = self.blobs[value["oid"]]
            url = f"{self.base()}/me/tickets/commit/{'1' * 40}"
            return self.answer({"success": True, "commitUrl": url, "commitOid": "1" * 40, "hookOutput": ""})
        self.answer({"error": path}, 404)


@pytest.fixture
def hub() -> Iterator[type[Hub]]:
    kind = type("OneHub", (Hub,), {"files": {}, "blobs": {}, "log": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    kind.address = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield kind
    server.shutdown()
    thread.join()
    server.server_close()


def pushed(hub: Any, home: Path, *words: str, token: str = "hf_test") -> subprocess.CompletedProcess[str]:
    surroundings = {
        "HF_ENDPOINT": hub.address,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "repro", "ticket", "push", *words],
        env={**os.environ, **surroundings, "HF_HUB_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_push_with_the_real_client(hub: Any, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
    done = pushed(hub, tmp_path, str(GOLDEN), "me/tickets")
    assert done.returncode == 0, done.stderr
    assert set(hub.files) == {GOLDEN.name, card_file(GOLDEN).name, "README.md"}
    assert hub.files[GOLDEN.name] == GOLDEN.read_bytes()
    assert f"{hub.address}/me/tickets/commit/" in done.stdout
    text = hub.files["README.md"].decode()
    assert text.startswith("---\nlibrary_name: repro-jackpot\n")
    assert f'repro.ticketfile.load("{GOLDEN.name}")' in text
    assert "| `conv.weight` | 1 x 1 x 3 x 3 | 5 | 9 | 0.5556 |" in text
    hub.files["README.md"] = b"mine"
    again = pushed(hub, tmp_path, str(GOLDEN), "me/tickets")
    assert "README.md was there and stays" in again.stdout
    assert hub.files["README.md"] == b"mine"
    assert pushed(hub, tmp_path, str(GOLDEN), "me/tickets", "--replace").returncode == 0
    assert hub.files["README.md"] == text.encode()


def test_what_the_hub_refuses_is_one_line(hub: Any, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
    done = pushed(hub, tmp_path, str(GOLDEN), "me/tickets", token="hf_wrong")
    assert (done.returncode, done.stderr.count("\n"), "HF_TOKEN" in done.stderr) == (2, 1, True), done.stderr
    done = pushed(hub, tmp_path, str(GOLDEN), "a/b/c")
    assert (done.returncode, done.stderr.count("\n"), done.stderr[:14]) == (2, 1, "error: a/b/c: "), (
        done.stderr
    )
    assert not hub.files


def test_push_through_a_client_that_only_looks_real(capsys, monkeypatch, here: Path) -> None:
    calls: list[tuple[Any, ...]] = []

    class HfApi:
        def create_repo(self, repo: str, *, exist_ok: bool, private: bool) -> None:
            calls.append(("create", repo, exist_ok, private))

        def file_exists(self, repo: str, name: str) -> bool:
            return False

        def create_commit(self, repo: str, operations: list[Any], *, commit_message: str) -> Any:
            calls.append(("commit", repo, [o[0] for o in operations], commit_message))
            return types.SimpleNamespace(commit_url="https://example.org/1")

    fake = types.ModuleType("huggingface_hub")
    fake.HfApi, fake.CommitOperationAdd = HfApi, lambda name, what: (name, what)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    out = ok(capsys, "ticket", "push", str(GOLDEN), "me/tickets", "--private")
    assert out.startswith("https://example.org/1: tiny.ticket.safetensors, tiny.ticket.json, README.md")
    assert calls == [
        ("create", "me/tickets", True, True),
        ("commit", "me/tickets", [GOLDEN.name, card_file(GOLDEN).name, "README.md"], f"Ticket {GOLDEN.name}"),
    ]
    damaged = here / f"d{SUFFIX}"
    damaged.write_bytes(GOLDEN.read_bytes()[:-1])
    assert "get it again" in fails(capsys, "ticket", "push", str(damaged), "me/tickets")
    assert len(calls) == 2, "a damaged file goes nowhere"


def test_without_the_library(capsys, monkeypatch, here: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'repro-jackpot[hub]'" in fails(capsys, "ticket", "push", str(GOLDEN), "me/tickets")
