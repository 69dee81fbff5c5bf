"""Classes lend each other their exponent: better than alone, and the intervals cover."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.items import CLASS_METRICS
from scaling_laws.partial import (
    Likelihood,
    common_run_variance,
    likelihood,
    pool,
    shared_run_variance,
)
from tests.benchmarks import classes_table

EXAMPLES = np.array([100, 300, 1000, 3000, 10_000, 30_000, 100_000])
CENTRE = float(np.exp(np.log(EXAMPLES).mean()))
MEAN, SPREAD, RUN = 0.35, 0.08, 0.01


def recall(examples, limit, amplitude, exponent):
    return 1 / (1 + np.exp(-(limit - amplitude * (examples / CENTRE) ** -exponent)))


def simulated(seed, classes=20, fewest=20, most=400):
    """A long log of a task whose classes have few items to many, and the true parameters."""
    rng = np.random.default_rng(seed)
    rows, truth = [], {}
    for c in range(classes):
        truth[f"c{c:02}"] = one = (
            rng.normal(2.2, 0.5), np.exp(rng.normal(0.2, 0.3)), abs(rng.normal(MEAN, SPREAD)),
        )  # fmt: skip
        n = int(np.exp(rng.uniform(np.log(fewest), np.log(most))))
        p = np.clip(recall(EXAMPLES, *one) + RUN * rng.normal(size=len(EXAMPLES)), 0, 1)
        rows += [
            {"run_id": f"r{x}", "examples": x, "class": f"c{c:02}", "score": k / n, "n": n}
            for x, k in zip(EXAMPLES, rng.binomial(n, p), strict=True)
        ]
    return pd.DataFrame(rows), truth


@pytest.fixture(scope="module")
def logs():
    """Ten simulated logs with their fits and truths."""
    found = []
    for seed in range(10):
        log, truth = simulated(seed)
        found.append((sl.fit_classes(sl.laws.Power(), log, rng=seed), truth))
    return found


def test_pooled_exponents_are_better_than_separate_ones(logs):
    better = []
    for found, truth in logs:
        true = np.array([truth[c][2] for c in found.fits])
        pooled = np.array([f.values["a"] for f in found.fits.values()])
        alone = np.array([f.values["a"] for f in found.separate.values()])
        better.append(np.mean((pooled - true) ** 2) < np.mean((alone - true) ** 2))
    assert np.mean(better) >= 0.9


def test_intervals_cover(logs):
    """Of 80 classes of 4 logs, at nominal .90: exponents, and scores inside and beyond the data.

    The limit is two standard errors of 80 draws below nominal, .90 - 2 sqrt(.9 x .1 / 80) = .83.
    """
    exponents, scores = [], []
    points = np.array([1000.0, 100_000.0, 300_000.0])
    for found, truth in logs[:4]:
        for name, one in found.fits.items():
            row = one.parameters.loc["a"]
            exponents.append(row["low"] <= truth[name][2] <= row["high"])
            table = one.predict(examples=points)
            true = recall(points, *truth[name])
            scores.append((table["low"] <= true) & (true <= table["high"]))
    assert np.mean(exponents) >= 0.83
    assert (np.mean(scores, axis=0) >= 0.83).all()


def test_mean_and_spread_are_found(logs):
    means = np.array([found.pooled.mean for found, _ in logs])
    errors = np.array([found.pooled.se for found, _ in logs])
    assert abs(means.mean() - MEAN) < 3 * np.sqrt((errors**2).mean() / len(logs))
    inside = [found.pooled.low <= SPREAD <= found.pooled.high for found, _ in logs]
    # 10 intervals at .90: fewer than 7 inside has probability .013
    assert sum(inside) >= 7


def test_rare_classes_borrow_more(logs):
    """Shrinkage: the distance from the mean falls by more where the test set is small."""
    left = {"rare": [], "common": []}
    for found, _ in logs:
        frame = found.frame if found is logs[0][0] else None
        for name, one in found.fits.items():
            items = float(np.nanmedian(one.problem.items))
            kind = "rare" if items < 50 else "common" if items > 200 else ""
            alone = abs(found.separate[name].values["a"] - found.pooled.mean)
            if kind:
                left[kind].append((abs(one.values["a"] - found.pooled.mean), alone))
        if frame is not None:
            assert frame["items"].is_monotonic_increasing
    shares = {kind: np.sum(pairs, axis=0) for kind, pairs in left.items()}
    assert shares["rare"][0] / shares["rare"][1] < shares["common"][0] / shares["common"][1]


def test_without_spread_all_exponents_agree():
    grid = np.geomspace(0.01, 3, 600)
    same = [Likelihood(grid, ((grid - 0.4) / se) ** 2 / 2, 0.4) for se in (0.05, 0.1, 0.2, 0.3)]
    found = pool(same * 5)
    assert found.mean == pytest.approx(0.4, abs=0.02)
    assert found.spread < 0.06
    apart = [Likelihood(grid, ((grid - m) / 0.01) ** 2 / 2, m) for m in np.linspace(0.2, 0.8, 15)]
    found = pool(apart)
    assert found.mean == pytest.approx(0.5, abs=0.03)
    # of 15 values known to .01: their standard deviation, chi on 14 degrees of freedom
    assert found.spread == pytest.approx(np.linspace(0.2, 0.8, 15).std(ddof=1), rel=0.2)
    # a likelihood that says nothing changes nothing, but that its exponent is a legal one
    flat = Likelihood(grid, np.zeros_like(grid), 0.01)
    assert pool([*apart, flat, flat]).mean == pytest.approx(found.mean, abs=0.1 * found.se)
    assert np.isnan(flat.se)


def test_the_likelihood_is_that_of_refits():
    log, _ = simulated(3, classes=1, fewest=300, most=301)
    columns = {"recall": "score", "recall_n": "n"}
    one = sl.fit(sl.laws.Power(), log, CLASS_METRICS["recall"], columns=columns)
    common = common_run_variance([one])
    found = likelihood(one, "a", common)
    sigma = np.sqrt(one.estimate.evaluation + common)
    best = sl.fit(
        sl.laws.Power(), log, CLASS_METRICS["recall"], columns=columns, sigma=sigma,
        objective="squares",
    )  # fmt: skip
    assert found.best == pytest.approx(best.values["a"], rel=1e-4)
    for value in (0.15, 0.3, 0.6):
        held = sl.fit(
            sl.laws.Power(), log, CLASS_METRICS["recall"], columns=columns, sigma=sigma,
            objective="squares", parameters={"a": value},
        )  # fmt: skip
        drop = held.objective - best.objective
        assert np.interp(value, found.grid, found.drop) == pytest.approx(drop, rel=0.1, abs=0.01)


# --- classes that err together --------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_noise_that_classes_share_is_found(share):
    """Of 40 runs, 37 degrees: an error of sqrt(2 / 37) of a shared variance, over four logs."""
    rng = np.random.default_rng(1)
    examples = np.geomspace(1e2, 1e6, 40).round()
    runs = [np.arange(40)] * 8
    found = []
    for _ in range(4):
        common = rng.normal(size=40) * np.sqrt(share)
        fits = []
        for a in rng.uniform(0.3, 0.5, 8):
            error = 0.01 * (common + rng.normal(size=40) * np.sqrt(1 - share))
            loss = (1 + (examples / 1e4) ** -a) * np.exp(error)
            rows = pd.DataFrame({"examples": examples, "loss": loss})
            fits.append(sl.fit(sl.laws.Power(), rows, "loss", objective="squares"))
        found.append(shared_run_variance(fits, runs, common_run_variance(fits)) / 1e-4)
    # What classes have of their own leaves 28 products of pairs, each of error sqrt(1 / 37).
    error = np.sqrt((2 * share**2 + (1 - share**2) / 28) / 37 / 4)
    assert abs(np.mean(found) - share) < 3 * error + 0.02


def test_with_two_degrees_all_noise_may_be_shared():
    """Four sizes leave one degree beside three parameters."""
    examples = np.geomspace(1e2, 1e6, 4).round()
    fits = []
    for a in (0.3, 0.4, 0.5):
        loss = (1 + (examples / 1e4) ** -a) * np.exp([0.01, -0.01, 0.01, -0.01])
        rows = pd.DataFrame({"examples": examples, "loss": loss})
        fits.append(sl.fit(sl.laws.Power(), rows, "loss", objective="squares"))
    assert shared_run_variance(fits, [np.arange(4)] * 3, 1e-4) == 1e-4
    assert shared_run_variance(fits, [np.arange(4) + 4 * i for i in range(3)], 1e-4) == 0


@pytest.fixture(scope="module")
def replicated():
    """Two runs of each size, with an error that is half that of the run, half the class's."""
    rng = np.random.default_rng(3)
    runs = pd.DataFrame({"examples": np.tile(EXAMPLES, 2), "seed": np.repeat([1.0, 2.0], 7)})
    runs["run_id"] = [f"r{i}" for i in range(len(runs))]
    common = rng.normal(size=len(runs))
    parts = []
    for c, exponent in enumerate((0.3, 0.35, 0.4, 0.45)):
        error = 0.02 * np.sqrt(0.5) * (common + rng.normal(size=len(runs)))
        hits = rng.binomial(10_000, recall(runs["examples"], 2.0, 1.2, exponent) + error)
        parts.append(runs.assign(**{"class": f"c{c}"}, recall=hits / 10_000, recall_n=10_000))
    return pd.concat(parts, ignore_index=True)


