"""What other works measured (book/reference), with our words for method, check and density. Imports no torch."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from .. import paths
from ..errors import pick

METHODS = {
    "random_tickets_smart_ratio": "smart_ratio",
    "dense (pretraining)": "dense",
    "dense (SNIP script, ratio 0)": "dense",
    "lottery_ticket": "magnitude",
    "learning_rate_rewinding": "magnitude@trained",
    "hybrid_tickets": "magnitude+smart_ratio@trained",
    "magnitude_pruning_gradual": "gmp",
    "lottery": "mask_of(gmp)",
    "magnitude_at_init": "magnitude:init",
    "granet_si0": "granet",
    "granet_si0.5": "granet:erk(0.5)",
}
# The replication of RigL names method, distribution and length: rigl_erk_2x.
_MOVED = re.compile(r"(static|set|snfs|rigl|rigl_sm|rigl_sg|rigl_struct)_(uniform|erk)(?:_(\d)x)?")
_AGAIN = re.compile(r"rigl reinit from RigL-SM (uniform|erk)")
MODELS = {"wrn-22-2": "wrn22", "resnet50 (CIFAR stem)": "resnet50"}
# Networks of SynFlow's code that are ours too: its VGG has biases, its ResNet the stem of CIFAR. Its other one, called
# tiny_wide_resnet18, is no wider in the code at hand, and stays apart.
MODELS |= {"lottery_vgg11_bn": "vgg11", "lottery_vgg16_bn": "vgg16", "tiny_resnet18": "resnet18"}
# Tables of rigl-repro.csv in which all 50,000 images train: the replication's, and RigL's own as it copies them.
TABLES = {"Table 1": "all images", 'Table 1 of rigl-repro ("Original")': "original"}
# Second readings of a cell: the replication trained the dense networks of its tickets, and some with the SNIP code.
VARIANTS = {"dense (SNIP script, ratio 0)": "SNIP code"}
CHECKS = {"_corrupted_data": "pixel_shuffle", "_layerwise_rearrange": "rearrange"}
_TICKET = re.compile(r"LT ticket from (\w+)")
LEFT = 0.8  # share of the weights left that each round of Gohil et al. keeps


def published(work: str, *, variants: bool = False) -> pd.DataFrame:
    """Read the numbers a work published, with our words for method, check and density.

    Args:
        work: stem of a file in book/reference; `/variant` after it gives those second readings instead.
        variants: also give the cells' second readings, marked in the column `variant`.

    Returns:
        The columns of book/reference/<work>.csv with `dataset` and `sparsity` turned into `data` and
        `density`, `check` split from the method, `variant` ("" for first readings), and `named`, the work's own
        name of the network. "Corrupted data" of the replication is our `pixel_shuffle` (with labels).

    Raises:
        ReproError: when there is no such file.
    """
    folder = paths.root() / "book" / "reference"
    known = {path.stem: path for path in folder.glob("*.csv")}
    work, _, wanted = work.partition("/")
    table = pd.read_csv(pick(known, work, "reference work")).rename(columns={"dataset": "data"})
    table["density"] = (1 - table.pop("sparsity")).round(9)
    second = table["table"].map(TABLES) if work == "rigl-repro" else table["method"].map(VARIANTS)
    table["variant"] = second.fillna("")
    table["named"] = table["model"]
    table["model"] = table["model"].replace(MODELS)
    table["check"] = "none"
    for suffix, check in CHECKS.items():
        ending = table["method"].str.endswith(suffix)
        table.loc[ending, "check"] = check
        table["method"] = table["method"].str.removesuffix(suffix)
    table["method"] = [_ours(name) for name in table["method"]]
    if work == "gohil2020":
        table = _rounds(table)
    if work == "synflow2020":
        table = _ratios(table)
    if wanted:
        table = table[table["variant"] == wanted].assign(variant="")
    return table if variants else table[table["variant"] == ""].reset_index(drop=True)


def _ours(name: str) -> str:
    """Call a published method as `repro.naming` does."""
    if again := _AGAIN.fullmatch(name):
        return f"rigl:mask_of(rigl_sm:{again[1]})"
    if not (found := _MOVED.fullmatch(name)):
        return METHODS.get(name, name)
    moving, start, longer = found.groups()
    if moving == "rigl_struct":
        moving, start = "rigl", f"{start}/kernel"
    ours = start if moving == "static" else f"{moving}:{start}"
    return f"{ours}*{longer}" if longer else ours


def _rounds(table: pd.DataFrame) -> pd.DataFrame:
    """Read the sheets of Gohil et al.: rounds as exact densities, where tickets come from, random tickets as a check.

    Their code takes the early weights of the source and finds masks on the target, which is our `imp` with `early`.
    Of the sheet on optimisers only what was trained with SGD by a ticket of Adam is a cell of its own here.
    """
    rounds = (np.log(table["density"]) / np.log(LEFT)).round()
    read = [_reading(*row) for row in zip(table["data"], table["method"], rounds, strict=True)]
    parts = dict(zip(("method", "check", "variant"), zip(*read, strict=True), strict=True))
    return table.assign(**parts, density=(LEFT**rounds).round(9))


def _ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Read the sweeps of Tanaka et al.: compression ratios 10^0, 10^0.25 ... as exact densities.

    Each pruner's sweep begins with the dense network, trained again; SynFlow's is its first reading.
    """
    quarters = (-4 * np.log10(table["density"].to_numpy(dtype=float))).round()
    whole = pd.Series(quarters == 0, index=table.index)
    again = whole & table["method"].ne("synflow")
    return table.assign(
        density=(10 ** (-quarters / 4)).round(9),
        variant=("sweep of " + table["method"]).where(again, ""),
        method=table["method"].where(~whole, "dense"),
    )


def _reading(data: str, method: str, rounds: float) -> tuple[str, str, str]:
    """Give our method and check for a column of theirs, and a variant where it is no cell of its own."""
    found = _TICKET.fullmatch(method)
    if rounds == 0:
        return "dense", "none", "" if found and found[1] == data else "another start"
    if found:
        return ("imp@rewound" if found[1] == data else f"imp@rewound from {found[1]}"), "none", ""
    if method.startswith("random"):
        return "imp@rewound", "random_ticket_global", ""
    if method == "SGD after Adam":
        return "mask_of(imp@rewound from adam)@start", "none", ""
    return method, "none", "another start"
