"""The case about the store: how long a table of fifty thousand records takes. Imports no torch before it must.

The records are made up, each as large as that of a real run: the curves of 160 epochs and 20 layers. They lie in a
temporary folder, as a build folder of their own, and a fresh process reads them.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import paths, record, seals
from ..errors import ReproError
from ..rows import overview
from .store import Row

if TYPE_CHECKING:
    from .material import Bench

EPOCHS, LAYERS, SEEDS = 160, 20, 5
SCORES = ("magnitude", "random", "snip", "grasp", "synflow")
COLUMNS = ("epoch", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "test_top5")
KEY, SEED = "0" * 12, 987654321  # what stands for the key and the seed in a form


def store(bench: Bench) -> list[Row]:
    """Measure how long it takes to list, filter and summarise many records: at first, and when there is an index.

    Filtered are the runs of one method; summarised is what `repro status` shows. The peak of memory is that of the
    whole process, libraries and all.

    Raises:
        ReproError: when the folder for temporary files has too little room.
    """
    from .material import seconds

    before = os.environ.get("REPRO_BUILD")
    with tempfile.TemporaryDirectory() as folder:
        bench.tell(f"making {bench.size.records:,} records")
        size = fill(Path(folder), bench.size.records)
        os.environ["REPRO_BUILD"] = folder
        try:
            bench.tell("reading them")
            context = multiprocessing.get_context("spawn")
            found = []
            for times in (1, bench.rounds(5)):
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    found.append(pool.submit(listed, times).result())
        finally:
            os.environ.pop("REPRO_BUILD") if before is None else os.environ.update(REPRO_BUILD=before)
    about = {"records": bench.size.records, "record_kb": size / 1000, "epochs": EPOCHS, "layers": LAYERS}
    return [
        about | {"what": what} | seconds(times) | {"process_mib": peak}
        for what, (times, peak) in zip(("without index", "with index"), found, strict=True)
    ]


def listed(times: int) -> tuple[list[float], float]:
    """List, filter and summarise the records of the build folder, in this process, which should be fresh.

    Args:
        times: how often.

    Returns:
        Seconds of each time, and the peak of memory in MiB.

    Raises:
        ReproError: when records are missing.
    """
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        frame = record.load(record.stores()[0])
        chosen = frame[frame["method"] == SCORES[0]]
        summary = overview(chosen), overview(frame)
        spent.append(time.perf_counter() - began)
        if not len(frame) or summary[1]["runs"].sum() != len(frame):
            raise ReproError(f"bench: {paths.build()}: records are missing")
    return spent, _peak()


def _peak() -> float:
    """Give the peak memory of this process in MiB, as `measure` does, which would bring torch into it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    marks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return (marks[0] if marks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 2**10


def fill(build: Path, number: int) -> int:
    """Make records in a build folder, as if so many runs had been finished; they are older than a minute.

    Args:
        build: the folder.
        number: of records.

    Returns:
        Bytes of one record.

    Raises:
        ReproError: when there is too little room.
    """
    forms = [*_forms()]
    size = len(forms[0])
    build.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(build).free
    if free < 2 * number * (size + 8192):
        raise ReproError(f"{build}: {free / 1e9:.1f} GB free are too few for {number} records; set TMPDIR")
    old = time.time_ns() - 60 * 10**9
    for i in range(number):
        key, form = f"{i:012x}", forms[i // SEEDS % len(forms)]
        raw = form.replace(KEY.encode(), key.encode()).replace(str(SEED).encode(), str(i % SEEDS).encode())
        held = hashlib.sha256(raw).hexdigest()
        folder = build / "runs" / key
        folder.mkdir(parents=True)
        path = folder / "record.json"
        path.write_bytes(raw[:-1] + f',"{seals.SUM}":"{held}"}}'.encode())
        os.utime(path, ns=(old, old))
        (folder / "DONE").touch()
    return size


def _forms() -> Iterator[bytes]:
    """Write the record of a run for each score and density, in canonical form, with places for key and seed."""
    from ..facts import head
    from ..grids import expand

    for score in SCORES:
        for density in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01):
            ticket = {"score": score, "density": density}
            if score == "random":
                ticket["allocation"] = "erk"
            grid = {"recipe": "digits", "model": {"name": "resnet20"}, "ticket": ticket, "seed": SEED}
            known = json.loads(json.dumps(head(expand([grid], source="bench")[0])))
            made = known | _measured(density) | {"key": KEY}
            yield json.dumps(made, sort_keys=True, separators=(",", ":")).encode()


def _measured(density: float) -> dict[str, Any]:
    """Make up what a run measures; the numbers have as many digits as real ones."""
    curve = {name: [100 / (3 + i + epoch) for epoch in range(EPOCHS)] for i, name in enumerate(COLUMNS)}
    layers = [
        {
            "name": f"stages.{i // 6}.{i % 6}.branch.0.weight",
            "shape": [64, 64, 3, 3],
            "kept": round(36_864 * density),
            "total": 36_864,
            "density": density,
            "macs": 2_359_296 + i,
            "effective": round(36_000 * density),
            "units": 64,
            "dead": i % 3,
        }
        for i in range(LAYERS)
    ]
    last = curve["test_accuracy"][-1]
    accuracy = {"final": last, "best": max(curve["test_accuracy"]), "best_epoch": 1, "top5": 99.5}
    return {
        "status": "done",
        "reason": None,
        "when": "2026-01-01T00:00:00+00:00",
        "accuracy": accuracy | {"validation": None},
        "density": density,
        "params": 272_474,
        "flops": {"inference": 8.1e7 * density, "dense": 8.1e7, "ratio": density, "train_ratio": density},
        "seconds": {"total": 1234.5678901234},
        "memory_mb": 2345.678,
        "environment": record.environment() | {"device": "made up", "precision": "float32"},
        "layers": layers,
        "curve": curve,
        "overlap": None,
    }
