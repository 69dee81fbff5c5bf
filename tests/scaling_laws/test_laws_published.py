"""Laws of the literature: published numbers, derivatives, limits, and fits to data of their own."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

import scaling_laws as sl
from scaling_laws.laws.breaks import logit_share
from scaling_laws.model import Link, Model, bind

L = sl.laws
LOG, PLAIN = Link("log"), Link("identity")
SUPERVISED = {"E": 1.220, "A": 3355, "B": 18186, "a": 0.408, "b": 0.431, "g": 0.452}

RANGES = {
    "examples": (1e2, 1e6), "tokens": (1e8, 1e12), "unique_tokens": (1e8, 1e11),
    "params": (1e7, 1e10), "params_nonembedding": (1e6, 1e9), "params_nonzero": (1e6, 1e9),
    "params_unpruned": (1e8, 1e10), "kept": (0.1, 1.0), "characters": (1e5, 1e8),
    "loss": (1.8, 4.0), "loss_unpruned": (1.8, 2.8), "teacher_loss": (1.9, 2.8),
    "score_unpruned": (0.5, 0.9),
}  # fmt: skip

# Name -> (law, where its parameters lie with amplitudes taken at the centre of the data).
EXPONENT = (0.1, 0.9)
LAWS: dict[str, tuple[sl.Law, dict[str, tuple[float, float]]]] = {
    "kaplan": (L.Kaplan(), {"aN": (0.04, 0.2), "aD": (0.04, 0.2), "Nc": (1e10, 1e15),
                            "Dc": (1e10, 1e15)}),
    "kaplan params": (L.Kaplan("params"), {"aN": (0.04, 0.2), "Nc": (1e10, 1e15)}),
    "kaplan tokens": (L.Kaplan("tokens"), {"aD": (0.04, 0.2), "Dc": (1e10, 1e15)}),
    "repeated": (L.Repeated(), {"E": (1.0, 2.0), "A": (0.2, 1.0), "B": (0.2, 1.0),
                                "alpha": (0.25, 0.5), "beta": (0.25, 0.5), "RD": (3.0, 30.0),
                                "RN": (3.0, 30.0)}),
    "finetuning": (L.FineTuning(), {"E": (0.5, 2.0), "A": (0.2, 2.0), "alpha": EXPONENT,
                                    "beta": EXPONENT}),
    "transferred": (L.Transferred(), {"k": (0.1, 10.0), "alpha": EXPONENT, "beta": EXPONENT}),
    "loss to error": (L.LossToError(), {"eps": (0.6, 0.9), "k": (0.5, 3.0), "gamma": (0.5, 2.0)}),
    "loss to score": (L.LossToError(top=1.0), {"eps": (0.6, 0.9), "k": (0.1, 0.5),
                                               "gamma": (0.5, 2.0)}),
    "sparsity": (L.Sparsity(), {"c": (0.5, 2.0), "aS": (0.1, 0.6), "bS": (0.3, 1.5),
                                "cS": (0.5, 1.5), "bN": EXPONENT, "B": (0.2, 1.0),
                                "bD": EXPONENT}),
    "pruning": (L.Pruning(floor=0.25), {"P0": (0.6, 1.0), "alpha": (0.1, 3.0)}),
    "pruning of one model": (L.Pruning(whole=0.75, floor=0.25), {"P0": (0.6, 1.0),
                                                                "alpha": (0.1, 3.0)}),
    "p2": (L.P2(), {"g": (-2.0, -0.5), "d": (0.05, 0.4), "NC": (0.2, 1.0), "a": EXPONENT,
                    "DC": (0.2, 1.0), "b": EXPONENT, "E": (0.1, 0.6)}),
    "supervised": (L.Supervised(), {"E": (1.0, 2.0), "A": (0.2, 1.5), "B": (0.2, 1.5),
                                    "a": EXPONENT, "b": EXPONENT, "g": (0.3, 1.2)}),
    "distilled": (L.Distilled(SUPERVISED), {"c0": (0.5, 3.0), "c1": (1.0, 50.0),
                                            "f1": (0.05, 0.5), "d1": (0.8, 1.3),
                                            "A": (0.2, 2.0), "B": (0.2, 2.0), "a": EXPONENT,
                                            "b": EXPONENT, "g": (0.4, 1.2)}),
    "broken": (L.Broken(), {"a": (0.2, 1.0), "b": (0.5, 2.0), "c0": (0.0, 0.4), "c1": (0.2, 1.5),
                            "d1": (1e3, 1e5), "f1": (0.1, 1.0)}),
    "broken twice": (L.Broken(breaks=2, between=(1e2, 1e6)), {
        "a": (0.2, 1.0), "b": (0.5, 2.0), "c0": (0.0, 0.4), "c1": (-0.5, 1.0), "d1": (5e2, 5e3),
        "f1": (0.1, 1.0), "c2": (0.2, 1.0), "d2": (2e4, 2e5), "f2": (0.1, 1.0)}),
    "bounded": (L.Bounded(), {"E": (0.3, 1.0), "L0": (2.0, 5.0), "B": (0.1, 5.0), "a": (0.3, 4.0),
                              "c": (0.1, 1.0)}),
    "bounded score": (L.Bounded(top=1.0), {"E": (0.05, 0.2), "L0": (0.6, 0.95), "B": (0.1, 5.0),
                                           "a": (0.3, 4.0), "c": (0.1, 1.0)}),
}  # fmt: skip
NAMES = list(LAWS)


def raw_points(law: sl.Law, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    raw = {a.name: np.exp(rng.uniform(*np.log(RANGES[a.name]), rows)) for a in law.axis_list()}
    return {k: np.round(v) if k == "examples" else v for k, v in raw.items()}


def bound(law: sl.Law, local: bool = True, rows: int = 24, link: Link = PLAIN) -> Model:
    return bind(law, raw_points(law, rows), np.zeros(rows, np.intp), ("",), link, local=local)


def printed(law: sl.Law, at_centre: dict[str, float]) -> dict[str, float]:
    """Printed parameters of amplitudes given at the centre of the data."""
    model = bound(law)
    theta = np.array([law.params[n].inward(at_centre[n]) for n in model.names])
    return {k: float(v[0]) for k, v in model.natural(theta).items()}


@st.composite
def parameters(draw, name: str) -> dict[str, float]:
    law, where = LAWS[name]
    assert set(where) == set(law.params)
    return printed(law, {n: draw(st.floats(*where[n])) for n in law.params})


def at(law: sl.Law, constants: dict[str, float], **points) -> np.ndarray:
    """The curve at constants, in both frames; they must agree."""
    frame = pd.DataFrame(points)
    raw = {c: frame[c].to_numpy(dtype=float) for c in frame}
    codes = np.zeros(len(frame), np.intp)
    values = []
    for local in (True, False):
        model = bind(law, raw, codes, ("",), PLAIN, local=local)
        values.append(model.mean(model.working(constants)[None])[0])
    np.testing.assert_allclose(values[0], values[1], rtol=1e-11)
    return values[0]


# --- derivatives and frames -----------------------------------------------------------------------


@pytest.mark.parametrize("local", [True, False], ids=["local", "printed"])
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_derivatives_are_those_of_the_curve(name, local, data):
    """Analytic Jacobian against central differences of the curve itself."""
    law, _ = LAWS[name]
    model = bound(law, local)
    theta = model.working(data.draw(parameters(name)))
    _, jacobian = model.evaluate(theta[None])
    step = 1e-5 * np.maximum(np.abs(theta), 1e-2)
    ends = model.residual_mean(np.concatenate([theta + np.diag(step), theta - np.diag(step)]))
    difference = (ends[: model.p] - ends[model.p :]) / (2 * step[:, None])
    # Rounding of the difference is eps over the step; its truncation is far below.
    rounding = 1e-15 * np.abs(ends).max() / step[:, None]
    smooth = np.ones(jacobian.shape[2], bool)
    if name == "repeated":
        # `min` has a corner: a difference across it is no derivative.
        around = np.concatenate([theta + np.diag(step), theta - np.diag(step)])
        spread = np.ptp(model.evaluate(around)[1], axis=0)
        smooth = (spread <= 0.01 * np.abs(jacobian[0]) + 1e-3).all(0)
        assert smooth.mean() > 0.7
    gap = np.abs(jacobian[0] - difference)[:, smooth]
    scale = np.abs(difference).max(axis=1, keepdims=True)
    assert (gap <= 1e-5 * scale + 10 * rounding).all(), (model.names, gap.max(1))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_frames_draw_the_same_curve_and_print_the_same_numbers(name, data):
    law, _ = LAWS[name]
    values = data.draw(parameters(name))
    local, plain = bound(law), bound(law, local=False)
    means = [m.mean(m.working(values)[None])[0] for m in (local, plain)]
    np.testing.assert_allclose(means[0], means[1], rtol=1e-9)
    for model in (local, plain):
        back = model.natural(model.working(values))
        for key, value in values.items():
            assert back[key][0] == pytest.approx(value, rel=1e-10, abs=1e-13), key


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_finite_for_any_amount(name, data):
    """From one example, token or parameter to 1e15, and for the smallest student."""
    law, _ = LAWS[name]
    values = data.draw(parameters(name))
    decades = np.logspace(0, 15, 31)
    fractions = {"kept": (0.01, 1.0), "score_unpruned": (0.3, 1.0)}
    raw = {
        a.name: np.linspace(*fractions[a.name], 31) if a.name in fractions
        else np.linspace(0.5, 12.0, 31) if "loss" in a.name
        else decades
        for a in law.axis_list()
    }  # fmt: skip
    model = bound(law).at(raw, np.zeros(31, np.intp))
    mean, jacobian = model.evaluate(bound(law).working(values)[None])
    assert np.isfinite(mean).all()
    assert np.isfinite(jacobian).all()


def test_every_parameter_has_a_meaning_and_every_law_a_formula_and_a_source():
    for law, _ in LAWS.values():
        assert law.formula_text
        assert "arXiv" in type(law).__doc__
        first = type(law).__doc__.split("\n")[0]
        assert "``" in first, first
        assert "=" in first, first
        for key, param in law.params.items():
            assert len(param.meaning.split()) >= 2, (law.name, key)


# --- published numbers ----------------------------------------------------------------------------


def test_kaplan():
    """Kaplan et al. 2020; the joint law has constants of its own."""
    joint = {"aN": 0.076, "aD": 0.103, "Nc": 6.4e13, "Dc": 1.8e13}
    found = at(L.Kaplan(), joint, params_nonembedding=[1e9, 1e8], tokens=[2e10, 1e9])
    np.testing.assert_allclose(found, [2.373882448, 2.956733739], rtol=0, atol=5e-10)
    size = at(L.Kaplan("params"), {"aN": 0.076, "Nc": 8.8e13}, params_nonembedding=[1e9])
    data = at(L.Kaplan("tokens"), {"aD": 0.095, "Dc": 5.4e13}, tokens=[1e9])
    np.testing.assert_allclose([*size, *data], [2.375640295, 2.815641821], rtol=0, atol=5e-10)


MUENNIGHOFF = {
    "E": np.exp(0.6254804), "A": np.exp(6.255414), "B": np.exp(7.3049974), "alpha": 0.3526596,
    "beta": 0.3526596, "RD": 15.387756, "RN": 5.309743,
}  # fmt: skip


def test_repeated_data():
    """Muennighoff et al. 2023, above and below one epoch."""
    found = at(
        L.Repeated(), MUENNIGHOFF, params=[6.34e9, 8.67e9, 1e9], tokens=[242e9, 178e9, 1e9],
        unique_tokens=[25e9] * 3,
    )  # fmt: skip
    expected = [2.2256440889984477, 2.2269634075087867, 3.3911454883]
    np.testing.assert_allclose(found[:2], expected[:2], rtol=1e-14)
    # One unit of the last printed digit: in exact arithmetic the constants give ...48822.
    assert found[2] == pytest.approx(expected[2], abs=1e-10)


def test_one_break():
    """Caballero et al. 2022: four-digit addition, double descent."""
    constants = {
        "a": 0.41388453071629455, "b": 2.2772722897737556, "c0": 0.055077348404973955,
        "c1": 5.662903816010331, "d1": 612.5836172918001, "f1": 0.059193036393742314,
    }  # fmt: skip
    found = at(L.Broken(), constants, examples=[160, 480, 608, 928])
    np.testing.assert_allclose(found, [2.13582, 2.02599, 1.70844, 0.56260], rtol=0, atol=5e-6)


# --- limits ---------------------------------------------------------------------------------------


def test_below_one_epoch_nothing_is_repeated():
    """Unique data beyond what is read play no part; with ample data it is Chinchilla's law."""
    points = {"params": [1e8, 1e8], "tokens": [1e10, 1e10], "unique_tokens": [1e10, 1e13]}
    once, ample = at(L.Repeated(), MUENNIGHOFF, **points)
    assert once == ample
    plain = {k: MUENNIGHOFF[k] for k in ("E", "A", "B", "alpha", "beta")}
    # 1e8 parameters can be fed by 1e10 tokens, so they count in full too.
    classic = at(L.Chinchilla(), plain, params=[1e8], tokens=[1e10])[0]
    assert once == pytest.approx(classic, rel=1e-14)


