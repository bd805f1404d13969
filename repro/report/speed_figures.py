"""Figures of the bench: speed-ups of each piece, and throughput against the number of runs in flight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .html import DASH
from .panels import add_legend, describe, handles_of
from .performance import Duel, Record, duels, network, rows_of, three
from .style import INK, Style, rc

FORMATS = {
    "float32": Style("ours, float32", "#0173b2", "o"),
    "bfloat16": Style("ours, bfloat16", "#de8f05", "s"),
    "float64": Style("ours, float64", "#029e73", "^"),
    None: Style("ours, format chosen by run", "#cc78bc", "D"),
}
PLAIN = "#222222"


def figure_speed_ups(record: Record) -> Figure:
    """Draw how many times faster than the plain loop each piece is, with quartiles, on a logarithmic scale."""
    found = duels(record)
    names = list(dict.fromkeys(_label(d) for d in found))
    used = [f for f in FORMATS if any(d.ours.get("format") == f for d in found)]
    with mpl.rc_context(rc()):
        figure = Figure(figsize=(7.4, 1.3 + 0.3 * max(len(names), 1)), layout="constrained")
        ax = figure.subplots()
        ax.axvline(1, color=PLAIN, linestyle="--", linewidth=1)
        for d in found:
            _dot(ax, names.index(_label(d)), d.ours, FORMATS[d.ours.get("format")])
        ax.set_xscale("log")
        _ticks(ax, [d.ours["speed_up"] for d in found])
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.set_xlabel("Speed-up over the plain loop (times, logarithmic)")
        sns.despine(figure)
        mark = Line2D([], [], color=PLAIN, linestyle="--", linewidth=1, label="plain loop")
        add_legend(figure, [*handles_of([FORMATS[f] for f in used]), mark])
    words = "; ".join(
        f"{_label(d)}, {d.ours.get('format', 'chosen')}: {three(d.ours['speed_up'])}" for d in found
    )
    return describe(
        figure,
        f"Speed-ups over the plain loop on {record['device']}. {words}",
        f"{record['device']}: times that our way is faster than the plain loop. Marks: median of the ratios of "
        "pairs measured in turns, bars: quartiles.",
    )


def _label(d: Duel) -> str:
    batch = f"batch {d.batch}" if d.batch != DASH else DASH
    return ", ".join(part for part in (d.piece, d.network, batch) if part != DASH)


def _dot(ax: Axes, y: float, row: Mapping[str, Any], style: Style) -> None:
    at = row["speed_up"]
    ends = [abs(row.get(f"speed_up_{end}", at) - at) for end in ("low", "high")]
    look: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markersize": 6, "capsize": 2}
    look |= {"linestyle": "none", "markeredgecolor": INK, "markeredgewidth": 0.4}
    ax.errorbar([at], [y], xerr=[[ends[0]], [ends[1]]], **look)


def _ticks(ax: Axes, values: Sequence[float]) -> None:
    """Mark 1, 2, 5 and their tenfolds that the values need."""
    low, high = min([*values, 1.0]), max([*values, 2.0])
    steps = [m * 10.0**e for e in range(-3, 5) for m in (1, 2, 5)]
    first = max(s for s in steps if s <= low)
    last = min(s for s in steps if s >= high)
    chosen = [s for s in steps if first <= s <= last]
    ax.set_xticks(chosen, [f"{s:g}" for s in chosen])
    ax.set_xticks([], minor=True)
    ax.set_xlim(first * 0.9, last * 1.1)


def figure_flight(record: Record) -> Figure:
    """Draw training steps per second of all runs together against their number, a panel for each network."""
    rows = rows_of(record, "flight")
    places = list(dict.fromkeys((network(r), r["batch"]) for r in rows))
    with mpl.rc_context(rc()):
        figure = Figure(figsize=(max(3.8 * len(places), 5.0), 3.4), layout="constrained")
        axes: Any = figure.subplots(1, max(len(places), 1), squeeze=False)
        for ax, place in zip(axes[0], places, strict=False):
            _flight_panel(ax, [r for r in rows if (network(r), r["batch"]) == place])
            ax.set_title(f"{place[0]}, batch {place[1]}")
        axes[0][0].set_ylabel("Training steps per second, all runs")
        sns.despine(figure)
        add_legend(figure, _flight_handles(rows))
    words = "; ".join(f"{network(r)}, {r['way']}: {three(r['steps_per_s'])}" for r in rows)
    return describe(
        figure,
        f"Training steps per second against runs in flight on {record['device']}. {words}",
        f"{record['device']}: training steps per second of all runs together. Marks: median, bars: quartiles.",
    )


def _flight_panel(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    flying = [r for r in rows if r["way"].endswith("in flight")]
    style = FORMATS[flying[0]["format"]] if flying else FORMATS[None]
    x, y = [r["in_flight"] for r in flying], [r["steps_per_s"] for r in flying]
    ends = [[r["steps_per_s"] - r["low_steps_per_s"] for r in flying]]
    ends += [[r["high_steps_per_s"] - r["steps_per_s"] for r in flying]]
    look: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markeredgecolor": INK}
    ax.errorbar(x, y, yerr=ends, capsize=2, linewidth=1, **look)
    for row in rows:
        if row not in flying:
            line = "--" if row["loop"] == "plain" else ":"
            ax.axhline(row["steps_per_s"], color=PLAIN, linestyle=line, linewidth=1)
    ax.set_xscale("log", base=2)
    ax.set_xticks(x, [str(n) for n in x])
    ax.set_xticks([], minor=True)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("Runs in flight")


def _flight_handles(rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    formats = [f for f in FORMATS if any(r["format"] == f and r["loop"] == "ours" for r in rows)]
    lines: dict[Any, str] = {"--": "plain loop", ":": "ours, one run with all threads"}
    if not any(r["way"] == "one run, all threads" for r in rows):
        del lines[":"]
    drawn = [Line2D([], [], color=PLAIN, linestyle=k, linewidth=1, label=v) for k, v in lines.items()]
    return [*handles_of([FORMATS[f] for f in formats]), *drawn]
