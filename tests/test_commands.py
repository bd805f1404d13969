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
from repro.sparse_training import Popup
from repro.text import assignments
from repro.track import curves, kinds

# Every option and every value with a meaning of its own, work by work; of a work of several codes, code by code, each
# told by a word in the titles of its tables.
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
    "gadhikar2022: ER_WLT": """--sparse --fix --sparse-init --sparse_init --model --data --density --epoch --epochs --lr
        --seed --l2 --batch-size --momentum --multiplier --valid_split --scaled --optimizer --growth --death
        --death-rate --redistribution --update_frequency --decay-schedule --decay_frequency --l1 --iters --fp16 --resume
        --start-epoch --save --save-features --bench --no-cuda --log-interval --test-batch-size --max-threads main.py
        vgg16 vgg19 resnet18 resnet20 resnet50 cifar10 cifar100 tiny_imagenet ERK ER ER_same_params
        ER_same_params_per_layer pyramid uniform uniform_plus snip GraSP ER_imp ER_synflow global_magnitude adam""",
    "gadhikar2022: ER_DST": """--sparse --fix --method --sparse-init --init-density --final-density --init-prune-epoch
        --final-prune-epoch --growth --prune --redistribution --prune-rate --pruning-rate --update-frequency
        --decay-schedule --decay_frequency --l1 --iters --save-features --bench --fp16 --nolr_scheduler --batch-size-jac
        --rm-first --init-method --is-prune --flow-preservation --ortho-repair --optimizer --lr --momentum --l2 --epochs
        --batch-size --test-batch-size --multiplier --seed --valid_split --max-threads --resume --start-epoch --save
        --no-cuda --log-interval --model --data main.py GraNet GraNet_uniform DST GMP GMP_uniform random gradient
        momentum momentum_neuron magnitude SynFlow none nonzeros cosine linear default looks-linear normal uniform
        bimodal vgg16 vgg19 ResNet18 ResNet20 ResNet34 ResNet50 cifar10 cifar100 tiny_imagenet mnist sgd adam ERK
        ER_same_params_per_layer pyramid snip ER_imp ER_synflow ER_init ER_flow ER_ortho ER_init_global ER_flow_global
        ER_ortho_global""",
    "gadhikar2022: ER_SLT": """--batch-size --test-batch-size --epochs --levels --lr --warmup_length --momentum --wd --seed
        --log-interval --scaling --save-model --sparsity --sparsity_start --anneal --model --load_model --model_to_load
        --initBias --scale-fan --dataset --plant-model --plant-path --bfac --save_file --er-init-density cifar_main.py
        Resnet18 VGG16 CIFAR10 kn-nonzero-bias ortho-nonzero-bias kn-zero-bias ortho-bias-special ortho-zero-bias
        signed-const-with-bias signed-const-zero-bias""",
    "gadhikar2022: STR": """--data --optimizer --set -a --arch --config --log-dir -j --workers --epochs --start-epoch -b
        --batch-size --lr --lr-min --warmup_length --init_prune_epoch --final_prune_epoch --momentum --wd -p
        --print-freq --num-classes --resume -e --evaluate --pretrained --seed --multigpu --lr-policy
        --multistep-lr-adjust --multistep-lr-gamma --name --save_every --prune-rate --width-mult --nesterov
        --random-mask --one-batch --conv-type --freeze-weights --mode --nonlinearity --bn-type --init --no-bn-decay
        --dense-conv-model --st-decay --scale-fan --first-layer-dense --last-layer-dense --label-smoothing
        --first-layer-type --sInit-type --sInit-value --sparse-function --er-sparse-init --er-sparse-method
        --er-sparsity-file --use-budget --ignore-pretrained-weights --threshold-list --warmup --reset-weights
        --warmup-epochs --pruner --prune-random-structured --structured-pruned-iters --structured-budget
        --fix-first-last-structured --result-dir --resnet-type --width --structured-prune-type --structured-prune-ratio
        --target-width --hessian --warmup-lr --prune-lr --mnist-width --target-expt-name --load-before-prune
        --load-model-name --load-mask-name --prune-scheduler --constant-prune-lr --reset-weight-sign --load-only-model
        --load-model-mask-and-sign --load-shuffled-model-mask-and-sign --reset-weight-amplitude
        --reset-only-weight-sign --reset-only-bn --load-expt-sign main.py run_imp.py cifar10 cifar100 sgd adam cosine_lr
        multistep_lr constant_lr cosine constant step STRConvER STRConv ConvER ConvMask GMPConv DNWConv DenseConv uniform
        ERK balanced pyramidal str-induced-er mag snip synflow random-global random-balanced random-erk random-uniform
        mask-ref large res50 small-dense sigmoid signed_constant kaiming_normal fan_in NonAffineBatchNorm""",
}
ROWS = [row for group in groups() for row in group["rows"]]
OURS = list(dict.fromkeys(row["ours"] for row in ROWS if "ours" in row))
SURROUNDINGS = {"REPRO_BUILD", "REPRO_DATA", "REPRO_DEVICE", "CUDA_VISIBLE_DEVICES"}


