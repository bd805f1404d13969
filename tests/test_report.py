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
from repro.errors import ReproError
from repro.report.baselines import large
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


# ---- every published cell


def texts(table):
    return [[c if isinstance(c, str) else c.text for c in row] for row in table.rows]


def test_every_published_cell_appears_without_any_run():
    table = report.show_cells(runs({}).iloc[:0])
    rows = texts(table)
    heads = ["Data", "Network", "Method", "Check", "Density", "Su et al.", "answer42", "Ours"]
    heads += ["Ours \u2212 Su et al.", "Ours \u2212 answer42", "n"]
    assert [c.head for c in table.columns] == heads
    assert len(rows) == 138  # the 150 rows of answer42 less the 12 that are differences
    assert {row[7] for row in rows} == {"not run"} and {row[10] for row in rows} == {"0"}
    assert sum(row[5] != "—" for row in rows) == 12 and all(row[6] != "—" for row in rows)
    assert "all 138 accuracies" in table.caption and "; 0 of them" in table.caption


def test_published_cells_stand_in_the_order_of_the_paper():
    rows = texts(report.show_cells(grid()))  # runs of digits belong to no published cell
    methods = list(dict.fromkeys(row[2] for row in rows))
    smart = "Random ticket (smart ratio)"
    dense, snips = ["Dense", "Dense (SNIP code)"], ["SNIP", "GraSP"]
    assert methods == [*dense, *snips, smart, "Learning-rate rewinding", "Hybrid ticket"]
    snip = [row[:5] for row in rows if row[2] == "SNIP"]
    assert snip[0] == ["CIFAR-10", "VGG-19", "SNIP", "—", "60 %"]
    assert [row[3] for row in snip[:18]] == [
        c for c in ("—", "Shuffled pixels", "Mask rearranged in layers") for _ in "123456"
    ]
    assert [row[4] for row in snip[:6]] == ["60 %", "40 %", "20 %", "10 %", "5 %", "2 %"]
    assert [row[1] for row in snip[:36:18]] == ["VGG-19", "ResNet-32, width 2"] and snip[36][0] == "CIFAR-100"


def test_a_cell_with_runs_has_both_differences():
    frame = runs(
        {
            "data": "cifar10",
            "model": "vgg19",
            "width": 1.0,
            "epochs": 160,
            "density": 0.02,
            "method": "smart_ratio",
        },
        base=90.0,
        spread=0.0,
        seeds=3,
    )
    table = report.show_cells(frame)
    (row,) = [row for row in texts(table) if row[10] != "0"]
    assert row[:5] == ["CIFAR-10", "VGG-19", "Random ticket (smart ratio)", "—", "2 %"]
    # seeds 90, 91, 92: mean 91, half width 4.3027 / sqrt 3 = 2.48; published 92.45 and 92.41
    assert row[5:] == ["92.45", "92.41", "91.00 ± 2.48", "\u22121.45 ± 2.48", "\u22121.41 ± 2.48", "3"]
    assert "; 1 of them" in table.caption
    lost = texts(report.show_cells(without(frame, "diverged", seed=2)))
    (row,) = [row for row in lost if row[10] != "0"]
    assert row[10] == "2 (1 lost)" and row[7].startswith("90.50")
    gone = without(frame, "failed", density=0.02)
    assert [row[7] for row in texts(report.show_cells(gone)) if row[10] == "0 (3 lost)"] == ["—"]


def test_shorter_runs_are_shown_with_their_epochs_and_without_a_difference():
    frame = paper(densities=(0.02,)).assign(epochs=20)
    (row,) = [row for row in texts(report.show_cells(frame)) if row[10] != "0"]
    assert row[7].endswith("(20 epochs)") and row[8:10] == ["—", "—"]


def test_the_table_of_one_method_says_once_what_all_its_rows_share():
    table = report.show_cells(grid(), methods=["smart_ratio"], title="Random tickets")
    assert [c.head for c in table.columns] == [
        "Data",
        "Network",
        "Density",
        "Su et al.",
        "answer42",
        "Ours",
        "n",
    ]
    assert len(table.rows) == 12 and table.rows[0] == (
        "CIFAR-10",
        "VGG-19",
        "10 %",
        "93.77",
        "93.65",
        "not run",
        "0",
    )
    assert "the 12 accuracies" in table.caption
    assert table.caption.endswith("Method: Random ticket (smart ratio).")


