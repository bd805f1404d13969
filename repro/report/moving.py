"""Bench records of masks that move, as a table. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .html import Table
from .performance import Record, duration, network, rows_of, speed_table
from .style import method_style


def show_moves(record: Record) -> Table:
    """List what moving the masks costs."""

    def lines() -> Iterator[Sequence[str]]:
        for row in rows_of(record, "moves"):
            name = method_style(row["method"]).label
            part = " to ".join(f"{100 * row[f'share_{end}']:.2f}" for end in ("low", "high"))
            spent = [duration(row["step_s"]), duration(row["median_s"])]
            told = f"{100 * row['share']:.2f} % ({part})"
            yield [name, network(row), str(row["format"]), str(row["batch"]), *spent, told, str(row["n"])]

    return speed_table(
        ["Method", "Network", "Format", "Batch", "Step", "Update", "Of training", "n"],
        lines(),
        "Median time of an ordinary step, and of an update of the masks, which takes the place of a step and has a dense "
        "gradient of its own; n rounds in turns. Of training: what an update takes more than a step, over the 100 "
        "steps from one update to the next, with quartiles.",
        keys=3,
    )
