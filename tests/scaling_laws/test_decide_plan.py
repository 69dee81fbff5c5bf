"""Next runs, bills, surprise and limits."""

import re

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws import cost
from scaling_laws.decide import limits, next_runs, plan, surprise
from scaling_laws.decide.reduction import Beliefs, alone, best_batch, gather
from scaling_laws.study import Noise
from tests.logs import grid

METRIC = sl.Metric("task_accuracy", "higher", "in-domain", 1 / 35, 1.0, "logit", "proportion")
LAW = sl.laws.Compressed("additive")
TRUTH = dict(e=2.3, a=0.8, b=0.35, c=0.5, g=0.9)
NOISE = Noise(run=0.015, items=2000)
START = grid(examples=[3000, 12000, 50000], kept=[1.0, 0.79, 0.58, 0.37])
CANDIDATES = grid(examples=[3000, 12000, 50000, 200000], kept=[1.0, 0.58, 0.25, 0.16])
CANDIDATES["gpu_hours"] = 0.5 + CANDIDATES["examples"] * CANDIDATES["kept"] / 20000
ASKED = {"examples": 400000, "kept": 0.16}


@pytest.fixture(scope="module")
def log():
    return sl.simulate(LAW, START, TRUTH, NOISE, 0, metric=METRIC)


@pytest.fixture(scope="module")
def fit(log):
    return sl.fit(LAW, log, METRIC)


@pytest.fixture(scope="module")
def forecast(log):
    forms = [sl.laws.Compressed(kind) for kind in ("additive", "multiplicative")]
    return sl.choose(forms, log, METRIC).forecast


# --- reduction of variance ------------------------------------------------------------------------
def dense(beliefs, noise, rows):
    """Share of variance left, by the textbook formula."""
    at = beliefs.candidates[rows]
    shared = at @ beliefs.question.T
    inner = np.linalg.solve(at @ at.T + np.diag(noise[rows]), shared)
    total = (beliefs.question**2).sum()
    return 1.0 - float((shared * inner).sum()) / total


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("questions", [1, 4])
def test_greedy_leaves_what_the_normal_equations_say(repeats, questions):
    rng = np.random.default_rng(questions)
    at = rng.normal(size=(30, 5))
    beliefs = Beliefs(rng.normal(size=(questions, 5)), at, (at**2).sum(1))
    noise, price = rng.uniform(0.1, 2.0, 30), rng.uniform(1.0, 3.0, 30)
    batch = best_batch(beliefs, noise, price, 8, np.inf, repeats)
    for k, left in enumerate(batch.left, start=1):
        assert left == pytest.approx(dense(beliefs, noise, batch.rows[:k]), abs=1e-9)
    assert max(np.bincount(batch.rows)) <= repeats
    assert batch.cost == pytest.approx(price[batch.rows].sum())


def test_first_of_a_batch_has_the_best_ratio_and_a_budget_holds():
    rng = np.random.default_rng(1)
    at = rng.normal(size=(40, 3))
    beliefs = Beliefs(rng.normal(size=(1, 3)), at, (at**2).sum(1))
    noise, price = np.full(40, 0.5), rng.uniform(1.0, 5.0, 40)
    batch = best_batch(beliefs, noise, price, 1, np.inf, 1)
    assert batch.rows == [int((alone(beliefs, noise) / price).argmax())]
    limited = best_batch(beliefs, noise, price, 40, 7.0, 1)
    assert 0 < limited.cost <= 7.0 + 1e-6


def test_few_coordinates_hold_all_moments():
    rng = np.random.default_rng(2)
    x = np.linspace(0.0, 1.0, 700)
    slopes = rng.normal(size=(4, 300))
    values = np.stack([np.ones(700), x, x**2, np.exp(x)], axis=1) @ slopes
    asked = values[-1:] + 0.5 * slopes[:1]
    beliefs = gather(asked, lambda rows: values[rows], 700)
    centred = values - values.mean(1, keepdims=True)
    full = centred @ centred.T / 299
    assert np.allclose(beliefs.candidates @ beliefs.candidates.T, full, atol=1e-8 * full.max())
    assert np.allclose(beliefs.variance, np.diag(full))
    cross = centred @ (asked - asked.mean()).T / 299
    assert np.allclose(beliefs.candidates @ beliefs.question.T, cross, atol=1e-8 * full.max())


