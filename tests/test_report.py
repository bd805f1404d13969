"""Tables and cards say what the runs say, escape what they are given, and figures draw what is in the table."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb
from synthetic import layers_of, run, runs, without

from repro import claims, report
from repro.report.html import Cell, Column, Table, number, with_interval

METHODS = ("dense", "smart_ratio", "magnitude", "snip", "grasp")
VOID = {"img", "br"}


class Reader(HTMLParser):
    """Checks that tags close in order; keeps header cells, cells and images."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.seen if name == tag]


def grid(
    methods=METHODS, densities=(0.1, 0.05, 0.02), checks=("none",), models=("resnet20", "vgg11"), **given
):
    return runs(
        *(
            {"method": m, "density": 1.0 if m == "dense" else d, "check": c, "model": model} | given
            for model in models
            for m in methods
            for d in (densities if m != "dense" else densities[:1])
            for c in (checks if m != "dense" else ("none",))
        )
    )


def paper(**given):
    return grid(("smart_ratio",), models=("vgg19",), data="cifar10", width=1.0, epochs=160, **given)


# ---- tables


def test_cells_hold_mean_interval_and_counts():
    table = report.table_cells(without(runs({}, spread=0.0), "diverged", seed=4))
    row = table.iloc[0]
    assert (row["n"], row["lost"]) == (4, 1)
    assert row["mean"] == pytest.approx(96.5)
    assert row["high"] - row["mean"] == pytest.approx(3.182446 * np.std([0, 1, 2, 3], ddof=1) / 2, rel=1e-5)


def test_cells_hold_paired_differences_not_differences_of_intervals():
    frame = runs({}, {"check": "rearrange", "shift": -1.0}, spread=0.0)
    row = report.table_cells(frame, {"check": "none"}).set_index("check").loc["rearrange"]
    assert row[["difference", "difference_low", "difference_high"]].tolist() == pytest.approx([-1.0] * 3)
    assert row["pairs"] == 5
    assert row["high"] - row["low"] > 3


def test_all_published_cells_stand_in_an_empty_table():
    cells = report.table_cells(runs({}).iloc[:0], published=["su2020", "answer42"])
    own = cells[cells["method"] == "smart_ratio"]
    assert (
        len(own) == 12 and own["published_su2020"].notna().all() and own["published_answer42"].notna().all()
    )
    assert (own["n"] == 0).all() and own["mean"].isna().all()


def test_published_cells_without_runs_stay_with_a_dash():
    table = report.show_table(paper(densities=(0.1,)), published=["su2020", "answer42"])
    rows = [[c if isinstance(c, str) else c.text for c in row] for row in table.rows]
    assert len(rows) == 6
    heads = [column.head for column in table.columns]
    ours, n, su = heads.index("Ours"), heads.index("n"), heads.index("Su et al.")
    first = rows[[row[:3] for row in rows].index(["VGG-19", "Random ticket (smart ratio)", "10 %"])]
    assert (first[su], first[n], first[heads.index("answer42")]) == ("93.77", "5", "93.65")
    rest = [row for row in rows if row is not first]
    assert {row[ours] for row in rest} == {"—"} and {row[n] for row in rest} == {"0"}
    assert {row[su] for row in rest} >= {"93.42", "92.45", "92.97"}
    assert "—: not run." in table.caption
    assert "Data: CIFAR-10." in table.caption


def test_the_difference_is_to_the_leftmost_published_value():
    frame = paper(densities=(0.1,))
    row = (
        report.table_cells(frame, published=["su2020", "answer42"])
        .query("model == 'vgg19' and density == 0.1")
        .iloc[0]
    )
    assert row["difference_published"] == pytest.approx(row["mean"] - 93.77)
    assert row["difference_published_high"] - row["difference_published"] == pytest.approx(
        row["high"] - row["mean"]
    )
    frame["method"] = "snip"
    row = (
        report.table_cells(frame, published=["su2020", "answer42"])
        .query("model == 'vgg19' and density == 0.1")
        .iloc[0]
    )
    assert row["difference_published"] == pytest.approx(row["mean"] - 93.29)


@pytest.mark.parametrize("reduced", [{"epochs": 20}, {"width": 0.5}])
def test_reduced_runs_get_no_difference_to_published_values(reduced):
    frame = paper(densities=(0.1,)).assign(**reduced)
    cells = report.table_cells(frame, published=["su2020"])
    assert cells["difference_published"].isna().all()
    assert cells.loc[cells["n"] > 0, "published_su2020"].notna().all() == ("epochs" in reduced)


def test_quick_runs_bring_no_published_rows():
    cells = report.table_cells(grid(), published=["su2020", "answer42"])
    assert set(cells["data"]) == {"digits"} and len(cells) == 2 * (1 + 4 * 3)