def test_two_readings_of_a_dense_network_have_two_rows():
    frame = runs(
        {
            "data": "cifar100",
            "model": "resnet32",
            "width": 2.0,
            "epochs": 160,
            "method": "dense",
            "density": 1.0,
        },
        base=70,
    )
    rows = [row for row in texts(report.show_cells(frame)) if row[10] != "0"]
    assert [(row[2], row[6]) for row in rows] == [("Dense", "73.57"), ("Dense (SNIP code)", "74.22")]
    assert rows[0][7] == rows[1][7] and rows[0][9] != rows[1][9]
    cells = report.table_cells(frame, published=["answer42"])
    assert cells.query("data == 'cifar100' and model == 'resnet32'")["published_answer42"].tolist() == [73.57]


def test_cells_of_one_work_or_none():
    assert len(report.replication_cells(grid(), ["su2020"])) == 12
    with pytest.raises(ReproError, match="no work"):
        report.show_cells(grid(), [])
    with pytest.raises(ReproError, match="su2020"):
        report.show_cells(grid(), ["su2021"])


# ---- flow and baselines


def flowing():
    frame = runs({"density": 0.1}, {"density": 0.02}, {"density": 0.02, "check": "rearrange"}, seeds=3)
    frame["units"] = 200.0
    frame["effective"] = frame["density"] * 0.5 + 0.001 * (frame["seed"] - 1)
    frame["dead"] = 10.0 * frame["seed"]
    frame["collapsed"] = frame["seed"].astype(float)
    return frame


def test_flow_tells_what_is_left():
    table = report.show_flow(flowing())
    heads = [c.head for c in table.columns]
    measured = ["Realised", "Effective", "Effective / realised", "Collapsed layers", "Dead units", "n"]
    assert heads == ["Method", "Check", "Density", *measured]
    first = dict(zip(heads, texts(table)[0], strict=True))
    # effective 0.049, 0.050, 0.051: half width 4.3027 * 0.001 / sqrt 3 = 0.25 points; dead 0, 10, 20 of 200
    assert first["Effective"] == "5.00 ± 0.25 %" and first["Realised"] == "10 %"
    assert first["Effective / realised"] == "0.500"
    assert first["Collapsed layers"] == "2" and first["Dead units"] == "10.0 (5 %)" and first["n"] == "3"
    assert "Traced" not in heads and "not recorded" not in table.caption


def test_flow_of_old_records_is_left_open():
    frame = flowing()
    frame.loc[frame["seed"] == 0, ["effective", "dead", "units"]] = np.nan
    table = report.show_flow(frame)
    first = dict(zip([c.head for c in table.columns], texts(table)[0], strict=True))
    assert (first["n"], first["Traced"], first["Dead units"]) == ("3", "2", "15.0 (7.5 %)")
    assert "traced runs" in table.caption
    old = report.show_flow(grid())
    assert "Effective" not in [c.head for c in old.columns] and "not recorded" in old.caption
    assert "Dense" not in {text for row in texts(old) for text in row}


def test_baselines_give_accuracies_and_costs():
    frame = runs({"method": "dense", "density": 1.0}, {"density": 0.1}, seeds=3, spread=0.0)
    frame["top5"], frame["best"] = frame["accuracy"] + 2, frame["accuracy"] + 0.5
    frame["params"] = 12_345.0  # 10,000 weights in layers of 1 to 4 thousand, and 2,345 others
    frame["layers"] = [
        [layer | {"macs": layer["total"] * 50} for layer in layers_of(d)] for d in frame["density"]
    ]
    table = report.show_baselines(frame)
    dense, sparse = (dict(zip([c.head for c in table.columns], row, strict=True)) for row in texts(table))
    assert (dense["Top-1"], dense["Top-5"]) == ("96.00 ± 2.48", "98.00 ± 2.48")
    assert (dense["Best epoch"], dense["n"]) == ("96.50 ± 2.48", "3")
    assert (dense["Parameters"], dense["MACs"]) == ("12.35 k", "500 k")
    assert (sparse["Parameters"], sparse["MACs"]) == ("3.345 k", "50 k")
    old = report.show_baselines(runs({"method": "dense", "density": 1.0}))
    assert "MACs" not in [c.head for c in old.columns] and "not recorded" in old.caption


@pytest.mark.parametrize(
    ("value", "text"),
    [(20_035_018, "20.04 M"), (398_136_320, "398.1 M"), (2.5e9, "2.5 G"), (12, "12"), (np.nan, "—")],
)
def test_large_numbers_are_short(value, text):
    assert large(value) == text


# ---- verdicts


