"""A study: what the key `tune` of a parameter file asks for, checked before anything is trained."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from .. import grids, paths
from ..errors import ReproError
from ..rng import stream
from ..settings import Settings, digest, flat
from .asked import TRIALS, Asked, read_asked
from .space import Entry, Point, read_space

Source = str | Path | Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """A search: the runs of a trial, the settings that trials differ in, and how these are chosen.

    Attributes:
        name: first words of its files.
        source: where it is asked for, for error messages.
        asked: the key `tune`.
        space: what is searched.
        grids: grids of the runs, before overrides.
        overrides: settings laid upon every grid.
    """

    name: str
    source: str
    asked: Asked
    space: Mapping[str, Entry]
    grids: Any
    overrides: Mapping[str, Any]

    @classmethod
    def read(
        cls,
        source: Source,
        overrides: Mapping[str, Any] | None = None,
        *,
        trials: int | None = None,
        sampler: str | None = None,
    ) -> Study:
        """Read and check a study.

        Args:
            source: a parameter file with a key `tune`, or its content.
            overrides: dotted settings laid upon all its runs.
            trials: as many instead of those of the file.
            sampler: "tpe" or "grid", instead of that of the file.

        Raises:
            ReproError: on an unknown key, a bad space, runs that differ in more than the seed, settings that
                are not valid at an end of the space, or no validation images; one line.
        """
        content = source if isinstance(source, Mapping) else grids.read(source)
        name, where = ("study", "tune") if isinstance(source, Mapping) else (_name(Path(source)), str(source))
        over = {"trials": trials, "sampler": sampler}
        try:
            asked = read_asked(content.get("tune"), {k: v for k, v in over.items() if v is not None})
            space = read_space(asked.space)
        except ReproError as error:
            raise ReproError(f"{where}: {error}") from None
        made = cls(name, where, asked, space, content.get("runs"), dict(overrides or {}))
        made._check()
        return made

    @cached_property
    def base(self) -> list[Settings]:
        """The reference: the runs without sampled settings, one for each seed."""
        return self._runs({}, self.source)

    def runs(self, point: Point) -> list[Settings]:
        """Lay sampled settings upon the runs, one for each seed.

        Raises:
            ReproError: when the settings do not fit together; one line.
        """
        return self._runs(point, f"{self.source}: tune.space: {spell(point)}")

    def _runs(self, point: Point, where: str) -> list[Settings]:
        found = grids.expand(self.grids, {**self.overrides, **point}, where)
        plain = [{k: json.dumps(v) for k, v in flat(s.changed()).items() if k != "seed"} for s in found]
        other = sorted({k for one in plain for k, _ in one.items() ^ plain[0].items()})
        if other:
            raise ReproError(
                f"{where}: the runs of a trial differ in the seed only, these in {', '.join(other)}; "
                "give each one value"
            )
        return found

    @cached_property
    def usual(self) -> Point:
        """The searched settings as the reference has them; None for one that it does not use."""
        return {name: _value(self.base[0], name) for name in self.space}

    @cached_property
    def reference(self) -> Point | None:
        """The reference as a trial; None where it does not lie in the space."""
        if not all(entry.holds(self.usual[name]) for name, entry in self.space.items()):
            return None
        return {name: entry.value(entry.code(self.usual[name])) for name, entry in self.space.items()}

    @cached_property
    def points(self) -> list[Point]:
        """All combinations of a grid, the reference first, the others in an order drawn by the seed."""
        entries = [entry.grid() or [] for entry in self.space.values()]
        found = [dict(zip(self.space, values, strict=True)) for values in itertools.product(*entries)]
        order = torch.randperm(len(found), generator=stream(self.asked.seed, "grid")).tolist()
        return sorted((found[i] for i in order), key=lambda point: point != self.reference)

    @property
    def trials(self) -> int:
        """How many trials the study has when it is finished."""
        if self.asked.sampler == "grid":
            return min(self.asked.trials or len(self.points), len(self.points))
        return self.asked.trials or TRIALS

    @cached_property
    def digest(self) -> str:
        """Name the study by what its trials depend on, so that another space, or order, begins another study."""
        space = [[name, entry.plain()] for name, entry in self.space.items()]
        how = [self.asked.sampler, self.asked.seed]
        return digest([space, how, [s.changed() for s in self.base]])

    def file(self, ending: str) -> Path:
        """Name a file of the study, e.g. ".json"; a study that was begun under another name keeps it."""
        folder = paths.build() / "studies"
        begun = sorted(path.stem for path in folder.glob(f"*-{self.digest}.journal"))
        return folder / f"{begun[0] if begun else f'{self.name}-{self.digest}'}{ending}"

    def _check(self) -> None:
        if not self.base[0].data.validation:
            raise ReproError(
                f"{self.source}: data.validation is 0, and validation accuracy chooses; set it, e.g. to 0.1"
            )
        if self.asked.sampler == "grid":
            self._check_grid()
            corners: Sequence[Point] = self.points[: self.trials]
        else:
            first = {name: entry.ends()[0] for name, entry in self.space.items()}
            corners = [first | {name: end} for name, entry in self.space.items() for end in entry.ends()]
        for point in corners:
            self.runs(point)

    def _check_grid(self) -> None:
        sizes = {name: len(entry.grid() or []) for name, entry in self.space.items()}
        for name, size in sizes.items():
            if not size:
                raise ReproError(
                    f"{self.source}: tune.space: {name}: sampler grid needs a list of choices, or a step; "
                    "give one, or take sampler tpe"
                )
        if math.prod(sizes.values()) > grids.LIMIT:
            raise ReproError(f"{self.source}: tune.space: more than {grids.LIMIT} combinations; take fewer")


def spell(point: Point) -> str:
    """Write sampled settings as the words of a command line, numbers in short."""
    return " ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in point.items())


def _name(file: Path) -> str:
    """Name a study by its file, and below `params` by the section too."""
    here, params = file.resolve(), (paths.root() / "params").resolve()
    inside = here.relative_to(params).parts[:-1] if here.is_relative_to(params) else ()
    return "-".join([*inside, here.stem])


def _value(s: Settings, name: str) -> Any:
    """Look up a setting by its dotted name, as a parameter file has it; None where the run has no such setting."""
    section, _, key = name.partition(".")
    found = getattr(s, section, None)
    found = getattr(found, key, None) if key else found
    return list(found) if isinstance(found, tuple) else found