def test_repetitions_saturate():
    """However often data are repeated, they are worth at most ``U (1 + RD)``."""
    many = at(L.Repeated(), MUENNIGHOFF, params=[1e8, 1e8], tokens=[1e16, 1e10 * (1 + 15.387756)],
              unique_tokens=[1e10, 1e18])  # fmt: skip
    assert many[0] == pytest.approx(many[1], rel=1e-12)


P2_CONSTANTS = {"g": -1.5, "d": 0.1, "NC": 1e4, "a": 0.5, "DC": 300.0, "b": 0.3, "E": 2.0}


def test_nothing_pruned_nothing_lost():
    """P2: the loss tends to that before pruning as the fraction removed tends to 0."""
    removed = np.array([0.0, 1e-9, 1e-6, 1e-3, 0.1, 0.5])
    loss = at(L.P2(), P2_CONSTANTS, kept=1 - removed, params_unpruned=[8e9] * 6,
              tokens=[1e9] * 6, loss_unpruned=[2.1] * 6)  # fmt: skip
    assert loss[0] == 2.1
    assert (np.diff(loss) > 0).all()
    assert loss[1] == pytest.approx(2.1, abs=1e-12)
    gaps = loss[2:4] - 2.1
    assert gaps[1] / gaps[0] == pytest.approx(1e3**1.5, rel=1e-4)