def shares(log):
    """Share of each class's variance that is one error of all."""
    return [one.shared for one in sl.fit_classes(sl.laws.Power(), log).likelihoods.values()]


@pytest.fixture(scope="module")
def known(replicated):
    """The shares where every run has a name."""
    found = shares(replicated)
    # Neither none of it nor all that there is, so that no bound hides a difference.
    assert all(0.1 < share < 0.9 for share in found)
    return found


def test_runs_are_known_by_their_name_their_seed_or_their_order(replicated, known):
    unnamed = replicated.drop(columns="run_id")
    assert shares(unnamed) == known
    assert shares(unnamed.drop(columns="seed")) == known
    some = unnamed["seed"].where((unnamed["examples"] > 1000) & (unnamed["seed"] > 1))
    assert shares(unnamed.assign(seed=some)) == known
    apart = replicated.assign(run_id=np.arange(len(replicated)))
    assert shares(apart) == [0, 0, 0, 0]


def test_a_run_without_a_name_in_one_class_is_known_in_all(replicated, known):
    names = replicated["run_id"].where(replicated.index > 0)
    assert shares(replicated.assign(run_id=names)) == known


def test_pooling_knows_what_classes_share():
    """Normal likelihoods of 13 classes, two fifths of whose variance is one error of all.

    Coverage of 40 logs, at nominal .90, has an error of .03 (classes of a log err together), and
    without the share it is .68.
    """
    rng = np.random.default_rng(0)
    grid, sd, share = np.geomspace(0.01, 3, 600), 0.05, 0.4
    covered = []
    for _ in range(40):
        true = 0.4 + 0.03 * rng.normal(size=13)
        error = np.sqrt(share) * rng.normal() + np.sqrt(1 - share) * rng.normal(size=13)
        best = true + sd * error
        ones = [Likelihood(grid, ((grid - m) / sd) ** 2 / 2, m, share) for m in best]
        pooled = pool(ones)
        mean, spread = pooled.prior_of(ones[0])
        weight = spread**2 / (spread**2 + sd**2)
        middle = weight * best + (1 - weight) * mean
        covered.append(np.mean(np.abs(middle - true) <= 1.645 * sd * np.sqrt(weight)))
    assert abs(np.mean(covered) - 0.9) < 3 * np.std(covered) / np.sqrt(40)


