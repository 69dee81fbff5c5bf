"""Sensitivity rows are the refits they name; influence is a refit without each unit."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.presets import load_points
from scaling_laws.study import Noise

POINT = {"examples": 3e6}


@pytest.fixture(scope="module")
def log():
    x = np.logspace(2, 6, 12).round()
    runs = sl.simulate(sl.laws.Power(), pd.DataFrame({"examples": x}),
                       {"E": 1.0, "A": 0.8, "a": 0.35}, 0.02, 4)  # fmt: skip
    return runs.frame


def answer(fit):
    return float(fit.predict(POINT, interval=None)["estimate"].iloc[0])


def test_rows_are_the_refits_they_name(log):
    fit = sl.fit(sl.laws.Power(), log)
    table = fit.sensitivity(POINT).frame
    ends = log["examples"]
    same = {
        "as fitted": fit,
        "least squares": sl.fit(sl.laws.Power(), log, objective="squares"),
        "Huber, delta 1e-2": sl.fit(sl.laws.Power(), log, delta=1e-2),
        "Huber, delta 1e-3": sl.fit(sl.laws.Power(), log, delta=1e-3),
        "without the smallest examples": sl.fit(sl.laws.Power(), log[ends > ends.min()]),
        "without the largest examples": sl.fit(sl.laws.Power(), log[ends < ends.max()]),
        "link identity": sl.fit(sl.laws.Power(), log, link="identity"),
    }
    for choice, refit in same.items():
        assert table.loc[choice, "answer"] == pytest.approx(answer(refit), rel=1e-5), choice
        assert table.loc[choice, "rows"] == refit.problem.n
    np.testing.assert_allclose(table["change"], table["answer"] - answer(fit))
    assert (table["failed"] == "").all()


def test_a_question_may_be_a_function(log):
    fit = sl.fit(sl.laws.Power(), log)
    assert (
        fit.sensitivity(lambda f: f.values["a"]).frame.loc["as fitted", "answer"] == fit.values["a"]
    )


def test_a_variant_that_cannot_be_fitted_says_why():
    fit = sl.fit(sl.laws.Collapse(), [{"kept": k, "mmlu": m} for k, m in
                                      ((1.0, 0.75), (0.6, 0.6), (0.3, 0.3))], "mmlu")  # fmt: skip
    table = fit.sensitivity({"kept": 0.5}).frame
    row = table.loc["without the largest kept"]
    assert np.isnan(row["answer"])
    assert "2 usable rows for 3 free parameters" in row["failed"]


def test_a_score_on_the_logit_scale_has_no_other_link():
    law = sl.laws.Compressed("multiplicative", size="params", full=8.03e9)
    fit = sl.fit(law, load_points("headline-f1"), "task_f1")
    table = fit.sensitivity({"examples": 5e4, "params": 8e9}).frame
    assert not [c for c in table.index if c.startswith("link")]
    assert {"without the smallest params", "without the largest params"} <= set(table.index)


@pytest.mark.parametrize("tied", ["alpha", "beta"])
def test_ties_hold_in_every_variant(tied):
    design = pd.DataFrame({"params": np.tile(np.logspace(7, 10, 5), 5),
                           "tokens": np.repeat(np.logspace(8, 11, 5), 5)})  # fmt: skip
    truth = {"E": 1.7, "A": 400.0, "B": 400.0, "alpha": 0.34, "beta": 0.34}
    log = sl.simulate(sl.laws.Chinchilla(), design, truth, 0.01, 3)
    other = {"alpha": "beta", "beta": "alpha"}[tied]
    rule = {tied: {"tie": {"coefficients": {other: 1.0}}}}
    fit = sl.fit(sl.laws.Chinchilla(), log, parameters=rule)
    table = fit.sensitivity(lambda f: f.values["alpha"] - f.values["beta"]).frame
    others = [c for c in table.index if c.startswith("form ")]
    assert others == ["form Supervised", "form Kaplan"]
    assert table.loc[others, "failed"].str.contains("which this form does not have").all()
    np.testing.assert_allclose(table["answer"].drop(others), 0.0, atol=1e-12)


def test_influence_is_a_refit_without_each_row(log):
    fit = sl.fit(sl.laws.Power(), log, objective="squares")
    table = fit.influence(POINT).frame
    assert len(table) == len(log)
    for row in table.itertuples():
        refit = sl.fit(sl.laws.Power(), log.drop(index=row.unit), objective="squares")
        assert row.answer == pytest.approx(answer(refit), rel=1e-5)
    size = table["change"].abs().to_numpy()
    assert (np.diff(size) <= 0).all()
    np.testing.assert_allclose(table["change"], table["answer"] - answer(fit))


def test_an_outlier_comes_first(log):
    bad = log.copy()
    bad.loc[11, "loss"] *= 1.3
    assert sl.fit(sl.laws.Power(), bad, objective="squares").influence(POINT).frame["unit"][0] == [
        11
    ]


def test_chains_are_left_out_whole():
    design = pd.DataFrame([(n, k, f"{n:g}/{c}") for n in (1e4, 1e5, 1e6) for c in range(3)
                           for k in (0.79, 0.58, 0.37)],
                          columns=["examples", "kept", "chain_id"])  # fmt: skip
    truth = {"e": 2.3, "a": 0.8, "b": 0.35, "c": 0.5, "g": 0.9}
    log = sl.simulate(sl.laws.Compressed(), design, truth, Noise(chain=0.02), 1, metric="task_f1")
    fit = sl.fit(sl.laws.Compressed(), log, "task_f1")
    table = fit.influence({"examples": 1e6, "kept": 0.2}).frame
    assert len(table) == 9
    for rows in table["unit"]:
        assert len(rows) == 3
        assert log.frame.loc[rows, "chain_id"].nunique() == 1


def test_a_rule_goes_to_parameters_of_its_meaning_alone(log):
    """The exponent of Power and the limit of Broken are both called a."""
    rule = {"a": 0.5}
    table = sl.fit(sl.laws.Power(), log, parameters=rule).sensitivity(POINT).frame
    for form, rules in ((sl.laws.Rectified(), rule), (sl.laws.Broken(), {})):
        other = answer(sl.fit(form, log, parameters=rules))
        assert table.loc[f"form {form.name}", "answer"] == pytest.approx(other, rel=1e-6)


def test_other_forms_are_their_own_fits(log):
    table = sl.fit(sl.laws.Power(), log).sensitivity(POINT).frame
    other = sl.fit(sl.laws.Rectified(), log)
    assert table.loc["form Rectified", "answer"] == pytest.approx(answer(other), rel=1e-6)
    law = sl.laws.Compressed("multiplicative", size="params", full=8.03e9)
    runs = load_points("headline-f1")
    point = {"examples": 5e4, "params": 8e9}
    table = sl.fit(law, runs, "task_f1").sensitivity(point).frame
    for kind in ("additive", "interaction", "rectified"):
        form = sl.laws.Compressed(kind, size="params", full=8.03e9)
        direct = sl.fit(form, runs, "task_f1").predict(point, interval=None)["estimate"].iloc[0]
        assert table.loc[f"form {kind}", "answer"] == pytest.approx(direct, rel=1e-4)


def test_other_forms_keep_weights_sigma_and_what_is_held(log):
    weights = np.where(np.arange(len(log)) < 4, 2.0, 1.0)
    options = {"weights": weights, "sigma": 0.03, "parameters": {"E": 1.0}, "objective": "squares"}
    table = sl.fit(sl.laws.Power(), log, **options).sensitivity(POINT).frame
    other = sl.fit(sl.laws.Rectified(), log, **options)
    assert table.loc["form Rectified", "answer"] == pytest.approx(answer(other), rel=1e-6)


def test_a_question_that_another_form_cannot_answer_says_so(log):
    fit = sl.fit(sl.laws.Rectified(), log)
    table = fit.sensitivity(lambda f: f.values["d"]).frame
    assert "'d'" in table.loc["form Power", "failed"]
    assert np.isnan(table.loc["form Power", "answer"])


def test_an_axis_of_two_levels_cannot_lose_one():
    design = pd.DataFrame([(n, k) for n in np.logspace(3, 6, 6).round() for k in (1.0, 0.5)],
                          columns=["examples", "kept"])  # fmt: skip
    truth = {"e": 2.3, "a": 0.8, "b": 0.35, "g": 0.9}
    law = sl.laws.Compressed("multiplicative")
    log = sl.simulate(law, design, truth, 0.01, 1, metric="task_f1")
    table = sl.fit(law, log, "task_f1").sensitivity({"examples": 1e5, "kept": 0.7}).frame
    assert table.loc["without the largest kept", "failed"] == "one level of kept would be left."


def test_two_points_are_no_question(log):
    with pytest.raises(ValueError, match="question: 2 points"):
        sl.fit(sl.laws.Power(), log).sensitivity({"examples": [1e3, 1e4]})


def test_choices_beyond_the_interval_are_told(log):
    """A power law seen only where it is flat: forms differ far out by more than the noise."""
    bent = log.copy()
    bent["loss"] = 1.0 + 0.8 / (1 + (bent["examples"] / 2e4))
    bent["loss"] *= np.exp(0.001 * np.random.default_rng(0).normal(size=len(bent)))
    found = sl.fit(sl.laws.Rectified(), bent).sensitivity({"examples": 1e8})
    assert found.interval is not None
    low, high = found.interval
    power = found.frame.loc["form Power", "answer"]
    told = [n.sentence for n in found.notes if n.code == "choice_matters"]
    assert not low <= power <= high
    assert "form Power" in told[0]


def test_a_unit_that_decides_alone_is_told():
    """A lone far run with an error: the curve runs through it, its residual says nothing."""
    x = np.append(np.logspace(2, 4, 10).round(), 1e6)
    law, truth = sl.laws.Power(), {"E": 1.0, "A": 0.4, "a": 0.35}
    runs = sl.simulate(law, pd.DataFrame({"examples": x}), truth, 0.003, 4).frame
    runs.loc[10, "loss"] *= 1.1
    found = sl.fit(law, runs).influence({"examples": 1e6})
    low, high = found.interval
    assert found.frame["unit"][0] == [10]
    assert not low <= found.frame["answer"][0] <= high
    (note,) = found.notes
    assert note.code == "one_unit_decides"
    assert "examples 1e+06" in note.sentence
    assert "examples 100 " not in note.sentence


def test_twins_and_figures(log):
    fit = sl.fit(sl.laws.Power(), log)
    for found, words in (
        (fit.sensitivity(POINT), ["form Rectified", "link identity", "under other choices"]),
        (fit.influence(POINT), ["12 configurations", "examples 1e+06"]),
    ):
        text, html = repr(found), found._repr_html_()
        for word in words:
            assert word in text
            assert word in html
        labels = [t.get_text() for t in found.plot().get_yticklabels()]
        assert len(labels) == len(found.frame)
    asked = fit.sensitivity(lambda f: f.values["a"])
    assert asked.interval is None
    assert "%" not in repr(asked).split("\n")[0]