def test_tables_are_accessible_aligned_and_have_no_colour_of_their_own():
    html = report.show_table(grid(checks=("none", "rearrange")), {"check": "none"})._repr_html_()
    read = Reader(html)
    heads = [attrs for attrs in read.all("th") if attrs.get("scope") == "col"]
    assert len(heads) == 9
    assert all(attrs.get("scope") in ("col", "row") for attrs in read.all("th"))
    assert "95 % t interval over n seeds" in read.text and "percentage points" in read.text
    assert html.count("text-align:right") >= 6 * 40
    assert not re.search(r"(?<![-\w])color:(?!inherit)", html)


def test_rows_read_from_dense_to_sparse_in_the_order_of_the_menu():
    table = report.show_table(grid().sample(frac=1, random_state=1))
    rows = [row[:3] for row in table.rows][:4]
    smart = "Random ticket (smart ratio)"
    expected = [("Dense", "100 %"), (smart, "10 %"), (smart, "5 %"), (smart, "2 %")]
    assert rows == [("ResNet-20, width 0.5", *pair) for pair in expected]


def test_collapsed_layers_and_lost_runs_are_shown():
    frame = runs({})
    frame.loc[2, "collapsed"] = 3
    table = report.show_table(without(frame, "failed", seed=0))
    heads = [c.head for c in table.columns]
    assert table.rows[0][heads.index("Collapsed")] == "3"
    assert table.rows[0][heads.index("Lost runs")] == "1"
    assert "Lost runs" not in [c.head for c in report.show_table(frame).columns]


def test_columns_that_say_nothing_or_the_same_of_every_row_are_left_out():
    table = report.show_table(grid(methods=("dense", "snip"), models=("resnet20",)), published=["su2020"])
    assert [c.head for c in table.columns] == ["Method", "Density", "Ours", "n", "Realised", "Collapsed"]
    assert "Data: Digits. Network: ResNet-20" in table.caption


def test_everything_in_a_page_is_escaped():
    evil = "<script>alert('x')</script>"
    frame = runs({"method": evil, "data": evil, "model": evil, "check": evil}).assign(
        command=evil, commit=evil
    )
    frame["reason"] = evil
    claim = claims.claims()["su2020-2"].model_copy(update={"title": evil, "says": evil, "note": evil})
    verdict = claims.evaluate(claim, frame, profile=evil, margin=2)
    shown = [report.show_table(frame), report.show_runs(frame), report.verdict_card(verdict)]
    shown += [report.verdict_table([verdict], link="javascript<{id}>"), report.Picture("<svg/>", evil, evil)]
    for part in shown:
        html = part._repr_html_()
        assert "<script" not in html and "&lt;script" in html
        Reader(html)
    assert "<script" not in report.verdict_table([verdict]).markdown()


def test_markdown_keeps_its_columns():
    table = Table((Column("a"), Column("b", "number")), (("x|y", Cell("[z]", "p q.html")),), "c_c")
    assert table.markdown() == "| a | b |\n|---|---:|\n| x\\|y | [\\[z\\]](<p q.html>) |\n\nc\\_c\n"


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (1.005, False, "1.00"),
        (-0.42, True, "\u22120.42"),
        (0.42, True, "+0.42"),
        (-0.001, True, "0.00"),
        (np.nan, True, "—"),
    ],
)
def test_numbers(value, sign, text):
    assert number(value, sign=sign) == text


def test_means_with_interval():
    assert with_interval(92.84, 92.53, 93.15) == "92.84 ± 0.31"
    assert with_interval(92.84, np.nan, np.nan) == "92.84"
    assert with_interval(np.nan, np.nan, np.nan) == "—"


def test_runs_are_listed_with_how_they_ended():
    frame = without(runs({}), "diverged", seed=1)
    frame["reason"] = [None, "loss is not finite", None, None, None]
    text = report.show_runs(frame)._repr_html_()
    assert "diverged: loss is not finite" in text and text.count("<tr>") == 6 and "repro run" in text


# ---- verdicts


def verdict(word: str) -> claims.Verdict:
    shift = {"supported": 0.0, "contradicted": -3.0, "inconclusive": -0.5, "pending": 0.0}[word]
    frame = runs({"check": "none"}, {"check": "rearrange", "shift": shift})
    if word == "pending":
        frame["status"] = "missing"
    made = claims.evaluate("su2020-2", frame)
    assert made.word == word
    return made


WORDS = ("supported", "contradicted", "inconclusive", "pending")


def test_words_differ_by_more_than_colour():
    assert len({report.icon(word) for word in WORDS}) == len(WORDS)
    for word in WORDS:
        html = report.verdict_card(verdict(word))._repr_html_()
        text = Reader(html).text
        assert report.icon(word) in text and word in text and "su2020-2" in text
        for style in re.findall(r'style="([^"]*)"', html):
            assert ("color:#" in re.sub(r"(background|border[\w-]*)[^;]*", "", style)) <= (
                "background:" in style
            )


