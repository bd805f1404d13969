"""The command line: every mistake is one line and exit code 2, and nothing is left half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repro import paths, record
from repro.cli import _duration, main
from repro.grids import expand

ROOT = Path(__file__).parent.parent
TINY = ["recipe=digits", "model.name=resnet8", "model.width=0.25", "optim.epochs=1", "data.subset=200"]


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    before = sys.argv
    sys.argv = ["repro", *words]
    try:
        with pytest.raises(SystemExit) as caught:
            main()
    finally:
        sys.argv = before
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["run", "ticket.desnity=0.1", "ticket.score=snip"], "did you mean 'density'"),
        (["run", "ticket.score=snop", "ticket.density=0.1"], "did you mean 'snip'"),
        (["run", "model.name=resnet21"], "did you mean 'resnet"),
        (["run", "data.name=cifar11"], "did you mean 'cifar1"),
        (["run", "ticket.score=snip", "ticket.density=0"], "greater than 0"),
        (["run", "ticket.score=snip", "ticket.density=1.01"], "less than or equal to 1"),
        (["run", "seed=[]"], "empty list"),
        (["run", "nowhere.yaml"], "no such file"),
        (["run", "nowhere"], "not a setting"),
        (
            ["run", *TINY, "ticket.score=random", "ticket.allocation=smart_ratio", "ticket.density=0.001"],
            "smart",
        ),
        (["run", "data.name=svhn", "model.name=resnet8"], "repro data fetch svhn"),
        (["show", "zzz"], "repro status"),
        (["status", "nowhere.yaml"], "no such file"),
        (["data", "verify", "cifar1"], "did you mean"),
        (["data", "fetch", "imagenet"], "unknown"),
        (["rnu"], "repro --help"),
        (["run"], "repro run --help"),
        (["run", "--workers", "0", "seed=1"], "give 1 or more"),
        (["run", "--budget", "9", "seed=1"], "write e.g. 90s, 9m or 1h30m"),
        (["batch", "--budget", "0m", "x.yaml"], "write e.g. 90s, 9m or 1h30m"),
        (["batch", "nowhere.yaml"], "no such file"),
        (["report", "--profile", "quik"], "quick"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, words: list[str], hint: str) -> None:
    code, _, err = call(capsys, *words)
    lines = [line for line in err.splitlines() if not line.startswith("training: ")]
    assert code == 2
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert hint in lines[0]
    assert not list(paths.build().rglob("record.json"))


def test_a_bad_params_file_is_named(capsys, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("- just\n- a list\n")
    code, _, err = call(capsys, "run", str(file))
    assert (code, str(file) in err, "mapping" in err) == (2, True, True)


def test_run_show_status(capsys) -> None:
    code, out, _ = call(capsys, "run", *TINY, "ticket.score=snip", "ticket.density=0.2", "seed=[0,1]")
    assert code == 0
    assert out.count("done") == 2
    key = out.splitlines()[1].split()[0]
    code, out, _ = call(capsys, "show", key[:6])
    assert code == 0
    assert key in out
    assert "repro run" in out
    assert "conv.weight" in out
    code, out, _ = call(capsys, "status")
    assert code == 0
    assert "snip" in out
    assert call(capsys, "run", *TINY, "ticket.score=snip", "ticket.density=0.2", "seed=[0,1]")[0] == 0


def test_status_counts_what_a_file_asks_for(capsys, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("recipe: digits\nseed: [0, 1]\n")
    _, out, _ = call(capsys, "status", str(file))
    assert "2 runs, 2 missing" in out


def test_a_batch_is_one_queue_that_a_budget_ends_cleanly(capsys, tmp_path: Path) -> None:
    text = "runs:\n  - {recipe: digits, model: {name: resnet8, width: 0.25}, optim.epochs: %d, data.subset: 200}\n"
    short, long = tmp_path / "short.yaml", tmp_path / "long.yaml"
    short.write_text(text % 1)
    long.write_text(text % 500)
    code, out, _ = call(capsys, "batch", str(short), str(long), str(short), "--dry-run")
    assert code == 0
    assert "2 runs, 0 of them done; nothing was started" in out
    assert not list(paths.build().glob("runs/*"))
    code, out, _ = call(capsys, "batch", str(short), str(long), "--workers", "1", "--budget", "3s")
    assert code == 0
    assert "the time is up: 1 of 2 runs done; the same command goes on" in out
    assert len(list(paths.build().glob("runs/*/checkpoint.safetensors"))) == 1


def test_lengths_of_time() -> None:
    assert [_duration(t) for t in ("90s", "9m", "1h30m", "2h")] == [90, 540, 5400, 7200]


def test_a_read_only_build_folder(capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, where a folder should be made")
    monkeypatch.setenv("REPRO_BUILD", str(tmp_path / "taken"))
    code, _, err = call(capsys, "run", *TINY)
    assert code == 2
    assert "REPRO_BUILD" in err
    assert err.count("\n") == 1, "told once, before any run"


def test_looking_up_records_needs_no_torch() -> None:
    code = "import sys; sys.argv = ['repro', 'status']; import repro.cli, atexit\n"
    code += "atexit.register(lambda: print('torch' in sys.modules))\nrepro.cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_ctrl_c_ends_in_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """A real signal to a real process that trains in two workers."""
    words = [*TINY[:3], "optim.epochs=6", "data.subset=1000", "seed=[0,1,2]"]
    command = [sys.executable, "-m", "repro", "run", *words]
    going = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    runs = expand(
        [{}],
        {
            "recipe": "digits",
            "model.name": "resnet8",
            "model.width": 0.25,
            "optim.epochs": 6,
            "data.subset": 1000,
            "seed": [0, 1, 2],
        },
    )
    deadline = time.monotonic() + 90
    while not any((record.folder(s.key()) / "settings.yaml").exists() for s in runs):
        assert time.monotonic() < deadline and going.poll() is None
        time.sleep(0.05)
    os.killpg(going.pid, signal.SIGINT)
    _, err = going.communicate(timeout=90)
    assert going.returncode == 2
    assert "Traceback" not in err
    assert "the same command goes on" in err.strip().splitlines()[-1]
    assert not list(paths.build().rglob(".*.safetensors.*")), "nothing half-written"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done") == 3


def test_killing_the_command_leaves_no_worker_behind(tmp_path: Path) -> None:
    words = [*TINY[:3], "optim.epochs=500", "seed=[0,1]"]
    going = subprocess.Popen([sys.executable, "-m", "repro", "run", *words], cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 90
    while len(list(paths.build().glob("runs/*/settings.yaml"))) < 2:
        assert time.monotonic() < deadline
        assert going.poll() is None
        time.sleep(0.05)
    going.kill()
    going.wait()
    while _alive(going.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(going.pid)


def _alive(session: int) -> list[str]:
    found = subprocess.run(["ps", "-o", "pid=", "--sid", str(session)], capture_output=True, text=True)
    return found.stdout.split()
