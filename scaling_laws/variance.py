"""Two pieces of linear-model arithmetic: the Q-profile variance, and a scaled inverse."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["inverse_information", "paule_mandel"]

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


def inverse_information(jacobian: Array) -> Array:
    """Return ``(J J^T)^-1`` of a scaled Jacobian ``[p, n]``, each parameter in its own unit.

    A combination that the rows do not touch gets variance 0, not infinity: `identifiability` names
    it.
    """
    norm = np.sqrt((jacobian * jacobian).sum(1))
    norm = np.where(norm > 0, norm, 1.0)
    unit = jacobian / norm[:, None]
    inverse = np.asarray(np.linalg.pinv(unit @ unit.T, rcond=1e-13, hermitian=True), float)
    return inverse / np.outer(norm, norm)
