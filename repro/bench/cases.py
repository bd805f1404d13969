"""The menu of what `repro bench` measures, in the order in which it does."""

from __future__ import annotations

from collections.abc import Callable

from .ceilings import ceiling
from .inflight import flight
from .material import Bench
from .moving import moves
from .numerics import precision
from .pruning import masks, memory
from .records import store
from .scale import scaling, table
from .speed import epoch, evaluation, pipeline, step
from .store import Row

CASES: dict[str, Callable[[Bench], list[Row]]] = {
    "ceiling": ceiling,
    "step": step,
    "pipeline": pipeline,
    "epoch": epoch,
    "evaluation": evaluation,
    "masks": masks,
    "memory": memory,
    "moves": moves,
    "flight": flight,
    "scaling": scaling,
    "table": table,
    "store": store,
    "precision": precision,
}
LONG = ("store", "precision")  # make many records, train many networks: measured when they are named
