"""What methods, checks, data sets and works are called, and how methods and checks are drawn."""

from __future__ import annotations

from typing import Any, NamedTuple

from .markers import (
    ANGLE,
    ARROW,
    BAR,
    BOLT,
    BOW,
    CHEVRON,
    CROWN,
    CUP,
    DOME,
    DROP,
    FALLING,
    FLAG,
    HOURGLASS,
    HOUSE,
    LEANING,
    LENS,
    PILLAR,
    PLUNGING,
    PLUS,
    RISING,
    SPARK,
    STAIRS,
    TEE,
    TRIANGLE,
    TUB,
    flipped,
    mirrored,
    repeated,
    turned,
)


class Style(NamedTuple):
    """How a method or check is called and drawn, everywhere."""

    label: str
    colour: str
    marker: Any  # of matplotlib: a letter, or corners


# Colours are seaborn's "colorblind" set and two greys, then Paul Tol's "muted" set for tickets that share figures;
# the marker tells the entry apart without colour.
TICKETS: dict[str, Style] = {
    "dense": Style("Dense", "#222222", "_"),
    "smart_ratio": Style("Random ticket (smart ratio)", "#0173b2", "o"),
    "smart_ratio:linear": Style("Random ticket, linear ratio", "#ddcc77", FALLING),
    "smart_ratio:cubic": Style("Random ticket, cubic ratio", "#aa4499", PLUNGING),
    "smart_ratio:ascending": Style("Random ticket, ascending ratio", "#cc6677", RISING),
    "smart_ratio:uniform": Style("Random ticket, uniform ratio", "#117733", BAR),
    "magnitude": Style("LT (magnitude)", "#de8f05", "s"),
    "magnitude:init": Style("Magnitude at initialisation", "#8a6d1d", (5, 0, 36.0)),
    "snip": Style("SNIP", "#029e73", "^"),
    "grasp": Style("GraSP", "#d55e00", "v"),
    "synflow": Style("SynFlow", "#cc78bc", "D"),
    "random": Style("Random, global", "#ca9161", "X"),
    "small_dense": Style("Small dense", "#5b4636", HOUSE),
    "uniform": Style("Random, uniform", "#949494", "P"),
    "uniform*2": Style("Random, uniform, 2x training", "#5f6b7a", repeated(PLUS, 2)),
    "uniform_plus": Style("Random, uniform+", "#6b6b6b", "p"),
    "balanced": Style("Random, balanced", "#ece133", "h"),
    "er": Style("Random, ER", "#fbafe4", "<"),
    "erk": Style("Random, ERK", "#56b4e9", ">"),
    "erk*2": Style("Random, ERK, 2x training", "#1a6fa3", repeated(TRIANGLE, 2)),
    "erk/kernel": Style("Random, ERK, whole kernels", "#6f8fd0", ANGLE),
    "erk/move": Style("Random, ERK, flow repaired (weights moved)", "#2f7fb5", FLAG),
    "erk/add": Style("Random, ERK, flow repaired (weights added)", "#9ad1f0", mirrored(FLAG)),
    "induced(snip)": Style("Random, densities of SNIP", "#66c2a4", LENS),
    "induced(grasp)": Style("Random, densities of GraSP", "#f08a4b", turned(LENS, 1)),
    "induced(synflow)": Style("Random, densities of SynFlow", "#e3a8d8", turned(LENS, 2)),
    "pyramid": Style("Random, pyramid", "#8c564b", "d"),
    "random@trained": Style("Random, trained weights", "#999933", PILLAR),
    "magnitude@rewound": Style("Weight rewinding", "#88ccee", BOW),
    "magnitude@trained": Style("Learning-rate rewinding", "#882255", "*"),
    "magnitude+smart_ratio@trained": Style("Hybrid ticket", "#332288", HOURGLASS),
    "imp": Style("IMP, initial weights", "#b8860b", (4, 1, 0.0)),
    "imp@rewound": Style("IMP (winning ticket)", "#c75b00", (5, 1, 0.0)),
    "imp@trained": Style("IMP, learning-rate rewinding", "#661100", (7, 1, 0.0)),
    "imp:balanced": Style("IMP from balanced, initial weights", "#e0b700", flipped(HOUSE)),
    "imp:balanced@trained": Style("IMP from balanced, learning-rate rewinding", "#a63a50", turned(HOUSE, 2)),
    "imp@rewound from digitsa": Style("IMP from early weights of Digits a", "#4477aa", (8, 1, 0.0)),
    "mask_of(imp@rewound from digitsa)@start": Style("Ticket from Digits a", "#0b6e99", (10, 1, 0.0)),
    "mask_of(imp@rewound from adam)@start": Style("Ticket from Adam", "#9d0f5c", (11, 1, 0.0)),
    "mask_of(imp@rewound from cifar100)@start": Style("Ticket from CIFAR-100", "#3b3b9a", (12, 1, 0.0)),
    "mask_of(imp@rewound from cifar10)@start": Style("Ticket from CIFAR-10", "#2f7f7f", (13, 1, 0.0)),
    "mask_of(imp@rewound from cifar10a)@start": Style("Ticket from CIFAR-10a", "#6a8f00", (14, 1, 0.0)),
    "imp:snip@rewound": Style("Iterative SNIP", "#0f5c2f", (3, 1, 0.0)),
}

