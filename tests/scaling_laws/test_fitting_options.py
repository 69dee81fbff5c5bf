"""What the caller knows, what comes after a fit, the certificate, and degenerate logs."""

from dataclasses import replace

import lmfit
import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from tests.logs import (
    BY_FORMAT,
    EXAMPLES,
    JOINT,
    ONE_AXIS,
    exponential,
    grid,
    level,
    noisy_curve,
    noisy_pretraining,
)

L = sl.laws
KINDS = ("additive", "multiplicative", "interaction", "rectified")
# --- what the caller knows ------------------------------------------------------------------------


def test_fixed_parameters_stay_and_the_rest_is_the_restricted_optimum():
    rows = noisy_curve()
    fit = sl.fit(L.Power(), rows, "loss", parameters={"E": 0.8}, objective="squares")
    assert fit.values["E"] == 0.8
    assert fit.degrees == 22
    y = np.log(rows["loss"].to_numpy())
    u = np.log(rows["examples"].to_numpy())
    u = u - u.mean()

    def cost(A, a):
        return 0.5 * ((y - np.log(0.8 + A * np.exp(-a * u))) ** 2).sum()

    best = cost(fit.values["A"], fit.values["a"])
    assert fit.objective == pytest.approx(best, rel=1e-10)
    for moved in (0.999, 1.001):
        assert cost(fit.values["A"] * moved, fit.values["a"]) > best
        assert cost(fit.values["A"], fit.values["a"] * moved) > best
    row = fit.parameters.loc["E"]
    assert row[["se", "low", "high"]].isna().all()
    assert "fixed" in row["meaning"]


def test_fixing_an_amplitude_changes_the_frame_but_not_the_curve():
    """The free optimum, with its own amplitude held, is the optimum again."""
    for law, metric in ((L.Power(), "loss"), (L.Power(), "task_f1"), (L.Rectified(), "task_f1")):
        truth = {"E": 1.5, "A": 0.8, "a": 0.5, "d": 0.5}
        log = sl.simulate(law, ONE_AXIS, truth, 0.005, 1, metric=metric)
        free = sl.fit(law, log, metric)
        held = sl.fit(law, log, metric, parameters={"A": free.values["A"]})
        assert free.model.frame.local
        assert not held.model.frame.local
        # The optimum is flat: parameters agree to the square root of the objective's agreement.
        assert held.objective == pytest.approx(free.objective, rel=1e-7)
        assert held.values == pytest.approx(free.values, rel=1e-3)


def test_ties_are_affine():
    rows = noisy_pretraining(2)
    tied = {"beta": {"tie": {"constant": 0.1, "coefficients": {"alpha": 1.0}}}}
    fit = sl.fit(L.Chinchilla(), rows, "loss", parameters=tied)
    assert fit.values["beta"] == pytest.approx(fit.values["alpha"] + 0.1, rel=1e-12)
    assert fit.degrees == len(rows) - 4
    assert fit.parameters.loc["beta", "se"] == pytest.approx(fit.parameters.loc["alpha", "se"])


def chinchilla_parameters():
    p = lmfit.Parameters()
    p.add("E", value=1.7, min=0)
    p.add("A", value=400, min=0)
    p.add("B", value=2000, min=0)
    p.add("alpha", value=0.33, min=0.05, max=1)
    p.add("beta", value=0.36, min=0.05, max=1)
    return p


def test_lmfit_parameters_are_starts_bounds_and_fixed_values():
    rows = noisy_pretraining(3)
    free = sl.fit(L.Chinchilla(), rows, "loss")
    given = sl.fit(L.Chinchilla(), rows, "loss", parameters=chinchilla_parameters())
    assert given.objective == pytest.approx(free.objective, rel=1e-7)
    p = chinchilla_parameters()
    p["E"].set(value=1.6, vary=False)
    p["alpha"].set(max=0.3)
    held = sl.fit(L.Chinchilla(), rows, "loss", parameters=p)
    assert held.values["E"] == 1.6
    assert held.values["alpha"] <= 0.3


def test_an_affine_lmfit_expression_is_a_tie():
    rows = noisy_pretraining(3)
    p = chinchilla_parameters()
    p["beta"].set(expr="2*alpha - 0.3")
    fit = sl.fit(L.Chinchilla(), rows, "loss", parameters=p)
    assert fit.values["beta"] == pytest.approx(2 * fit.values["alpha"] - 0.3, rel=1e-9)
    plain = {"beta": {"tie": {"constant": -0.3, "coefficients": {"alpha": 2.0}}}}
    same = sl.fit(L.Chinchilla(), rows, "loss", parameters=plain)
    # Huber's corner comes from a first fit that converges to 1e-7.
    assert fit.objective == pytest.approx(same.objective, rel=1e-6)


