"""A score in two steps: what each step adds, and what must not be seen."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

import scaling_laws as sl
from scaling_laws.show import number

L = sl.laws
EPS, K, GAMMA = 0.75, 1.2, 0.8
NOISE = 0.004
DESIGN = pd.MultiIndex.from_product(
    [np.logspace(7.5, 10, 6).round(), np.logspace(9, 11.5, 6).round()], names=["params", "tokens"]
).to_frame(index=False)


def true_loss(points):
    return sl.presets["chinchilla/hoffmann-2022"].predict(points)["estimate"].to_numpy()


def true_score(loss):
    return 1 - EPS + K * np.exp(-GAMMA * loss)


def runs(seed):
    rng = np.random.default_rng(seed)
    loss = true_loss(DESIGN) * np.exp(NOISE * rng.standard_normal(len(DESIGN)))
    score = true_score(loss) + NOISE * rng.standard_normal(len(DESIGN))
    return DESIGN.assign(loss=loss, task_accuracy=score)


def fitted(seed=0, log=None):
    log = runs(seed) if log is None else log
    return sl.two_step(L.Chinchilla(), L.LossToError(), log, "task_accuracy", rng=seed)


@pytest.fixture(scope="module")
def two():
    return fitted()


POINT = pd.DataFrame({"params": [3e10], "tokens": [1e12]})


def test_the_curve_is_that_of_both_laws(two):
    loss = two.loss.predict(POINT, interval=None)["estimate"].to_numpy()
    score = two.link.predict(loss=loss, interval=None)["estimate"].to_numpy()
    assert two.predict(POINT, interval=None)["estimate"].to_numpy() == score
    # The score of the true loss, within the noise of 36 runs an extrapolation away.
    row = two.predict(POINT).iloc[0]
    assert row["low"] < true_score(true_loss(POINT))[0] < row["high"]


def test_observed_losses_of_new_points_play_no_part(two):
    plain = two.predict(POINT)
    seen = two.predict(POINT.assign(loss=9.0))
    assert seen[["estimate", "low", "high"]].equals(plain[["estimate", "low", "high"]])


def test_both_steps_add_to_the_variance(two):
    """Independent draws: the variances of the steps add, to first order."""
    whole = float(two.draws_at(POINT).var())
    loss = two.loss.predict(POINT, interval=None)["estimate"].to_numpy()
    link_alone = float(two.link.draws_at(pd.DataFrame({"loss": loss})).var())
    drawn = two.loss.draws_at(POINT)[0]
    values = {k: np.array([v]) for k, v in two.link.values.items()}
    loss_alone = float(two.link.law.formula({"loss": drawn}, **values).var())
    # The variance of 1000 draws is known to 4.5 %, three of them to 8 %: four sigma.
    assert whole == pytest.approx(link_alone + loss_alone, rel=0.3)
    assert min(link_alone, loss_alone) > 0.05 * whole
    one, other = two.loss.draws.theta[:, 0], two.link.draws.theta[:, 0]
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(one))


def test_a_new_run_carries_the_noise_of_both_steps(two):
    """Loss noise arrives through the slope of the link, score noise on top."""
    inside = pd.DataFrame({"params": [1e9], "tokens": [3e10]})
    slope = GAMMA * K * np.exp(-GAMMA * true_loss(inside)[0])
    expected = (slope * NOISE * true_loss(inside)[0]) ** 2 + NOISE**2
    added = two.draws_at(inside, "run").var() - two.draws_at(inside).var()
    # Each noise is estimated from about 31 and 33 degrees of freedom: 25 % of a variance.
    assert added == pytest.approx(expected, rel=0.8)
    wide, narrow = (two.predict(inside, interval=i).iloc[0] for i in ("run", "mean"))
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])


def test_intervals_of_the_curve_cover():
    """16 logs, 90 %: fewer than the one-in-a-thousand count of a 90 % interval is a failure."""
    truth = true_score(true_loss(POINT))[0]
    hits = 0
    for seed in range(16):
        row = fitted(seed).predict(POINT).iloc[0]
        hits += row["low"] <= truth <= row["high"]
    assert hits >= binom.ppf(1e-3, 16, 0.9)


def test_distance_counts_losses_beyond_those_seen(two):
    """Inside both axes the loss is inside too; beyond them both steps extrapolate."""
    inside = two.predict(params=1e9, tokens=1e10).iloc[0]
    assert inside["distance"] == 0
    assert inside["support"] == "inside"
    far = two.predict(params=1e12, tokens=1e14).iloc[0]
    assert far["support"] == "outside"
    assert far["distance"] > 0


def test_impossible_scores_are_told_not_clipped():
    log = runs(1).assign(task_accuracy=lambda f: 1.9 * f["task_accuracy"])
    table = fitted(1, log).predict(params=1e14, tokens=1e16)
    assert table["estimate"].iloc[0] > 1
    note = next(n for n in table.attrs["notes"] if n.code == "impossible_score")
    assert "1 of 1 predicted scores lie outside 0 to 1" in note.sentence


def test_runs_without_a_score_still_teach_the_loss():
    log = runs(2)
    log.loc[::2, "task_accuracy"] = np.nan
    half = fitted(2, log)
    assert half.loss.problem.n == 36
    assert half.link.problem.n == 18


def test_two_steps_beat_one_where_the_loss_is_the_cleaner_law():
    """Truth made in two steps: the direct form is wrong, and the hold-out says so."""
    found = sl.compare_steps(
        L.Chinchilla(), L.LossToError(),
        L.Compressed("multiplicative", size="params", full=1e10, data="tokens"),
        runs(3), "task_accuracy", by="params", leave=2,
    )  # fmt: skip
    assert found.frame["rows"].tolist() == [12, 12]
    assert found.frame.loc["two steps", "error"] < found.frame.loc["direct", "error"]
    assert (found.frame["scale"] == "relative").all()
    ratio = found.direct.frame["estimate"] / found.direct.frame["observed"]
    assert found.frame.loc["direct", "error"] == pytest.approx((ratio - 1).abs().mean())
    assert found.frame.loc["direct", "bias"] == pytest.approx(ratio.mean() - 1)
    for column in ("params", "tokens", "observed"):
        one, other = (h.frame[column].to_numpy() for h in (found.two_step, found.direct))
        np.testing.assert_array_equal(one, other)
    assert found.two_step.fitted.loss.problem.frame["params"].max() < 3.2e9
    for shown in (repr(found), found._repr_html_()):
        assert "two steps" in shown
        assert "Hold-out by params: 12 rows" in shown


def test_a_held_out_score_of_zero_is_compared_in_points():
    """Of a share of nothing both ways would be infinitely far off."""
    log = runs(5)
    log.loc[log["params"].idxmax(), "task_accuracy"] = 0.0
    found = sl.compare_steps(
        L.Chinchilla(), L.LossToError(), L.Power("params"), log, "task_accuracy",
        by="params", leave=1,
    )  # fmt: skip
    assert (found.frame["scale"] == "points").all()
    for name, held in (("two steps", found.two_step), ("direct", found.direct)):
        off = held.frame["estimate"] - held.frame["observed"]
        row = found.frame.loc[name]
        assert (row["error"], row["bias"]) == pytest.approx((off.abs().mean(), off.mean()))
    assert found.frame["error"].nunique() == 2
    for shown in (repr(found), found._repr_html_()):
        assert "mean |pred - obs|" in shown
        assert "inf" not in shown
        assert number(found.frame.loc["direct", "error"]) in shown
    assert f"+{number(found.frame.loc['direct', 'bias'])}" in repr(found)


def test_the_larger_runs_are_not_seen_even_without_a_score():
    """A held-out size may have a loss and no score: its loss is the future as well."""
    log = runs(4)
    log.loc[log["params"] == log["params"].max(), "task_accuracy"] = np.nan
    found = sl.compare_steps(
        L.Chinchilla(), L.LossToError(), L.Power("params"), log, "task_accuracy",
        by="params", leave=1,
    )  # fmt: skip
    held = found.direct.frame["params"].min()
    assert found.two_step.fitted.loss.problem.frame["params"].max() < held


def test_shown_in_both_twins(two):
    for shown in (repr(two), two._repr_html_()):
        for words in ("in two steps", "gamma", "alpha", "36 rows"):
            assert words in shown
    assert max(map(len, repr(two).split("\n"))) <= 100
    assert two.frame.loc[("link", "eps"), "estimate"] == two.link.values["eps"]
    assert two.plot() is not None


def test_the_link_is_one_of_the_loss_alone():
    with pytest.raises(ValueError, match="is a function of examples; the second step is one of"):
        sl.two_step(L.Chinchilla(), L.Power(), runs(0), "task_accuracy")
