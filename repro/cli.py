"""The command line: how commands and options are spelled; what they do stands in `commands`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from . import batch_command as batching
from . import commands as do
from . import store_commands as store
from . import ticket_commands as tickets
from .errors import ReproError


class _Parser(argparse.ArgumentParser):
    """Tell mistakes as the rest of the program does."""

    def error(self, message: str) -> NoReturn:
        raise ReproError(f"{message}; `{self.prog} --help` explains")


def _parser() -> _Parser:
    about = "Check pruning methods: run, look up and report experiments on lottery tickets."
    top = _Parser(prog="repro", description=about)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(function: Any, where: Any = commands, name: str = "") -> _Parser:
        lines = (function.__doc__ or "").split("\n\n")[0]
        made = where.add_parser(name or function.__name__, help=lines, description=function.__doc__)
        made.set_defaults(command=function)
        return made

    words = add(do.run)
    words.add_argument("words", nargs="+", metavar="FILE.yaml | key=value", help="what to run, and overrides")
    words.add_argument("--print", action="store_true", help="print all settings of the runs and start none")
    queue = add(batching.batch)
    queue.add_argument("files", nargs="+", type=Path, metavar="FILE.yaml")
    batching.options(queue, _count, _duration)
    search = _search(add)
    for made in (words, queue, search):
        made.add_argument("--workers", type=_count, help="runs in flight; default: chosen for the machine")
        made.add_argument(
            "--budget", type=_duration, metavar="TIME", help="stop cleanly after, e.g., 9m or 1h30m"
        )
    _what_to_keep(words, queue)
    add(do.status).add_argument("files", nargs="*", type=Path, metavar="FILE.yaml")
    add(do.show).add_argument("key", help="the key of a run, or its first letters")
    add(do.evaluate).add_argument("key", help="the key of a run, or its first letters")
    add(do.report).add_argument("--profile", default="quick", help="which parameter files to run live")
    _own_pruner(add)
    _records_and_speed(add)
    _health(add)
    sets = commands.add_parser("data", help="List, fetch and verify data sets.")
    sub = sets.add_subparsers(required=True, metavar="COMMAND")
    add(do.data_list, sub, "list")
    add(do.data_fetch, sub, "fetch").add_argument("names", nargs="+", metavar="SET")
    add(do.data_verify, sub, "verify").add_argument("names", nargs="+", metavar="SET")
    _tickets(commands, add)
    return top


def _tickets(commands: Any, add: Callable[..., _Parser]) -> None:
    sub = commands.add_parser("ticket", help="Export, inspect, compare, import and publish tickets as files.")
    sub = sub.add_subparsers(required=True, metavar="COMMAND")
    out = add(tickets.export, sub)
    out.add_argument("words", nargs="+", metavar="KEY | key=value", help="the run")
    out.add_argument("--to", type=Path, metavar="FILE", help="default: KEY.ticket.safetensors, here")
    out.add_argument("--weights", choices=("seed", "kept", "full"), help="what is stored of the weights")
    out.add_argument("--final", action="store_true", help="masks and weights that the run ended with")
    out.add_argument("--format", choices=("ticket", "torch-prune"), default="ticket", help="default: ticket")
    add(tickets.inspect, sub).add_argument("file", type=Path, metavar="FILE")
    two = add(tickets.diff, sub)
    two.add_argument("a", type=Path, metavar="A")
    two.add_argument("b", type=Path, metavar="B")
    measured = add(tickets.evaluate, sub)
    measured.add_argument("file", type=Path, metavar="FILE")
    measured.add_argument("words", nargs="*", metavar="key=value", help="other data, or precision")
    taken = add(tickets.import_, sub, "import")
    taken.add_argument("file", type=Path, metavar="FILE", help="the checkpoint")
    taken.add_argument("--layout", required=True, metavar="NAME", help="which code wrote it; see above")
    told = "our network, and its options, e.g. --model resnet32 width=2"
    taken.add_argument("--model", required=True, nargs="+", metavar=("NAME", "key=value"), help=told)
    taken.add_argument("--classes", type=_count, metavar="N", help="default: outputs of the last layer")
    taken.add_argument("--to", type=Path, metavar="FILE", help="default: its name, .ticket.safetensors, here")
    sent = add(tickets.push, sub)
    sent.add_argument("file", type=Path, metavar="FILE")
    sent.add_argument("repo", metavar="REPO_ID", help="OWNER/NAME")
    sent.add_argument("--private", action="store_true", help="make a new repository private")
    sent.add_argument("--replace", action="store_true", help="write over a README that is there")


def _what_to_keep(*trainings: _Parser) -> None:
    """Add the options of commands that train runs as they are asked for."""
    for made in trainings:
        made.add_argument("--dry-run", action="store_true", help="list the runs and start none")
        made.add_argument("--track", metavar="KIND", help="write curves for tensorboard or wandb (offline)")
        made.add_argument(
            "--keep-weights", action="store_true", help="keep the trained weights of tickets too"
        )
        told = "with --keep-weights: also those after, e.g., 2,500it,every10 (epochs, steps, every so many epochs)"
        made.add_argument("--snapshots", metavar="LIST", default="", help=told)


def _search(add: Callable[..., _Parser]) -> _Parser:
    made = add(do.tune)
    made.add_argument("file", type=Path, metavar="FILE.yaml", help="runs, and the key `tune`")
    made.add_argument("words", nargs="*", metavar="key=value", help="settings of all runs")
    made.add_argument("--trials", type=_count, metavar="N", help="trials in all; default: as the file says")
    made.add_argument("--sampler", choices=("grid", "tpe"), help="how settings are chosen")
    made.add_argument("--dry-run", action="store_true", help="show the search and start nothing")
    return made


def _own_pruner(add: Callable[..., _Parser]) -> None:
    own = add(do.check)
    own.add_argument("pruner", metavar="PATH.py:function", help="a function as those of pruners/scores.py")
    told = "settings of all runs, those of `ticket` of the pruner's own"
    own.add_argument("words", nargs="*", metavar="key=value", help=told)
    own.add_argument(
        "--density", default="0.1,0.05", metavar="LIST", help="fractions kept; default: 0.1,0.05"
    )
    own.add_argument("--seeds", type=_count, default=5, metavar="N", help="seeds of each run; default: 5")
    own.add_argument("--workers", type=_count, help="runs in flight; default: chosen for the machine")
    own.add_argument("--out", type=Path, metavar="DIR", help="the page's folder; default: in _build/check")


def _records_and_speed(add: Callable[..., _Parser]) -> None:
    copies = add(store.publish)
    copies.add_argument("words", nargs="*", metavar="FILE.yaml | KEY", help="which runs; see above")
    copies.add_argument("--to", type=Path, metavar="DIR", help="the folder; default: book/records")
    copies.add_argument("--replace", action="store_true", help="take ours where a differing one is there")
    add(store.import_, name="import").add_argument("folder", type=Path, metavar="DIR")
    speeds = add(do.bench)
    speeds.add_argument(
        "names", nargs="*", metavar="CASE", help="what to measure; default: all but store and precision"
    )
    speeds.add_argument("--repeats", type=_count, metavar="N", help="rounds of each measurement, or seeds")
    told = "only copy this machine's bench records into book/records/bench"
    speeds.add_argument("--publish", action="store_true", help=told)


def _health(add: Callable[..., _Parser]) -> None:
    told = "read every file and verify its checksum"
    add(store.doctor).add_argument("--deep", action="store_true", help=told)
    garbage = add(store.gc)
    told = "only what has not changed for, e.g., 30d, 12h or 10m"
    garbage.add_argument("--older", type=_duration, default=0.0, metavar="TIME", help=told)
    garbage.add_argument("--yes", action="store_true", help="remove it")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0; give 1 or more")
    return int(text)


def _duration(text: str) -> float:
    found = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    units = zip(found.groups(), (86400, 3600, 60, 1), strict=True) if found else ()
    seconds = sum(int(n or 0) * unit for n, unit in units)
    if not seconds:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time; write e.g. 90s, 9m or 1h30m")
    return float(seconds)


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