def test_a_cell_against_a_check_names_the_check():
    frame = runs(
        *(
            {"method": "magnitude@trained", "check": c, "density": 0.02}
            for c in ("none", "shuffle_all", "half_data")
        )
    )
    html = report.verdict_card(claims.evaluate("su2020-4", frame))._repr_html_()
    assert ">All weights shuffled<" in html and ">Half the data<" in html and "Shuffle all" not in html


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


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("magnitude@trained", "Learning-rate rewinding"),
        ("magnitude@rewound", "Weight rewinding"),
        ("magnitude+smart_ratio@trained", "Hybrid ticket"),
        ("smart_ratio:ascending", "Random ticket, ascending ratio"),
        ("snip@trained", "SNIP, trained weights"),
        ("smart_ratio:cubic@rewound", "Random ticket, cubic ratio, rewound weights"),
        ("snip+smart_ratio:linear@trained", "SNIP, smart ratio, linear, trained weights"),
        ("magnitude:init+erk", "Magnitude at initialisation, erk"),
        ("my_score:fast", "My score, fast"),
        ("@x", "@x"),
    ],
)
def test_names_made_of_parts_read_well(name, label):
    assert report.method_style(name).label == label


def test_spare_looks_differ_in_more_than_colour():
    looks = {report.method_style(f"score_{i}")[1:] for i in range(200)}
    assert len(looks) == 36 and len({look[1] for look in looks}) == 3


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


def many_densities(**given):
    densities = (0.6, 0.4, 0.2, 0.1, 0.05, 0.02, 0.01)
    methods = ("dense", "snip", "grasp", "magnitude", "smart_ratio", "synflow", "random")
    return grid(methods, densities, models=("resnet20",), **given).sample(frac=1, random_state=0)


def test_many_densities_stand_on_a_logarithmic_axis_and_are_joined():
    ax = report.figure_accuracy(many_densities()).axes[0]
    labels = ["60 %", "40 %", "20 %", "10 %", "5 %", "2 %", "1 %"]
    assert [t.get_text() for t in ax.get_xticklabels()] == labels
    ticks = ax.get_xticks()
    assert np.diff(ticks) == pytest.approx(
        -np.diff(np.log([0.6, 0.4, 0.2, 0.1, 0.05, 0.02, 0.01])) / np.log(1.5)
    )
    lines = {to_hex(line.get_color()): line for line in ax.lines if len(line.get_xdata()) == 7}
    means = report.table_cells(many_densities()).query("method == 'snip'").sort_values("density")["mean"]
    assert lines[report.method_style("snip").colour].get_ydata() == pytest.approx(means.to_numpy()[::-1])
    points = sorted(float(c.lines[0].get_xdata()[0]) for c in ax.containers)
    rules = sorted((ticks[1:] + ticks[:-1]) / 2)
    assert [sum(p > r for r in rules) for p in points] == [i for i in range(7) for _ in range(6)]
    few = report.figure_accuracy(grid(models=("resnet20",))).axes[0]
    assert not [line for line in few.lines if len(line.get_xdata()) == 3]


def test_a_collapsed_cell_stretches_the_axis_and_the_caption_says_so():
    frame = many_densities()
    assert "stretched" not in report.figure_accuracy(frame).get_label()
    low = frame.assign(data="cifar10", model="vgg19", width=1.0).replace(
        {"method": {"grasp": "magnitude@trained"}}
    )
    assert "stretched" in report.figure_accuracy(low, ["answer42"]).get_label()  # which has 10.00
    frame.loc[(frame["method"] == "snip") & (frame["density"] == 0.01), "accuracy"] = 10.0
    figure = report.figure_accuracy(frame)
    assert "stretched towards 100 %" in figure.get_label()
    ax = figure.axes[0]
    low, high = ax.get_ylim()
    assert 0 <= low < 10 and 99 < high < 100
    place = [ax.transData.transform((0, y))[1] for y in (80, 90, 95)]
    assert place[2] - place[1] == pytest.approx(place[1] - place[0])
    assert {t.get_text() for t in ax.get_yticklabels()} >= {"10", "90", "98"}


def overlapping():
    frame = runs(
        {"method": "snip", "density": 0.1},
        {"method": "snip", "density": 0.1, "check": "rearrange"},
        {"method": "snip", "density": 0.05, "check": "rearrange"},
        {"method": "snip", "density": 0.1, "check": "invert"},
        {"method": "grasp", "density": 0.1, "check": "half_data"},
        seeds=3,
    )
    at = {"rearrange": (0.2, 0.06), "invert": (0.0, 0.05), "half_data": (0.7, np.nan)}
    for check, (value, expected) in at.items():
        chosen = frame["check"] == check
        frame.loc[chosen, "overlap"] = value + 0.1 * (frame.loc[chosen, "seed"] - 1) * (check != "invert")
        frame.loc[chosen, "overlap_expected"] = expected
    return frame


