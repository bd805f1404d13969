"""What each command does: a few lines over one function, with the words that its help shows."""

from __future__ import annotations

import argparse
from typing import Any

from .batch_command import make_or_list
from .errors import ReproError
from .text import assignments
from .text import show_table as _table


def run(args: argparse.Namespace) -> None:
    """Train the runs that parameter files or settings ask for; what is done is not done again.

    Without a file the settings alone make one run, e.g. repro run model.name=resnet20 ticket.score=snip
    ticket.density=0.1 seed=1. A list makes a grid: seed=[0,1,2]. With --print nothing is trained: the settings of
    every run are printed in full, defaults, recipe and overrides resolved.
    """
    from .grids import expand, is_file_name, plan

    files = [w for w in args.words if is_file_name(w)]
    overrides = assignments([w for w in args.words if w not in files])
    planned = [s for f in files for s in plan(f, overrides)] or expand([{}], overrides, "command line")
    make_or_list(planned, args)


def tune(args: argparse.Namespace) -> None:
    """Search settings for the best mean validation accuracy, as the key `tune` of a parameter file asks.

    A trial trains the file's runs, one for each seed, with other settings; the first takes them as they stand. Test
    images choose nothing. The same command goes on where it stopped; more --trials prolong the search.
    """
    from .tuning import preview, told, tune

    what = (args.file, assignments(args.words))
    how = {"trials": args.trials, "sampler": args.sampler}
    if not args.dry_run:
        tune(
            *what, **how, workers=args.workers, budget=args.budget, tell=lambda line: print(line, flush=True)
        )
    rows, lines = (preview if args.dry_run else told)(*what, **how)
    _table(rows)
    print(*lines, sep="\n")


def status(args: argparse.Namespace) -> None:
    """Say which runs are done: those of the parameter files, or all that have a record."""
    from . import record
    from .rows import overview

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
    _table(overview(frame).round(2).to_dict("records"))


def _one(key: str) -> Any:
    """Look up the one run whose key begins so, as a table of one row."""
    from . import record

    frame = record.load()
    rows = frame[frame["key"].str.startswith(key)]
    if len(rows) != 1:
        found = "no run" if rows.empty else f"{len(rows)} runs"
        raise ReproError(f"{key}: {found} with this key; `repro status` lists what there is")
    return rows


def show(args: argparse.Namespace) -> None:
    """Show the record of one run."""
    from .record import details

    row = details(_one(args.key)).iloc[0]
    for name in row.index.drop(["curve", "layers", "settings"]):
        print(f"{name:12} {row[name]}")
    print()
    _table([{k: layer[k] for k in ("name", "kept", "total", "density")} for layer in row["layers"]])


def evaluate(args: argparse.Namespace) -> None:
    """Load the trained weights of a finished run and measure it on the test images.

    Dense runs keep their weights; those of a ticket are there after repro run ... --keep-weights.
    """
    from .evaluation import evaluate

    for name, value in evaluate(_one(args.key)["key"].iloc[0]).items():
        print(f"{name:10} {value:.4f}" if name == "loss" else f"{name:10} {value:.2f}")


def report(args: argparse.Namespace) -> None:
    """Train what is missing, execute the notebooks and build the HTML report."""
    from .book import make_report

    print(f"open {make_report(args.profile)}")


def check(args: argparse.Namespace) -> None:
    """Put a pruner of your own through the sanity checks, and write a page with the verdict.

    Does it use the data? Do the kept positions matter beyond the layer counts? Does it beat a random ticket? The
    function is tried on noise first, then trained at quick scale, which takes two minutes on two cores; settings
    such as model.name=resnet20 change the scale. What is trained already is not trained again.
    """
    from .battery import check_pruner, densities_of

    verdict, page = check_pruner(
        args.pruner,
        densities=densities_of(args.density),
        seeds=args.seeds,
        overrides=assignments(args.words),
        workers=args.workers,
        out=args.out,
    )
    print(*verdict.lines(), sep="\n")
    print(f"open {page}")


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
    """Compare the files of data sets with their published checksums, or count them where there are none."""
    from .data import verify

    found = [
        {"set": name, "file": file, "state": state} for name in args.names for file, state in verify(name)
    ]
    _table(found)
    bad = [row for row in found if row["state"] != "ok"]
    if bad:
        raise ReproError(
            f"{bad[0]['file']}: {bad[0]['state']}; `repro data fetch {bad[0]['set']}` gets it, or says how"
        )


def bench(args: argparse.Namespace) -> None:
    """Measure our speed beside that of a plain loop; the report's page Performance shows the record.

    Cases: ceiling, step, pipeline, epoch, evaluation, masks, memory, moves, flight, scaling, table, and two that take
    long and are measured only when named: store, fifty thousand records, and precision, which trains many networks. A
    case that is measured again replaces its own rows.
    """
    from .bench import bench, compact, publish

    if args.publish:
        if args.names or args.repeats:
            raise ReproError("--publish copies what was measured, and takes no CASE and no --repeats")
        made = publish()
        if not made:
            raise ReproError("nothing was measured on this machine yet; `repro bench` does that")
        print(*(f"published {path}" for path in made), sep="\n")
        return

    def show(name: str, case: dict[str, Any]) -> None:
        impossible = case.get("impossible")
        print(f"{name}: " + (f"not possible here: {impossible}" if impossible else f"{case['seconds']:g} s"))
        _table(compact(case.get("rows", [])))
        print(flush=True)

    found = bench(args.names, repeats=args.repeats, show=show)
    for name, why in {"store": "makes fifty thousand records", "precision": "trains ten networks"}.items():
        if name not in found["cases"]:
            print(f"{name}: not measured; it {why}: repro bench {name}")
