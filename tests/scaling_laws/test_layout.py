"""Axes that move together are told by how much they cost, and designs that fix them are silent."""

import re

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.span import PARALLEL, cloud, direction, inflation
from scaling_laws.variance import inverse_information

LAW = sl.laws.Chinchilla()
TRUTH = {"E": 1.82, "A": 480.0, "B": 2085.0, "alpha": 0.348, "beta": 0.366}
AXES = ["params", "tokens"]
SIZES = np.geomspace(6e7, 1.6e10, 24)


def line(scatter=0.0):
    """24 sizes at 20 tokens a parameter, the tokens scattered about that."""
    error = np.random.default_rng(0).standard_normal(24)
    return pd.DataFrame({"params": SIZES, "tokens": 20 * SIZES * np.exp(scatter * error)})


def sweeps(budgets=(1e19, 1e20, 1e21)):
    """Five sizes at each of some budgets, so that no two runs share their tokens."""
    rows = [(n, c / 6 / n) for c in budgets for n in np.sqrt(c / 6 / 20) * 2.0 ** np.arange(-2, 3)]
    return pd.DataFrame(rows, columns=AXES)


def fitted(design):
    return sl.fit(LAW, sl.simulate(LAW, design, TRUTH, 0.005, 0))


def told(fit):
    return {n.code: n for n in fit.notes if n.code in ("collinear", "one_size_each")}


def test_a_sweep_at_equal_compute_fixes_both_exponents():
    assert not told(fitted(sweeps()))


def test_the_published_points_fix_both_exponents(chinchilla):
    assert not told(sl.fit(LAW, chinchilla, "loss", delta=1e-3))


def test_one_budget_alone_does_not():
    notes = told(fitted(sweeps(budgets=(1e20, 1e20))))
    assert set(notes) == {"collinear", "one_size_each"}
    assert "(tokens goes as params^-1.00)" in notes["collinear"].sentence


def test_an_exact_line_is_told_without_a_number():
    notes = told(fitted(line()))
    assert set(notes) == {"collinear", "one_size_each"}
    assert notes["collinear"].severity == "warning"
    assert "move together" in notes["collinear"].sentence
    assert "times" not in notes["collinear"].sentence


@pytest.mark.parametrize(("scatter", "severity"), [(0.1, "warning"), (0.3, "info"), (1.0, None)])
def test_scatter_about_a_line_is_told_by_what_it_costs(scatter, severity):
    notes = told(fitted(line(scatter)))
    if severity is None:
        assert not notes
        return
    assert set(notes) == {"collinear"}
    assert notes["collinear"].severity == severity
    said = float(re.search(r"about (\d+) times", notes["collinear"].sentence)[1])
    assert said == round(inflation(line(scatter), AXES)["tokens"])


@pytest.mark.parametrize("scatter", [0.1, 0.3, 1.0])
def test_the_factor_is_that_of_the_exponents_errors(scatter):
    """Against the same levels in every combination, as many rows, by the law's own derivatives."""
    design = line(scatter)
    model = fitted(design).model
    theta = model.working(TRUTH)[None]

    def errors(params, tokens):
        at = model.at({"params": params, "tokens": tokens}, np.zeros(len(params), np.intp))
        _, jacobian = at.evaluate(theta)
        return np.sqrt(np.diag(inverse_information(jacobian[0])) * len(params))[-2:]

    n, d = design["params"].to_numpy(), design["tokens"].to_numpy()
    crossed = errors(np.repeat(n, 24), np.tile(d, 24))
    factor = np.array(list(inflation(design, AXES).values()))
    # The law is a sum of powers, not the product for which the factor is exact.
    np.testing.assert_allclose(errors(n, d) / crossed, factor, rtol=0.35)


def test_three_axes_name_those_that_move_together():
    rng = np.random.default_rng(1)
    free, tied = rng.normal(size=(2, 30))
    frame = pd.DataFrame(np.exp({"a": tied, "b": free, "c": 2 * tied}[k]) for k in "abc").T
    frame.columns = list("abc")
    found = inflation(frame, list("abc"))
    assert found["a"] == found["c"] == np.inf
    # 1 / sqrt(1 - r^2) of two independent columns of 30.
    r = np.corrcoef(free, tied)[0, 1]
    assert found["b"] == pytest.approx(1 / np.sqrt(1 - r**2))
    assert direction(frame, ["a", "c"])[1] == pytest.approx(2)


def test_one_level_and_zeros_are_no_direction():
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0, 0.0], "b": [3.0] * 4, "c": [1.0, 4.0, 2.0, 9.0]})
    assert len(cloud(frame, "abc")) == 3
    assert set(inflation(frame, "abc")) == {"a", "c"}
    assert inflation(frame.iloc[:2], "abc") == {}


def test_parallel_is_a_correlation_of_three_nines():
    assert PARALLEL == pytest.approx(1 / np.sqrt(1 - 0.999**2))
