"""Which run starts where, and which runs of a plan are whose: pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from ..errors import ReproError

T = TypeVar("T")


def assign(
    ready: Iterable[str], flying: Mapping[str, str], room: Mapping[str, int], alone: Collection[str] = ()
) -> list[tuple[str, str]]:
    """Choose what starts now, and at which place: each run goes where the least is in flight.

    Args:
        ready: keys of runs that may start, the most wanted first.
        flying: the place of each run in flight.
        room: how many runs each place takes at once.
        alone: keys, ready or flying, that share their place with nothing; one that has to wait for that keeps a
            place free of others.

    Returns:
        Keys with their places, in the order of `ready`.
    """
    load = {place: sum(at == place for at in flying.values()) for place in room}
    closed = {flying[key] for key in alone if key in flying}
    chosen: list[tuple[str, str]] = []
    for key in ready:
        free = [p for p in room if p not in closed and load[p] < room[p]]
        if key in alone:
            free = [p for p in room if p not in closed]
        if not free:
            if len(closed) == len(room):
                break
            continue
        place = min(free, key=lambda p: load[p])
        if key in alone:
            closed.add(place)
            if load[place]:
                continue
        load[place] += 1
        chosen.append((key, place))
    return chosen


def share(keys: Iterable[str], index: int, of: int) -> set[str]:
    """Give one share of a plan: the keys in their order, dealt out one by one, so that shares differ by one at most.

    Args:
        keys: of all runs of the plan, done or not.
        index: which share, from 0.
        of: how many there are.

    Raises:
        ReproError: when there is no such share.
    """
    if not 0 <= index < of:
        raise ReproError(
            f"--index {index}/{of}: shares count from 0 to {of - 1}; for Slurm --array=0-{of - 1}"
        )
    return {*sorted({*keys})[index::of]}


def stages(blockers: Mapping[str, Collection[str]]) -> list[int]:
    """Count the runs of each stage: those that wait for nothing, those that wait for these, and so on.

    Args:
        blockers: the keys that each run waits for; others than those listed are done.
    """
    depth: dict[str, int] = {}

    def of(key: str) -> int:
        if key not in depth:
            depth[key] = 1 + max((of(before) for before in blockers[key] if before in blockers), default=-1)
        return depth[key]

    found = [of(key) for key in blockers]
    return [found.count(i) for i in range(max(found, default=-1) + 1)]


def gpus(text: str) -> tuple[str, ...]:
    """Read a list of GPUs, e.g. "0,1" or names that begin with "GPU-".

    Raises:
        ReproError: when it is empty, or names one twice.
    """
    names = [word.strip() for word in text.split(",")]
    if not all(names) or len({*names}) < len(names):
        raise ReproError(f"--gpus {text}: write each GPU once, e.g. 0,1")
    return (*names,)


def dealt(items: Sequence[T], keys: Sequence[str], index: int, of: int) -> list[T]:
    """Give the items of one share, in their order; `keys` names each of them, see `share`."""
    mine = share(keys, index, of)
    return [item for item, key in zip(items, keys, strict=True) if key in mine]
