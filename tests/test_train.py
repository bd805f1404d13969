"""The loop: masks hold exactly, stopping changes no bit, a masked step is the step of the thin network."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from repro import optim
from repro.batches import batches, steps_per_epoch
from repro.data import Data, Split
from repro.grids import expand
from repro.masks import Masks
from repro.materials import dataset
from repro.models import build, prunable
from repro.rng import stream
from repro.settings import Settings
from repro.step import Step
from repro.train import Stopped, evaluate, train


def settings(**over: object) -> Settings:
    grid = {
        "recipe": "digits",
        "model": {"name": "resnet8", "width": 0.25},
        "optim.epochs": 2,
        "data.subset": 200,
    }
    return expand([{**grid, **over}])[0]


def network(s: Settings, data: Data) -> nn.Module:
    options = s.model.options("name")
    return build(
        s.model.name,
        classes=data.classes,
        channels=data.shape[0],
        generator=stream(s.seed, "init"),
        **options,
    )


def digits(s: Settings) -> Data:
    return dataset(s.data.name, s.data.size, s.data.channels, s.data.subset, s.data.validation)


def random_masks(model: nn.Module, density: float = 0.3) -> Masks:
    g = torch.Generator().manual_seed(1)
    return Masks({x.name: torch.rand(x.shape, generator=g) < density for x in prunable(model)})


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    "over", [{}, {"optim.nesterov": True}, {"optim.optimizer": "adam", "optim.lr": 0.01}]
)
def test_pruned_weights_and_their_optimiser_state_stay_exactly_zero(
    over: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = settings(**over, **{"optim.epochs": 3})
    data = digits(s)
    model = network(s, data)
    masks = random_masks(model)
    made: list[torch.optim.Optimizer] = []
    entry = optim.OPTIMIZERS[s.optim.optimizer]

    def spy(*args: object, **options: object) -> torch.optim.Optimizer:
        made.append(entry(*args, **options))
        return made[-1]

    monkeypatch.setitem(optim.OPTIMIZERS, s.optim.optimizer, spy)
    train(model, data, s, masks=masks)
    weights = dict(model.named_parameters())
    moved = 0
    for name, mask in masks.items():
        assert torch.all(weights[name][~mask] == 0)
        state = {k: v for k, v in made[0].state[weights[name]].items() if v.shape == mask.shape}
        assert state
        for value in state.values():
            assert torch.all(value[~mask] == 0)
            moved += int(value[mask].count_nonzero())
    assert moved > 0


def test_a_masked_step_is_the_step_of_the_explicit_subnetwork() -> None:
    """Two hidden units of four are cut out: training the masked net must equal training the thin one."""
    g = torch.Generator().manual_seed(0)
    wide = nn.Sequential(nn.Flatten(), nn.Linear(16, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False))
    thin = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False), nn.ReLU(), nn.Linear(2, 3, bias=False))
    alive = torch.tensor([True, False, True, False])
    with torch.no_grad():
        for p in wide.parameters():
            p.copy_(torch.randn(p.shape, generator=g))
        thin[1].weight.copy_(wide[1].weight[alive])
        thin[3].weight.copy_(wide[3].weight[:, alive])
    masks = Masks(
        {"1.weight": alive[:, None].expand(4, 16).clone(), "3.weight": alive[None].expand(3, 4).clone()}
    )
    data = Data(
        "digits",
        *(
            3
            * [
                Split(
                    torch.randint(0, 256, (60, 1, 4, 4), generator=g, dtype=torch.uint8), torch.arange(60) % 3
                )
            ]
        ),
        3,
    )
    s = settings(**{"optim.epochs": 2, "data.augment": "none", "data.subset": None})
    train(wide, data, s, masks=masks)
    train(thin, data, s)
    torch.testing.assert_close(wide[1].weight[alive], thin[1].weight)
    torch.testing.assert_close(wide[3].weight[:, alive], thin[3].weight)


@pytest.mark.parametrize("stop_at", [1, 3, 4, 5])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_stopped_anywhere_and_resumed_is_equal_to_the_last_bit(
    tmp_path: Path, stop_at: int, optimizer: str
) -> None:
    s = settings(
        **{
            "optim.optimizer": optimizer,
            "data.validation": 0.1,
            "optim.per_step": True,
            "optim.schedule": "cosine",
        }
    )
    data = digits(s)
    masks = random_masks(network(s, data))
    whole = network(s, data)
    straight = train(whole, data, s, masks=masks)
    calls = iter(range(100))
    parts = network(s, data)
    file = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        train(parts, data, s, masks=masks, resume=file, stop=lambda: next(calls) >= stop_at)
    fresh = network(s, data)
    resumed = train(fresh, data, s, masks=masks, resume=file)
    assert same(whole, fresh)
    assert resumed.curve == straight.curve


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    s, t = settings(), settings(seed=1)
    data = digits(s)
    models = [network(x, data) for x in (s, s, t)]
    for x, m in zip((s, s, t), models, strict=True):
        train(m, data, x)
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_training_neither_reads_nor_moves_the_global_generator() -> None:
    s = settings()
    data = digits(s)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    a = network(s, data)
    train(a, data, s)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(4)
    b = network(s, data)
    train(b, data, s)
    assert same(a, b)


def test_training_learns() -> None:
    s = settings(**{"optim.epochs": 6, "data.subset": None, "model.width": 0.5})
    data = digits(s)
    model = network(s, data)
    outcome = train(model, data, s)
    assert outcome.status == "done"
    assert outcome.curve[-1]["test_accuracy"] > 80
    assert outcome.curve[-1]["train_loss"] < outcome.curve[0]["train_loss"]
    assert [row["epoch"] for row in outcome.curve] == [1, 2, 3, 4, 5, 6]


def test_divergence_is_recorded_not_raised() -> None:
    s = settings(**{"optim.lr": 1e12, "optim.weight_decay": 0.0})
    data = digits(s)
    model = network(s, data)
    outcome = train(model, data, s)
    assert outcome.status == "diverged"
    assert "epoch 1" in (outcome.reason or "")


def test_an_epoch_shows_every_image_once_and_can_be_entered_anywhere() -> None:
    s = settings(**{"data.augment": "none", "optim.batch": 32})
    data = digits(s)
    labelled = data.train._replace(labels=torch.arange(len(data.train.labels)))
    seen = [y for _, y in batches(labelled, data, s, 0)]
    assert sorted(torch.cat(seen).tolist()) == list(range(200))
    assert len(seen) == steps_per_epoch(200, 32) == 7
    for start in (0, 3, 6):
        later = [y for _, y in batches(labelled, data, s, 0, start)]
        assert all(torch.equal(a, b) for a, b in zip(seen[start:], later, strict=True))
    assert not torch.equal(torch.cat(seen), torch.cat([y for _, y in batches(labelled, data, s, 1)]))


def test_batches_do_not_depend_on_how_many_images_are_augmented_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s = settings(**{"optim.batch": 32})
    data = digits(s)
    whole = list(batches(data.train, data, s, 0))
    monkeypatch.setattr("repro.batches.CHUNK", {"cpu": 64 * 64})
    small = list(batches(data.train, data, s, 0))
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(whole, small, strict=True))
    late = list(batches(data.train, data, s, 0, 5))
    assert all(torch.equal(a, c) for (a, _), (c, _) in zip(whole[5:], late, strict=True))


def test_a_last_batch_of_one_image_is_left_out() -> None:
    s = settings(**{"optim.batch": 199})
    data = digits(s)
    assert [len(y) for _, y in batches(data.train, data, s, 0)] == [199]
    assert steps_per_epoch(200, 199) == 1
    assert steps_per_epoch(200, 198) == 2
    assert steps_per_epoch(200, 200) == 1


def test_evaluation_counts_right_answers_in_evaluation_mode() -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert not self.training
            return torch.tensor([[0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]).expand(len(x), 10)

    s = settings()
    data = digits(s)
    split = Split(data.test.images[:4], torch.tensor([9, 5, 4, 9]))
    got = evaluate(Fixed(), split, data, s)
    assert got["accuracy"] == 50.0
    assert got["top5"] == 75.0


@pytest.mark.parametrize(
    ("schedule", "options", "warmup", "per_step", "expected"),
    [
        (
            "step",
            {"milestones": (0.5, 0.75), "gamma": 0.1},
            0,
            False,
            {0: 1, 39: 1, 40: 0.1, 59: 0.1, 60: 0.01, 79: 0.01},
        ),
        ("cosine", {"floor": 0.0}, 0, True, {0: 1.0, 40: 0.5}),
        ("linear", {}, 0, True, {0: 1.0, 20: 0.75, 60: 0.25}),
        ("constant", {}, 2, True, {0: 0.0, 10: 0.5, 20: 1.0, 79: 1.0}),
        ("constant", {}, 2, False, {0: 0.5, 9: 0.5, 10: 1.0, 79: 1.0}),
        ("step", {"milestones": (0.5,), "gamma": 0.2}, 2, True, {49: 1.0, 50: 0.2}),
    ],
)
def test_learning_rates(
    schedule: str, options: dict, warmup: float, per_step: bool, expected: dict[int, float]
) -> None:
    """Eight epochs of ten steps; the drops of 80 and 120 of 160 epochs are at halves and three quarters."""
    factor = optim.rate(schedule, options, epochs=8, steps=10, warmup=warmup, per_step=per_step)
    for step, value in expected.items():
        assert factor(step) == pytest.approx(value, abs=1e-12)


def test_the_drops_of_the_published_schedules_fall_on_their_epochs() -> None:
    for epochs, milestones, drops in (
        (160, (0.5, 0.75), (80, 120)),
        (90, (50 / 90, 65 / 90, 80 / 90), (50, 65, 80)),
    ):
        options = {"milestones": milestones, "gamma": 0.1}
        factor = optim.rate("step", options, epochs=epochs, steps=391, warmup=0, per_step=False)
        rates = [factor(e * 391) for e in range(epochs)]
        assert tuple(e for e in range(1, epochs) if rates[e] < rates[e - 1]) == drops


def test_decay_of_one_dimensional_parameters_is_a_choice() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    every, some = optim.groups(model, 0.1, True), optim.groups(model, 0.1, False)
    assert [(g["weight_decay"], len(g["params"])) for g in every] == [(0.1, 4)]
    assert [(g["weight_decay"], len(g["params"])) for g in some] == [(0.1, 1), (0.0, 3)]


def test_a_step_zeroes_at_once_and_spares_what_is_kept() -> None:
    s = settings()
    model = network(s, digits(s))
    before = copy.deepcopy(model)
    masks = random_masks(model)
    Step(model, s, masks)
    old, new = dict(before.named_parameters()), dict(model.named_parameters())
    for name in old:
        mask = masks.get(name)
        expected = old[name] if mask is None else old[name] * mask
        assert torch.equal(new[name], expected)


def test_bfloat16_learns_too_and_weights_stay_float32() -> None:
    s = settings(**{"optim.epochs": 2})
    data = digits(s)
    model = network(s, data)
    outcome = train(model, data, s, precision="bfloat16")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert outcome.curve[-1]["train_loss"] < outcome.curve[0]["train_loss"]
