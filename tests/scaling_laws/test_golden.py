"""Published constants give published numbers."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl


def at(law, constants, points, **options):
    """Predictions of a law all of whose parameters are held at given values."""
    points = pd.DataFrame(points)
    # With nothing free the losses play no part; the fit only needs some.
    log = points.assign(loss=2.0)
    fit = sl.fit(law, log, "loss", parameters=constants, **options)
    assert fit.values == pytest.approx(constants, rel=1e-12)
    return fit.predict(points, interval=None)["estimate"].to_numpy()


HOFFMANN = {
    "E": np.exp(0.5267228), "A": np.exp(6.0073404), "B": np.exp(6.0179186),
    "alpha": 0.33917084, "beta": 0.2849083,
}  # fmt: skip
HOFFMANN_PRINTED = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
BESIROGLU = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}


@pytest.mark.parametrize(
    ("constants", "params", "tokens", "loss"),
    [
        (HOFFMANN, 70e9, 1.4e12, 1.92085),
        (HOFFMANN_PRINTED, 70e9, 1.4e12, 1.93665),
        (BESIROGLU, 70e9, 1.4e12, 1.97388),
        (BESIROGLU, 1e9, 2e10, 2.53005),
    ],
)
def test_chinchilla(constants, params, tokens, loss):
    """Hoffmann et al. 2022 (unrounded, and as printed) and Besiroglu et al. 2024."""
    # The second point only gives the axes two levels.
    points = {"params": [params, 1e8], "tokens": [tokens, 1e10]}
    assert at(sl.laws.Chinchilla(), constants, points)[0] == pytest.approx(loss, abs=5e-6)


def test_chinchilla_amplitudes_do_not_depend_on_the_data():
    """A and B are printed at one parameter and one token, wherever the data lie."""
    near = at(sl.laws.Chinchilla(), BESIROGLU, {"params": [1e9, 2e9], "tokens": [2e10, 4e10]})
    far = at(sl.laws.Chinchilla(), BESIROGLU, {"params": [1e9, 9e12], "tokens": [2e10, 1e14]})
    assert near[0] == pytest.approx(far[0], rel=1e-14)


FINETUNING = {  # A, a, E, b of translation into German: Zhang et al. 2024, Table 4
    "full": (1.2e5, 0.52, 0.75, 0.15, 1.1958),
    "prompt": (3.9e3, 0.40, 0.62, 0.051, 1.1646),
    "lora": (2.1e3, 0.36, 0.62, 0.081, 1.0956),
}


@pytest.mark.parametrize("method", FINETUNING)
def test_multiplicative_law_of_finetuning(method):
    """``A X^-a D^-b + E``: `Compressed` with its amplitude at the centre of the data."""
    big_a, a, limit, b, loss = FINETUNING[method]
    points = {"params": [1e9, 16e9], "examples": [1e5, 1e7]}
    centre = 1e6
    law = sl.laws.Compressed("multiplicative", size="params", full=1e9)
    constants = {"e": limit, "a": big_a * 1e9**-a * centre**-b, "b": b, "g": a}
    assert at(law, constants, points)[0] == pytest.approx(loss, abs=5e-5)


def test_kaplan_as_a_function():
    """Kaplan et al. 2020, joint law with its own constants."""

    def kaplan(params, tokens, a_n, a_d, n_c, d_c):
        return ((n_c / params) ** (a_n / a_d) + d_c / tokens) ** a_d

    constants = {"a_n": 0.076, "a_d": 0.103, "n_c": 6.4e13, "d_c": 1.8e13}
    points = {"params": [1e9, 1e8], "tokens": [2e10, 1e9]}
    np.testing.assert_allclose(at(kaplan, constants, points), [2.373882448, 2.956733739], rtol=1e-9)


class Broken(sl.Law):
    """``a + b x^-c0 (1 + (x / d)^(1 / f))^(-c1 f)``: one smooth break."""

    axes = ("examples",)
    a = sl.Param("limit", upper=10.0)
    b = sl.Param("amplitude", upper=1e3)
    c0 = sl.Param("slope before the break", lower=-1.0, upper=2.0)
    c1 = sl.Param("change of slope", lower=-10.0, upper=10.0)
    d = sl.Param("where it breaks", lower=1.0, upper=1e9, scale="log")
    f = sl.Param("how smoothly", lower=1e-3, upper=2.0, scale="log")

    def formula(self, x, a, b, c0, c1, d, f):
        u = np.log(x["examples"])
        return a + b * np.exp(-c0 * u - c1 * f * np.logaddexp(0.0, (u - np.log(d)) / f))


def test_one_break():
    """Caballero et al. 2022: four digits double descent."""
    constants = {
        "a": 0.41388453071629455, "b": 2.2772722897737556, "c0": 0.055077348404973955,
        "c1": 5.662903816010331, "d": 612.5836172918001, "f": 0.059193036393742314,
    }  # fmt: skip
    points = {"examples": [160, 480, 608, 928]}
    expected = [2.13582, 2.02599, 1.70844, 0.56260]
    np.testing.assert_allclose(at(Broken(), constants, points), expected, atol=5e-6)
