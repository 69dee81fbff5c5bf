"""Joint draws of several metrics, probabilities at many points, what a result can do."""

import json
import time
from dataclasses import replace

import matplotlib.axes
import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.decide.coupling import couple
from scaling_laws.decide.draws import joint_of
from scaling_laws.decide.probability import probabilities
from scaling_laws.study import Noise
from tests.logs import grid

DESIGN = grid(
    examples=[6e3, 25e3, 1e5, 4e5],
    kept=[0.79, 0.58, 0.37, 0.16],
    format=["blended", "cot", "label"],
)
LAW = sl.laws.Compressed(by="format")
TASK = {"e": 2.5, "a": 0.8, "b": 0.35, "c": 0.5, "g": 0.9}
GENERAL = {"e": 1.5, "a": 0.2, "b": 0.3, "c": 0.8, "g": 1.2}
ABOVE = (0.8, np.inf)


def two_metrics(seed=1, shared=0.0):
    """A log of two scores; `shared` is the part of a run's error that both have."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(len(DESIGN))
    scores = {}
    for name, truth in (("task_accuracy", TASK), ("mmlu", GENERAL)):
        exact = sl.simulate(LAW, DESIGN, truth, 0.0, 0, metric=name).frame.sort_index()
        own = rng.standard_normal(len(DESIGN))
        error = 0.01 * (shared * common + np.sqrt(1 - shared**2) * own)
        scores[name] = np.clip(exact[name].to_numpy() + error, 0.0, 1.0)
    rows = sl.simulate(LAW, DESIGN, TASK, 0.0, 0, metric="task_accuracy").frame.sort_index()
    return sl.read_runs(rows.assign(**scores))


def fits_of(log, other=None):
    """Fits of both scores to one log, or of the second to another."""
    second = log if other is None else other
    return {"task_accuracy": sl.fit(LAW, log, "task_accuracy"), "mmlu": sl.fit(LAW, second, "mmlu")}


@pytest.fixture(scope="module")
def fits():
    return fits_of(two_metrics())


@pytest.fixture(scope="module")
def answer(fits):
    targets = {"task_accuracy": 0.75, "mmlu": 0.4}
    return sl.decide.smallest(fits, at_least=targets, kept=[0.79, 0.58, 0.37, 0.16])


def test_one_metric_has_the_fits_own_draws(fits):
    fit = fits["task_accuracy"]
    points = DESIGN.iloc[:5]
    assert np.array_equal(joint_of(fit).values("task_accuracy", points), fit.draws_at(points))


@pytest.mark.parametrize("shared", [0.0, 0.95])
def test_draws_of_two_metrics_go_together_as_their_residuals_do(shared):
    joint = joint_of(fits_of(two_metrics(3, shared)))
    point = pd.DataFrame({"examples": [5e4], "kept": [0.45], "format": ["cot"]})
    drawn = [joint.values(name, point)[0] for name in joint.names]
    correlation = np.corrcoef(*drawn)[0, 1]
    # 48 residuals put an error of .14 on their own correlation.
    assert abs(correlation - joint.mix[1, 0]) < 0.25
    assert abs(joint.mix[1, 0] - shared**2) < 0.45


def test_joint_draws_keep_the_interval_of_each_metric(fits):
    joint = joint_of(fits)
    points = DESIGN.iloc[[0, 20, 40]]
    for name, fit in fits.items():
        band = fit.predict(points)
        drawn = np.quantile(joint.values(name, points), [0.05, 0.95], axis=1)
        width = (band["high"] - band["low"]).to_numpy()
        # Two sets of 1000 draws: an end has an error of some 5 % of the width.
        assert np.abs(drawn - band[["low", "high"]].to_numpy().T).max() < 0.25 * width.max()


def test_probabilities_are_shares_of_the_draws(fits):
    joint = joint_of(fits)
    points = DESIGN.iloc[::7].reset_index(drop=True)
    targets = {"task_accuracy": ABOVE, "mmlu": (0.5, np.inf)}
    for interval in ("mean", "run"):
        found = probabilities(joint, points, targets, interval)
        met = [joint.values(n, points, interval) >= low for n, (low, _) in targets.items()]
        assert np.allclose(found["p_mmlu"], met[1].mean(1))
        assert np.allclose(found["probability"], (met[0] & met[1]).mean(1))


@pytest.fixture(scope="module")
def loss():
    design = grid(examples=[6e3, 25e3, 1e5, 4e5], kept=[0.79, 0.58, 0.37, 0.16])
    truth = {"e": 1.5, "a": 0.3, "b": 0.35, "c": 0.2, "g": 0.9}
    law = sl.laws.Compressed()
    return sl.fit(law, sl.simulate(law, design, truth, 0.03, 1, metric="loss"), "loss")


@pytest.mark.parametrize("interval", ["mean", "run"])
def test_probabilities_of_a_loss_are_shares_of_the_draws(loss, interval):
    """A target on one side alone, on both, and what every loss or none meets."""
    joint = joint_of(loss)
    points = grid(examples=[4e5], kept=[0.79, 0.62, 0.5, 0.37, 0.29])
    values = joint.values("loss", points, interval)
    for low, high in ((-np.inf, 1.8), (1.8, np.inf), (1.75, 1.95), (0.0, np.inf), (-np.inf, 0.0)):
        found = probabilities(joint, points, {"loss": (low, high)}, interval)
        assert np.allclose(found["probability"], ((values >= low) & (values <= high)).mean(1))
    sure = ((values >= 1.75) & (values <= 1.95)).mean(1)
    assert sure.min() < 0.1
    assert sure.max() > 0.5


@pytest.mark.parametrize("interval", ["mean", "run"])
def test_the_smallest_student_of_a_loss(loss, interval):
    ladder = [0.79, 0.58, 0.46, 0.37, 0.29, 0.16]
    found = sl.decide.smallest(loss, at_most=1.9, kept=ladder, examples=4e5, interval=interval)
    points = found.frame[["examples", "kept"]]
    share = (joint_of(loss).values("loss", points, interval) <= 1.9).mean(1)
    assert np.allclose(found.frame["probability"], share)
    assert found.found
    assert found.values["kept"] == points.loc[share >= 0.9, "kept"].min()
    assert found.values["kept"] > 0.16


def test_probabilities_of_a_forecast_are_shares_of_its_draws():
    design = grid(examples=np.geomspace(1e3, 1e5, 8).round())
    truth = {"E": 2.0, "A": 0.6, "a": 0.45}
    log = sl.simulate(sl.laws.Power(), design, truth, 0.01, 1, metric="task_accuracy")
    forecast = sl.choose([sl.laws.Power(), sl.laws.Rectified()], log, "task_accuracy").forecast
    joint = joint_of(forecast)
    points = grid(examples=[2e3, 5e4, 1e6])
    found = probabilities(joint, points, {"task_accuracy": (0.82, np.inf)}, "run")
    values = joint.values("task_accuracy", points, "run")
    assert np.allclose(found["probability"], (values >= 0.82).mean(1))
    # Beyond the log the draws are at least as wide as past forecasts erred there.
    distance = forecast.predict(points)["distance"].iloc[2]
    assert values[2].std() >= 0.9 * forecast.growth * distance


def test_beyond_the_log_draws_reach_to_where_an_admissible_form_lies():
    """Also to one without weight, and where past forecasts were right."""
    design = grid(examples=np.geomspace(1e3, 1e5, 8).round())
    truth = {"E": 2.0, "A": 0.6, "a": 0.45}
    log = sl.simulate(sl.laws.Power(), design, truth, 0.01, 1, metric="task_accuracy")
    forecast = sl.choose([sl.laws.Power(), sl.laws.Rectified()], log, "task_accuracy").forecast
    right = replace(forecast.rolled, errors=forecast.rolled.errors.assign(error=0.0))
    # One form has all weight; the other's limit is moved up.
    power, other = forecast.fits["Power"], forecast.fits["Rectified"]
    theta = other.estimate.theta.copy()
    theta[other.model.names.index("E")] += 0.5
    moved = replace(other, estimate=replace(other.estimate, theta=theta))
    one = replace(
        forecast,
        fits={"Power": power, "Rectified": moved},
        weights=pd.Series({"Power": 1.0, "Rectified": 0.0}),
        rolled=right,
        admissible=("Power", "Rectified"),
    )
    points = grid(examples=[2e4, 1e6])
    far = np.ptp(one.admitted(points), axis=0)
    drawn, own = (joint_of(f).values("task_accuracy", points) for f in (one, power))
    assert np.array_equal(drawn[0], own[0]), "inside the log nothing is added"
    # Three errors of a standard deviation of 1000 draws are 7 %, and of their correlation 10 %.
    assert 1.645 * drawn[1].std() >= 0.85 * far[1] > 1.645 * own[1].std()


def test_beyond_the_log_no_draw_is_above_the_top():
    """A forecast that knows little far away spreads its draws up to the best score, not past it."""
    design = pd.DataFrame({"examples": np.geomspace(100, 3e3, 6).repeat(2).round()})
    truth = {"E": 0.2, "A": 0.5, "a": 0.5}
    runs = sl.simulate(sl.laws.Power(), design, truth, 0.1, 1, metric="task_f1")
    forecast = sl.choose([sl.laws.Power(), sl.laws.Rectified()], runs, "task_f1").forecast
    points = pd.DataFrame({"examples": [1e9]})
    values = joint_of(forecast).values("task_f1", points)
    assert 0.0 <= values.min() < values.max() <= 1.0
    found = sl.decide.labels_needed(forecast, at_least=0.99)
    assert found.values["top_task_f1"][2] <= 1.0
    # A target below what is expected is the likeliest to be met where the forecast knows most.
    below = sl.decide.labels_needed(forecast, at_least=0.6)
    assert not below.found
    _, low, high = below.values["top_task_f1"]
    assert high - low < 0.8 * np.ptp(np.quantile(values, [0.05, 0.95]))


@pytest.mark.parametrize("missing", [(), ("run_id",), ("run_id", "seed")])
def test_runs_of_two_logs_are_known_by_name_by_seed_or_by_order(missing):
    """Two seeds of each configuration, each score in a log of its own, the second log shuffled."""
    parts = [two_metrics(seed, 0.9).frame.assign(seed=float(seed)) for seed in (1, 2)]
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(run_id=[f"r{i}" for i in range(len(rows))]).drop(columns=list(missing))
    order = np.random.default_rng(0).permutation(len(rows))
    if "seed" in missing:
        # Only their order tells the two runs of a configuration apart.
        order = np.concatenate([order[order < 48], order[order < 48] + 48])
    first, second = rows.drop(columns="mmlu"), rows.drop(columns="task_accuracy").iloc[order]
    found = couple(fits_of(first, second), 1)
    assert found.width == len(rows)
    assert np.array_equal(np.sort(found.places["mmlu"]), np.arange(len(rows)))
    expected = couple(fits_of(rows), 1)
    # Rows in another order are summed in another order, and descended to within a tolerance.
    assert found.mix == pytest.approx(expected.mix, abs=1e-3)
    assert found.mix[1, 0] > 0.5


def test_fits_of_different_logs_are_refused(fits):
    other = sl.fit(LAW, two_metrics(9), "mmlu")
    with pytest.raises(ValueError, match="fitted to different logs: no run has both"):
        joint_of({"task_accuracy": fits["task_accuracy"], "mmlu": other})


def test_what_is_no_fit_is_refused(fits):
    with pytest.raises(TypeError, match="int is no Fit, Forecast, or mapping"):
        joint_of(3)
    with pytest.raises(TypeError, match="an empty mapping is no Fit"):
        joint_of({})
    with pytest.raises(ValueError, match="is a fit of mmlu; write 'mmlu' as its key"):
        joint_of({"task_f1": fits["mmlu"]})


def test_a_result_prints_draws_and_becomes_json(answer):
    assert answer.found
    assert answer.answer in str(answer).replace("\n            ", " ")
    assert "run       without" in str(answer)
    assert 0.9 <= answer.why.probability <= 1.0
    assert answer.why.change
    assert json.loads(json.dumps(answer.to_dict(), allow_nan=False))["values"] == answer.values
    assert isinstance(answer.plot(), matplotlib.axes.Axes)


def test_html_is_escaped():
    frame = pd.DataFrame({"name": ["<script>"], "x": [1.0]})
    found = sl.decide.Result("a < b?", "<b>", frame, sl.decide.View("name", "x", style="bars"))
    page = found._repr_html_()
    assert "<script>" not in page
    assert "<b>" not in page
    assert found.why == sl.decide.Why("<b>")


def test_results_are_frozen(answer):
    with pytest.raises(AttributeError):
        answer.answer = "other"


@pytest.mark.slow
def test_hundred_thousand_candidates_take_seconds(fits):
    rng = np.random.default_rng(0)
    n = 100_000
    points = pd.DataFrame(
        {
            "examples": np.exp(rng.uniform(np.log(6e3), np.log(4e5), n)),
            "kept": rng.uniform(0.16, 1.0, n),
            "format": rng.choice(["blended", "cot", "label"], n),
        }
    )
    joint = joint_of(fits)
    begin = time.process_time()
    probabilities(joint, points, {"task_accuracy": ABOVE, "mmlu": (0.5, np.inf)}, "run")
    assert time.process_time() - begin < 5.0


def test_noise_of_a_run_counts(fits):
    """At the curve's own median score a new run is above it half of the time."""
    joint = joint_of(fits["mmlu"])
    point = DESIGN.iloc[[5]]
    middle = float(np.median(joint.values("mmlu", point)))
    found = probabilities(joint, point, {"mmlu": (middle, np.inf)}, "run")["probability"].iloc[0]
    # 1000 draws: an error of .016.
    assert abs(found - 0.5) < 0.06