# Masks that move in training. A family has one hue, dark for ERK and light for uniform masks: SET teal, RigL orange,
# RigL-SM pink, RigL-SG blue, SNFS purple, pruning olive, GraNet green. Longer training doubles the mark.
MOVED: dict[str, Style] = {
    "set:uniform": Style("SET (uniform)", "#57bfae", flipped(CHEVRON)),
    "set:uniform*2": Style("SET (uniform), 2x training", "#22877a", repeated(flipped(CHEVRON), 2)),
    "set:erk": Style("SET (ERK)", "#00574d", CHEVRON),
    "rigl:uniform": Style("RigL (uniform)", "#f59d4e", turned(SPARK, 1)),
    "rigl:uniform*2": Style("RigL (uniform), 2x training", "#d9730d", repeated(turned(SPARK, 1), 2)),
    "rigl:uniform*3": Style("RigL (uniform), 3x training", "#b5651d", repeated(turned(SPARK, 1), 3)),
    "rigl:uniform at equal FLOPs": Style("RigL (uniform) at equal FLOPs", "#ffc285", repeated(BAR, 2)),
    "rigl:uniform/kernel": Style("RigL (uniform), whole kernels", "#e8b07a", turned(ANGLE, 2)),
    "rigl:erk": Style("RigL (ERK)", "#b8390e", SPARK),
    "rigl:erk*2": Style("RigL (ERK), 2x training", "#7a1f00", repeated(SPARK, 2)),
    "rigl:erk/kernel": Style("RigL (ERK), whole kernels", "#94401f", turned(ANGLE, 4)),
    "rigl_sm:uniform": Style("RigL-SM (uniform)", "#e888b5", flipped(TUB)),
    "rigl_sm:erk": Style("RigL-SM (ERK)", "#a3145f", TUB),
    "rigl_sg:uniform": Style("RigL-SG (uniform)", "#7d95ea", mirrored(LEANING)),
    "rigl_sg:erk": Style("RigL-SG (ERK)", "#243f9e", LEANING),
    "rigl:mask_of(rigl_sm:uniform)": Style("RigL re-init (uniform)", "#c9a227", (6, 1, 0.0)),
    "rigl:mask_of(rigl_sm:erk)": Style("RigL re-init (ERK)", "#7d5f00", (9, 1, 0.0)),
    "snfs:uniform": Style("SNFS (uniform)", "#a993d6", flipped(DOME)),
    "snfs:uniform*2": Style("SNFS (uniform), 2x training", "#7657b5", repeated(flipped(DOME), 2)),
    "snfs:erk": Style("SNFS (ERK)", "#4b1d86", DOME),
    "gmp": Style("Gradual pruning (GMP)", "#6e6e00", STAIRS),
    "gmp:erk(0.5)": Style("GMP (ERK, from 50 %)", "#3f3f00", flipped(STAIRS)),
    "gmp~scope=layer": Style("Gradual pruning (GMP), uniform", "#9a9a1f", flipped(mirrored(STAIRS))),
    "gmp~scope=layer at equal density": Style(
        "Gradual pruning (GMP), uniform at equal density", "#c9c96a", turned(BAR, 1)
    ),
    "granet": Style("GraNet", "#1f8a3b", CROWN),
    "granet:erk(0.5)": Style("GraNet (ERK, from 50 %)", "#0a4d1c", flipped(CROWN)),
    "granet:balanced(0.5)": Style("GraNet (balanced, from 50 %)", "#8fcf8f", turned(CROWN, 2)),
    "granet:erk(0.5)~grow=random": Style(
        "GraNet (ERK, from 50 %), random growth", "#4fae5b", turned(CROWN, 6)
    ),
    "granet:erk(0.5)~grow=momentum": Style(
        "GraNet (ERK, from 50 %), growth by momentum", "#b5d94c", turned(CROWN, 1)
    ),
    "dst:erk": Style("DST (ERK)", "#7f3b08", BOLT),
    "mask_of(gmp)": Style("Lottery (mask of GMP)", "#bdb72b", mirrored(STAIRS)),
    "mask_of(rigl:uniform)": Style("Static, mask of RigL (uniform)", "#8fb8c9", flipped(TEE)),
    "mask_of(rigl:erk)": Style("Static, mask of RigL (ERK)", "#3f7f95", TEE),
    "mask_of(erk)@trained": Style("Static solution (ERK), trained on", "#4d9ad1", turned(ARROW, 6)),
    "rigl:mask_of(erk)@trained": Style("RigL from a static solution (ERK)", "#d1495b", ARROW),
}

