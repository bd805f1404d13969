"""Reading values, YAML and words `key=value`: safely, and the same everywhere; rows printed as a table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .errors import ReproError


class _Loader(yaml.SafeLoader):
    """The safe loader, with floats as YAML 1.2 has them (5e-4 is a number) and no key given twice."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    own = [k.value for k, _ in node.value if isinstance(k, yaml.ScalarNode)]
    for key in own:
        if own.count(key) > 1:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is given twice", node.start_mark
            )
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load(text: str) -> Any:
    """Read a YAML document; what is wrong with it is raised as yaml.YAMLError."""
    return yaml.load(text, _Loader)


def value(text: str) -> Any:
    """Read one value as it would stand in a parameter file, e.g. `5e-4`, `[0, 1]`, `snip`; `@file.json` its numbers."""
    return numbers(Path(text[1:])) if text.startswith("@") else load(text)


def numbers(path: Path) -> list[float]:
    """Read a JSON file of numbers: a list, or names and numbers, of which "total" is left out.

    Raises:
        ReproError: the file cannot be read, or holds something else.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        held = [v for k, v in held.items() if k != "total"] if isinstance(held, dict) else held
        if isinstance(held, list) and all(type(v) in (int, float) for v in held):
            return held
        wrong = "neither a list of numbers nor names with numbers"
    except (OSError, ValueError) as error:
        wrong = str(error)
    raise ReproError(f"@{path}: cannot be read as numbers: {wrong}")


def assignments(words: Iterable[str]) -> dict[str, Any]:
    """Read words `key=value` of a command line; raise ReproError at a word without `=`."""
    found = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign:
            raise ReproError(f"{word}: no such file, and not a setting; write key=value, e.g. optim.epochs=2")
        found[key] = value(text)
    return found


def nest(given: Mapping[str, Any]) -> dict[str, Any]:
    """Bring dotted keys into nested form."""
    out: dict[str, Any] = {}
    for key, v in given.items():
        head, _, tail = str(key).partition(".")
        if tail:
            out[head] = out.get(head, {}) | nest({tail: v})
        else:
            out[head] = out.get(head, {}) | nest(v) if isinstance(v, Mapping) else v
    return out


def show_table(rows: Sequence[Mapping[Any, Any]]) -> None:
    """Print rows as aligned columns."""
    if rows:
        cells = [list(rows[0]), *([str(v) for v in row.values()] for row in rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        for line in cells:
            print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())