def test_overlap_gives_mean_interval_and_what_chance_gives():
    table = report.overlap_cells(overlapping()).set_index(["method", "check", "density"])
    assert len(table) == 4  # no row for tickets without a check
    row = table.loc[("snip", "rearrange", 0.1)]
    assert row[["n", "overlap", "expected"]].tolist() == pytest.approx([3, 0.2, 0.06])
    half = 4.302653 * 0.1 / np.sqrt(3)
    assert row[["low", "high"]].tolist() == pytest.approx([0.2 - half, 0.2 + half], rel=1e-5)
    assert np.isnan(table.loc[("grasp", "half_data", 0.1), "expected"])


def level_lines(ax):
    """Heights of the level lines of a panel."""
    lines = [segment for c in ax.collections for segment in c.get_segments()]
    return [float(a[1]) for a, b in lines if a[1] == b[1] and a[0] != b[0]]


def test_overlap_draws_marks_bars_and_chance_in_a_panel_per_method():
    figure = report.figure_overlap(overlapping())
    assert [ax.get_title().split("\n")[1] for ax in figure.axes if ax.get_title()] == ["SNIP", "GraSP"]
    snip, grasp = figure.axes[:2]
    drawn = sorted(float(c.lines[0].get_ydata()[0]) for c in snip.containers)
    assert drawn == pytest.approx([0.0, 0.2, 0.2])
    assert sorted(level_lines(snip)) == pytest.approx([0.05, 0.06, 0.06])
    assert level_lines(grasp) == []
    told = figure.get_label()
    assert "n = 3" in told and "95 % t interval" in told and "by chance 0.06 to 0.06" in told


def test_profiles_give_each_method_a_panel_on_one_scale():
    frame = runs({"method": "snip"}, {"method": "grasp"}, {"method": "grasp", "density": 0.5}, seeds=2)
    frame["layers"] = [
        layers_of(d, empty=m == "snip" and s == 1)
        for m, d, s in zip(frame["method"], frame["density"], frame["seed"], strict=True)
    ]
    figure = report.figure_profiles(frame)
    snip, grasp = figure.axes
    assert snip.get_ylim() == grasp.get_ylim() and snip.get_yscale() == "log"
    mine = [line for line in snip.lines if to_hex(line.get_color()) == report.method_style("snip").colour]
    assert mine[0].get_ydata() == pytest.approx(
        [0.05, 0.1, 0.1, 0.1]
    )  # the first layer is empty in one of two runs
    crosses = [c for c in snip.collections if isinstance(c, PathCollection)]
    assert [c.get_offsets()[:, 0].tolist() for c in crosses if len(c.get_offsets())] == [[1]]
    assert not any(len(c.get_offsets()) for c in grasp.collections if isinstance(c, PathCollection))
    dotted = [line for line in grasp.lines if line.get_linestyle() == ":"]
    assert dotted[0].get_ydata()[0] == pytest.approx(0.1)
    told = figure.get_label()
    assert "n = 2" in told and "SNIP: 5 % to 10 %, 1 without any weight" in told
    assert "lost every weight" not in report.figure_profiles(frame, density=0.5).get_label()


def test_panels_of_many_methods_fill_rows_evenly():
    frame = grid(("smart_ratio", "magnitude", "snip", "grasp", "synflow"), (0.1,))
    figure = report.figure_profiles(frame)
    rows = [ax.get_subplotspec().rowspan.start for ax in figure.axes if ax.get_title()]
    assert rows == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]  # two networks with five methods each


def empty_frames():
    nothing = runs({"check": "none"}, {"check": "rearrange"})
    missing = nothing.assign(status="missing", accuracy=np.nan, layers=None)
    one = pd.DataFrame([run()])
    old = grid().drop(
        columns=["overlap", "overlap_expected", "effective", "dead", "units", "top5", "best", "params"]
    )
    return {"no rows": nothing.iloc[:0], "missing": missing, "one run": one, "old records": old}


@pytest.mark.parametrize("name", ["no rows", "missing", "one run", "old records"])
def test_pages_stand_before_there_are_runs(name):
    frame = empty_frames()[name]
    for figure in (
        report.figure_accuracy(frame, published=["su2020"]),
        report.figure_differences(frame, margin=1),
        report.figure_differences(frame, control_method="snip"),
        report.figure_layers(frame),
        report.figure_overlap(frame),
        report.figure_profiles(frame),
    ):
        Reader(report.show_figure(figure)._repr_html_())
    for table in (
        report.show_table(frame, {"check": "none"}),
        report.show_flow(frame),
        report.show_baselines(frame),
        report.show_cells(frame),
    ):
        Reader(table._repr_html_())
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
