"""Power of designs, fronts, break-even, cascades."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws import cost
from scaling_laws.decide import break_even, cascade, design_power, grid_for, pareto
from scaling_laws.study import Noise
from scaling_laws.verdict import judge_problem
from tests.logs import grid

METRIC = sl.Metric("task_accuracy", "higher", "in-domain", 1 / 35, 1.0, "logit", "proportion")
LAW = sl.laws.Compressed("additive")
TRUTH = dict(e=2.3, a=0.8, b=0.35, c=0.5, g=0.9)
NOISE = Noise(run=0.015, items=2000)
CURVE = pd.DataFrame({"examples": [100, 300, 1000, 3000, 10000, 30000]})
POWER = dict(E=1.0, A=0.15, a=0.3)


# --- power ----------------------------------------------------------------------------------------
def test_power_is_the_frequency_over_simulations():
    n, sd = 40, 0.08
    law = sl.laws.Power()
    found = design_power(law, CURVE, POWER, sd, at={"examples": 1e5}, n=n, progress=False)
    again = np.random.default_rng(99)
    widths, laws = [], 0
    for _ in range(n):
        one = sl.fit(law, sl.simulate(law, CURVE, POWER, sd, again), rng=again)
        row = one.predict({"examples": 1e5}).iloc[0]
        widths.append(row["high"] - row["low"])
        laws += judge_problem(one.problem, "examples", np.random.default_rng(0)).kind == "law"
    p, q = found.values["p_law"], laws / n
    mean = (p + q) / 2
    assert abs(p - q) <= 4 * np.sqrt(2 * mean * (1 - mean) / n)
    assert 0.05 < mean < 0.95
    # The quantiles that lie 4 standard errors of a median's rank below and above the middle.
    rank = 4 * 0.5 / np.sqrt(n)
    low, high = np.quantile(widths, [0.5 - rank, 0.5 + rank])
    assert low <= found.values["width"] <= high


def test_the_same_curve_at_another_centre_has_the_same_answer():
    law = sl.laws.Power()
    there = pd.DataFrame({"examples": [1000, 3000, 10000, 30000, 100000, 300000]})
    found = design_power(
        law, there, POWER, 0.01, at={"examples": 1e6}, centre=CURVE, n=2, progress=False
    )
    u = 1e6 / float(np.exp(np.log(CURVE["examples"]).mean()))
    assert np.allclose(found.frame["truth"], 1.0 + 0.15 * u**-0.3, rtol=1e-4)


def test_ranges_and_fits_stand_for_what_is_not_known():
    law = sl.laws.Power()
    wide = design_power(
        law, CURVE, POWER | {"A": (0.05, 0.5)}, 0.02, at={"examples": 1e5}, n=8, progress=False
    )
    assert wide.frame["truth"].nunique() == 8
    known = sl.fit(law, sl.simulate(law, CURVE, POWER, 0.02, 0))
    more = pd.DataFrame({"examples": [100, 300, 1000, 3000, 10000, 30000, 100000, 300000]})
    found = design_power(law, more, known, 0.02, at={"examples": 1e5}, n=4, progress=False)
    assert found.frame["truth"].nunique() == 4
    assert "law" in found.answer


def test_cheapest_grid_that_does():
    designs = {
        "3 x 3": grid(examples=[3000, 12000, 50000], kept=[1.0, 0.79, 0.58]),
        "5 x 4": grid(examples=[3000, 10000, 30000, 100000, 400000], kept=[1.0, 0.79, 0.58, 0.37]),
    }
    given = dict(at={"examples": 400000, "kept": 0.37}, metric=METRIC, n=8, progress=False)
    found = grid_for(LAW, designs, TRUTH, NOISE, width=0.1, **given)
    assert found.values["grid"] == "5 x 4"
    assert list(found.frame["cost"]) == [9.0, 20.0]
    none = grid_for(LAW, designs, TRUTH, NOISE, width=1e-4, budget=10.0, **given)
    assert not none.found
    assert len(none.frame) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": 0}, "n = 0"),
        ({"width": 0.0}, "not positive"),
        ({"truth": {"E": 1.0}}, "truth lacks"),
        ({"truth": POWER | {"A": (2.0, 1.0)}}, "lower end first"),
        ({"design": CURVE.iloc[:2]}, "2 usable rows for 3 free parameters"),
    ],
)
def test_what_has_no_power(change, words):
    given = dict(law=sl.laws.Power(), design=CURVE, truth=POWER, noise=0.02,
                 at={"examples": 1e5}, n=2, progress=False)  # fmt: skip
    with pytest.raises(ValueError, match=words):
        design_power(**(given | change))


def test_what_is_no_family():
    given = dict(at={"examples": 1e5}, width=0.1, progress=False)
    with pytest.raises(ValueError, match="map names to designs"):
        grid_for(sl.laws.Power(), {}, POWER, 0.02, **given)
    with pytest.raises(ValueError, match="above budget"):
        grid_for(sl.laws.Power(), {"a": CURVE}, POWER, 0.02, budget=2.0, **given)
    with pytest.raises(ValueError, match="no column 'gpu_hours'"):
        grid_for(sl.laws.Power(), {"a": CURVE}, POWER, 0.02, cost="gpu_hours", **given)


# --- fronts ---------------------------------------------------------------------------------------
BY_FORMAT = sl.laws.Compressed("additive", by="format")
LOG = grid(examples=[3000, 12000, 50000, 200000], kept=[1.0, 0.58, 0.37],
           format=["cot", "label"])  # fmt: skip
FORMATS = TRUTH | {"e[cot]": 2.5, "e[label]": 2.2}
OFFERED = grid(examples=[50000, 200000], kept=[0.25, 0.37, 0.58, 1.0], format=["cot", "label"])
OFFERED["price"] = OFFERED["kept"] * np.where(OFFERED["format"] == "cot", 1.6, 1.0)
OFFERED["latency"] = OFFERED["kept"].round(1) * np.where(OFFERED["format"] == "cot", 5, 1)


@pytest.fixture(scope="module")
def fit():
    return sl.fit(BY_FORMAT, sl.simulate(BY_FORMAT, LOG, FORMATS, NOISE, 0, metric=METRIC), METRIC)


def by_hand(values, costs):
    """Probability of being on the front, pair by pair."""
    n, draws = values.shape
    out = np.zeros(n)
    for b in range(draws):
        for i in range(n):
            cheap = (costs <= costs[:, i, None]).all(0) & (values[:, b] >= values[i, b])
            strict = (costs < costs[:, i, None]).any(0) | (values[:, b] > values[i, b])
            out[i] += not (cheap & strict).any()
    return out / draws


@pytest.mark.parametrize("costs", [["price"], ["price", "latency"], ["latency"]])
def test_front_by_hand(fit, costs, monkeypatch):
    found = pareto(fit, OFFERED, costs=costs)
    values = fit.draws_at(OFFERED)
    expected = by_hand(values, OFFERED[costs].to_numpy().T)
    assert np.allclose(found.frame["probability"].sort_index(), expected)
    # Chunks that split groups of equal cost give the same.
    monkeypatch.setattr("scaling_laws.decide.frontier._CHUNK", 3)
    monkeypatch.setattr("scaling_laws.decide.sampled._CELL", 6)
    again = pareto(fit, OFFERED, costs=costs)
    assert np.allclose(again.frame["probability"].sort_index(), expected)
    assert found.values["expected"] == pytest.approx(expected.sum())


def test_front_of_two_scores_and_its_words(fit):
    quiz = sl.METRICS["quiz"]
    general = sl.simulate(BY_FORMAT, LOG, FORMATS | {"e": 0.5}, NOISE, 1, metric=quiz).frame
    both = fit.problem.frame.sort_index().assign(
        quiz=general["quiz"].to_numpy(), quiz_n=general["quiz_n"].to_numpy()
    )
    fits = {m.name: sl.fit(BY_FORMAT, both, m) for m in (METRIC, quiz)}
    found = pareto(fits, OFFERED)
    one = pareto(fits[METRIC.name], OFFERED)
    # A second score only keeps candidates on the front.
    assert found.values["expected"] >= one.values["expected"] - 1e-9
    assert {"quiz_low", "task_accuracy_high", "front"} <= set(found.frame.columns)
    assert found.why.run
    assert "front" in str(found)


def test_front_probabilities_are_calibrated():
    """Over truths, probabilities add up to the size of the true front; sure ones are on it."""
    rng = np.random.default_rng(5)
    sure, there = [], []
    n = 40
    for _ in range(n):
        truth = FORMATS | {"e[cot]": rng.uniform(2.2, 2.8)}
        exact = sl.simulate(BY_FORMAT, LOG, truth, 0.0, metric=METRIC)
        curve = sl.fit(BY_FORMAT, exact, METRIC).predict(OFFERED, interval=None)["estimate"]
        there.append(by_hand(curve.to_numpy()[:, None], OFFERED[["price"]].to_numpy().T))
        log = sl.simulate(BY_FORMAT, LOG, truth, NOISE, rng, metric=METRIC)
        found = pareto(sl.fit(BY_FORMAT, log, METRIC), OFFERED).frame.sort_index()
        sure.append(found["probability"].to_numpy())
    p, hit = np.array(sure), np.array(there)
    # Errors of candidates of one log go together: logs are the units.
    gap = (p - hit).mean(1)
    assert abs(gap.mean()) <= 4 * gap.std(ddof=1) / np.sqrt(n)
    assert hit[p > 0.95].mean() >= 0.9
    assert hit[p < 0.05].mean() <= 0.1
    middle = (p > 0.2) & (p < 0.8)
    share, size = hit[middle].mean(), middle.any(1).sum()
    assert abs(share - p[middle].mean()) <= 4 * 0.5 / np.sqrt(size)


def test_of_one_price_only_the_best_is_on_the_front(fit):
    many = grid(examples=np.geomspace(3000, 400000, 100).round(), kept=np.linspace(0.2, 1, 50),
                format=["cot", "label"])  # fmt: skip
    many["price"] = many["kept"]
    found = pareto(fit, many)
    assert len(found.frame) == 10000
    assert found.values["expected"] <= 50 + 1e-9


@pytest.mark.parametrize(
    ("candidates", "given", "words"),
    [
        (OFFERED.drop(columns="price"), {}, "no column 'price'"),
        (OFFERED.assign(price=np.nan), {}, "not a finite number"),
        (OFFERED.iloc[:0], {}, "a row a candidate"),
        (OFFERED, {"costs": []}, "costs is empty"),
        (OFFERED, {"level": 1.5}, "not in"),
        (OFFERED.assign(format="other"), {}, "was not in the fitted log"),
    ],
)
def test_what_has_no_front(fit, candidates, given, words):
    with pytest.raises(ValueError, match=words):
        pareto(fit, candidates, **given)


# --- break-even -----------------------------------------------------------------------------------
def test_break_even_of_plain_numbers():
    found = break_even(10.0, 30.0, training=2000.0, per_day=1e6)
    assert found.values["requests"] == pytest.approx(1e8)
    assert found.values["days"] == pytest.approx(100)
    ranges = break_even((5.0, 10.0), (30.0, 40.0), training=(1000.0, 2000.0), other=500.0)
    assert ranges.values["low"] == pytest.approx(1500 / 35 * 1e6)
    assert ranges.values["high"] == pytest.approx(2500 / 20 * 1e6)
    assert ranges.values["low"] <= ranges.values["requests"] <= ranges.values["high"]
    assert not break_even(30.0, 10.0, training=1.0).found
    assert break_even(10.0, 30.0, training=0.0).values["requests"] == 0
    half = break_even((5.0, 15.0), 10.0, training=100.0)
    assert half.found
    assert half.values["high"] == float("inf")


def test_the_price_of_an_hour_cancels():
    pupil = cost.shape("Qwen3-32B").pruned(0.16)
    serving = cost.Serving("H100", tokens_in=200, tokens_out=100, batch=16)
    given = dict(teacher="Qwen3-32B", target="online", mfu=0.3)
    wide = break_even(pupil, "Qwen3-32B", serving=serving,
                      training=cost.training(pupil, 1e8, **given))  # fmt: skip
    dear = cost.Serving("H100", tokens_in=200, tokens_out=100, batch=16, price=9.0)
    one = break_even(pupil, "Qwen3-32B", serving=dear,
                     training=cost.training(pupil, 1e8, price=9.0, **given))  # fmt: skip
    assert wide.values["low"] == pytest.approx(one.values["low"])
    assert wide.values["high"] == pytest.approx(one.values["high"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"student": "Qwen3-8B"}, "pass serving="),
        ({"training": -1.0}, "no range of dollars"),
        ({"training": "much"}, "write dollars"),
        ({"per_day": 0.0}, "per_day"),
    ],
)
def test_what_never_breaks_even(given, words):
    with pytest.raises(ValueError, match=words):
        break_even(**({"student": 1.0, "against": 2.0, "training": 1.0} | given))


# --- cascades -------------------------------------------------------------------------------------
def answers(n, seed):
    """A calibrated student of two labels, and a teacher that is right in 96 %."""
    rng = np.random.default_rng(seed)
    sure = rng.uniform(0.5, 1.0, n)
    gold = rng.integers(0, 2, n)
    named = np.where(rng.random(n) < sure, gold, 1 - gold)
    student = pd.DataFrame({"item": np.arange(n), "gold": gold.astype(str),
                            "predicted": named.astype(str)})  # fmt: skip
    student["p(0)"] = np.where(named == 0, sure, 1 - sure)
    student["p(1)"] = 1 - student["p(0)"]
    taught = np.where(rng.random(n) < 0.96, gold, 1 - gold).astype(str)
    return student, pd.DataFrame({"item": np.arange(n), "predicted": taught})


def test_cascade_of_a_calibrated_student():
    """Passing on the share s of a student sure in U(.5, 1): .96 s + (1 - s)(1 - (1 - s) / 4)."""
    student, teacher = answers(8000, 0)
    found = cascade(student, teacher.sample(frac=1, random_state=0), prices=(1, 20), at_least=0.9)
    s = found.frame["share"]
    exact = 0.96 * s + (1 - s) * (1 - (1 - s) / 4)
    se = np.sqrt(0.25 / 8000)
    assert (np.abs(found.frame["accuracy"] - exact) <= 4 * se).all()
    assert found.values["price"] == pytest.approx(1 + 20 * found.values["share"])
    assert found.values["held_out"] == pytest.approx(0.9, abs=0.025)
    assert 0.25 < found.why.probability < 0.95
    assert not cascade(student, teacher, prices=(1, 20), at_least=0.999).found


def test_bounds_hold_every_cascade_and_are_reached():
    rng = np.random.default_rng(0)
    n = 50
    for _ in range(20):
        right, taught = rng.random(n) < rng.random(), rng.random(n) < rng.random()
        found = cascade(right.mean(), taught.mean(), both=(right & taught).mean(), prices=(1, 2))
        loose = cascade(right.mean(), taught.mean(), prices=(1, 2)).frame
        for share, low, high in found.frame[["share", "low", "high"]].to_numpy():
            passed = round(share * n)
            gain = np.sort(taught.astype(int) - right.astype(int))
            best = (right.sum() + gain[n - passed :].sum()) / n
            worst = (right.sum() + gain[:passed].sum()) / n
            assert high == pytest.approx(best)
            assert low == pytest.approx(worst)
        assert (loose["low"] <= found.frame["low"] + 1e-9).all()
        assert (loose["high"] >= found.frame["high"] - 1e-9).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prices": (1, -1)}, "not negative"),
        ({"at_least": 2.0}, "no accuracy"),
        ({"teacher": 0.9}, "accuracies of both"),
        ({"both": 0.5}, "accuracies alone"),
        ({"item": "id"}, "no column 'id'"),
        ({"confidence": "p"}, "no column 'p'"),
        ({"drop": ["p(0)", "p(1)"]}, "no probabilities"),
        ({"cut": True}, "one of both only"),
        ({"twice": True}, "occurs twice"),
        ({"times": 3.0}, "not in"),
    ],
)
def test_what_is_no_cascade(change, words):
    student, teacher = answers(20, 1)
    given = {"student": student, "teacher": teacher, "prices": (1, 2)}
    if drop := change.pop("drop", None):
        given["student"] = student.drop(columns=drop)
    if change.pop("cut", None):
        given["teacher"] = teacher.iloc[1:]
    if change.pop("twice", None):
        given["student"] = pd.concat([student, student.iloc[:1]])
    if times := change.pop("times", None):
        given["student"] = student.assign(**{"p(0)": times, "p(1)": times})
    with pytest.raises(ValueError, match=words):
        cascade(**(given | change))


def test_summaries_that_can_not_be():
    with pytest.raises(ValueError, match="not in"):
        cascade(1.2, 0.9, prices=(1, 2))
    with pytest.raises(ValueError, match="both = 0.1"):
        cascade(0.8, 0.9, both=0.1, prices=(1, 2))
