"""Hold-out, choice and Forecast."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl

FORMS = (sl.laws.Power(), sl.laws.Rectified())


@pytest.fixture(scope="module")
def curve():
    """Twelve sizes of a rectified curve, half a percent of noise."""
    x = np.logspace(2, 6, 12).round()
    rng = np.random.default_rng(3)
    loss = 0.5 + 2.0 / (30 + x**0.5) * 10
    return pd.DataFrame({"examples": x, "loss": loss * np.exp(0.005 * rng.normal(size=12))})


def test_outer_losses_never_reach_the_choice(curve):
    """Changing the held-out losses changes no forecast, weight or interval."""
    changed = curve.copy()
    changed.loc[changed["examples"] > 1e5, "loss"] *= 3.0
    a, b = (sl.holdout(FORMS, c, "loss", leave=3) for c in (curve, changed))
    assert len(a.frame) == 3
    for column in ("estimate", "low", "high"):
        np.testing.assert_array_equal(a.frame[column], b.frame[column])
    pd.testing.assert_series_equal(a.fitted.weights, b.fitted.weights)
    np.testing.assert_allclose(b.frame["ratio"] * 3.0, a.frame["ratio"], rtol=1e-12)


def test_hardest_levels_are_the_largest_examples_or_the_least_kept(curve):
    assert sl.holdout(FORMS[0], curve, "loss", leave=2).frame["examples"].min() > 4e5
    kept = pd.DataFrame({"kept": [1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2]})
    law = sl.laws.Collapse()
    log = sl.simulate(law, kept, {"acc1": 0.75, "k0": 0.5, "s": 5.0}, 0.005, 1, metric="mmlu")
    held = sl.holdout(law, log, "mmlu", leave=2)
    assert sorted(held.frame["kept"]) == [0.2, 0.3]


def test_train_takes_the_easiest_share(curve):
    held = sl.holdout(FORMS[0], curve, "loss", by="examples", train=0.5)
    assert len(held.frame) == 6
    assert held.fitted.problem.n == 6


def test_measures_follow_from_the_frame(curve):
    held = sl.holdout(FORMS[0], curve, "loss", leave=3)
    ratio = held.frame["estimate"] / held.frame["observed"]
    assert held.are == pytest.approx(np.abs(ratio - 1).mean())
    assert held.bias == pytest.approx(ratio.mean() - 1)
    inside = held.frame["observed"].between(held.frame["low"], held.frame["high"])
    assert held.coverage == inside.mean()
    best = curve.nsmallest(9, "examples")["loss"].min()
    truth = curve.nlargest(3, "examples")["loss"]
    assert held.baselines["best seen so far"] == pytest.approx(np.abs(best / truth - 1).mean())


def test_a_collapsed_student_scores_nothing():
    """Relative to a score of 0 every error is infinite; those in points are not."""
    kept = [1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    scores = [0.85, 0.8, 0.71, 0.6, 0.43, 0.25, 0.05, 0.0]
    log = [{"kept": k, "task_f1": s} for k, s in zip(kept, scores, strict=True)]
    held = sl.holdout(sl.laws.Collapse(), log, "task_f1", by="kept", leave=2)
    assert np.isinf(held.are)
    assert not held.relative
    assert held.baselines["mean"] == pytest.approx(np.mean(scores[:6]) - np.mean(scores[6:]))
    assert held.errors["the law"] < held.rmse < 0.1
    assert "mean |pred - obs|" in repr(held)
    assert "inf" not in repr(held).replace("inside", "")
    held.plot().figure.draw_without_rendering()
    sl.plot.baselines(held).figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"leave": 12}, "leave between 1 and 11"),
        ({"leave": 0}, "leave between 1 and 11"),
        ({"train": 1.5}, r"not in \(0, 1\)"),
        ({"leave": 3, "train": 0.5}, "not both"),
        ({"by": "cost"}, "no column 'cost'"),
    ],
)
def test_impossible_holdouts_are_sentences(curve, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        sl.holdout(FORMS[0], curve, "loss", **options)


def test_forecast_mixes_by_weight(curve):
    choice = sl.choose(FORMS, curve, "loss")
    forecast = choice.forecast
    assert forecast.weights.sum() == pytest.approx(1.0)
    assert (forecast.weights >= 0).all()
    own = [
        np.log(f.predict(examples=2e6, interval=None)["estimate"][0]) for f in choice.fits.values()
    ]
    mixed = np.log(forecast.predict(examples=2e6, interval=None)["estimate"][0])
    assert mixed == pytest.approx(np.dot(forecast.weights, own), rel=1e-12)


def test_forecast_is_as_wide_as_forms_and_record_say(curve):
    choice = sl.choose(FORMS, curve, "loss")
    far = choice.forecast.predict(examples=[1e7, 1e8])
    assert (far["support"] == "outside").all()
    for form in choice.forecast.admissible:
        own = choice.fits[form].predict(examples=[1e7, 1e8], interval=None)["estimate"]
        assert (far["low"] <= own + 1e-12).all()
        assert (far["high"] >= own - 1e-12).all()
    half = np.log(far["high"] / far["estimate"])
    record = 1.6448 * choice.forecast.growth * far["distance"]
    assert (half >= record * (1 - 1e-4)).all()


def test_forecast_draws_sum_to_all_and_repeat(curve):
    forecast = sl.choose(FORMS, curve, "loss").forecast
    points = pd.DataFrame({"examples": [1e4, 1e5]})
    first, again = (forecast.draws_at(points, "run", rng=5) for _ in range(2))
    assert first.shape == (2, 1000)
    np.testing.assert_array_equal(first, again)


def test_an_interval_of_another_name_is_refused_by_fit_and_forecast_alike(curve):
    forecast = sl.choose(FORMS, curve, "loss").forecast
    at = pd.DataFrame({"examples": [1e4]})
    for ask in (forecast.predict, forecast.draws_at, forecast.best.predict, forecast.best.draws_at):
        with pytest.raises(ValueError, match=r"^interval: 'runs' is not one of 'mean', 'run', 'sc"):
            ask(at, interval="runs")


def test_frame_says_what_was_tried(curve):
    choice = sl.choose([*FORMS, sl.laws.Chinchilla()], curve, "loss")
    assert len(choice.frame) == 2
    assert "needs the column 'params'" in next(iter(choice.failed.values()))
    assert any(n.code == "forms_tried" and n.sentence.startswith("3 forms") for n in choice.notes)
    assert choice.verdict.kind == "law"


def test_too_few_runs_have_no_aicc():
    few = pd.DataFrame({"examples": [1e2, 1e3, 1e4, 1e5], "loss": [3.0, 2.0, 1.6, 1.4]})
    choice = sl.choose([sl.laws.Power()], few, "loss")
    assert choice.frame["aicc"].isna().all()
    assert choice.frame["weight"].tolist() == [1.0]


def test_where_nothing_tells_forms_apart_the_fewest_parameters_count():
    """Four points pass through any plateau; only its width is believed."""
    points = zip((1, 0.8, 0.6, 0.4), (0.74, 0.70, 0.50, 0.32), strict=True)
    rows = [{"kept": kept, "mmlu": score, "mmlu_se": 0.005} for kept, score in points]
    choice = sl.choose([sl.laws.Plateau(), sl.laws.Collapse()], sl.read_runs(rows), "mmlu")
    assert choice.frame["aicc"].isna().all()
    assert choice.frame["weight"].to_dict() == {"Collapse": 1.0, "Plateau": 0.0}
    assert choice.frame["admissible"].all()


def test_no_form_fits():
    with pytest.raises(ValueError, match="no form can be fitted"):
        sl.choose([sl.laws.Chinchilla()], pd.DataFrame({"examples": [1.0], "loss": [2.0]}), "loss")


def test_where_no_form_fits_the_choice_says_so():
    """Two seeds a level: the runs themselves say that a law without a floor is not theirs."""
    tokens = np.repeat(np.logspace(8, 11, 7), 2)
    error = 0.005 * np.random.default_rng(0).standard_normal(14)
    rows = pd.DataFrame({"tokens": tokens, "seed": np.tile([0, 1], 7),
                         "loss": (1.8 + 2085 * tokens**-0.366) * np.exp(error)})  # fmt: skip
    wrong, right = sl.laws.Kaplan("tokens"), sl.laws.Power("tokens")
    told = {n.code: n for n in sl.choose([wrong], rows).notes}
    assert told["no_form_fits"].severity == "warning"
    assert "least Kaplan(of='tokens'), F = 8" in told["no_form_fits"].sentence
    assert "lack_of_fit" in told
    assert not {"no_form_fits", "lack_of_fit"} & {
        n.code for n in sl.choose([wrong, right], rows).notes
    }


def test_one_form_is_no_forms():
    log = [{"examples": 10**k, "loss": 1 + 10 ** (-0.3 * k)} for k in range(1, 8)]
    title = repr(sl.choose([sl.laws.Power()], log)).split("\n")[0]
    assert title.startswith("Choice among 1 form of loss, rolled along examples (")