def test_plateau_at_density_one_is_the_unpruned_error():
    """Rosenfeld et al. 2021: their e0 is the limit of infinite density; ours the error at 1."""
    for p, ratio, g in [(0.02, 3.0, 0.8), (0.5, 20.0, 2.5), (1.0, 1.5, 5.0)]:
        whole = L.Plateau().formula({"kept": np.array([1.0])}, e0=0.23, ratio=ratio, p=p, g=g)
        assert whole[0] == pytest.approx(0.23, rel=1e-15)


DISTILLED = {
    "c0": 2.549, "c1": 522.61, "f1": 0.090, "d1": 1.315, "A": 2243.0, "B": 24181.0, "a": 0.321,
    "b": 0.637, "g": 0.764,
}  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    params=st.floats(0, 12), tokens=st.floats(0, 15), teacher=st.floats(1.3, 12.0),
)  # fmt: skip
def test_a_student_does_not_beat_its_teacher(params, tokens, teacher):
    """Busbridge et al. 2025, over twelve decades of size and fifteen of tokens."""
    loss = at(L.Distilled(SUPERVISED), DISTILLED, params=[10**params], tokens=[10**tokens],
              teacher_loss=[teacher])[0]  # fmt: skip
    assert np.isfinite(loss)
    assert loss >= teacher


