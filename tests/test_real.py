"""The whole path on real images, where the surroundings have them: CIFAR and Fashion-MNIST through torchvision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from repro import materials, record
from repro.data import Data, Split, load
from repro.experiment import run
from repro.grids import expand

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _few_test_images(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Evaluate on a thousand images: what is tested is the path, not the number."""

    def few(name: str, **options) -> Data:
        data = load(name, **options)
        return replace(data, test=Split(data.test.images[:1000], data.test.labels[:1000]))

    monkeypatch.setattr(materials, "load", few)
    materials.dataset.cache_clear()
    yield
    materials.dataset.cache_clear()


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
    assert len(record.load(record.stores()[0])) == 5


def test_the_published_networks_take_a_step_on_cifar() -> None:
    for model in ({"name": "vgg19"}, {"name": "resnet32", "width": 2}):
        base = {"recipe": "answer42", "data": {"name": "cifar10", "subset": 40}, "model": model}
        ticket = {"score": "grasp", "density": 0.05, "samples_per_class": 2}
        (s,) = expand([{**base, "optim": {"epochs": 1, "batch": 20}, "ticket": ticket}])
        made = run(s)
        assert made["status"] == "done"
        assert made["density"] == pytest.approx(0.05, abs=1e-6)
