"""The trials of a study as Optuna keeps them: in a file that only grows, read again by the next call.

Optuna is an optional library; nothing else imports it, and reading results needs none of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..errors import ReproError
from ..rng import stream
from .space import Choices, Entry, Point
from .study import Study

Fate = Literal["complete", "pruned", "failed"]


class Told(NamedTuple):
    """What became of a trial.

    Attributes:
        point: its sampled settings.
        fate: "complete"; "pruned" where a run diverged, which the sampler learns from; "failed" where a run
            could not be made, which counts in this call alone.
        value: mean validation accuracy over seeds; None unless complete.
        reason: why it is not.
    """

    point: Point
    fate: Fate
    value: float | None
    reason: str | None


class Outside:
    """Stands for a lock that is held already, around the whole command; a killed process leaves none behind."""

    def acquire(self) -> bool:
        """Do nothing."""
        return True

    def release(self) -> None:
        """Do nothing."""


def require() -> Any:
    """Import Optuna, its log silenced; raise ReproError with one line if it is not installed."""
    try:
        import optuna
    except ImportError:
        raise ReproError(
            "tune: the library optuna is not installed; `pip install 'repro-jackpot[tune]'` gets it"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Journal:
    """The trials of a study; whoever opens it holds the study's lock.

    What was under way when an earlier call ended is given up: the same draw asks for it anew, and its finished runs
    are found in the records. What failed then is given up too, and does not count any more.

    Args:
        study: whose trials.

    Raises:
        ReproError: when Optuna is not installed, or the file damaged.
    """

    def __init__(self, study: Study) -> None:
        self.optuna, self.study = require(), study
        self.states = self.optuna.trial.TrialState
        self.spaces = {name: _distribution(self.optuna, entry) for name, entry in study.space.items()}
        path = study.file(".journal")
        _cut(path)
        try:
            self.kept = self._open(path)
            self._give_up()
            self.began = len(self.kept.trials)
            self.finished()
        except Exception as error:  # a damaged file can make Optuna raise anything
            raise ReproError(
                f"{path}: damaged ({error!r}); remove it: the runs are kept, and found again"
            ) from None

    def _open(self, path: Path) -> Any:
        storages = self.optuna.storages
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self.optuna.exceptions.ExperimentalWarning)
            storage = storages.JournalStorage(
                storages.journal.JournalFileBackend(str(path), lock_obj=Outside())  # pyright: ignore
            )
            return self.optuna.create_study(
                storage=storage, study_name=self.study.digest, direction="maximize", load_if_exists=True
            )

    def _give_up(self) -> None:
        for trial in self.kept.get_trials(states=(self.states.RUNNING,)):
            self.kept.tell(trial.number, state=self.states.FAIL)
        for _ in self.kept.get_trials(states=(self.states.WAITING,)):  # `ask` takes these first
            self.kept.tell(self.kept.ask(), state=self.states.FAIL)

    def finished(self) -> list[Told]:
        """List the trials that count, in the order they were asked: all but those given up or left under way."""
        past: dict[Any, Fate] = {self.states.COMPLETE: "complete", self.states.PRUNED: "pruned"}
        now: dict[Any, Fate] = {**past, self.states.FAIL: "failed"}
        found = []
        for trial in self.kept.get_trials(deepcopy=False):
            fate = (now if trial.number >= self.began else past).get(trial.state)
            if fate:
                value = trial.value if fate == "complete" else None
                found.append(Told(self._point(trial), fate, value, trial.user_attrs.get("reason")))
        return found

    def _point(self, trial: Any) -> Point:
        return {name: entry.value(trial.params[name]) for name, entry in self.study.space.items()}

    def ask(self, count: int, first: Sequence[Point], done: int) -> list[tuple[Any, Point]]:
        """Begin trials and say what settings they have; each knows the settings of those before it.

        The sampler begins anew, from the study's seed and `done`: so what is asked depends on the finished trials
        alone, and not on how often the search was stopped on the way.

        Args:
            count: how many.
            first: settings of the first of them; the others are for the sampler to choose.
            done: number of finished trials.
        """
        seed = stream(self.study.asked.seed, "sampler", done).initial_seed() % 2**32
        samplers = self.optuna.samplers
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self.optuna.exceptions.ExperimentalWarning)
            if self.study.asked.sampler == "tpe":
                self.kept.sampler = samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
            else:
                self.kept.sampler = samplers.RandomSampler(seed=seed)
            for point in first[:count]:
                self.kept.enqueue_trial({name: self.study.space[name].code(v) for name, v in point.items()})
            trials = [self.kept.ask(self.spaces) for _ in range(count)]
        return [(trial, self._point(trial)) for trial in trials]

    def tell(self, made: Iterable[tuple[Any, Told]]) -> None:
        """Write down what became of trials that `ask` began."""
        for trial, told in made:
            if told.fate == "complete":
                self.kept.tell(trial, told.value)
            else:
                trial.set_user_attr("reason", told.reason)
                state = self.states.PRUNED if told.fate == "pruned" else self.states.FAIL
                self.kept.tell(trial, state=state)


def _distribution(optuna: Any, entry: Entry) -> Any:
    kinds = optuna.distributions
    if isinstance(entry, Choices):
        return kinds.CategoricalDistribution([entry.code(v) for v in entry.values])
    if entry.whole:
        return kinds.IntDistribution(entry.low, entry.high, log=entry.log, step=entry.step or 1)
    return kinds.FloatDistribution(entry.low, entry.high, log=entry.log, step=entry.step)


def _cut(path: Path) -> None:
    """Drop a last line that a killed process, or a full disk, left without its end."""
    whole = path.read_bytes() if path.exists() else b""
    if whole and not whole.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(whole.rfind(b"\n") + 1)
