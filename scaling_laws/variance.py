"""Variance beyond what is known: the Q-profile estimator, for one target or many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["paule_mandel"]

Array = NDArray[np.float64]


def paule_mandel(
    squares: Array, known: Array, target: Array, weights: Array | None = None, steps: int = 25
) -> Array:
    """Variance ``s >= 0`` with ``sum_i w_i squares_i / (known_i + s) = target``, for each target.

    Newton on the reciprocal, which is nearly linear in ``s`` (Paule & Mandel 1982).
    """
    target = np.atleast_1d(np.asarray(target, float))
    squares = squares if weights is None else squares * weights
    if not np.any(known > 0):
        return squares.sum() / target
    if np.all(known > 0):
        over = (squares / known).sum() > target
        s = np.where(over, 1e-12 * float(known.mean()), 0.0)
    else:
        over = np.ones(len(target), bool)
        s = np.full(len(target), max(1e-12, 1e-6 * float(squares.mean())))
    for _ in range(steps):
        d = known + s[:, None]
        f = (squares / d).sum(1)
        slope = (squares / d**2).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            s = np.where(over, np.maximum(s + f / slope * (f / target - 1.0), 0.0), s)
    return np.nan_to_num(s)
