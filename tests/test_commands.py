"""The page "From the original commands to ours": no option of theirs is missing, and every command of ours runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from test_track import Fake

from repro import paths, record
from repro.book.originals import COMMANDS, fragment, groups
from repro.cli import _parser
from repro.data import DATASETS
from repro.errors import ReproError
from repro.experiment import run
from repro.grids import expand, is_file_name, plan, read
from repro.models import family, initial_state
from repro.settings import Settings, parse
from repro.text import assignments
from repro.track import curves, kinds

# Every option and every value with a meaning of its own, script by script.
FLAGS = {
    "su2020": """-d --dataset -j --workers --epochs --start-epoch --train-batch --test-batch --lr --drop --schedule
        --gamma --momentum --weight-decay --resume -a --arch --depth --manualSeed -e --evaluate --save_dir --gpu-id
        --randLabel --shufflePixel --max_batch_idx --prune_ratio --model --writerdir --init_prune_ratio
        --linear_keep_ratio --smart_ratio --GraSP --SNIP --rearrange --shuffle_unmasked_weights --hybrid
        --linear_decay --ascend --cubic --uniform --print_output baseline.py LT_prune.py train_ticket.py cifar10
        cifar100 tinyimagenet""",
    "answer42": """--config --run --seed exp_name network depth dataset batch_size epoch learning_rate weight_decay
        exception iterations normalize target_ratio pruner pruner_file samples_per_class num_iters corrupt_data
        layerwise_rearrange use_bn init_method --name --tmp --status --epochs --wd --lr_schedule --network --dataset
        --batch_size --exception --ratio --prune_last --pruning --samples_per_class --architecture --pruning_ratio -sc
        --sanity_checks random_labels random_pixels random-uniform random-structured --hybrid_tickets --rewind_epoch
        --rewinding_type --fine_tuning_epochs --load_model --save_model half_dataset layerwise_weights_shuffling
        weights learning_rate linear grasp main.py train.py main_snip.py main_partially_trained_tickets.py""",
    "rigl-repro": """exp_name seed multi_seed model device log_interval ckpt_dir ckpt_interval val_interval resume
        wandb.use wandb.api_key wandb.entity wandb.project wandb.name dataset.name dataset.root dataset.batch_size
        dataset.test_batch_size dataset.max_threads dataset.validation_split dataset.fixed_shuffle optimizer.name
        optimizer.epochs optimizer.lr optimizer.momentum optimizer.weight_decay optimizer.use_nesterov
        optimizer.label_smoothing optimizer.decay_frequency optimizer.decay_factor optimizer.warmup_steps
        optimizer.training_multiplier masking.name masking.density masking.final_density masking.sparse_init
        masking.dense_gradients masking.growth_mode masking.prune_mode masking.redistribution_mode masking.prune_rate
        masking.decay_schedule masking.apply_when masking.interval masking.start_when masking.end_when
        masking.lottery_mask_path masking.init_exp_name masking.override_dir masking.print_FLOPs main.py CIFAR10
        CIFAR100 MNIST Mini-Imagenet wrn-22-2 resnet50 SGD Adam Dense Small_Dense Static SET SNFS RigL RigL_reinit
        Pruning Lottery random erdos-renyi erdos-renyi-kernel lottery-ticket lottery-ticket-dist struct-random
        struct-erdos-renyi struct-erdos-renyi-kernel absolute-gradient momentum none struct-absolute-gradient-mean
        struct-absolute-gradient-min magnitude global-magnitude struct-magnitude-mean struct-magnitude-max grad nonzero
        cosine linear magnitude-prune step_end epoch_end""",
    "gohil2020": """--architecture --dataset --batch_size --optimizer --seed --model_saving_path --gpu --snip --milestone -ms
        --load_model --esp --run_name --project --entity --wandb --source_dataset --target_dataset --init_path --random
        --reinit --prune --model_path train.py snip_train.py iterative_pruning.py iterative_snip.py oneshot_lt.py test.py
        vgg19 resnet50 alexnet cifar10 cifar100 svhn fashionmnist cifar10a cifar10b sgd adam prune_rounds prune_rate""",
}
ROWS = [row for group in groups() for row in group["rows"]]
OURS = list(dict.fromkeys(row["ours"] for row in ROWS if "ours" in row))
SURROUNDINGS = {"REPRO_BUILD", "REPRO_DATA", "REPRO_DEVICE", "CUDA_VISIBLE_DEVICES"}


def missing(work: str, chosen: list[dict[str, Any]]) -> list[str]:
    texts = [
        f"{r['original']} {' '.join(r.get('flags', []))}"
        for g in chosen
        if g["work"] == work
        for r in g["rows"]
    ]
    told = {word for text in texts for word in re.split(r"[\s,;/'=]+", text)}
    return [flag for flag in FLAGS[work].split() if flag not in told]


@pytest.mark.parametrize("work", FLAGS)
def test_every_option_of_the_original_is_on_the_page(work: str) -> None:
    assert missing(work, groups()) == []


def test_an_option_that_goes_missing_is_noticed() -> None:
    chosen = [dict(g, rows=[r for r in g["rows"] if "--gpu-id" not in r["original"]]) for g in groups()]
    assert missing("su2020", chosen) == ["--gpu-id"]


def test_a_row_without_a_command_says_why() -> None:
    assert all(row["note"] for row in ROWS if "ours" not in row)


def words_of(command: str) -> tuple[set[str], list[str]]:
    """Split a command into the names of the variables before it and the words after `repro`."""
    words = shlex.split(command)
    start = words.index("repro")
    return {word.split("=")[0] for word in words[:start]}, words[start + 1 :]


def planned(words: list[str]) -> list[Settings]:
    return expand([{}], assignments([w for w in words if "=" in w]), "command line")


def smaller(s: Settings) -> dict[str, Any]:
    """Give what makes a run small and leaves its ticket, its check and the way its masks move what they are."""
    small: dict[str, Any] = {"data.name": "digits", "data.normalise": "standard", "data.subset": 200}
    small |= {"optim.epochs": 1} | ({"optim.warmup": 0.5} if s.optim.warmup else {})
    if s.model.name == "alexnet":
        small |= {"model.width": 0.0625, "data.size": 16}
    elif family(s.model.name) == "vgg":
        small |= {"model.name": "vgg11", "model.width": 0.125, "data.size": 16}
    elif s.model.name.startswith("wrn"):
        small |= {"model.name": "wrn10", "model.width": 0.25}
    elif s.model.name == "resnet50":
        small |= {"model.name": "resnet18", "model.width": 0.0625}
    else:
        small |= {"model.name": "resnet8", "model.width": 0.25}
    told = s.ticket.options("score")
    if s.ticket.score == "imp":
        small |= {"ticket.rounds": 2, "ticket.rate": 0.5}
    elif s.ticket.score:
        small |= {"ticket.density": 0.2}
    if s.ticket.rewind:
        longer = "optim.epochs" if s.ticket.score == "imp" else "ticket.pretrain"
        small |= {"ticket.rewind": 1 if isinstance(s.ticket.rewind, int) else "1it", longer: 2}
    if (told.get("batch_size") or 0) > 200:
        small |= {"ticket.batch_size": 100}
    if told.get("early"):
        small |= {"ticket.early": tiny(told["early"])}
    if s.sparse.plan:
        small |= {"sparse.interval": 2}
    if s.ticket.score == "mask_of" and s.source.sparse.plan:
        small |= {"ticket.source": f"{told['source']} sparse.interval=2"}
    if s.ticket.score == "mask_of" and s.source.ticket.score == "imp":
        rounds = "ticket.rounds=2 ticket.rate=0.5 ticket.rewind=1"
        small |= {"ticket.source": f"{tiny(told['source'])} {rounds}", "ticket.density": 0.25}
    return small


def tiny(words: str) -> str:
    """Tell another run, on another data set as it is there, by words that need no files."""
    return re.sub(r"data\.name=\S+", "data.name=digitsa", words)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One build folder for all commands, so that a dense network is trained once."""
    return tmp_path_factory.mktemp("build")