def test_supervised_with_power_one_is_chinchilla():
    p = {"E": 1.7, "A": 400.0, "B": 410.0}
    points = {"params": [1e8, 1e9], "tokens": [1e9, 1e11]}
    one = at(L.Supervised(), {**p, "a": 0.34, "b": 0.28, "g": 1.0}, **points)
    two = at(L.Chinchilla(), {**p, "alpha": 0.34, "beta": 0.28}, **points)
    np.testing.assert_allclose(one, two, rtol=1e-14)


@settings(max_examples=100, deadline=None)
@given(
    E=st.floats(0.0, 1.0), span=st.floats(0.1, 5.0), B=st.floats(1e-3, 1e3),
    a=st.floats(0.02, 20.0), c=st.floats(0.05, 2.0), x=st.floats(0.0, 12.0),
)  # fmt: skip
def test_bounded_solves_its_equation(E, span, B, a, c, x):
    """``(L - E) / (L0 - L)^a = B x^-c``, with L strictly between its bounds."""
    at_x = 10.0**x
    loss = at(L.Bounded(), {"E": E, "L0": E + span, "B": B, "a": a, "c": c}, examples=[at_x])[0]
    q = np.log(B) - c * np.log(at_x) + (a - 1) * np.log(span)
    t = float(logit_share(np.asarray(q), np.asarray(a)))
    left = t + (a - 1) * np.logaddexp(0, t)
    assert left == pytest.approx(q, abs=1e-12 * (1 + abs(q) + a * abs(t)))
    assert E * (1 - 1e-15) <= loss <= (E + span) * (1 + 1e-15)
    # The equation itself, where both differences keep half of their digits.
    if min(loss - E, E + span - loss) > 1e-6 * (E + span):
        value = np.log(loss - E) - a * np.log(E + span - loss)
        assert value == pytest.approx(np.log(B) - c * np.log(at_x), abs=1e-8 * (1 + a))


