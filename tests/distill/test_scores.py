"""Scores and their errors against hand counts, scikit-learn, a bootstrap and a gradient."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from distill.scores import class_f1, classification_scores, confusion_matrix, macro_f1, proportion

# Gold rows; predicted a, b, c, unparsed. Class c is never gold and never predicted.
CONFUSION = np.array([[6, 1, 0, 1], [2, 3, 0, 0], [0, 0, 0, 0]])


def test_confusion_matrix_counts_and_keeps_unparsed_apart():
    gold = [0] * 8 + [1] * 5
    predicted = [0] * 6 + [1, -1] + [0] * 2 + [1] * 3
    assert (confusion_matrix(gold, predicted, 3) == CONFUSION).all()


def test_macro_f1_by_hand():
    # a: 6 of 8 gold, 8 predicted; b: 3 of 5 gold, 4 predicted; c: absent.
    assert class_f1(CONFUSION) == pytest.approx([12 / 16, 6 / 9, 0])
    assert macro_f1(CONFUSION)[0] == pytest.approx((12 / 16 + 6 / 9) / 3)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_macro_f1_is_that_of_scikit_learn(data):
    k = data.draw(st.integers(2, 6))
    n = data.draw(st.integers(1, 40))
    gold = data.draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n))
    predicted = data.draw(st.lists(st.integers(-1, k - 1), min_size=n, max_size=n))
    expected = f1_score(gold, predicted, labels=range(k), average="macro", zero_division=0)
    assert macro_f1(confusion_matrix(gold, predicted, k))[0] == pytest.approx(expected)


def sampled(n, k, rng):
    """Draw an unbalanced problem with a right answer in two of three cases."""
    gold = rng.choice(k, n, p=np.arange(1, k + 1) / np.arange(1, k + 1).sum())
    predicted = np.where(rng.random(n) < 0.65, gold, rng.integers(-1, k, n))
    return gold, predicted


@pytest.mark.parametrize("gold_counts", ["random", "fixed"])
def test_macro_f1_error_is_that_of_a_bootstrap(gold_counts):
    rng = np.random.default_rng(3)
    gold, predicted = sampled(600, 5, rng)
    values = []
    for _ in range(2000):
        if gold_counts == "random":
            rows = rng.integers(0, 600, 600)
        else:
            rows = np.concatenate(
                [rng.choice(np.flatnonzero(gold == c), (gold == c).sum()) for c in range(5)]
            )
        values.append(macro_f1(confusion_matrix(gold[rows], predicted[rows], 5))[0])
    se = macro_f1(confusion_matrix(gold, predicted, 5), gold_counts)[1]
    # 2000 replicates know their sd to 1 / sqrt(4000) = 1.6 %; the delta method leaves out terms of
    # order 1 / sqrt(n of the rarest class, about 40) of the error, some percent.
    assert se == pytest.approx(np.std(values), rel=0.08)


def test_macro_f1_error_is_the_multinomial_one_of_its_numerical_gradient():
    counts = confusion_matrix(*sampled(300, 4, np.random.default_rng(4)), 4).astype(float)
    step, gradient = 1e-4, np.zeros_like(counts)
    for cell in np.ndindex(*counts.shape):
        up, down = counts.copy(), counts.copy()
        up[cell] += step
        down[cell] -= step
        gradient[cell] = (class_f1(up).mean() - class_f1(down).mean()) / (2 * step)
    share = counts / counts.sum()
    variance = counts.sum() * ((share * gradient**2).sum() - (share * gradient).sum() ** 2)
    assert macro_f1(counts)[1] == pytest.approx(np.sqrt(variance), rel=1e-6)


def test_fixed_gold_counts_never_add_variance():
    rng = np.random.default_rng(0)
    for _ in range(20):
        counts = confusion_matrix(*sampled(100, 4, rng), 4)
        assert macro_f1(counts, "fixed")[1] <= macro_f1(counts, "random")[1] + 1e-12


def test_two_equal_copies_of_the_data_halve_the_variance():
    rng = np.random.default_rng(1)
    counts = confusion_matrix(*sampled(100, 4, rng), 4)
    assert macro_f1(2 * counts)[0] == pytest.approx(macro_f1(counts)[0])
    assert macro_f1(2 * counts)[1] == pytest.approx(macro_f1(counts)[1] / np.sqrt(2))


@pytest.mark.parametrize("right", [True, False])
def test_no_score_claims_certainty(right):
    predicted = [0, 1, 0, 1] if right else [1, 0, 1, 0]
    score, se = macro_f1(confusion_matrix([0, 1, 0, 1], predicted, 2))
    assert score == right
    assert se == proportion(4 * right, 4)[1] > 0


def test_proportion_is_binomial():
    share, se = proportion(300, 1000)
    assert share == 0.3
    assert se == pytest.approx(np.sqrt(0.3 * 0.7 / 1000), rel=1e-3)


def test_classification_scores_by_hand():
    p = np.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]])
    scores = classification_scores([0, 1], [0, 0], np.log(p))
    assert scores["task_nll"] == pytest.approx(-(np.log(0.7) + np.log(0.25)) / 2)
    brier = [0.3**2 + 0.2**2 + 0.1**2, 0.5**2 + 0.75**2 + 0.25**2]
    assert scores["task_brier"] == pytest.approx(np.mean(brier))
    assert scores["task_brier_se"] == pytest.approx(np.std(brier, ddof=1) / np.sqrt(2))
    assert scores["task_accuracy"] == 0.5
    assert scores["task_accuracy_n"] == 2


def test_classification_scores_refuse_what_is_no_probability():
    with pytest.raises(ValueError, match="Item 1 has label probabilities that are not numbers"):
        classification_scores([0, 1], [0, 0], [[0.0, -1.0], [np.nan, np.nan]])
    with pytest.raises(ValueError, match=r"a class is not in \[0, 2\)"):
        confusion_matrix([0, 2], [0, 0], 2)
    with pytest.raises(ValueError, match="gold_counts = 'known'"):
        macro_f1(CONFUSION, "known")