def test_classes_whose_error_is_that_of_the_runs_are_left_alone():
    cell = classes_table.Cell(5, 10**6, "small", shared=True)
    log, _ = classes_table.simulated(cell, np.random.default_rng(2))
    found = sl.fit_classes(sl.laws.Power(), log)
    (note,) = (n.sentence for n in found.notes if n.code == "shared_errors")
    assert "5 of 5 are left to their own runs" in note
    assert all(found[key] is found.separate[key] for key in found.fits)
    alone = [one.se for one in found.likelihoods.values()]
    assert found.pooled.se > 0.9 * np.median(alone)  # five classes know the mean no better than one


@pytest.mark.slow
@pytest.mark.parametrize("cell", classes_table.CELLS, ids=lambda c: c.name)
def test_coverage_of_classes(cell):
    table = classes_table.study(cell, max(40, 800 // cell.classes), seed=1)
    assert classes_table.failures(cell, table) == []


# --- classes without a curve ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed():
    log, _ = simulated(5, classes=8)
    few = log[(log["class"] == "c00") & (log["examples"] <= 300)]
    flat = log[log["class"] == "c01"].assign(score=0.0)
    rest = log[log["class"] > "c01"].assign(labels=lambda f: f["examples"] // 35)
    bad = rest.head(1).assign(run_id="bad", score=3.0)
    nobody = rest.head(2).assign(**{"class": None})
    return sl.fit_classes(sl.laws.Power(), pd.concat([few, flat, rest, bad, nobody]), rng=1)


def test_small_classes_stay_with_the_pooled_law(mixed):
    assert mixed.small == {
        "c00": "2 levels of examples for 3 parameters.",
        "c01": "its recall is 0 in all 7 runs.",
    }
    assert len(mixed) == 8
    told = " ".join(note.sentence for note in mixed.notes)
    for words in ("c00: 2 levels", "score -> recall", "2 rows left out: no class", "was rejected"):
        assert words in told
    table = mixed.predict(examples=[1000, 50_000])
    assert len(table) == 16
    own = table[(table["curve"] == "own curve") & (table["examples"] == 1000)]["estimate"]
    lent = table[(table["class"] == "c00") & (table["examples"] == 1000)].iloc[0]
    assert lent["estimate"] == pytest.approx(own.median())
    assert own.min() <= lent["low"] < lent["high"] <= own.max()
    assert set(mixed.predict(interval=None, examples=10)) == {
        "class", "examples", "estimate", "curve",
    }  # fmt: skip
    row = mixed.frame.loc["c00"]
    assert (row["curve"], row["pooled"]) == ("pooled law", mixed.pooled.mean)
    assert np.isnan(row["raw"])
    assert mixed.frame["labels"].max() == 2857


def test_text_html_and_plots(mixed):
    text, html = repr(mixed), mixed._repr_html_()
    for name in [f"c0{i}" for i in range(8)]:
        assert name in text
        assert name in html
    assert "over 6 curves: mean" in text
    assert "stay with the pooled law" in text
    ax = mixed.plot()
    assert [label.get_text() for label in ax.get_yticklabels()] == list(mixed.frame.index)
    ax = mixed.plot_curves()
    assert len(ax.lines) == 6
    assert ax.get_xscale() == "log"


def test_repeatable(mixed):
    log, _ = simulated(5, classes=4)
    first, second = (sl.fit_classes(sl.laws.Power(), log, rng=7) for _ in range(2))
    pd.testing.assert_frame_equal(first.frame, second.frame)


def test_other_scores_and_shapes():
    rng = np.random.default_rng(0)
    rows = [
        {"examples": x, "label": c, "loss": (1 + c + (x / 3e3) ** -0.4) * np.exp(0.01 * e)}
        for c in range(5)
        for x, e in zip(EXAMPLES, rng.normal(size=len(EXAMPLES)), strict=True)
    ]
    found = sl.fit_classes(sl.laws.Power(), pd.DataFrame(rows), "loss", by="label", pool_over="a")
    assert found.pooled.mean == pytest.approx(0.4, abs=0.05)
    assert found[0].metric.name == "loss"
    assert list(found.frame.index) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"law": sl.laws.Power(by="format")}, "has factors"),
        ({"by": "colour"}, "there is no column 'colour'"),
        ({"metric": "f1", "drop": "score"}, "there is no column 'f1'"),
        ({"pool_over": "A"}, "'A' is no shape of Power; it has a"),
        ({"only": 2}, "2 of 2 classes have a curve of their own; pooling needs 3"),
        ({"only": 0}, "no column 'class'|0 of 0 classes"),
    ],
)
def test_what_cannot_be_pooled(change, sentence):
    log, _ = simulated(1, classes=3)
    law = change.pop("law", sl.laws.Power())
    log = log.drop(columns=change.pop("drop", []))
    log = log[log["class"] < f"c{change.pop('only', 9):02}"]
    with pytest.raises(ValueError, match=sentence):
        sl.fit_classes(law, log, **change)


