"""From settings to masks: batches that are not balanced, scores upside down."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from repro.data import Split, load
from repro.errors import ReproError
from repro.experiment import make_ticket
from repro.masks import Masks
from repro.rng import stream
from repro.scoring import samplers
from repro.settings import parse

CPU = torch.device("cpu")


def masks(check: str = "none", density: float = 0.2, **ticket) -> Masks:
    values: dict[str, Any] = {"model": {"name": "resnet8", "width": 0.5}, "check": {"name": check}}
    s = parse(values | {"ticket": {"score": "snip", "density": density} | ticket, "data": {"subset": 300}})
    return make_ticket(s).masks


def test_snip_takes_a_batch_as_training_does():
    found = [masks(), masks(batch_size=100), masks(batch_size=64), masks(batch_size=64, batches=2)]
    assert all(a != b for i, a in enumerate(found) for b in found[:i])
    assert {m.kept for m in found} == {found[0].kept} and masks(batch_size=64) == found[2]
    assert masks(batch_size=64, check="random_labels") != found[2]
    with pytest.raises(ReproError, match="300 training examples, 512 were asked for: lower batch_size"):
        masks(batch_size=512)
    with pytest.raises(ReproError, match=r"ticket.batch_size: .* greater than or equal to 2"):
        masks(batch_size=1)
    with pytest.raises(ReproError, match=r"not used with ticket.batch_size"):
        masks(batch_size=64, samples_per_class=3)
    with pytest.raises(ReproError, match=r"ticket.batch_size: not used by score 'grasp', only by snip"):
        masks(score="grasp", batch_size=64)


def test_random_batches_are_augmented_images_with_their_labels():
    data, s = load("digits", subset=300), parse({"data": {"subset": 300, "augment": "crop"}})
    numbered = Split(data.train.images, torch.arange(300))
    _, batch = samplers(numbered, data, s, CPU)
    _, plain = samplers(numbered, data, parse({"data": {"subset": 300}}), CPU)
    (moved, labels), (still, same) = batch(50, 0), plain(50, 0)
    assert torch.equal(labels, same) and len(labels.unique()) == 50
    (mean,), (std,) = data.constants()
    wanted = (data.train.images[labels].float() / 255 - mean) / std
    assert torch.allclose(still, wanted, atol=1e-5) and not torch.equal(moved, still)
    assert torch.equal(batch(50, 0)[0], moved) and not torch.equal(batch(50, 1)[1], labels)
    assert torch.equal(labels, torch.randperm(300, generator=stream(0, "batch", 0))[:50])


@pytest.mark.parametrize(
    "ticket",
    [{"score": "snip"}, {"score": "magnitude", "of": "init"}, {"score": "synflow", "iterations": 9}],
    ids=lambda ticket: ticket["score"],
)
def test_an_inverted_ticket_keeps_other_weights(ticket):
    plain, inverted = masks(**ticket), masks("invert", **ticket)
    assert inverted.kept == plain.kept and inverted.overlap(plain) < plain.expected_overlap(plain) / 2
