"""Which forms a log admits, what they refuse to pool, and which stand for one another."""

import re

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.candidates import admissible_forms, alternatives, axes_of, factors_of
from scaling_laws.metrics import METRICS
from scaling_laws.presets import load_points
from tests.logs import grid

L = sl.laws
SIZES, DATA = [1e8, 1e9, 8e9], [1e3, 1e4, 1e5]
EPOCHS = grid(params=SIZES, tokens=[1e9, 2e9, 8e9])


def log(metric="loss", **columns):
    return sl.read_runs(grid(**columns).assign(**{metric: 0.5}))


def names(forms):
    return [f.options.get("kind", type(f).__name__) for f in forms]


KINDS = ["additive", "multiplicative", "interaction", "rectified"]
TUNED = ["additive", "interaction", "rectified", "FineTuning"]


@pytest.mark.parametrize(
    ("axes", "metric", "expected"),
    [
        ({"examples": DATA, "kept": [1.0, 0.5]}, "task_f1", KINDS),
        ({"tokens": DATA, "kept": [1.0, 0.5]}, "loss", KINDS),
        ({"examples": DATA, "params": SIZES}, "task_f1", TUNED),
        ({"tokens": DATA, "params": SIZES}, "loss", ["Chinchilla", "Supervised", "Kaplan"]),
        ({"tokens": DATA, "params": SIZES}, "mmlu", ["Chinchilla"]),
        ({"kept": [1.0, 0.5]}, "mmlu", ["Collapse", "Plateau"]),
        ({"kept": [1.0, 0.5]}, "loss", ["Plateau"]),
        ({"params": SIZES}, "loss", ["Power", "Rectified"]),
        ({"params": SIZES}, "mmlu", ["Power", "Rectified"]),
        ({"kept": [1.0, 0.5], "params_nonzero": SIZES, "tokens": DATA}, "loss", ["Sparsity"]),
        ({"kept": [1.0, 0.5], "score_unpruned": [0.6, 0.7]}, "mmlu", ["Pruning"]),
    ],
)
def test_every_axis_that_varies_is_one_of_every_form(axes, metric, expected):
    runs = log(metric, **axes)
    forms = admissible_forms(runs)
    assert names(forms) == expected
    for form in forms:
        assert {a.name for a in form.axis_list()} == set(axes)
    # A column of one value is no axis, and a factor is none.
    assert names(admissible_forms(log(metric, **axes, steps=[7]))) == expected
    by = admissible_forms(log(metric, **axes, format=["cot", "label"]), ["format"])
    assert [f.by for f in by] == [("format",)] * len(expected)


def test_three_models_are_not_fitted_as_one_curve():
    runs = load_points("headline-f1")
    forms = admissible_forms(runs)
    assert names(forms) == TUNED
    assert forms[0].options["full"] == 8.03e9
    found = sl.backtest(None, runs, leave=1, progress=False)
    assert set(found.curves["axis"]) == {"examples"}
    assert "always FineTuning" in set(found.curves["method"])
    # The law by hand: that of the README.
    law = L.Compressed("multiplicative", size="params", full=8.03e9)
    point = {"params": 3e9, "examples": 2e4}
    want, got = (sl.fit(f, runs, "task_f1").predict(point, None) for f in (law, forms[-1]))
    np.testing.assert_allclose(got["estimate"], want["estimate"], rtol=1e-4)


@pytest.mark.parametrize("levels", [7, 8, 9])
@pytest.mark.parametrize("axis", ["examples", "tokens", "params"])
def test_curves_that_bend_need_levels(axis, levels):
    """Bounded has five parameters, Broken six."""
    x = list(np.logspace(6, 9, levels).round())
    expected = ["Power", "Rectified", *["Broken"] * (levels >= 9), *["Bounded"] * (levels >= 8)]
    assert names(admissible_forms(log(**{axis: x}))) == expected
    law = L.Power(axis)
    others = alternatives(law, log(**{axis: x}).frame, METRICS["loss"])
    assert names(others) == expected[1:]


