"""The smallest student, and how many labels: answers, limits, bad input, what they are worth."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

import scaling_laws as sl
from scaling_laws.decide.asking import decisive_unit
from scaling_laws.decide.draws import joint_of
from scaling_laws.decide.probability import probabilities
from scaling_laws.show import number
from scaling_laws.study import Noise
from tests.logs import grid

LAW = sl.laws.Compressed()
TRUTH = {"e": 2.5, "a": 0.8, "b": 0.35, "c": 0.5, "g": 0.9}
DESIGN = grid(examples=[6e3, 5e4, 4e5], kept=[0.79, 0.58, 0.37, 0.16])
LADDER = [1.0, 0.79, 0.58, 0.46, 0.37, 0.29, 0.23, 0.16]
CURVE = {"E": 2.0, "A": 0.6, "a": 0.45}
SIZES = grid(examples=np.geomspace(6e3, 4e5, 12).round())
RUN = 0.01


def true_curve(law, design, truth, points):
    """Exact scores at points, amplitudes at the centre of the design."""
    exact = sl.simulate(law, design, truth, 0.0, metric="task_accuracy")
    fit = sl.fit(law, exact, "task_accuracy")
    return fit.predict(points, interval=None)["estimate"].to_numpy()


@pytest.fixture(scope="module")
def fit():
    log = sl.simulate(LAW, DESIGN, TRUTH, Noise(run=RUN, items=3000), 1, metric="task_accuracy")
    return sl.fit(LAW, log, "task_accuracy")


@pytest.fixture(scope="module")
def curve():
    noise = Noise(run=0.008, items=3000)
    log = sl.simulate(sl.laws.Power(), SIZES, CURVE, noise, 1, metric="task_accuracy")
    return sl.fit(sl.laws.Power(), log, "task_accuracy")


def test_the_answer_is_the_smallest_that_meets_the_confidence(fit):
    found = sl.decide.smallest(fit, at_least=0.72, kept=LADDER, examples=4e5)
    table = found.frame.set_index("kept")
    meeting = table.index[table["probability"] >= 0.9]
    assert found.values["kept"] == meeting.min()
    assert found.frame["meets"].iloc[0]


def test_more_confidence_never_means_a_smaller_student(fit):
    kept = [
        sl.decide.smallest(fit, at_least=0.72, confidence=c).values["kept"]
        for c in (0.5, 0.9, 0.99)
    ]
    assert kept == sorted(kept)


def test_none_names_the_nearest(fit):
    found = sl.decide.smallest(fit, at_least=0.999)
    assert not found.found
    assert found.answer.startswith(
        "none of 41 meets task_accuracy >= 0.999 with probability 0.9; nearest examples"
    )


def test_latency_price_and_memory_limit(fit):
    serving = sl.cost.Serving("H100", tokens_in=200, tokens_out=4)
    common = {"at_least": 0.5, "kept": LADDER, "serving": serving, "shape": "Qwen3-32B"}
    free = sl.decide.smallest(fit, **common)
    for name in ("latency_ms", "memory", "price"):
        most = free.values[name]
        assert sl.decide.smallest(fit, **common, **{name: most}).found
        none = sl.decide.smallest(fit, **common, **{name: most / 2})
        assert not none.found
        assert name in str(none.why)
    assert sl.decide.smallest(fit, **common, by="price").values == free.values


def test_output_length_decides():
    """The larger student that answers with a label is faster than the smaller that reasons."""
    design = grid(examples=[6e3, 5e4, 4e5], kept=[0.79, 0.58, 0.37, 0.16], format=["cot", "label"])
    law = sl.laws.Compressed(by="format")
    truth = {**TRUTH, "e[cot]": 3.0, "e[label]": 2.5}
    log = sl.simulate(law, design, truth, 0.005, 1, metric="task_accuracy")
    found = sl.decide.smallest(
        sl.fit(law, log, "task_accuracy"), at_least=0.8, by="latency", shape="Qwen3-32B",
        serving=sl.cost.Serving("H100", tokens_in=200, tokens_out=4),
        tokens_out={"label": 4, "cot": 300},
    )  # fmt: skip
    assert found.values["format"] == "label"


BAD = {
    "no target": ({}, "there is no target: write at_least="),
    "metric": ({"at_least": {"mmlu": 0.5}}, "at_least names 'mmlu', but the fit is of task_acc"),
    "direction": ({"at_most": 0.5}, "task_accuracy is better higher: write at_least="),
    "percent": ({"at_least": 80}, "task_accuracy = 80 is not between its floor 0 and its top 1"),
    "near metric": ({"at_least": {"task_acuracy": 0.5}}, r"Did you mean 'task_accuracy'\? Pass"),
    "confidence": ({"at_least": 0.5, "confidence": 95}, r"not in \(0, 1\); write 0.95 for 95 %"),
    "by no cost": ({"at_least": 0.5, "by": "speed"}, "by = 'speed' is not one of 'params'"),
    "axis": ({"at_least": 0.5, "keept": 0.5}, "'keept' is no axis of the fit. Did you mean 'kept'"),
    "kept": ({"at_least": 0.5, "kept": 16.0}, "kept = 16 must be in"),
    "empty": ({"at_least": 0.5, "kept": []}, "there are no candidates; give at least one"),
    "not a number": (
        {"at_least": float("nan")},
        r"at_least: task_accuracy = nan is not a finite number; write the score that is asked for",
    ),
    "words": ({"at_least": "0.8"}, "task_accuracy = '0.8' is not a finite number"),
    "two limits": (
        {"at_least": 0.8, "at_most": 0.7},
        "at_least = 0.8 and at_most = 0.7 are both given for task_accuracy, which no score meets; "
        "it is better higher: write at_least={'task_accuracy': 0.8} alone",
    ),
    "two limits that a score meets": (
        {"at_least": 0.7, "at_most": 0.8},
        "at_least = 0.7 and at_most = 0.8 are both given for task_accuracy; it is better higher",
    ),
    "interval": (
        {"at_least": 0.5, "interval": "runs"},
        r"interval = 'runs' is none of 'run' \(a new run\), 'mean' \(the curve\), 'score'",
    ),
    "latency": (
        {"at_least": 0.5, "latency_ms": -5},
        "latency_ms = -5 is not positive and finite; write latency_ms=80 for 80 milliseconds",
    ),
    "price": (
        {"at_least": 0.5, "price": float("nan")},
        "price = nan is not positive and finite; write price=5 for 5 dollars a million requests",
    ),
    "memory": (
        {"at_least": 0.5, "memory": 0},
        "memory = 0 is not positive and finite; write memory=80e9 for 80 GB",
    ),
    "limit": ({"at_least": 0.5, "latency_ms": 80}, "latency_ms needs serving=sl.cost.Serving"),
    "by": ({"at_least": 0.5, "by": "price"}, "by='price' needs serving="),
    "column": (
        {"at_least": 0.5, "candidates": pd.DataFrame({"kept": [0.5]})},
        "the candidates have no column 'examples'",
    ),
    "no rows": (
        {"at_least": 0.5, "candidates": pd.DataFrame({"kept": [], "examples": []})},
        "there are no candidates",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_questions_say_what_to_write(fit, case):
    given, sentence = BAD[case]
    with pytest.raises(ValueError, match=sentence):
        sl.decide.smallest(fit, **given)


def test_an_unknown_format_is_named():
    law = sl.laws.Power(by="format")
    design = grid(examples=[1e3, 1e4, 1e5, 1e6], format=["cot", "label"])
    one = sl.fit(law, sl.simulate(law, design, CURVE, 0.01, metric="task_f1"), "task_f1")
    with pytest.raises(ValueError, match="it had cot, label. Write one of these, or add runs"):
        sl.decide.labels_needed(one, at_least=0.8, format="blend")
    with pytest.raises(ValueError, match="say at which format: format=...; the log has cot, label"):
        sl.decide.labels_needed(one, at_least=0.8)


def test_labels_needed_has_the_probability_it_claims(curve):
    found = sl.decide.labels_needed(curve, at_least=0.84)
    assert found.found
    at = pd.DataFrame({"examples": [found.values["n"]]})
    p = probabilities(joint_of(curve), at, {"task_accuracy": (0.84, np.inf)}, "run")
    # 1000 draws with their noise drawn, against the noise integrated: an error of .0095.
    assert abs(p["probability"].iloc[0] - 0.9) < 0.035


def test_limits_of_a_loss_are_positive():
    design = grid(examples=[1e3, 1e4, 1e5, 1e6])
    log = sl.simulate(sl.laws.Power(), design, {"E": 1.0, "A": 0.5, "a": 0.4}, 0.01, metric="loss")
    one = sl.fit(sl.laws.Power(), log, "loss")
    sentence = "at_most: loss = -1 is not above 0, as every loss is; write a positive number"
    for ask in (sl.decide.labels_needed, sl.decide.smallest):
        with pytest.raises(ValueError, match=sentence):
            ask(one, at_most=-1)
        with pytest.raises(ValueError, match="loss = nan is not a finite number"):
            ask(one, at_most=float("nan"))
    with pytest.raises(ValueError, match=r"given for loss; .* lower: write at_most=\{'loss': 2"):
        sl.decide.labels_needed(one, at_least=1, at_most=2)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"keptt": 0.5},
            "'keptt' can't be given here; the question takes kept. Did you mean 'kept'?",
        ),
        ({"kept": "small"}, "kept = 'small' is not a finite number; the log has 0.16, 0.37, 0.58"),
        ({"kept": []}, "kept = []: one value is asked for"),
    ],
)
def test_bad_points_say_what_to_write(fit, given, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        sl.decide.labels_needed(fit, at_least=0.8, **given)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"interval": "score"}, r"interval = 'score' is none of 'run' \(a new run\), 'mean'"),
        ({"most": float("nan")}, "most = nan is not positive and finite; write the largest exam"),
        ({"most": 10.0}, "most = 10 is not above 6000, the smallest examples logged"),
        ({"level": 90}, "level = 90 is not in"),
    ],
)
def test_bad_questions_about_labels_say_what_to_write(curve, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        sl.decide.labels_needed(curve, at_least=0.8, **given)


def test_bad_questions_about_the_next_labels_say_what_to_write(curve):
    with pytest.raises(ValueError, match="more = nan is not positive and finite; write how many"):
        sl.decide.marginal(curve, more=float("nan"))
    with pytest.raises(ValueError, match=r"at = \[-1.0\]: give positive finite numbers of exam"):
        sl.decide.marginal(curve, at=-1)
    with pytest.raises(ValueError, match=r"at = \[\]: give positive finite numbers of exam"):
        sl.decide.marginal(curve, at=[])


def test_a_size_beyond_the_log_of_a_form_that_is_a_score():
    """Twelve sizes on a steep collapse: .2 kept lies far below its foot, .8 on its top."""
    at = {"acc1": 0.75, "k0": 0.5, "s": 12.0}
    kept = pd.DataFrame({"kept": np.linspace(0.3, 1.0, 12)})
    log = sl.simulate(sl.laws.Collapse(), kept, at, 0.002, 3, metric="mmlu")
    forecast = sl.choose([sl.laws.Collapse()], log, "mmlu").forecast
    found = sl.decide.smallest(forecast, at_least={"mmlu": 0.6}, kept=[0.8, 0.6, 0.2])
    assert found.frame.set_index("kept")["probability"].loc[[0.8, 0.2]].tolist() == [1.0, 0.0]


def test_labels_for_a_loss_do_not_hang_on_the_link():
    """Residuals of a loss may be differences instead of logarithms."""
    log = sl.simulate(sl.laws.Power(), SIZES, {"E": 1.0, "A": 0.5, "a": 0.4}, 0.005, metric="loss")
    needed = [
        sl.decide.labels_needed(sl.fit(sl.laws.Power(), log, "loss", link=link), at_most=1.3)
        for link in ("log", "identity")
    ]
    assert all(one.found for one in needed)
    assert needed[0].values["n"] == pytest.approx(needed[1].values["n"], rel=0.1)


def test_not_reachable_says_the_top(curve):
    found = sl.decide.labels_needed(curve, at_least=0.95)
    assert not found.found
    most = SIZES["examples"].max() ** 2 / SIZES["examples"].min()
    assert found.answer.startswith(f"not reachable with up to {number(most)} examples: top 0.")
    assert found.answer.endswith("], probability 0.00 at most")
    top, low, high = found.values["top_task_accuracy"]
    assert low < top < high < 0.95
    assert np.isinf(found.values["n"])


def reachable(change):
    """The target that `why.change` says is reachable, and with how many labels."""
    told = re.search(r"(>=|<=) (\S+) (?:beside .* )?is reachable, with (\S+) examples$", change)
    return float(told[2]), float(told[3])


@pytest.mark.parametrize("interval", ["run", "mean"])
@pytest.mark.parametrize(("metric", "link"), [("task_accuracy", None), ("loss", None),
                                              ("loss", "identity")])  # fmt: skip
def test_what_is_said_to_be_reachable_is(metric, link, interval):
    """And a target harder by two more of its last digits is not."""
    truth = CURVE if metric == "task_accuracy" else {"E": 1.0, "A": 0.5, "a": 0.4}
    log = sl.simulate(sl.laws.Power(), SIZES, truth, 0.02, 1, metric=metric)
    one = sl.fit(sl.laws.Power(), log, metric, link=link)
    word, sign = ("at_least", 1.0) if metric == "task_accuracy" else ("at_most", -1.0)

    def ask(target):
        return sl.decide.labels_needed(one, **{word: target}, interval=interval)

    none = ask(0.95 if sign > 0 else 0.9)
    assert not none.found
    target, n = reachable(none.why.change)
    found = ask(target)
    assert found.found
    assert found.values["n"] == pytest.approx(n, rel=0.01)
    digit = 0.001 if sign > 0 else 0.01
    harder = ask(target + 2 * sign * digit)
    assert not harder.found
    # It is what the probability asks for, not an end of the interval of the best score.
    best, low, high = none.values[f"top_{metric}"]
    assert sign * target < sign * best
    assert low < high


def test_the_target_that_binds_is_the_one_that_is_let_down():
    """And where none of two is met, the harder is dropped before the other is."""
    accuracy = sl.simulate(sl.laws.Power(), SIZES, CURVE, 0.01, 1, metric="task_accuracy")
    loss = sl.simulate(sl.laws.Power(), SIZES, {"E": 1.0, "A": 0.5, "a": 0.4}, 0.01, 2)
    both = accuracy.frame.assign(loss=loss.frame["loss"])
    fits = {name: sl.fit(sl.laws.Power(), both, name) for name in ("task_accuracy", "loss")}

    def ask(at_least, at_most):
        return sl.decide.labels_needed(fits, at_least=at_least, at_most=at_most)

    accurate, lossy = ({"task_accuracy": 0.8}, {"loss": 1.3})
    assert ask(accurate, lossy).found
    none = ask(accurate, {"loss": 0.9})
    assert none.why.change.startswith("loss <= ")
    assert " beside task_accuracy >= 0.8 is reachable" in none.why.change
    assert "the least of loss is" in none.why.run
    target, _ = reachable(none.why.change)
    assert ask(accurate, {"loss": target}).found
    assert not ask(accurate, {"loss": target - 0.02}).found
    none = ask({"task_accuracy": 0.99}, lossy)
    assert none.why.change.startswith("task_accuracy >= ")
    assert ask({"task_accuracy": reachable(none.why.change)[0]}, lossy).found
    none = ask({"task_accuracy": 0.9}, {"loss": 0.5})
    assert none.why.change.startswith("without loss <= 0.5, task_accuracy >= 0.")
    alone = {"task_accuracy": reachable(none.why.change)[0]}
    assert sl.decide.labels_needed(fits, at_least=alone).found


def test_labels_needed_say_how_far_beyond_the_log_they_are(curve):
    inside = sl.decide.labels_needed(curve, at_least=0.82)
    assert inside.found
    assert inside.values["distance"] == 0
    assert inside.notes == ()
    span = np.log(SIZES["examples"].max() / SIZES["examples"].min())
    beyond = sl.decide.labels_needed(curve, at_least=0.86)
    n = beyond.values["n"]
    assert n > SIZES["examples"].max()
    far = np.log(n / SIZES["examples"].max()) / span
    none = sl.decide.labels_needed(curve, at_least=0.95)
    for found, distance in ((beyond, far), (none, 1.0)):
        assert found.values["distance"] == pytest.approx(distance)
        (note,) = (n for n in found.notes if n.code == "outside")
        assert f"{distance:.2g} of its log-range beyond" in note.sentence
        rows = found.frame
        own = np.log(rows["examples"] / SIZES["examples"].max()) / span
        short = np.log(SIZES["examples"].min() / rows["examples"]) / span
        assert np.allclose(rows["distance"], np.maximum(0, np.maximum(own, short)))


def test_a_run_without_which_there_is_no_answer_matters_most(curve):
    """An infinite number of labels moves farther than any other."""
    found = sl.decide.labels_needed(curve, at_least=0.875, interval="mean", confidence=0.5)
    told = re.fullmatch(
        r"without the configuration examples (\S+) the .* is open instead of (\S+)", found.why.run
    )
    rows = curve.problem.frame.sort_index()
    at = rows.index[rows["examples"].map("{:.4g}".format) == told[1]]
    rest = sl.fit(sl.laws.Power(), rows.drop(index=at), "task_accuracy")
    most = SIZES["examples"].max() ** 2 / SIZES["examples"].min()
    top = rest.predict(examples=most, interval=None)["estimate"].iloc[0]
    assert top < curve.predict(examples=found.values["n"], interval=None)["estimate"].iloc[0]
    assert float(told[2]) == pytest.approx(found.values["n"], rel=0.01)
    assert float(told[2]) < np.inf


def test_answers_that_are_none_without_a_run_are_counted(curve):
    base = curve.predict(examples=1e5, interval=None)["estimate"].iloc[0]
    without = curve.influence({"examples": 1e5}).frame
    lost = int((without["answer"] < base).sum())
    assert 0 < lost < 12

    def asked(one):
        score = one.predict(examples=1e5, interval=None)["estimate"].iloc[0]
        return score if score >= base else np.nan

    told = decisive_unit(curve, asked, "the score")
    most = without.loc[without["change"].idxmax(), "which"]
    assert told.startswith(f"without the configuration {most} the score is ")
    assert told.endswith(f"; without {lost} of 12 there is none to ask")


def test_marginal_gains_shrink_and_turn_with_the_metric(curve):
    gain = sl.decide.marginal(curve).frame["gain"].to_numpy()
    assert (np.diff(gain) < 0).all()
    assert (gain > 0).all()
    log = sl.simulate(sl.laws.Power(), SIZES, {"E": 1.0, "A": 0.5, "a": 0.3}, 0.005, metric="loss")
    loss = sl.decide.marginal(sl.fit(sl.laws.Power(), log), more=1000)
    assert (loss.frame["gain"] > 0).all()
    assert loss.frame["per_1000"].equals(loss.frame["gain"])


def test_rare_classes_need_more_examples():
    rng = np.random.default_rng(0)
    rows = []
    for key, amplitude in (("common", 0.4), ("middle", 0.8), ("scarce", 1.2), ("rare", 1.6)):
        for n in np.geomspace(1e3, 3e5, 8).round():
            p = 1 / (1 + np.exp(-(3.0 - amplitude * (n / 2e4) ** -0.35)))
            rows.append({"class": key, "examples": n, "recall": rng.binomial(2000, p) / 2000,
                         "recall_n": 2000, "labels": 0.1 * n})  # fmt: skip
    classes = sl.fit_classes(sl.laws.Power(), pd.DataFrame(rows))
    found = sl.decide.by_class(classes, 0.85, interval="mean")
    assert list(found.frame["class"]) == ["rare", "scarce", "middle", "common"]
    assert np.allclose(found.frame["labels"], 0.1 * found.frame["n"])
    assert found.why.run.startswith("For rare: without ")
    found.plot()
    with pytest.raises(TypeError, match="by_class takes the classes of sl.fit_classes"):
        sl.decide.by_class(classes["rare"], 0.85)


# --- what the answers are worth -------------------------------------------------------------------
def success_of_smallest(logs, target=0.72):
    """Mean probability that a run of the answer meets the target, and levels above the oracle."""
    ladder = pd.DataFrame({"examples": 4e5, "kept": LADDER})
    p = ndtr((true_curve(LAW, DESIGN, TRUTH, ladder) - target) / RUN)
    oracle = int(np.flatnonzero(p >= 0.9).max())
    rng = np.random.default_rng(0)
    success, excess = [], []
    for seed in range(logs):
        noise = Noise(run=RUN, items=3000)
        log = sl.simulate(LAW, DESIGN, TRUTH, noise, rng, metric="task_accuracy")
        one = sl.fit(LAW, log, "task_accuracy", rng=seed)
        fine = sl.decide.smallest(one, at_least=target, kept=np.geomspace(0.16, 1, 41))
        at = pd.DataFrame({"examples": [4e5], "kept": [fine.values["kept"]]})
        success.append(float(ndtr((true_curve(LAW, DESIGN, TRUTH, at)[0] - target) / RUN)))
        step = sl.decide.smallest(one, ladder, at_least=target)
        excess.append(oracle - LADDER.index(step.values["kept"]))
    return np.array(success), np.array(excess)


def test_the_smallest_student_succeeds_as_often_as_it_claims():
    success, excess = success_of_smallest(25)
    # The mean of 25 probabilities has an error of about .04.
    assert success.mean() >= 0.87 - 0.12
    assert (excess <= 1).mean() >= 0.8


@pytest.mark.slow
def test_the_smallest_student_succeeds_over_500_logs():
    """``pytest -m slow tests/scaling_laws/test_decide_students.py -s`` prints the figures."""
    success, excess = success_of_smallest(500)
    print(f"success {success.mean():.3f}, at most one level above {np.mean(excess <= 1):.3f}")
    assert success.mean() >= 0.87
    assert (excess <= 1).mean() >= 0.8


def coverage_of_labels(logs, interval, target=0.84, run=0.008):
    n = np.geomspace(1e3, 1e8, 4001)
    score = true_curve(sl.laws.Power(), SIZES, CURVE, pd.DataFrame({"examples": n}))
    sure = ndtr((score - target) / run) if interval == "run" else (score >= target).astype(float)
    truth = n[np.argmax(sure >= 0.9)]
    rng = np.random.default_rng(1)
    inside = []
    for seed in range(logs):
        noise = Noise(run=run, items=3000)
        log = sl.simulate(sl.laws.Power(), SIZES, CURVE, noise, rng, metric="task_accuracy")
        one = sl.fit(sl.laws.Power(), log, "task_accuracy", rng=seed)
        found = sl.decide.labels_needed(one, at_least=target, interval=interval).values
        inside.append(found["low"] <= truth <= found["high"])
    return float(np.mean(inside))


def test_intervals_of_labels_needed_cover():
    # 40 logs: an error of .047 at .9.
    assert coverage_of_labels(40, "mean") >= 0.9 - 3 * 0.047


@pytest.mark.slow
@pytest.mark.parametrize("interval", ["mean", "run"])
def test_intervals_of_labels_needed_cover_over_500_logs(interval):
    """``pytest -m slow tests/scaling_laws/test_decide_students.py -s`` prints the figures."""
    share = coverage_of_labels(500, interval)
    print(f"{interval}: {share:.3f}")
    assert 0.86 <= share <= 0.94
