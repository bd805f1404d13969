"""What the report says of masks that are learned or begin with another density: names, equal density, courses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from synthetic import layers_of, run, without

from repro import cells, report
from repro.errors import ReproError
from repro.record import COLUMNS
from repro.report import course_figures, names

EQUAL = "gmp~scope=layer at equal density"


def table_of(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame([run(**row) for row in rows], columns=COLUMNS)


# ---- names


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("str", "STR"),
        ("str~decay=0.01", "STR, decay 0.01"),
        ("str:balanced(0.5)", "STR (balanced, from 50 %)"),
        ("str:balanced(0.4)~decay=0.01", "STR (balanced, from 40 %), decay 0.01"),
        ("str:induced(str)(0.3)~decay=0.001", "STR (densities of STR, from 30 %), decay 0.001"),
        ("str:erk(0.125)*2", "STR (ERK, from 12.5 %), 2x training"),
        ("str:erk(1e-05)", "STR (ERK, from 0.001 %)"),
        ("edge_popup", "Edge-popup"),
        ("edge_popup:uniform(0.3)", "Edge-popup (uniform, from 30 %)"),
        (
            "edge_popup:uniform(0.5)~init=signed_constant",
            "Edge-popup (uniform, from 50 %), init signed constant",
        ),
        ("granet:erk(0.5)", "GraNet (ERK, from 50 %)"),
        ("granet:erk(0.4)~grow=momentum", "GraNet (ERK, from 40 %), growth by momentum"),
        ("granet~grow=random", "GraNet, random growth"),
        ("granet:snip+induced(snip)(0.5)", "GraNet (SNIP, from 50 %), densities of SNIP"),
        ("granet:erk/move(0.5)", "GraNet (ERK, from 50 %), flow repaired (weights moved)"),
        ("granet/move:erk(0.5)", "GraNet (ERK, from 50 %), flow repaired in training (weights moved)"),
        ("granet/add", "GraNet, flow repaired in training (weights added)"),
        ("granet:mask_of(erk)(0.5)", "GraNet (mask of Random, ERK, from 50 %)"),
        ("mask_of(granet:erk(0.5))", "Static, mask of GraNet (ERK, from 50 %)"),
        ("gmp:erk(0.5)", "GMP (ERK, from 50 %)"),
        ("gmp~scope=layer", "Gradual pruning (GMP), uniform"),
        ("gmp~scope=layer,interval=10", "Gradual pruning (GMP), uniform, interval 10"),
        (EQUAL, "Gradual pruning (GMP), uniform at equal density"),
        ("gmp:erk at equal density", "GMP (ERK) at equal density"),
        ("dst:balanced", "DST (balanced)"),
        ("imp:balanced", "IMP from balanced, initial weights"),
        ("imp:erk@trained", "IMP from ERK, learning-rate rewinding"),
        (
            "imp:balanced@trained/norms",
            "IMP from balanced, learning-rate rewinding, batch norm set back",
        ),
        ("imp@trained/sign", "IMP, learning-rate rewinding, signs set back"),
        ("imp:synflow@rewound", "IMP by SynFlow, rewound weights"),
        ("imp:random:erk/move", "IMP at random from ERK, flow repaired (weights moved), initial weights"),
        ("imp:snip@rewound", "Iterative SNIP"),
        ("erk/move", "Random, ERK, flow repaired (weights moved)"),
        ("erk/add", "Random, ERK, flow repaired (weights added)"),
        ("erk/bernoulli", "Random, ERK, each weight drawn by itself"),
        ("erk/scale", "Random, ERK, scaled weights"),
        ("erk/orthogonal", "Random, ERK, orthogonal weights"),
        ("induced(snip)", "Random, densities of SNIP"),
        ("induced(erk)", "Random, densities of ERK"),
        ("induced(densities)", "Random, given densities"),
        ("snip+induced(synflow)", "SNIP, densities of SynFlow"),
        ("rigl:mask_of(imp@rewound from svhn)", "RigL (Ticket from SVHN, initial weights)"),
    ],
)
def test_names_of_starts_rounds_and_knobs_read_well(name, label):
    assert report.method_style(name).label == label


NEW = [
    *(
        "induced(snip)",
        "induced(synflow)",
        "induced(grasp)",
        "erk/move",
        "erk/add",
        "granet",
        "granet:erk(0.5)",
    ),
    *(
        "granet:balanced(0.5)",
        "granet:erk(0.5)~grow=random",
        "gmp:erk(0.5)",
        "gmp~scope=layer",
        EQUAL,
        "dst:erk",
    ),
    *("imp:balanced", "imp:balanced@trained", "str", "str:balanced(0.5)", "str:balanced(0.3)", "edge_popup"),
    *("edge_popup:uniform(0.5)", "edge_popup:erk(0.5)", "edge_popup~init=signed_constant"),
    "edge_popup:uniform(0.5)~init=signed_constant",
]


@pytest.mark.parametrize("name", NEW)
def test_labels_in_the_menu_are_what_their_names_read_as(name):
    others = {known: style for known, style in report.METHODS.items() if known not in NEW}
    others |= {known: report.METHODS[known] for known in ("granet", "gmp~scope=layer") if known != name}
    assert names.read_name(others, name) == report.METHODS[name].label


signs = st.text("abc:+@/~=*() 0.5", max_size=24)


@given(st.sampled_from(["str", "imp", "granet", "induced(", "mask_of(", ""]), signs)
def test_every_name_has_words(begin, rest):
    assert isinstance(report.method_style(begin + rest).label, str)


def test_runs_that_learn_their_density_look_as_their_method_does_and_others_apart():
    for method in ("str", "str:balanced(0.5)"):
        assert report.method_style(f"{method}~decay=0.01")[1:] == report.METHODS[method][1:]
    for known, name in (
        ("gmp", "gmp~interval=10"),
        ("edge_popup", "edge_popup~levels=3"),
        (EQUAL, "str~decay=0.01 at equal FLOPs"),
        ("str", "str:balanced(0.4)~decay=0.01"),
        ("str", "str~decay=0.01 at equal FLOPs"),
    ):
        assert report.method_style(name)[1:] != report.METHODS[known][1:], name


# ---- equal density


def learned(*rows: tuple[str, int, float]) -> pd.DataFrame:
    """Uniform pruning with 90 % at a tenth and 92 % at four tenths, one more for seed 1; and runs that learn."""
    made = [
        {"method": "gmp~scope=layer", "density": density, "seed": seed, "accuracy": accuracy + seed}
        for seed in range(2)
        for density, accuracy in ((0.1, 90.0), (0.4, 92.0))
    ]
    made += [{"method": m, "seed": seed, "density": d, "accuracy": 93.0} for m, seed, d in rows]
    return table_of(*made)


def added(frame: pd.DataFrame, run: str = "str") -> pd.DataFrame:
    return report.equal_density(frame, run, "gmp~scope=layer").iloc[len(frame) :]


def test_each_run_is_compared_at_its_own_density_and_stands_at_that_of_its_cell():
    frame = learned(("str~decay=0.01", 0, 0.2), ("str~decay=0.01", 1, 0.1))
    new = added(frame)
    # 0.2 lies half way from 0.1 to 0.4 in the logarithm; 0.1 is an end, of seed 1; the cell's mean is 0.15
    assert new.set_index("seed")["accuracy"].to_dict() == pytest.approx({0: 91.0, 1: 91.0})
    assert new["density"].tolist() == [0.15, 0.15] and new["realised"].tolist() == [0.2, 0.1]
    assert set(new["method"]) == {EQUAL} and new["flops_ratio"].isna().all() and new["layers"].isna().all()
    paired = cells.pairs(report.equal_density(frame, "str", "gmp~scope=layer"), {"method": EQUAL})
    own = paired[paired["method"] == "str~decay=0.01"]
    assert own["difference"].tolist() == pytest.approx([2.0, 2.0])


@given(st.floats(0.1, 0.4), st.floats(-5, 5))
def test_a_line_in_the_logarithm_is_met_exactly(density, slope):
    frame = learned(("str", 0, density))
    gmp = frame["method"].eq("gmp~scope=layer")
    frame.loc[gmp, "accuracy"] = 80 + slope * np.log(frame.loc[gmp, "density"])
    assert added(frame)["accuracy"].tolist() == pytest.approx([80 + slope * np.log(density)])


def test_variants_count_and_methods_that_only_begin_alike_do_not():
    variants = ["str", "str*2", "str:erk(0.5)", "str/x", "str~decay=1"]
    rows = [(name, 0, 0.2 + 0.01 * i) for i, name in enumerate([*variants, "strange", "gmp"])]
    assert len(added(learned(*rows))) == len(variants)
    assert len(added(learned(*rows), "strange")) == 1


def test_nothing_is_extrapolated_or_taken_from_other_seeds_checks_or_lost_runs():
    assert added(learned(("str", 0, 0.41), ("str", 1, 0.09), ("str", 2, 0.2))).empty
    frame = learned(("str", 0, 0.2), ("str", 1, 0.2))
    assert added(without(frame, "diverged", method="gmp~scope=layer", seed=1))["seed"].tolist() == [0]
    assert added(without(frame, "failed", method="str", seed=1))["seed"].tolist() == [0]
    frame.loc[frame["method"].eq("str"), "check"] = "rearrange"
    assert added(frame).empty and added(frame.drop(columns="realised")).empty


def test_cells_that_end_alike_share_one_row_the_first_ones():
    frame = learned(("str~decay=0.01", 0, 0.2), ("str:erk(0.5)~decay=0.02", 0, 0.2004), ("str", 0, 0.21))
    new = added(frame)
    assert new["density"].tolist() == [0.2, 0.21] and new["accuracy"].iloc[0] == pytest.approx(91.0)
    assert len(cells.tidy(report.equal_density(frame, "str", "gmp~scope=layer"))) == len(frame) + 2


def test_judged_adds_uniform_pruning_at_the_densities_of_learned_thresholds():
    frame = learned(("str", 0, 0.2), ("str", 0, 0.3))
    frame["key"] = [f"run{i}" for i in range(len(frame))]
    frame["method"] = frame["method"].str.partition("~")[0]
    decays = iter((0.01, 0.02))
    frame["settings"] = [
        {"sparse": {"scope": "layer"} if method == "gmp" else {"decay": next(decays)}}
        for method in frame["method"]
    ]
    made = report.judged(frame, {"sparse.decay": 0, "sparse.scope": "global"})
    assert made["method"].iloc[-4:].tolist() == ["str~decay=0.01", "str~decay=0.02", EQUAL, EQUAL]
    assert len(report.judged(frame.iloc[:4], {"sparse.scope": "global"})) == 4


# ---- courses


def layers_with(densities: list[list[float]], thresholds: dict[int, list[float]]) -> list[dict]:
    made = layers_of(0.1)[: len(densities)]
    for i, (layer, course) in enumerate(zip(made, densities, strict=True)):
        layer["density_curve"] = course
        if i in thresholds:
            layer["threshold_curve"] = thresholds[i]
    return made


def coursed(method: str = "str", **given) -> pd.DataFrame:
    """Make two runs of two layers with 1000 and 2000 weights, the second of which has no threshold."""
    courses = {0: ([1.0, 0.5, 0.2], [0.8, 0.2, 0.05]), 1: ([1.0, 0.3, 0.2], [0.6, 0.2, 0.15])}
    rows = [
        {
            "method": method,
            "seed": seed,
            "density": 0.1,
            "layers": layers_with(list(pair), {0: [0.0, s, 2 * s]}),
        }
        | given
        for (seed, pair), s in zip(courses.items(), (0.01, 0.03), strict=True)
    ]
    return table_of(*rows)


def drawn(ax, style: str = "-") -> list[np.ndarray]:
    return [line.get_xydata() for line in ax.lines if line.get_linestyle() == style]


def told(figure) -> str:
    picture = report.show_figure(figure)
    return f"{picture.alt}\n{picture.caption}"


def test_courses_are_means_over_seeds_by_layer_and_epoch():
    table = report.course_cells(coursed(), "density").set_index(["layer", "epoch"])
    assert list(report.course_cells(coursed(), "density").columns) == [
        *("data", "model", "width", "density", "method", "layer", "epoch", "value", "n")
    ]
    assert table.loc[1]["value"].tolist() == pytest.approx([1.0, 0.4, 0.2])
    assert table.loc[2]["value"].tolist() == pytest.approx([0.7, 0.2, 0.1])
    assert table.loc[0]["value"].tolist() == pytest.approx([0.8, 0.8 / 3, 0.4 / 3])  # weights 1 to 2
    assert set(table["n"]) == {2} and table.index.get_level_values("epoch").tolist() == [1, 2, 3] * 3
    table = report.course_cells(coursed(), "threshold").set_index(["layer", "epoch"])
    assert table.loc[1]["value"].tolist() == pytest.approx([0.0, 0.02, 0.04]) and len(table) == 3


def test_a_whole_network_needs_the_course_of_every_layer():
    frame = coursed()
    del frame["layers"][0][1]["density_curve"]
    table = report.course_cells(frame, "density").set_index(["layer", "epoch"])
    assert table["n"].groupby("layer").max().to_dict() == {0: 1, 1: 2, 2: 1}


def test_epochs_without_a_value_are_left_out():
    frame = coursed()
    frame["layers"][0][0]["threshold_curve"][1] = None
    table = report.course_cells(frame, "threshold").set_index("epoch")
    assert table["n"].tolist() == [2, 1, 2] and table.loc[2, "value"] == pytest.approx(0.03)


def test_figure_draws_a_line_per_layer_by_depth_and_the_whole_network_dotted():
    figure = report.figure_courses(coursed(), "density")
    (ax,) = figure.axes
    first, last = drawn(ax)
    assert first == pytest.approx(np.array([[1, 1.0], [2, 0.4], [3, 0.2]]))
    assert last[:, 1] == pytest.approx([0.7, 0.2, 0.1])
    assert drawn(ax, ":")[0][:, 1] == pytest.approx([0.8, 0.8 / 3, 0.4 / 3])
    light = [sum(line.get_color()[:3]) for line in ax.lines if line.get_linestyle() == "-"]
    assert light[0] < light[1] and ax.get_yscale() == "log"
    assert [(t.get_text(), t.get_va(), t.xy[1]) for t in ax.texts] == [
        ("last", "top", pytest.approx(0.1)),  # the lower one hangs below its line, the other stands above
        ("first", "bottom", pytest.approx(0.2)),
    ]
    assert "STR" in ax.get_title() and "final density 10 %" in ax.get_title()
    words = told(figure)
    assert "n = 2" in words and "dotted: the whole network" in words and "Crosses" not in words
    assert "first layer from 1 to 0.2, last layer from 0.7 to 0.1, whole network from 0.8 to 0.133" in words


def test_figure_of_thresholds_begins_at_zero_and_has_no_whole_network():
    figure = report.figure_courses(coursed(), "threshold")
    (ax,) = figure.axes
    assert drawn(ax)[0][:, 1] == pytest.approx([0.0, 0.02, 0.04]) and drawn(ax, ":")[0].size == 0
    assert ax.get_ylim()[0] == 0 and ax.get_yscale() == "linear"
    still = coursed()
    for layers in still["layers"]:
        layers[0]["threshold_curve"] = [0.1, 0.05, 0.0]
    assert "nothing" not in told(report.figure_courses(still, "threshold"))
    assert "dotted" not in told(figure) and "whole network" not in [
        t.get_text() for t in figure.legends[0].get_texts()
    ]


def test_layers_that_end_with_nothing_get_a_cross_within_the_axes():
    frame = coursed()
    for layers in frame["layers"]:
        layers[0]["density_curve"][2] = 0.0
    figure = report.figure_courses(frame, "density")
    (ax,) = figure.axes
    (cross,) = [c for c in ax.collections if isinstance(c, PathCollection)]
    low = drawn(ax)[0][2, 1]
    assert cross.get_offsets().tolist() == [[3, pytest.approx(low)]] and ax.get_ylim()[0] < low
    assert "Crosses" in told(figure)


def test_each_method_place_and_density_has_a_panel_on_one_scale():
    parts = [coursed(), coursed("gmp"), coursed("gmp", density=0.5), coursed(model="vgg11")]
    parts.append(coursed("str:erk(0.5)", check="rearrange"))
    parts.append(coursed("erk", status="diverged"))
    frame = pd.concat(parts, ignore_index=True)
    figure = report.figure_courses(frame, "density")
    titles = [ax.get_title().split("\n")[1:] for ax in figure.axes if ax.get_title()]
    gmp = "Gradual pruning (GMP)"
    expected = [[gmp, "final density 50 %"], [gmp, "final density 10 %"], ["STR", "final density 10 %"]]
    assert titles == [*expected, ["STR", "final density 10 %"]]
    assert len({ax.get_ylim() for ax in figure.axes if ax.get_title()}) == 1
    chosen = report.figure_courses(frame, "threshold", ["str", "gmp"])
    titles = [ax.get_title().split("\n")[1] for ax in chosen.axes if ax.get_title()]
    assert titles == ["STR", gmp, gmp, "STR"]
    assert not any(ax.get_title() for ax in report.figure_courses(frame, "density", ["erk"]).axes)


@pytest.mark.parametrize("what", ["density", "threshold"])
def test_the_figure_stands_before_there_are_courses(what):
    plain = table_of({"method": "str"}, {"method": "erk", "layers": None, "seed": 1})
    for frame in (
        plain,
        plain.iloc[:0],
        plain.drop(columns="layers"),
        coursed(status="missing", layers=None),
    ):
        assert report.course_cells(frame, what).empty
        figure = report.figure_courses(frame, what)
        assert [t.get_text() for t in figure.texts] == ["No runs yet"] and "No runs yet" in told(figure)


def test_an_unknown_course_is_refused():
    with pytest.raises(ReproError, match="course of a layer"):
        report.figure_courses(coursed(), "colour")


def test_the_lightest_colour_can_be_seen_on_paper():
    colours = [to_hex(course_figures._colour(part)) for part in np.linspace(0, 1, 6)]
    assert len(set(colours)) == 6

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    levels = [luminance(colour) for colour in colours]
    assert levels == sorted(levels) and 1.05 / (levels[-1] + 0.05) > 1.5
