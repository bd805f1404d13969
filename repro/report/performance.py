"""Bench records as tables: how fast each piece is, and what of the device that uses. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .html import DASH, Column, Table, number, with_interval
from .style import method_style, model_name

Record = Mapping[str, Any]
Row = Mapping[str, Any]
PIECES = {
    "step": "Training step",
    "epoch": "Short epoch",
    "pipeline": "Input pipeline",
    "evaluation": "Evaluation",
    "masks": "Mask",
    "table": "Table of runs",
}
RATED = ("pipeline", "table")  # shown as images a second


class Duel(NamedTuple):
    """One piece of work done in the plain way and in ours."""

    piece: str
    network: str
    batch: str
    plain: Row
    ours: Row


def rows_of(record: Record, case: str) -> list[Row]:
    """Give the rows of a case; none where it was not measured."""
    return list(record["cases"].get(case, {}).get("rows", []))


def duels(record: Record) -> list[Duel]:
    """Pair every row of ours with the plain row before it, over all cases that compare."""
    found = []
    for case in PIECES:
        plain: Row | None = None
        for row in rows_of(record, case):
            if row["loop"] == "plain":
                plain = row
            elif plain is not None:
                batch = str(row["batch"]) if "batch" in row else DASH
                found.append(Duel(_piece(case, row), network(row), batch, plain, row))
    return found


def _piece(case: str, row: Row) -> str:
    if case == "masks":
        return f"Mask: {method_style(row['method']).label}"
    if case == "pipeline":
        return f"{PIECES[case]}, {row['loader_processes'] or 'no'} workers"
    if case == "table":
        return f"{PIECES[case]}, {row['runs']} runs"
    return PIECES[case]


def network(row: Row) -> str:
    """Name the network of a row; a dash where there is none."""
    return model_name(row["model"], row["width"]) if "model" in row else DASH


def duration(seconds: float | None) -> str:
    """Write a time with three digits in the unit that suits it."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            return f"{three(seconds / size)} {unit}"
    return DASH


def three(value: float | None) -> str:
    """Write a positive number with three significant digits and no exponent."""
    if value is None or not math.isfinite(value):
        return DASH
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{round(value, digits):,.{max(0, digits)}f}"


def factor(row: Row) -> str:
    """Write a speed-up with its quartiles, where it has some."""
    text = f"{three(row['speed_up'])} ×"
    if row.get("speed_up_low") is None or row["n"] < 2:
        return text
    return f"{text} ({three(row['speed_up_low'])} to {three(row['speed_up_high'])})"


def share(value: float | None) -> str:
    """Write a fraction in percent."""
    return DASH if value is None else f"{100 * value:.0f} %"


def speed_table(heads: Sequence[str], rows: Iterator[Sequence[str]], caption: str, keys: int = 1) -> Table:
    """Lay out rows of texts; the first columns name the row."""
    kinds = ["key"] * keys + ["number"] * (len(heads) - keys)
    columns = tuple(Column(head, kind) for head, kind in zip(heads, kinds, strict=True))  # pyright: ignore
    return Table(columns, tuple(tuple(row) for row in rows), caption)


def show_speed(record: Record) -> Table:
    """Set each piece of ours beside the plain way."""
    heads = ["Piece", "Network", "Format", "Batch", "Speed-up", "Plain", "Ours", "n", "FLOP/s", "Bytes/s"]

    def lines() -> Iterator[Sequence[str]]:
        for d in duels(record):
            amounts = [_amount(d.piece, row) for row in (d.plain, d.ours)]
            used = [share(d.ours.get(f"fraction_of_{what}")) for what in ("flops", "bytes")]
            name = str(d.ours.get("format", DASH))
            yield [d.piece, d.network, name, d.batch, factor(d.ours), *amounts, str(d.ours["n"]), *used]

    return speed_table(
        heads,
        lines(),
        "Median time of our way and of the plain loop, both measured in turns, n rounds; speed-up: median of the "
        "ratios of the pairs, with quartiles. Workers: processes of the plain data loader. The plain loop computes in "
        "float32 (SynFlow in float64); format: of ours. FLOP/s and bytes/s: share of this device's measured "
        "ceilings that ours reaches. Bytes are an estimate: each layer reads and writes its tensors once per use.",
        keys=3,
    )