def test_each_level_of_a_factor_needs_them():
    x = list(np.logspace(2, 5, 9).round())
    runs = log(examples=x, format=["cot", "label"])
    assert len(admissible_forms(runs, ["format"])) == 4
    fewer = runs.select(~((runs.frame["format"] == "cot") & (runs.frame["examples"] > 1e3)))
    assert len(admissible_forms(fewer)) == 4
    assert len(admissible_forms(fewer, ["format"])) == 2


# --- sizes that say the same ----------------------------------------------------------------------


def pruned(teachers, kept=(1.0, 0.5, 0.25)):
    """Students of some teachers; embeddings stay whole, so parameters are no multiple of kept."""
    frame = grid(teacher=list(teachers), kept=list(kept), examples=DATA)
    whole = frame["teacher"].map(teachers)
    return frame.assign(params=1e8 + (whole - 1e8) * frame["kept"], task_f1=0.5)


def test_parameters_that_follow_from_the_fraction_kept_are_no_axis():
    runs = sl.read_runs(pruned({"A": 1e9}))
    assert axes_of(runs) == ("examples", "kept")
    rounded = runs.frame.assign(kept=runs.frame["kept"].replace(0.25, 0.26))
    rounded.loc[rounded.index[-1], "params"] *= 1.02
    assert axes_of(sl.read_runs(rounded)) == ("examples", "kept")


@pytest.mark.parametrize("other", [1.2e9, 7e8, 7e9])
def test_two_teachers_are_told_apart(other):
    runs = sl.read_runs(pruned({"A": 1e9, "B": other}))
    with pytest.raises(
        ValueError, match=r"params varies \(6 levels\) beside examples and kept"
    ) as e:
        admissible_forms(runs)
    assert "by='teacher'" in str(e.value)
    assert "sl.laws.Compressed(size='params', full=" in str(e.value)
    assert names(admissible_forms(runs, ["teacher"])) == KINDS
    assert factors_of(runs) == ("teacher",)


def test_the_sentence_is_right_without_a_category():
    runs = log(kept=[1.0, 0.5], params=SIZES)
    with pytest.raises(ValueError, match=re.escape("params varies (3 levels) beside kept")) as e:
        admissible_forms(runs)
    assert "by='params', select one of them" in str(e.value)
    assert names(admissible_forms(runs, ["params"])) == ["Plateau"]
    assert str(e.value).endswith("name a law, such as sl.laws.Power(axis='params').")


def test_nothing_varies():
    with pytest.raises(ValueError, match="varies none of examples, kept, params, tokens, "):
        admissible_forms(log(seed=[1, 2]))
    with pytest.raises(ValueError, match=r"by: the log has no column 'formt'; it has examples, "):
        admissible_forms(log(examples=DATA), ["formt"])
    with pytest.raises(ValueError, match=r"no form of kept and score_unpruned is one of a loss"):
        admissible_forms(log(kept=[1.0, 0.5], score_unpruned=[0.6, 0.7]))


def test_what_has_no_logarithm_tells_nothing_of_sizes():
    frame = grid(kept=[1.0, 0.5], params=[1e9], tokens=DATA).assign(loss=1.0)
    frame = frame.assign(params_nonzero=frame["kept"] * 1e9, params_unpruned="large")
    frame.loc[0, "params_nonzero"] = 0.0
    assert axes_of(sl.read_runs(frame)) == ("kept", "tokens")


def test_density_and_size_make_the_weights_that_are_not_zero():
    frame = grid(kept=[1.0, 0.5, 0.25], params=SIZES, tokens=DATA).assign(loss=1.0)
    whole = sl.read_runs(frame.assign(params_nonzero=frame["params"] * frame["kept"]))
    assert names(admissible_forms(whole)) == ["Sparsity"]
    left = frame.assign(params_unpruned=frame["params"], params=frame["params"] * frame["kept"])
    left["loss_unpruned"] = left["params_unpruned"] ** -0.1
    assert names(admissible_forms(sl.read_runs(left))) == ["P2"]


# --- data that say the same -----------------------------------------------------------------------


def test_tokens_beside_examples_are_no_axis():
    """Early stopping moves them."""
    runs = log(examples=DATA, seed=[1, 2, 3]).frame
    runs["tokens"] = runs["examples"] * np.random.default_rng(0).uniform(50, 100, len(runs))
    assert axes_of(sl.read_runs(runs)) == ("examples",)