# Masks that are learned: thresholds blue, from dark for the whole network to light, strong tickets from violet to rose.
LEARNED: dict[str, Style] = {
    "str": Style("STR", "#0b2f6b", CUP),
    "str:balanced(0.5)": Style("STR (balanced, from 50 %)", "#2b7bba", flipped(CUP)),
    "str:balanced(0.3)": Style("STR (balanced, from 30 %)", "#6aaed6", turned(CUP, 2)),
    "str:uniform(0.3)": Style("STR (uniform, from 30 %)", "#8a93b8", turned(CUP, 6)),
    "str:erk(0.3)": Style("STR (ERK, from 30 %)", "#1fa6b8", turned(CUP, 1)),
    "str:pyramid(0.3)": Style("STR (pyramid, from 30 %)", "#5c62c9", turned(CUP, 3)),
    "str:induced(str)(0.3)": Style("STR (densities of STR, from 30 %)", "#a9d6e5", turned(CUP, 5)),
    "edge_popup": Style("Edge-popup", "#5a189a", DROP),
    "edge_popup:uniform(0.5)": Style("Edge-popup (uniform, from 50 %)", "#b05fc9", flipped(DROP)),
    "edge_popup:erk(0.5)": Style("Edge-popup (ERK, from 50 %)", "#7d3c98", turned(DROP, 1)),
    "edge_popup~init=signed_constant": Style("Edge-popup, init signed constant", "#c2185b", turned(DROP, 2)),
    "edge_popup:uniform(0.5)~init=signed_constant": Style(
        "Edge-popup (uniform, from 50 %), init signed constant", "#f29bb7", turned(DROP, 6)
    ),
}
METHODS: dict[str, Style] = TICKETS | MOVED | LEARNED
MOVING = {
    "rigl": "RigL",
    "rigl_sm": "RigL-SM",
    "rigl_sg": "RigL-SG",
    "set": "SET",
    "snfs": "SNFS",
    "gmp": "GMP",
    "granet": "GraNet",
    "dst": "DST",
    "str": "STR",
    "edge_popup": "Edge-popup",
}

CHECKS: dict[str, Style] = {
    "none": Style("No check (original)", "#222222", "o"),
    "random_labels": Style("Random labels", "#0173b2", "s"),
    "pixel_shuffle": Style("Shuffled pixels", "#de8f05", "^"),
    "half_data": Style("Half the data", "#029e73", "D"),
    "rearrange": Style("Mask rearranged in layers", "#d55e00", "v"),
    "shuffle_kept": Style("Kept weights shuffled", "#cc78bc", "P"),
    "shuffle_all": Style("All weights shuffled", "#ca9161", "X"),
    "reinitialise": Style("Weights drawn anew", "#56b4e9", "<"),
    "permute_globally": Style("Mask permuted globally", "#949494", ">"),
    "random_ticket": Style("Random ticket, layer counts kept", "#117733", "*"),
    "random_ticket_global": Style("Random ticket, anywhere", "#44aa99", "H"),
    "invert": Style("Scores upside down", "#8c564b", "p"),
}

DATA = {
    "digits": "Digits",
    "digitsa": "Digits a",
    "digitsb": "Digits b",
    "fashionmnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar10a": "CIFAR-10a",
    "cifar10b": "CIFAR-10b",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "tinyimagenet": "Tiny-ImageNet",
}
WORKS = {
    "su2020": "Su et al.",
    "answer42": "answer42",
    "grasp2020": "Wang et al. (GraSP)",
    "snip2018": "Lee et al. (SNIP)",
    "synflow2020": "Tanaka et al.",
    "frankle2020": "Frankle et al.",
    "gohil2020": "Gohil et al.",
    "granet2021": "Liu et al. (GraNet)",
    "gadhikar2022": "Gadhikar et al.",
    "liu2022": "Liu et al. (random pruning)",
    "str2020": "Kusupati et al. (STR)",
    "edgepopup2020": "Ramanujan et al. (edge-popup)",
    "rigl2020": "Evci et al.",
    "rigl-repro": "Sundar and Dwaraknath",
    "rigl-repro/original": "Evci et al.",
    "rigl-repro/all images": "Sundar and Dwaraknath",
}