def test_the_badge_has_contrast():
    def luminance(colour):
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return float(np.dot([0.2126, 0.7152, 0.0722], parts))

    for word in WORDS:
        html = report.verdict_card(verdict(word))._repr_html_()
        back = re.search(r"background:(#\w{6});color:#ffffff", html)
        assert back and 1.05 / (luminance(back[1]) + 0.05) >= 7


def test_a_card_tells_scale_and_margin():
    frame = runs({"check": "none"}, {"check": "rearrange", "shift": -1.0})
    own = Reader(report.verdict_card(claims.evaluate("su2020-2", frame))._repr_html_()).text
    assert (
        "quick scale: digits" in own
        and "not the published protocol" in own
        and "0.5 pp (the claim's own)" in own
    )
    card = report.verdict_card(claims.evaluate("su2020-2", frame, margin=2.0, profile="quick"))
    text = Reader(card._repr_html_()).text
    assert "2 pp (declared by quick; the claim's own is 0.5 pp)" in text and "|difference| < 2 pp" in text
    full = frame.assign(data="cifar10", model="vgg19", width=1.0, epochs=160)
    text = Reader(report.verdict_card(claims.evaluate("su2020-2", full))._repr_html_()).text
    assert "published protocol." in text and "This is not" not in text


def test_the_table_of_verdicts_links_to_pages():
    made = [verdict(word) for word in WORDS]
    table = report.verdict_table(made, link="pages/{section}.html")
    assert [a["href"] for a in Reader(table._repr_html_()).all("a")] == ["pages/layerwise-rearrange.html"] * 4
    by_function = report.verdict_table(made[:1], link=lambda v: f"{v.word}.md")
    assert "](<supported.md>)" in by_function.markdown()
    for word, row in zip(WORDS, table.rows, strict=True):
        assert row[2] == f"{report.icon(word)}\u00a0{word}"


# ---- names and styles


def test_every_method_and_check_looks_different():
    for menu in (report.METHODS, report.CHECKS):
        for part in ("label", "colour", "marker"):
            assert len({getattr(style, part) for style in menu.values()}) == len(menu), part


def test_unknown_names_get_a_lasting_style():
    first = report.method_style("my_new_score")
    assert first == report.method_style("my_new_score") and first.label == "My new score"
    assert report.method_style("snip+erk").label == "SNIP, erk"


def test_names_of_networks():
    assert report.model_name("resnet32", 2.0) == "ResNet-32, width 2"
    assert report.model_name("vgg19") == "VGG-19" and report.model_name("other", 0.5) == "other, width 0.5"


# ---- figures


def drawn_means(axes):
    """Points with error bars of one panel, as (x, y) by colour."""
    return {to_hex(c.lines[0].get_color()): c.lines[0].get_xydata()[0] for c in axes.containers if c.lines[0]}


def test_accuracy_draws_the_means_of_the_table():
    frame = grid(models=("resnet20",), densities=(0.1,))
    figure = report.figure_accuracy(frame)
    means = report.table_cells(frame).set_index("method")["mean"]
    drawn = drawn_means(figure.axes[0])
    assert len(drawn) == 4
    for method in METHODS[1:]:
        assert drawn[report.method_style(method).colour][1] == pytest.approx(means[method])
    assert any(line.get_ydata()[0] == pytest.approx(means["dense"]) for line in figure.axes[0].lines)
    assert len({round(float(x), 6) for x, _ in drawn.values()}) == 4


def test_accuracy_has_a_panel_per_network_or_per_network_and_method():
    assert len(report.figure_accuracy(grid()).axes) == 2
    checked = grid(("dense", "snip", "grasp"), checks=("none", "rearrange"))
    assert len(report.figure_accuracy(checked).axes) == 4
    assert len(report.figure_accuracy(checked, by="method").axes) == 2


def test_axes_are_labelled_with_units_and_densities_fall():
    ax = report.figure_accuracy(grid()).axes[0]
    assert "%" in ax.get_ylabel() and "weights kept" in ax.get_xlabel()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["10 %", "5 %", "2 %"]


def test_published_values_are_drawn_at_the_published_scale_only():
    def hollow(figure):
        axes = [ax for ax in figure.axes if "VGG-19" in ax.get_title() or "Digits" in ax.get_title()]
        dots = [c for ax in axes for c in ax.collections if isinstance(c, PathCollection)]
        points = [c for c in dots if c.get_facecolor().size == 0]
        return sorted(float(c.get_offsets()[0][1]) for c in points)

    assert hollow(report.figure_accuracy(paper(), published=["su2020"])) == [92.45, 93.42, 93.77]
    quick = report.figure_accuracy(grid(), published=["su2020"])
    assert hollow(quick) == [] and "published" not in quick.get_label()


