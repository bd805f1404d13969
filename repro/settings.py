"""What a run is: frozen settings and the canonical key that names them."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .checks import DATA_CHECKS, MASK_CHECKS, SCORE_CHECKS
from .data import DATASETS
from .errors import ReproError, nearest, pick
from .from_runs import UNUSED
from .models import check_input
from .parts import Check, Data, Model, Optim, Sparse, Ticket
from .section import Section, one_line
from .text import assignments, nest

WORDS = 1000  # characters that tell another run: each may tell a further one, and all are checked
MEANING = 2  # raised when the meaning of a setting changes, so that old results are not taken for new ones


class Settings(BaseModel):
    """Everything that can change the result of one training run, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: Data = Data()
    model: Model = Model()
    ticket: Ticket = Ticket()
    check: Check = Check()
    sparse: Sparse = Sparse()
    optim: Optim = Optim()
    seed: Annotated[int, Field(ge=0)] = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        facts = DATASETS[self.data.name]
        pick(facts.normalise, self.data.normalise, f"data.normalise of {self.data.name}")
        check_input(self.model.name, self.data.size or facts.size)
        self._before_fits()
        self._check_fits()
        self._moves_fit()
        return self

    def _check_fits(self) -> None:
        name, ticket = self.check.name, self.ticket
        if name in (*MASK_CHECKS, *SCORE_CHECKS) and ticket.score is None:
            raise ReproError(
                f"check.name: {name!r} changes a ticket, and this run is dense; name a ticket.score"
            )
        if name in SCORE_CHECKS and not (ticket.scored and ticket.density < 1 and ticket.sampler == "exact"):
            raise ReproError(f"check.name: {name!r} changes nothing where weights are not ranked; remove it")
        if name in DATA_CHECKS and ticket.score and not (ticket.sees_data or ticket.needs_run):
            raise ReproError(
                f"check.name: {name!r} corrupts data, and ticket.score {ticket.score!r} uses none; remove it"
            )

    def _moves_fit(self) -> None:
        self.sparse.check_learned(self.ticket, self.optim)
        self.sparse.check_moves(self.ticket, self.optim)

    def elsewhere(self, key: Literal["source", "like", "early", "start"]) -> Settings:
        """Give the run that a setting of the ticket names by words: this one without ticket, check and moving masks.

        A ticket that lends its layer densities has the density of this one where the words name none.
        """
        words = str(getattr(self.ticket, key))
        plain = {k: v for k, v in self.changed().items() if k not in ("ticket", "check", "sparse")}
        if len(words) > WORDS:
            raise ReproError(f"ticket.{key}: more than {WORDS} characters; tell another run in fewer words")
        told = nest(assignments(words.split(), files=False))
        score = told.get("ticket", {}).get("score")
        if self.ticket.allocation == "induced" and score and "density" not in UNUSED.get(score, ()):
            told["ticket"] = {"density": self.ticket.density} | told["ticket"]
        try:
            return parse(merge(plain, told))
        except ReproError as error:
            raise ReproError(f"ticket.{key}: {error}") from None

    @property
    def source(self) -> Settings:
        """The run whose masks `mask_of` takes, or `induced` the layer densities of: what the ticket's words say."""
        return self.elsewhere("source" if self.ticket.score == "mask_of" else "like")

    def _before_fits(self) -> None:
        for key in ("source", "like"):
            theirs = self.source if getattr(self.ticket, key, None) is not None else None
            if theirs and theirs.ticket.score is None and theirs.sparse.method == "static":
                raise ReproError(
                    f"ticket.{key}: this run would be dense; name its ticket.score or sparse.method"
                )
        if getattr(self.ticket, "start", None) and not self.elsewhere("start").ticket.scored:
            raise ReproError(
                "ticket.start: round 0 must be a ticket that is made by a score; name ticket.score"
            )
        if self.ticket.options("score").get("after") and self.source.sparse.method == "static":
            raise ReproError("ticket.after: the masks of ticket.source do not change in training; remove it")
        early = self.ticket.options("score").get("early")
        if early and (self.ticket.weights != "rewound" or self.elsewhere("early").ticket.score):
            raise ReproError("ticket.early: a dense run for ticket.weights 'rewound'; set that, or remove it")
        before = self.dense_epochs
        if isinstance(self.ticket.rewind, int) and self.ticket.rewind > before:
            raise ReproError(
                f"ticket.rewind: {self.ticket.rewind} lies beyond the {before} epochs of the run before; lower it"
            )
        if self.optim.warmup >= before:
            raise ReproError(
                f"ticket.pretrain: {before} epochs do not hold the {self.optim.warmup:g} of optim.warmup"
            )

    @property
    def dense_epochs(self) -> int:
        """Epochs of the run that the ticket comes from."""
        if self.ticket.score == "mask_of":
            return self.source.optim.length
        return self.ticket.pretrain or self.optim.length

    @property
    def schedule(self) -> tuple[int | str, int]:
        """Epoch (or step, as "500it") of the schedule at which training begins, and its length in epochs.

        A rewound ticket goes on in the schedule of its dense run, from the epoch it is rewound to.
        """
        return (self.ticket.rewind, self.dense_epochs) if self.ticket.rewind else (0, self.optim.length)

    def changed(self) -> dict[str, Any]:
        """Give what differs from the defaults, as nested plain values."""
        parts = {k: v.changed() for k, v in dict(self).items() if isinstance(v, Section)}
        plain = {
            k: getattr(self, k)
            for k in ("precision",)
            if getattr(self, k) != Settings.model_fields[k].default
        }
        return {k: v for k, v in parts.items() if v} | plain | {"seed": self.seed}

    def key(self) -> str:
        """Name the run: a hash of the settings that differ from their defaults."""
        return digest(self.changed())

    def command(self) -> str:
        """Spell the command that repeats the run."""
        words = (shlex.quote(f"{k}={_spell(v)}") for k, v in flat(self.changed()).items())
        return " ".join(["repro run", *words])


