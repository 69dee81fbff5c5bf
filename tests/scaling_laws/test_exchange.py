"""Exchange rates: equal to their formula, covered by their intervals, open where never reached."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.exchange import exchange_rate

SIZES = np.logspace(2, 6, 8).round()
DESIGN = pd.DataFrame(
    [(n, m, s) for n in SIZES for m in ("good", "plain") for s in range(2)],
    columns=["examples", "method", "seed"],
)
LAW = sl.laws.Power(by="method", share=["E"])
TRUTH = {"E": 1.0, "A[good]": 0.5, "A[plain]": 1.0, "a": 0.4}
# One limit and one exponent: A_plain u^-a = A_good v^-a at u / v = (A_plain / A_good)^(1 / a).
RATE = 2.0 ** (1 / 0.4)
PLAIN, GOOD = {"method": "plain"}, {"method": "good"}


def simulated(noise, seed=0, truth=TRUTH):
    return sl.simulate(LAW, DESIGN, truth, noise, seed)


def test_rate_is_its_formula():
    fit = sl.fit(LAW, simulated(1e-9))
    found = exchange_rate(fit, [200, 5e3, 1e5], PLAIN, GOOD)
    np.testing.assert_allclose(found.frame["ratio"], RATE, rtol=2e-4)
    np.testing.assert_allclose(found.frame["n"], RATE * found.frame["at"], rtol=2e-4)
    back = exchange_rate(fit, [5e3], GOOD, PLAIN)
    assert back.frame["ratio"][0] == pytest.approx(1 / RATE, rel=2e-4)


def test_scores_are_equal_there():
    fit = sl.fit(LAW, simulated(0.01))
    found = exchange_rate(fit, [1e3, 1e5], PLAIN, GOOD)
    again = fit.predict(examples=found.frame["n"], method="plain", interval=None)["estimate"]
    # Linear between grid points h = .0375 apart in log n: h^2 / 8 of the curvature a^2 A u^-a.
    error = 0.0375**2 / 8 * 0.4**2 * (again - 1.0)
    assert (np.abs(again - found.frame["score"]) <= error).all()


def test_two_fits_say_the_same_as_one_that_shares_nothing():
    log = simulated(0.01)
    both = sl.fit(sl.laws.Power(by="method", share={"a": False}), log, objective="squares")
    each = sl.fit_each(sl.laws.Power(), log, by="method", objective="squares")
    one = exchange_rate(both, [1e3, 1e5], PLAIN, GOOD)
    two = exchange_rate([each["plain"], each["good"]], [1e3, 1e5])
    np.testing.assert_allclose(two.frame["n"], one.frame["n"], rtol=1e-3)
    assert one.joint
    assert not two.joint
    assert any(n.code == "independent_fits" for n in two.notes)


def test_paired_draws_are_narrower():
    """What is common to both curves cancels in draws of one fit, not in those of two."""
    fit = sl.fit(LAW, simulated(0.02))
    joint = exchange_rate(fit, [1e4], PLAIN, GOOD).frame.iloc[0]
    other = sl.fit(LAW, simulated(0.02), rng=1)
    apart = exchange_rate([fit, other], [1e4], PLAIN, GOOD).frame.iloc[0]
    assert joint["ratio"] == pytest.approx(apart["ratio"], rel=1e-6)
    width = [np.log(r["high"] / r["low"]) for r in (joint, apart)]
    assert width[0] < 0.95 * width[1]


def test_interval_covers_the_rate():
    """150 logs: a coverage of .9 has a standard error of .025; three of them either way."""
    inside = 0
    for seed in range(150):
        row = exchange_rate(sl.fit(LAW, simulated(0.01, seed), rng=seed), [1e4], PLAIN, GOOD).frame
        inside += bool(row["ratio_low"][0] <= RATE <= row["ratio_high"][0])
    assert 0.9 - 3 * 0.0245 <= inside / 150 <= 0.9 + 3 * 0.0245


def test_a_worse_limit_is_never_reached():
    law = sl.laws.Power(by="method")
    truth = {"E[good]": 0.8, "E[plain]": 1.2, "A": 0.5, "a": 0.4}
    log = sl.simulate(law, DESIGN, truth, 0.003, 0)
    found = exchange_rate(sl.fit(law, log), [1e2, 1e6], PLAIN, GOOD)
    few, many = (found.frame.iloc[i] for i in range(2))
    assert few["unreachable"] == 0
    assert np.isinf(many["n"])
    assert many["unreachable"] > 0.95
    assert np.isinf(many["high"])
    assert "never" in repr(found)
    assert any(n.code == "unreachable" and "1e+06" in n.sentence for n in found.notes)


def test_a_forecast_exchanges_too():
    log = simulated(0.01)
    forms = [LAW, sl.laws.Rectified(by="method")]
    forecast = sl.choose(forms, log).forecast
    found = exchange_rate(forecast, [1e4], PLAIN, GOOD)
    row = found.frame.iloc[0]
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert found.draws.shape == (1, 1000)


def test_scores_rise_and_the_first_of_several_sizes_counts():
    design = pd.DataFrame([(n, k) for n in SIZES for k in (1.0, 0.5, 0.25)],
                          columns=["examples", "kept"])  # fmt: skip
    law = sl.laws.Compressed("multiplicative")
    truth = {"e": 2.3, "a": 0.8, "b": 0.35, "g": 0.7}
    log = sl.simulate(law, design, truth, 1e-6, 1, metric="task_f1")
    fit = sl.fit(law, log, "task_f1")
    found = exchange_rate(fit, [1e4], {"kept": 0.25}, {"kept": 1.0})
    # a u^-b v^-g equal: u ratio = 4^(g / b).
    assert found.frame["ratio"][0] == pytest.approx(4 ** (0.7 / 0.35), rel=1e-3)


def test_no_interval_says_why():
    """Six rows and six parameters: an estimate without an interval."""
    log = simulated(1e-3).frame
    few = log[(log["seed"] == 0) & log["examples"].isin(SIZES[[0, 3, 7]])]
    law = sl.laws.Power(by="method", share={"a": False})
    found = exchange_rate(sl.fit(law, few), [1e4], PLAIN, GOOD)
    assert np.isfinite(found.frame["n"][0])
    assert np.isnan(found.frame["low"][0])
    assert found.draws is None
    assert any(n.code == "no_interval" for n in found.notes)
    assert "none" in repr(found)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda f: exchange_rate(f, [10], PLAIN, PLAIN), "one curve"),
        (lambda f: exchange_rate(f, [10], {}, GOOD), "factor 'method'"),
        (lambda f: exchange_rate(f, [0], PLAIN, GOOD), "positive"),
        (lambda f: exchange_rate([f], [10], PLAIN, GOOD), "1 fits"),
        (lambda f: exchange_rate(f, [10], PLAIN, GOOD, axis="kept"), "none of the law's axes"),
        (lambda f: exchange_rate(f, [10], {"method": "best"}, GOOD), "no run has best"),
    ],
)
def test_impossible_exchanges_are_sentences(call, sentence):
    fit = sl.fit(LAW, simulated(0.01))
    with pytest.raises(ValueError, match=sentence):
        call(fit)


def test_twins_and_figure():
    found = exchange_rate(sl.fit(LAW, simulated(0.01)), [1e3, 1e4, 1e5], PLAIN, GOOD)
    for text in (repr(found), found._repr_html_()):
        assert "How many examples of plain have the score of good" in text
        assert "P(never)" in text
    ax = found.plot()
    assert ax.get_xlabel() == "examples of good"
    assert ax.get_yscale() == "log"


# --- few-shot classification ----------------------------------------------------------------------
@pytest.mark.parametrize(("task", "classes"), [("ag_news", 4), ("emotion", 6), ("sst5", 5)])
def test_distilled_examples_are_worth_many_plain_ones(published, task, classes):
    """Distilled students ask for 25 to 125 times less at 8 unlabelled examples, about 1 at 1000.

    The bounds are of published means: at 8 the distilled student stands between the plain one at
    200 and at 1000.
    """
    table = published("setfit_fewshot.csv")
    chosen = table["method"].isin(["distill-setfit-student", "distill-baseline-student"])
    table = table[chosen & table["task"].eq(task)]
    rows = pd.DataFrame(
        {
            "examples": table["n_per_class"].astype(float), "method": table["method"],
            "seed": table["seed"], "accuracy": table["score"] / 100,
        }
    )  # fmt: skip
    metric = sl.Metric("accuracy", "higher", "in-domain", 1 / classes, 1.0, "logit", "proportion")
    log = sl.read_runs(rows.reset_index(drop=True), metrics=[metric])
    fit = sl.fit(sl.laws.Power(by="method", share={"a": False}), log, metric)
    plain, distilled = ({"method": f"distill-{m}-student"} for m in ("baseline", "setfit"))
    found = exchange_rate(fit, [8, 64, 1000], plain, distilled).frame
    assert 25 <= found["ratio"][0] <= 125
    assert found["ratio_low"][0] > 10
    assert (np.diff(found["ratio"]) < 0).all()
    assert found["ratio_low"][2] <= 1 <= found["ratio_high"][2]
    assert found["ratio"][2] == pytest.approx(1.0, abs=0.25)
