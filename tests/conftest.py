"""What all tests share: a build folder of their own, one thread, no reaching for real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _own_build_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send everything that a test makes into its own folder."""
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "_build"))
    monkeypatch.setenv("REPRO_DEVICE", "cpu")
    if "REPRO_DATA" not in os.environ:
        monkeypatch.setenv("REPRO_DATA", str(tmp_path / "data"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of real image sets where there are none."""
    root = os.environ.get("REPRO_DATA")
    if not root or not (Path(root) / "cifar-10-batches-py").is_dir():
        for item in items:
            if item.get_closest_marker("realdata"):
                item.add_marker(pytest.mark.skip(reason="no real image sets in REPRO_DATA"))
