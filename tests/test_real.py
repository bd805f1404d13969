"""The whole path on real images, where the surroundings have them: CIFAR and Fashion-MNIST through torchvision."""

from __future__ import annotations

import pytest

from repro import record
from repro.experiment import run
from repro.grids import expand

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


@pytest.mark.parametrize("data", ["cifar10", "cifar100", "fashionmnist"])
def test_a_ticket_is_made_checked_and_trained_on_real_images(data: str) -> None:
    size = {"data.size": 32, "data.channels": 3} if data == "fashionmnist" else {}
    base = {"data": {"name": data, "augment": "crop_flip", "subset": 2000}, "model": {"name": "resnet8"}}
    base |= {"optim": {"epochs": 2, "batch": 64}, **size}
    grids = [
        {**base},
        {**base, "ticket": {"score": ["magnitude", "snip"], "density": 0.3}},
        {
            **base,
            "ticket": {"score": "snip", "density": 0.3, "samples_per_class": 3},
            "check.name": ["rearrange", "pixel_shuffle"],
        },
    ]
    records = [run(s) for s in expand(grids)]
    assert [r["status"] for r in records] == ["done"] * 5
    classes = 100 if data == "cifar100" else 10
    assert records[0]["accuracy"]["final"] > 1.3 * 100 / classes, (
        "better than guessing after two short epochs"
    )
    assert len(record.load()) == 5


def test_the_published_networks_take_a_step_on_cifar() -> None:
    for model in ({"name": "vgg19"}, {"name": "resnet32", "width": 2}):
        grid = {
            "recipe": "answer42",
            "data": {"name": "cifar10", "subset": 40},
            "model": model,
            "optim": {"epochs": 1, "batch": 20},
        }
        ticket = {"score": "grasp", "density": 0.05, "samples_per_class": 2}
        (s,) = expand([{**grid, "ticket": ticket}])
        made = run(s)
        assert made["density"] == pytest.approx(0.05, abs=1e-6)
