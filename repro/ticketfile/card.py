"""The card of a ticket file: what the ticket is, where it comes from, how it is stored, and a checksum of all."""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import ReproError
from ..parts import Moment
from ..section import one_line
from ..vet import short, strict_json

FORMAT = 1
LIMIT = 4 * 2**20  # characters; the card of the largest network of the menu takes less than one hundredth
Mode = Literal["seed", "kept", "full", "none"]
Stage = Literal["initial", "taken", "rewound", "trained", "imported"]
Coding = Literal["bits", "gaps", "bits+zlib", "gaps+zlib"]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Sum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Part(BaseModel):
    """What may come from a stranger: types are taken at their word, and nothing unknown is let in."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Network(Part):
    """A network of the menu: its name and options, the number of classes, and the channels of the images."""

    name: str
    options: dict[str, bool | int | float | str]
    classes: Annotated[int, Field(ge=1)]
    channels: Annotated[int, Field(ge=1)]


class Source(Part):
    """The file that a ticket was imported from: its name, layout and checksum, and what was told meanwhile."""

    file: str
    layout: str
    sha256: Sum
    notes: list[str] = []


class Provenance(Part):
    """Where a ticket comes from: run and command, or a file; and what wrote it down."""

    when: str
    commit: str | None = None
    python: str | None = None
    versions: dict[str, str | None] = {}
    key: str | None = None
    command: str | None = None
    source: Source | None = None


class Facts(Part):
    """What a ticket file says beside masks and weights.

    Args:
        method: what the weights were chosen by, as tables call it.
        network: the network that the masks fit.
        provenance: where the ticket comes from.
        data: the settings of its data, if known.
        requested: the density that was asked for.
        seed: the seed of the run, from which the initial weights are drawn.
        stage: what the weights are; None where there are none.
        rewind: the epoch that they are rewound to.
        accuracy: test accuracy in percent that the run's record has, for trained weights.
        settings: all settings of the run.
    """

    method: str
    network: Network
    provenance: Provenance
    data: dict[str, Any] | None = None
    requested: Fraction | None = None
    seed: Count | None = None
    stage: Stage | None = "initial"
    rewind: Moment | None = None
    accuracy: Annotated[float, Field(ge=0, le=100)] | None = None
    settings: dict[str, Any] | None = None


class Density(Part):
    """The fraction of weights that was to be kept, and the one that is."""

    requested: Fraction | None
    realised: Fraction


class LayerRow(Part):
    """One prunable weight, and how its mask is written down."""

    name: str
    shape: Annotated[list[Count], Field(min_length=1, max_length=8)]
    kept: Count
    total: Annotated[int, Field(ge=1)]
    coding: Coding

    @model_validator(mode="after")
    def _adds_up(self) -> LayerRow:
        if self.total != math.prod(self.shape) or self.kept > self.total:
            raise ReproError(f"layer {short(self.name)}: its counts do not fit its shape")
        return self


class Weights(Part):
    """How weights are kept, what they are, and the checksum of the state that loading gives."""

    mode: Mode
    stage: Stage | None
    sha256: Sum | None


class Card(Part):
    """All that a ticket file says beside masks and weights; see `Facts` for what is not explained here."""

    format_version: Literal[1]
    method: str
    network: Network
    data: dict[str, Any] | None
    density: Density
    layers: Annotated[list[LayerRow], Field(min_length=1)]
    seed: Count | None
    init: str | None
    weights: Weights
    rewind: Moment | None
    accuracy: Annotated[float, Field(ge=0, le=100)] | None
    settings: dict[str, Any] | None
    origin: dict[str, Any]
    provenance: Provenance
    sha256: Sum

    @property
    def kept(self) -> int:
        """Number of weights kept."""
        return sum(layer.kept for layer in self.layers)

    @property
    def total(self) -> int:
        """Number of prunable weights."""
        return sum(layer.total for layer in self.layers)

    @model_validator(mode="after")
    def _fits_together(self) -> Card:
        if len({layer.name for layer in self.layers}) < len(self.layers):
            raise ReproError("layers: a name is given twice")
        if (self.weights.mode == "none") != (self.weights.sha256 is None):
            raise ReproError("weights: a checksum is missing, or of no weights")
        if self.density.realised != self.kept / self.total:
            raise ReproError("density: the realised one is not that of the layers")
        if self.weights.mode == "seed" and self.seed is None:
            raise ReproError("seed: missing, and the weights are to be rebuilt from it")
        return self


def canonical(raw: dict[str, Any]) -> bytes:
    """Spell a card the one way that its checksum is taken of: without that checksum, keys in order."""
    plain = {k: v for k, v in raw.items() if k != "sha256"}
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def plain(text: str) -> dict[str, Any]:
    """Read the JSON of a card; raise ReproError with the reason if it is none, or no text to show to people."""
    if len(text) > LIMIT:
        raise ReproError(f"its card is longer than {LIMIT} characters")
    try:
        found = strict_json(text, 19)
        shown = json.dumps(found, ensure_ascii=False)
        shown.encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise ReproError(f"its card is no valid JSON ({short(error)})") from None
    if not isinstance(found, dict) or "format_version" not in found:
        raise ReproError("it has no card of a ticket")
    if found["format_version"] != FORMAT:
        raise ReproError(
            f"its format is {short(repr(found['format_version']))}, and this version of repro reads {FORMAT}; update it"
        )
    if re.search(r"[<>\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\\u00|\\[bfnrt]", shown):
        raise ReproError("markup or control characters in a text of its card")
    return found


def read(raw: dict[str, Any]) -> Card:
    """Check the content of a card; raise ReproError with the reason."""
    try:
        return Card.model_validate(raw)
    except ValidationError as error:
        raise ReproError(f"its card: {short(one_line(error))}") from None
    except ReproError as error:
        raise ReproError(f"its card: {short(error)}") from None


def printable(error: object) -> str:
    """Spell a text that may hold a stranger's words so that a terminal only shows it."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(error))
