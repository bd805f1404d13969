"""The parts of a run's settings: each checks that what it is given fits together and is used."""

from ..moment import Moment, steps_of
from .basics import Check, Data, Model, Optim
from .sparse import Sparse
from .ticket import Ticket

__all__ = ["Check", "Data", "Model", "Moment", "Optim", "Sparse", "Ticket", "steps_of"]