# --- from items to scores -------------------------------------------------------------------------


def test_scores_of_classes_from_items():
    items = pd.DataFrame(
        {
            "run_id": ["a"] * 6 + ["b"] * 2,
            "examples": [10] * 6 + [20] * 2,
            "gold": list("xxxyyz") + list("xy"),
            "predicted": ["x", "y", None, "y", "x", "q", "x", "y"],
        }
    )
    table = sl.class_scores(items).set_index(["run_id", "class"])
    assert table.loc[("a", "x"), ["recall", "recall_n", "f1"]].tolist() == [1 / 3, 3, 2 / 5]
    assert table.loc[("a", "y"), ["recall", "recall_n", "f1"]].tolist() == [1 / 2, 2, 0.5]
    assert table.loc[("a", "z"), "recall"] == 0
    assert table.loc[("b", "x"), "examples"] == 20
    assert (table["f1_se"] > 0).all()
    assert ("b", "z") not in table.index


def test_the_error_of_f1_is_that_of_repeated_test_sets():
    rng = np.random.default_rng(0)
    n, sets = 600, 400
    gold = rng.choice(list("abc"), (sets, n), p=[0.2, 0.3, 0.5])
    right = rng.random((sets, n)) < 0.7
    answer = np.where(right, gold, rng.choice(list("abc"), (sets, n)))
    items = pd.DataFrame(
        {
            "run_id": np.repeat(np.arange(sets), n), "examples": 1,
            "gold": gold.ravel(), "predicted": answer.ravel(),
        }
    )  # fmt: skip
    table = sl.class_scores(items)
    for _, part in table.groupby("class"):
        # the sd of 400 values is known to 1 / sqrt(2 x 400) = 3.5 %
        assert part["f1_se"].mean() == pytest.approx(part["f1"].std(), rel=0.11)


