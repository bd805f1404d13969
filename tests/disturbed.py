"""Batches that are disturbed for real, and what helps to disturb them; run as a program it is `repro` that can be disturbed.

As a program, `python disturbed.py batch FILE ...` is the command line with what the environment asks for: checkpoints
after every epoch (always), DISTURB_CLOCK=SEED a clock that jumps, DISTURB_FILE_SIZE=BYTES no larger files,
DISTURB_LOG=FILE a line for each record that is written. `python disturbed.py serve FILE` loads everything once, and then
starts copies of itself, each the whole command line, as its input asks: a process that is there at once can be killed
often. Worker processes import this file too, and get the same.
"""

from __future__ import annotations

import datetime
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
VARYING = (
    "when",
    "seconds",
    "memory_mb",
    "environment",
    "sha256",
)  # of a record; all else is the same each time
DAY = 86_400
REAL = datetime.datetime
LOG = "driver.log"  # in the build folder


# --- the program ----------------------------------------------------------------------------------------------------


class Jumping(REAL):
    """Dates that come from the clock that jumps."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return REAL.fromtimestamp(time.time(), tz)


def _let_clock_jump(seed: int) -> None:
    """Let the clock be wrong by up to 400 days, another number of days at each look."""
    import repro.pool  # noqa: F401 - and all that looks at clocks

    true, chance = time.time, random.Random(seed)
    time.time = lambda: true() + DAY * chance.uniform(-400, 400)
    for name, module in list(sys.modules.items()):
        if name.startswith("repro.") and getattr(module, "datetime", None) is REAL:
            vars(module)["datetime"] = Jumping


def _log_records(path: str) -> None:
    """Log who puts which record in its place, whatever the code is called that does it."""

    def heard(event: str, args: tuple[Any, ...]) -> None:
        if event == "os.rename" and str(args[1]).endswith("record.json"):
            line = f"{Path(args[1]).parent.name} {os.getpid()}\n"
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(handle, line.encode())
            os.close(handle)

    sys.addaudithook(heard)


def _prepare() -> None:
    if seed := os.environ.get("DISTURB_CLOCK"):
        _let_clock_jump(int(seed))
    if size := os.environ.get("DISTURB_FILE_SIZE"):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
    if path := os.environ.get("DISTURB_LOG"):
        _log_records(path)
    import repro.train

    assert repro.train.SAVE_EVERY > 0
    repro.train.SAVE_EVERY = 0.0


def _command(words: Sequence[str]) -> int:
    from repro.cli import main

    sys.argv = ["repro", *words]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _serve(file: str) -> None:
    """Start copies of this process: for each line of words print the number of the process; "" asks how it ended."""
    import repro.cli
    import repro.pool  # noqa: F401
    from repro.grids import plan
    from repro.materials import data_of

    data_of(plan(file)[0])
    print("ready", flush=True)
    for line in sys.stdin:
        words, pid = json.loads(line), 0
        if isinstance(words, int):
            pid, status = os.waitpid(words, os.WNOHANG)
            print(os.waitstatus_to_exitcode(status) if pid else "runs", flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            log = os.open(Path(os.environ["REPRO_BUILD"]) / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for number in (1, 2):
                os.dup2(log, number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            code = 1
            try:
                code = _command(words)
                sys.stdout.flush()
            finally:
                os._exit(code)


if __name__ in ("__main__", "__mp_main__"):
    _prepare()
if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2])
    else:
        sys.exit(_command(sys.argv[1:]))


# --- for the tests --------------------------------------------------------------------------------------------------


def environment(build: Path, **more: str) -> dict[str, str]:
    """Give the environment of a program that works in a build folder."""
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "REPRO_DEVICE": "cpu"}
    return {**os.environ, **quiet, "REPRO_BUILD": str(build), **more}


def start(words: Sequence[object], build: Path, **more: str) -> subprocess.Popen[str]:
    """Start the command line, in a session of its own; its output is kept, its errors go into a file."""
    build.mkdir(parents=True, exist_ok=True)
    with (build.parent / f"{build.name}-{LOG}").open("a") as log:
        return subprocess.Popen(
            [sys.executable, __file__, *map(str, words)],
            env=environment(build, **more),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )


def told(build: Path) -> str:
    """Give what all programs of a build folder wrote."""
    places = (build.parent / f"{build.name}-{LOG}", build / LOG)
    return "".join(path.read_text() for path in places if path.exists())


def finished(words: Sequence[object], build: Path, **more: str) -> int:
    """Run the command line to its end; give its exit code."""
    process = start(words, build, **more)
    try:
        return process.wait(300)
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a program and of its workers."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Server:
    """A program that starts copies of itself."""

    def __init__(self, file: Path, build: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve", str(file)],
            env=environment(build),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def _ask(self, question: object) -> str:
        assert self.process.stdin
        print(json.dumps(question), file=self.process.stdin, flush=True)
        return self._line()

    def start(self, words: Sequence[object]) -> int:
        """Start the command line; give the number of its process."""
        return int(self._ask([str(word) for word in words]))

    def ended(self, pid: int) -> int | None:
        """Give the exit code of a process that has ended, minus the signal that killed it, once; else None."""
        answer = self._ask(pid)
        return None if answer == "runs" else int(answer)

    def wait(self, pid: int) -> int:
        """Wait for the end of a process."""
        deadline = time.monotonic() + 120
        while (code := self.ended(pid)) is None:
            assert time.monotonic() < deadline, f"process {pid} does not end"
            time.sleep(0.01)
        return code


@contextmanager
def serving(file: Path, build: Path) -> Iterator[Server]:
    """Have such a program inside the block."""
    build.mkdir(parents=True, exist_ok=True)
    server = Server(file, build)
    with server.process:  # closes the pipes
        try:
            yield server
        finally:
            end(server.process)


def workers(pid: int) -> list[int]:
    """List the worker processes of a program on this machine (Linux)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            words = entry.with_name("cmdline").read_text()
        except (OSError, ValueError, IndexError):  # it ended just now
            continue
        if parent == pid and "spawn_main" in words:
            found.append(int(entry.parent.name))
    return sorted(found)


