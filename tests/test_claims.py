"""Claims are read strictly, and verdicts follow from runs whose truth is known."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from synthetic import run, runs, without

from repro import cells, claims
from repro.errors import ReproError
from repro.report import CHECKS as NAMES
from repro.report import METHODS

CHECKS = ("none", "random_labels", "pixel_shuffle", "half_data")
SU = {"data": "cifar10", "model": "vgg19", "width": 1.0, "epochs": 160}
MINIMAL = """
a-1:
  title: t
  says: s
  work: su2020
  section: x
  kind: equivalent
  margin: 0.5
  compare: [{run: {method: [snip], check: [rearrange]}, against: {check: [none]}}]
  protocol: {data: [cifar10]}
"""


def checked(shifts=None, methods=("snip", "grasp"), densities=(0.1, 0.05), checks=CHECKS, **given):
    shifts = shifts or {}
    return runs(
        *(
            {"method": m, "density": d, "check": c, "shift": shifts.get((m, d, c), 0.0)} | given
            for m in methods
            for d in densities
            for c in checks
        )
    )


def rivals(shift=0.0, models=("vgg19",), bad=0, **given):
    """Random tickets against SNIP and GraSP in six cells per network, of which `bad` are 5 points worse."""
    made = []
    for model in models:
        places = [(data, density) for data in ("cifar10", "cifar100") for density in (0.1, 0.05, 0.02)]
        for i, (data, density) in enumerate(places):
            place = SU | {
                "data": data,
                "density": density,
                "model": model,
                "width": 2.0 if model == "resnet32" else 1.0,
            }
            made += [place | given | {"method": m} for m in ("snip", "grasp")]
            made.append(place | given | {"method": "smart_ratio", "shift": -5.0 if i < bad else shift})
    return runs(*made)


# ---- the table of claims


def test_every_claim_of_the_sections_is_there():
    known = claims.claims()
    expected = {f"su2020-{i}" for i in range(1, 7)} | {
        f"{w}-{i}" for w in ("answer42", "frankle2020") for i in (1, 2)
    }
    expected |= {f"rigl2020-{i}" for i in ("1", "1b", "2", "3", "4", "5", "6", "7")}
    expected |= {f"rigl-repro-{i}" for i in (1, 2, 3, 4, 6)} | {f"morcos2019-{i}" for i in (1, 3, 4)}
    expected |= {f"gohil2020-{i}" for i in (1, 2, 3)} | {"snip2018-1"}
    expected |= {f"gadhikar-{i}" for i in ("2", "2b", "3", "3b", "4", "5")} | {
        "granet2021-1",
        "granet2021-1b",
    }
    expected |= {"liu2022-2", "edgepopup2020-1", "str2020-1"} | {f"synflow2020-{i}" for i in (1, 2)}
    assert set(known) == expected
    sections = {"random-tickets", "corrupted-data", "layerwise-rearrange", "partially-trained"}
    sections |= {"winning-tickets", "rigl", "rigl-original", "rigl-layers", "rigl-tickets", "rigl-tuning"}
    sections |= {"random-masks", "sparse-to-sparse", "soft-thresholds", "strong-tickets", "layer-collapse"}
    assert {c.section for c in known.values()} == sections | {"ratio-ablations", "answer42"}
    margins = {
        "su2020-1": 0.5,
        "su2020-2": 0.5,
        "su2020-3": 0.5,
        "su2020-4": 0.5,
        "su2020-5": 0.3,
        "su2020-6": 0.5,
    }
    margins |= {"answer42-1": 0.75, "answer42-2": 0.7, "frankle2020-1": 0.0, "frankle2020-2": 0.5}
    margins |= {
        "rigl2020-1": 1.0,
        "rigl2020-1b": 0.2,
        "rigl2020-2": 0.2,
        "rigl2020-3": 0.0,
        "rigl2020-4": 1.0,
    }
    margins |= {
        "rigl2020-5": 0.1,
        "rigl2020-6": 0.5,
        "rigl2020-7": 0.0,
        "rigl-repro-1": 0.3,
        "rigl-repro-2": 0.4,
    }
    margins |= {"rigl-repro-3": 0.0, "rigl-repro-4": 0.0, "rigl-repro-6": 1.0}
    assert {name: known[name].margin for name in margins} == margins
    margins |= {"morcos2019-1": 1.0, "morcos2019-3": 1.0, "morcos2019-4": 1.0, "snip2018-1": 1.0}
    margins |= {"gohil2020-1": 1.0, "gohil2020-2": 0.0, "gohil2020-3": 1.5}
    margins |= {
        "gadhikar-2": 0.5,
        "gadhikar-2b": 0.5,
        "gadhikar-3": 0.3,
        "gadhikar-3b": 0.0,
        "gadhikar-4": 2.0,
    }
    margins |= {
        "gadhikar-5": 0.0,
        "granet2021-1": 0.2,
        "granet2021-1b": 0.0,
        "liu2022-2": 0.5,
        "str2020-1": 0.3,
    }
    margins |= {"edgepopup2020-1": 0.0, "synflow2020-1": 1.0, "synflow2020-2": 50.0}
    assert {name: known[name].margin for name in margins} == margins
    assert set(margins) == expected


def test_claims_name_methods_and_checks_that_exist():
    for claim in claims.claims().values():
        for part in claim.compare:
            for menu, known in (("method", METHODS), ("check", NAMES)):
                named = {*part.run.get(menu, ()), *part.against.get(menu, ())}
                whole = {name.removesuffix("~*") for name in named if not name.endswith(" from *")}
                assert whole <= set(known), claim.id


def test_every_work_of_a_claim_is_in_the_bibliography():
    from repro import paths

    bibliography = (paths.root() / "book" / "references.bib").read_text(encoding="utf-8")
    for claim in claims.claims().values():
        assert f"{{{claim.work},\n" in bibliography


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("margin: 0.5", "margn: 0.5", ["a-1", "margin"]),
        ("margin: 0.5", "margin: -1", ["a-1", "margin", "greater"]),
        ("kind: equivalent", "kind: equal", ["a-1", "kind"]),
        ("  title: t\n", "", ["a-1", "title", "required"]),
        ("a-1:", "a-1: [", ["YAML"]),
        (MINIMAL, "- a list", ["mapping"]),
    ],
)
def test_a_faulty_table_of_claims_gives_one_line(old, new, words):
    with pytest.raises(ReproError) as caught:
        claims.parse(MINIMAL.replace(old, new), "here.yaml")
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in ["here.yaml", *words])


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(ReproError, match="did you mean 'quorum'"):
        claims.parse(MINIMAL + "  quorom: 0.5\n")


# ---- published numbers


def test_published_numbers_have_our_words():
    table = claims.published("answer42")
    cell = {"data": "cifar10", "model": "vgg19", "method": "snip", "check": "pixel_shuffle", "density": 0.02}
    found = table[(table[list(cell)] == pd.Series(cell)).all(axis=1)]
    assert found["value"].tolist() == [49.13]
    own = table[table["metric"] == claims.ACCURACY]
    assert not own.duplicated(["data", "model", "method", "check", "density"]).any()
    assert set(own["check"]) == {"none", "rearrange", "pixel_shuffle"}
    assert own.query("data == 'cifar100' and model == 'resnet32' and method == 'dense'")[
        "value"
    ].tolist() == [73.57]


def test_every_published_row_of_the_seeds_has_a_method_and_a_check_of_ours():
    for work, rows in (("answer42", 150), ("su2020", 12)):
        table = claims.published(work, variants=True)
        assert len(table) == rows
        assert set(table["method"]) <= set(METHODS) and set(table["check"]) <= set(NAMES)
        assert table["density"].between(0, 1, inclusive="right").all()
        assert table.loc[table["method"] == "dense", "density"].eq(1).all()


def test_each_word_of_the_replication_becomes_its_method_and_check():
    table = claims.published("answer42", variants=True)
    counts = table.groupby(["method", "check", "metric"])["value"].count().to_dict()
    accuracy, delta = claims.ACCURACY, "delta_to_paper_percentage_points"
    assert counts == {
        ("smart_ratio", "none", accuracy): 12,
        ("smart_ratio", "none", delta): 12,
        **{("grasp", check, accuracy): 18 for check in ("none", "pixel_shuffle", "rearrange")},
        ("snip", "none", accuracy): 18,
        **{("snip", check, accuracy): 12 for check in ("pixel_shuffle", "rearrange")},
        ("dense", "none", accuracy): 6,
        ("magnitude@trained", "none", accuracy): 12,
        ("magnitude+smart_ratio@trained", "none", accuracy): 12,
    }
    at = "data == 'cifar10' and model == 'vgg19' and density == 0.02 and method == '{}'"
    assert table.query(at.format("magnitude@trained"))["value"].tolist() == [10.0]
    assert table.query(at.format("magnitude+smart_ratio@trained"))["value"].tolist() == [92.93]


def test_a_cell_measured_twice_keeps_both_readings_apart():
    cell = "data == 'cifar100' and model == 'resnet32' and method == 'dense'"
    both = claims.published("answer42", variants=True).query(cell)
    assert both.set_index("variant")["value"].to_dict() == {"": 73.57, "SNIP code": 74.22}
    assert claims.published("answer42").query(cell)["value"].tolist() == [73.57]


def test_derived_values_of_su_are_answer42_minus_its_difference():
    ours, key = claims.published("su2020"), ["data", "model", "density"]
    table = claims.published("answer42").query("method == 'smart_ratio'")
    wide = table.pivot_table(index=key, columns="metric", values="value")
    derived = wide[claims.ACCURACY] - wide["delta_to_paper_percentage_points"]
    assert len(ours) == 12
    assert ours.set_index(key)["value"].sort_index().to_numpy() == pytest.approx(
        derived.sort_index().to_numpy()
    )
    assert wide["delta_to_paper_percentage_points"].abs().mean() == pytest.approx(0.37, abs=0.01)


def test_an_unknown_work_names_the_nearest():
    with pytest.raises(ReproError, match="su2020"):
        claims.published("su2021")


def test_every_published_file_reads():
    for work in [
        "answer42",
        "edgepopup2020",
        "gohil2020",
        "granet2021",
        "grasp2020",
        "rigl-repro",
        "rigl2020",
        "snip2018",
        "str2020",
    ]:
        assert claims.published(work)["density"].between(0, 1).all()


# ---- cells and pairs


def test_pairs_subtract_the_run_of_the_same_seed():
    frame = runs({"check": "none"}, {"check": "rearrange", "shift": 1.5}, spread=0.0)
    paired = cells.pairs(frame.sample(frac=1, random_state=0), {"check": "none"})
    assert paired["check"].tolist() == ["rearrange"] * 5
    assert paired["difference"].to_numpy() == pytest.approx(1.5)
    assert set(paired["state"]) == {"done"}


def test_pairs_find_the_dense_network_at_density_one():
    frame = runs({"method": "dense", "density": 1.0}, {"method": "snip", "shift": -2.0}, spread=0.0)
    assert cells.pairs(frame, {"method": "dense"})["difference"].tolist() == pytest.approx([-2.0] * 5)


def test_pairs_never_cross_place_or_seed():
    frame = runs({"check": "none", "data": "svhn"}, {"check": "rearrange"})
    assert set(cells.pairs(frame, {"check": "none"})["state"]) == {"missing"}
    frame = runs({"check": "none"}, {"check": "rearrange"})
    frame = frame[~((frame["check"] == "none") & (frame["seed"] == 3))]
    paired = cells.pairs(frame, {"check": "none"})
    assert paired.loc[paired["seed"] == 3, "state"].tolist() == ["missing"]
    assert paired["difference"].notna().sum() == 4


def test_two_runs_in_one_place_are_refused_and_copies_are_not():
    frame = runs({})
    assert len(cells.tidy(pd.concat([frame, frame]))) == 5
    longer = frame.assign(epochs=40, key=frame["key"] + "x")
    with pytest.raises(ReproError, match="epochs"):
        cells.tidy(pd.concat([frame, longer]))


def test_a_finished_copy_wins_over_a_missing_one():
    frame = runs({})
    assert (cells.tidy(pd.concat([without(frame, "missing", seed=0), frame]))["state"] == "done").all()


def test_a_lacking_column_is_named():
    with pytest.raises(ReproError, match="accuracy"):
        cells.tidy(runs({}).drop(columns="accuracy"))


def test_a_summary_counts_what_it_leaves_out():
    frame = without(without(runs({}, {"density": 0.05}), "diverged", seed=1, density=0.1), "missing", seed=2)
    table = cells.summary(frame).set_index("density")
    assert table.loc[0.1, ["n", "lost", "missing"]].tolist() == [3, 1, 1]
    assert table.loc[0.05, ["n", "lost", "missing"]].tolist() == [4, 0, 1]


# ---- verdicts


def test_no_difference_supports_equivalence():
    verdict = claims.evaluate("su2020-1", checked())
    assert verdict.word == "supported", verdict.reason
    assert len(verdict.cells) == 2 * 2 * 3
    assert (verdict.cells["n"] == 5).all()


def test_one_harmed_cell_contradicts_and_is_named():
    verdict = claims.evaluate("su2020-1", checked({("snip", 0.05, "random_labels"): -3.0}))
    assert verdict.word == "contradicted"
    bad = verdict.cells[verdict.cells["verdict"] == "contradicted"]
    assert bad[["method", "density", "check"]].to_numpy().tolist() == [["snip", 0.05, "random_labels"]]
    assert bad["mean"].item() == pytest.approx(-3.0, abs=0.2)


def test_one_undecided_cell_leaves_the_claim_undecided():
    verdict = claims.evaluate("su2020-1", checked({("snip", 0.05, "random_labels"): -0.5}))
    assert verdict.word == "inconclusive"
    assert "11 supported" in verdict.reason and "1 undecided" in verdict.reason


def test_cells_at_other_densities_are_not_judged_unless_asked():
    frame = checked({("snip", 0.02, "random_labels"): -9.0}, densities=(0.1, 0.05, 0.02))
    assert claims.evaluate("su2020-1", frame).word == "supported"
    assert claims.evaluate("su2020-1", frame, densities=[0.1, 0.05, 0.02]).word == "contradicted"


def test_the_margin_of_a_profile_is_used_and_said():
    frame = checked({("snip", 0.05, "random_labels"): -1.0})
    assert claims.evaluate("su2020-1", frame).word == "contradicted"
    wide = claims.evaluate("su2020-1", frame, margin=2.0)
    assert (wide.word, wide.margin, wide.declared) == ("supported", 2.0, True)
    assert not claims.evaluate("su2020-1", frame, margin=0.5).declared
    with pytest.raises(ReproError, match="margin"):
        claims.evaluate("su2020-1", frame, margin=0.0)


def test_contradiction_allows_for_the_number_of_cells():
    """One cell of many just outside: contradicted alone, not among many."""
    values = {"none": 0.0, "random_labels": -0.62}
    many = checked({("snip", 0.1, "random_labels"): values["random_labels"]})
    alone = many[(many["method"] == "snip") & (many["density"] == 0.1) & many["check"].isin(list(values))]
    one, all_of_them = claims.evaluate("su2020-1", alone), claims.evaluate("su2020-1", many)
    assert one.p_against == pytest.approx(one.cells["p_against"].item())
    assert all_of_them.p_against == pytest.approx(min(1, 12 * one.p_against))
    assert one.p_against < 0.05 < all_of_them.p_against
    assert (one.word, all_of_them.word) == ("contradicted", "inconclusive")
    assert "1 undecided beyond the margin alone" in all_of_them.reason and "Holm" not in one.reason


def test_pending_needs_that_nothing_was_run():
    frame = checked()
    frame["status"], frame["accuracy"] = "missing", np.nan
    assert claims.evaluate("su2020-1", frame).word == "pending"
    assert claims.evaluate("su2020-1", frame.iloc[:0]).word == "pending"
    part = without(checked(), "missing", method="grasp")
    verdict = claims.evaluate("su2020-1", part)
    assert verdict.word == "inconclusive" and "6 not run yet" in verdict.reason


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_lost_run_leaves_no_verdict(status):
    verdict = claims.evaluate(
        "su2020-1", without(checked(), status, seed=0, method="snip", check="none", density=0.1)
    )
    assert verdict.word == "inconclusive"
    assert "3 with a run that diverged" in verdict.reason
    assert set(verdict.cells.loc[verdict.cells["lost"] > 0, "n"]) == {4}


def test_two_seeds_leave_no_verdict():
    frame = checked()
    verdict = claims.evaluate("su2020-1", frame[frame["seed"] < 2])
    assert verdict.word == "inconclusive" and "fewer than 3 seeds" in verdict.reason


def test_scale_is_told():
    quick = claims.evaluate("su2020-1", checked())
    assert (quick.scale, quick.at_scale) == ("quick scale: digits", False)
    paper = claims.evaluate("su2020-1", checked(**SU))
    assert (paper.scale, paper.at_scale) == ("published protocol", True)
    for part in ({"epochs": 20}, {"width": 0.5}, {"model": "vgg11"}):
        reduced = claims.evaluate("su2020-1", checked(**(SU | part)))
        assert reduced.scale.startswith("reduced scale: cifar10") and not reduced.at_scale


def test_runs_of_the_published_scale_are_judged_alone():
    quick = checked({("snip", 0.1, "random_labels"): -9.0})
    verdict = claims.evaluate("su2020-1", pd.concat([quick, checked(**SU)]))
    assert verdict.word == "supported" and set(verdict.cells["data"]) == {"cifar10"}


@pytest.mark.parametrize(
    ("shift", "word"),
    [(2.0, "supported"), (0.0, "supported"), (-0.5, "inconclusive"), (-3.0, "contradicted")],
)
def test_random_tickets_only_must_not_be_worse(shift, word):
    assert claims.evaluate("su2020-3", rivals(shift)).word == word


def test_one_cell_of_six_may_fail_in_each_network_but_not_two():
    both = ("vgg19", "resnet32")
    assert claims.evaluate("su2020-3", rivals(models=both, bad=1)).word == "supported"
    assert claims.evaluate("su2020-3", rivals(models=both, bad=2)).word == "contradicted"


def test_the_better_rival_counts():
    frame = rivals(0.0)
    frame.loc[frame["method"] == "grasp", "accuracy"] += 4.0
    assert claims.evaluate("su2020-3", frame).word == "contradicted"


def ladder(densities=(0.02,), checks=None, **shifts):
    """Make runs of some methods, with : written __ and @ written ___, and of methods with a check."""
    names = {name: name.replace("___", "@").replace("__", ":") for name in shifts}
    return runs(
        *({"method": names[m], "shift": s, "density": d} for m, s in shifts.items() for d in densities),
        *(
            {"method": m, "check": c, "shift": s, "density": d}
            for (m, c), s in (checks or {}).items()
            for d in densities
        ),
    )


def test_order_of_methods_needs_both_halves():
    def judge(**shifts):
        return claims.evaluate("frankle2020-1", ladder((0.1, 0.05), **shifts))

    initial = {"snip": -1, "grasp": -1, "magnitude__init": -1}
    assert judge(random=-3, **initial, magnitude___trained=0).word == "supported"
    assert judge(random=-1, **initial | {"snip": -3}, magnitude___trained=0).word == "contradicted"
    assert judge(random=-3, **initial | {"magnitude__init": -4}, magnitude___trained=0).word == "contradicted"
    assert judge(random=-3, **initial, magnitude___rewound=-2).word == "contradicted"
    half = judge(random=-3, **initial)
    assert half.word == "inconclusive" and "no runs planned" in half.reason
    assert judge(random=-3, **initial, magnitude=-2).word == "inconclusive"
    same = claims.evaluate(
        "frankle2020-1", ladder((0.1, 0.05), random=-1, snip=-1, magnitude___trained=0), margin=2.0
    )
    assert same.margin == 0.0 and same.word == "inconclusive"


@pytest.mark.parametrize(
    ("shuffled", "halved", "word"),
    [
        (-2.0, -2.0, "supported"),
        (-2.0, 0.0, "contradicted"),
        (0.0, -2.0, "contradicted"),
        (-2.0, -0.5, "inconclusive"),
    ],
)
def test_trained_weights_have_to_fail_both_checks(shuffled, halved, word):
    checks = {("magnitude@trained", "shuffle_all"): shuffled, ("magnitude@trained", "half_data"): halved}
    verdict = claims.evaluate("su2020-4", ladder(magnitude___trained=0.0, snip=0.0, checks=checks))
    assert verdict.word == word, verdict.reason
    assert verdict.cells["method"].tolist() == ["magnitude@trained"] * 2
    assert verdict.cells["control"].tolist() == ["shuffle_all", "half_data"]
    assert verdict.cells["mean"].to_numpy() == pytest.approx([-shuffled, -halved], abs=0.2)


def test_one_of_the_two_checks_alone_supports_nothing():
    frame = ladder(magnitude___trained=0.0, checks={("magnitude@trained", "shuffle_all"): -2.0})
    verdict = claims.evaluate("su2020-4", frame)
    assert verdict.word == "inconclusive" and "1 not run yet" in verdict.reason


def test_other_tickets_and_densities_do_not_count_for_trained_weights():
    checks = {("magnitude@trained", "shuffle_all"): -2.0, ("magnitude@trained", "half_data"): -2.0}
    checks |= {("snip", "shuffle_all"): 0.0, ("magnitude@rewound", "half_data"): 0.0}
    good = ladder(magnitude___trained=0.0, magnitude___rewound=0.0, snip=0.0, checks=checks)
    bad = ladder((0.1,), magnitude___trained=0.0, checks={("magnitude@trained", "half_data"): 0.0})
    assert claims.evaluate("su2020-4", pd.concat([good, bad])).word == "supported"


@pytest.mark.parametrize(
    ("shift", "word"),
    [(1.0, "supported"), (0.3, "inconclusive"), (0.0, "contradicted"), (-2.0, "contradicted")],
)
def test_hybrid_tickets_have_to_be_better_by_their_margin(shift, word):
    frame = runs({"method": "magnitude+smart_ratio@trained", "density": 0.02, "shift": shift})
    other = ladder(smart_ratio=0.0, magnitude___trained=9.0)
    verdict = claims.evaluate("su2020-5", pd.concat([frame, other]))
    assert verdict.word == word and len(verdict.cells) == 1


@pytest.mark.parametrize(
    ("uniform", "ascending", "word"),
    [
        (-2.0, -3.0, "supported"),
        (-2.0, 0.0, "contradicted"),
        (0.5, -2.0, "contradicted"),
        (-2.0, -0.5, "inconclusive"),
    ],
)
def test_the_falling_ratio_has_to_beat_both_other_shapes(uniform, ascending, word):
    frame = ladder(
        smart_ratio=0.0, smart_ratio__uniform=uniform, smart_ratio__ascending=ascending, smart_ratio__cubic=5
    )
    verdict = claims.evaluate("su2020-6", frame)
    assert verdict.word == word, verdict.reason
    assert len(verdict.cells) == 2


SINGLE = [name for name, claim in claims.claims().items() if len(claim.compare) == 1]


@pytest.mark.parametrize("name", SINGLE)
def test_every_claim_can_end_in_every_word(name):
    """Runs that differ from their controls by far enough, by far too little, and by just what is asked."""
    claim = claims.claims()[name]
    edge = claim.margin if claim.kind in ("better", "published") else -claim.margin
    enough, little = {"better": (claim.margin + 9, -9), "not_worse": (9, -9)}.get(claim.kind, (0, -9))
    for word, shift in (("supported", enough), ("contradicted", little), ("inconclusive", edge)):
        told = claim.published or "su2020"
        frame = published_runs(shift, work=told) if claim.kind == "published" else shifted(claim, shift)
        if claim.metric == "train_loss":
            frame["train_loss"] = 1 - frame["accuracy"].astype(float) / 100
        assert claims.evaluate(name, frame).word == word


def shifted(claim, shift):
    """Make the runs that a claim compares, `shift` above their controls."""
    (part,), made = claim.compare, {}
    for chosen, value in ((part.against, 0.0), (part.run, shift)):
        for method in chosen.get("method", part.run["method"]):
            for check in chosen.get("check", part.run["check"]):
                made[method, check] = value
    places = [
        (*key, value, 1.0 if key[0] == "dense" else d)
        for key, value in made.items()
        for d in claim.densities or [0.1]
    ]
    return runs(*({"method": m, "check": c, "shift": s, "density": d} for m, c, s, d in places))


def test_better_than_before_holds_for_keeps_or_raises_but_not_for_equivalence():
    shifts = {(m, d, "rearrange"): 2.0 for m in ("snip", "grasp") for d in (0.1, 0.05)}
    frame = checked(shifts, checks=("none", "rearrange"))
    assert claims.evaluate("frankle2020-2", frame).word == "supported"
    assert claims.evaluate("su2020-2", frame).word == "contradicted"


def published_runs(off, seeds=3, drop=0, work="su2020"):
    rows, method = [], {"su2020": "smart_ratio"}.get(work, "rigl:erk")
    values = claims.published(work)
    values = values[values["method"].eq(method) & values["metric"].eq(claims.ACCURACY)]
    for i, row in enumerate(values.to_dict("records")[drop:]):
        width = {"vgg19": 1.0, "resnet32": 2.0, "wrn22": 2.0}[row["model"]]
        for s in range(seeds):
            accuracy = row["value"] + off * (-1) ** i + 0.1 * (s - (seeds - 1) / 2)
            given = {"data": row["data"], "model": row["model"], "width": width, "epochs": 250, "seed": s}
            rows.append(run(**given, method=method, density=row["density"], accuracy=accuracy))
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("off", "word"), [(0.3, "supported"), (0.75, "inconclusive"), (1.5, "contradicted")])
def test_distance_to_published_values_does_not_cancel_out(off, word):
    verdict = claims.evaluate("answer42-1", published_runs(off))
    assert verdict.word == word, verdict.reason
    assert len(verdict.cells) == 12


def test_distance_to_published_values_needs_all_cells_and_their_scale():
    assert claims.evaluate("answer42-1", published_runs(0.1, drop=1)).word == "inconclusive"
    assert claims.evaluate("answer42-1", published_runs(0.1, seeds=2)).word == "inconclusive"
    quick = claims.evaluate("answer42-1", runs({"method": "smart_ratio"}))
    assert quick.word == "pending" and "0 of 12" in quick.reason


def test_a_verdict_survives_json():
    verdict = claims.evaluate("su2020-1", checked(), margin=2.0, profile="quick")
    again = claims.Verdict.from_dict(json.loads(json.dumps(verdict.as_dict())))
    assert again == verdict
    pending = claims.evaluate("su2020-1", checked().iloc[:0])
    assert np.isnan(claims.Verdict.from_dict(json.loads(json.dumps(pending.as_dict(), allow_nan=False))).p)
    with pytest.raises(ReproError, match="nothing"):
        claims.Verdict.from_dict(verdict.as_dict() | {"nothing": 1})


def test_an_unknown_claim_names_the_nearest():
    with pytest.raises(ReproError, match="did you mean 'su2020-1'"):
        claims.evaluate("su2020-11", checked())


def test_false_contradictions_and_supports_are_rare():
    """At the very margin each word may come up in about one of twenty repetitions."""
    generator, words = np.random.default_rng(0), []
    frame = runs({"check": "none"}, {"check": "rearrange", "method": "snip"})
    other = (frame["check"] == "rearrange").to_numpy()
    for _ in range(100):
        frame.loc[:, "accuracy"] = generator.normal(95, 0.5, len(frame)) + np.where(other, 0.5, 0.0)
        words.append(claims.evaluate("su2020-2", frame).word)
    assert words.count("supported") / len(words) < 0.12
    assert words.count("contradicted") / len(words) < 0.12


def test_no_torch_is_imported():
    code = (
        "import sys, types, pathlib; m = types.ModuleType('repro'); m.__path__ = [str(pathlib.Path('repro').resolve())];"
        "sys.modules['repro'] = m; import repro.claims, repro.report, repro.stats; assert 'torch' not in sys.modules"
    )
    from repro import paths

    subprocess.run([sys.executable, "-c", code], check=True, cwd=paths.root())


def test_the_sheets_of_the_transfer_replication_are_read_as_rounds():
    table = claims.published("gohil2020")
    here = table[table["data"].eq("cifar10") & table["model"].eq("vgg19")]
    assert not here.duplicated(["method", "check", "density"]).any()
    place = here.set_index(["method", "check", "density"])["value"].to_dict()
    assert place["dense", "none", 1.0] == pytest.approx(92.58, abs=0.01)
    assert place["imp@rewound", "none", round(0.8**18, 9)] == pytest.approx(92.88, abs=0.01)
    assert place["imp@rewound from cifar100", "none", round(0.8**18, 9)] == pytest.approx(90.32, abs=0.01)
    assert place["mask_of(imp@rewound from adam)@start", "none", round(0.8**18, 9)] == pytest.approx(
        92.32, abs=0.01
    )
    assert ("imp@rewound", "random_ticket_global", 0.64) in place
    assert set(here["density"]) == {1.0} | {round(0.8**r, 9) for r in range(1, 31)}
