"""lmfit.Parameters of a fit, and back."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.bridge import identifiers_of
from scaling_laws.study import Noise

CHINCHILLA = {"E": 1.7, "A": 400.0, "B": 900.0, "alpha": 0.34, "beta": 0.34}


@pytest.fixture(scope="module")
def log():
    design = pd.DataFrame({"params": np.tile(np.logspace(7, 10, 5), 5),
                           "tokens": np.repeat(np.logspace(8, 11, 5), 5)})  # fmt: skip
    return sl.simulate(sl.laws.Chinchilla(), design, CHINCHILLA, 0.01, 3)


def by_format(levels):
    design = pd.DataFrame([(n, k, f) for n in (6e3, 2e4, 8e4, 4e5) for k in (0.8, 0.4, 0.2)
                           for f in levels], columns=["examples", "kept", "format"])  # fmt: skip
    truth = {"e": 2.0, "a": 0.5, "b": 0.4, "c": 0.3, "g": 0.8}
    law = sl.laws.Compressed(by="format")
    log = sl.simulate(law, design, truth, Noise(run=0.01), 1, metric="task_f1")
    return law, log, sl.fit(law, log, "task_f1")


def close(a, b):
    assert a == pytest.approx(b, rel=1e-5)


def test_values_bounds_and_errors(log):
    fit = sl.fit(sl.laws.Chinchilla(), log, parameters={"alpha": 0.34, "beta": (0.2, 0.5)})
    out = fit.to_lmfit()
    assert {n: p.value for n, p in out.items()} == fit.values
    assert (out["beta"].min, out["beta"].max) == (0.2, 0.5)
    assert (out["E"].min, out["E"].max) == (0.0, np.inf)
    assert not out["alpha"].vary
    assert out["alpha"].stderr is None
    se = np.sqrt(np.diag(fit.covariance()))
    for name, want in zip(fit.model.names, se, strict=True):
        if name != "alpha":
            assert out[name].stderr == pytest.approx(want)


@pytest.mark.parametrize("parameters", [
    None,
    {"E": 1.7, "beta": (0.2, 0.5)},
    {"alpha": {"tie": {"coefficients": {"beta": 1.0}}}},
    {"beta": {"tie": {"constant": 0.05, "coefficients": {"alpha": 0.9}}}},
])  # fmt: skip
def test_round_trip_is_the_same_fit(log, parameters):
    fit = sl.fit(sl.laws.Chinchilla(), log, parameters=parameters, objective="squares")
    # By squares: the corner of Huber's loss is set from a fit of lower precision.
    again = sl.fit(sl.laws.Chinchilla(), log, parameters=fit.to_lmfit(), objective="squares")
    close(again.values, fit.values)
    assert again.degrees == fit.degrees
    assert again.objective == pytest.approx(fit.objective, rel=1e-9)
    close(again.to_lmfit().valuesdict(), fit.to_lmfit().valuesdict())


def test_bounds_of_the_law_stay_soft_on_the_way_back():
    """A floor at its bound: draws may cross it and are clipped afterwards, as in the first fit."""
    x = np.logspace(3, 6, 10).round()
    noise = np.exp(0.02 * np.random.default_rng(0).normal(size=10))
    log = pd.DataFrame({"examples": x, "loss": 2 * x**-0.2 * noise})
    fit = sl.fit(sl.laws.Power(), log)
    assert fit.values["E"] == 0.0
    again = sl.fit(sl.laws.Power(), log, parameters=fit.to_lmfit())
    ends = ["low", "high"]
    np.testing.assert_allclose(again.parameters[ends], fit.parameters[ends], rtol=1e-4, atol=1e-9)


def test_levels_become_identifiers_and_back():
    law, log, fit = by_format(("label", "cot"))
    out = fit.to_lmfit()
    assert list(out) == ["e_cot", "e_label", "a_cot", "a_label", "b", "c_cot", "c_label", "g"]
    again = sl.fit(law, log, "task_f1", parameters=out)
    assert set(again.values) == set(fit.values)
    close(again.values, fit.values)


def test_a_value_held_in_lmfit_is_held_here():
    law, log, fit = by_format(("label", "cot"))
    out = fit.to_lmfit()
    out["e_cot"].set(value=1.9, vary=False)
    again = sl.fit(law, log, "task_f1", parameters=out)
    assert again.values["e[cot]"] == pytest.approx(1.9)
    assert not again.is_free("e[cot]")


def test_names_that_would_collide_get_numbers():
    law, log, fit = by_format(("a b", "a-b"))
    names = identifiers_of(fit)
    assert len(set(names.values())) == len(names)
    assert all(n.isidentifier() for n in names.values())
    close(sl.fit(law, log, "task_f1", parameters=fit.to_lmfit()).values, fit.values)
