"""What the commands `repro ticket ...` do: a few lines over one function, with the words that their help shows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .text import show_table


def export(args: argparse.Namespace) -> None:
    """Write the ticket of a run as a file that others can load: its masks, and the weights it starts from.

    The run is named by the first letters of its key, or by settings as for repro run; it need not be trained. With
    --final it is the masks and weights that the run ended with. Weights that a seed gives are not stored but
    rebuilt when the file is read, unless --weights says otherwise.
    """
    from .errors import ReproError
    from .ticketfile.fit import from_seed
    from .ticketfile.runs import final, first, run_of
    from .ticketfile.store import named, save
    from .ticketfile.torchprune import write_prune

    s = run_of(args.words)
    stem = f"{s.key()}-final" if args.final else s.key()
    if args.format == "torch-prune":
        if args.weights:
            raise ReproError("--weights: not used with --format torch-prune, which stores all; remove it")
        path = args.to or Path(f"{stem}.prune.safetensors")
        write_prune(path, *(final if args.final else first)(s))
        return print(f"{path}: {path.stat().st_size} bytes, for networks that went through prune.identity")
    path = named(args.to or f"{stem}.ticket.safetensors")
    ticket, facts = (final if args.final else first)(s)
    mode = args.weights or ("seed" if from_seed(ticket, facts) else "kept")
    card = save(path, ticket, facts, weights=mode)
    print(f"{path}: {path.stat().st_size} bytes, {card.kept} of {card.total} weights kept, weights: {mode}")


def inspect(args: argparse.Namespace) -> None:
    """Show the card of a ticket file and its layers, after all its checksums were verified."""
    from .ticketfile import load
    from .ticketfile.page import facts_told
    from .ticketfile.store import card_file

    _, card = load(args.file)
    for name, words in {"file": f"{args.file}, {args.file.stat().st_size} bytes", **facts_told(card)}.items():
        print(f"{name:10} {words}")
    for note in card.provenance.source.notes if card.provenance.source else ():
        print(f"{'note':10} {note}")
    print()
    rows: list[dict[str, Any]] = [row.model_dump() for row in card.layers]
    total = {"name": "all", "shape": "", "kept": card.kept, "total": card.total, "coding": ""}
    show_table([{**row, "density": f"{row['kept'] / row['total']:.4f}"} for row in [*rows, total]])
    print("\nchecksums hold: masks, weights and card are as they were written")
    beside = card_file(args.file)
    if beside.exists() and not _same_card(beside, card):
        print(f"{beside}: not the card of this file; the one in the file counts")


def _same_card(path: Path, card: Any) -> bool:
    from .errors import ReproError
    from .ticketfile.card import LIMIT, plain, read
    from .vet import sized

    try:
        return read(plain(sized(path, LIMIT).decode())) == card
    except (ReproError, UnicodeDecodeError):
        return False


def diff(args: argparse.Namespace) -> None:
    """Compare two ticket files of one network: overlap of the masks, beside what chance gives, and the weights."""
    from .ticketfile import load
    from .ticketfile.compare import compare

    found = compare(load(args.a)[0], load(args.b)[0])
    show_table(found.rows)
    print(f"\nmasks: {'the same' if found.same_masks else 'not the same'}")
    print(f"weights: {found.weights}")


def evaluate(args: argparse.Namespace) -> None:
    """Measure the trained weights of a ticket file on the test images, with its masks applied.

    The data are those of its card; data.name=cifar10 and other settings of data say otherwise, or what a card of an
    imported ticket does not know.
    """
    from .ticketfile import load
    from .ticketfile.score import score

    ticket, card = load(args.file)
    found = score(ticket, card, args.words)
    print(f"pruned     {found['pruned']:.4f} of the weights of convolutions and linear layers")
    print(f"accuracy   {found['accuracy']:.2f} % of {found['images']} test images of {found['data']}")
    print(f"top5       {found['top5']:.2f} %\nloss       {found['loss']:.4f}")
    if card.accuracy is not None:
        print(f"recorded   {card.accuracy:.2f} %")


def import_(args: argparse.Namespace) -> None:
    """Make a ticket file of a checkpoint of another code; no code in the checkpoint is run.

    Layouts: gohil, su2020, answer42, rigl, gadhikar, synflow. Layers are found by their names, or by order and shape.
    Where a layout has no masks, weights that are exactly 0 count as pruned.
    """
    from .ticketfile.foreign import take
    from .ticketfile.store import SUFFIX, named, save

    path = named(args.to or Path(args.file.name.split(".")[0] + SUFFIX))
    ticket, facts, notes = take(
        args.file, layout=args.layout, model=args.model[0], words=args.model[1:], classes=args.classes
    )
    card = save(path, ticket, facts, weights="kept" if ticket.weights else "none")
    for note in notes:
        print(f"note: {note}")
    print(f"{path}: {path.stat().st_size} bytes, {card.kept} of {card.total} weights kept")


def push(args: argparse.Namespace) -> None:
    """Publish a ticket file in a repository of the Hugging Face Hub, with its card and a README made from it.

    The repository is made if it is not there. A README that is there stays, unless --replace is given.
    """
    from .ticketfile.hub import push

    done = push(args.file, args.repo, private=args.private, replace=args.replace)
    print(f"{done.url}: {', '.join(done.files)}")
    if done.readme_stays:
        print("its README.md was there and stays; --replace writes a new one")
