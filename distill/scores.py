"""Scores of a classifier and their standard errors, from arrays alone."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "GoldCounts",
    "class_f1",
    "classification_scores",
    "confusion_matrix",
    "item_losses",
    "macro_f1",
    "mean",
    "proportion",
    "triples",
]

GoldCounts = Literal["random", "fixed"]


def confusion_matrix(gold: ArrayLike, predicted: ArrayLike, k: int) -> np.ndarray:
    """Count answers: ``[k, k + 1]``, a row a gold class, the last column for no class.

    Parameters
    ----------
    gold : array of int
        In ``[0, k)``.
    predicted : array of int
        In ``[0, k)``, or -1 for an answer that could not be parsed.
    k : int
        Number of classes.
    """
    gold, predicted = np.asarray(gold, int), np.asarray(predicted, int)
    if gold.shape != predicted.shape or gold.size == 0:
        raise ValueError(
            f"confusion_matrix: {gold.size} gold and {predicted.size} predicted classes; pass one "
            "of each for every item, and at least one item."
        )
    if gold.min() < 0 or gold.max() >= k or predicted.min() < -1 or predicted.max() >= k:
        raise ValueError(f"confusion_matrix: a class is not in [0, {k}); -1 is for unparsed.")
    counts = np.zeros((k, k + 1), int)
    np.add.at(counts, (gold, np.where(predicted < 0, k, predicted)), 1)
    return counts


def class_f1(confusion: np.ndarray) -> np.ndarray:
    """``2 TP / (gold + predicted)`` of each class [k]; 0 for a class that never appears."""
    k = len(confusion)
    both = confusion.sum(axis=1) + confusion[:, :k].sum(axis=0)
    return 2 * np.diag(confusion) / np.maximum(both, 1)


def macro_f1(confusion: np.ndarray, gold_counts: GoldCounts = "random") -> tuple[float, float]:
    r"""Macro-F1 over all k classes and its standard error by the delta method.

    With ``d_c`` the share of items of gold class c plus that predicted as c, an item of gold class
    i answered j moves macro-F1 by ``h_ij / n``, where

    ``h_ij = (2 [i = j] / d_i - F_i / d_i - F_j / d_j) / k``

    (no last term for an unparsed answer). The variance is that of h over items divided by n, the
    confusion counts being multinomial.

    Parameters
    ----------
    confusion : array [k, k + 1]
        From `confusion_matrix`.
    gold_counts : {"random", "fixed"}
        ``random``: the test items are a sample of all there are, and so are their classes.
        ``fixed``: the number of items of each class was set, as in a stratified test set; only the
        variance within classes counts.

    Returns
    -------
    (float, float)
        Score and standard error. Where every answer is right or every answer wrong, h does not
        vary and the error of accuracy stands in (see `proportion`).

    Notes
    -----
    First order: classes with a handful of items make it rough.
    """
    k, n = len(confusion), confusion.sum()
    share = confusion / n
    gold = share.sum(axis=1)
    both = gold + share[:, :k].sum(axis=0)
    f1 = class_f1(confusion)
    slope = np.divide(1.0, both, out=np.zeros(k), where=both > 0)
    h = np.zeros_like(share)
    h[:, :k] -= f1 * slope
    h -= (f1 * slope)[:, None]
    h[np.arange(k), np.arange(k)] += 2 * slope
    h /= k
    score, right = float(f1.mean()), int(np.diag(confusion).sum())
    if right in (0, n):
        return score, proportion(right, int(n))[1]
    variance = (share * h**2).sum() - (share * h).sum() ** 2
    if gold_counts == "fixed":
        within = (share * h).sum(axis=1)
        variance = (share * h**2).sum() - np.divide(
            within**2, gold, out=np.zeros(k), where=gold > 0
        ).sum()
    elif gold_counts != "random":
        raise ValueError(f"gold_counts = {gold_counts!r} is not 'random' or 'fixed'.")
    return score, float(np.sqrt(max(variance, 0.0) / n))


def proportion(count: int, n: int) -> tuple[float, float]:
    """``count / n`` and ``sqrt(q (1 - q) / n)`` with ``q = (count + 1/2) / (n + 1)``.

    The half keeps 0 of n and n of n from claiming certainty.
    """
    q = (count + 0.5) / (n + 1)
    return count / n, float(np.sqrt(q * (1 - q) / n))


def mean(values: np.ndarray) -> tuple[float, float]:
    """Mean of items and ``sd / sqrt(n)``; NaN for one item."""
    n = len(values)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def item_losses(gold: np.ndarray, log_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """NLL of the gold class and Brier score ``sum_c (p_c - y_c)**2``, 0 to 2, of each item."""
    p, rows = np.exp(log_p), np.arange(len(gold))
    p_gold = p[rows, gold]
    return -log_p[rows, gold], (p**2).sum(axis=1) - 2 * p_gold + 1


def classification_scores(
    gold: ArrayLike,
    predicted: ArrayLike,
    log_p: ArrayLike,
    *,
    gold_counts: GoldCounts = "random",
) -> dict[str, float]:
    """Score a classifier: each metric with its standard error and number of items.

    Parameters
    ----------
    gold : array of int [n]
    predicted : array of int [n]
        -1 for an unparsed answer, which is wrong and belongs to no class.
    log_p : array [n, k]
        Log-probabilities of the classes.
    gold_counts : {"random", "fixed"}
        See `macro_f1`.

    Returns
    -------
    dict
        ``task_f1``, ``task_f1_se``, ``task_f1_n``; likewise ``task_accuracy``, ``task_nll``
        (nats) and ``task_brier`` (0 to 2).
    """
    gold, predicted, log_p = np.asarray(gold), np.asarray(predicted), np.asarray(log_p, float)
    if not np.isfinite(log_p.max(axis=1)).all() or np.isnan(log_p).any():
        i = int(np.flatnonzero(~np.isfinite(log_p).any(axis=1) | np.isnan(log_p).any(axis=1))[0])
        raise ValueError(f"Item {i} has label probabilities that are not numbers.")
    n = len(gold)
    confusion = confusion_matrix(gold, predicted, log_p.shape[1])
    nll, brier = item_losses(gold, log_p)
    results = {
        "task_f1": macro_f1(confusion, gold_counts),
        "task_accuracy": proportion(int((gold == predicted).sum()), n),
        "task_nll": mean(nll),
        "task_brier": mean(brier),
    }
    return triples(results, n)


def triples(results: dict[str, tuple[float, float]], n: int) -> dict[str, float]:
    """Write each metric m as ``m``, ``m_se`` and ``m_n``."""
    row: dict[str, float] = {}
    for name, (score, se) in results.items():
        row |= {name: score, f"{name}_se": se, f"{name}_n": n}
    return row
