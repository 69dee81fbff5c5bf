"""How much runs not yet made would tell: variance of an answer, before and after them.

With draws ``q_b`` of the answer and ``m_b(x)`` of the curve at a candidate, a run there with noise
variance ``v(x)`` leaves, to first order, ``Var(q) - Cov(q, m)^2 / (Var(m) + v)``. A batch is chosen
greedily, each run given those before it (a rank-one update of every covariance).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batch", "Beliefs", "alone", "best_batch", "gather"]

Array = NDArray[np.float64]

# Values of a chunk of candidates x draws: 12 MB.
_CHUNK = 1_500_000
# Candidates whose draws span those of all: curves are smooth, so that a few of them do.
_SPANNING = 256
# Directions of the draws with less than this share of the largest standard deviation are dropped;
# what is lost of a variance is below its square, and is added back as independent.
_NEGLIGIBLE = 1e-5


@dataclass(frozen=True)
class Beliefs:
    """Joint second moments of answers and candidates, in few coordinates.

    Attributes
    ----------
    question : array [questions, r]
    candidates : array [n, r]
    variance : array [n]
        Of a candidate's curve alone.
    """

    question: Array
    candidates: Array
    variance: Array


@dataclass(frozen=True)
class Batch:
    """Candidates in the order in which they were chosen.

    Attributes
    ----------
    rows : list of int
    left : list of float
        Share of the answer's variance that is left after each.
    cost : float
        Of all.
    """

    rows: list[int]
    left: list[float]
    cost: float


def gather(question: Array, values: Callable[[NDArray[np.intp]], Array], n: int) -> Beliefs:
    """Collect moments chunk by chunk.

    Parameters
    ----------
    question : array [questions, draws]
    values : callable
        ``values(rows) -> [len(rows), draws]``, the curve at candidates on the residual scale.
    n : int
        Candidates.
    """
    draws = question.shape[1]
    asked = _centred(question)
    sample = np.unique(np.linspace(0, n - 1, min(n, _SPANNING)).round().astype(np.intp))
    spanning = np.concatenate([_centred(values(sample)), asked])
    # Every row at unit length, so that no candidate of small variance is lost beside a large one.
    length = np.sqrt((spanning**2).sum(1, keepdims=True))
    _, size, turn = np.linalg.svd(spanning / np.maximum(length, 1e-300), full_matrices=False)
    turn = turn[size > _NEGLIGIBLE * max(float(size.max(initial=0.0)), 1e-300)]
    found, variance = np.empty((n, len(turn))), np.empty(n)
    step = max(1, _CHUNK // draws)
    for begin in range(0, n, step):
        rows = np.arange(begin, min(begin + step, n))
        part = _centred(values(rows))
        found[rows] = part @ turn.T
        variance[rows] = (part**2).sum(1)
    return Beliefs(asked @ turn.T, found, variance)


def _centred(values: Array) -> Array:
    return (values - values.mean(1, keepdims=True)) / np.sqrt(values.shape[1] - 1)


def best_batch(
    beliefs: Beliefs, noise: Array, cost: Array, n: int, budget: float, repeats: int
) -> Batch:
    """Choose a batch: the better of greedy by reduction per cost and by reduction alone.

    Under a budget the first may spend it on many weak runs, the second on one strong run; the
    better of both is within a constant of the best batch (Khuller, Moss & Naor 1999).
    """
    ways = [_greedy(beliefs, noise, cost, n, budget, repeats, by_cost=True)]
    if np.isfinite(budget):
        ways.append(_greedy(beliefs, noise, cost, n, budget, repeats, by_cost=False))
    return min(ways, key=lambda b: b.left[-1] if b.left else 1.0)


def alone(beliefs: Beliefs, noise: Array) -> Array:
    """Return the share of the answer's variance that each candidate removes by itself."""
    cross = beliefs.candidates @ beliefs.question.T
    total = float((beliefs.question**2).sum())
    gain = (cross**2).sum(1) / np.maximum(beliefs.variance + noise, 1e-300)
    return gain / max(total, 1e-300)


def _greedy(
    beliefs: Beliefs, noise: Array, cost: Array, n: int, budget: float, repeats: int, by_cost: bool
) -> Batch:
    """Take the best candidate, condition every moment on it, and go on."""
    asked, at = beliefs.question, beliefs.candidates
    cross = at @ asked.T
    variance = beliefs.variance + noise
    total = left = float((asked**2).sum())
    taken = np.zeros(len(at), int)
    known: list[tuple[Array, float]] = []
    rows: list[int] = []
    shares: list[float] = []
    spent = 0.0
    while len(rows) < n:
        open_ = (taken < repeats) & (cost <= budget - spent + 1e-9 * abs(budget))
        gain = (cross**2).sum(1) / np.maximum(variance, 1e-300)
        if not (open_ & (gain > 0)).any():
            break
        worth = np.where(open_, gain / cost if by_cost else gain, -np.inf)
        i = int(worth.argmax())
        shared = at @ at[i]
        for before, size in known:
            shared = shared - before * before[i] / size
        size = float(variance[i])
        left -= float(gain[i])
        cross = cross - np.outer(shared, cross[i]) / size
        # The noise of a run is its own: what a repetition shares with it is the curve alone.
        variance = np.maximum(variance - shared**2 / size, noise)
        known.append((shared, size))
        taken[i] += 1
        spent += float(cost[i])
        rows.append(i)
        shares.append(max(left, 0.0) / max(total, 1e-300))
    return Batch(rows, shares, spent)
