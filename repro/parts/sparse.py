"""How masks move, or are learned, while a network trains."""

from __future__ import annotations

from pydantic import model_validator

from ..section import Section
from ..sparse_training import METHODS, Learned, Plan, Popup
from .basics import Optim
from .learned import all_used, fits
from .moves import check_moves, check_plan
from .ticket import Ticket


class Sparse(Section):
    """How masks move while the network trains."""

    menus = {"method": METHODS}
    method: str = "static"

    @property
    def plan(self) -> Plan | None:
        """When masks move and how; None when they stay, or are learned."""
        spec = self._spec()
        return spec if isinstance(spec, Plan) else None

    @property
    def learned(self) -> Learned | None:
        """How masks are learned by gradients: soft thresholds or scores; None when they stay, or move."""
        spec = self._spec()
        return None if isinstance(spec, Plan) else spec

    @property
    def active(self) -> bool:
        """Whether masks change in training."""
        return self._spec() is not None

    def _spec(self) -> Plan | Learned | None:
        return METHODS[self.method](**self.options("method"))

    def check_learned(self, ticket: Ticket, optim: Optim) -> None:
        """Refuse learned masks that the rest of a run does not allow; raise ReproError with what to change."""
        if spec := self.learned:
            fits(spec, self.method, ticket, optim)

    def check_moves(self, ticket: Ticket, optim: Optim) -> None:
        """Refuse moving masks that the rest of a run does not allow; raise ReproError with what to change."""
        if plan := self.plan:
            check_moves(plan, self.method, self.changed(), ticket, optim)

    @model_validator(mode="after")
    def _learned_used(self) -> Sparse:
        if isinstance(self.learned, Popup):
            all_used(self.learned, self.changed())
        return self

    @model_validator(mode="after")
    def _all_used(self) -> Sparse:
        if plan := self.plan:
            check_plan(plan, self.changed())
        return self
