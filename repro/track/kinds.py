"""Where curves can be written: TensorBoard and Weights & Biases, each imported only when a run opens it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import yaml

from ..errors import ReproError
from ..facts import method_of
from ..settings import Settings, flat


class Sink(Protocol):
    """What a tracker must be able to do for one run; an entry of `KINDS` opens it.

    Args:
        folder: the run's own folder, which exists.
        s: the run.
        after: the last epoch that is written already, 0 for none.
    """

    look: ClassVar[str]  # the command that shows what lies in {folder}

    def __init__(self, folder: Path, s: Settings, after: int) -> None: ...

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Write the values of one epoch, so that they survive a killed process."""
        ...

    def summary(self, results: Mapping[str, float]) -> None:
        """Write what came out in the end."""
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...


class TensorBoard:
    """Event files; settings as a text, and beside the final results as hyper-parameters."""

    look: ClassVar[str] = "tensorboard --logdir {folder}"

    def __init__(self, folder: Path, s: Settings, after: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.settings = s.changed()
        self.writer = SummaryWriter(str(folder), purge_step=after + 1 if after else None)
        if not after:
            text = f"{s.command()}\n\n{yaml.safe_dump(_plain(self.settings), sort_keys=False)}"
            self.writer.add_text("settings", "".join(f"    {line}\n" for line in text.splitlines()))

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, number)
        self.writer.flush()

    def summary(self, results: Mapping[str, float]) -> None:
        """Fill the run's line of the page HPARAMS, in the same folder as its curves."""
        from torch.utils.tensorboard.summary import hparams

        found = {f"final/{name}": value for name, value in results.items()}
        given = {k: v if isinstance(v, int | float) else str(v) for k, v in flat(self.settings).items()}
        for part in hparams(given, found):
            self.writer._get_file_writer().add_summary(part)
        for name, value in found.items():
            self.writer.add_scalar(name, value)

    def close(self) -> None:
        """Close the event file."""
        self.writer.close()


class Wandb:
    """A run of Weights & Biases: offline, for `wandb sync` later, unless WANDB_MODE says otherwise."""

    look: ClassVar[str] = "wandb sync {folder}/*/wandb/offline-run-*"

    def __init__(self, folder: Path, s: Settings, after: int) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        method = method_of(s)
        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "repro-jackpot"),
                dir=str(folder),
                id=s.key(),
                name=f"{method} {s.ticket.density:g} {s.model.name} {s.data.name} seed {s.seed}",
                config=_plain(s.changed()),
                mode=os.environ.get("WANDB_MODE", "offline"),  # pyright: ignore[reportArgumentType]
                resume="allow",
                reinit="create_new",  # several runs are in flight in one process
                settings=wandb.Settings(silent=True, console="off"),
            )
        except wandb.Error as error:
            line = " ".join(str(error).split())
            raise ReproError(
                f"track: wandb: {line}; without WANDB_MODE nothing leaves this machine"
            ) from None

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Log an epoch as a step."""
        self.run.log(dict(values), step=number)

    def summary(self, results: Mapping[str, float]) -> None:
        """Set the run's summary."""
        self.run.summary.update({f"final/{name}": value for name, value in results.items()})

    def close(self) -> None:
        """End the run."""
        self.run.finish()


KINDS: dict[str, type[Sink]] = {"tensorboard": TensorBoard, "wandb": Wandb}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(settings))