@pytest.mark.parametrize("expression", ["alpha**2", "alpha*E", "exp(-alpha)"])
def test_an_expression_that_is_not_affine_is_refused(expression):
    p = chinchilla_parameters()
    p["beta"].set(expr=expression)
    with pytest.raises(ValueError, match="not affine"):
        sl.fit(L.Chinchilla(), noisy_pretraining(3), "loss", parameters=p)


def test_a_prior_is_worth_what_its_sd_says():
    """Normal mean with a normal prior: the precision-weighted mean, in the noise's own units."""
    rng = np.random.default_rng(0)
    n, sd = 400, 0.01
    rows = pd.DataFrame({"x": np.arange(n) * 1.0, "y": sd * rng.normal(size=n)})
    options = {"link": "identity", "objective": "squares"}
    for prior_sd in (10 * sd, sd / 20, sd / 1000):
        known = sl.fit(level, rows, "y", sigma=sd, prior={"m": (1.0, prior_sd)}, **options)
        weight = n / sd**2
        expected = weight * rows["y"].mean() + prior_sd**-2
        assert known.values["m"] == pytest.approx(expected / (weight + prior_sd**-2), rel=1e-6)
    # Where the noise must be estimated, far more data than prior give the data's answer.
    fit = sl.fit(level, rows, "y", prior={"m": (1.0, 0.1)}, **options)
    assert fit.values["m"] == pytest.approx(rows["y"].mean(), abs=1e-3)


