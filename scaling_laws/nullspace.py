"""Logs that leave a combination of a law's parameters wholly open.

Two sizes fix a slope, but no limit and exponent beside it; one row of a format fixes one of its
parameters. A whole curve of fits then passes alike through the runs, and what is said of a
parameter, or away from the runs, must come from all of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scaling_laws.estimate import Estimate, search_again
from scaling_laws.model import Model
from scaling_laws.problem import Problem
from scaling_laws.ridge import rivals
from scaling_laws.search import box

__all__ = ["as_good"]

Array = NDArray[np.float64]

# Singular values of the scaled Jacobian below this share of the largest are rounding.
_UNTOUCHED = 1e-7
# Values, even over its full range, at which each parameter is held while the others make up for it.
_PLACES = 33
# Fits are equal if their objectives differ by less, parameters by less of their range.
_EQUAL, _SAME = 1e-6, 1e-4


def as_good(problem: Problem, fit: Estimate, theta: Array, lower: Array) -> Array | None:
    """Return ``[m, p]`` fits as good as `theta`; None where the runs fix every parameter.

    Those of `rivals` where the axes move together. Else, where the Jacobian has not full rank, each
    free parameter is held at places over its full range, and a place is kept if the fit of the
    others is as good as any.
    """
    found = rivals(problem, fit, theta, lower)
    if found is not None or not _open(problem, fit, theta, lower):
        return found
    starts, free = _places(problem.model, problem.y, fit.theta, fit.free)
    ended = search_again(problem, fit, starts, free=free)
    least = float(ended.objective.min())
    found = ended.theta[ended.objective <= least * (1.0 + _EQUAL)]
    # What the runs fix is the same in all: the ends of the rest are then the only ones.
    low, high = box(problem.model, problem.y)
    return np.where(np.ptp(found, axis=0) > _SAME * (high - low), found, theta)


def _places(
    model: Model, y: Array, theta: Array, moves: NDArray[np.bool_]
) -> tuple[Array, NDArray[np.bool_]]:
    """Return starts ``[m, p]``, and what is free of each: all, or all but the parameter held."""
    low, high = box(model, y)
    j = np.repeat(np.flatnonzero(moves), _PLACES)
    place = np.tile(np.linspace(0.0, 1.0, _PLACES), int(moves.sum()))
    held = np.arange(model.p) == j[:, None]
    value = (low[j] + place * (high - low)[j])[:, None]
    near, middle = np.where(held, value, theta), np.where(moves, 0.5 * (low + high), theta)
    # From where the law has no value no fit begins: then the others begin in the middle.
    legal = np.isfinite(model.residual_mean(near)).all(axis=1, keepdims=True)
    starts = np.where(legal, near, np.where(held, value, middle))
    return np.concatenate([theta[None], starts]), np.concatenate([moves[None], moves & ~held])


def _open(problem: Problem, fit: Estimate, theta: Array, lower: Array) -> bool:
    """Whether some combination of the parameters off their bounds moves no run, and no prior."""
    moving = fit.free & (theta > lower) & (theta < problem.model.upper)
    _, jacobian = fit.curve(problem).evaluate(theta[None])
    j = (jacobian[0] * fit.scale)[moving]
    if fit.objective_of.prior is not None:
        j = np.hstack([j, np.diag(fit.objective_of.prior[1])[moving]])
    size = np.sqrt((j * j).sum(1))
    s = np.linalg.svd(j / np.where(size > 0, size, 1.0)[:, None], compute_uv=False)
    return int((s > _UNTOUCHED * s.max(initial=0.0)).sum()) < int(moving.sum())
