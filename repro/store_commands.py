"""What the commands about this machine's store do: its health, what can go, records in and out."""

from __future__ import annotations

import argparse
import sys

from .text import show_table


def doctor(args: argparse.Namespace) -> None:
    """Examine the environment and this machine's store; say of each finding what to do.

    Versions, devices, data sets, room on the disk, locks, runs under way, orphans and damaged files. With --deep every
    file is read and its checksum verified. Exit code 0 if all is well, 1 if something needs attention.
    """
    from .health import examine, healthy

    found = []
    for finding in examine(deep=args.deep):
        found.append(finding)
        print(finding.line(), flush=True)
    if not healthy(found):
        sys.exit(1)


def gc(args: argparse.Namespace) -> None:
    """List what can go from the build folder, and with --yes remove it; finished records always stay.

    Weights, snapshots, tickets and checkpoints that no unfinished run of this store or of params/ needs, folders of
    runs that never got to a checkpoint, damaged files that were set aside, and unfinished temporary files.
    """
    from .health.garbage import MOST, listed, remove, size

    found = listed(older=args.older)
    shown = sorted(found, key=lambda item: -item.size)[:MOST]
    show_table([{"what": i.kind, "size": size(i.size), "path": str(i.path), "why": i.why} for i in shown])
    if len(found) > MOST:
        print(f"and {len(found) - MOST} more")
    total = f"{len(found)} that can go, {size(sum(item.size for item in found))}"
    if not found:
        return print("nothing can go")
    if not args.yes:
        return print(f"{total}; nothing was removed: `repro gc --yes` removes them")
    gone, busy = remove(found)
    print(f"{gone.number} removed, {size(gone.size)}")
    if busy:
        print(f"left alone {len(busy)} that another process is using or that have changed")


def publish(args: argparse.Namespace) -> None:
    """Copy finished records, without weights, into the book or another folder; what is there stays.

    Without words, into the book go the runs that params/*/paper.yaml plan, into another folder all finished runs.
    The runs of the profiles quick and smoke never go into the book, which trains them live.
    """
    from .publish import publish, tell

    tell(publish(args.words, args.to, replace=args.replace))


def import_(args: argparse.Namespace) -> None:
    """Take records, and runs under way, from another machine into this machine's store; what is here stays."""
    from .intake import take
    from .publish import tell

    tell(take(args.folder))
