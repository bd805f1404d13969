"""Bench records of the store, as a table. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .html import Table
from .performance import Record, duration, rows_of, speed_table


def show_store(record: Record) -> Table:
    """List how long a table of many records takes."""

    def lines() -> Iterator[Sequence[str]]:
        for row in rows_of(record, "store"):
            spent = [duration(row[name]) for name in ("median_s", "low_s", "high_s")]
            memory = f"{row['process_mib']:,.0f} MiB"
            yield [
                row["what"],
                f"{row['records']:,}",
                f"{row['record_kb']:.0f} kB",
                *spent,
                memory,
                str(row["n"]),
            ]

    return speed_table(
        ["Table", "Records", "Each", "Median", "Quartile", "Quartile", "Peak", "n"],
        lines(),
        "Time to list, filter and summarise the records of a store, made up and as large as those of real runs: when "
        "every file is read, and afterwards. Peak: memory of the whole process.",
        keys=2,
    )
