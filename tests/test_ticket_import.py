"""Checkpoints of the source works become tickets: made here in the layouts that are known of them, and spoilt."""

from __future__ import annotations

import argparse
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_cli import call
from torch import Tensor

from repro import ticketfile
from repro.errors import ReproError
from repro.models import build, prunable
from repro.rng import stream
from repro.ticketfile import layouts
from repro.ticketfile.foreign import take
from repro.ticketfile.layouts import LAYOUTS
from repro.ticketfile.store import SUFFIX

OPTIONS = {"width": 0.25}
WORDS = ("width=0.25",)
State = dict[str, Tensor]


def network(seed: int = 0, name: str = "resnet8", **options: Any) -> torch.nn.Module:
    given = {**OPTIONS, **options}
    return build(name, classes=10, channels=1, generator=stream(seed, "init"), **given)


def masks_of(model: torch.nn.Module) -> State:
    generator = stream(7, "mask")
    return {x.name: torch.rand(x.shape, generator=generator) < 0.3 for x in prunable(model)}


def zeroed(state: State, masks: State) -> State:
    return {k: torch.where(masks[k], v, 0) if k in masks else v for k, v in state.items()}


def renamed(state: State) -> State:
    """Call modules as somebody else would, in the same order: m0, m1, ..."""
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    return {f"m{modules.index(k.rpartition('.')[0])}.{k.rpartition('.')[2]}": v for k, v in state.items()}


def written(layout: str, state: State, masks: State) -> Any:
    """Lay a state and masks (under the state's names) out as the layout has it."""
    sparse = zeroed(state, masks)
    optimizer = {
        "state": {0: {"momentum_buffer": torch.zeros(3)}},
        "param_groups": [{"lr": 0.1, "params": [0]}],
    }
    parallel = {f"module.{k}": v for k, v in sparse.items()}
    floats = {k: m.float() for k, m in masks.items()}
    return {
        "gohil": {"epoch": 160, "model_state_dict": sparse, "optimizer_state_dict": optimizer},
        "su2020": {
            "epoch": 160,
            "state_dict": parallel,
            "acc": 91.2,
            "best_acc": 91.5,
            "optimizer": optimizer,
        },
        "answer42": {"net": state, "mask": floats, "acc": 91.2, "epoch": 3, "ratio": 0.7},
        "rigl": {
            "step": 9,
            "epoch": 2,
            "model": sparse,
            "optimizer": optimizer,
            "val_loss": 0.3,
            "mask": {"baseline_nonzero": 10, "masks": floats, "mask_step": 3, "total_params": 20},
        },
        "gadhikar": {"state_dict": sparse},
        "synflow": {**state, **{f"{k}_mask": m for k, m in floats.items()}},
    }[layout]


def file(tmp_path: Path, raw: Any, name: str = "ckpt.pth.tar") -> Path:
    torch.save(raw, tmp_path / name)
    return tmp_path / name


def taken(path: Path, layout: str, **more: Any) -> tuple[Any, Any, list[str]]:
    return take(path, **{"layout": layout, "model": "resnet8", "words": WORDS, **more})


def test_there_is_a_checkpoint_for_every_layout() -> None:
    state = dict(network().state_dict())
    for layout in LAYOUTS:
        assert written(layout, state, {})


