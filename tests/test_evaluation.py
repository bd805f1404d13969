"""A finished run is measured again from its weights, and gives what its record says."""

from __future__ import annotations

import pytest
import torch
from test_cli import TINY, call
from test_experiment import one, snip

from repro import paths, record
from repro.checkpoint import load_tensors, save_tensors
from repro.errors import ReproError
from repro.evaluation import evaluate
from repro.experiment import run, weights_file
from repro.pool import plan, run_all


def test_the_weights_of_a_dense_run_give_its_record_again() -> None:
    s = one(seed=3)
    made = run(s)
    found = evaluate(s.key())
    assert found["accuracy"] == found["recorded"] == made["accuracy"]["final"]
    assert found["top5"] == made["accuracy"]["top5"]
    assert found["loss"] == pytest.approx(made["curve"]["test_loss"][-1])


def test_other_weights_give_other_numbers() -> None:
    s = one()
    run(s)
    path = weights_file(record.folder(s.key()))
    tensors, about = load_tensors(path)
    save_tensors(path, {k: torch.zeros_like(v) for k, v in tensors.items()}, about)
    found = evaluate(s.key())
    assert found["loss"] == pytest.approx(2.302585, abs=1e-5), "log 10: it knows nothing"
    assert found["accuracy"] != found["recorded"]


def test_a_ticket_keeps_its_weights_when_asked_even_afterwards() -> None:
    s = snip()
    run_all([s], workers=1)
    assert plan([s]) == {}
    assert not weights_file(record.folder(s.key())).exists()
    with pytest.raises(
        ReproError, match=r"not on this machine; `repro run .*ticket.score=snip.* --keep-weights`"
    ):
        evaluate(s.key())
    run_all([s], workers=1, weights=True)
    assert plan([s], weights=True) == {}
    found = evaluate(s.key())
    assert found["accuracy"] == found["recorded"]
    kept = load_tensors(weights_file(record.folder(s.key())))[0]
    layers = record.read(record.find(s.key()))["layers"]
    assert [int((kept[layer["name"]] != 0).sum()) for layer in layers] == [layer["kept"] for layer in layers]


def test_what_cannot_be_evaluated_is_one_line(capsys) -> None:
    code, _, err = call(capsys, "evaluate", "zzz")
    assert (code, "repro status" in err, err.count("\n")) == (2, True, 1)
    with pytest.raises(ReproError, match="no finished run"):
        evaluate("0" * 12)


def test_the_command(capsys) -> None:
    words = ["run", *TINY, "ticket.score=snip", "ticket.density=0.2", "--keep-weights", "--workers", "1"]
    assert call(capsys, *words)[0] == 0
    (done,) = (paths.build() / "runs").glob("*/DONE")
    code, out, _ = call(capsys, "evaluate", done.parent.name[:8])
    assert code == 0
    told = dict(line.split() for line in out.splitlines())
    assert set(told) == {"loss", "accuracy", "top5", "recorded"}
    assert told["accuracy"] == told["recorded"]