def test_a_prior_makes_three_runs_usable_and_is_told():
    rows = noisy_curve(24).iloc[[0, 11, 23]]
    fit = sl.fit(L.Power(), rows, "loss", prior={"a": (0.3, 0.03)})
    assert fit.values["a"] == pytest.approx(0.3, abs=0.09)
    assert "prior 0.3" in fit.parameters.loc["a", "meaning"]
    assert any(n.code == "prior" for n in fit.notes)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"parameters": {"gamma": 1.0}}, "no parameter 'gamma'"),
        ({"parameters": {"alhpa": 1.0}}, "Did you mean 'alpha'"),
        ({"prior": {"bta": (0.3, 0.1)}}, "Did you mean 'beta'"),
        ({"prior": {"beta": (0.3, 0.0)}}, "sd > 0"),
        ({"parameters": {"E": (2.0, 1.0)}}, "lower 2.0 is not below upper 1.0"),
        ({"parameters": {"E": {"vary": False}}}, "vary=False needs a value"),
        ({"parameters": {"E": {"start": 1}}}, r"unknown \['start'\]"),
        ({"parameters": {"E": "1.7"}}, "give a number"),
        ({"weights": [1.0]}, "weights has 1 values for 36 rows"),
        ({"weights": -np.ones(36)}, r"weights\[0\] = -1.0 must be finite and not negative"),
        ({"sigma": np.zeros(36)}, r"sigma\[0\] = 0.0 must be finite and positive"),
        ({"sigma": "sd"}, "no column 'sd'"),
        ({"objective": "cauchy"}, "'cauchy' is not one of 'huber', 'squares'"),
        ({"delta": -1.0}, "must be positive"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_impossible_requests_say_what_to_write_instead(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        sl.fit(L.Chinchilla(), noisy_pretraining(1), "loss", **options)


def test_parameters_of_another_type_are_refused():
    with pytest.raises(TypeError, match="list is no mapping and no lmfit.Parameters"):
        sl.fit(L.Chinchilla(), noisy_pretraining(1), "loss", parameters=[1.0, 2.0])


# --- update, transfer, fit_each -------------------------------------------------------------------


def formats(noise=0.01, seed=5):
    law = L.Compressed(by="format")
    truth = {"e": 1.5, "a": 0.8, "b": 0.4, "c": 0.3, "g": 1.0}
    frame = sl.simulate(law, BY_FORMAT, truth, noise, seed, metric="task_f1").frame
    return frame.assign(run_id=[f"r{i}" for i in range(len(frame))])


def test_update_equals_a_fit_of_all_rows():
    rows = formats()
    old = sl.fit(L.Compressed(by="format"), rows.iloc[:130], "task_f1")
    both = sl.update(old, rows.iloc[130:])
    whole = sl.fit(L.Compressed(by="format"), rows, "task_f1")
    assert both.problem.n == len(rows)
    assert both.objective == pytest.approx(whole.objective, rel=1e-9)
    assert both.values == pytest.approx(whole.values, rel=1e-7)


def test_update_refuses_runs_it_has():
    rows = formats()
    old = sl.fit(L.Compressed(by="format"), rows.iloc[:130], "task_f1")
    with pytest.raises(ValueError, match="run_id 'r129' is already in the fit"):
        sl.update(old, rows.iloc[129:])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_transfer_keeps_exponents_and_reference(count):
    law = L.Compressed()
    truth = {"e": 1.5, "a": 0.8, "b": 0.4, "c": 0.3, "g": 1.0}
    first = sl.fit(law, sl.simulate(law, JOINT, truth, 0.0, metric="loss"), "loss")
    # Another task: limit, data and pruning cost differ, exponents do not. Amplitudes are at the
    # first log's centre, so the new rows are made by the first fit's own reference.
    new = {**truth, **dict(zip(("e", "a", "c"), (2.0, 1.1, 0.5)[:count], strict=False))}
    points = JOINT.iloc[[0, 29, 52]]
    made = first.model.at({a: points[a].to_numpy() for a in ("examples", "kept")}, np.zeros(3, int))
    loss = made.mean(first.model.working(new)[None])[0]
    rows = points.assign(loss=loss).iloc[:count]
    moved = sl.transfer(first, rows, free=("e", "a", "c")[:count])
    assert moved.model.frame.centre == first.model.frame.centre
    assert moved.values == pytest.approx(new, rel=1e-6)


def test_transfer_by_default_frees_limit_and_amplitudes():
    law = L.Power()
    first = sl.fit(law, noisy_curve(), "loss")
    other = noisy_curve(seed=9)
    moved = sl.transfer(first, other.assign(loss=2 * other["loss"]))
    assert moved.values["a"] == first.values["a"]
    assert moved.degrees == 22
    with pytest.raises(ValueError, match="1 usable rows for 2 free parameters"):
        sl.transfer(first, other.iloc[:1])
    with pytest.raises(ValueError, match="free: 'z' is no parameter"):
        sl.transfer(first, other, free=["z"])


def test_fit_each_equals_single_fits_and_lists_failures():
    rows = formats()
    short = rows["format"].ne("label") | (rows["examples"] == rows["examples"].min())
    rows = rows[short & ~(rows["format"].eq("label") & rows["kept"].lt(0.7))]
    table = sl.fit_each(L.Compressed(), rows, "task_f1", by="format")
    assert set(table.fits) == {"blended", "cot"}
    assert set(table.failed) == {"label"}
    assert "2 usable rows for 5 free parameters" in table.failed["label"]
    for name in table.fits:
        alone = sl.fit(L.Compressed(), rows[rows["format"] == name], "task_f1")
        assert table[name].objective == pytest.approx(alone.objective, rel=1e-12)
        assert table[name].values == pytest.approx(alone.values, rel=1e-9)
    frame = table.frame
    assert frame.loc["cot", "b"] == table["cot"].values["b"]
    assert frame.loc["label", "failed"].startswith("2 usable rows")
    predicted = table.predict(examples=1e4, kept=[0.5, 1.0], interval=None)
    assert list(predicted["format"]) == ["blended", "blended", "cot", "cot"]
    with pytest.raises(ValueError, match="by: the log has no column 'teacher'"):
        sl.fit_each(L.Compressed(), rows, "task_f1", by="teacher")


# --- the certificate ------------------------------------------------------------------------------


class Broken(sl.Law):
    """One smooth break (Caballero et al. 2022), with bounds wide enough for several basins."""

    axes = ("examples",)
    a = sl.Param("limit", upper=10.0)
    b = sl.Param("amplitude", upper=1e3)
    c0 = sl.Param("slope before the break", upper=2.0)
    c1 = sl.Param("change of slope", lower=-1.0, upper=3.0)
    d = sl.Param("where it breaks", lower=10.0, upper=1e7, scale="log")
    f = sl.Param("how smoothly", lower=1e-2, upper=1.0, scale="log")

    def formula(self, x, a, b, c0, c1, d, f):
        u = np.log(x["examples"])
        return a + b * np.exp(-c0 * u - c1 * f * np.logaddexp(0.0, (u - np.log(d)) / f))


def two_breaks():
    """Data with two steps; a law with one break can sit in either."""
    x = np.logspace(2, 6, 24).round()
    step = np.where(np.arange(24) < 6, 0.3, np.where(np.arange(24) < 18, 0.0, -0.3))
    return pd.DataFrame({"examples": x, "loss": np.exp(step)})


def test_a_well_posed_problem_has_a_good_certificate():
    fit = sl.fit(L.Chinchilla(), noisy_pretraining(1), "loss")
    assert fit.starts.tried == 64
    assert fit.starts.agreeing >= 60
    assert fit.starts.global_optimum
    # The same objective to 1e-6 means the same curve to about its square root in sd.
    assert fit.starts.spread < 1e-4


def test_scores_at_the_floor_do_not_hide_the_optimum():
    """A student near zero stretches the box until most of its points predict only 0 and 1."""
    rows = [(n, k) for n in (64, 1024) for k in (0.79, 0.58, 0.37, 0.16)]
    runs = pd.DataFrame(rows, columns=["examples", "kept"])
    runs["task_f1"] = [0.777, 0.707, 0.511, 0.0056, 0.835, 0.848, 0.786, 0.196]
    runs["task_f1_se"] = [0.0110, 0.0111, 0.0114, 0.0013, 0.0101, 0.0098, 0.0108, 0.0087]
    fit = sl.fit(L.Compressed("multiplicative"), runs, "task_f1")
    assert fit.starts.global_optimum
    assert fit.starts.agreeing >= 32, "those that were projected"


def test_two_basins_have_a_bad_certificate():
    fit = sl.fit(Broken(), two_breaks(), "loss")
    assert fit.starts.tried == 64
    assert fit.starts.agreeing < 32
    few = sl.fit(Broken(), two_breaks(), "loss", starts=16)
    assert few.starts.tried == 16


def test_the_certificate_sees_a_fit_in_the_wrong_basin():
    fit = sl.fit(L.Power(), noisy_curve(), "loss")
    theta = fit.estimate.theta.copy()
    theta[2] = 1.5
    worse = replace(fit, estimate=replace(fit.estimate, theta=theta, objective=fit.objective * 2))
    assert not worse.starts.global_optimum
    assert worse.starts.best == pytest.approx(fit.objective, rel=1e-6)
    assert "lowest" in str(worse.starts)


def test_equal_objectives_with_different_curves_show_as_spread():
    """cos^2 + sin^2 = 1: every angle fits two zeros equally well."""

    def angle(x, k):
        return np.cos(k - x * np.pi / 2)

    law = L.from_function(angle, ["x"], {"k": (0.0, 6.0)})
    fit = sl.fit(law, pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 0.0]}), "y", link="identity")
    assert fit.starts.agreeing == 64
    assert fit.starts.spread > 1.5