def hit(pid: int, sign: signal.Signals) -> bool:
    """Send a signal to a process; tell whether it was there."""
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        return False
    return True


def kept(build: Path) -> dict[str, dict[str, Any]]:
    """Read what does not vary of all finished records of a build folder, and verify that each is whole."""
    from repro import seals

    found = {}
    for done in sorted((build / "runs").glob("*/DONE")):
        content = json.loads(done.with_name("record.json").read_text())
        assert seals.SUM in content
        seals.opened(content)
        found[done.parent.name] = {k: v for k, v in content.items() if k not in VARYING}
    return found


def weights(build: Path) -> dict[str, bytes]:
    """Read the trained weights of all finished dense runs of a build folder."""
    dense = [key for key, content in kept(build).items() if content["settings"]["ticket"]["score"] is None]
    files = {key: build / "runs" / key / "weights.safetensors" for key in dense}
    return {key: path.read_bytes() for key, path in files.items()}


class Watch:
    """Looks at records again and again: each must be whole, and written once."""

    def __init__(self, build: Path) -> None:
        self.build, self.written = build, dict[str, set[tuple[int, int]]]()

    def look(self) -> None:
        """Look; a record that another process damages or writes anew is remembered."""
        for done in (self.build / "runs").glob("*/DONE"):
            facts = done.with_name("record.json").stat()
            self.written.setdefault(done.parent.name, set()).add((facts.st_ino, facts.st_mtime_ns))
        for path in (self.build / "runs").glob("*/record.json"):
            json.loads(path.read_text())  # whole at every moment, also before it counts

    def twice(self) -> list[str]:
        """Name the runs that were done more than once."""
        return [key for key, seen in self.written.items() if len(seen) > 1]
