"""One look for the whole book: names, colours, markers, and how figures reach a page."""

from __future__ import annotations

import base64
import io
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

PAPER = "#fcfcfa"
INK = "#1a1a1a"
BAND = "#cfe3cf"


class Style(NamedTuple):
    """How a method or check is called and drawn, everywhere."""

    label: str
    colour: str
    marker: Any  # of matplotlib: a letter, or corners


# Marks that matplotlib has no letter for, by their corners; those of ratios show the shape.
HOURGLASS = ((-1, -1), (1, -1), (-1, 1), (1, 1), (-1, -1))
BOW = ((-1, -1), (-1, 1), (1, -1), (1, 1), (-1, -1))
BAR = ((-1, -0.45), (1, -0.45), (1, 0.45), (-1, 0.45), (-1, -0.45))
PILLAR = ((-0.45, -1), (0.45, -1), (0.45, 1), (-0.45, 1), (-0.45, -1))
FALLING = ((-1, 1), (-1, -1), (1, -1), (-1, 1))
PLUNGING = ((-1, 1), (-1, -1), (1, -1), (-0.4, -0.4), (-1, 1))
RISING = ((1, 1), (1, -1), (-1, -1), (1, 1))

# Colours are seaborn's "colorblind" set and two greys, then Paul Tol's "muted" set for tickets that share figures;
# the marker tells the entry apart without colour.
METHODS: dict[str, Style] = {
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
    "uniform": Style("Random, uniform", "#949494", "P"),
    "uniform_plus": Style("Random, uniform+", "#6b6b6b", "p"),
    "balanced": Style("Random, balanced", "#ece133", "h"),
    "er": Style("Random, ER", "#fbafe4", "<"),
    "erk": Style("Random, ERK", "#56b4e9", ">"),
    "pyramid": Style("Random, pyramid", "#8c564b", "d"),
    "random@trained": Style("Random, trained weights", "#999933", PILLAR),
    "magnitude@rewound": Style("Weight rewinding", "#88ccee", BOW),
    "magnitude@trained": Style("Learning-rate rewinding", "#882255", "*"),
    "magnitude+smart_ratio@trained": Style("Hybrid ticket", "#332288", HOURGLASS),
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
    "invert": Style("Scores upside down", "#8c564b", "p"),
}

DATA = {
    "digits": "Digits",
    "fashionmnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
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
    "rigl2020": "Evci et al.",
    "rigl-repro": "Sundar and Dwaraknath",
}
SPARE = sns.color_palette("husl", 12).as_hex()
SPARE_MARKERS = ("H", "8", (7, 1, 0.0))


def _style(menu: dict[str, Style], name: str) -> Style:
    """Look a style up; a name without one gets a label and a colour that depend on the name alone."""
    if name in menu:
        return menu[name]
    label, number = _words(menu, name), zlib.crc32(name.encode())
    turn, place = divmod(number, len(SPARE))
    return Style(label[:1].upper() + label[1:], SPARE[place], SPARE_MARKERS[turn % len(SPARE_MARKERS)])


def _words(menu: dict[str, Style], name: str) -> str:
    """Read a name of parts, score+allocation:option@weights, from its end until the menu knows the rest."""
    if name in menu:
        return menu[name].label
    end = max(name.rfind(sign) for sign in "+:@")
    if end < 1:
        return name.replace("_", " ")
    last = " weights" if name[end] == "@" else ""
    return f"{_words(menu, name[:end])}, {name[end + 1 :].replace('_', ' ')}{last}"


def method_style(name: str) -> Style:
    """Name, colour and marker of a method; the same on every page, also for methods added later."""
    return _style(METHODS, name)


def check_style(name: str) -> Style:
    """Name, colour and marker of a check."""
    return _style(CHECKS, name)


def check_name(name: str) -> str:
    """Call a check as the pages do."""
    return check_style(name).label


def data_name(name: str) -> str:
    """Call a data set as its authors do, e.g. cifar10 is CIFAR-10."""
    return DATA.get(name, name)


def model_name(name: str, width: float = 1.0) -> str:
    """Call a network as its authors do, with its width unless that is 1, e.g. "ResNet-32, width 2"."""
    match = re.fullmatch(r"(vgg|resnet)(\d+)", name)
    known = f"{ {'vgg': 'VGG', 'resnet': 'ResNet'}[match[1]] }-{match[2]}".strip() if match else name
    return known if width == 1 else f"{known}, width {width:g}"


def order(names: Iterable[str]) -> list[str]:
    """Order methods or checks as the menus above have them, others by name after."""
    known, present = [*METHODS, *CHECKS], set(names)
    return [name for name in known if name in present] + sorted(present - set(known))


def data_order(names: Iterable[str]) -> list[str]:
    """Order data sets as the menu above has them, others by name after."""
    present = set(names)
    return [name for name in DATA if name in present] + sorted(present - set(DATA))


def percent(density: float) -> str:
    """Write a density as a share in percent, as short as it is exact, e.g. "2 %"."""
    return f"{100 * density:.4g} %"


def setup() -> None:
    """Prepare a notebook: vector figures, the book's fonts and colours. Call it once, in the first cell.

    Text in figures becomes outlines, so that they look the same on machines without our fonts; figures carry
    a description for readers who do not see them (`show_figure`).
    """
    sns.set_theme(style="whitegrid", context="notebook", palette="colorblind")
    mpl.rcParams.update(rc())
    try:
        from IPython.core.getipython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    if get_ipython() is not None:
        set_matplotlib_formats("svg")


def rc() -> Any:
    """Settings of matplotlib for every figure here: opaque light paper, which reads on dark pages too."""
    return {
        "axes.edgecolor": "#8a8a8a",
        "axes.facecolor": PAPER,
        "axes.grid": True,
        "axes.labelcolor": INK,
        "axes.titlesize": "medium",
        "figure.facecolor": PAPER,
        "font.size": 10.0,
        "grid.color": "#e2e2de",
        "legend.frameon": False,
        "savefig.facecolor": PAPER,
        "svg.fonttype": "path",
        "svg.hashsalt": "repro",
        "text.color": INK,
    }


@dataclass(frozen=True)
class Picture:
    """A figure as a vector image with a text alternative and a caption."""

    svg: str
    alt: str
    caption: str = ""

    def _repr_html_(self) -> str:
        source = base64.b64encode(self.svg.encode()).decode()
        image = (
            f'<img src="data:image/svg+xml;base64,{source}" alt="{escape(self.alt)}" style="max-width:100%">'
        )
        words = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        return f'<figure style="margin:1em 0">{image}{words}</figure>'


def show_figure(figure: Figure, alt: str | None = None, caption: str | None = None) -> Picture:
    """Turn a figure into what a notebook cell should end with: SVG with text alternative and caption.

    Args:
        figure: as made by the functions here; they describe themselves.
        alt: instead of the figure's own description.
        caption: instead of the figure's own caption; "" for none.
    """
    own_alt, _, own_caption = str(figure.get_label()).partition("\n")
    file = io.StringIO()
    with mpl.rc_context(rc()):
        figure.savefig(
            file, format="svg", bbox_inches="tight", metadata={"Date": None, "Title": alt or own_alt}
        )
    svg = file.getvalue()
    return Picture(svg[svg.index("<svg") :], alt or own_alt, own_caption if caption is None else caption)