def test_differences_draw_means_intervals_and_margin():
    frame = runs(
        {}, {"check": "rearrange", "shift": -1.0}, {"check": "reinitialise", "shift": 0.5}, spread=0.3
    )
    ax = report.figure_differences(frame, margin=0.7).axes[0]
    table = report.table_cells(frame, {"check": "none"}).set_index("check").loc[["rearrange", "reinitialise"]]
    dots = [c for c in ax.collections if isinstance(c, PathCollection)]
    single = [c.get_offsets()[0] for c in dots if len(c.get_offsets()) == 1]
    assert sorted(x for x, _ in single) == pytest.approx(sorted(table["difference"]))
    spans = [c.get_segments()[0][:, 0] for c in ax.collections if hasattr(c, "get_segments")]
    assert sorted(s[0] for s in spans)[0] == pytest.approx(table["difference_low"].min())
    assert max(s[1] for s in spans) == pytest.approx(table["difference_high"].max())
    assert (ax.patches[0].get_x(), ax.patches[0].get_width()) == pytest.approx((-0.7, 1.4))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["Mask rearranged in layers", "Weights drawn anew"]


def test_differences_to_a_method():
    figure = report.figure_differences(grid(), control_method="snip", margin=0.5)
    assert len(figure.axes) == 2 and "SNIP" in figure.get_suptitle()
    assert "SNIP" not in [t.get_text() for t in figure.axes[0].get_yticklabels()]


def test_layers_draw_the_share_kept_and_mark_empty_layers():
    frame = runs({"method": "snip"}, {"method": "grasp"}, {"method": "grasp", "density": 0.5})
    frame["layers"] = [
        layers_of(d, empty=m == "snip") for m, d in zip(frame["method"], frame["density"], strict=True)
    ]
    figure = report.figure_layers(frame)
    lines = {
        to_hex(line.get_color()): line.get_ydata()
        for line in figure.axes[0].lines
        if len(line.get_xdata()) == 4
    }
    assert lines[report.method_style("grasp").colour] == pytest.approx([0.1] * 4)
    assert lines[report.method_style("snip").colour][1:] == pytest.approx([0.1] * 3)
    assert "lost every weight" in figure.get_label()
    assert "density 50 %" in report.figure_layers(frame, density=0.5).get_label()
    assert "lost every weight" not in report.figure_layers(frame, density=0.5).get_label()


def empty_frames():
    nothing = runs({"check": "none"}, {"check": "rearrange"})
    missing = nothing.assign(status="missing", accuracy=np.nan, layers=None)
    one = pd.DataFrame([run()])
    return {"no rows": nothing.iloc[:0], "missing": missing, "one run": one}


@pytest.mark.parametrize("name", ["no rows", "missing", "one run"])
def test_pages_stand_before_there_are_runs(name):
    frame = empty_frames()[name]
    for figure in (
        report.figure_accuracy(frame, published=["su2020"]),
        report.figure_differences(frame, margin=1),
        report.figure_differences(frame, control_method="snip"),
        report.figure_layers(frame),
    ):
        Reader(report.show_figure(figure)._repr_html_())
    Reader(report.show_table(frame, {"check": "none"})._repr_html_())
    Reader(report.verdict_card(claims.evaluate("su2020-2", frame))._repr_html_())


def test_a_shown_figure_has_words_and_is_the_same_each_time():
    frame = grid(models=("resnet20",), densities=(0.1,))
    first, second = (report.show_figure(report.figure_accuracy(frame)) for _ in range(2))
    assert first == second
    image = Reader(first._repr_html_()).all("img")[0]
    assert image["src"].startswith("data:image/svg+xml;base64,")
    assert "Digits, ResNet-20, width 0.5" in image["alt"] and "SNIP 9" in image["alt"]
    assert "95 % t interval" in first.caption and "n = 5" in first.caption
    assert "<text" not in first.svg and first.svg.startswith("<svg")
    assert report.show_figure(report.figure_accuracy(frame), alt="a", caption="").caption == ""


def test_figures_are_opaque_and_leave_settings_alone():
    before = dict(mpl.rcParams)
    figure = report.figure_accuracy(grid(densities=(0.1,)))
    report.show_figure(figure)
    assert dict(mpl.rcParams) == before
    assert figure.get_facecolor()[3] == 1 and min(figure.get_facecolor()[:3]) > 0.9


def test_setup_works_outside_notebooks():
    with mpl.rc_context():
        report.setup()
        assert mpl.rcParams["svg.fonttype"] == "path"