# --- next runs ------------------------------------------------------------------------------------
def test_proposed_runs_are_candidates_in_order(fit):
    found = next_runs(fit, CANDIDATES, question=ASKED, n=3)
    chosen = found.frame[found.frame["runs"] > 0]
    assert list(chosen["order"]) == [1, 2, 3]
    assert (np.diff(chosen["left"]) < 0).all()
    assert found.values["cost"] == pytest.approx(chosen["cost"].sum())
    assert set(found.frame.index) == set(CANDIDATES.index)
    v = found.values
    assert v["low"] <= v["expected_low"] <= v["answer"] <= v["expected_high"] <= v["high"]
    assert "kept" in str(found)
    assert "<table" in found._repr_html_()
    assert found.why.run
    assert found.why.change


def test_budget_repeats_and_costs_of_any_kind(fit):
    found = next_runs(fit, CANDIDATES, question=ASKED, budget=12.0, repeats=4)
    assert found.values["cost"] <= 12.0
    by_function = next_runs(fit, CANDIDATES, question=ASKED, n=2, cost=lambda c: c["gpu_hours"])
    by_column = next_runs(fit, CANDIDATES, question=ASKED, n=2)
    pd.testing.assert_frame_equal(by_function.frame, by_column.frame)
    equal = next_runs(fit, CANDIDATES, question=ASKED, n=1, cost=1.0)
    assert equal.frame["reduction"].iloc[0] == equal.frame["reduction"].max()


def test_a_question_as_function_is_the_same_as_its_point(fit):
    point = next_runs(fit, CANDIDATES, question=ASKED, n=2)
    asked = next_runs(
        fit, CANDIDATES, n=2,
        question=lambda one: one.predict(ASKED, interval=None)["estimate"].iloc[0],
    )  # fmt: skip
    assert np.allclose(asked.frame["reduction"], point.frame["reduction"], atol=1e-6)


def test_forms_and_several_points(forecast):
    points = pd.DataFrame({"examples": [400000, 400000], "kept": [0.16, 0.58]})
    found = next_runs(forecast, CANDIDATES, question=points, n=2)
    assert found.values["runs"] == 2
    assert "answer" not in found.values
    one = next_runs(forecast, CANDIDATES, question=ASKED, n=2)
    assert 0 < one.values["variance_left"] < 1


def test_losses_too():
    design = pd.DataFrame({"examples": [100, 300, 1000, 3000, 10000, 30000]})
    log = sl.simulate(sl.laws.Power(), design, dict(E=1.0, A=0.5, a=0.3), 0.02, 1)
    fit = sl.fit(sl.laws.Power(), log)
    offered = pd.DataFrame({"examples": [100, 10000, 300000]})
    found = next_runs(fit, offered, question={"examples": 1e6}, cost=1.0, n=1)
    assert found.frame["examples"].iloc[0] == 300000


