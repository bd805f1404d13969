"""What the report says of masks that move in training: costs, settings, curves, names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from synthetic import layers_of, run, runs, without

from repro import cells, claims, report
from repro.errors import ReproError
from repro.record import COLUMNS
from repro.report import costs, published
from repro.report.dynamics import curve_of, settled
from repro.report.style import INK

WRN = {"data": "cifar10", "model": "wrn22", "width": 2.0, "epochs": 250}
BRIEF = [
    *("small_dense", "uniform", "erk", "rigl:erk", "rigl:uniform", "set:erk", "set:uniform", "snfs:erk"),
    *("snfs:uniform", "rigl_sm:uniform", "rigl_sm:erk", "rigl_sg:uniform", "rigl_sg:erk", "gmp"),
    *("mask_of(gmp)", "rigl:mask_of(rigl_sm:uniform)", "mask_of(rigl:erk)", "rigl:mask_of(erk)@trained"),
    *("mask_of(erk)@trained", "rigl:erk/kernel", "rigl:uniform/kernel", "erk/kernel", "rigl:erk*2"),
    *("rigl:uniform*2", "set:uniform*2", "erk*2", "rigl:uniform at equal FLOPs"),
]


def table_of(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame([run(**(WRN | row)) for row in rows], columns=COLUMNS)


def texts(table):
    return [[c if isinstance(c, str) else c.text for c in row] for row in table.rows]


def heads(table):
    return [column.head for column in table.columns]


def records(table):
    return [dict(zip(heads(table), row, strict=True)) for row in texts(table)]


def caption(figure):
    return report.show_figure(figure).caption


def alt(figure):
    return report.show_figure(figure).alt


def bars(ax):
    """Lines with error bars of a panel: colour -> x, y and half widths."""
    found = {}
    for drawn in ax.containers:
        line, _, (stems,) = drawn.lines
        halves = [(s[1, 1] - s[0, 1]) / 2 for s in stems.get_segments()]
        found[to_hex(line.get_color())] = (*map(list, line.get_xydata().T), halves)
    return found


# ---- names


def test_every_method_of_dynamic_training_has_a_look_of_its_own():
    assert set(BRIEF) <= set(report.METHODS)
    looks = [report.method_style(name) for name in report.METHODS]
    for part in ("label", "colour", "marker"):
        assert len({getattr(look, part) for look in looks}) == len(looks)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("imp@rewound from cifar10a", "IMP (winning ticket), early weights of CIFAR-10a"),
        ("mask_of(imp@rewound from svhn)@start", "Ticket from SVHN"),
        ("mask_of(imp@rewound from rmsprop)@trained", "Ticket from Rmsprop, trained weights"),
        ("mask_of(imp@rewound from svhn)", "Ticket from SVHN, initial weights"),
        ("erk", "Random, ERK"),
        ("uniform", "Random, uniform"),
        ("rigl:erk", "RigL (ERK)"),
        ("rigl_sm:uniform", "RigL-SM (uniform)"),
        ("gmp", "Gradual pruning (GMP)"),
        ("mask_of(gmp)", "Lottery (mask of GMP)"),
        ("rigl:erk*2", "RigL (ERK), 2x training"),
        ("rigl:balanced", "RigL (balanced)"),
        ("set:er*3", "SET (ER), 3x training"),
        ("granet:erk", "GraNet (ERK)"),
        ("rigl:snip", "RigL (SNIP)"),
        ("rigl:snip+erk", "RigL (SNIP), erk"),
        ("rigl:mask_of(snip)", "RigL (mask of SNIP)"),
        ("mask_of(set:er*3)", "Static, mask of SET (ER), 3x training"),
        ("mask_of(rigl:erk)@trained", "Static, mask of RigL (ERK), trained weights"),
        ("rigl:erk/kernel*2", "RigL (ERK), whole kernels, 2x training"),
        ("rigl:erk~alpha=0.1", "RigL (ERK), alpha 0.1"),
        ("rigl:erk~alpha=0.1,interval=50", "RigL (ERK), alpha 0.1, interval 50"),
        ("rigl:erk at equal FLOPs", "RigL (ERK) at equal FLOPs"),
        ("x)(y", "X)(y"),
    ],
)
def test_names_of_moving_masks_read_well(name, label):
    assert report.method_style(name).label == label


def test_wide_residual_networks_carry_their_width():
    assert report.model_name("wrn22", 2.0) == "WRN-22-2"
    assert report.model_name("wrn16", 1.0) == "WRN-16-1"
    assert report.model_name("wrn22", 0.5) == "WRN-22-0.5"


# ---- costs


def costly(seeds=3):
    ratios = {"rigl:erk": (0.35, 0.36, 0.352), "rigl:erk*2": (0.7, 0.72, 0.352), "uniform": (0.2, 0.2, 0.2)}
    rows = [{"method": "dense", "density": 1.0, "seed": s, "accuracy": 94.0} for s in range(seeds)]
    for shift, (method, (train, counted, test)) in enumerate(ratios.items()):
        for density in (0.2, 0.1):
            rows += [
                {"method": method, "density": density, "seed": s, "accuracy": 90.0 + shift + s}
                | {"train_flops_ratio": train * density / 0.2, "train_flops_counted": counted * density / 0.2}
                | {"flops_ratio": test * density / 0.2}
                for s in range(seeds)
            ]
    return table_of(*rows)


@pytest.fixture
def printed(monkeypatch):
    """Let a small work have printed some cells, one of them twice."""
    columns = ["data", "model", "method", "check", "density", "variant", "table", "metric", "value", "std"]
    place = ("cifar10", "wrn22")
    rows = [
        (*place, "rigl:erk", "none", 0.2, "", "all images", claims.ACCURACY, 99.0, np.nan),
        (*place, "rigl:erk", "none", 0.2, "", "main", claims.ACCURACY, 93.1, 0.09),
        (*place, "rigl:erk", "none", 0.2, "", "main", "flops_train_ratio", 0.35, np.nan),
        (*place, "rigl:erk", "none", 0.2, "", "main", "flops_test_ratio", 0.34, np.nan),
        (*place, "uniform", "none", 0.05, "", "main", claims.ACCURACY, 88.0, np.nan),
        (*place, "snfs:erk", "none", 0.2, "", "main", claims.ACCURACY, 92.8, 0.07),
        (*place, "uniform", "none", 0.2, "", "all images", claims.ACCURACY, 98.0, np.nan),
    ]
    monkeypatch.setattr(claims, "published", lambda work, variants=False: pd.DataFrame(rows, columns=columns))
    protocol = claims.Protocol(data=["cifar10"], model={"wrn22": 2.0}, epochs=250)
    monkeypatch.setattr(costs, "protocols_of", lambda work: [protocol])
    return "small"


def test_cells_hold_deviation_interval_and_three_kinds_of_operations():
    row = report.cost_cells(costly()).set_index(["method", "density"]).loc[("rigl:erk", 0.2)]
    assert row[["n", "mean", "std"]].tolist() == pytest.approx([3, 91.0, 1.0])
    assert row["high"] - row["mean"] == pytest.approx(4.302653 / np.sqrt(3), rel=1e-5)
    assert row[["train", "counted", "test"]].tolist() == pytest.approx([0.35, 0.36, 0.352])


def test_costs_stand_beside_published_ones(printed):
    table = report.show_costs(costly(), [printed])
    assert heads(table) == [
        *("Method", "Density", "small", "Ours", "95 % interval", "Train FLOPs, small", "Train FLOPs"),
        *("Counted", "Test FLOPs, small", "Test FLOPs", "n"),
    ]
    rows = texts(table)
    (row,) = [row for row in rows if row[:2] == ["RigL (ERK)", "20 %"]]
    assert row[2:5] == ["93.10 ± 0.09", "91.00 ± 1.00", "88.52 to 93.48"]
    assert row[5:] == ["0.35x", "0.35x", "0.36x", "0.34x", "0.35x", "3"]
    told = table.caption
    assert "sample standard deviation over n seeds" in told and "95 % t interval" in told
    assert "Network: WRN-22-2." in told and "not run, or not published" in told


def test_accuracies_come_from_the_tables_that_print_operations(printed):
    rows = {(row["Method"], row["Density"]): row for row in records(report.show_costs(costly(), [printed]))}
    assert rows[("Random, uniform", "20 %")]["small"] == "—"
    only = rows[("Random, uniform", "5 %")]
    assert (only["small"], only["Ours"], only["n"]) == ("88.00", "—", "0")
    assert not any(method.startswith("SNFS") for method, _ in rows)  # no run of ours uses that method


def test_costs_keep_the_order_of_the_menu_and_small_ratios_readable(printed):
    frame = costly().sample(frac=1, random_state=0)
    keys = [tuple(row[:2]) for row in texts(report.show_costs(frame))]
    expected = ["Dense", "Random, uniform", "RigL (ERK)", "RigL (ERK), 2x training"]
    assert list(dict.fromkeys(method for method, _ in keys)) == expected
    assert keys[1:3] == [("Random, uniform", "20 %"), ("Random, uniform", "10 %")]
    assert costs.times(0.0527) == "0.053x" and costs.times(0.0996) == "0.10x" and costs.times(1.02) == "1.02x"
    assert costs.times(np.nan) == "—"


def test_costs_of_one_seed_and_of_lost_runs():
    one = report.show_costs(costly(seeds=1))
    assert "95 % interval" not in heads(one) and "neither standard deviation nor interval" in one.caption
    assert records(one)[1]["Ours"] == "92.00"
    frame = without(costly(), "diverged", seed=0, method="uniform", density=0.1)
    assert {row["Method"]: row["Lost runs"] for row in records(report.show_costs(frame))} == {
        "Dense": "0",
        "Random, uniform": "1",
        "RigL (ERK)": "0",
        "RigL (ERK), 2x training": "0",
    }


def test_every_published_scale_of_a_work_counts(printed, monkeypatch):
    protocols = [claims.Protocol(data=["cifar10"], model={"wrn22": w}) for w in (1.0, 2.0)]
    monkeypatch.setattr(costs, "protocols_of", lambda work: protocols)
    table = report.cost_cells(costly().iloc[:0], [printed])
    assert sorted(set(table["width"])) == [1.0, 2.0] and len(table) == 6 and (table["n"] == 0).all()
    assert published.protocols_of("su2020")[0].epochs == 160


def test_accuracy_is_drawn_against_the_chosen_operations(printed):
    for cost, at in (("train", [0.175, 0.35]), ("test", [0.176, 0.352])):
        figure = report.figure_costs(costly(), cost, [printed])
        (ax,) = figure.axes
        x, y, halves = bars(ax)[report.method_style("rigl:erk").colour]
        assert x == pytest.approx(at) and y == pytest.approx([91.0, 91.0])
        assert halves == pytest.approx([4.302653 / np.sqrt(3)] * 2, rel=1e-5)
        assert ax.get_xscale() == "log" and ax.get_ylabel() == "Test accuracy (%)"
        assert "FLOPs" in ax.get_xlabel()
        dots = [c.get_offsets().tolist() for c in ax.collections if isinstance(c, PathCollection)]
        assert [spot for spots in dots for spot in spots] == [[{"train": 0.35, "test": 0.34}[cost], 93.1]]
        assert [ax.xaxis.get_major_formatter()(0.05, 0)] == ["0.05x"]
        told = caption(figure)
        assert "n = 3" in told and "95 % t interval" in told and "published by small" in told
        assert "RigL (ERK) 91.0 % at 0.1" in alt(figure) and "Dense 94.0 %" in alt(figure)


def test_costs_are_drawn_without_intervals_for_one_seed_and_without_dense():
    figure = report.figure_costs(costly(seeds=1).query("method != 'dense'"))
    assert bars(figure.axes[0])[report.method_style("uniform").colour][2] == pytest.approx([0, 0])
    assert "Dense network" not in [t.get_text() for t in figure.legends[0].get_texts()]
    with pytest.raises(ReproError, match="cost"):
        report.figure_costs(costly(), "money")


# ---- equal operations


def crossing():
    rows = []
    for seed in range(2):
        for density, flops, accuracy in ((0.1, 0.1, 90.0), (0.4, 0.4, 92.0)):
            rows.append({"method": "rigl:uniform", "density": density, "seed": seed})
            rows[-1] |= {"flops_ratio": flops, "accuracy": accuracy + seed}
        for density, flops in ((0.1, 0.2), (0.2, 0.4), (0.5, 0.8)):
            rows.append({"method": "rigl:erk", "density": density, "seed": seed})
            rows[-1] |= {"flops_ratio": flops, "accuracy": 91.5 + seed}
    return table_of(*rows)


def test_accuracy_at_equal_operations_is_interpolated_in_their_logarithm():
    frame = crossing()
    made = report.equal_flops(frame, "rigl:erk", "rigl:uniform")
    pd.testing.assert_frame_equal(made.iloc[: len(frame)], frame, check_dtype=False)
    new = made.iloc[len(frame) :].set_index(["density", "seed"])
    assert set(new["method"]) == {"rigl:uniform at equal FLOPs"} and set(new["status"]) == {"done"}
    # 0.2 lies half way from 0.1 to 0.4 in the logarithm; 0.4 is their end; 0.8 lies outside
    expected = {(0.1, 0): 91.0, (0.2, 0): 92.0, (0.1, 1): 92.0, (0.2, 1): 93.0}
    assert new["accuracy"].to_dict() == pytest.approx(expected)
    assert new["flops_ratio"].to_dict() == pytest.approx({k: 2 * k[0] for k in expected})
    assert made["key"].is_unique and new["layers"].isna().all() and new["realised"].isna().all()


def test_what_is_interpolated_can_be_compared_by_seed():
    made = report.equal_flops(crossing(), "rigl:erk", "rigl:uniform")
    paired = cells.pairs(made, {"method": "rigl:uniform at equal FLOPs"})
    own = paired[paired["method"] == "rigl:erk"].set_index(["density", "seed"])["difference"]
    assert own.loc[0.1].tolist() == pytest.approx([0.5, 0.5])
    assert own.loc[0.2].tolist() == pytest.approx([-0.5, -0.5]) and own.loc[0.5].isna().all()


def test_nothing_is_interpolated_from_other_seeds_checks_or_lost_runs():
    frame = crossing()
    assert len(report.equal_flops(frame, "rigl:erk", "snfs:erk")) == len(frame)
    lost = without(frame, "diverged", method="rigl:uniform", density=0.4, seed=1)
    new = report.equal_flops(lost, "rigl:erk", "rigl:uniform").iloc[len(frame) :]
    assert set(new["seed"]) == {0}
    other = frame.assign(check=["none" if m == "rigl:erk" else "rearrange" for m in frame["method"]])
    assert len(report.equal_flops(other, "rigl:erk", "rigl:uniform")) == len(frame)
    assert report.equal_flops(frame.iloc[:0], "rigl:erk", "rigl:uniform").empty
    unknown = frame.assign(flops_ratio=np.nan)
    assert len(report.equal_flops(unknown, "rigl:erk", "rigl:uniform")) == len(frame)


# ---- settings

USUAL = {"sparse.alpha": 0.3, "sparse.interval": 100}


def swept(alphas=(0.1, 0.3), intervals=(100, 500), seeds=3, **given):
    """Accuracy 90, +1 for alpha 0.3, -0.5 for interval 500, + seed; its validation accuracy lies 2 below."""
    rows = [
        {
            "key": f"{a}-{i}-{s}-{given}",
            "method": "rigl:erk",
            "seed": s,
            "accuracy": 90 + (a == 0.3) - 0.5 * (i == 500) + s,
            "validation": 88 + (a == 0.3) - 0.5 * (i == 500) + s,
            "settings": {"sparse": {"method": "rigl", "alpha": a, "interval": i}, "optim": {"lr": 0.1}},
        }
        | given
        for a in alphas
        for i in intervals
        for s in range(seeds)
    ]
    return table_of(*rows)


def test_settings_that_differ_are_added_to_the_name():
    frame = pd.concat([swept(seeds=1), table_of({"method": "erk", "settings": {"sparse": {}}})])
    named = report.by_setting(frame, USUAL)
    expected = ["rigl:erk~alpha=0.1", "rigl:erk~alpha=0.1,interval=500", "rigl:erk", "rigl:erk~interval=500"]
    assert named["method"].tolist() == [*expected, "erk"]
    assert set(frame["method"]) == {"rigl:erk", "erk"}  # the frame given is as it was
    pd.testing.assert_frame_equal(named.drop(columns="method"), frame.drop(columns="method"))
    with pytest.raises(ReproError, match="share the cell"):
        cells.tidy(frame)
    assert len(cells.tidy(named)) == 5
    rounding = frame.assign(settings=[{"sparse": {"alpha": 0.1 + 0.2, "interval": 100.0}}] * 5)
    assert set(report.by_setting(rounding, USUAL)["method"]) == {"rigl:erk", "erk"}
    without_settings = frame.assign(settings=None)
    assert report.by_setting(without_settings, USUAL)["method"].tolist() == frame["method"].tolist()


def test_a_sweep_shows_every_setting_and_its_difference_by_seed():
    table = report.show_sweep(swept(), USUAL)
    assert heads(table)[2:] == ["alpha", "interval", "Validation accuracy", "Difference", "n"]
    half = f"± {4.302653 / np.sqrt(3):.2f}"
    assert [row[2:] for row in texts(table)] == [
        ["0.1", "100", f"89.00 {half}", "−1.00 ± 0.00", "3"],
        ["0.1", "500", f"88.50 {half}", "−1.50 ± 0.00", "3"],
        ["0.3", "100", f"90.00 {half}", "reference", "3"],
        ["0.3", "500", f"89.50 {half}", "−0.50 ± 0.00", "3"],
    ]
    told = table.caption
    assert "reference (alpha 0.3, interval 100)" in told and "paired by seed" in told
    assert "95 % t interval over n seeds" in told and told.startswith("Validation accuracy")
    test = report.show_sweep(swept(), USUAL, "accuracy")
    assert texts(test)[0][4] == f"91.00 {half}" and test.caption.startswith("Test accuracy")


def test_a_sweep_reads_the_same_after_naming_runs_apart():
    named = report.by_setting(swept(), USUAL)
    assert report.show_sweep(named, USUAL) == report.show_sweep(swept(), USUAL)


def test_a_sweep_with_lost_missing_and_unvalidated_runs():
    frame = swept()
    lost = frame.index[(frame["key"].str.startswith("0.3-500")) & frame["seed"].eq(0)]
    frame.loc[lost, ["status", "accuracy"]] = ["diverged", np.nan]
    frame.loc[frame["key"].str.startswith("0.1-100"), "validation"] = np.nan
    frame.loc[(frame["key"].str.startswith("0.3-100")) & frame["seed"].eq(2), "validation"] = np.nan
    rows = {(row["alpha"], row["interval"]): row for row in records(report.show_sweep(frame, USUAL))}
    assert rows[("0.1", "100")]["Validation accuracy"] == "—" and rows[("0.1", "100")]["n"] == "0"
    assert rows[("0.3", "500")]["n"] == "2 (1 lost)"
    # seeds 1 and 2 are left, the reference has 0 and 1: one pair, so no interval
    assert rows[("0.3", "500")]["Difference"] == "−0.50"


def test_a_sweep_over_words_and_numbers_and_its_errors():
    frame = pd.concat([swept(alphas=(0.3,), intervals=(50,)), swept(alphas=(0.3,), intervals=("epoch",))])
    rows = records(report.show_sweep(frame, {"sparse.interval": 50}))
    assert [row["interval"] for row in rows] == ["50", "epoch"]
    assert "interval" in report.figure_sweep(frame, "sparse.interval", "sparse.alpha").axes[0].get_xlabel()
    with pytest.raises(ReproError, match="share the cell"):
        report.show_sweep(swept(), {"sparse.alpha": 0.3})  # two intervals in one cell
    with pytest.raises(ReproError, match="value of a sweep"):
        report.show_sweep(swept(), USUAL, "loss")
    with pytest.raises(ReproError, match="at least one setting"):
        report.show_sweep(swept(), {})


def test_a_sweep_is_drawn_as_lines():
    figure = report.figure_sweep(swept(intervals=(100, 200, 1000)), "sparse.interval", "sparse.alpha")
    (ax,) = figure.axes
    assert ax.get_title() == "CIFAR-10, WRN-22-2\nRigL (ERK), density 10 %"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["100", "200", "1000"]
    assert np.diff(ax.get_xticks()) == pytest.approx(np.log([2, 5]))
    drawn = sorted(bars(ax).values(), key=lambda line: line[1][0])
    assert [line[1] for line in drawn] == [pytest.approx([89.0] * 3), pytest.approx([90.0] * 3)]
    assert drawn[0][2] == pytest.approx([4.302653 / np.sqrt(3)] * 3, rel=1e-5)
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend == ["alpha 0.1", "alpha 0.3"]
    assert ax.get_ylabel() == "Validation accuracy (%)" and "interval (steps), logarithmic" in ax.get_xlabel()
    assert "n = 3" in caption(figure) and "95 % t interval" in caption(figure)
    assert "from 89.00 to 90.00 %, the highest at interval 100, alpha 0.3" in alt(figure)


def test_crowded_values_on_an_axis_lose_labels_not_marks():
    intervals = tuple(range(50, 1001, 50))
    figure = report.figure_sweep(swept(alphas=(0.1,), intervals=intervals), "sparse.interval", "sparse.alpha")
    (line,) = bars(figure.axes[0]).values()
    assert len(line[0]) == 20 and len(figure.axes[0].get_xticks()) < 12


def written_in(ax):
    return [text.get_text() for text in ax.texts]


def test_a_sweep_is_drawn_as_a_map_with_numbers_in_it():
    frame = swept()
    frame = frame[~frame["key"].str.startswith("0.1-500")]
    figure = report.figure_grid(frame, "sparse.interval", "sparse.alpha")
    ax = next(ax for ax in figure.axes if ax.get_title())
    half = f"± {4.302653 / np.sqrt(3):.2f}"
    assert written_in(ax) == [f"89.00\n{half}", "—", f"90.00\n{half}", f"89.50\n{half}"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0.1", "0.3"]
    assert {t.get_color() for t in ax.texts} == {INK, "#ffffff"}  # dark fields have white words
    assert ax.texts[0].get_color() == "#ffffff" and ax.texts[2].get_color() == INK
    told = caption(figure)
    assert "n = 3" in told and "half width of the 95 % t interval" in told and "—: not run" in told
    one = report.figure_grid(
        swept(alphas=(0.3,), intervals=(100,), seeds=1), "sparse.interval", "sparse.alpha"
    )
    assert written_in(one.axes[0]) == ["89.00"]


def test_sweeps_have_a_panel_per_method_and_density():
    frame = pd.concat([swept(), swept(density=0.2), swept(method="set:erk"), swept(check="rearrange")])
    titles = [ax.get_title() for ax in report.figure_sweep(frame, "sparse.alpha", "sparse.interval").axes]
    expected = ["SET (ERK), density 10 %", "RigL (ERK), density 20 %", "RigL (ERK), density 10 %"]
    assert [title.split("\n")[1] for title in titles if title] == expected


# ---- moving masks


def moving(explored, first, before, **given):
    epochs = list(range(1, len(first) + 1))
    curve = {"epoch": epochs, "explored": explored, "overlap_first": first, "overlap_before": before}
    curve |= {"density": [0.1] * len(first), "alpha": [0.3] + [None] * (len(first) - 1)}
    return {
        "method": "rigl:erk",
        "curve": curve | {"replaced": before, "flops_ratio": [0.2] * len(first)},
    } | given


def moved():
    return table_of(
        moving([0.2, 0.3, 0.4], [0.8, 0.6, 0.5], [None, 0.9, 0.995], seed=0),
        moving([0.2, 0.4, 0.6], [0.8, 0.5, 0.3], [None, 0.992, 1.0], seed=1),
        moving([0.2, 0.3, 0.3], [0.8, 0.6, 0.5], [None, 0.995, 0.9], seed=0, method="set:erk"),
        {"method": "erk", "curve": {"epoch": [1, 2, 3], "train_loss": [1.0, 0.5, 0.2]}},
    )


def test_the_epoch_at_which_masks_come_to_rest():
    def at(*overlap):
        return settled(curve_of({"curve": {"epoch": list(range(1, 7)), "o": list(overlap)}}, "o"))

    assert at(None, 0.5, 0.995, 0.98, 0.99, 1.0) == 5
    assert at(1.0, 1.0, 1.0, 1.0, 1.0, 1.0) == 1
    assert np.isnan(at(0.5, 1.0, 1.0, 1.0, 1.0, 0.9)) and at(None, 1, 1, None, 1, 1) == 5
    assert np.isnan(settled(curve_of({"curve": None}, "o")))


def test_what_became_of_masks_that_moved():
    table = report.show_dynamics(moved())
    assert heads(table) == [
        "Method",
        "Density",
        "Explored",
        "Overlap, last with first",
        "At rest from epoch",
        "n",
    ]
    rows = {row["Method"]: row for row in records(table)}
    assert set(rows) == {"RigL (ERK)", "SET (ERK)"}  # a static mask has no row
    rigl = rows["RigL (ERK)"]
    # two seeds: half width 12.7062 * sd / sqrt 2, with sd 0.1414 = 0.2 / sqrt 2
    assert rigl["Explored"] == "50.0 ± 127.1 %" and rigl["Overlap, last with first"] == "0.400 ± 1.271"
    assert rigl["At rest from epoch"] == "2.5" and rigl["n"] == "2"
    assert rows["SET (ERK)"]["At rest from epoch"] == "—" and rows["SET (ERK)"]["Explored"] == "30.0 %"
    assert "95 % t interval" in table.caption and "at least 99 %" in table.caption


def test_masks_that_come_to_rest_in_some_runs_only():
    frame = moved().assign(method="rigl:erk", seed=[0, 1, 2, 3])
    (row,) = records(report.show_dynamics(frame))
    assert row["At rest from epoch"] == "2.5 (2 of 3)" and row["n"] == "3"


@pytest.mark.parametrize("what", ["explored", "replaced", "overlap_before", "overlap_first", "density"])
def test_curves_are_means_with_bands(what):
    figure = report.figure_dynamics(moved(), what)
    (ax,) = figure.axes
    lines = {to_hex(line.get_color()): line.get_xydata() for line in ax.lines}
    assert set(lines) == {report.method_style(m).colour for m in ("rigl:erk", "set:erk")}
    own = [curve_of(row, what) for row in cells.rows(moved().iloc[:2])]
    expected = pd.concat(own, axis=1).mean(axis=1).dropna()
    rigl = lines[report.method_style("rigl:erk").colour]
    assert rigl[:, 0].tolist() == expected.index.tolist() and rigl[:, 1] == pytest.approx(expected.to_numpy())
    told = caption(figure)
    assert "n = 1 to 2" in told and "95 % t interval" in told
    assert ax.get_xlabel() == "Epoch" and ax.get_ylabel() and "RigL (ERK) from" in alt(figure)


def test_curves_of_unknown_quantities_are_refused():
    with pytest.raises(ReproError, match="quantity"):
        report.figure_dynamics(moved(), "explroed")


def test_profiles_show_where_weights_went():
    frame = runs({"method": "rigl:uniform"}, {"method": "uniform"}, {"method": "small_dense"}, seeds=2)
    frame["layers"] = [
        [layer | {"kept_first": layer["total"] // 2} for layer in layers_of(0.1)]
        if m == "rigl:uniform"
        else layers_of(0.1)
        for m in frame["method"]
    ]
    figure = report.figure_profiles(frame, first=True)
    static, rigl = figure.axes  # a small dense network has no mask to show
    (dashed,) = [line for line in rigl.lines if line.get_linestyle() == "--"]
    assert dashed.get_ydata() == pytest.approx([0.5] * 4)
    assert not [line for line in static.lines if line.get_linestyle() == "--"]
    assert "at the start of training" in caption(figure)
    assert "start" not in caption(report.figure_profiles(frame))
    assert "RigL (uniform): 10 % to 10 %" in alt(report.figure_layers(frame))


def test_layers_are_drawn_with_every_mark():
    frame = runs(*({"method": name} for name in report.METHODS if name != "dense"), seeds=1)
    report.show_figure(report.figure_layers(frame))
    report.show_figure(report.figure_accuracy(frame))


# ---- pages before there are runs


def empty_frames():
    missing = swept().assign(status="missing", accuracy=np.nan, validation=np.nan, curve=None, layers=None)
    old = swept(alphas=(0.3,), intervals=(100,)).drop(
        columns=["train_flops_ratio", "train_flops_counted", "flops_ratio", "explored"]
    )
    return {"no rows": swept().iloc[:0], "missing": missing, "one": swept().iloc[:1], "old records": old}


@pytest.mark.parametrize("name", ["no rows", "missing", "one", "old records"])
def test_pages_on_moving_masks_stand_before_there_are_runs(name, printed):
    frame = empty_frames()[name]
    named = report.by_setting(frame, USUAL)
    for figure in (
        report.figure_costs(named, "train", [printed]),
        report.figure_costs(named, "test"),
        report.figure_sweep(frame, "sparse.alpha", "sparse.interval"),
        report.figure_grid(frame, "sparse.alpha", "sparse.interval", "accuracy"),
        report.figure_dynamics(named),
        report.figure_profiles(named, first=True),
    ):
        assert report.show_figure(figure)._repr_html_()
    for table in (
        report.show_costs(named, [printed]),
        report.show_dynamics(named),
        report.show_sweep(frame, USUAL),
    ):
        assert table._repr_html_()
    if "flops_ratio" in frame:
        assert len(report.equal_flops(named, "rigl:erk", "erk")) == len(named)
