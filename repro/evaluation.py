"""Measure a finished run once more, from the weights that it keeps."""

from __future__ import annotations

import torch

from . import checkpoint, record
from .errors import ReproError
from .experiment import weights_file
from .materials import data_of, device, network, training_data
from .settings import parse
from .train import evaluate as measure


def evaluate(key: str) -> dict[str, float]:
    """Load the trained weights of a run and measure it on all test images, in the run's number format.

    Source: the option --evaluate of Su et al.'s code.

    Args:
        key: the whole key of a run that has a record.

    Returns:
        mean loss, top-1 and top-5 accuracy in percent, and the accuracy that the record has.

    Raises:
        ReproError: when there is no record, the weights were not kept, or they are damaged.
    """
    found = record.find(key)
    if found is None:
        raise ReproError(f"{key}: no finished run has this key; `repro status` lists what there is")
    made = record.read(found)
    path = weights_file(record.folder(key))
    if not path.exists():
        how = f"`{made['command']} --keep-weights` trains it again and keeps them"
        raise ReproError(f"{key}: its weights are not on this machine; {how}")
    s, where = parse(made["settings"]), device()
    data = training_data(s, where)
    model = network(s, data_of(s))
    model.load_state_dict(checkpoint.load_tensors(path)[0])
    model.to(device=where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    precision = made["environment"].get("precision") or "float32"
    measured = measure(model, data.test, data, s, precision)
    return {
        "loss": measured["loss"],
        "accuracy": measured["accuracy"],
        "top5": measured["top5"],
        "recorded": made["accuracy"]["final"],
    }