def test_next_runs_say_how_far_beyond_the_log_they_are_asked(fit):
    far = np.log(400000 / 50000) / np.log(50000 / 3000)
    smaller = np.log(0.37 / 0.16) / np.log(1 / 0.37)
    notes = {n.code: n.sentence for n in next_runs(fit, CANDIDATES, question=ASKED, n=2).notes}
    assert f"lies {max(far, smaller):.2g} of its log-range beyond the log" in notes["outside"]
    assert notes["runs_outside"].startswith("Of 2 chosen runs 2 lie beyond the log")
    several = pd.DataFrame({"examples": [12000, 100000], "kept": [0.58, 0.58]})
    found = next_runs(fit, CANDIDATES, question=several, n=2)
    (note,) = (n for n in found.notes if n.code == "outside")
    assert note.sentence.startswith("The question, examples 100000, kept 0.580, lies")
    assert f"lies {np.log(2) / np.log(50000 / 3000):.2g} of its" in note.sentence
    inside = next_runs(fit, START, question={"examples": 12000, "kept": 0.58}, cost=1.0, n=2)
    assert not {"outside", "runs_outside"} & {n.code for n in inside.notes}
    assert inside.why.run.startswith("without the configuration examples ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cost": "hours"}, "no column 'hours'"),
        ({"cost": [1.0]}, "1 values for 16 candidates"),
        ({"cost": 0.0}, "must be positive"),
        ({"n": 0}, "n = 0 is not 1 or more"),
        ({"budget": -1.0}, "not positive"),
        ({"question": lambda one: float("nan")}, "no finite answer"),
        ({"question": lambda one: 1.0}, "the same in every draw"),
        ({"candidates": []}, "row a run that could be made"),
        ({"fitted": 3}, "neither a Fit nor a Forecast"),
        ({"question": {"examples": 1000}}, "kept"),
    ],
)
def test_what_can_not_be_proposed(fit, change, words):
    given = {"fitted": fit, "candidates": CANDIDATES, "question": ASKED} | change
    with pytest.raises(ValueError, match=words):
        next_runs(**given)


# --- bills ----------------------------------------------------------------------------------------
RUNS = grid(examples=[6000, 50000], kept=[0.79, 0.16], format=["label", "cot"])


def test_a_plan_is_the_sum_of_its_trainings():
    found = plan(RUNS, model="Qwen3-8B", tokens={"label": 200, "cot": 500}, epochs=2)
    teacher, size = cost.shape("Qwen3-8B"), {"label": 200, "cot": 500}
    own = [
        cost.training(teacher.pruned(r.kept), r.examples * size[r.format] * 2)
        for r in RUNS.itertuples()
    ]
    total = cost.budget(own)
    assert (found.values["gpu_hours_low"], found.values["gpu_hours_high"]) == pytest.approx(
        total.gpu_hours
    )
    assert found.values["price_high"] == pytest.approx(total.price[1])
    assert found.frame.index.equals(RUNS.index)
    middle = np.sqrt(found.frame["gpu_hours_low"] * found.frame["gpu_hours_high"])
    assert np.allclose(found.frame["gpu_hours"], middle)


def test_caches_and_traces_are_paid_once():
    serving = cost.Serving("H100", tokens_in=200, tokens_out=300, batch=32)
    found = plan(RUNS, model="Qwen3-8B", tokens=500, target="hidden", tracing=serving)
    teacher = cost.shape("Qwen3-8B")
    caches = sum(
        cost.training(teacher.pruned(0.79), 50000 * 500, teacher=teacher, target="hidden")
        .cache_gpu_hours[0]
        for _ in ("label", "cot")
    )  # fmt: skip
    written = cost.traces(teacher, 50000, serving).gpu_hours[0]
    assert found.values["shared_gpu_hours_low"] == pytest.approx(caches + written)
    assert not any(n.code == "traces_not_priced" for n in found.notes)


def test_a_plan_feeds_next_runs(fit):
    priced = plan(CANDIDATES.drop(columns="gpu_hours"), model="Qwen3-8B", tokens=300)
    found = next_runs(fit, priced.frame, question=ASKED, n=1)
    assert found.values["cost"] in set(priced.frame["gpu_hours"])


@pytest.mark.parametrize(
    ("runs", "given", "words"),
    [
        (RUNS.drop(columns="examples"), {}, "no column 'examples'"),
        (RUNS.drop(columns="kept"), {}, "name no student"),
        (RUNS, {"model": None}, "name it, as in model="),
        (RUNS.assign(examples=0), {}, "needs 1 or more"),
        (RUNS, {"tokens": {"label": 200}}, "no 'cot'"),
        (RUNS.drop(columns="format"), {"tokens": {"label": 200}}, "no column 'format'"),
        (RUNS.assign(kept=16.0), {}, "kept in"),
        (RUNS, {"epochs": 0}, "not positive"),
        ([], {}, "row a run"),
    ],
)
def test_what_can_not_be_priced(runs, given, words):
    with pytest.raises(ValueError, match=words):
        plan(runs, **({"model": "Qwen3-8B", "tokens": 200} | given))


