"""Simulation with known truth, and the fast part of the coverage table."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.study import Noise

TRUTH = {"e": 2.3, "a": 0.8, "b": 0.35, "c": 0.5, "g": 0.9}
LEVELS = np.logspace(np.log10(6_000), np.log10(400_000), 4).round()
GRID = pd.DataFrame(
    [(n, k) for n in LEVELS for k in (0.79, 0.58, 0.37)], columns=["examples", "kept"]
)
POINTS = pd.DataFrame({"examples": [49_000, 800_000, 400_000], "kept": [0.58, 0.58, 0.16]})
ACCURACY = sl.Metric("task_accuracy", "higher", "in-domain", 1 / 35, 1.0, "logit", "proportion")
LOGS = 150
# Three binomial errors of 150 logs around .9, and .3 points for the finite draws.
SLACK = 3 * np.sqrt(0.09 / LOGS) + 0.003


def test_without_noise_the_log_is_the_curve():
    log = sl.simulate(sl.laws.Compressed(), GRID, TRUTH, 0.0, metric=ACCURACY)
    u = GRID["examples"] / np.exp(np.log(GRID["examples"]).mean())
    eta = 2.3 - 0.8 * u**-0.35 - 0.5 * (GRID["kept"] ** -0.9 - 1)
    want = 1 / 35 + (34 / 35) / (1 + np.exp(-eta))
    np.testing.assert_allclose(log.frame["task_accuracy"], want, rtol=1e-12)


def test_noise_has_the_variance_asked_for():
    many = pd.concat([GRID.iloc[:1]] * 4000, ignore_index=True)
    many["kept"] = np.where(np.arange(4000) < 2000, 0.5, 0.6)
    many["examples"] = np.where(np.arange(4000) % 2, 1e4, 1e5)
    log = sl.simulate(sl.laws.Compressed(), many, TRUTH, Noise(run=0.02), 0, metric=ACCURACY)
    groups = log.frame.groupby(["examples", "kept"])["task_accuracy"]
    # sd of a sample variance of 1000 normal values is sqrt(2/999) of it: 4.5 %.
    np.testing.assert_allclose(groups.var(), 0.02**2, rtol=3 * np.sqrt(2 / 999))


def test_chains_are_seen_where_a_score_does_not_depend_on_examples():
    """The slope ends at 0 and its exponent moves nothing; the errors accumulate all the same."""
    rng = np.random.default_rng(0)
    rows = []
    for chain in range(8):
        error = 0.0
        for kept in (1, 0.79, 0.58, 0.37, 0.16):
            error += rng.normal(0, 0.02)
            score = 0.25 + 0.45 / (1 + (0.5 / kept) ** 6) + error - 0.03 * (chain % 2)
            examples = [1000, 4000][chain % 2]
            rows.append({"chain_id": f"c{chain}", "examples": examples, "kept": kept,
                         "mmlu": score, "mmlu_se": 0.004})  # fmt: skip
    fit = sl.fit(sl.laws.Compressed("additive"), sl.read_runs(rows), "mmlu")
    assert fit.values["a"] == pytest.approx(0, abs=1e-9)
    assert "chained" in {note.code for note in fit.notes}


def test_chain_noise_accumulates():
    chains = pd.DataFrame(
        [(1e4, k, f"c{c}") for c in range(2000) for k in (0.8, 0.6, 0.4)],
        columns=["examples", "kept", "chain_id"],
    )
    chains.loc[chains["chain_id"] < "c5", "examples"] = 1e5
    exact = sl.simulate(sl.laws.Compressed(), chains, TRUTH, 0.0, metric=ACCURACY)
    noisy = sl.simulate(sl.laws.Compressed(), chains, TRUTH, Noise(chain=0.01), 0, metric=ACCURACY)
    error = noisy.frame["task_accuracy"] - exact.frame["task_accuracy"]
    variance = error.groupby(chains["kept"]).var()
    np.testing.assert_allclose(
        variance.loc[[0.8, 0.6, 0.4]], 1e-4 * np.array([1, 2, 3]), rtol=3 * np.sqrt(2 / 1999)
    )


def test_a_missing_truth_is_named():
    with pytest.raises(ValueError, match="truth lacks 'g'"):
        sl.simulate(sl.laws.Compressed(), GRID, {k: 1.0 for k in "eabc"}, 0.0, metric=ACCURACY)


def check(table, upper):
    """Coverage within 86 to `upper` but for simulation error; oracle width; no refusals."""
    assert (table["coverage"] >= 0.86 - SLACK).all(), table
    assert (table["coverage"] <= upper + SLACK).all(), table
    # The median width of 150 logs has an error of a few per cent.
    assert (table["oracle"].dropna() <= 1.4 * 1.05).all(), table
    assert table["refused"].max() == 0


@pytest.mark.parametrize("items", [1_000, 10_000])
def test_independent_runs_are_covered(items):
    check(
        sl.coverage(
            sl.laws.Compressed(),
            GRID,
            TRUTH,
            Noise(run=0.01, items=items),
            POINTS,
            metric=ACCURACY,
            n=LOGS,
            rng=1,
        ),
        0.96,
    )


def test_chains_are_covered_as_units():
    chains = pd.DataFrame(
        [(LEVELS[c % 4], k, f"c{c}") for c in range(12) for k in (0.79, 0.58, 0.37)],
        columns=["examples", "kept", "chain_id"],
    )
    points = POINTS.assign(stage=[2, 2, 4])
    table = sl.coverage(
        sl.laws.Compressed(),
        chains,
        TRUTH,
        Noise(chain=0.01, items=10_000),
        points,
        metric=ACCURACY,
        n=LOGS,
        rng=2,
    )
    check(table, 0.96)


def test_collapse_is_covered():
    kept = pd.DataFrame({"kept": np.linspace(0.3, 1.0, 16)})
    quiz = sl.Metric("quiz", "higher", "general", 0.25, 1.0, "logit", "proportion")
    table = sl.coverage(
        sl.laws.Collapse(),
        kept,
        {"acc1": 0.75, "k0": 0.5, "s": 6.0},
        Noise(run=0.01, items=1_000),
        pd.DataFrame({"kept": [0.65, 0.45, 0.16]}),
        metric=quiz,
        n=LOGS,
        rng=3,
    )
    check(table, 0.94)


def test_a_loss_law_agrees_with_the_published_recipe():
    """Known widths and coverage of the recipe on 12 sizes of E + A x^-.35, E = A, sd .02."""
    x = pd.DataFrame({"examples": np.logspace(3, 5, 12).round()})
    table = sl.coverage(
        sl.laws.Power(),
        x,
        {"E": 1.0, "A": 1.0, "a": 0.35},
        0.02,
        pd.DataFrame({"examples": [1e4, 2e5, 1e6]}),
        n=LOGS,
        rng=4,
    )
    check(table[table["interval"] == "mean"], 0.96)


def test_a_floor_that_is_absent_leaves_the_rest_covered():
    x = pd.DataFrame({"examples": np.logspace(3, 5, 12).round()})
    table = sl.coverage(
        sl.laws.Power(),
        x,
        {"E": 0.0, "A": 2.0, "a": 0.25},
        0.02,
        pd.DataFrame({"examples": [1e4, 2e5, 1e6]}),
        n=LOGS,
        rng=5,
        intervals=("mean",),
    )
    assert (table["coverage"] >= 0.86 - SLACK).all(), table
    assert (table["coverage"] <= 0.96 + SLACK).all(), table


def test_same_seed_same_table():
    a, b = (
        sl.coverage(
            sl.laws.Compressed(),
            GRID,
            TRUTH,
            Noise(run=0.01, items=1000),
            POINTS,
            metric=ACCURACY,
            n=3,
            draws=99,
            rng=7,
        )
        for _ in range(2)
    )
    pd.testing.assert_frame_equal(a, b)


def test_predictions_say_when_they_are_vacuous_or_far():
    log = sl.simulate(sl.laws.Compressed(), GRID, TRUTH, Noise(run=0.01, items=1_000), 1,
                      metric=ACCURACY)  # fmt: skip
    fit = sl.fit(sl.laws.Compressed(), log, ACCURACY)
    inside = fit.predict(examples=49_000, kept=0.58)
    assert inside.attrs["notes"] == ()
    below = fit.predict(examples=400_000, kept=0.16)
    assert "these runs allow task_accuracy from" in below.attrs["notes"][0].sentence
    far = fit.predict(examples=1e12, kept=0.58)
    assert any(n.code == "far" for n in far.attrs["notes"])


def test_predictions_say_when_they_are_narrower_than_the_data():
    """Without run noise a law with two free parameters beats the test sets it was measured on."""
    exact = sl.simulate(sl.laws.Compressed(), GRID, TRUTH, 0.0, metric=ACCURACY)
    log = sl.read_runs(exact.frame.assign(task_accuracy_n=50), metrics=[ACCURACY])
    held = {"b": 0.35, "g": 0.9, "a": 0.8}
    fit = sl.fit(sl.laws.Compressed(), log, ACCURACY, parameters=held, sigma=1e-4)
    notes = fit.predict(examples=49_000, kept=0.58).attrs["notes"]
    assert [n.code for n in notes] == ["too_narrow"]


def test_the_worst_combination_is_named():
    """One data size per model size: its two exponents are one direction, and a note says so."""
    tied = pd.DataFrame({"params": np.logspace(7, 10, 8), "tokens": 20 * np.logspace(7, 10, 8)})
    truth = {"E": 1.7, "A": 2.0, "B": 2.0, "alpha": 0.35, "beta": 0.36}
    log = sl.simulate(sl.laws.Chinchilla(), tied, {**truth, "A": 400.0, "B": 400.0}, 0.005, 1)
    fit = sl.fit(sl.laws.Chinchilla(), log)
    table = fit.identifiability
    assert table["singular_value"].is_monotonic_decreasing
    assert table["singular_value"].iloc[-1] < 1e-3
    codes = {n.code for n in fit.notes}
    assert {"collinear", "one_size_each"} <= codes


def test_a_bound_that_the_data_reject_is_told():
    x = np.logspace(3, 6, 10).round()
    wiggle = np.exp(0.01 * np.sin(np.arange(10.0)))
    told = []
    for floor in (-3e-4, 0.0):
        rows = pd.DataFrame({"examples": x, "loss": (2.0 * x**-0.5 + floor) * wiggle})
        fit = sl.fit(sl.laws.Power(), rows)
        told.append(any(n.code == "bound_rejected" for n in fit.notes))
    assert told == [True, False]