@pytest.mark.parametrize("names", ["ours", "theirs"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_and_weights_come_out_of_every_layout(tmp_path: Path, layout: str, names: str) -> None:
    model = network(3)
    state, masks = dict(model.state_dict()), masks_of(model)
    raw = written(layout, state, masks)
    if names == "theirs":
        there = dict(zip(state, renamed(state), strict=True))
        raw = written(layout, renamed(state), {there[k]: m for k, m in masks.items()})
    ticket, facts, notes = taken(file(tmp_path, raw), layout)
    assert list(ticket.masks) == list(masks)
    assert all(torch.equal(ticket.masks[k], m) for k, m in masks.items())
    assert (facts.network.classes, facts.network.channels, facts.stage) == (10, 1, "imported")
    assert zeroed(dict(ticket.weights), masks).keys() == state.keys()
    for name, tensor in zeroed(state, masks).items():
        assert torch.equal(zeroed(dict(ticket.weights), masks)[name], tensor), name
    told = " ".join(notes)
    assert ("exactly 0" in told) == (layout in ("gohil", "su2020", "gadhikar"))
    assert ("paired in order" in told) == (names == "theirs")
    assert facts.provenance.source and facts.provenance.source.layout == layout
    path = tmp_path / f"a{SUFFIX}"
    card = ticketfile.save(path, ticket, facts, weights="kept")
    assert ticketfile.load(path)[1] == card
    assert card.provenance.source and card.provenance.source.notes == notes


def test_an_older_file_format_of_torch_is_read_too(tmp_path: Path) -> None:
    model = network()
    raw = written("su2020", dict(model.state_dict()), masks_of(model))
    torch.save(raw, tmp_path / "old.tar", _use_new_zipfile_serialization=False)
    assert taken(tmp_path / "old.tar", "su2020")[0].masks == taken(file(tmp_path, raw), "su2020")[0].masks


class Spy:
    """Its bytes, when executed, leave a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_code_is_run_and_the_way_round_is_told(tmp_path: Path, layout: str, new: bool) -> None:
    model, mark, path = network(), tmp_path / "mark", tmp_path / "evil.tar"
    raw = written(layout, dict(model.state_dict()), masks_of(model)) | {"more": Spy(mark)}
    torch.save(raw, path, _use_new_zipfile_serialization=new)
    with pytest.raises(ReproError, match=r"save tensors by name only: state_dict\(\)") as caught:
        taken(path, layout)
    assert not mark.exists()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("what", "named"),
    [
        (lambda m: {"net": m, "mask": None}, "ResNet"),
        (lambda m: {"net": m.state_dict(), "mask": {m.conv: torch.ones(4, 1, 3, 3)}}, "Conv2d"),
        (lambda m: {"net": m.state_dict(), "args": argparse.Namespace(a=1)}, "argparse.Namespace"),
    ],
    ids=["a network", "masks by module", "arguments"],
)
def test_objects_are_refused_by_the_name_of_their_class(tmp_path: Path, what: Callable, named: str) -> None:
    path = file(tmp_path, what(network()))
    with pytest.raises(ReproError, match=f"holds objects of .*{named}, which only running code"):
        taken(path, "answer42")


def changed(state: State, **new: Tensor | None) -> State:
    given = {k.replace("__", "."): v for k, v in new.items()}
    return {k: v for k, v in {**state, **given}.items() if v is not None}


def test_what_does_not_fit_names_the_layer(tmp_path: Path) -> None:
    state = dict(network().state_dict())
    theirs = renamed(state)
    order = list(theirs)
    shortcut_first = [*order[:18], *order[30:36], *order[18:30], *order[36:]]
    swapped = {k: theirs[k] for k in shortcut_first}
    wide = dict(network(width=0.5).state_dict())
    biased = {**state, "conv.bias": torch.zeros(4)}
    cases: list[tuple[State, str]] = [
        (wide, r"layer conv: its weight is .*\[4, 1, 3, 3\], that of theirs, conv, .*\[8, 1, 3, 3\]"),
        (renamed(wide), r"layer conv: its shape is \[4, 1, 3, 3\].* \[8, 1, 3, 3\]: another network"),
        (
            swapped,
            r"layer stages.1.0.branch.0: its shape is .*\[8, 4, 1, 1\].* another order, so which is which is ambiguous",
        ),
        (dict(network(name="resnet14").state_dict()), "layer stages.0.1.branch.0|layer stages"),
        (renamed(dict(network(name="resnet14").state_dict())), "layer stages.1.0.branch.0: its shape"),
        (biased, "layer conv: theirs, conv, has bias besides; an option .* conv_bias"),
        (changed(state, classifier__bias=None), "layer classifier: theirs, classifier, has no bias"),
        (changed(state, bn__bias=torch.zeros(4).long()), "layer bn: its bias is"),
        (changed(state, conv__threshold=torch.zeros(1)), "has threshold besides"),
        (changed(theirs, extra__weight=torch.zeros(7, 7)), "layer extra: only theirs has it"),
        ({k: v for k, v in theirs.items() if not k.startswith("m18.")}, "only ours has it|its shape is"),
        ({"x": torch.zeros(3)}, "no convolution"),
        (state | {"a\x1b[31m.weight": torch.zeros(3)}, "is no name of a tensor"),
    ]
    for given, hint in cases:
        path = file(tmp_path, {"state_dict": given})
        with pytest.raises(ReproError, match=hint) as caught:
            taken(path, "su2020", classes=10)
        assert str(caught.value).startswith(f"{path}: ")
        assert str(caught.value).isprintable()


def test_a_missing_counter_is_no_fault(tmp_path: Path) -> None:
    state = dict(network().state_dict())
    old = {k: v for k, v in state.items() if "num_batches" not in k}
    ticket, _, _ = taken(file(tmp_path, {"state_dict": old}), "su2020")
    assert ticket.weights.keys() == state.keys()
    assert ticket.weights["bn.num_batches_tracked"].item() == 0


def test_a_1x1_convolution_may_be_the_classifier(tmp_path: Path) -> None:
    state = dict(network().state_dict())
    state["classifier.weight"] = state["classifier.weight"][:, :, None, None]
    ticket, _, _ = taken(file(tmp_path, {"state_dict": renamed(state)}), "gadhikar")
    assert torch.equal(ticket.weights["classifier.weight"], state["classifier.weight"][:, :, 0, 0])


def test_layers_without_a_mask_are_dense_and_said_to_be(tmp_path: Path) -> None:
    model = network()
    state, masks = dict(model.state_dict()), masks_of(model)
    raw = written("rigl", state, masks)
    del raw["mask"]["masks"]["conv.weight"]
    ticket, _, notes = taken(file(tmp_path, raw), "rigl")
    assert bool(ticket.masks["conv.weight"].all())
    assert any("1 layers have no mask and are taken as dense: conv.weight" in note for note in notes)
    raw["mask"]["masks"] = {"elsewhere.weight": torch.ones(3)}
    with pytest.raises(ReproError, match="no mask has the name of a layer"):
        taken(file(tmp_path, raw), "rigl")


def test_masks_that_are_none(tmp_path: Path) -> None:
    model = network()
    state, masks = dict(model.state_dict()), masks_of(model)
    cases: list[tuple[State, str]] = [
        ({"conv.weight": torch.full((4, 1, 3, 3), 0.5)}, "layer conv.weight: its mask holds other values"),
        ({"conv.weight": torch.ones(4)}, r"layer conv.weight: it is \[4, 1, 3, 3\], its mask \[4\]"),
        (
            {"bn.weight": torch.tensor([1.0, 0, 1, 1])},
            "bn.weight: a mask of no weight of ours prunes something",
        ),
        ({"conv.weight": torch.ones(1).expand(4, 1, 3, 3)[:, :, :2]}, "layer conv.weight"),
    ]
    for more, hint in cases:
        with pytest.raises(ReproError, match=hint):
            taken(file(tmp_path, {"net": state, "mask": masks | more}), "answer42")
    ones = {"bn.weight": torch.ones(4), "conv.bias": torch.ones(4)}
    assert taken(file(tmp_path, {"net": state, "mask": masks | ones}), "answer42")[0].masks.kept
    huge = torch.ones(1).expand(10**6, 10**6)
    for raw in ({"net": state, "mask": {**masks, "x": huge}}, {"net": {**state, "x": huge}}):
        with pytest.raises(ReproError, match="no state, that is tensors by name"):
            taken(file(tmp_path, raw), "answer42")


def test_a_list_of_masks_alone(tmp_path: Path) -> None:
    model = network()
    masks = list(masks_of(model).values())
    masks[-1] = masks[-1][:, :, None, None]
    ticket, facts, notes = taken(file(tmp_path, masks), "gadhikar")
    assert (facts.stage, dict(ticket.weights), notes) == (None, {}, [])
    assert torch.equal(ticket.masks["classifier.weight"], masks[-1][:, :, 0, 0])
    path = tmp_path / f"a{SUFFIX}"
    card = ticketfile.save(path, ticket, facts, weights="none")
    assert (card.weights.mode, card.weights.sha256, card.seed) == ("none", None, None)
    with pytest.raises(ReproError, match="9 masks, our network has 10 layers"):
        taken(file(tmp_path, masks[1:]), "gadhikar")
    with pytest.raises(ReproError, match="no masks"):
        taken(file(tmp_path, [1, 2]), "gadhikar")


@pytest.mark.parametrize("name", ["conv.scores", "classifier.sparseThreshold"])
def test_scores_and_thresholds_are_no_masks(tmp_path: Path, name: str) -> None:
    state = dict(network().state_dict()) | {name: torch.zeros(1)}
    with pytest.raises(ReproError, match="pruned by scores or thresholds"):
        taken(file(tmp_path, {"state_dict": state}), "gadhikar")


def test_pruned_scales_of_batch_norm_are_told(tmp_path: Path) -> None:
    state = dict(network().state_dict())
    state["bn.weight"] = torch.tensor([1.0, 0, 0, 1])
    raw = {"model_state_dict": state}
    assert any("2 scales of batch norm are 0" in n for n in taken(file(tmp_path, raw), "gohil")[2])


def test_a_file_of_another_layout_says_what_it_holds(tmp_path: Path) -> None:
    model = network()
    state, masks = dict(model.state_dict()), masks_of(model)
    for layout in LAYOUTS:
        for other in LAYOUTS:
            path = file(tmp_path, written(other, state, masks))
            try:
                ticket = taken(path, layout)[0]
            except ReproError as error:
                assert re.search("another layout|weight_mask besides", str(error)), (layout, other, error)
            else:
                assert layout == other or {layout, other} <= {"su2020", "gadhikar", "synflow"}
                assert ticket.masks.density < 0.4, "never taken for dense"


def test_damaged_files(tmp_path: Path) -> None:
    path = file(tmp_path, {"state_dict": dict(network().state_dict())})
    raw = path.read_bytes()
    for bad in (
        b"",
        b"text",
        raw[:100],
        raw[: len(raw) // 2],
        raw[:-30],
        bytes(500),
        b"\x80\x02" + bytes(99),
    ):
        path.write_bytes(bad)
        with pytest.raises(ReproError, match=r"get it again|another layout|holds objects") as caught:
            taken(path, "su2020")
        assert str(caught.value).isprintable()
    with pytest.raises(ReproError, match="no such file"):
        taken(tmp_path / "nowhere", "su2020")


def test_a_checkpoint_that_unpacks_to_much_more_is_not_unpacked(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "bomb.tar"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**21))
    assert path.stat().st_size < 2**14
    monkeypatch.setattr(layouts, "LARGEST", 2**20)
    with pytest.raises(ReproError, match="holds more than"):
        taken(path, "su2020")


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_flipped_bits_end_in_a_ticket_or_in_one_line(tmp_path: Path, new: bool) -> None:
    model, path = network(), tmp_path / "a.tar"
    torch.save({"state_dict": dict(model.state_dict())}, path, _use_new_zipfile_serialization=new)
    raw, places = path.read_bytes(), stream(1, "places")
    for _ in range(150):
        place = int(torch.randint(len(raw) if new else 6000, (), generator=places))
        changed = bytearray(raw)
        changed[place] ^= 1 << int(torch.randint(8, (), generator=places))
        path.write_bytes(changed)
        try:
            ticket, _, _ = taken(path, "su2020")
        except ReproError as error:
            assert str(error).isprintable()
        else:
            assert ticket.weights.keys() == model.state_dict().keys()


def test_the_command(capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = network(3)
    file(tmp_path, written("su2020", renamed(dict(model.state_dict())), {}), "pruned.pth.tar")
    words = ["ticket", "import", "pruned.pth.tar", "--layout", "su2020", "--model", "resnet8"]
    code, _, err = call(capsys, *words)
    assert (code, err.count("\n"), "layer conv: its shape" in err) == (2, 1, True)
    words = [*words, "width=0.25"]
    code, out, err = call(capsys, *words)
    assert code == 0, err
    assert f"pruned{SUFFIX}: " in out and out.count("note: ") == 2
    code, out, _ = call(capsys, "ticket", "inspect", f"pruned{SUFFIX}")
    assert code == 0 and "layout su2020" in out and "names differ" in out and "imported:su2020" in out
    code, _, err = call(capsys, "ticket", "evaluate", f"pruned{SUFFIX}")
    assert (code, "give e.g. data.name=cifar10" in err) == (2, True)
    code, out, err = call(capsys, "ticket", "evaluate", f"pruned{SUFFIX}", "data.name=digits")
    assert code == 0, err
    assert "pruned     0.0000" in out and "test images of digits" in out
    for more, hint in (
        (["--layout", "su2021"], "did you mean 'su2020'"),
        (["--model", "resnet9"], "did you mean"),
        (["--classes", "0"], "1 or more"),
        (["--model", "resnet8", "widht=2"], "did you mean 'width'"),
        (["--to", "x.pt"], "call it x.pt.ticket.safetensors"),
    ):
        code, _, err = call(capsys, *words, *more)
        assert (code, err.count("\n"), hint in err) == (2, 1, True), err