# --- surprise and limits --------------------------------------------------------------------------
def new_runs(seed, sd=NOISE):
    points = grid(examples=[12000, 50000], kept=[0.58, 0.37])
    both = pd.concat([START, points], ignore_index=True)
    drawn = sl.simulate(LAW, both, TRUTH, sd, seed, metric=METRIC).frame
    return drawn.iloc[len(START) :].reset_index(drop=True)


def test_runs_far_off_are_surprising_and_move_the_answer(fit, forecast):
    far = new_runs(1).iloc[:1].assign(task_accuracy=0.95)
    for one in (fit, forecast):
        found = surprise(one, far, question={"examples": 50000, "kept": 0.58})
        assert found.values["p"] < 0.02
        assert found.frame["z"].iloc[0] > 3
        assert found.values["answer_after"] > found.values["answer"]
        assert "another seed" in found.why.change


def test_p_is_even_under_the_truth():
    """Of simulated logs a share s has p <= s: within three errors of the count, and the .3 % by
    which intervals of such logs are off.
    """
    n, found = 200, []
    rng = np.random.default_rng(3)
    points = grid(examples=[12000, 50000], kept=[0.58, 0.37])
    both = pd.concat([START, points], ignore_index=True)
    for _ in range(n):
        drawn = sl.simulate(LAW, both, TRUTH, NOISE, rng, metric=METRIC).frame
        known = sl.fit(LAW, drawn.iloc[: len(START)], METRIC)
        fresh = drawn.iloc[len(START) :].reset_index(drop=True)
        found.append(surprise(known, fresh).values["p"])
    for share in (0.05, 0.1, 0.25, 0.5, 0.75):
        error = 3 * np.sqrt(share * (1 - share) / n) + 0.003
        assert abs(np.mean(np.array(found) <= share) - share) <= error


def test_a_surprise_says_how_far_beyond_the_log_it_is(fit):
    new = new_runs(1)
    inside = surprise(fit, new)
    assert (inside.frame["distance"] == 0).all()
    assert not any(n.code == "outside" for n in inside.notes)
    far = new.assign(kept=[0.58, 0.25, 0.37, 0.2])
    found = surprise(fit, far, question={"examples": 200000, "kept": 0.58})
    expected = np.maximum(0, np.log(0.37 / far["kept"]) / np.log(1 / 0.37))
    assert np.allclose(found.frame["distance"], expected)
    runs, asked = (n.sentence for n in found.notes if n.code == "outside")
    assert f"kept 0.200 lies outside the log, {expected.max():.2g} of its log-range" in runs
    beyond = np.log(4) / np.log(50000 / 3000)
    assert asked.startswith(f"examples 200000, kept 0.580 lies outside the log, {beyond:.2g} of")


def left_out(rows, asked):
    """Return the answer without each run, by where it lies, each log fitted anew."""
    places = [f"examples {r.examples:.4g}, kept {r.kept:.4g}" for r in rows.itertuples()]
    return {
        where: asked(sl.fit(LAW, rows.drop(index=i), METRIC))
        for i, where in zip(rows.index, places, strict=True)
    }


def check_most_moving(run, what, without, whole):
    """The named run moves the answer most, but for what a start anew moves it."""
    told = re.fullmatch(rf"without the configuration (.*) {what} is (\S+) instead of (\S+)", run)
    moved = {where: abs(answer - whole) for where, answer in without.items()}
    most = max(moved.values())
    assert moved[told[1]] >= 0.9 * most
    assert float(told[2]) == pytest.approx(without[told[1]], abs=0.1 * most)
    assert float(told[3]) == pytest.approx(whole, abs=0.1 * most)
    assert np.median(list(moved.values())) < 0.5 * most


