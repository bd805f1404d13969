"""What the cases are made of: sizes, images, networks, masks, and rows with units in their columns' names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from .. import measure, paths
from ..data import Data, Split, load, verify
from ..grids import expand
from ..masks import Masks
from ..materials import network, precision_for
from ..models import prunable
from ..rng import stream
from ..settings import Settings
from .store import Row
from .timing import interleaved, ratios, spread

DENSITY = 0.1  # of the random masks that both loops train with
Network = tuple[str, float]  # name and width
SMALL = {"recipe": "digits", "model": {"name": "resnet8"}}  # the small network of the quick report


@dataclass(frozen=True)
class Size:
    """How much work a bench does; the defaults are for a CPU of few cores.

    Args:
        networks: name and width of each network.
        batches: batch sizes.
        masks: the network that masks are computed for.
        moves: the networks whose masks move while they train.
        epoch: images of a short epoch.
        test: images of an evaluation.
        pipeline: images of one pass through the input pipeline.
        synflow: iterations of SynFlow.
        in_flight: numbers of runs in flight.
        seconds: of one measurement of runs in flight.
        runs: in the table of runs; None for eight for each core.
        loaders: processes of the plain data loader, each tried.
        per_turn: training steps in one turn.
        ceiling: side of the products, and MiB of the copy, by which the ceilings are measured.
        train: what the comparison of number formats trains.
        records: in the store whose listing is timed.
    """

    networks: tuple[Network, ...] = (("resnet32", 2.0), ("vgg19", 1.0))
    batches: tuple[int, ...] = (64, 128)
    masks: Network = ("vgg19", 1.0)
    moves: tuple[Network, ...] = (("wrn22", 2.0), ("resnet32", 2.0), ("vgg19", 1.0))
    epoch: int = 1_280
    test: int = 1_000
    pipeline: int = 50_000
    synflow: int = 100
    in_flight: tuple[int, ...] = (1, 2, 4, 8)
    seconds: float = 3.0
    runs: int | None = None
    loaders: tuple[int, ...] = (0,)  # on few cores processes of its own only take them from the training
    per_turn: int = 1
    ceiling: tuple[tuple[int, ...], int] = ((1024, 2048), 256)
    train: tuple[tuple[str, Any], ...] = (
        ("model.name", "resnet20"),
        ("data.subset", 5_000),
        ("optim.epochs", 6),
        ("optim.batch", 64),
    )
    records: int = 50_000


CUDA = Size(
    epoch=50_000,
    test=10_000,
    runs=16,
    loaders=(0, 4),
    per_turn=20,
    ceiling=((4096, 8192), 4096),
    train=(("model.name", "resnet32"), ("model.width", 2.0), ("optim.epochs", 20), ("optim.batch", 128)),
)


@dataclass(frozen=True)
class Bench:
    """Where and how much to measure.

    Args:
        device: where to compute.
        data: images of CIFAR-10's shape, on the CPU.
        source: where these come from, in words.
        size: how much work.
        repeats: rounds of each measurement; None for what each case takes by itself.
        tell: told what is measured now.
    """

    device: torch.device
    data: Data
    source: str
    size: Size
    repeats: int | None = None
    tell: Callable[[str], None] = lambda words: None

    def rounds(self, usual: int) -> int:
        """Give the number of rounds: as asked for, or as is usual for a case."""
        return self.repeats or usual

    def synchronise(self) -> None:
        """Wait until the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def part(self, train: int, test: int = 2) -> Data:
        """Give the first images, on the device; a set that is smaller gives what it has."""
        cut = [
            Split(x.images[:n], x.labels[:n]) for x, n in ((self.data.train, train), (self.data.test, test))
        ]
        return Data(self.data.name, cut[0], None, cut[1], self.data.classes).to(self.device)


class Rival(NamedTuple):
    """One way of doing the work: a function without arguments, and the number format it computes in."""

    call: Callable[[], object]
    format: str = "float32"


def images(train: int = 50_000, test: int = 10_000) -> tuple[Data, str]:
    """Give CIFAR-10 if it lies in the data folder, else random pixels of its shape; and say which.

    Args:
        train: number of random training images.
        test: number of random test images.
    """
    if all(state == "ok" for _, state in verify("cifar10", paths.data())):
        return load("cifar10"), "CIFAR-10"
    generator = stream(0, "bench", "images")

    def made(n: int) -> Split:
        pixels = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
        return Split(pixels, torch.arange(n) % 10)

    return Data("cifar10", made(train), None, made(test), 10), "random pixels in the shape of CIFAR-10"


def settings(chosen: Network, batch: int = 128, **more: Any) -> Settings:
    """Give the settings of a training on CIFAR-10 in the manner of the source works."""
    name, width = chosen
    grid: dict[str, Any] = {"recipe": "answer42", "data.name": "cifar10", "optim.batch": batch}
    return expand([grid | {"model.name": name, "model.width": width} | more], source="bench")[0]


def title(chosen: Network) -> dict[str, Any]:
    """Give the columns that name a network."""
    return {"model": chosen[0], "width": chosen[1]}


def fresh(s: Settings, data: Data, device: torch.device, *, ours: bool) -> nn.Module:
    """Build the network of some settings on a device: channels last for our loop, first for the plain one."""
    form = torch.channels_last if ours else torch.contiguous_format
    return network(s, data).to(device=device, memory_format=form)  # pyright: ignore[reportCallIssue]


def random_masks(model: nn.Module, density: float = DENSITY) -> Masks:
    """Draw masks that keep each weight by itself, on the device of the network."""
    generator = stream(0, "bench", "masks")
    drawn = {x.name: torch.rand(x.shape, generator=generator) < density for x in prunable(model)}
    return Masks(drawn).to(next(model.parameters()).device)


def formats(s: Settings, data: Data, device: torch.device) -> list[str]:
    """List the number formats of our loop: float32, and what "auto" settles on if that is another."""
    return list(dict.fromkeys(["float32", precision_for(s, data, device, "auto")]))


def compare(
    bench: Bench, rivals: Mapping[str, Rival], rounds: int, about: Mapping[str, Any], **how: Any
) -> list[Row]:
    """Time rivals in turns; one row each, the first rival being the one that the others are compared with.

    Args:
        bench: waits for the device.
        rivals: by the name of the loop.
        rounds: of the measurement.
        about: columns that every row gets.
        how: further arguments of `interleaved`.
    """
    calls = {name: rival.call for name, rival in rivals.items()}
    times = interleaved(calls, rounds, synchronise=bench.synchronise, **how)
    first = next(iter(rivals))
    rows = []
    for name, rival in rivals.items():
        row = {**about, "loop": name.partition(",")[0], "format": rival.format, **seconds(times[name])}
        rows.append(row if name == first else row | speed_up(times[first], times[name]))
    return rows


def seconds(times: Sequence[float]) -> Row:
    """Give the columns of some times."""
    found = spread(times)
    return {"n": found.n, "median_s": found.median, "low_s": found.low, "high_s": found.high}


def speed_up(plain: Sequence[float], ours: Sequence[float]) -> Row:
    """Give the columns of a comparison in pairs."""
    found = spread(ratios(plain, ours))
    return {"speed_up": found.median, "speed_up_low": found.low, "speed_up_high": found.high}


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def where(device: torch.device) -> str:
    """Name the device, for people and for the file: the model, and of a processor the number of cores in use."""
    name = measure.device_name(device)
    return name if device.type == "cuda" else f"{name}, {cores()} cores"
