"""First-order errors: the covariance at the optimum, and the parameters that it says nothing of."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from scaling_laws.estimate import Estimate
from scaling_laws.model import Model
from scaling_laws.problem import Problem
from scaling_laws.variance import inverse_information

__all__ = ["at_bounds", "covariance", "unfixed"]

Array = NDArray[np.float64]

# Singular values of the scaled Jacobian below this share of the largest are rounding.
_UNTOUCHED = 1e-6
# A parameter has no error if more of its gradient than this lies along what the rows leave open.
_MEMBER = 0.01
# Relative changes of a printed parameter by a step of its coordinate that are rounding.
_ROUNDING = 1e-12


def covariance(problem: Problem, fit: Estimate) -> tuple[Array, Array]:
    """Covariance of the kernel's coordinates, and of the printed parameters.

    ``(J^T W J / s^2 + P)^-1``, P the precisions of the priors. Huber: ``s^2`` becomes ``[sum psi^2
    / (n - p)] / [mean psi']^2`` (Huber 1981, section 7.6). Held and bounded parameters have
    variance 0, and so has what the rows do not touch: `at_bounds` and `unfixed` name both.
    """
    factor = _factor(problem, fit)
    moving = _moving(problem, fit)
    kernel = np.zeros((problem.model.p, problem.model.p))
    kernel[np.ix_(moving, moving)] = factor * inverse_information(_rows(problem, fit, factor))
    g = _printed_gradient(problem.model, fit.theta)
    return kernel, g @ kernel @ g.T


def at_bounds(problem: Problem, fit: Estimate) -> list[str]:
    """Return the free parameters at a bound: the errors of the others are given that they are."""
    pinned = fit.free & ~_moving(problem, fit)
    return [n for n, is_pinned in zip(problem.model.coordinates, pinned, strict=True) if is_pinned]


def unfixed(problem: Problem, fit: Estimate, ridge: Collection[str] = ()) -> list[str]:
    """Return the printed parameters that the rows do not fix to first order.

    Those that change along a combination of coordinates which moves no prediction at the data, or
    with a coordinate of the `ridge`, where the optimum is one of many.
    """
    model = problem.model
    moving = _moving(problem, fit)
    j = _rows(problem, fit, _factor(problem, fit))
    size = np.sqrt((j * j).sum(1))
    touched = size > 0
    lost = np.isin(model.coordinates, list(ridge))
    lost[np.flatnonzero(moving)[~touched]] = True
    g = _printed_gradient(model, fit.theta)
    values = np.array([float(v[0]) for v in model.natural(fit.theta).values()])
    step = _steps(fit.theta)
    with_lost = np.abs(g[:, lost]) * step[lost] > _ROUNDING * np.abs(values)[:, None]
    # What is open of the coordinates that are touched, each in its own unit.
    j, g = j[touched] / size[touched, None], g[:, moving][:, touched] / size[touched]
    along = np.abs(g @ _open(j).T) > _MEMBER * np.sqrt((g * g).sum(1))[:, None]
    found = with_lost.any(1) | along.any(1)
    return [name for name, is_open in zip(model.names, found, strict=True) if is_open]


def _open(j: Array) -> Array:
    """Return the combinations of coordinates ``[open, p]`` that rows of ``j [p, n]`` do not fix."""
    if not len(j):
        return j[:, :0]
    _, s, directions = np.linalg.svd(np.linalg.qr(j.T, mode="r"))
    return directions[int((s > _UNTOUCHED * s.max()).sum()) :]


def _moving(problem: Problem, fit: Estimate) -> NDArray[np.bool_]:
    """Free coordinates inside their bounds."""
    return fit.free & (fit.theta > problem.model.lower) & (fit.theta < problem.model.upper)


def _factor(problem: Problem, fit: Estimate) -> float:
    """Variance of a scaled residual."""
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    z = fit.residual(problem, fit.theta) * fit.scale
    psi = np.clip(z, -fit.delta, fit.delta)
    inside = np.abs(z) <= fit.delta
    nu = float(weights.sum()) - int(fit.free.sum())
    factor = float((weights * psi**2).sum()) / max(nu, 1.0)
    factor /= float((weights * inside).sum() / weights.sum()) ** 2
    if problem.absolute:
        return 1.0  # sigma is the whole error, whatever the residuals are
    return max(factor, 1.0) if problem.known and fit.run_variance > 0 else factor


def _rows(problem: Problem, fit: Estimate, factor: float) -> Array:
    """Return the scaled Jacobian of the moving coordinates ``[p, n]``; a prior is one more row."""
    moving = _moving(problem, fit)
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    _, jacobian = fit.curve(problem).evaluate(fit.theta[None])
    j = jacobian[0][moving] * (fit.scale * np.sqrt(weights))
    prior = fit.objective_of.prior
    if prior is None:
        return j
    return np.concatenate([j, np.sqrt(factor) * np.diag(prior[1])[moving]], axis=1)


def _steps(theta: Array) -> Array:
    return 1e-6 * np.maximum(np.abs(theta), 1e-3)


def _printed_gradient(model: Model, theta: Array) -> Array:
    """Differentiate printed parameters in the kernel's coordinates, by central differences."""
    step = _steps(theta)
    points = np.concatenate([theta + np.diag(step), theta - np.diag(step)])
    values = np.stack(list(model.natural(points).values()))
    p = len(theta)
    return (values[:, :p] - values[:, p:]) / (2.0 * step)