def section_types() -> dict[str, type[Section]]:
    """List the sections of the settings and their types."""
    fields = {k: f.annotation for k, f in Settings.model_fields.items()}
    return {k: a for k, a in fields.items() if isinstance(a, type) and issubclass(a, Section)}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `over` upon `base`; options of a menu entry of the base that is no longer chosen fall away."""
    out = {**base, **over}
    for name, section in section_types().items():
        below, above = base.get(name, {}), over.get(name, {})
        if isinstance(below, Mapping) and isinstance(above, Mapping) and (below or above):
            both = {**below, **above}
            if not any(isinstance(x.get(m), list) for m in section.menus for x in (below, both)):
                stale = section.known(below) - section.known(both)
                both = {k: v for k, v in both.items() if k in above or k not in stale}
            out[name] = both
    return out


def digest(value: Any) -> str:
    """Hash plain values into the 12 letters that name a folder."""
    text = json.dumps([MEANING, value], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into one with dotted keys."""
    out: dict[str, Any] = {}
    for k, v in nested.items():
        out |= flat(v, f"{prefix}{k}.") if isinstance(v, Mapping) else {f"{prefix}{k}": v}
    return out


def _spell(value: Any) -> str:
    return json.dumps(list(value)).replace(" ", "") if isinstance(value, tuple) else str(value)


def parse(values: Mapping[str, Any]) -> Settings:
    """Validate nested plain values; raise ReproError with one line on the first fault."""
    unknown = [k for k in values if k not in Settings.model_fields]
    if unknown:
        raise ReproError(f"{unknown[0]}: unknown key: {nearest(unknown[0], Settings.model_fields)}")
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ReproError(one_line(error)) from None
    except (OverflowError, RecursionError) as error:
        raise ReproError(f"settings: a number is too large, or one is nested in another ({error})") from None


def unique(settings: Iterable[Settings]) -> list[Settings]:
    """Drop repetitions, keeping the order."""
    return list({s.key(): s for s in settings}.values())
