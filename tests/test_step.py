"""The step: a captured one does what the eager one does, for every run that is put into its memory."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from test_train import digits, network, random_masks, same, settings
from torch import nn

from repro import captured as module
from repro.batches import batches, shapes
from repro.captured import Captured, cuda_graph, make_step
from repro.precision import PAYS, computing, has_bfloat16, settle
from repro.step import Step
from repro.train import Stopped, train

CPU = torch.device("cpu")
RECIPES = [
    {"optim.momentum": 0.9, "optim.nesterov": True},
    {"optim.optimizer": "adam", "optim.lr": 0.01},
    {"optim.label_smoothing": 0.1, "optim.decay_1d": False},
]


class Recorder:
    """Stands in for a CUDA graph: warms up as a capture does, then repeats the work when asked."""

    def __init__(self) -> None:
        self.captured = 0

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        self.captured += 1
        for _ in range(module.WARM_UP):
            work()
        return work


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_mine", threading.local())


def close(a: nn.Module, b: nn.Module) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("over", RECIPES)
@pytest.mark.parametrize("masked", [True, False])
def test_a_captured_step_equals_the_eager_one(over: dict, masked: bool) -> None:
    s = settings(**over, **{"optim.batch": 64})
    data = digits(s)
    model = network(s, data)
    masks = random_masks(model) if masked else None
    eager = Step(copy.deepcopy(model), s, masks)
    captured = make_step(
        model, s, masks, shapes=shapes(len(data.train.labels), 64, data.shape), record=Recorder()
    )
    assert isinstance(captured, Captured)
    for epoch in range(2):
        for x, y in batches(data.train, data, s, epoch):
            for one in (eager, captured):
                one.model.train()
                one(x, y, 0.05 / (epoch + 1))
    close(eager.model, captured.model)
    torch.testing.assert_close(eager.sums, captured.sums)
    assert same(model, network(s, data)), "the network given is not touched"


def test_one_capture_serves_every_seed_density_rate_and_ticket() -> None:
    recorder = Recorder()
    for seed, density, lr in ((0, 0.5, 0.1), (1, 0.1, 0.02), (2, 0.9, 0.3)):
        s = settings(seed=seed, **{"optim.lr": lr, "optim.batch": 64})
        data = digits(s)
        plain, swapped = network(s, data), network(s, data)
        masks = random_masks(plain, density)
        train(plain, data, s, masks=masks)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("repro.train.make_step", partial(make_step, record=recorder))
            outcome = train(swapped, data, s, masks=masks)
        close(plain, swapped)
        assert outcome.status == "done"
        for name, mask in masks.items():
            assert torch.all(swapped.get_parameter(name)[~mask] == 0)
    assert recorder.captured == 2, "one for whole batches, one for the last"


@pytest.mark.parametrize(
    "over",
    [{"optim.batch": 100}, {"optim.weight_decay": 0.1}, {"optim.optimizer": "adam"}, {"model.width": 0.5}],
)
def test_another_structure_is_captured_anew(over: dict) -> None:
    recorder = Recorder()
    for s in (settings(), settings(**over), settings(seed=3)):
        data = digits(s)
        model = network(s, data)
        make_step(
            model, s, shapes=shapes(len(data.train.labels), s.optim.batch, data.shape)[:1], record=recorder
        )
    assert recorder.captured == 2


def test_precision_and_masks_are_structure_too() -> None:
    s, recorder = settings(), Recorder()
    data = digits(s)
    model = network(s, data)
    make = partial(make_step, model, s, shapes=[(8, *data.shape)], record=recorder)
    first = make()
    assert make() is first
    assert make(precision="bfloat16") is not first
    assert make(masks=random_masks(model)) is not first
    assert len(module._mine.kept) == module.KEPT, "the oldest is dropped"


def test_a_run_goes_on_in_a_captured_step_where_it_stopped(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("repro.train.make_step", partial(make_step, record=Recorder()))
    s = settings(**{"optim.batch": 64})
    data = digits(s)
    whole, parts, file = network(s, data), network(s, data), tmp_path / "c.safetensors"
    masks = random_masks(whole)
    straight = train(whole, data, s, masks=masks)
    calls = iter(range(100))
    with pytest.raises(Stopped):
        train(parts, data, s, masks=masks, resume=file, stop=lambda: next(calls) >= 5)
    train(network(s, data), data, settings(seed=9, **{"optim.batch": 64}), masks=masks)  # another in between
    fresh = network(s, data)
    resumed = train(fresh, data, s, masks=masks, resume=file)
    assert same(whole, fresh)
    assert resumed.curve == straight.curve


def test_batch_shapes_are_those_that_come() -> None:
    for n, batch in ((200, 64), (200, 100), (200, 199), (50, 64), (3, 2)):
        s = settings(**{"data.subset": 200, "optim.batch": batch})
        data = digits(s)
        part = data.replace(train=type(data.train)(data.train.images[:n], data.train.labels[:n]))
        come = {tuple(x.shape) for x, _ in batches(part.train, part, s, 0)}
        assert come == set(shapes(n, batch, data.shape))


def test_precision_is_settled_by_machine_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro.precision.has_bfloat16", lambda kind: True)
    assert settle("auto", PAYS, CPU) == "bfloat16"
    assert settle("auto", PAYS - 1, CPU) == "float32"
    assert settle("float32", 10 * PAYS, CPU) == "float32"
    monkeypatch.setattr("repro.precision.has_bfloat16", lambda kind: False)
    assert settle("auto", 10 * PAYS, CPU) == "float32"
    assert settle("bfloat16", 1, CPU) == "bfloat16"


@pytest.mark.parametrize(
    ("text", "has"),
    [("flags : sse avx512_bf16 x\n", True), ("Features : bf16 i8mm\n", True), ("flags : avx512f\n", False)],
)
def test_the_processor_says_whether_it_has_bfloat16(text: str, has: bool, tmp_path, monkeypatch) -> None:
    (tmp_path / "cpuinfo").write_text("model name : bf16 is only in the name\n" + text)
    monkeypatch.setattr("repro.measure._CPU", tmp_path / "cpuinfo")
    assert has_bfloat16.__wrapped__("cpu") is has


def test_products_are_bfloat16_only_where_asked() -> None:
    a = torch.ones(2, 2)
    with computing("bfloat16", CPU):
        assert (a @ a).dtype == torch.bfloat16
    with computing("float32", CPU):
        assert (a @ a).dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("over", RECIPES)
def test_a_cuda_graph_equals_the_eager_step(over: dict) -> None:
    s = settings(**over, **{"optim.batch": 64})
    data = digits(s).to("cuda")
    model = network(s, data).cuda().to(memory_format=torch.channels_last)
    masks = random_masks(network(s, data)).to("cuda")
    eager = Step(copy.deepcopy(model), s, masks)
    captured = make_step(
        model, s, masks, shapes=shapes(len(data.train.labels), 64, data.shape), record=cuda_graph
    )
    for x, y in batches(data.train, data, s, 0):
        for one in (eager, captured):
            one.model.train()
            one(x, y, 0.01)
    for a, b in zip(eager.model.parameters(), captured.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)
