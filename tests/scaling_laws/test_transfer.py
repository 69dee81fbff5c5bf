"""Transfer: exponents and noise are kept with their uncertainty: few runs have intervals."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.study import Noise

POWER = sl.laws.Power()
MANY = pd.DataFrame({"examples": np.logspace(2, 6, 12).round()})
TRUTH = {"E": 1.0, "A": 0.8, "a": 0.35}
SD = 0.01


def first_fit(seed=0, noise=SD):
    return sl.fit(POWER, sl.simulate(POWER, MANY, TRUTH, noise, seed), rng=seed)


def other_curve(n):
    """Another setting: other limit and amplitude, the same exponent."""
    return 1.5 + 2.0 * (np.asarray(n, float) / 1e4) ** -0.35


def other_runs(sizes, seed, noise=SD):
    sizes = np.asarray(sizes, float)
    error = noise * np.random.default_rng(seed + 10_000).standard_normal(len(sizes))
    return pd.DataFrame({"examples": sizes, "loss": other_curve(sizes) * np.exp(error)})


@pytest.mark.parametrize(
    "sizes", [(1e3, 1e5), pytest.param((1e3, 1e4, 1e5), marks=pytest.mark.slow)]
)
def test_intervals_hold_out_and_cover(sizes):
    """Two or three runs of a new setting forecast ten times the data, 150 settings.

    A coverage of .9 has a standard error of .0245 there; three of them either way.
    """
    inside = {"mean": 0, "run": 0}
    for seed in range(150):
        moved = sl.transfer(first_fit(seed), other_runs(sizes, seed))
        fresh = np.exp(SD * np.random.default_rng(seed + 20_000).standard_normal())
        for kind, truth in (("mean", other_curve(1e6)), ("run", other_curve(1e6) * fresh)):
            row = moved.predict(examples=1e6, interval=kind).iloc[0]
            inside[kind] += bool(row["low"] <= truth <= row["high"])
    for kind, count in inside.items():
        assert abs(count / 150 - 0.9) <= 3 * 0.0245, (kind, count)


def test_one_run_for_one_parameter_has_an_interval_and_covers():
    """A score with known test noise: the limit alone moves, chains of evaluation noise included."""
    law = sl.laws.Compressed("multiplicative")
    metric = sl.Metric("acc", "higher", "in-domain", 0.0, 1.0, "logit", "proportion")
    design = pd.DataFrame([(n, k) for n in np.logspace(3, 5.5, 4).round() for k in (1, 0.6, 0.4)],
                          columns=["examples", "kept"])  # fmt: skip
    truth = {"e": 2.0, "a": 0.8, "b": 0.35, "g": 0.7}
    noise = Noise(run=0.01, items=2000)
    far = {"examples": 1e6, "kept": 0.4}
    first = sl.fit(law, sl.simulate(law, design, truth, 0.0, metric=metric), metric)
    there = first.model.at({k: np.array([v]) for k, v in far.items()}, np.zeros(1, int))
    target = there.mean(first.model.working({**first.values, "e": 1.2})[None])[0, 0]
    here = first.model.at({"examples": np.array([1e4]), "kept": np.array([0.6])}, np.zeros(1, int))
    at_run = here.mean(first.model.working({**first.values, "e": 1.2})[None])[0, 0]
    inside = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        old = sl.fit(law, sl.simulate(law, design, truth, noise, rng, metric=metric), metric)
        score = rng.binomial(2000, np.clip(at_run + 0.01 * rng.standard_normal(), 0, 1)) / 2000
        run = pd.DataFrame({"examples": [1e4], "kept": [0.6], "acc": [score], "acc_n": [2000]})
        moved = sl.transfer(old, sl.read_runs(run, metrics=[metric]), free=("e",))
        row = moved.predict(far).iloc[0]
        inside += bool(row["low"] <= target <= row["high"])
    assert abs(inside / 100 - 0.9) <= 3 * 0.03, inside


def test_uncertainty_of_the_exponent_comes_along():
    """Far from the new runs its part grows; holding the exponent fixed forgets it."""
    base, runs = first_fit(noise=0.03), other_runs(np.logspace(3, 4, 40).round(), 0, 0.03)
    moved = sl.transfer(base, runs)
    fixed = sl.fit(POWER, runs, parameters={"a": base.values["a"]})
    near, far = ({"examples": n} for n in (3e3, 1e7))

    def width(fit, at):
        row = fit.predict(at).iloc[0]
        return row["high"] - row["low"]

    assert moved.predict(far, interval=None)["estimate"][0] == pytest.approx(
        fixed.predict(far, interval=None)["estimate"][0], rel=1e-4
    )
    assert width(moved, near) == pytest.approx(width(fixed, near), rel=0.1)
    assert width(moved, far) > 1.3 * width(fixed, far)


def test_noise_is_kept_until_the_new_runs_know_better():
    base = first_fit()
    few = sl.transfer(base, other_runs([1e3, 1e5], 1))
    assert few.estimate.run_variance == base.estimate.run_variance
    np.testing.assert_array_equal(few.draws.run_variance, base.draws.run_variance)
    many = sl.transfer(base, other_runs(np.logspace(3, 5, 20).round(), 1, 0.03))
    assert 0.02 < np.sqrt(many.estimate.run_variance) < 0.04
    assert [n.code for n in few.notes].count("transferred") == 1
    loud = sl.transfer(base, other_runs(np.logspace(3, 5, 6).round(), 1, 0.1))
    assert loud.estimate.run_variance > 10 * base.estimate.run_variance


def test_runs_that_cannot_have_these_exponents_are_told():
    base = first_fit(noise=0.002)
    sizes = np.array([1e2, 1e4, 1e6])
    runs = pd.DataFrame({"examples": sizes, "loss": 0.2 + 2.0 * (sizes / 1e4) ** -0.9})
    moved = sl.transfer(base, runs)
    assert any(n.code == "transfer_misfit" for n in moved.notes)
    fine = sl.transfer(base, other_runs(sizes, 3, 0.002))
    assert not any(n.code == "transfer_misfit" for n in fine.notes)


def test_draws_repeat_and_are_no_copy_of_the_lenders_noise():
    base = first_fit()
    a, b = (sl.transfer(base, other_runs([1e3, 1e5], 1)) for _ in range(2))
    np.testing.assert_array_equal(a.draws.theta, b.draws.theta)
    shape = a.model.coordinates.index("a")
    np.testing.assert_array_equal(a.draws.theta[:, shape], base.draws.theta[:, shape])
    # Noise of the new runs is its own: at a run, draws of both curves do not go together.
    old, new = (f.draws_at(pd.DataFrame({"examples": [1e3]}))[0] for f in (base, a))
    assert abs(np.corrcoef(old, new)[0, 1]) < 0.2


def test_bootstrap_of_another_length():
    moved = sl.transfer(first_fit(), other_runs([1e3, 1e5], 1))
    drawn = moved.bootstrap(200, rng=3)
    assert len(drawn.parameters) == 200
    wide = drawn.interval(0.9).loc["E"]
    table = moved.parameters.loc["E"]
    # An end of 200 draws has a tenth of the width as its own error; three of them.
    width = table["high"] - table["low"]
    assert abs(wide["low"] - table["low"]) < 0.3 * width
    assert abs(wide["high"] - table["high"]) < 0.3 * width


def test_saved_with_its_base(tmp_path):
    moved = sl.transfer(first_fit(), other_runs([1e3, 1e5], 1))
    again = sl.load(moved.save(tmp_path / "fit.json"))
    for kind in ("mean", "run"):
        one, two = (f.predict(examples=[1e4, 1e6], interval=kind) for f in (moved, again))
        pd.testing.assert_frame_equal(one, two)
    assert again.base is not None
    assert again.base.values == moved.base.values


def test_a_lender_without_interval_lends_none():
    three = MANY.iloc[[0, 5, 11]].reset_index(drop=True)
    base = sl.fit(POWER, sl.simulate(POWER, three, TRUTH, SD, 0))
    moved = sl.transfer(base, other_runs([1e3, 1e5], 1))
    with pytest.raises(sl.NoInterval, match="lends its exponents"):
        _ = moved.draws
    assert moved.predict(examples=1e4)["low"].isna().all()


def test_levels_without_new_runs_keep_their_draws():
    law = sl.laws.Power(by="format")
    design = pd.DataFrame([(n, f) for n in MANY["examples"] for f in ("cot", "label")],
                          columns=["examples", "format"])  # fmt: skip
    base = sl.fit(law, sl.simulate(law, design, TRUTH, SD, 0))
    moved = sl.transfer(base, other_runs([1e3, 1e5], 1).assign(format="cot"))
    old, new = (f.predict(examples=1e5, format="label") for f in (base, moved))
    assert new["estimate"][0] == pytest.approx(old["estimate"][0], rel=1e-9)
    # Draws of a printed limit end at its bound, those of the base may pass it.
    assert new["support"][0] == "corner"
    width = (old["high"] - old["low"])[0]
    assert new["low"][0] == pytest.approx(old["low"][0], abs=0.05 * width)
    assert new["high"][0] == pytest.approx(old["high"][0], abs=0.05 * width)


def test_distance_from_a_single_run_is_in_logs():
    law_of_one = sl.transfer(first_fit(), other_runs([1e4], 1), free=("E",))
    found = law_of_one.predict(examples=[1e4, 1e4 * np.e])
    np.testing.assert_allclose(found["distance"], [0.0, 1.0], atol=1e-8)
    assert found["support"].tolist() == ["inside", "outside"]


def test_update_of_a_transferred_fit_keeps_its_base_and_reference():
    base = first_fit()
    moved = sl.transfer(base, other_runs([1e3, 1e5], 1))
    more = sl.update(moved, other_runs([1e4], 2))
    both = sl.transfer(base, pd.concat([other_runs([1e3, 1e5], 1), other_runs([1e4], 2)],
                                       ignore_index=True))  # fmt: skip
    assert more.base is base
    assert more.values == pytest.approx(both.values, rel=1e-9)
    assert more.model.frame.centre == base.model.frame.centre
    assert [n.code for n in more.notes].count("transferred") == 1


def test_noise_of_chains_is_told():
    design = pd.DataFrame([(n, k, f"{n:g}/{c}") for n in (1e4, 1e5, 1e6) for c in range(4)
                           for k in (0.79, 0.58, 0.37)],
                          columns=["examples", "kept", "chain_id"])  # fmt: skip
    law = sl.laws.Compressed("multiplicative")
    truth = {"e": 2.3, "a": 0.8, "b": 0.35, "g": 0.7}
    log = sl.simulate(law, design, truth, Noise(chain=0.02), 1, metric="task_f1")
    base = sl.fit(law, log, "task_f1")
    assert base.estimate.chains is not None
    runs = pd.DataFrame({"examples": [1e4, 1e6], "kept": [0.6, 0.6], "task_f1": [0.5, 0.7]})
    moved = sl.transfer(base, runs)
    assert any(n.code == "transferred_chains" for n in moved.notes)
