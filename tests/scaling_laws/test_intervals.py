"""Draws, tables and bands: repeatable, nested, equal in chunks, agreeing where they must."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from scipy.stats import t as student

import scaling_laws as sl
from scaling_laws import uncertainty
from scaling_laws.study import Noise
from tests.logs import level

L = sl.laws
TRUTH = {"e": 1.5, "a": 0.8, "b": 0.4, "c": 0.3, "g": 1.0}
EXAMPLES = np.logspace(2, 6, 6).round()
KEPT = [1.0, 0.79, 0.58, 0.37, 0.16]


def design(**more):
    index = pd.MultiIndex.from_product(
        [EXAMPLES, KEPT, *more.values()], names=["examples", "kept", *more]
    )
    return index.to_frame(index=False)


@pytest.fixture(scope="module")
def fit():
    """Two seeds a configuration, well determined."""
    log = sl.simulate(L.Compressed(), design(seed=[1, 2]), TRUTH, 0.01, 1, metric="task_f1")
    return sl.fit(L.Compressed(), log, "task_f1")


@pytest.fixture(scope="module")
def tested():
    """Accuracies of 2000 test items."""
    noise = Noise(run=0.01, items=2000)
    log = sl.simulate(L.Compressed(), design(seed=[1, 2]), TRUTH, noise, 2, metric="task_accuracy")
    rows = log.frame.assign(task_accuracy_n=2000)
    return sl.fit(L.Compressed(), rows, "task_accuracy")


POINTS = pd.DataFrame({"examples": [1e3, 1e5, 1e7, 1e5], "kept": [1.0, 0.5, 0.37, 0.05]})


def width(table):
    return (table["high"] - table["low"]).to_numpy()


# --- repeatable -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wild", "cluster", "case"])
def test_draws_repeat_by_seed(fit, kind):
    one, same, other = (fit.bootstrap(50, kind, seed).parameters for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(one, same)
    assert not np.allclose(one, other)


def other_library(monkeypatch):
    """Signs of singular vectors and eigenvectors as another library may return them."""
    svd, eigh = np.linalg.svd, np.linalg.eigh

    def other_svd(a, full_matrices=True, compute_uv=True, **more):
        found = svd(a, full_matrices, compute_uv, **more)
        return (-found[0], found[1], -found[2]) if compute_uv else found

    def other_eigh(a, *more):
        values, vectors = eigh(a, *more)
        return values, -vectors

    monkeypatch.setattr(np.linalg, "svd", other_svd)
    monkeypatch.setattr(np.linalg, "eigh", other_eigh)


def test_draws_do_not_hang_on_the_signs_of_vectors(monkeypatch):
    """Errors shared by configuration, and along chains: both kinds of noise are turned."""
    noise = Noise(run=0.01, configuration=0.02)
    seeds = sl.simulate(L.Compressed(), design(seed=[1, 2]), TRUTH, noise, 1, metric="loss")
    rows = design(copy=["a", "b"])
    rows["chain_id"] = rows.pop("copy") + rows["examples"].astype(str)
    noise = Noise(chain=0.01, items=14_042)
    along = sl.simulate(L.Compressed(), rows, TRUTH, noise, 1, metric="mmlu").frame
    along = along.assign(mmlu_n=14_042)

    def draws():
        fits = [sl.fit(L.Compressed(), seeds, "loss"), sl.fit(L.Compressed(), along, "mmlu")]
        drawn = [f.bootstrap(50, rng=0) for f in fits]
        assert drawn[0].draws.pooling.unit == "configuration"
        assert fits[1].estimate.chains is not None
        return [d.parameters for d in drawn]

    mine = draws()
    other_library(monkeypatch)
    for one, two in zip(mine, draws(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6)


@pytest.mark.parametrize("prior_sd", [0.02, 0.005, 0.001])
def test_draws_with_a_prior_are_those_of_the_posterior(prior_sd):
    """A normal mean, prior sd over standard error from 4 to .2, the prior 3 sd away."""
    n, sd, count = 400, 0.1, 2000
    y = sd * np.random.default_rng(0).normal(size=n)
    rows = pd.DataFrame({"x": np.arange(n) * 1.0, "y": y})
    fit = sl.fit(level, rows, "y", sigma=sd, prior={"m": (3 * prior_sd, prior_sd)},
                 link="identity", objective="squares")  # fmt: skip
    draws = fit.bootstrap(count, rng=0).parameters["m"]
    posterior = (n / sd**2 + prior_sd**-2) ** -0.5
    assert abs(draws.mean() - fit.values["m"]) < 4 * posterior / np.sqrt(count)
    # Residuals that scatter more than `sigma` widen the draws: by sqrt(chi^2 / df).
    low, high = 1 - 4 / np.sqrt(2 * count), 1 + 4 / np.sqrt(2 * n)
    assert low < draws.std() / posterior < high


def test_every_source_of_randomness_is_taken(fit):
    for make in (np.random.default_rng, np.random.RandomState):  # noqa: NPY002 (the old one too)
        one, same = (fit.bootstrap(20, "case", make(5)).parameters for _ in range(2))
        pd.testing.assert_frame_equal(one, same)
    source = np.random.default_rng(5)
    assert not np.allclose(*(fit.bootstrap(20, "wild", source).parameters for _ in range(2)))


def test_predictions_repeat_without_a_seed(fit):
    for interval in ("mean", "run"):
        pd.testing.assert_frame_equal(
            fit.predict(POINTS, interval=interval), fit.predict(POINTS, interval=interval)
        )


def test_case_draws_are_numpys_choice(fit):
    """``RandomState(seed).choice(n, n)`` a draw: published bootstraps can be repeated."""
    n = fit.problem.n
    rows = np.random.RandomState(9).choice(n, n)  # noqa: NPY002 (theirs)
    drawn = fit.bootstrap(1, "case", np.random.RandomState(9)).parameters  # noqa: NPY002
    log = fit.problem.frame.iloc[rows].reset_index(drop=True).assign(seed=np.arange(n))
    again = sl.fit(L.Compressed(), log, "task_f1", objective="squares")
    assert fit.delta < np.inf
    same = sl.fit(L.Compressed(), log, "task_f1", delta=fit.delta)
    assert drawn.loc[0, "b"] == pytest.approx(same.values["b"], rel=1e-3)
    assert drawn.loc[0, "b"] != pytest.approx(again.values["b"], rel=1e-6)


# --- nested ---------------------------------------------------------------------------------------


def quantile_error(n_draws, level=0.9):
    """Four standard errors of an interval's width between two quantiles, relative to it."""
    z = norm.ppf(0.5 + level / 2)
    tail = (1 - level) / 2
    return 4 * np.sqrt(2 * tail * (1 - tail) / n_draws) / norm.pdf(z) / (2 * z)


