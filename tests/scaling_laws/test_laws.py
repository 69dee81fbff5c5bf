"""Every law: derivatives, frames, limits, declarations."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scaling_laws as sl
from scaling_laws.model import Link, Model, bind

L = sl.laws
LOSS, SCORE = Link("log"), Link("logit", 0.1, 1.0, -1)
KINDS = ("additive", "multiplicative", "interaction", "rectified", "size")

# Name -> (law, links it is meant for).
LAWS = {
    "power": (L.Power(), (LOSS, SCORE)),
    "rectified": (L.Rectified(), (LOSS, SCORE)),
    "collapse": (L.Collapse(floor=0.1), (SCORE,)),
    "plateau": (L.Plateau(), (LOSS,)),
    "plateau of a score": (L.Plateau(top=1.0), (SCORE,)),
    "chinchilla": (L.Chinchilla(), (LOSS,)),
    **{f"compressed {k}": (L.Compressed(k), (LOSS, SCORE)) for k in KINDS},
    **{f"compressed {k} by format": (L.Compressed(k, by="format"), (LOSS, SCORE)) for k in KINDS},
    **{f"forgetting {k}": (L.Forgetting(k), (LOSS, SCORE)) for k in KINDS[:3]},
}
CASES = [
    pytest.param(law, link, local, id=f"{name}-{link.kind}-{'local' if local else 'printed'}")
    for name, (law, links) in LAWS.items()
    for link in links
    for local in (True, False)
]
RANGES = {
    "examples": (1e2, 1e6), "kept": (0.1, 1.0), "params": (1e7, 1e10), "tokens": (1e8, 1e12),
}  # fmt: skip


def bound(law: sl.Law, link: Link, local: bool, rows: int = 24) -> Model:
    """The law at random rows over realistic ranges, two levels where it has a factor."""
    rng = np.random.default_rng(rows)
    raw = {a.name: np.exp(rng.uniform(*np.log(RANGES[a.name]), rows)) for a in law.axis_list()}
    levels = ("cot", "label") if law.by else ("",)
    codes = np.sort(np.arange(rows) % len(levels))
    return bind(law, raw, codes, levels, link, local=local)


# Printed parameters inside the range that data can ask for; amplitudes at the centre.
TYPICAL = {
    "E": (0.3, 3.0), "e": (0.3, 3.0), "A": (0.05, 3.0), "B": (0.05, 3.0), "a": (0.05, 2.0),
    "b": (0.05, 2.0), "d": (0.0, 30.0), "h": (0.0, 2.0), "c": (0.01, 2.0), "g": (0.1, 3.0),
    "alpha": (0.05, 2.0), "beta": (0.05, 2.0), "acc1": (0.3, 0.95), "k0": (0.05, 2.0),
    "s": (0.5, 40.0), "e0": (0.05, 0.4), "ratio": (1.1, 20.0), "p": (0.02, 0.8),
}  # fmt: skip


@st.composite
def printed(draw, law: sl.Law, model: Model) -> dict[str, float]:
    values: dict[str, float] = {}
    for name in model.names:
        low, high = TYPICAL[name.split("[")[0]]
        values[name] = draw(st.floats(low, high))
    if isinstance(law, L.Chinchilla):
        # Printed at one parameter and one token: move the amplitudes to the centre of the data.
        for amplitude, exponent, axis in (("A", "alpha", "params"), ("B", "beta", "tokens")):
            values[amplitude] *= model.frame.centre[axis] ** values[exponent]
    return values


@pytest.mark.parametrize(("law", "link", "local"), CASES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_derivatives_are_those_of_the_curve(law, link, local, data):
    """Analytic Jacobian against central differences of the curve itself."""
    model = bound(law, link, local)
    theta = model.working(data.draw(printed(law, model)))
    _, jacobian = model.evaluate(theta[None])
    step = 1e-5 * np.maximum(np.abs(theta), 1e-2)
    ends = model.residual_mean(np.concatenate([theta + np.diag(step), theta - np.diag(step)]))
    difference = (ends[: model.p] - ends[model.p :]) / (2 * step[:, None])
    # Truncation of a central difference is about step^2, its rounding about eps / step.
    scale = np.abs(difference).max(axis=1, keepdims=True) + np.abs(ends).max() * 1e-3
    assert np.abs(jacobian[0] - difference).max() <= 2e-6 * scale.max()
    np.testing.assert_allclose(
        jacobian[0] / scale, difference / scale, rtol=0, atol=1e-5, err_msg=str(model.names)
    )


@pytest.mark.parametrize(("law", "link", "local"), CASES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_printed_and_working_parameters_go_there_and_back(law, link, local, data):
    model = bound(law, link, local)
    values = data.draw(printed(law, model))
    back = model.natural(model.working(values))
    for name, value in values.items():
        # d goes through d / (1 + d), which near 1 keeps only the digits of 1 - q.
        rel = 1e-9 if name.startswith("d") else 1e-11
        # A local limit is the printed one plus the amplitude: digits are lost in proportion.
        size = max(abs(v) for v in values.values()) if name[0] in "Ee" else abs(value)
        assert back[name][0] == pytest.approx(value, rel=rel, abs=rel * size + 1e-13)


@pytest.mark.parametrize("name", LAWS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_frames_draw_the_same_curve(name, data):
    """The local frame only moves the coordinates; means are those of the printed formula."""
    law, links = LAWS[name]
    for link in links:
        local, plain = bound(law, link, True), bound(law, link, False)
        values = data.draw(printed(law, local))
        means = [m.mean(m.working(values)[None])[0] for m in (local, plain)]
        np.testing.assert_allclose(means[0], means[1], rtol=1e-10)


def formula(law: sl.Law, x: dict[str, np.ndarray], centre: dict[str, float], p: dict[str, float]):
    """The deficit of each law as its docstring states it, written apart from the library."""
    u = x["examples"] / centre["examples"] if "examples" in x else None
    v = x.get("kept")
    kind = law.options.get("kind", type(law).__name__)
    if kind == "Power":
        return p["A"] * u ** -p["a"]
    if kind == "Rectified":
        return p["A"] * (1 + p["d"]) / (u ** p["a"] + p["d"])
    if kind == "Chinchilla":
        return p["A"] * x["params"] ** -p["alpha"] + p["B"] * x["tokens"] ** -p["beta"]
    if kind == "multiplicative":
        return p["a"] * u ** -p["b"] * v ** -p["g"]
    pruning = p["c"] * (v ** -p["g"] - 1)
    if kind == "size":
        return pruning
    if kind == "additive":
        return p["a"] * u ** -p["b"] + pruning
    if kind == "interaction":
        return p["a"] * u ** -p["b"] * v ** -p["h"] + pruning
    return p["a"] * (1 + p["d"]) / (u ** p["b"] + p["d"]) + pruning


@pytest.mark.parametrize(
    "name",
    ["power", "rectified", "chinchilla", *(f"compressed {k}" for k in KINDS)],
)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_curves_are_what_the_docstring_says(name, data):
    law, links = LAWS[name]
    for link in links:
        model = bound(law, link, True)
        values = data.draw(printed(law, model))
        rng = np.random.default_rng(24)
        x = {a.name: np.exp(rng.uniform(*np.log(RANGES[a.name]), 24)) for a in law.axis_list()}
        deficit = formula(law, x, dict(model.frame.centre), values)
        limit = values["E" if "E" in values else "e"]
        if link.kind == "log":
            expected = limit + deficit
        else:
            expected = 0.1 + 0.9 * np.exp(-np.logaddexp(0.0, deficit - limit))
        mean = model.mean(model.working(values)[None])[0]
        np.testing.assert_allclose(mean, expected, rtol=1e-10)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("local", [True, False])
def test_finite_from_one_example_to_1e15(name, local):
    """No parameter within its bounds, and no amount of data, makes a curve or slope infinite."""
    law, links = LAWS[name]
    rng = np.random.default_rng(5)
    decades = np.logspace(0, 15, 31)
    for link in links:
        base = bound(law, link, local)
        raw = {
            a.name: decades if a.name in ("examples", "tokens", "params")
            else np.linspace(0.05, 1.0, 31)
            for a in law.axis_list()
        }  # fmt: skip
        model = base.at(raw, np.arange(31) % len(base.levels))
        low = np.where(np.isfinite(base.lower), base.lower, -5.0)
        high = np.where(np.isfinite(base.upper), base.upper, 5.0)
        # At least a trace of the limit: a loss of exactly 0 has no logarithm.
        for j, parameter in enumerate(base.names):
            if parameter.split("[")[0] in ("E", "e") and link.kind == "log":
                low[j] = 0.1
        theta = low + rng.uniform(0.0, 1.0, (400, base.p)) * (high - low)
        mean, jacobian = model.evaluate(theta)
        assert np.isfinite(mean).all()
        assert np.isfinite(jacobian).all()
        if link.kind == "logit" and law.output == "eta":
            assert mean.min() >= link.floor - 1e-12
            assert mean.max() <= link.top + 1e-12


def test_every_parameter_has_a_meaning_and_every_law_a_formula():
    for law, _ in LAWS.values():
        assert law.formula_text
        for name, param in law.params.items():
            assert len(param.meaning.split()) >= 2, (law.name, name)
            assert param.role == "shape" or param.unit == "{metric}", (law.name, name)


@settings(max_examples=50, deadline=None)
@given(acc1=st.floats(0.3, 0.95), k0=st.floats(0.05, 2.5), s=st.floats(0.5, 150.0))
def test_half_point_is_where_half_is_lost(acc1, k0, s):
    law = L.Collapse(floor=0.1)
    half = float(law.derived({"k0": np.array(k0), "s": np.array(s)})["half_point"][0])
    score = law.formula({"kept": np.array([half, 1.0])}, acc1=acc1, k0=k0, s=s)
    assert (score[0] - 0.1) / (score[1] - 0.1) == pytest.approx(0.5, abs=1e-9)
    assert score[1] == pytest.approx(acc1)
    assert 0 < half < 1


def test_plateau_prints_the_error_of_the_whole_model():
    law = L.Plateau()
    p = {"e0": 0.2, "ratio": 4.0, "p": 0.2, "g": 2.0}
    whole, nothing = law.formula({"kept": np.array([1.0, 1e-9])}, **p)
    assert whole == pytest.approx(0.2)
    # The second plateau is ratio * e0 of the form of Rosenfeld et al., whose e0 is at density inf.
    q = p["p"] * p["ratio"] ** (1 / p["g"])
    at_one = ((1 + q**2) / (1 + p["p"] ** 2)) ** (p["g"] / 2)
    assert nothing == pytest.approx(0.2 / at_one * p["ratio"], rel=1e-9)


def test_forms_nest():
    """Rectified with d = 0 is the power; interaction with h = 0 is the additive form."""
    pairs = [
        (L.Power(), L.Rectified(), {"d": 0.0}),
        (L.Compressed(), L.Compressed("interaction"), {"h": 0.0}),
        (L.Compressed(), L.Compressed("rectified"), {"d": 0.0}),
    ]
    typical = {"E": 1.0, "e": 1.0, "A": 0.7, "a": 0.4, "b": 0.3, "c": 0.4, "g": 1.2}
    for small, large, extra in pairs:
        for link in (LOSS, SCORE):
            one, two = bound(small, link, True), bound(large, link, True)
            p = {n: typical[n] for n in small.params}
            np.testing.assert_allclose(
                one.mean(one.working(p)[None]), two.mean(two.working({**p, **extra})[None]),
                rtol=1e-12,
            )  # fmt: skip


def test_levels_have_their_own_limit_and_amplitude_unless_shared():
    law = L.Compressed(by="format")
    assert bound(law, LOSS, True).names == (
        "e[cot]", "e[label]", "a[cot]", "a[label]", "b", "c[cot]", "c[label]", "g",
    )  # fmt: skip
    law = L.Compressed(by="format", share={"e": True, "b": False})
    assert bound(law, LOSS, True).names == (
        "e", "a[cot]", "a[label]", "b[cot]", "b[label]", "c[cot]", "c[label]", "g",
    )  # fmt: skip


def test_two_factors_make_one_level_a_pair():
    rows = pd.DataFrame(
        {
            "examples": np.tile([100, 500, 2000, 10_000, 50_000], 4),
            "format": np.repeat(["cot", "cot", "label", "label"], 5),
            "method": np.repeat(["full", "lora", "full", "lora"], 5),
        }
    )
    limits = np.repeat([1.0, 1.2, 1.4, 1.6], 5)
    rows["loss"] = limits + 0.5 * (rows["examples"] / 1e3) ** -0.4
    fit = sl.fit(L.Power(by=("format", "method")), rows, "loss")
    found = [fit.values[f"E[{f}|{m}]"] for f in ("cot", "label") for m in ("full", "lora")]
    np.testing.assert_allclose(found, [1.0, 1.2, 1.4, 1.6], rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: L.Compressed(kind="sum"), "kind: 'sum' is not one of additive"),
        (lambda: L.Compressed(size="params"), "needs full="),
        (lambda: L.Power(share=["z"]), "share: 'z' is no parameter of Power; it has E, A, a"),
        (lambda: sl.Param("x", lower=1.0, upper=1.0), "is not below"),
        (lambda: sl.Param("x", lower=0.0, scale="log"), "needs lower > 0"),
        (lambda: L.from_function(lambda x, a: a, ["y"]), "axes: 'y' is no argument"),
        (lambda: L.from_function(lambda x: x, ["x"]), "no parameters to fit"),
        (lambda: L.from_function(lambda x, a: a, ["x"], {"b": (0, 1)}), r"\['b'\] are no argum"),
    ],
)
def test_a_law_that_cannot_be_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_law_without_a_formula_says_so():
    class Empty(sl.Law):
        axes = ("examples",)
        a = sl.Param("amplitude")

    rows = pd.DataFrame({"examples": [1.0, 2.0, 3.0], "loss": [3.0, 2.0, 1.0]})
    with pytest.raises(TypeError, match="Empty declares no formula"):
        sl.fit(Empty(), rows, "loss")


def test_parameters_are_worded_by_the_axis():
    """A floor against size is no limit of infinite data."""
    for law in (L.Power("params"), L.Rectified("params"), L.Bounded("params", top=1.0)):
        told = " ".join(p.meaning for p in law.params.values())
        assert "infinite params" in told
        assert "{" not in told
        assert not [w for w in ("infinite data", "of the data,", "more data") if w in told]
    fit = sl.fit(L.Power("params"), pd.DataFrame({"params": [1e8, 2e8, 4e8, 1e9, 2e9],
                                                  "loss": [3.2, 2.9, 2.75, 2.6, 2.5]}))  # fmt: skip
    assert fit.parameters["meaning"]["E"] == "limit of infinite params [loss]"
    assert "exponent of params" in repr(fit)
    assert L.Power.E.meaning == "limit of infinite {axis}"


def test_repr_reads_like_the_call():
    assert repr(L.Compressed(by="format")) == "Compressed(by=('format',))"
    assert repr(L.Power()) == "Power()"
