"""What the papers claim (book/claims.yaml) and measured (book/reference), and the form of a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd
import pydantic
import yaml

from .. import paths
from ..errors import ReproError, nearest, pick

Selection = dict[Literal["method", "check"], list[str]]
ACCURACY = "test_accuracy_percent"


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Comparison(_Part):
    """Runs that are compared, and what they are compared with."""

    run: Selection
    against: Selection = {}


class Protocol(_Part):
    """What counts as the published scale; an empty `model` or `epochs` leaves that open."""

    data: list[str]
    model: dict[str, float] = {}
    epochs: int | None = None

    def covers(self, frame: pd.DataFrame) -> pd.Series:
        """Mark the rows of a table of runs that are of the published scale."""
        inside = frame["data"].isin(self.data)
        if self.model:
            inside &= frame["model"].map(self.model).eq(frame["width"].astype(float))
        if self.epochs and "epochs" in frame:
            inside &= frame["epochs"].astype(float) >= self.epochs
        return inside


class Claim(_Part):
    """One claim; book/claims.yaml explains the fields."""

    id: str
    title: str
    says: str
    work: str
    section: str
    kind: Literal["equivalent", "not_worse", "better", "published"]
    margin: float = pydantic.Field(ge=0)
    densities: list[float] = []
    compare: list[Comparison] = pydantic.Field(min_length=1)
    quorum: float = pydantic.Field(default=1.0, gt=0, le=1)
    published: str | None = None
    metric: Literal["accuracy", "train_loss"] = "accuracy"
    protocol: Protocol
    note: str = ""

    @property
    def unit(self) -> str:
        """The unit of differences and margins."""
        return "pp" if self.metric == "accuracy" else "× 0.01 nat of training loss"

    @property
    def criterion(self) -> str:
        """The criterion in words, with the published margin."""
        return criterion(self, self.margin)


@dataclass(frozen=True)
class Verdict:
    """What our runs say about a claim.

    Attributes:
        word: "supported", "contradicted", "inconclusive" or "pending" (no run yet).
        reason: one sentence.
        margin: the one used, percentage points; `declared` says that the profile set it, not the paper.
        scale: "published protocol", "published data set", "reduced scale: ..." or "quick scale: ...".
        at_scale: whether the runs judged are of the published scale.
        p, p_against: of the whole claim, adjusted for the number of cells; see `stats`.
        cells: one row per comparison: cells.KEYS, control, n, lost, mean, low, high, low90, high90
            (percentage points), p, p_against, p_holm, verdict.
        profile: the parameter file that the runs belong to, if told.
    """

    claim: Claim
    word: Literal["supported", "contradicted", "inconclusive", "pending"]
    reason: str
    margin: float
    declared: bool
    scale: str
    at_scale: bool
    p: float = np.nan
    p_against: float = np.nan
    cells: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False, repr=False)
    profile: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The verdict without its cells, fit for JSON: a page glues it, the introduction reads it back."""
        plain = {
            k: getattr(self, k)
            for k in ("word", "reason", "margin", "declared", "scale", "at_scale", "profile")
        }
        return plain | {"claim": self.claim.id} | {k: _json(getattr(self, k)) for k in ("p", "p_against")}

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> Verdict:
        """Make a verdict again from `as_dict`; raise ReproError when claim or parts are unknown."""
        parts: dict[str, Any] = dict(plain) | {k: np.nan for k in ("p", "p_against") if plain.get(k) is None}
        parts["claim"] = pick(claims(), str(plain.get("claim")), "claim")
        try:
            return Verdict(**parts)
        except TypeError as error:
            raise ReproError(
                f"stored verdict on {plain.get('claim')}: {error}; make its page again"
            ) from None


def _json(number: float) -> float | None:
    return None if np.isnan(number) else float(number)


def criterion(claim: Claim, margin: float) -> str:
    """Put the test of a claim into words, for a margin in percentage points."""
    every = "in every cell" if claim.quorum == 1 else f"in {claim.quorum:.0%} of the cells of each network"
    one, two = "one-sided t test", "two one-sided t tests"
    paired = f"{two if claim.kind == 'equivalent' else one} on differences paired by seed, p < 0.05"
    return {
        "equivalent": f"|difference| < {margin:g} {claim.unit} {every} ({paired})",
        "not_worse": f"difference > \u2212{margin:g} {claim.unit} {every} ({paired})",
        "better": f"difference > {margin:g} {claim.unit} {every} ({paired})",
        "published": f"mean |ours \u2212 published| < {margin:g} pp over all published cells ({one}, p < 0.05)",
    }[claim.kind]


def parse(text: str, source: str = "claims.yaml") -> dict[str, Claim]:
    """Read claims from YAML; raise ReproError with one line that names claim and field when one is wrong."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ReproError(f"{source}: no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict) or not all(isinstance(entry, dict) for entry in raw.values()):
        raise ReproError(f"{source}: expected a mapping from claim names to their fields")
    found = {}
    for name, entry in raw.items():
        try:
            found[name] = Claim.model_validate({"id": name} | entry)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            hint = f"; {nearest(place, Claim.model_fields)}" if first["type"] == "extra_forbidden" else ""
            raise ReproError(f"{source}: claim {name!r}, {place}: {first['msg'].lower()}{hint}") from None
    return found


@cache
def claims() -> dict[str, Claim]:
    """Read book/claims.yaml: claims by name, in the order of the book."""
    path = paths.root() / "book" / "claims.yaml"
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ReproError(f"{path}: {error.strerror}; it belongs to the book, restore it") from None