def test_mean_run_and_score_intervals_nest(tested):
    tables = [tested.predict(POINTS, interval=kind) for kind in ("mean", "run", "score")]
    slack = quantile_error(1000)
    for narrow, wide in zip(tables[:-1], tables[1:], strict=True):
        np.testing.assert_array_equal(narrow["estimate"], wide["estimate"])
        assert (width(wide) >= width(narrow) * (1 - slack)).all()
        inside = POINTS["kept"] > 0.3
        assert (width(wide)[inside] > 1.05 * width(narrow)[inside]).all()


def test_wider_levels_contain_narrower_ones(fit):
    tables = [fit.predict(POINTS, level=level) for level in (0.5, 0.9, 0.99)]
    for narrow, wide in zip(tables[:-1], tables[1:], strict=True):
        assert (wide["low"] <= narrow["low"]).all()
        assert (wide["high"] >= narrow["high"]).all()


def test_a_score_interval_needs_the_noise_of_an_evaluation(fit):
    with pytest.raises(sl.NoInterval, match="give task_f1_n="):
        fit.predict(POINTS, interval="score")
    given = fit.predict(POINTS, interval="score", task_f1_se=0.05)
    assert (width(given) > width(fit.predict(POINTS, interval="run"))).all()


def test_a_smaller_test_set_makes_scores_wider(tested):
    few, many = (tested.predict(POINTS, interval="score", task_accuracy_n=n) for n in (100, 10_000))
    assert (width(few) > width(many)).all()


def test_equivalent_n_is_the_test_set_of_the_same_error(tested):
    """``p (1 - p) / se^2``; below the items of the log, since a curve pools rows it is above."""
    table = tested.predict(examples=1e5, kept=0.5)
    p = table["estimate"][0]
    se = width(table)[0] / (2 * student.ppf(0.95, tested.draws.pooling.df))
    assert table["equivalent_n"][0] == pytest.approx(p * (1 - p) / se**2, rel=1e-9)
    assert table["equivalent_n"][0] > 2000