def test_the_certificate_repeats_by_seed():
    a, b = (sl.fit(Broken(), two_breaks(), "loss", rng=7) for _ in range(2))
    assert a.starts == b.starts


# --- small and degenerate logs --------------------------------------------------------------------


def codes(fit):
    return {n.code: n.sentence for n in fit.notes}


def test_three_points_fit_three_parameters_and_refuse_an_interval():
    rows = noisy_curve().iloc[[0, 11, 23]]
    fit = sl.fit(L.Power(), rows, "loss")
    assert fit.objective < 1e-12
    assert "3 rows for 3 free parameters leave no residual" in codes(fit)["no_interval"]
    assert fit.parameters[["low", "high"]].isna().all(axis=None)
    predicted = fit.predict(examples=1e7)
    assert np.isfinite(predicted["estimate"][0])
    assert predicted[["low", "high"]].isna().all(axis=None)
    with pytest.raises(sl.NoInterval, match="Add runs"):
        fit.draws  # noqa: B018  (the access is the test)


def test_two_points_for_three_parameters_are_refused():
    with pytest.raises(ValueError, match="2 usable rows for 3 free parameters of Power .E, A, a."):
        sl.fit(L.Power(), noisy_curve().iloc[[0, 23]], "loss")


def test_one_level_of_an_axis_is_told():
    rows = sl.simulate(
        L.Compressed(), grid(examples=EXAMPLES, kept=[0.5], seed=[1, 2]),
        {"e": 1.5, "a": 0.8, "b": 0.4, "c": 0.3, "g": 1.0}, 0.01, metric="loss",
    )  # fmt: skip
    said = codes(sl.fit(L.Compressed(), rows, "loss"))
    assert said["one_level"].startswith("kept has one level (0.5)")
    assert "Add runs at other kept" in said["one_level"]