def test_bounded_with_a_one_has_its_closed_form():
    x = np.logspace(0, 12, 25)
    found = at(L.Bounded(), {"E": 0.5, "L0": 3.0, "B": 50.0, "a": 1.0, "c": 0.5}, examples=x)
    np.testing.assert_allclose(found, 0.5 + 2.5 / (1 + x**0.5 / 50), rtol=1e-14)


@pytest.mark.parametrize("a", [0.02, 0.5, 1.0, 3.0, 20.0])
def test_halley_from_its_start_needs_no_safeguard(a):
    """Over any size of the right-hand side: it ends at the root, whatever the curvature."""
    q = np.concatenate([-np.logspace(-8, 3, 200), [0.0], np.logspace(-8, 3, 200)])
    t = logit_share(q, np.full(len(q), a))
    left = t + (a - 1) * np.logaddexp(0, t)
    np.testing.assert_allclose(left, q, rtol=1e-13, atol=1e-13)


def test_bounds_are_reached_at_the_ends():
    p = {"E": 0.5, "L0": 3.0, "B": 1e4, "a": 2.5, "c": 1.0}
    ends = at(L.Bounded(), p, examples=[1e-12, 1e40])
    np.testing.assert_allclose(ends, [3.0, 0.5], rtol=1e-6)


