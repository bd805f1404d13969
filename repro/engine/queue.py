"""The queue of a batch: what waits, what is in flight, what is tried again, and what became of each run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from typing import NoReturn

from .. import files, record
from ..errors import ReproError
from ..facts import head
from ..lineage import needs
from ..naming import density, method
from ..progress import Flying, View
from .assign import assign
from .job import FULL, Job, Lanes, Sign, Todo, WorkerDiedError, reason

ATTEMPTS = 3  # a run whose worker died so often has failed
TICK = 1.0  # seconds between two looks at the signs of life
Fate = Callable[[], str]


def blockers_of(todo: Todo) -> dict[str, set[str]]:
    """Give the keys of the runs that each run of a plan needs."""
    return {key: {need.settings.key() for need in needs(job.settings)} for key, job in todo.items()}


class Queue:
    """Makes everything that is planned, prerequisites before what needs them.

    A run whose worker dies goes on in another, three attempts in all; one that has no memory goes on with one less in
    flight. Where runs share a process nobody knows whose fault its death was, so each of them goes on alone.

    Args:
        todo: the runs.
        lanes: what makes them.
        room: how many each place takes at once, by name.
        cores: CPU cores that runs in flight share.
        timeout: seconds without a sign of life after which a run's worker is killed; None for none.
    """

    def __init__(
        self, todo: Todo, lanes: Lanes, room: Mapping[str, int], cores: int, timeout: float | None = None
    ) -> None:
        self.todo, self.waiting, self.lanes, self.room = todo, dict(todo), lanes, dict(room)
        self.cores, self.timeout, self.blockers = cores, timeout, blockers_of(todo)
        self.flying: dict[str, str] = {}
        self.futures: dict[Future[str], str] = {}
        self.attempts: Counter[str] = Counter()
        self.with_others: set[str] = set()
        self.hung: set[str] = set()
        self.excused: set[str] = set()
        self.death: BaseException | None = None
        self.failed: dict[str, str] = {}
        self.began: dict[str, float] = {}
        self.over = False
        self.finished, self.work_done, self.busy, self.looked = 0, 0, 0.0, time.monotonic()

    def each(self) -> Iterator[tuple[str, Fate]]:
        """Make everything; yield each key with the function that gives its fate, or raises why it failed."""
        try:
            yield from self._each()
        finally:
            self.over = True

    def _each(self) -> Iterator[tuple[str, Fate]]:
        while self.futures or (self.waiting and not self.lanes.stop.is_set()):
            yield from self._doomed()
            self._start()
            for future in self._wait():
                key, place = self._land(future)
                error = future.exception()
                if error is None:
                    self._count(key, future.result() != "stopped")
                    yield key, future.result
                elif told := self._given_up(key, place, error):
                    yield key, self._fail(key, told)
            self._end_hung()

    def _fail(self, key: str, error: BaseException) -> Fate:
        self.failed[key] = reason(error, key)
        self._count(key)

        def fate() -> NoReturn:
            raise error

        return fate

    def _doomed(self) -> Iterator[tuple[str, Fate]]:
        """Give up what needs a run that has failed."""
        for key in [key for key in self.waiting if not self.blockers[key].isdisjoint(self.failed)]:
            before = next(iter(self.blockers[key] & {*self.failed}))
            del self.waiting[key]
            yield key, self._fail(key, ReproError(f"the run before, {before}, failed: {self.failed[before]}"))

    def _start(self) -> None:
        unfinished = {*self.waiting, *self.flying}
        ready = (key for key in self.waiting if self.blockers[key].isdisjoint(unfinished))
        spare = max(0, sum(self.room.values()) - len(self.flying))
        tried = [key for key in self.attempts if key in unfinished] if self.lanes.shared else []
        free = [*islice((key for key in ready if not made_elsewhere(key)), spare)]
        for key, place in assign(free, self.flying, self.room, tried):
            if self.lanes.stop.is_set():
                return
            at_once = min(sum(self.room.values()), len(self.waiting) + len(self.flying))
            threads = self.lanes.threads or max(1, self.cores // at_once)
            self._tick()
            job = self.waiting.pop(key)._replace(threads=threads, place=place)
            self.flying[key], self.began[key] = place, time.monotonic()
            beside = [other for other, at in self.flying.items() if at == place]
            self.with_others |= {*beside} if len(beside) > 1 else set()
            self.futures[self.lanes.submit(job)] = key

    def _wait(self) -> Iterable[Future[str]]:
        if not self.futures:  # others make what is left
            if self.waiting:
                self.lanes.stop.wait(TICK)
            return ()
        return wait(self.futures, TICK, FIRST_COMPLETED).done

    def _land(self, future: Future[str]) -> tuple[str, str]:
        self._tick()
        key = self.futures.pop(future)
        self.began.pop(key)
        return key, self.flying.pop(key)

    def _given_up(self, key: str, place: str, error: BaseException) -> BaseException | None:
        """Decide whether a run that ended so is tried again, and with how many in flight from then on.

        Returns:
            None if it is; else the error to tell.
        """
        hung, excused, beside = (key in them for them in (self.hung, self.excused, self.with_others))
        for them in (self.hung, self.excused, self.with_others):
            them.discard(key)
        if isinstance(error, FULL):
            self._lower(place)
            told = None if beside else error
        elif isinstance(error, WorkerDiedError):
            if (
                error.killed and not (hung or excused) and error is not self.death
            ):  # told once for each run in it
                self._lower(place)
            self.death = error
            self.attempts[key] += not excused
            last = f"no sign of life for {self.timeout:g} s" if hung else error
            ended = ReproError(f"its worker died {ATTEMPTS} times, the last: {last}")
            told = ended if self.attempts[key] >= ATTEMPTS else None
        else:
            told = error
        if told is None:
            self.waiting[key] = self.todo[key]
        return told

    def _lower(self, place: str) -> None:
        self.room[place] = max(1, self.room[place] - 1)

    def _end_hung(self) -> None:
        """Kill the workers of runs that have given no sign of life for too long; others in them are not to blame."""
        if self.timeout is None:
            return
        for key, sign in self.lanes.signs().items():
            if key in self.flying and key not in self.hung and sign.age > self.timeout:
                self.hung.add(key)
                if self.lanes.shared:
                    at = self.flying[key]
                    self.excused |= {other for other, p in self.flying.items() if p == at} - self.hung
                self.lanes.end(key)

    def _count(self, key: str, whole: bool = True) -> None:
        if whole:
            self.finished += 1
            self.work_done += _length(self.todo[key])

    def _tick(self) -> None:
        now = time.monotonic()
        self.busy += (now - self.looked) * self._at_work()
        self.looked = now

    def _at_work(self) -> int:
        return len({*self.flying.values()}) if self.lanes.shared else len(self.flying)

    def view(self) -> View:
        """Say how things stand, to be shown; asked from another thread."""
        signs = {} if self.over else self.lanes.signs()
        began, now = dict(self.began), time.monotonic()
        flying = [(key, self.todo[key], signs.get(key, Sign(0.0))) for key in began]
        rows = [Flying(name(job), *_epochs(job, sign), now - began[key]) for key, job, sign in flying]
        work = self.work_done + sum(row.epoch for row in rows)
        return View(
            done=self.finished,
            failed=len(self.failed),
            waiting=len(self.waiting),
            flying=rows,
            share=work / max(1, sum(map(_length, self.todo.values()))),
            hours=(self.busy + (now - self.looked) * self._at_work()) / 3600,
        )


def _length(job: Job) -> int:
    return job.settings.optim.length


def _epochs(job: Job, sign: Sign) -> tuple[int, int]:
    return (round(_length(job) * sign.done / sign.total) if sign.total else 0), _length(job)


def name(job: Job) -> str:
    """Name a run for people: method, density, network, data, seed."""
    s, told = job.settings, head(job.settings)["settings"]
    kept = density(told)
    share = "" if kept is None or kept == 1 else f" {kept:g}"
    return f"{method(told)}{share} {s.model.name} {s.data.name} seed {s.seed}"


def made_elsewhere(key: str) -> bool:
    """Tell whether another process is making a run at this moment: no worker need wait for that."""
    path = record.folder(key) / "lock"
    if not path.exists():
        return False
    try:
        with files.lock(path, wait=False):
            return False
    except files.BusyError:
        return True
