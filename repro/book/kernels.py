"""Kernels for notebooks. A process that executes many keeps one kernel, so that imports are paid for once."""

from __future__ import annotations

import atexit
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from traitlets.config import Config

from .. import paths

NAME = "python3"
PACKAGE = Path(__file__).resolve().parent.parent
READ = ("REPRO_", "PYTHON", "OMP_")  # how the environment variables begin that a kernel depends on
# No variable, no history, and cells count from 1 again; but `__spec__`, which worker processes ask for, stays.
CLEAN = """if (lambda main, spec: (get_ipython().reset(new_session=True), setattr(main, "__spec__", spec)))(
    __import__("__main__"), __spec__): pass"""


class _Manager(AsyncKernelManager):
    """A kernel's manager that remembers its clients, so that each can be closed when its notebook is done."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.clients: list[Any] = []

    def client(self, **options: Any) -> Any:
        self.clients.append(super().client(**options))
        return self.clients[-1]

    def close_clients(self) -> None:
        while self.clients:
            self.clients.pop().stop_channels()


@dataclass
class _Kernel:
    """A kernel, the folder of its sockets, and the surroundings that it was started in."""

    manager: _Manager
    folder: tempfile.TemporaryDirectory[str]
    surroundings: Mapping[str, str]

    def fits(self) -> bool:
        return self.surroundings == _now() and run_sync(self.manager.is_alive)()

    def clean(self) -> bool:
        """Forget all that a notebook left behind; False if the kernel does not answer."""
        client = BlockingKernelClient()
        client.load_connection_info(self.manager.get_connection_info())
        client.start_channels()
        try:
            client.wait_for_ready(timeout=30)
            answer = client.execute_interactive(CLEAN, store_history=False, allow_stdin=False, timeout=30)
            return answer["content"]["status"] == "ok"
        except (RuntimeError, TimeoutError):
            return False
        finally:
            client.stop_channels()

    def end(self) -> None:
        self.manager.close_clients()
        if self.manager.has_kernel:
            run_sync(self.manager.shutdown_kernel)(now=True)
        run_sync(self.manager.cleanup_resources)()
        self.folder.cleanup()


def _now() -> dict[str, str]:
    read = {name: value for name, value in os.environ.items() if name.startswith(READ)}
    return {**read, "project": str(paths.root())}


_held: list[_Kernel] = []
_keeping = False


def keep() -> None:
    """From now on keep the kernel of this process for its next notebook; it ends with the process."""
    global _keeping
    if not _keeping:
        _keeping = True
        atexit.register(_end_held)


def _end_held() -> None:
    while _held:
        _held.pop().end()


def _new() -> _Kernel:
    """Prepare a kernel with sockets in a folder of its own: side by side, two can be given one network port."""
    folder = tempfile.TemporaryDirectory(prefix="repro-")
    local = os.name == "posix" and len(folder.name) < 80  # the system cuts the paths of sockets at about 100
    options = {"transport": "ipc", "ip": f"{folder.name}/kernel"} if local else {}
    config = Config({"KernelManager": options})
    manager = _Manager(kernel_name=NAME, config=config)
    manager.client_class = "jupyter_client.asynchronous.AsyncKernelClient"
    return _Kernel(manager, folder, _now())


@contextmanager
def lent() -> Iterator[AsyncKernelManager]:
    """Lend a kernel whose memory holds no variable: a new one, or after `keep` the one of the last notebook.

    What a kept kernel has imported stays imported; that is what it is kept for. After an error none is kept.
    """
    with _surroundings():
        kernel = _held.pop() if _held else None
        if kernel and not (kernel.fits() and kernel.clean()):
            kernel.end()
            kernel = None
        kernel = kernel or _new()
        try:
            yield kernel.manager
            kernel.manager.close_clients()
            if _keeping:
                _held.append(kernel)
        finally:
            if kernel not in _held:
                kernel.end()


@contextmanager
def _surroundings() -> Iterator[None]:
    """Let the kernel find the package and the same folders, though it works in `notebooks/`."""
    here = [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]
    new = {"PYTHONPATH": os.pathsep.join(filter(None, here)), "REPRO_BUILD": str(paths.build().resolve())}
    new |= {"REPRO_DATA": str(paths.data().resolve()), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    old = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    try:
        yield
    finally:
        for name, value in old.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
