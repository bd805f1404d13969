"""Reading values, YAML and words `key=value`: safely, and the same everywhere; rows printed as a table.

Anybody may have written what is read here, so that sizes are bounded, and no word of a file names another file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .errors import ReproError

NUMBERS_LIMIT = 2**20  # bytes of a file of numbers
SPELT_LIMIT = 2**22  # characters of a YAML document with its references written out
DIGITS = 19  # of a whole number
DOTS = 9  # in the name of a setting; none has more than one


def sized(path: Path, limit: int) -> bytes:
    """Read a plain file of at most `limit` bytes; raise ReproError with the reason if it is none."""
    try:
        if not path.is_file():
            raise ReproError("no plain file")
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise ReproError(f"unreadable ({error.strerror})") from None
    if len(raw) > limit:
        raise ReproError(f"larger than {limit / 2**20:g} MiB")
    return raw


class _Loader(yaml.SafeLoader):
    """The safe loader, with floats as YAML 1.2 has them (5e-4 is a number) and no key given twice.

    Differs from PyYAML's: what references would grow to is counted before anything is made of it; numbers are finite.
    """

    references = True

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse references where there must be none."""
        if not self.references and self.check_event(yaml.AliasEvent):
            _refuse("it holds references", self.peek_event())
        return super().compose_node(parent, index)

    def get_single_node(self) -> Any:
        """Refuse a document that grows too large, or contains itself."""
        node = super().get_single_node()
        if node is not None and _spelt(node, {}) > SPELT_LIMIT:
            _refuse(f"its references grow beyond {SPELT_LIMIT} characters", node)
        return node


class _PlainLoader(_Loader):
    """The loader of documents without references."""

    references = False


def _refuse(why: str, where: Any) -> None:
    raise yaml.constructor.ConstructorError(None, None, why, where.start_mark)


def _spelt(node: yaml.Node, known: dict[int, float]) -> float:
    """Count the characters of a node and all below it, each as often as it is referred to."""
    if id(node) not in known:
        known[id(node)] = math.inf  # while it is counted: met again, it contains itself
        parts = [node.value] if isinstance(node.value, str) else node.value
        below = [n for part in parts for n in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = sum(len(n) if isinstance(n, str) else 1 + _spelt(n, known) for n in below)
    return known[id(node)]


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    kind = str(node.tag).rpartition(":")[2]
    try:
        if kind == "int" and len(node.value) <= 4 * DIGITS:
            value = loader.construct_yaml_int(node)
            if abs(value) < 10**DIGITS:
                return value
        elif kind == "float" and math.isfinite(value := loader.construct_yaml_float(node)):
            return value
    except (ValueError, OverflowError):
        pass
    raise yaml.constructor.ConstructorError(
        None, None, f"a finite number of at most {DIGITS} digits is wanted", node.start_mark
    )


_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)

_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    own = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in own:
                _refuse(f"key {key.value!r} is given twice", node)
            own.add(key.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load(text: str, *, references: bool = True) -> Any:
    """Read a YAML document; raise ReproError with the reason, and the line, when it is none.

    Args:
        text: the document.
        references: whether it may hold anchors and references; what they grow to is bounded.
    """
    try:
        return yaml.load(text, _Loader if references else _PlainLoader)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1} " if mark else ""
        why = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise ReproError(f"{where}not valid YAML: {why}") from None


def value(text: str, *, files: bool = True) -> Any:
    """Read one value as it would stand in a parameter file, e.g. `5e-4`, `[0, 1]`, `snip`; `@file.json` its numbers.

    Args:
        text: the value.
        files: whether a file may be named; only on a command line, as a stranger's text could name any.

    Raises:
        ReproError: it is not valid YAML, names a file where none may be named, or the file holds no numbers.
    """
    if text.startswith("@") and not files:
        raise ReproError(f"{text}: a file can be named on the command line alone; write its numbers out")
    return numbers(Path(text[1:])) if text.startswith("@") else load(text)


def numbers(path: Path) -> list[float]:
    """Read a JSON file of numbers: a list, or names and numbers, of which "total" is left out.

    Raises:
        ReproError: the file cannot be read, or holds something else.
    """
    try:
        held = json.loads(sized(path, NUMBERS_LIMIT))
        held = [v for k, v in held.items() if k != "total"] if isinstance(held, dict) else held
        if isinstance(held, list) and all(type(v) in (int, float) for v in held):
            return held
        wrong = "neither a list of numbers nor names with numbers"
    except (ReproError, ValueError, RecursionError) as error:
        wrong = str(error)
    raise ReproError(f"@{path}: cannot be read as numbers: {wrong}")


def assignments(words: Iterable[str], *, files: bool = True) -> dict[str, Any]:
    """Read words `key=value`; raise ReproError at a word without `=`, or a value that cannot be read.

    Args:
        words: of a command line, or of a setting that tells another run.
        files: whether `@file.json` may name a file, see `value`.
    """
    found = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign:
            raise ReproError(f"{word}: no such file, and not a setting; write key=value, e.g. optim.epochs=2")
        try:
            found[key] = value(text, files=files)
        except ReproError as error:
            raise ReproError(f"{key}: {error}") from None
    return found


def nest(given: Mapping[str, Any]) -> dict[str, Any]:
    """Bring dotted keys into nested form; raise ReproError at a key that has a value and keys below it."""
    out: dict[str, Any] = {}
    for key, v in given.items():
        head, _, tail = str(key).partition(".")
        if tail.count(".") > DOTS:
            raise ReproError(f"{head}: no setting has a name of so many parts")
        below = nest({tail: v}) if tail else nest(v) if isinstance(v, Mapping) else None
        if below is not None and not isinstance(out.get(head, {}), dict):
            raise ReproError(f"{head}: given as a value and as keys below it; remove one of them")
        out[head] = v if below is None else out.get(head, {}) | below
    return out


def show_table(rows: Sequence[Mapping[Any, Any]]) -> None:
    """Print rows as aligned columns."""
    if rows:
        cells = [list(rows[0]), *([str(v) for v in row.values()] for row in rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        for line in cells:
            print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())