def test_two_levels_and_one_data_size_a_model_are_told():
    rows = pd.DataFrame({"params": [1e8, 1e9] * 3, "tokens": np.logspace(9, 11, 6).round(),
                         "loss": [3.5, 3.0, 2.9, 2.6, 2.5, 2.4]})  # fmt: skip
    said = codes(sl.fit(L.Chinchilla(), rows, "loss"))
    assert said["two_levels"].startswith("params has two levels")
    sizes = np.logspace(8, 10, 6).round()
    diagonal = pd.DataFrame({"params": sizes, "tokens": sizes * 20,
                             "loss": [3.5, 3.1, 2.9, 2.6, 2.5, 2.4]})  # fmt: skip
    said = codes(sl.fit(L.Chinchilla(), diagonal, "loss"))
    assert "at a single params" in said["one_size_each"]
    assert "params and tokens move together" in said["collinear"]


def test_constant_scores_are_told():
    rows = noisy_curve().assign(loss=2.0)
    fit = sl.fit(L.Power(), rows, "loss")
    assert codes(fit)["constant"].startswith("All 24 scores equal 2")
    assert fit.predict(examples=1e9, interval=None)["estimate"][0] == pytest.approx(2.0, rel=1e-6)


def test_left_out_rows_are_counted():
    rows = formats().assign(status="done", mmlu=0.5)
    rows.loc[3, "task_f1"] = np.nan
    rows.loc[[5, 6], "status"] = "failed"
    rows.loc[8, "examples"] = 0
    fit = sl.fit(L.Compressed(by="format"), rows, "task_f1")
    assert fit.problem.n == len(rows) - 4
    said = codes(fit)
    assert said["no_score"] == "1 row left out: no task_f1."
    assert said["failed_runs"] == "2 rows left out: the run failed."
    assert said["zero_examples"].startswith("1 row left out: examples = 0")


def test_missing_columns_and_levels_are_named():
    rows = formats()
    with pytest.raises(ValueError, match="Compressed needs the column 'kept'"):
        sl.fit(L.Compressed(), rows.drop(columns="kept"), "task_f1")
    with pytest.raises(ValueError, match="needs the column 'method'"):
        sl.fit(L.Compressed(by="method"), rows, "task_f1")
    fit = sl.fit(L.Compressed(by="format"), rows, "task_f1")
    with pytest.raises(ValueError, match="predict needs kept="):
        fit.predict(examples=1e4, format="cot")
    with pytest.raises(ValueError, match="format = 'label and cot' was not in the fitted log"):
        fit.predict(examples=1e4, kept=0.5, format="label and cot")
    with pytest.raises(ValueError, match=r"kept = 50 must be in \(0, 1\]"):
        fit.predict(examples=1e4, kept=50, format="cot")
    with pytest.raises(ValueError, match="examples = -1 must be positive"):
        fit.predict(examples=-1, kept=0.5, format="cot")
    with pytest.raises(ValueError, match="several scores"):
        sl.fit(L.Compressed(), rows.assign(mmlu=0.5))
    with pytest.raises(ValueError, match="no row of the log can be used"):
        sl.fit(L.Compressed(), rows.assign(task_f1=np.nan), "task_f1")
    with pytest.raises(KeyError, match="Did you mean 'task_f1'"):
        sl.fit(L.Compressed(), rows, "task_f")
    with pytest.raises(TypeError, match="neither a Law nor a function"):
        sl.fit("power", rows, "task_f1")
    with pytest.raises(ValueError, match="no argument of .*exponential.*is a column"):
        sl.fit(exponential, rows, "task_f1")
    with pytest.raises(TypeError, match="no seed, Generator or RandomState"):
        sl.fit(L.Compressed(), rows, "task_f1", rng="seven")


@pytest.mark.parametrize("rng", [3, np.int64(3)])
def test_seeds_of_any_integer_type_are_taken(rng):
    assert sl.fit(L.Power(), noisy_curve(), "loss", rng=rng).seed == 3


def test_an_update_still_says_what_the_first_log_left_out():
    rows = noisy_curve()
    zero = pd.DataFrame({"examples": [0.0], "loss": [4.0]})
    old = sl.fit(sl.laws.Power(), pd.concat([rows.iloc[:20], zero]))
    assert any("left out" in note.sentence for note in old.problem.notes)
    assert sl.update(old, rows.iloc[20:]).problem.notes == old.problem.notes
