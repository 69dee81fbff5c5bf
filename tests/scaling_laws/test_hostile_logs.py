"""Logs that no careful person would write, and what is said of them."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.scatter import scatter_notes

SIZES = np.geomspace(1e3, 1e6, 8).round()


def losses(sizes, sd, floor=1.0, rate=0.3, seed=1):
    noise = np.random.default_rng(seed).standard_normal(len(sizes))
    return (floor + 5.0 * sizes**-rate) * np.exp(sd * noise)


def log_of(sizes, sd=0.02, **truth):
    return pd.DataFrame({"examples": sizes, "loss": losses(sizes, sd, **truth)})


def ends_of(fit, name):
    table = fit.parameters
    return float(table["low"][name]), float(table["high"][name])


def test_two_sizes_leave_limit_and_exponent_open():
    fit = sl.fit(sl.laws.Power(), log_of(np.repeat([1e3, 1e5], 5)))
    # Every limit from 0 to the loss at the larger size has an exponent that passes through both.
    low, high = ends_of(fit, "E")
    at_end = float(fit.predict(examples=1e5)["estimate"].iloc[0])
    assert low < 0.05
    assert high > 0.98 * at_end
    assert fit.parameters["se"].isna()["E"]
    far = fit.predict(examples=1e7)[["low", "high"]].to_numpy(dtype=float)[0]
    # The straight power law through both, and none at all: a size further it loses as much again.
    begin = float(fit.predict(examples=1e3)["estimate"].iloc[0])
    assert far[0] < 1.05 * at_end**2 / begin
    assert far[1] > 0.98 * at_end
    ends = fit.predict(examples=[1e3, 1e5])
    assert ((ends["high"] - ends["low"]) < 0.1).all()


def test_one_row_of_a_format_says_nothing_of_its_other_points():
    size, kept = (
        a.ravel() for a in np.meshgrid([6e3, 25e3, 100e3, 400e3], [0.79, 0.58, 0.37, 0.16])
    )
    z = 2.3 - 0.8 * (size / 5e4) ** -0.35 - 0.5 * (kept**-0.9 - 1)
    z += 0.06 * np.random.default_rng(3).standard_normal(16)
    frame = pd.DataFrame(
        {
            "examples": size,
            "kept": kept,
            "task_accuracy": 1 / (1 + np.exp(-z)),
            "format": ["label"] * 15 + ["cot"],
        }
    )
    fit = sl.fit(sl.laws.Compressed(by="format"), frame, "task_accuracy")
    table = fit.predict(examples=[size[-1], 6e3], kept=[kept[-1], 0.16], format="cot")
    here, there = (table["high"] - table["low"]).tolist()
    assert here < 0.2
    assert there > 0.3


def test_a_prior_closes_what_the_sizes_leave_open():
    log = log_of(np.repeat([1e3, 1e5], 5))
    fit = sl.fit(sl.laws.Power(), log, prior={"a": (0.3, 0.01)})
    low, high = ends_of(fit, "E")
    assert low > 0.9
    assert high < 1.1


def test_a_draw_that_falls_below_zero_far_from_the_data_counts_as_zero():
    fit = sl.fit(sl.laws.Power(), log_of(SIZES, 0.05, floor=0.0, rate=0.2))
    far = fit.predict(examples=[1e9, 1e12])
    assert np.isfinite(far[["low", "high"]].to_numpy()).all()
    assert (far["low"] <= far["estimate"]).all()
    draws = fit.draws_at(pd.DataFrame({"examples": [1e12]}))
    assert (draws >= 0).all()
    # A fifth of the draws and more: by rank they stand below, not above.
    assert np.mean(draws == 0) > 0.2
    assert far["low"].iloc[1] == 0


def test_a_new_score_of_a_draw_at_zero_is_zero():
    log = log_of(SIZES, 0.05, floor=0.0, rate=0.2)
    fit = sl.fit(sl.laws.Power(), log.assign(loss_se=0.02))
    at = pd.DataFrame({"examples": [1e12], "loss_se": [0.02]})
    draws = fit.draws_at(at, "score")
    assert np.isfinite(draws).all()
    assert np.mean(draws == 0) > 0.2
    assert fit.predict(at, interval="score")["low"].item() == 0


@pytest.mark.parametrize("level", [90, 0, 1, -0.1, float("nan")])
def test_a_level_is_a_share(level):
    fit = sl.fit(sl.laws.Power(), log_of(SIZES))
    with pytest.raises(ValueError, match="must be within"):
        fit.predict(examples=1e4, level=level)
    with pytest.raises(ValueError, match="must be within"):
        fit.intervals(level)
    if level == 90:
        with pytest.raises(ValueError, match=r"Write 0\.9\."):
            fit.predict(examples=1e4, level=level)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"link": "probit"}, "'log', 'logit', 'identity'"),
        ({"objective": "mse"}, "'huber', 'squares'"),
        ({"delta": "large"}, "or 'auto'"),
        ({"delta": float("nan")}, "or 'auto'"),
        ({"delta": 0}, "or 'auto'"),
        ({"starts": 0}, "64 are the default"),
    ],
)
def test_an_option_that_is_none_says_which_there_are(options, told):
    with pytest.raises(ValueError, match=told):
        sl.fit(sl.laws.Power(), log_of(SIZES), **options)


def test_any_number_of_starts_is_tried():
    fit = sl.fit(sl.laws.Power(), log_of(SIZES), starts=11)
    assert fit.starts.tried == 11
    assert fit.starts.global_optimum


def test_a_law_that_was_not_made_says_how():
    with pytest.raises(TypeError, match=r"write Power\(\)"):
        sl.fit(sl.laws.Power, log_of(SIZES))


def test_too_few_rows_say_which_were_refused():
    frame = log_of(np.geomspace(1e3, 1e6, 8))
    with pytest.raises(
        ValueError, match=r"2 usable rows .* 6 rows were rejected; the first: .* whole"
    ):
        sl.fit(sl.laws.Power(), frame)
    words = frame.assign(examples=["1k", "3k", "6k", "10k", "50k", "100k", "400k", "1M"])
    with pytest.raises(
        ValueError, match=r"no row of the log can be used\. 8 rows were rejected; the first: .*'1k'"
    ):
        sl.fit(sl.laws.Power(), words)
    percent = pd.DataFrame({"examples": SIZES, "task_f1": 60.0})
    with pytest.raises(ValueError, match=r'score_unit="percent".*sl\.read_runs'):
        sl.fit(sl.laws.Power(), percent, "task_f1")
    with pytest.raises(ValueError, match="no row of the log can be used"):
        sl.fit(sl.laws.Power(), frame.iloc[:0])


def told(fit):
    return {note.code: note.sentence for note in fit.notes}


def test_values_of_a_formula_are_said_to_be_some():
    notes = told(sl.fit(sl.laws.Power(), log_of(SIZES, 0.0)))
    assert "intervals have no width" in notes["exact"]
    assert "exact" not in told(sl.fit(sl.laws.Power(), log_of(SIZES, 1e-6)))


def test_one_seed_logged_thrice_is_one_run():
    once = log_of(SIZES)
    thrice = pd.concat([once] * 3)
    fit = sl.fit(sl.laws.Power(), thrice)
    notes = told(fit)
    assert "16 rows repeat another" in notes["identical_runs"]
    # No noise within configurations: neither a misfit nor a test of units.
    assert not {"lack_of_fit", "shared_error"} & notes.keys()
    widths = [np.ptp(ends_of(one, "a")) for one in (fit, sl.fit(sl.laws.Power(), once))]
    assert widths[0] == pytest.approx(widths[1], rel=0.1)


def test_copies_of_as_many_configurations_as_parameters_give_no_interval():
    fit = sl.fit(sl.laws.Power(), pd.concat([log_of(SIZES[::3])] * 4))
    assert isinstance(fit.draws_or_reason, sl.NoInterval)
    assert "3 configurations for 3 free parameters" in told(fit)["no_interval"]


def test_one_pair_that_agrees_is_no_copy():
    log = log_of(SIZES)
    assert "identical_runs" not in told(sl.fit(sl.laws.Power(), pd.concat([log, log.iloc[:1]])))


@pytest.mark.parametrize("copies", [1, 4])
def test_a_run_far_off_the_others_is_named(copies):
    """Few rows by least squares, many by Huber."""
    log = log_of(SIZES.repeat(copies))
    log.loc[5 * copies, "loss"] *= 3
    note = told(sl.fit(sl.laws.Power(), log))["outlier"]
    assert f"examples {SIZES[5]:g}: loss {log['loss'][5 * copies]:.4g}" in note
    assert ("with less weight" if copies > 1 else "in full") in note


def test_of_a_hundred_logs_few_have_a_run_that_is_said_to_be_off():
    """At 1 %, six or more of 100 have a chance of one in two thousand."""
    logs = [log_of(np.geomspace(1e3, 1e6, 12).round(), seed=seed) for seed in range(100)]
    assert sum("outlier" in told(sl.fit(sl.laws.Power(), log)) for log in logs) <= 5


def test_a_whole_number_is_a_level_however_it_is_stored():
    size = np.tile(SIZES, 2)
    log = log_of(size).assign(seed=np.repeat([1, 2], 8))
    fit = sl.fit(sl.laws.Power(by="seed"), log)
    one = [fit.predict(examples=1e4, seed=seed)["low"].iloc[0] for seed in (1, 1.0, "1", "1.0")]
    assert len(set(one)) == 1
    with pytest.raises(ValueError, match="was not in the fitted log"):
        fit.predict(examples=1e4, seed=3)


def kinked(sizes, seed):
    rate = np.where(sizes < 5e4, 0.1, 0.5)
    noise = np.random.default_rng(seed).standard_normal(len(sizes))
    return pd.DataFrame(
        {"examples": sizes, "loss": 3 * (sizes / 5e4) ** -rate * np.exp(0.01 * noise)}
    )


def test_a_form_that_misfits_is_told_without_replicates():
    sizes = np.geomspace(1e3, 1e6, 12).round()
    notes = told(sl.fit(sl.laws.Power(), kinked(sizes, 0)))
    assert "the form misfits, or they share an error" in notes["neighbours_alike"]
    assert "no_lack_of_fit_test" not in notes
    notes = told(sl.fit(sl.laws.Broken(between=(1e3, 1e6)), kinked(sizes, 0)))
    assert "neighbours_alike" not in notes


@pytest.mark.parametrize("grid", [False, True])
def test_the_right_form_is_rarely_said_to_misfit(grid):
    """At 1 %, six or more of 100 have a chance of one in two thousand."""
    if grid:
        size, kept = (
            a.ravel() for a in np.meshgrid([6e3, 25e3, 100e3, 400e3], [0.79, 0.58, 0.37, 0.16])
        )
        law, axes = sl.laws.Compressed(), {"examples": size, "kept": kept}
        eta = 2.3 - 0.8 * (size / 5e4) ** -0.35 - 0.5 * (kept**-0.9 - 1)
        score, name, sd = 1 / (1 + np.exp(-eta)), "task_f1", 0.01
    else:
        law, axes = sl.laws.Power(), {"examples": np.geomspace(1e3, 1e6, 12).round()}
        score, name, sd = losses(axes["examples"], 0.0), "loss", 0.02
    count = 0
    for seed in range(100):
        noise = sd * np.random.default_rng(seed).standard_normal(len(score))
        fit = sl.fit(law, pd.DataFrame({**axes, name: score + noise}), name)
        count += any(n.code == "neighbours_alike" for n in scatter_notes(fit.problem, fit.estimate))
    assert count <= 5
