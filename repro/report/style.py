"""One look for the whole book: names, colours, markers, and how figures reach a page."""

from __future__ import annotations

import base64
import io
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from .menus import CHECKS, DATA, METHODS, Style
from .names import along_knob, read_name

PAPER = "#fcfcfa"
INK = "#1a1a1a"
BAND = "#cfe3cf"
SPARE = sns.color_palette("husl", 12).as_hex()
SPARE_MARKERS = ("H", "8", (7, 1, 0.0))


def _style(menu: dict[str, Style], name: str) -> Style:
    """Look a style up; a name without one gets a label and a colour that depend on the name alone.

    Runs that learn their density look as their method does, whatever decides it: they lie on one line.
    """
    if name in menu:
        return menu[name]
    label, number = read_name(menu, name), zlib.crc32(name.encode())
    label = label[:1].upper() + label[1:]
    if (line := along_knob(name)) in menu:
        return menu[line]._replace(label=label)
    turn, place = divmod(number, len(SPARE))
    return Style(label, SPARE[place], SPARE_MARKERS[turn % len(SPARE_MARKERS)])


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
    """Call a network as its authors do, with its width unless that is 1, e.g. "ResNet-32, width 2" or "WRN-22-2"."""
    match = re.fullmatch(r"(vgg|resnet|wrn)(\d+)", name)
    if match and match[1] == "wrn":
        return f"WRN-{match[2]}-{width:g}"
    other = {"alexnet": "AlexNet"}.get(name, name)
    known = f"{ {'vgg': 'VGG', 'resnet': 'ResNet'}[match[1]] }-{match[2]}" if match else other
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
