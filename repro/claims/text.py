"""What the papers claim (book/claims.yaml) and measured (book/reference), and the form of a verdict."""

from __future__ import annotations

import re
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
METHODS = {
    "random_tickets_smart_ratio": "smart_ratio",
    "dense (pretraining)": "dense",
    "dense (SNIP script, ratio 0)": "dense",
    "lottery_ticket": "magnitude",
    "learning_rate_rewinding": "magnitude@trained",
    "hybrid_tickets": "magnitude+smart_ratio@trained",
    "magnitude_pruning_gradual": "gmp",
    "lottery": "mask_of(gmp)",
}
# The replication of RigL names method, distribution and length: rigl_erk_2x.
_MOVED = re.compile(r"(static|set|snfs|rigl|rigl_sm|rigl_sg|rigl_struct)_(uniform|erk)(?:_(\d)x)?")
_AGAIN = re.compile(r"rigl reinit from RigL-SM (uniform|erk)")
MODELS = {"wrn-22-2": "wrn22", "resnet50 (CIFAR stem)": "resnet50"}
# Tables of rigl-repro.csv in which all 50,000 images train: the replication's, and RigL's own as it copies them.
TABLES = {"Table 1": "all images", 'Table 1 of rigl-repro ("Original")': "original"}
# Second readings of a cell: the replication trained the dense networks of its tickets, and some with the SNIP code.
VARIANTS = {"dense (SNIP script, ratio 0)": "SNIP code"}
CHECKS = {"_corrupted_data": "pixel_shuffle", "_layerwise_rearrange": "rearrange"}


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


def published(work: str, *, variants: bool = False) -> pd.DataFrame:
    """Read the numbers a work published, with our words for method, check and density.

    Args:
        work: stem of a file in book/reference; `/variant` after it gives those second readings instead.
        variants: also give the cells' second readings, marked in the column `variant`.

    Returns:
        The columns of book/reference/<work>.csv with `dataset` and `sparsity` turned into `data` and
        `density`, `check` split from the method, and `variant` ("" for first readings). "Corrupted data" of
        the replication is our `pixel_shuffle` (with labels).

    Raises:
        ReproError: when there is no such file.
    """
    folder = paths.root() / "book" / "reference"
    known = {path.stem: path for path in folder.glob("*.csv")}
    work, _, wanted = work.partition("/")
    table = pd.read_csv(pick(known, work, "reference work")).rename(columns={"dataset": "data"})
    table["density"] = (1 - table.pop("sparsity")).round(9)
    second = table["table"].map(TABLES) if work == "rigl-repro" else table["method"].map(VARIANTS)
    table["variant"] = second.fillna("")
    table["model"] = table["model"].replace(MODELS)
    table["check"] = "none"
    for suffix, check in CHECKS.items():
        ending = table["method"].str.endswith(suffix)
        table.loc[ending, "check"] = check
        table["method"] = table["method"].str.removesuffix(suffix)
    table["method"] = [_ours(name) for name in table["method"]]
    if wanted:
        table = table[table["variant"] == wanted].assign(variant="")
    return table if variants else table[table["variant"] == ""].reset_index(drop=True)


def _ours(name: str) -> str:
    """Call a published method as `repro.naming` does."""
    if again := _AGAIN.fullmatch(name):
        return f"rigl:mask_of(rigl_sm:{again[1]})"
    if not (found := _MOVED.fullmatch(name)):
        return METHODS.get(name, name)
    moving, start, longer = found.groups()
    if moving == "rigl_struct":
        moving, start = "rigl", f"{start}/kernel"
    ours = start if moving == "static" else f"{moving}:{start}"
    return f"{ours}*{longer}" if longer else ours