def test_scores_are_wider_than_runs():
    log = sl.simulate(LAW, DESIGN, TASK, Noise(run=0.01, items=500), 1, metric="task_accuracy")
    joint = joint_of(sl.fit(LAW, log, "task_accuracy"))
    point = DESIGN.iloc[[5]]
    spread = [joint.values("task_accuracy", point, k).std() for k in ("mean", "run", "score")]
    assert spread[0] < spread[1] < spread[2]


NO_LEVEL = {
    "pareto": lambda fit: sl.decide.pareto(fit, DESIGN, costs="kept", level=90),
    "surprise": lambda fit: sl.decide.surprise(fit, DESIGN.assign(mmlu=0.5), level=90),
    "limits": lambda fit: sl.decide.limits(fit, level=90),
    "next_runs": lambda fit: sl.decide.next_runs(
        fit, DESIGN, question={"examples": 6e3, "kept": 0.5, "format": "cot"}, cost=1.0, level=90
    ),
    "compare_formats": lambda fit: sl.decide.compare_formats(fit, level=90),
}


@pytest.mark.parametrize("question", NO_LEVEL)
def test_a_level_is_a_share_in_every_question(fits, question):
    with pytest.raises(ValueError, match=r"level = 90 is not in \(0, 1\); write 0.9 for 90 %"):
        NO_LEVEL[question](fits["mmlu"])


def test_intervals_are_known_in_every_comparison(fits):
    with pytest.raises(ValueError, match="interval = 'runs' is none of 'run'"):
        sl.decide.compare_formats(fits["mmlu"], interval="runs")