# --- chunks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows_a_chunk", [1, 7, 1000])
def test_chunks_change_nothing(fit, monkeypatch, rows_a_chunk):
    points = pd.DataFrame({"examples": np.logspace(2, 8, 23), "kept": np.linspace(0.1, 1, 23)})
    whole = fit.predict(points)
    monkeypatch.setattr(uncertainty, "_CHUNK", 1000 * rows_a_chunk)
    pd.testing.assert_frame_equal(fit.predict(points), whole, check_exact=True)


def test_estimates_alone_are_those_of_the_table(fit):
    points = pd.DataFrame({"examples": np.logspace(2, 8, 23), "kept": np.linspace(0.1, 1, 23)})
    alone = fit.predict(points, interval=None)
    np.testing.assert_array_equal(alone["estimate"], fit.predict(points)["estimate"])
    assert list(alone.columns) == ["examples", "kept", "estimate"]


def test_draws_at_points_are_what_the_interval_is_made_of(fit):
    values = fit.draws_at(POINTS)
    assert values.shape == (4, 1000)
    table = fit.predict(POINTS)
    low, high = np.quantile(values, [0.05, 0.95], axis=1)
    np.testing.assert_allclose(table["low"], low, rtol=1e-12)
    np.testing.assert_allclose(table["high"], high, rtol=1e-12)


# --- units ----------------------------------------------------------------------------------------


def runs_with_checkpoints(copies):
    """Twenty runs; every checkpoint of a run has its error."""
    rng = np.random.default_rng(7)
    x = np.logspace(2, 6, 20).round()
    loss = (1 + 0.5 * (x / 1e4) ** -0.3) * np.exp(0.01 * rng.normal(size=20))
    frame = pd.DataFrame({"examples": x, "loss": loss, "run": [f"r{i}" for i in range(20)]})
    many = frame.loc[frame.index.repeat(copies)].reset_index(drop=True)
    return many.assign(seed=np.arange(len(many)))


def test_checkpoints_tenfold_change_no_width():
    """Ten equal rows a run carry no more information than one, if told that they share a run."""
    once, tenfold = (
        sl.fit(L.Power(), runs_with_checkpoints(c), "loss", cluster="run", objective="squares")
        for c in (1, 10)
    )
    assert once.values == pytest.approx(tenfold.values, rel=1e-5)
    points = pd.DataFrame({"examples": [1e3, 1e5, 1e8]})
    one, two = (width(f.predict(points)) for f in (once, tenfold))
    np.testing.assert_allclose(two / one, 1.0, atol=0.05 + quantile_error(1000))
    # Many draws leave nothing but the copies to tell the widths apart.
    large = [f.bootstrap(20_000, "wild", 1) for f in (once, tenfold)]
    wide = [width(b.interval(0.9)) for b in large]
    np.testing.assert_allclose(wide[1] / wide[0], 1.0, atol=0.05)


def test_ten_equal_rows_counted_as_runs_would_be_too_narrow():
    """What the cluster is for: without it, widths shrink towards 1 / sqrt(10)."""
    rows = runs_with_checkpoints(10)
    told, untold = (
        sl.fit(L.Power(), rows, "loss", cluster=c, objective="squares")
        for c in ("run", np.arange(200))
    )
    wide, narrow = (width(f.bootstrap(4000, "wild", 1).interval(0.9)) for f in (told, untold))
    assert (narrow < 0.5 * wide).all()


def test_few_clusters_are_not_resampled(fit):
    rows = fit.problem.frame.assign(batch=np.arange(fit.problem.n) % 5)
    few = sl.fit(L.Compressed(), rows, "task_f1", cluster="batch")
    with pytest.raises(sl.NoInterval, match="5 clusters are too few to resample; six are the"):
        few.bootstrap(10, "cluster")


def test_unknown_kinds_are_refused(fit):
    with pytest.raises(ValueError, match="kind: 'jackknife' is not one of"):
        fit.bootstrap(10, "jackknife")
    with pytest.raises(ValueError, match="method: 'bayes' is not one of"):
        fit.intervals(method="bayes")
    with pytest.raises(ValueError, match="interval: 'median' is not one of"):
        fit.predict(POINTS, interval="median")


# --- methods agree --------------------------------------------------------------------------------