def _amount(piece: str, row: Row) -> str:
    if piece.startswith(tuple(PIECES[case] for case in RATED)):
        return f"{three(row['images_per_s'])} images/s"
    return duration(row["median_s"])


def show_ceilings(record: Record) -> Table:
    """List what the device can do at best."""

    def lines() -> Iterator[Sequence[str]]:
        for row in rows_of(record, "ceiling"):
            flops, moved = row.get("gflop_per_s"), row.get("gb_per_s")
            rate = f"{three(flops)} GFLOP/s" if flops else f"{three(moved)} GB/s"
            yield [row["what"], row["format"], rate, row["size"]]

    return speed_table(
        ["Ceiling", "Format", "Reached", "Size"],
        lines(),
        "Fastest of some sizes and rounds on this device.",
        keys=2,
    )


def show_flight(record: Record) -> Table:
    """List the throughput of several runs together."""

    def lines() -> Iterator[Sequence[str]]:
        for row in rows_of(record, "flight"):
            gain = f"{three(row['speed_up'])} ×" if "speed_up" in row else DASH
            way = f"{row['way']}, {row['format']}"
            rates = [three(row["steps_per_s"]), three(row["images_per_s"]), gain, str(row["n"])]
            yield [network(row), way, str(row["batch"]), *rates, share(row.get("fraction_of_flops"))]

    return speed_table(
        ["Network", "Runs", "Batch", "Steps/s", "Images/s", "Against plain", "n", "FLOP/s"],
        lines(),
        "Training steps per second of all runs together, median of n measurements; each run repeats a step on a "
        "batch of its own. In flight: processes of one thread on a CPU, captured steps on streams of one GPU. "
        "FLOP/s: share of the ceiling.",
        keys=2,
    )


def show_scaling(record: Record) -> Table:
    """List how cost grows with width, density and number of runs."""

    def lines() -> Iterator[Sequence[str]]:
        for row in rows_of(record, "scaling"):
            what = "1,000 steps of each run" if row["axis"] == "runs" else "one step"
            spent = [duration(row["median_s"]), duration(row["low_s"]), duration(row["high_s"])]
            yield [
                row["axis"],
                network(row),
                f"{row['value']:g}",
                str(row["batch"]),
                what,
                *spent,
                str(row["n"]),
            ]

    return speed_table(
        ["Varied", "Network", "Value", "Batch", "Work", "Median", "Quartile", "Quartile", "n"],
        lines(),
        "Time of a training step against width and density, and of a table of runs against their number.",
        keys=2,
    )


def show_memory(record: Record) -> Table:
    """List peaks of memory."""

    def lines() -> Iterator[Sequence[str]]:
        for row in rows_of(record, "memory"):
            name = "Training" if row["work"] == "training" else f"Mask: {method_style(row['work']).label}"
            peak, of = f"{row['peak_mib']:,.0f} MiB", f"{three(row['of_training'])} ×"
            yield [name, network(row), str(row["format"]), str(row["batch"]), peak, of]

    return speed_table(
        ["Work", "Network", "Format", "Batch", "Peak", "Of training"],
        lines(),
        "Peak of memory, each in a process of its own, without what the libraries take.",
        keys=3,
    )


def show_precision(record: Record) -> Table:
    """List final accuracies in two number formats."""

    def lines() -> Iterator[Sequence[str]]:
        for row in rows_of(record, "precision"):
            nan = math.nan
            ends = [nan if row.get(k) is None else row[k] for k in _ENDS]
            mean = with_interval(row["accuracy_percent"], *ends[:2])
            difference = with_interval(*ends[2:], sign=True)
            told = [str(row["epochs"]), f"{row['images']:,}", mean, number(row["deviation_points"])]
            yield [row["format"], network(row), *told, difference, str(row["n"])]

    return speed_table(
        ["Format", "Network", "Epochs", "Images", "Test accuracy", "Deviation", "Difference", "n"],
        lines(),
        "CIFAR-10: test accuracy in percent after the last epoch, mean ± half width of the 95 % t interval over n "
        "seeds; standard deviation over seeds; difference to float32 in percentage points, paired by seed, with its "
        "own two-sided 95 % interval.",
        keys=2,
    )


_ENDS = ("accuracy_low", "accuracy_high", "difference_points", "difference_low", "difference_high")
