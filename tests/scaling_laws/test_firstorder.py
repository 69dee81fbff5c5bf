"""First-order errors are those of the textbooks, and missing where there are none."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.firstorder import at_bounds, unfixed


def plane(x, z, a, b, c):
    return a + b * x + c * z


def rows(z):
    """Thirty points of a plane, the second coordinate as given."""
    x = np.linspace(1.0, 3.0, 30)
    noise = 0.1 * np.random.default_rng(4).standard_normal(30)
    return pd.DataFrame({"x": x, "z": z(x), "y": 1 + 2 * x + 3 * z(x) + noise})


def fitted(data, **options):
    return sl.fit(plane, data, "y", link="identity", objective="squares", **options)


def textbook(data, columns, precision=None):
    """``(X'X / s^2 + P)^-1``, ``s^2`` of the residuals at the fit to the rows alone."""
    design = np.column_stack([np.ones(len(data)), *(data[c] for c in columns)])
    _, rss, *_ = np.linalg.lstsq(design, data["y"].to_numpy(), rcond=None)
    information = design.T @ design / (rss[0] / (len(data) - 3))
    return np.linalg.inv(information + (0.0 if precision is None else np.diag(precision)))


def missing(matrix):
    return [name for name in matrix.index if np.isnan(matrix.loc[name, name])]


def test_directions_that_the_rows_span_have_their_textbook_errors():
    data = rows(np.square)
    matrix = fitted(data).covariance()
    np.testing.assert_allclose(matrix, textbook(data, "xz"), rtol=1e-5)
    assert matrix.attrs["notes"] == ()


def test_what_moves_no_prediction_has_no_error():
    """On z = 2 x only b + 2 c is fixed; the intercept is, too."""
    fit = fitted(rows(lambda x: 2 * x))
    assert unfixed(fit.problem, fit.estimate) == ["b", "c"]
    matrix = fit.covariance()
    assert {"b", "c"} <= set(missing(matrix))
    assert matrix.loc["b"].isna().all()
    (note,) = matrix.attrs["notes"]
    assert "b, c: the runs fix none of these by itself" in note.sentence
    out = fit.to_lmfit()
    assert out["b"].stderr is None
    assert out["c"].stderr is None


def test_a_prior_is_part_of_the_information():
    data = rows(np.square)
    # At the fit itself, so that it moves nothing: only the errors are smaller.
    at = fitted(data).values["b"]
    fit = fitted(data, prior={"b": (at, 0.05)})
    assert fit.values["b"] == pytest.approx(at, rel=1e-6)
    want = textbook(data, "xz", precision=[0.0, 0.05**-2, 0.0])
    np.testing.assert_allclose(fit.covariance(), want, rtol=1e-4)
    assert want[1, 1] < 0.5 * textbook(data, "xz")[1, 1], "a prior that says nothing tests nothing"


def test_a_prior_fixes_what_the_rows_do_not():
    fit = fitted(rows(lambda x: 2 * x), prior={"b": (2.0, 0.1)})
    assert unfixed(fit.problem, fit.estimate) == []
    fit = fitted(rows(lambda x: 2 * x), parameters={"b": 2.0})
    assert unfixed(fit.problem, fit.estimate) == []
    assert fit.covariance().loc["b", "b"] == 0, "held, so known"


def test_an_estimate_at_its_bound_has_no_error_and_the_others_are_told_as_given_it():
    x = np.logspace(3, 6, 10).round()
    noise = np.exp(0.02 * np.random.default_rng(0).normal(size=10))
    fit = sl.fit(sl.laws.Power(), pd.DataFrame({"examples": x, "loss": 2 * x**-0.2 * noise}))
    assert fit.values["E"] == 0.0
    assert at_bounds(fit.problem, fit.estimate) == ["E"]
    matrix = fit.covariance()
    assert missing(matrix) == ["E"]
    assert np.isfinite(matrix.loc[["A", "a"], ["A", "a"]]).all(axis=None)
    (note,) = matrix.attrs["notes"]
    assert note.sentence == (
        "No first-order error of E: at a bound; the errors of the others are given that."
    )
    table = fit.intervals(method="covariance")
    assert table.loc["E", ["se", "low", "high"]].isna().all()
    assert fit.to_lmfit()["E"].stderr is None