@pytest.mark.parametrize(
    ("unique", "expected"),
    [
        (1e9, "Repeated"),
        (EPOCHS["tokens"].clip(upper=1e9), "Repeated"),
        (EPOCHS["tokens"], "Chinchilla"),
        (4 * EPOCHS["tokens"], "Chinchilla"),
        (EPOCHS["tokens"] / 4, "Chinchilla"),
        (1e10, "Chinchilla"),
    ],
)
def test_unique_tokens_count_where_epochs_vary(unique, expected):
    runs = sl.read_runs(EPOCHS.assign(unique_tokens=unique, loss=1.0))
    assert names(admissible_forms(runs))[0] == expected


# --- beside a law ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "metric", "expected"),
    [
        (L.Rectified("tokens"), "loss", ["Power", "Broken", "Bounded"]),
        (L.Power("steps"), "loss", ["Rectified", "Broken", "Bounded"]),
        (L.Compressed(), "task_f1", KINDS[1:]),
        (L.Compressed(), "quiz", [*KINDS[1:], "additive"]),
        (L.Compressed("multiplicative", size="params", full=9.0), "loss", TUNED[:3]),
        (L.FineTuning(), "loss", TUNED[:3]),
        (L.FineTuning(data="steps"), "loss", TUNED[:3]),
        (L.Forgetting("interaction"), "quiz", ["additive", "multiplicative", "interaction"]),
        (L.Chinchilla(), "loss", ["Supervised", "Kaplan"]),
        (L.Chinchilla(), "mmlu", []),
        (L.Kaplan("tokens"), "loss", []),
        (L.Collapse(floor=0.25), "mmlu", ["Plateau"]),
        (L.Pruning(whole=0.8), "mmlu", []),
        (sl.laws.from_function(lambda examples, a: a + 0 * examples, ["examples"]), "loss", []),
    ],
)
def test_alternatives_have_the_axes_and_factors_of_the_law(law, metric, expected):
    columns = ("examples", "params", "tokens", "steps", "kept")
    frame = pd.DataFrame({c: np.logspace(0, 3, 12) for c in columns})
    found = alternatives(law, frame, METRICS[metric])
    assert names(found) == expected
    for form in found:
        assert {a.name for a in form.axis_list()} == {a.name for a in law.axis_list()}
        if form.options.get("full") is not None:
            assert form.options["full"] == law.options.get("full", 1e3)


def test_alternatives_keep_factors_and_what_is_shared():
    frame = log(examples=DATA, kept=[1.0, 0.5], format=["cot", "label"]).frame
    law = L.Compressed(by="format", share={"b": False, "c": True})
    found = {f.kind: f for f in alternatives(law, frame, METRICS["task_f1"])}
    assert all(f.by == ("format",) for f in found.values())
    assert found["interaction"].share == {"b": False, "c": True}
    assert found["multiplicative"].share == {"b": False}
    # The exponent of Power and the limit of Broken are both called a.
    law = L.Power(by="format", share={"a": False})
    runs = log(examples=list(np.logspace(2, 5, 9).round()), format=["cot", "label"]).frame
    found = {f.name: f.share for f in alternatives(law, runs, METRICS["loss"])}
    assert found == {"Rectified": {"a": False}, "Broken": {}, "Bounded": {}}


# --- factors --------------------------------------------------------------------------------------


def test_every_category_that_varies_is_a_factor_once():
    runs = grid(
        examples=DATA, kept=[1.0, 0.5], format=["cot", "label"], method=["full", "lora"],
        teacher=["A"], schedule=["iterative", "one-shot"],
    ).assign(task_f1=0.5)  # fmt: skip
    assert factors_of(sl.read_runs(runs)) == ("schedule", "format", "method")
    # What goes with another one, or with the size, is none; nor is what is measured or named.
    runs["prompt_id"] = runs["format"] + "-prompt"
    runs["origin"] = np.where(runs["kept"] == 1, "pretrained", "pruned")
    runs["stopped_by"] = np.where(runs.index % 2, "epochs", "patience")
    runs["run_id"] = [f"run {i}" for i in runs.index]
    assert factors_of(sl.read_runs(runs)) == ("schedule", "format", "method")
    assert factors_of(load_points("headline-f1")) == ()
