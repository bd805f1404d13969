"""Cases that set our loop beside the plain one: a step, the input pipeline, an epoch, an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from ..batches import batches, first_batch, shapes
from ..captured import make_step
from ..data import Data
from ..settings import Settings
from ..step import Step
from ..train import evaluate
from .ceilings import training_gb, training_gflop
from .material import Bench, Network, Rival, compare, formats, fresh, random_masks, settings, title
from .reference import PlainLoop, loader
from .store import Row


def step(bench: Bench) -> list[Row]:
    """Time one masked training step on a batch that lies on the device: plain, ours in float32, ours as settled."""
    rows = []
    for network in bench.size.networks:
        for batch in bench.size.batches:
            bench.tell(f"{network[0]}, batch {batch}")
            rows += _steps(bench, network, batch)
    return rows


def _steps(bench: Bench, network: Network, batch: int) -> list[Row]:
    s = settings(network, batch)
    data = bench.part(batch)
    x, y = first_batch(s, data, bench.device)
    loop, flat = plain_loop(s, data, bench), x.contiguous()
    rivals = {"plain": Rival(lambda: loop.step(flat, y))}
    loop.model.train()
    for name in formats(s, data, bench.device):
        rivals[f"ours, {name}"] = Rival(_repeated(our_step(s, data, bench, name), x, y, s.optim.lr), name)
    about = {**title(network), "batch": batch}
    rows = compare(bench, rivals, bench.rounds(7), about, warm_up=2, per_turn=bench.size.per_turn)
    for row in rows:
        row["images_per_s"] = batch / row["median_s"]
        row["gflop_per_s"] = training_gflop(s, data, batch) / row["median_s"]
        row["gb_per_s"] = training_gb(loop.model, data.shape, batch, row["format"]) / row["median_s"]
    return rows


def _repeated(update: Step, x: torch.Tensor, y: torch.Tensor, lr: float) -> Callable[[], None]:
    return lambda: update(x, y, lr)


def plain_loop(s: Settings, data: Data, bench: Bench) -> PlainLoop:
    """Make the plain loop on fresh weights with random masks."""
    model = fresh(s, data, bench.device, ours=False)
    return PlainLoop(model, s, random_masks(model))


def our_step(s: Settings, data: Data, bench: Bench, precision: str, masked: bool = True) -> Step:
    """Make our step on the same weights with the same masks, in training mode."""
    model = fresh(s, data, bench.device, ours=True)
    masks = random_masks(model) if masked else None
    wanted = shapes(len(data.train.labels), s.optim.batch, data.shape)
    made = make_step(model, s, masks, precision=precision, shapes=wanted)
    made.model.train()
    return made


def pipeline(bench: Bench) -> list[Row]:
    """Time one pass through shuffled, augmented, normalised batches of 128, without any training.

    The data loader is tried without and with processes of its own, whose start counts, as it does in every epoch of
    those codes; each is a pair of its own with our batches.
    """
    s, data = settings(bench.size.networks[0]), bench.part(bench.size.pipeline)
    n, rows = len(data.train.labels), []
    for workers in bench.size.loaders:
        bench.tell(f"data loader with {workers} processes")
        plain = loader(data.train, data, s, train=True, workers=workers)
        rivals = {
            "plain": Rival(lambda plain=plain: _drain(iter(plain), bench.device)),
            "ours": Rival(lambda: _drain(batches(data.train, data, s, 0), bench.device)),
        }
        about = {"what": "input pipeline", "loader_processes": workers, "images": n}
        rows += compare(bench, rivals, bench.rounds(3), about, warm_up=0)
    pixels = data.train.images[0].numel()
    for row in rows:  # read a byte, write a float for each pixel: the least there is to move
        row["images_per_s"] = n / row["median_s"]
        row["gb_per_s"] = 1e-9 * 5 * pixels * row["images_per_s"]
    return rows


def _drain(found: Iterator[tuple[torch.Tensor, torch.Tensor]], device: torch.device) -> None:
    for x, y in found:
        for part in (x, y):
            part.to(device, non_blocking=True)


def epoch(bench: Bench) -> list[Row]:
    """Time a short epoch as a run has it: input pipeline, masked steps, then an evaluation on test images."""
    rows = []
    for network in bench.size.networks:
        bench.tell(f"{network[0]}, {bench.size.epoch} images")
        s = settings(network)
        data = bench.part(bench.size.epoch, bench.size.test)
        plain, workers = plain_epoch(s, data, bench), _workers(bench)
        settled = formats(s, data, bench.device)[-1]
        update = our_step(s, data, bench, settled)
        rivals = {
            "plain": Rival(lambda plain=plain: plain()),
            "ours": Rival(lambda s=s, u=update, d=data, p=settled: _our_epoch(u, d, s, p), settled),
        }
        n = len(data.train.labels)
        about = {**title(network), "batch": s.optim.batch, "images": n, "test_images": len(data.test.labels)}
        about["loader_processes"] = workers
        for row in compare(bench, rivals, bench.rounds(2), about, warm_up=bench.device.type == "cuda"):
            rows.append(row | {"images_per_s": n / row["median_s"]})
    return rows


def plain_epoch(s: Settings, data: Data, bench: Bench, *, test: bool = True) -> Callable[[], None]:
    """Make the function that trains and evaluates for one epoch the plain way."""
    loop = plain_loop(s, data, bench)
    training = loader(data.train, data, s, train=True, workers=_workers(bench))
    testing = loader(data.test, data, s, train=False, workers=_workers(bench))

    def one() -> None:
        loop.epoch(training)
        if test:
            loop.evaluate(testing)

    return one


def _workers(bench: Bench) -> int:
    """Count the loader's processes: none on a CPU, where they take cores from the training."""
    return bench.size.loaders[-1] if bench.device.type == "cuda" else 0


def _our_epoch(update: Step, data: Data, s: Settings, precision: str) -> None:
    update.model.train()
    for x, y in batches(data.train, data, s, 0):
        update(x, y, s.optim.lr)
    evaluate(update.model, data.test, data, s, precision)


def evaluation(bench: Bench) -> list[Row]:
    """Time the accuracy on test images: the plain loop over its data loader, ours in large batches on the device."""
    rows = []
    for network in bench.size.networks:
        bench.tell(f"evaluating {network[0]}")
        s, data = settings(network), bench.part(2, bench.size.test)
        loop = plain_loop(s, data, bench)
        testing = loader(data.test, data, s, train=False, workers=_workers(bench))
        rivals = {"plain": Rival(lambda loop=loop, t=testing: loop.evaluate(t))}
        model = fresh(s, data, bench.device, ours=True)
        for name in formats(s, data, bench.device):
            call = lambda m=model, d=data, s=s, p=name: evaluate(m, d.test, d, s, p)  # noqa: E731
            rivals[f"ours, {name}"] = Rival(call, name)
        n = len(data.test.labels)
        for row in compare(bench, rivals, bench.rounds(3), {**title(network), "test_images": n}):
            rate = n / row["median_s"]
            flop = training_gflop(s, data, 1) / 3  # one pass of three
            rows.append(row | {"images_per_s": rate, "gflop_per_s": flop * rate})
    return rows
