"""The command line: each command a few lines over one function."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .errors import ReproError


class _Parser(argparse.ArgumentParser):
    """Tell mistakes as the rest of the program does."""

    def error(self, message: str) -> NoReturn:
        raise ReproError(f"{message}; `{self.prog} --help` explains")


def _table(rows: Sequence[Mapping[Any, Any]]) -> None:
    """Print rows as aligned columns."""
    if rows:
        cells = [list(rows[0]), *([str(v) for v in row.values()] for row in rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        for line in cells:
            print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def _overrides(words: list[str]) -> dict[str, Any]:
    from .grids import value

    for word in words:
        if "=" not in word:
            raise ReproError(f"{word}: no such file, and not a setting; write key=value, e.g. optim.epochs=2")
    return {k: value(v) for k, v in (word.split("=", 1) for word in words)}


def run(args: argparse.Namespace) -> None:
    """Train the runs that parameter files or settings ask for; what is done is not done again.

    Without a file the settings alone make one run, e.g. repro run model.name=resnet20 ticket.score=snip
    ticket.density=0.1 seed=1. A list makes a grid: seed=[0,1,2].
    """
    from .grids import expand, plan
    from .pool import run_all

    files = [w for w in args.words if w.endswith((".yaml", ".yml")) or Path(w).is_file()]
    overrides = _overrides([w for w in args.words if w not in files])
    planned = [s for f in files for s in plan(f, overrides)] or expand([{}], overrides, "command line")
    frame = run_all(planned, workers=args.workers)
    shown = frame[["key", "data", "model", "method", "check", "density", "seed", "status", "accuracy"]]
    _table(shown.round({"accuracy": 2}).to_dict("records"))
    failed = frame[frame["status"] == "failed"]
    if len(failed):
        key, reason = failed.iloc[0][["key", "reason"]]
        raise ReproError(f"{len(failed)} of {len(frame)} runs failed; the first, {key}: {reason}")


def status(args: argparse.Namespace) -> None:
    """Say which runs are done: those of the parameter files, or all that have a record."""
    from . import record

    if args.files:
        from .grids import plan
        from .pool import table

        for file in args.files:
            frame = table(plan(file))
            counts = frame["status"].value_counts()
            print(f"{file}: {len(frame)} runs, " + ", ".join(f"{n} {what}" for what, n in counts.items()))
        return
    frame = record.load()
    if frame.empty:
        print("no records yet; `repro run params/random-tickets/quick.yaml` makes some")
        return
    groups = frame.groupby(["data", "model", "method", "check", "density", "status"])
    summary = groups.agg(runs=("key", "size"), accuracy=("accuracy", "mean"), seconds=("seconds", "sum"))
    _table(summary.round(2).reset_index().to_dict("records"))


def show(args: argparse.Namespace) -> None:
    """Show the record of one run."""
    from . import record

    frame = record.load()
    rows = frame[frame["key"].str.startswith(args.key)]
    if len(rows) != 1:
        found = "no run" if rows.empty else f"{len(rows)} runs"
        raise ReproError(f"{args.key}: {found} with this key; `repro status` lists what there is")
    row = rows.iloc[0]
    for name in rows.columns.drop(["curve", "layers", "settings"]):
        print(f"{name:12} {row[name]}")
    print()
    _table([{k: layer[k] for k in ("name", "kept", "total", "density")} for layer in row["layers"]])


def report(args: argparse.Namespace) -> None:
    """Train what is missing, execute the notebooks and build the HTML report."""
    from .book import make_report

    print(f"open {make_report(args.profile)}")


def data_list(args: argparse.Namespace) -> None:
    """List the data sets and whether they are here."""
    from .data import listing

    _table(listing())


def data_fetch(args: argparse.Namespace) -> None:
    """Download data sets into the data folder (REPRO_DATA, default _build/data)."""
    from .data import fetch

    for name in args.names:
        print(f"{name}: {fetch(name)}")


def data_verify(args: argparse.Namespace) -> None:
    """Compare the files of data sets with their published checksums."""
    from .data import verify

    found = [
        {"set": name, "file": file, "state": state} for name in args.names for file, state in verify(name)
    ]
    _table(found)
    bad = [row for row in found if row["state"] != "ok"]
    if bad:
        raise ReproError(f"{bad[0]['file']}: {bad[0]['state']}; `repro data fetch {bad[0]['set']}` gets it")


def _parser() -> _Parser:
    about = "Check pruning methods: run, look up and report experiments on lottery tickets."
    top = _Parser(prog="repro", description=about)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(function: Any, where: Any = commands, name: str = "") -> _Parser:
        lines = (function.__doc__ or "").split("\n\n")[0]
        made = where.add_parser(name or function.__name__, help=lines, description=function.__doc__)
        made.set_defaults(command=function)
        return made

    words = add(run)
    words.add_argument("words", nargs="+", metavar="FILE.yaml | key=value", help="what to run, and overrides")
    words.add_argument("--workers", type=_count, help="processes at once; default: all cores")
    add(status).add_argument("files", nargs="*", type=Path, metavar="FILE.yaml")
    add(show).add_argument("key", help="the key of a run, or its first letters")
    add(report).add_argument("--profile", default="quick", help="which parameter files to run live")
    sets = commands.add_parser("data", help="List, fetch and verify data sets.")
    sub = sets.add_subparsers(required=True, metavar="COMMAND")
    add(data_list, sub, "list")
    add(data_fetch, sub, "fetch").add_argument("names", nargs="+", metavar="SET")
    add(data_verify, sub, "verify").add_argument("names", nargs="+", metavar="SET")
    return top


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes; give 1 or more")
    return int(text)


def main() -> None:
    """Run the command line; a mistake of the user's is one line on standard error and exit code 2."""
    try:
        args = _parser().parse_args()
        args.command(args)
    except ReproError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; what is done is kept, and the same command goes on from here", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
    sys.exit(0)