def test_the_run_that_matters_to_a_surprise_moves_what_was_expected(fit):
    found = surprise(fit, new_runs(1).assign(kept=0.25))
    worst = found.frame.iloc[found.frame["z"].abs().argmax()]

    def expected(one):
        return float(one.predict(dict(worst[["examples", "kept"]]), None)["estimate"].iloc[0])

    without = left_out(fit.problem.frame.sort_index(), expected)
    what = "the task_accuracy expected of the farthest run"
    check_most_moving(found.why.run, what, without, expected(fit))


def test_what_is_no_new_run(fit):
    with pytest.raises(ValueError, match="has no score"):
        surprise(fit, pd.DataFrame({"examples": [1000], "kept": [0.5], "task_accuracy": [None]}))
    with pytest.raises(ValueError, match="no task_accuracy"):
        surprise(fit, pd.DataFrame({"examples": [1000], "kept": [0.5], "loss": [1.0]}))
    with pytest.raises(ValueError, match="give one"):
        surprise(fit, new_runs(1), question={"examples": [1, 2], "kept": 0.5})


def test_limits_say_what_is_open(fit, forecast):
    found = limits(fit)
    assert set(found.frame["subject"]) == {
        "floor", "top", "examples", "kept", "parameters", "noise", "best",
    }  # fmt: skip
    assert found.values["best_low"] <= found.values["best"] <= found.values["best_high"]
    assert "form" in set(limits(forecast).frame["subject"])
    with pytest.raises(ValueError, match="one metric at a time"):
        limits({"task_accuracy": fit})


def test_the_run_that_matters_to_limits_moves_the_best_score(fit):
    without = left_out(fit.problem.frame.sort_index(), lambda one: limits(one).values["best"])
    found = limits(fit)
    check_most_moving(found.why.run, "the best task_accuracy", without, found.values["best"])


def test_limits_of_a_law_without_one_name_no_run():
    design = grid(kept=np.linspace(0.2, 1.0, 10).round(3))
    truth, quiz = dict(acc1=0.75, k0=0.5, s=6.0), sl.METRICS["quiz"]
    noise = Noise(0.005, items=500)
    log = sl.simulate(sl.laws.Collapse(), design, truth, noise, 0, metric=quiz)
    found = limits(sl.fit(sl.laws.Plateau(), log, quiz))
    assert "best" not in found.values
    assert found.why.run == ""


def test_the_best_attainable_score_is_covered():
    """At 90 %, within four standard errors of the count of logs."""
    n, hits = 40, 0
    rng = np.random.default_rng(1)
    top = 1 / 35 + (1 - 1 / 35) / (1 + np.exp(-TRUTH["e"]))
    for _ in range(n):
        log = sl.simulate(LAW, START, TRUTH, NOISE, rng, metric=METRIC)
        found = limits(sl.fit(LAW, log, METRIC)).values
        hits += found["best_low"] <= top <= found["best_high"]
    assert hits / n >= 0.9 - 4 * np.sqrt(0.9 * 0.1 / n)


def test_limits_of_a_log_at_its_floor():
    design = grid(kept=np.linspace(0.2, 1.0, 10).round(3))
    quiz = sl.METRICS["quiz"]
    log = sl.simulate(
        sl.laws.Collapse(), design, dict(acc1=0.75, k0=0.9, s=20.0), Noise(0.005, items=500), 0,
        metric=quiz,
    )  # fmt: skip
    found = limits(sl.fit(sl.laws.Collapse(), log, quiz)).frame.set_index("subject")
    assert not found.loc["floor", "settled"]


def test_limits_of_flat_data():
    rng = np.random.default_rng(0)
    flat = pd.DataFrame({"examples": [100, 300, 1000, 3000, 10000, 30000],
                         "loss": np.exp(0.01 * rng.standard_normal(6))})  # fmt: skip
    found = limits(sl.fit(sl.laws.Power(), flat)).frame.set_index("subject")
    assert not found.loc["examples", "settled"]