def missing(code: str, chosen: list[dict[str, Any]]) -> list[str]:
    work, _, part = code.partition(": ")
    texts = [
        f"{r['original']} {' '.join(r.get('flags', []))}"
        for g in chosen
        if g["work"] == work and part in g["title"]
        for r in g["rows"]
    ]
    told = {word for text in texts for word in re.split(r"[\s,;/'=]+", text)}
    return [flag for flag in FLAGS[code].split() if flag not in told]


@pytest.mark.parametrize("code", FLAGS)
def test_every_option_of_the_original_is_on_the_page(code: str) -> None:
    assert missing(code, groups()) == []


def test_an_option_that_goes_missing_is_noticed() -> None:
    chosen = [dict(g, rows=[r for r in g["rows"] if "--gpu-id" not in r["original"]]) for g in groups()]
    assert missing("su2020", chosen) == ["--gpu-id"]
    others = [g for g in groups() if "ER_SLT" not in g["title"]]
    assert "--seed" in missing("gadhikar2022: ER_SLT", others), "the --seed of another code does not count"


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
        small |= {"ticket.rounds": 2 if told["by"] in ("magnitude", "snip") else 1, "ticket.rate": 0.5}
        small |= {"ticket.rounds": 1} if s.ticket.reset != "none" else {}
    elif s.ticket.score:
        small |= {"ticket.density": 0.2}
    if s.ticket.rewind:
        longer = "optim.epochs" if s.ticket.score == "imp" else "ticket.pretrain"
        small |= {"ticket.rewind": 1 if isinstance(s.ticket.rewind, int) else "1it", longer: 2}
    if (told.get("batch_size") or 0) > 200:
        small |= {"ticket.batch_size": 100}
    if told.get("early"):
        small |= {"ticket.early": tiny(told["early"])}
    if s.ticket.score == "mask_of" and s.source.sparse.plan:
        small |= {"ticket.source": f"{told['source']} sparse.interval=2"}
    if s.ticket.score == "mask_of" and s.source.ticket.score == "imp":
        rounds = FEW_ROUNDS + (" ticket.rewind=1" if s.source.ticket.rewind else "")
        small |= {"ticket.source": f"{tiny(told['source'])} {rounds}", "ticket.density": 0.25}
    if "imp" in (like := s.ticket.options("allocation").get("like") or ""):
        small |= {"ticket.like": f"{like} {FEW_ROUNDS}"}
    return small | moving(s)


FEW_ROUNDS = "ticket.rounds=2 ticket.rate=0.5"


def moving(s: Settings) -> dict[str, Any]:
    """Give what lets masks move, or be learned, within the few steps of a small run, by as much as it has weights."""
    plan, popup = s.sparse.plan, s.sparse.learned if isinstance(s.sparse.learned, Popup) else None
    small: dict[str, Any] = {"sparse.interval": 2, "optim.batch": min(s.optim.batch, 128)} if plan else {}
    if plan and plan.prune and s.ticket.score:
        small |= {"ticket.density": 0.5, "sparse.density": 0.25, "optim.epochs": 2}
    if popup and s.ticket.score:
        small |= {"ticket.density": 0.6, "sparse.density": 0.25}  # by chance a small layer may have much less
    if popup and popup.levels > 1:
        small |= {"sparse.levels": 2, "optim.epochs": 2}
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
    words[options:] = ["every1" if word == "every10" else word for word in words[options:]]
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
        assert s.sparse.learned is None or made["sparse"]["steps"] > 0, "masks are learned"


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
