"""What `repro run` and `repro batch` share, and what only a batch can: other engines, a share of the plan, a patience."""

from __future__ import annotations

import argparse
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .errors import ReproError
from .text import show_table

SHOWN = ["key", "data", "model", "method", "check", "density", "seed", "status", "accuracy"]
Type = Callable[[str], Any]


def batch(args: argparse.Namespace) -> None:
    """Train the runs of parameter files as one queue; what is done is not done again.

    With a budget the command ends when the time is up, everything under way saved; the same command goes on. A run
    whose worker dies goes on from its checkpoint in another, three attempts in all. Several GPUs of this machine
    (--gpus), a Ray cluster (--engine ray) or jobs that know nothing of each other (--index) share the work.
    """
    from .engine.assign import dealt
    from .grids import plan
    from .settings import unique

    engine = _engine(args)
    planned = unique(s for f in args.files for s in plan(f))
    if args.index:
        planned = dealt(planned, [s.key() for s in planned], *args.index)
    make_or_list(planned, args, engine)
    if args.dry_run:
        _tell_stages(planned)


def options(made: argparse.ArgumentParser, count: Type, duration: Type) -> None:
    """Add the options that only a batch has; `count` and `duration` read numbers and lengths of time."""
    made.add_argument("--gpus", metavar="LIST", help="GPUs of this machine to share the work, e.g. 0,1")
    told = "runs in flight on each GPU; default: auto, measured there"
    made.add_argument("--per-gpu", type=lambda w: None if w == "auto" else count(w), metavar="K", help=told)
    told = "this machine, or a Ray cluster; default: local"
    made.add_argument("--engine", choices=("local", "ray"), default="local", help=told)
    told = "of the Ray cluster; default: this machine's, or one that is started here"
    made.add_argument("--address", metavar="ADDR", help=told)
    told = "make share I, from 0, of N equal shares of the runs, e.g. in a Slurm array"
    made.add_argument("--index", type=_index, metavar="I/N", help=told)
    told = "try a run again that gives no sign of life for, e.g., 30m; default: wait"
    made.add_argument("--timeout", type=duration, metavar="TIME", help=told)
    made.set_defaults(print=False)


def _index(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; write e.g. 0/8, the first of eight")
    return int(found[1]), int(found[2])


def _engine(args: argparse.Namespace) -> Any:
    from .engine.assign import gpus
    from .engine.job import Engine

    if args.gpus and (args.workers or args.engine == "ray"):
        other = "--workers: with it --per-gpu says" if args.workers else "--engine ray: Ray knows"
        raise ReproError(f"--gpus does not go with {other} how many runs share a GPU; leave one out")
    if args.address and args.engine != "ray":
        raise ReproError("--address: used only with --engine ray; add that")
    if args.per_gpu and not args.gpus and args.engine != "ray":
        raise ReproError("--per-gpu: used only with --gpus or --engine ray; add one, e.g. --gpus 0")
    names = gpus(args.gpus) if args.gpus else ()
    return Engine(args.engine, names, args.per_gpu, args.address, args.timeout)


def _tell_stages(planned: Sequence[Any]) -> None:
    from .engine.assign import stages
    from .engine.queue import blockers_of
    from .pool import plan

    found = stages(blockers_of(plan(planned)))
    if len(found) > 1:
        print(f"to train, what others need first: {', then '.join(map(str, found))} runs")


def make_or_list(planned: Sequence[Any], args: argparse.Namespace, engine: Any = None) -> None:
    """Make runs, or only print what was planned, as the options ask."""
    if args.print or args.dry_run:
        from .listing import list_runs, print_settings

        return print_settings(planned) if args.print else list_runs(planned)
    with _softly():
        return _make(planned, args, {"engine": engine} if engine else {})


def _make(planned: Sequence[Any], args: argparse.Namespace, how: dict[str, Any]) -> None:
    """Make runs, show their results, and end with an error if one failed."""
    from .pool import run_all

    snapshots = [word for word in args.snapshots.split(",") if word]
    if snapshots and not args.keep_weights:
        raise ReproError("--snapshots: used only with --keep-weights; add that")
    how |= {"workers": args.workers, "budget": args.budget, "track": args.track}
    frame = run_all(planned, **how, weights=args.keep_weights, snapshots=snapshots)
    show_table(frame[SHOWN].round({"accuracy": 2}).to_dict("records"))
    if args.track:
        from .track import watch

        print(watch(args.track))
    left = frame["status"].isin(["stopped", "missing"]).sum()
    if left:
        print(f"the time is up: {len(frame) - left} of {len(frame)} runs done; the same command goes on")
    failed = frame[frame["status"] == "failed"]
    if len(failed):
        _tell_failed(failed)
        key, reason = failed.iloc[0][["key", "reason"]]
        raise ReproError(f"{len(failed)} of {len(frame)} runs failed; the first, {key}: {reason}")


def _tell_failed(failed: Any) -> None:
    """Say why runs failed, each reason once, where there are several."""
    groups = failed.groupby("reason", sort=False)["key"].apply(list)
    if len(failed) > 1:
        for reason, keys in groups.items():
            more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
            print(f"failed: {', '.join(keys[:5])}{more}: {reason}")


@contextmanager
def _softly() -> Iterator[None]:
    """Take the signals by which schedulers announce the end of a job as a Ctrl-C: everything is saved."""
    from .engine.child import ENDING

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, lambda *_: signal.raise_signal(signal.SIGINT)) for n in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