@pytest.fixture(autouse=True)
def _shared(build: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REPRO_BUILD", str(build))
    for kind in kinds.KINDS:
        monkeypatch.setitem(kinds.KINDS, kind, Fake)
    monkeypatch.setattr(curves, "find_spec", lambda name: True)
    yield


def call(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    args = _parser().parse_args(words)
    if "workers" in args:
        args.workers = 1
    args.command(args)
    return capsys.readouterr().out


def of(command: str, kind: str) -> bool:
    words = words_of(command)[1]
    if words[0] in ("run", "ticket"):
        return kind == ("file" if any(map(is_file_name, words)) else words[0])
    return kind == ("file" if any(map(is_file_name, words)) else "key")


@pytest.mark.parametrize("command", OURS)
def test_a_command_sets_only_known_variables(command: str) -> None:
    assert words_of(command)[0] <= SURROUNDINGS


@pytest.mark.parametrize("command", [c for c in OURS if of(c, "run")])
def test_every_command_of_ours_runs(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = words_of(command)[1]
    runs = planned(words)
    assert all(s.data.name in DATASETS for s in runs), "the command as it is printed"
    options = next((i for i, w in enumerate(words) if w.startswith("--")), len(words))
    words[options:options] = [f"{k}={v}" for k, v in smaller(runs[-1]).items()]
    small = planned(words)
    assert {s.check.name for s in small} == {s.check.name for s in runs}
    assert {s.sparse.method for s in small} == {s.sparse.method for s in runs}
    out = call(words, capsys)
    assert all(s.key() in out for s in small)
    for s in small:
        made = record.read(found) if (found := record.find(s.key())) else {}
        assert made["status"] == "done"
        assert s.sparse.plan is None or made["sparse"]["updates"] > 0, "masks move as they do at full size"


@pytest.mark.parametrize("command", [c for c in OURS if of(c, "key")])
def test_every_command_with_a_key_runs(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    dense = parse(
        {"data": {"subset": 200}, "model": {"name": "resnet8", "width": 0.25}, "optim": {"epochs": 1}}
    )
    run(dense)
    words = [dense.key() if w == "KEY" else w for w in words_of(command)[1]]
    assert "accuracy" in call(words, capsys)


@pytest.mark.parametrize("command", [c for c in OURS if of(c, "ticket")])
def test_every_command_with_a_ticket_file_runs(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint is one as theirs, but of a small network with half its weights at 0."""
    monkeypatch.chdir(tmp_path)
    words = words_of(command)[1]
    draw = torch.Generator().manual_seed(0)
    state = initial_state("vgg11", classes=10, channels=3, generator=draw, conv_bias=True, width=0.125)
    pruned = {
        k: v * (torch.rand(v.shape, generator=draw) < 0.5) if v.dim() > 1 else v for k, v in state.items()
    }
    torch.save({"epoch": 160, "model_state_dict": pruned, "optimizer_state_dict": {}}, "30_160")
    made = "ticket import 30_160 --layout gohil --model vgg11 conv_bias=true width=0.125"
    out = call([*made.split(), "--to", "theirs.ticket.safetensors"], capsys)
    if words[1] == "import":
        at = words.index("vgg19")
        out = call([*words[:at], "vgg11", "width=0.125", *words[at + 1 :]], capsys)
    elif words[1] == "evaluate":
        small = {"data.name": "digits", "data.size": "16", "data.channels": "3"}
        out = call([*words, *(f"{k}={v}" for k, v in small.items())], capsys)
    elif words[1] == "export":
        ticket = {"score": "random", "density": 0.2}
        s = parse({"data": {"subset": 200}, "ticket": ticket, "optim": {"epochs": 1}})
        run(s)
        out = call([s.key() if w == "KEY" else w for w in words], capsys)
    assert "accuracy" in out or "weights kept" in out


@pytest.mark.parametrize("command", [c for c in OURS if of(c, "file")])
def test_every_command_with_a_file_runs(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A search is made small; of a whole programme the runs are listed, as their settings are tried above."""
    words = words_of(command)[1]
    file = next(w for w in words if is_file_name(w))
    if words[0] == "tune":
        content = read(file)
        content["tune"] |= {"trials": 2}
        content["tune"]["space"] |= {"sparse.interval": {"low": 1, "high": 2, "step": 1}}
        content["runs"] = [grid | smaller(plan(file)[0]) | {"seed": 0} for grid in content["runs"]]
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(content))
        words = [str(tmp_path / "small.yaml") if w == file else w for w in words]
    elif not {"--dry-run", "--print"} & set(words):
        words.append("--dry-run")
    out = call(words, capsys)
    assert words[0] == "tune" or "--print" in words or all(s.key() in out for s in plan(file))
    assert out


def test_commands_that_differ_ask_for_different_runs() -> None:
    """A setting of the page that did nothing would give two rows one run: only those that name defaults may."""
    asked: dict[str, list[str]] = {}
    for command in OURS:
        if of(command, "run"):
            keys = " ".join(sorted(s.key() for s in planned(words_of(command)[1])))
            asked.setdefault(keys, []).append(command)
    notes = {row["ours"]: row["note"] for row in ROWS if "ours" in row}
    for same in asked.values():
        told = [c for c in same if re.search("default|recipe|REPRO_|--|initialisation", c + notes[c])]
        assert len(same) - len(told) <= 1, same


def test_the_table_holds_every_row() -> None:
    text = fragment()
    for row in ROWS:
        for word in (row.get("ours"), row["original"]):
            assert word is None or f"`{' '.join(word.split())}`" in text
    assert text.count("\n## ") + text.startswith("## ") == len(groups())


def test_a_faulty_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "params").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    assert paths.root() == tmp_path
    assert fragment() == "No commands are listed yet.\n"
    content = [{"title": "x", "work": "su2020", "rows": [{"original": "-j", "our": "repro run"}]}]
    (tmp_path / "book" / COMMANDS).write_text(yaml.safe_dump(content))
    with pytest.raises(ReproError, match=r"commands.yaml.*'our'.*did you mean 'ours'"):
        fragment()