def test_a_break_of_no_size_is_the_power_law():
    p = {"a": 0.4, "b": 3.0, "c0": 0.3}
    x = np.logspace(0, 9, 10)
    found = at(L.Broken(), {**p, "c1": 0.0, "d1": 1e4, "f1": 0.3}, examples=x)
    np.testing.assert_allclose(found, 0.4 + 3.0 * x**-0.3, rtol=1e-13)


def test_slopes_before_and_after_a_break():
    """-c0 before, -(c0 + c1) after, in log-log without the limit."""
    p = {"a": 0.0, "b": 5.0, "c0": 0.2, "c1": 0.7, "d1": 1e6, "f1": 0.2}
    x = np.array([1.0, 10.0, 1e11, 1e12])
    y = np.log10(at(L.Broken(), p, examples=x))
    assert y[1] - y[0] == pytest.approx(-0.2, abs=1e-9)
    assert y[3] - y[2] == pytest.approx(-0.9, abs=1e-9)


def test_pruning_acts_above_the_floor():
    law = L.Pruning(whole=0.75, floor=0.25)
    found = at(law, {"P0": 0.9, "alpha": 2.0}, kept=[1.0, 0.5])
    np.testing.assert_allclose(found, [0.25 + 0.5 * 0.9, 0.25 + 0.5 * 0.9 * 0.25])


# --- fits -----------------------------------------------------------------------------------------


def middle(name: str) -> dict[str, float]:
    ends = LAWS[name][1].items()
    return {n: (lo * hi) ** 0.5 if lo > 0 else 0.5 * (lo + hi) for n, (lo, hi) in ends}


NOISE = 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_recovers_its_own_data(name):
    """No start values. The optimum is at least as good as the truth, and near it by statistics."""
    law, _ = LAWS[name]
    truth = printed(law, middle(name))
    raw = raw_points(law, 160, seed=3)
    model = bind(law, raw, np.zeros(160, np.intp), ("",), PLAIN, local=False)
    mean = model.mean(model.working(truth)[None])[0]
    rng = np.random.default_rng(4)
    rows = pd.DataFrame({**raw, "value": mean * np.exp(NOISE * rng.standard_normal(160))})
    metric = sl.Metric("value", direction="lower", link="log")
    fit = sl.fit(law, rows, metric, objective="squares")
    cost = 0.5 * ((np.log(rows["value"] / mean)) ** 2).sum()
    assert fit.objective <= cost
    # Twice the gain over the truth is chi-squared in units of the noise.
    p = len(law.params)
    assert 2 * (cost - fit.objective) / NOISE**2 < chi2.isf(1e-4, p)
    found = fit.predict(pd.DataFrame(raw), interval=None)["estimate"].to_numpy()
    assert (np.log(found / mean) ** 2).sum() / NOISE**2 < chi2.isf(1e-4, p)


def test_fits_with_options_are_saved_and_read_back(tmp_path):
    """Options are plain data: a mapping, a pair, a number."""
    for law in (L.Distilled(SUPERVISED), L.Broken(between=(1e2, 1e6)), L.Pruning(whole=0.75)):
        raw = raw_points(law, 40)
        rows = pd.DataFrame({**raw, "loss": np.linspace(2.6, 2.9, 40)})
        fit = sl.fit(law, rows, "loss", objective="squares")
        again = sl.load(fit.save(tmp_path / "fit.json"))
        assert again.values == fit.values
        assert repr(again.law) == repr(fit.law)
        points = pd.DataFrame(raw)
        assert again.predict(points, interval=None).equals(fit.predict(points, interval=None))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: L.Broken(breaks=0), "breaks = 0: Broken has one or more"),
        (lambda: L.Broken(between=(5.0, 1.0)), "two positive values, the lower first"),
        (lambda: L.Kaplan("size"), "of: 'size' is not one of both, params, tokens"),
        (lambda: L.Distilled({"E": 1.0}), "give E, A, B, a, b, g of Supervised; got E"),
    ],
)
def test_a_law_that_cannot_be_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
