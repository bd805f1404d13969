"""Accuracy and what is left of a network against the compression ratio, beside the published curves."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from synthetic import layers_of, run, runs, without

from repro import claims, report
from repro.record import COLUMNS
from repro.report.collapse import WHAT, flow_shares
from repro.report.compression import chance, written
from repro.report.style import INK

WORK = "synflow2020"
VGG = {"data": "cifar10", "model": "vgg16", "width": 1.0, "epochs": 160}
T3 = 4.302653  # the 97.5 % point of Student's t with two degrees of freedom


def sweep(methods=("snip", "synflow"), densities=(0.1, 0.01), **given) -> pd.DataFrame:
    """Make a dense network and the tickets of some methods, three seeds each; the best epoch lies one point higher."""
    cells = [given | {"method": m, "density": d} for m in methods for d in densities]
    frame = runs(given | {"method": "dense", "density": 1.0}, *cells, seeds=3)
    return frame.assign(best=frame["accuracy"] + 1)


def masks(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame([run(**({"model": "resnet8", "width": 1.0} | row)) for row in rows], columns=COLUMNS)


def records(table) -> list[dict[str, str]]:
    heads = [column.head for column in table.columns]
    return [
        dict(zip(heads, (c if isinstance(c, str) else c.text for c in row), strict=True))
        for row in table.rows
    ]


def panels(figure):
    return {ax.get_title(): ax for ax in figure.axes if ax.axison}


def marked(ax) -> list[list[float]]:
    """Give the heights of the marks of each line with error bars, in the order drawn."""
    return [list(map(float, drawn.lines[0].get_ydata())) for drawn in ax.containers]


# ---- the published sweeps


def test_published_ratios_are_exact_powers_as_their_notes_say() -> None:
    table = claims.published(WORK, variants=True)
    power = table["notes"].str.extract(r"ratio 10\^([\d.]+)")[0].astype(float)
    assert table["density"].tolist() == pytest.approx((10**-power).round(9).tolist(), rel=1e-12)
    assert {0.031622777, 0.01, 0.003162278, 0.001} <= set(table["density"])


def test_the_dense_network_of_a_sweep_counts_once() -> None:
    table = claims.published(WORK)
    assert set(table["method"]) == {"dense", "random", "magnitude:init", "snip", "grasp", "synflow"}
    assert (table["method"].eq("dense") == table["density"].eq(1.0)).all()
    assert not table.duplicated(["table", "data", "model", "density", "method", "metric"]).any()
    again = claims.published(WORK, variants=True)
    assert len(again) == 1030 and len(table) == len(again) - 4 * 14, (
        "twelve sweeps, one of them twice and with both epochs"
    )


def test_networks_of_that_code_that_are_ours_have_our_names_and_keep_theirs() -> None:
    table = claims.published(WORK).set_index(["data", "named"])["model"]
    assert set(table.loc[("cifar10", "lottery_vgg16_bn")]) == {"vgg16"}
    assert set(table.loc[("cifar100", "tiny_resnet18")]) == {"resnet18"}
    assert set(table.loc[("cifar10", "tiny_wide_resnet18")]) == {"tiny_wide_resnet18"}


def test_published_curves_hold_what_the_second_claim_says() -> None:
    table = claims.published(WORK).query(
        "data == 'cifar10' and model == 'resnet18' and method == 'magnitude:init'"
    )
    at = table.set_index("density")["value"]
    assert at[0.1] > 94 and (at[at.index < 0.1] == 10.0).all()


# ---- cells and table


def test_cells_hold_ours_of_both_epochs_and_theirs_with_an_interval_from_their_deviation() -> None:
    table = report.compression_cells(sweep(), [WORK])
    ours = table.query("source == 'ours' and method == 'snip' and density == 0.01").set_index("epoch")
    assert ours.loc["last epoch", "mean"] == pytest.approx(96.0, abs=0.1)
    assert ours.loc["best epoch", "mean"] == pytest.approx(ours.loc["last epoch", "mean"] + 1)
    assert ours["compression"].tolist() == [100.0, 100.0] and ours["n"].tolist() == [3, 3]
    row = claims.published(WORK).query(
        "data == 'cifar100' and model == 'vgg16' and method == 'snip' and density == 0.001 "
        "and metric == 'best_epoch_test_accuracy_percent'"
    )
    theirs = table.query(
        f"source == '{WORK}' and data == 'cifar100' and model == 'vgg16' and method == 'snip' and density == 0.001"
    ).set_index("epoch")
    assert set(theirs.index) == {"last epoch", "best epoch"} and theirs["n"].tolist() == [3, 3]
    best = theirs.loc["best epoch"]
    assert best["mean"] == row["value"].iloc[0]
    assert best["high"] - best["mean"] == pytest.approx(T3 * row["std"].iloc[0] / np.sqrt(3), rel=1e-5)
    assert best["mean"] - best["low"] == pytest.approx(best["high"] - best["mean"])


def test_runs_with_a_check_are_no_part_of_it() -> None:
    frame = pd.concat(
        [sweep(("snip",)), runs({"check": "rearrange", "density": 0.01, "shift": -50.0}, seeds=3)]
    )
    assert report.compression_cells(frame)["mean"].min() > 90


def test_the_table_has_a_column_for_each_of_our_ratios_and_best_epochs_only_beside_published_ones() -> None:
    frame = pd.concat([sweep(**VGG), sweep(data="digits", model="resnet8", width=1.0)])
    table = report.show_compression(frame, [WORK])
    assert [column.head for column in table.columns][4:] == ["1", "10", "100"]
    rows = {(r["Data"], r["Network"], r["Method"], r["Source"]): r for r in records(table)}
    assert rows["CIFAR-10", "VGG-16", "SynFlow", "Tanaka et al., best epoch"]["100"].startswith("90.1 ±")
    assert ("CIFAR-10", "VGG-16", "SynFlow", "Ours, best epoch") in rows
    assert ("Digits", "ResNet-8", "SynFlow", "Ours, last epoch") in rows
    assert ("Digits", "ResNet-8", "SynFlow", "Ours, best epoch") not in rows
    assert rows["Digits", "ResNet-8", "SynFlow", "Ours, last epoch"]["1"] == ""
    assert (
        "(n = 3)" in table.caption and "best epoch" in table.caption.lower() and "dash" not in table.caption
    )


def test_the_table_says_what_is_not_run_and_what_was_lost() -> None:
    frame = without(without(sweep(), "missing", method="snip"), "diverged", method="synflow", seed=0)
    table = report.show_compression(frame)
    rows = {r["Method"]: r for r in records(table)}
    assert rows["SNIP"]["10"] == "—" and rows["SynFlow"]["10"] != "—"
    assert "2 runs diverged or failed" in table.caption and "A dash: not run." in table.caption


@pytest.mark.parametrize(("ratio", "text"), [(1.0, "1"), (1 / 0.031622777, "31.6"), (1000.0, "1,000")])
def test_ratios_are_written_short(ratio: float, text: str) -> None:
    assert written(ratio) == text


# ---- accuracy drawn


def test_ours_and_published_panels_of_a_network_stand_side_by_side() -> None:
    figure = report.figure_compression(sweep(**VGG), [WORK])
    titles = list(panels(figure))
    assert titles[0] == "CIFAR-10, VGG-16\nours, last epoch"
    assert titles[1] == "CIFAR-10, VGG-16 (lottery_vgg16_bn)\npublished: Tanaka et al., best epoch"
    assert len(titles) == 5 and all("published" in title for title in titles[1:])
    specs = [ax.get_subplotspec() for ax in list(panels(figure).values())[:2]]
    assert [(s.rowspan.start, s.colspan.start) for s in specs if s] == [(0, 0), (0, 1)]


def test_marks_stand_at_the_means_and_near_their_ratio() -> None:
    frame = sweep()
    (ax,) = panels(report.figure_compression(frame)).values()
    table = report.compression_cells(frame).query("epoch == 'last epoch' and method != 'dense'")
    assert marked(ax) == [list(table.query(f"method == '{m}'")["mean"]) for m in ("snip", "synflow")]
    first, second = (np.asarray(drawn.lines[0].get_xdata(), dtype=float) for drawn in ax.containers)
    assert np.allclose(np.log10(first), [1, 2], atol=0.05) and (first < second).all()
    assert ax.get_xscale() == "log" and ax.get_ylim() == (0, 102)


@pytest.mark.parametrize(
    ("data", "level"), [("digits", 10.0), ("cifar10", 10.0), ("cifar100", 1.0), ("tinyimagenet", 0.5)]
)
def test_chance_is_marked_at_one_class_of_many(data: str, level: float) -> None:
    assert chance(data) == level
    (ax,) = panels(report.figure_compression(sweep(data=data))).values()
    dotted = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == [level]


def test_without_runs_published_curves_alone_are_drawn_or_nothing() -> None:
    frame = sweep(**VGG).assign(status="missing", accuracy=np.nan, best=np.nan)
    assert all("published" in title for title in panels(report.figure_compression(frame, [WORK])))
    empty = report.show_figure(report.figure_compression(frame))
    assert "No runs yet" in empty.alt


def test_the_description_names_both_ends_and_the_caption_the_intervals() -> None:
    shown = report.show_figure(report.figure_compression(sweep(**VGG), [WORK]))
    assert re.search(r"SynFlow 9\d\.\d % at 10 to 9\d\.\d % at 100", shown.alt)
    assert "95 % t interval (n = 3)" in shown.caption and "best epoch" in shown.caption


# ---- what is left


def test_shares_are_counted_as_by_hand() -> None:
    frame = masks(
        {"layers": layers_of(0.1, empty=1), "realised": 0.1, "effective": 0.025, "dead": 30, "units": 40},
        {"method": "dense", "density": 1.0},
        {"method": "grasp", "effective": None, "dead": None, "units": None},
    )
    table = flow_shares(frame).set_index("method")
    assert list(table.index) == ["snip", "grasp"]
    assert table.loc["snip", list(WHAT)].tolist() == pytest.approx([0.25, 0.25, 0.75])
    assert table.loc["snip", "compression"] == pytest.approx(10.0)
    assert table.loc["grasp", "emptied"] == 0 and table.loc["grasp", ["flowing", "dead"]].isna().all()


def test_a_dead_network_may_have_weights_in_every_layer() -> None:
    seeds = [
        {"seed": s, "effective": e, "dead": d, "units": 10}
        for s, e, d in ((0, 0.0, 10), (1, 0.1, 4), (2, 0.05, 7))
    ]
    figure = report.figure_collapse(masks(*seeds))
    axes = panels(figure)
    assert [title.split("\n")[1] for title in axes] == list(WHAT.values())
    assert [marked(ax) for ax in axes.values()] == [[[0.0]], [[pytest.approx(0.5)]], [[pytest.approx(0.7)]]]
    stems = axes["Digits, ResNet-8\nDead units"].containers[0].lines[2][0].get_segments()
    assert stems[0][:, 1].tolist() == pytest.approx([0.4, 1.0]), "the bar runs over all seeds"
    assert "SNIP 0 %, 50 % and 70 %" in report.show_figure(figure).alt


def test_every_panel_is_labelled_and_tells_methods_apart_without_colour() -> None:
    both = [
        {"method": m, "effective": 0.1, "dead": 1, "units": 10, "density": d}
        for m in ("snip", "synflow")
        for d in (0.1, 0.01)
    ]
    figure = report.figure_collapse(masks(*both))
    ax = next(iter(panels(figure).values()))
    lines = [drawn.lines[0] for drawn in ax.containers]
    assert len({line.get_marker() for line in lines}) == len(lines) == 2
    assert {line.get_markeredgecolor() for line in lines} == {INK}
    assert ax.get_ylabel() == "Share" and figure.axes[1].get_xlabel().startswith("Compression ratio")


def test_nothing_run_is_said() -> None:
    assert "No runs yet" in report.show_figure(report.figure_collapse(masks().astype({"density": float}))).alt
