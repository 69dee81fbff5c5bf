"""Notes on noise and on the form come when they should, and rarely when they should not."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.chains import chain_rotation
from scaling_laws.checks import _pooling
from scaling_laws.halfwild import Pooling
from scaling_laws.misfit import lack_of_fit
from scaling_laws.study import Noise

COLLAPSE, CURVE = sl.laws.Collapse(), {"acc1": 0.75, "k0": 0.5, "s": 6.0}
KEPT = np.linspace(0.9, 0.2, 8).round(1)
CHAINS = pd.DataFrame([(k, f"c{c}") for c in range(12) for k in KEPT], columns=["kept", "chain_id"])
LOGS = 40


def most(rate, logs=LOGS):
    """Three binomial standard errors above a rate."""
    return rate + 3 * np.sqrt(rate * (1 - rate) / logs)


def codes(fit):
    return {n.code for n in fit.notes}


# --- noise that changes ---------------------------------------------------------------------------


def chained(seed, growth=1.0, sd=0.003):
    """Each stage adds an error, `growth` times that of the stage before, to all later ones."""
    exact = sl.simulate(COLLAPSE, CHAINS, CURVE, 0.0, metric="mmlu").frame
    sd = sd * growth ** np.arange(8)
    error = (sd * np.random.default_rng(seed).standard_normal((12, 8))).cumsum(axis=1)
    return exact.assign(mmlu=exact["mmlu"] + error.ravel())


def uneven(rows):
    return "uneven_noise" in codes(sl.fit(COLLAPSE, rows, "mmlu"))


def test_errors_that_add_up_along_a_chain_are_no_uneven_noise():
    """Their scatter grows along the chain as the weights of the chain say."""
    told = np.mean([uneven(chained(seed)) for seed in range(LOGS)])
    assert told <= most(0.05)
    nameless = [uneven(chained(seed).drop(columns="chain_id")) for seed in range(10)]
    assert np.mean(nameless) > 0.5


def test_stages_whose_own_errors_grow_are():
    # From .003 to .03 within a chain.
    assert np.mean([uneven(chained(seed, 10 ** (1 / 7))) for seed in range(10)]) > 0.5


def test_small_test_sets_are_no_uneven_noise():
    """Binomial noise changes with the score, and the fit weighs rows by it."""
    rows = CHAINS.drop(columns="chain_id")

    def log(seed):
        return sl.simulate(COLLAPSE, rows, CURVE, Noise(items=200), seed, metric="mmlu")

    assert np.mean([uneven(log(seed)) for seed in range(LOGS)]) <= most(0.05)


def test_innovations_are_independent_and_stay_with_their_rows():
    rng = np.random.default_rng(0)
    unit = np.array([0, 1, 0, 1, 0, 0, 1])
    # Two rows of one place are two students of one parent.
    positions = np.array([3.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0])
    variance, rho, s2 = rng.uniform(0.1, 1.0, 7), 0.75, 0.5
    chains = chain_rotation(unit, rho, positions, variance)
    same = unit[:, None] == unit
    shared = rho * np.minimum(positions[:, None], positions) + (1 - rho) * np.eye(7)
    sigma = np.diag(variance) + s2 * shared * same
    w = np.stack([chains.innovations(e, s2) for e in np.eye(7)], axis=1)
    np.testing.assert_allclose(w @ sigma @ w.T, np.eye(7), atol=1e-12)
    later = positions > positions[:, None]
    assert np.all(w[later | ~same] == 0)
    assert np.all(np.diag(w) > 0)


# --- lack of fit ----------------------------------------------------------------------------------


def floored(seed, seeds=2, floor=1.8):
    """Seven amounts of data on a power law above a floor, half a percent of noise."""
    tokens = np.repeat(np.logspace(8, 11, 7), seeds)
    error = 0.005 * np.random.default_rng(seed).standard_normal(len(tokens))
    loss = (floor + 2085 * tokens**-0.366) * np.exp(error)
    numbers = np.tile(np.arange(seeds), 7)
    return pd.DataFrame({"tokens": tokens, "seed": numbers, "loss": loss})


def pure_error(law, rows, metric="loss"):
    fit = sl.fit(law, rows, metric)
    return lack_of_fit(fit.problem, fit.estimate)


def test_a_law_without_the_floor_that_is_there_does_not_fit():
    fit = sl.fit(sl.laws.Kaplan("tokens"), floored(0))
    note = next(n for n in fit.notes if n.code == "lack_of_fit")
    assert note.severity == "warning"
    assert "99.8 % of the variance about it is lack of fit" in note.sentence
    # Intervals still count configurations.
    assert fit.draws.pooling.unit == "configuration"


def test_the_f_of_pure_error_by_hand():
    rows = floored(1, seeds=3)
    fit = sl.fit(sl.laws.Kaplan("tokens"), rows, objective="squares")
    found = lack_of_fit(fit.problem, fit.estimate)
    residual = fit.residuals["residual"].to_numpy().reshape(7, 3)
    mean = residual.mean(axis=1)
    within = ((residual - mean[:, None]) ** 2).sum() / (21 - 7)
    assert found.f == pytest.approx(3 * (mean**2).sum() / (7 - 2) / within, rel=1e-9)
    # The variance of a configuration's mean beyond that of its runs, over both.
    between = (found.f - 1) * within / 3
    assert found.share == pytest.approx(between / (between + within), rel=1e-9)


def test_the_law_itself_is_rarely_rejected():
    p = [pure_error(sl.laws.Power("tokens"), floored(seed)).p_value for seed in range(LOGS)]
    assert np.mean(np.array(p) < 0.1) <= most(0.1)


def test_nor_where_errors_add_up_along_chains():
    logs = [sl.simulate(COLLAPSE, CHAINS, CURVE, Noise(chain=0.01, items=14_042), seed,
                        metric="mmlu") for seed in range(LOGS)]  # fmt: skip
    p = [pure_error(COLLAPSE, log, "mmlu").p_value for log in logs]
    assert np.mean(np.array(p) < 0.1) <= most(0.1)


def test_a_misfit_in_chains_is_seen():
    """Every second stage lies .005 off: less than errors that add up to .028 along a chain."""
    rows = chained(0, sd=0.01)
    assert not pure_error(COLLAPSE, rows, "mmlu").rejected
    stage = np.tile(np.arange(8), 12)
    moved = rows.assign(mmlu=rows["mmlu"] + 0.005 * (-1.0) ** stage)
    assert pure_error(COLLAPSE, moved, "mmlu").rejected


def test_without_replicates_or_noise_nothing_is_tested():
    assert pure_error(sl.laws.Kaplan("tokens"), floored(0).iloc[::2]) is None
    tokens = np.repeat(np.logspace(8, 11, 7), 2)
    exact = pd.DataFrame({"tokens": tokens, "loss": 1.8 + 2085 * tokens**-0.366})
    assert pure_error(sl.laws.Power("tokens"), exact) is None


def test_weight_two_is_a_row_twice():
    """Of the means and of the squares about the curve; the degrees of freedom count rows."""
    rows = floored(2)
    rows["loss"] += 0.02 * (rows["tokens"] > 1e10)
    twice = pd.concat([rows, rows.iloc[[0]]], ignore_index=True)
    law = sl.laws.Kaplan("tokens")
    heavy = sl.fit(law, rows, weights=np.where(np.arange(14) == 0, 2.0, 1.0), objective="squares")
    copied = sl.fit(law, twice, objective="squares")
    one, two = (lack_of_fit(f.problem, f.estimate) for f in (heavy, copied))
    assert one.f / two.f == pytest.approx((14 - 7) / (15 - 7), rel=1e-4)


# --- chains too few to be counted -----------------------------------------------------------------


def few_chains(chains):
    return sl.fit(COLLAPSE, chained(0)[lambda t: t["chain_id"].isin(chains)], "mmlu")


def test_intervals_that_cannot_count_chains_say_so():
    """Three chains for three parameters leave nothing that scatters between chains."""
    note = next(n for n in few_chains(["c0", "c1", "c2"]).notes if n.code == "untested_unit")
    assert note.severity == "warning"
    assert note.sentence.startswith("3 chains for 3 free parameters")
    assert note.sentence.endswith("with 6 chains they could count chains.")
    six = few_chains([f"c{i}" for i in range(6)])
    assert "untested_unit" not in codes(six)
    assert np.isfinite(six.draws.pooling.p_value)


def test_runs_without_chains_are_independent_without_a_note():
    rows = floored(0).drop_duplicates("tokens")
    assert "untested_unit" not in codes(sl.fit(sl.laws.Kaplan("tokens"), rows))


def test_an_interval_that_is_the_bound_itself_says_so():
    """Losses that fall ever faster leave no draw a floor; "0 to 0" would be no interval."""
    x = np.logspace(3, 6, 12).round()
    bend = 0.03 * (np.log(x) - np.log(x[0])) ** 2
    loss = 2.0 * np.exp(-0.1 * np.log(x) - bend + 0.005 * np.sin(7.0 * np.arange(12)))
    fit = sl.fit(sl.laws.Power(), pd.DataFrame({"examples": x, "loss": loss}))
    assert fit.parameters.loc["E", ["low", "high"]].tolist() == [0.0, 0.0]
    note = next(n for n in fit.notes if n.code == "at_bound")
    assert note.sentence == (
        "E is not distinguishable from 0; its interval is 0 alone: no more than one draw in "
        "twenty leaves it."
    )


# --- runs of several kinds in one curve -----------------------------------------------------------


def kinds_of_runs(**columns):
    rows = [(k, f, s) for k in KEPT for f in ("cot", "label") for s in (1, 2)]
    frame = pd.DataFrame(rows, columns=["kept", "format", "seed"]).assign(**columns)
    scores = sl.simulate(COLLAPSE, frame[["kept"]], CURVE, 0.01, 0, metric="mmlu").frame
    return frame.assign(mmlu=scores["mmlu"].to_numpy())


def unused(law, rows):
    return [n for n in sl.fit(law, rows, "mmlu").notes if n.code == "unused_factor"]


def test_runs_that_are_pooled_are_told():
    (note,) = unused(COLLAPSE, kinds_of_runs())
    assert note.severity == "warning"
    assert note.sentence.startswith("Rows differ in format (cot 16, label 16), of which")
    assert "by=['format']" in note.sentence
    assert not unused(sl.laws.Collapse(by="format"), kinds_of_runs())
    assert not unused(COLLAPSE, kinds_of_runs(format="cot"))
    one = sl.fit(COLLAPSE, kinds_of_runs(), "mmlu", where={"format": "cot"})
    assert "unused_factor" not in codes(one)


def test_what_goes_with_a_factor_or_an_axis_is_not():
    rows = kinds_of_runs()
    phase = np.where(rows["kept"] > 0.85, "teacher", "distilled")
    told = {"prompt_id": rows["format"], "phase": phase}
    assert not unused(sl.laws.Collapse(by="format"), rows.assign(**told))
    # Half of the students of each size.
    rows["method"] = np.where(rows["seed"] == 1, "full", "lora")
    (note,) = unused(sl.laws.Collapse(by="format"), rows)
    assert "method (full 16, lora 16)" in note.sentence
    assert "by=['format', 'method']" in note.sentence
    (both,) = unused(COLLAPSE, rows)
    assert "in format (cot 16, label 16), method (full 16, lora 16), of which" in both.sentence
    rows["teacher"] = [f"T{i % 6}" for i in range(len(rows))]
    (many,) = unused(COLLAPSE, rows[["kept", "teacher", "mmlu"]])
    assert "teacher (T0 6, T1 6, T2 5, T3 5, 2 more)" in many.sentence


def test_a_covariate_is_no_category_of_runs():
    rows = kinds_of_runs(format="cot")
    assert not unused(COLLAPSE, rows.assign(note=[f"n{i % 3}" for i in range(len(rows))]))


@pytest.mark.parametrize(("p_value", "words"), [(0.049, "Chains scatter"), (0.051, "Chains may ")])
def test_units_are_said_to_scatter_more_only_where_a_test_shows_it(p_value, words):
    """Intervals count chains long before: at p = .25, to be on the safe side."""
    rule = Pooling("chain", 8.0, 1.4, p_value, 8.0, 20.0)
    (note,) = _pooling(SimpleNamespace(unit_kind="chain"), SimpleNamespace(pooling=rule))
    assert note.sentence.startswith(words)
    assert f"(F = 1.4, p = {p_value}" in note.sentence
    assert "; intervals count chains" in note.sentence
