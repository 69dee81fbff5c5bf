"""General knowledge that teaching costs: the law, and where it stands among the candidates."""

from typing import get_args

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.candidates import forms_for
from scaling_laws.laws.forgetting import ForgettingKind
from tests.logs import grid

KINDS = get_args(ForgettingKind)
DESIGN = grid(examples=[64.0, 256.0, 1024.0], kept=[0.16, 0.37, 0.58, 0.79])
TRUE = {"e": 1.0, "a": 0.3, "b": 0.4, "g": 0.9, "h": 0.5, "c": 0.6}


def deficit(kind, u, v):
    """The docstring's formulas, written apart from the library."""
    e, a, b, g, h, c = (TRUE[k] for k in "eabghc")
    pruning = c * (v**-g - 1)
    lost = {
        "additive": a * u**b + pruning,
        "multiplicative": a * u**b * v**-g,
        "interaction": a * u**b * v**-h + pruning,
    }
    return e, lost[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["quiz", "general_kl"])
def test_curves_are_what_the_docstring_says_and_are_found_again(kind, metric):
    u = (DESIGN["examples"] / 256.0).to_numpy()
    e, lost = deficit(kind, u, DESIGN["kept"].to_numpy())
    score = e + lost if metric == "general_kl" else 0.25 + 0.75 / (1 + np.exp(lost - e))
    fit = sl.fit(sl.laws.Forgetting(kind), DESIGN.assign(**{metric: score}), metric)
    estimate = fit.predict(interval=None)["estimate"].to_numpy()
    np.testing.assert_allclose(estimate, score, rtol=1e-6)
    for name, value in fit.values.items():
        assert value == pytest.approx(TRUE[name], rel=1e-4), name
    more = fit.predict(pd.DataFrame({"examples": [64, 1024], "kept": 0.37}), None)["estimate"]
    assert more.is_monotonic_increasing == (metric == "general_kl")


def test_it_survives_saving(tmp_path):
    runs = DESIGN.assign(quiz=0.3 + 0.3 * DESIGN["kept"] - 1e-4 * DESIGN["examples"])
    fit = sl.fit(sl.laws.Forgetting("interaction"), runs, "quiz")
    again = sl.load(fit.save(tmp_path / "fit.json"))
    assert again.values == fit.values
    assert again.law.formula_text == fit.law.formula_text


def students(**columns):
    numbers = [64.0, 256.0, 1024.0]
    frame = grid(examples=numbers, kept=[0.16, 0.37, 0.58], format=["label", "cot"])
    scores = {"task_f1": 0.8, "quiz": 0.5, "general_kl": 1.0}
    return sl.read_runs(frame.assign(**scores, **columns))


def test_only_general_knowledge_is_forgotten():
    kinds = {m: forms_for(students(), m) for m in ("task_f1", "quiz", "general_kl")}
    assert {type(f).__name__ for f in kinds["task_f1"]} == {"Compressed"}
    for metric in ("quiz", "general_kl"):
        assert [repr(f) for f in kinds[metric][:8]] == [repr(f) for f in kinds["task_f1"]]
        assert [f.kind for f in kinds[metric][8:]] == [*KINDS, "size"]
    assert all(f.by == ("format",) for f in kinds["quiz"])


def test_what_the_data_leave_as_it_is():
    """Where the truth is flat, the form that says so is found, and no number of labels helps."""
    design = grid(examples=[64.0, 256.0, 1024.0], kept=[0.16, 0.37, 0.58, 0.79], seed=[1, 2])
    flat = sl.laws.Compressed("size")
    truth = {"e": 1.0, "c": 0.6, "g": 0.9}
    log = sl.simulate(flat, design, truth, 0.01, 1, metric="quiz")
    forecast = sl.choose(forms_for(log, "quiz"), log, "quiz").forecast
    assert forecast.weights.idxmax() == repr(flat)
    fit = sl.fit(flat, log, "quiz")
    points = pd.DataFrame({"examples": [64.0, 1024.0], "kept": 0.37})
    few, many = fit.predict(points, interval=None)["estimate"]
    assert few == many
    asked = sl.decide.labels_needed(fit, at_least=few + 0.1, kept=0.37)
    assert not asked.found
    # Where teaching costs half a unit of eta a factor of e, the flat form counts for nothing.
    cost = sl.simulate(sl.laws.Forgetting(), design, TRUE, 0.01, 1, metric="quiz")
    assert sl.choose(forms_for(cost, "quiz"), cost, "quiz").forecast.weights[repr(flat)] < 1e-3


def test_each_format_may_have_an_exponent_of_its_own():
    forms = forms_for(students(), "task_f1")
    assert [f.kind for f in forms[:4]] == [f.kind for f in forms[4:]]
    assert [f.own("b") for f in forms] == [False] * 4 + [True] * 4
    assert len({repr(f) for f in forms}) == 8
    # Two numbers of examples fix none, and one format has no other.
    for few in ({"examples": [64.0, 256.0]}, {"format": "cot"}):
        forms = forms_for(students().select(few), "task_f1")
        assert [f.own("b") for f in forms] == [False] * 4


def test_of_the_size_alone():
    one = students().select({"examples": 64.0})
    (form,) = forms_for(one, "quiz")
    assert repr(form) == repr(sl.laws.Collapse(by="format", share={"k0": False}))
    with pytest.raises(ValueError, match="general_kl, a loss, takes two numbers of examples"):
        forms_for(one, "general_kl")
    label = one.select({"format": "label"})
    assert [type(f).__name__ for f in forms_for(label, "quiz")] == ["Collapse", "Plateau"]
