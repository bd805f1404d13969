"""Parameter files: read safely, expanded into the runs that they ask for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import paths
from .errors import ReproError, pick
from .recipes import RECIPES
from .settings import Settings, merge, parse, section_types, unique
from .text import load, nest, sized

LIMIT = 100_000  # runs in one file; more is surely a slip
SIZE = 2**18  # bytes of a file; the longest of ours has a twentieth, and reading that much takes seconds


def is_file_name(word: str) -> bool:
    """Tell whether a word of the command line names a parameter file: by its ending, or because it is there."""
    return word.endswith((".yaml", ".yml")) or Path(word).is_file()


def read(file: str | Path) -> dict[str, Any]:
    """Read a parameter file; raise ReproError with one line if it is missing, not YAML or not a mapping."""
    path = Path(file)
    try:
        path.stat()
        content = load(sized(path, SIZE).decode())
    except OSError as error:
        raise ReproError(
            f"{path}: {(error.strerror or 'unreadable').lower()}; give the path of a parameter file"
        ) from None
    except UnicodeDecodeError as error:
        raise ReproError(f"{path}: not valid YAML: {error}") from None
    except ReproError as error:
        raise ReproError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise ReproError(f"{path}: expected a mapping with a key `runs`, got {type(content).__name__}")
    return content


def params(name: str) -> dict[str, Any]:
    """Read the parameters of a section's profile, e.g. `params("random-tickets/quick")`."""
    return read(paths.root() / "params" / f"{name}.yaml")


def _axes(grid: Mapping[str, Any]) -> list[tuple[tuple[str, ...], list[Any]]]:
    """Find the leaves that are lists of alternatives."""
    sections, axes = section_types(), []
    for name, v in grid.items():
        leaves = {(name, k): x for k, x in v.items()} if isinstance(v, Mapping) else {(name,): v}
        for place, x in leaves.items():
            listed = len(place) > 1 and name in sections and place[1] in sections[name].sequences()
            if isinstance(x, list) and (not listed or any(isinstance(e, list) for e in x)):
                if not x:
                    raise ReproError(
                        f"{'.'.join(place)}: an empty list leaves no runs; give at least one value"
                    )
                axes.append((place, x))
    return axes


def _points(grid: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    axes = _axes(grid)
    if math.prod(len(v) for _, v in axes) > LIMIT:
        raise ReproError(f"more than {LIMIT} runs; split the grid")
    for values in itertools.product(*(v for _, v in axes)):
        point = {k: dict(v) if isinstance(v, Mapping) else v for k, v in grid.items()}
        for (place, _), v in zip(axes, values, strict=True):
            if len(place) == 2:
                point[place[0]][place[1]] = v
            else:
                point[place[0]] = v
        yield point


def expand(
    runs: Any, overrides: Mapping[str, Any] | None = None, source: str | Path = "runs"
) -> list[Settings]:
    """Spell out grids of settings into single runs, without repetitions.

    Args:
        runs: a list of grids: nested settings in which a list is an axis; `recipe` names a preset to start from.
        overrides: dotted settings laid upon every grid, e.g. `{"optim.epochs": 2}`.
        source: where the grids come from, for error messages.

    Raises:
        ReproError: on an unknown or unused key, a bad value, or when no run is left; one line.
    """
    if not isinstance(runs, list) or not runs:
        raise ReproError(f"{source}: `runs` must be a list with at least one grid of settings")
    found: list[Settings] = []
    try:
        for grid in runs:
            if not isinstance(grid, Mapping):
                raise ReproError(f"a grid must be a mapping of settings, got {grid!r}")
            merged = merge(nest(grid), nest(overrides or {}))
            recipe = merged.pop("recipe", None)
            preset = pick(RECIPES, str(recipe), "recipe") if recipe else {}
            for point in _points(merged):
                found.append(parse(merge(preset, point)))
                if len(found) > LIMIT:
                    raise ReproError(f"more than {LIMIT} runs; split the grid")
    except ReproError as error:
        raise ReproError(f"{source}: {error}") from None
    return unique(found)


def plan(file: str | Path, overrides: Mapping[str, Any] | None = None) -> list[Settings]:
    """List the runs that a parameter file asks for; a file without `runs` is one grid by itself."""
    content = read(file)
    return expand(content.get("runs", [content]), overrides, file)