def test_wild_profile_and_covariance_agree_where_the_data_fix_everything():
    """Many precise runs: all three are the same normal interval.

    Widths agree to the quantile error of 1000 draws plus a tenth for the curvature that the first
    order leaves out; centres to a quarter of a width.
    """
    log = sl.simulate(
        L.Compressed(), design(seed=range(8)), TRUTH, 0.003, 3, metric="task_f1"
    )  # fmt: skip
    precise = sl.fit(L.Compressed(), log, "task_f1", objective="squares")
    tables = {m: precise.intervals(0.9, m) for m in ("wild", "profile", "covariance")}
    reference = tables["covariance"]
    for name, table in tables.items():
        np.testing.assert_allclose(
            width(table) / width(reference), 1.0, atol=0.1 + quantile_error(1000), err_msg=name
        )
        shift = (table["low"] + table["high"] - reference["low"] - reference["high"]) / 2
        assert (np.abs(shift) < 0.25 * width(reference)).all(), name
    for kind in ("cluster", "case"):
        found = precise.bootstrap(1000, kind, 1).interval(0.9)
        np.testing.assert_allclose(
            width(found) / width(reference), 1.0, atol=0.25 + quantile_error(1000), err_msg=kind
        )


def test_standard_errors_of_a_linear_law_are_the_textbooks():
    rng = np.random.default_rng(8)
    x = np.linspace(0, 1, 60)
    rows = pd.DataFrame({"x": x, "y": 2 + 3 * x + 0.2 * rng.normal(size=60)})
    fit = sl.fit(line, rows, "y", link="identity", objective="squares")
    design_matrix = np.column_stack([np.ones(60), x])
    solution, rss, *_ = np.linalg.lstsq(design_matrix, rows["y"].to_numpy(), rcond=None)
    covariance = rss[0] / 58 * np.linalg.inv(design_matrix.T @ design_matrix)
    assert list(fit.values.values()) == pytest.approx(list(solution), rel=1e-8)
    np.testing.assert_allclose(fit.covariance(), covariance, rtol=1e-5)
    table = fit.intervals(0.9, "covariance")
    t = 1.6715528  # Student's t, 58 degrees of freedom, 95 %
    np.testing.assert_allclose(
        table["high"] - table["estimate"], t * np.sqrt(np.diag(covariance)), rtol=1e-5
    )
    profile = fit.intervals(0.9, "profile")
    # Exact up to the interpolation between ten rungs of the ladder.
    np.testing.assert_allclose(width(profile), width(table), rtol=0.01)
    wild = fit.bootstrap(20_000, "wild", 1).interval(0.9)
    np.testing.assert_allclose(width(wild), width(table), rtol=0.05 + quantile_error(20_000))


def line(x, a, b):
    return a + b * x


def test_a_profile_falls_to_zero_at_the_estimate(fit):
    profile = fit.profile("b")
    assert profile.drop.min() == 0
    assert profile.value[profile.drop.argmin()] == pytest.approx(fit.values["b"], rel=1e-6)
    assert profile.low < fit.values["b"] < profile.high
    left = profile.drop[profile.value < fit.values["b"]]
    assert (np.diff(left) < 0).all()


def test_the_table_names_level_and_method(fit):
    assert fit.parameters.columns.name == "90 % half-wild bootstrap"
    assert list(fit.parameters.columns) == ["estimate", "se", "low", "high", "meaning"]
    assert fit.intervals(0.5, "profile").columns.name == "50 % profile likelihood"
    assert (width(fit.intervals(0.5)) < width(fit.parameters)).all()


# --- support --------------------------------------------------------------------------------------


def test_support_and_distance(fit):
    table = fit.predict(
        pd.DataFrame({"examples": [1e4, 1e7, 1e4], "kept": [0.5, 0.5, 0.04]}), interval="mean"
    )
    assert list(table["support"]) == ["inside", "outside", "outside"]
    # Overshoots in log-ranges of the axis: one decade of four; log 4 of log 6.25.
    expected = [0.0, 0.25, np.log(4) / np.log(6.25)]
    np.testing.assert_allclose(table["distance"], expected, rtol=1e-6)


@pytest.mark.parametrize("interval", ["run", "score"])
def test_a_run_whose_noise_is_hardly_known_may_come_out_infinite(interval):
    """One degree of freedom: some draws of the run variance exceed what `exp` can hold."""
    runs = pd.DataFrame(
        {
            "examples": [64, 256, 1024, 4096],
            "task_nll": [0.66, 0.25, 0.5, 0.1],
            "task_nll_se": 0.03,
        }
    )
    fit = sl.fit(sl.laws.Power(), runs, "task_nll")
    found = fit.predict(runs, interval=interval).iloc[0]
    assert 0 <= found["low"] < found["estimate"] < found["high"] <= np.inf