def test_items_that_make_no_scores():
    items = pd.DataFrame({"run_id": ["a", "a"], "examples": [1, 2], "gold": ["x", "x"],
                          "predicted": ["x", "x"]})  # fmt: skip
    with pytest.raises(ValueError, match="run_id = 'a' has two values of examples"):
        sl.class_scores(items)
    with pytest.raises(ValueError, match="no column 'truth'"):
        sl.class_scores(items, gold="truth")
    with pytest.raises(ValueError, match="1 rows have no class"):
        sl.class_scores(items[:1].assign(gold=None))


def test_items_to_curves():
    rng = np.random.default_rng(2)
    parts = []
    for x in EXAMPLES:
        gold = rng.choice(list("abcd"), 400)
        right = rng.random(400) < recall(x, 1.5, 1.0, 0.4)
        answer = np.where(right, gold, None)
        parts.append(
            pd.DataFrame({"run_id": f"r{x}", "examples": x, "gold": gold, "predicted": answer})
        )
    scores = sl.class_scores(pd.concat(parts))
    for metric in ("recall", "f1"):
        found = sl.fit_classes(sl.laws.Power(), scores, metric)
        assert len(found.fits) == 4
        low, high = found.pooled.mean - 3 * found.pooled.se, found.pooled.mean + 3 * found.pooled.se
        assert low < 0.4 < high
