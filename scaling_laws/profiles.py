"""Profile likelihood: a deterministic second opinion on any quantity.

Minimises ``S(theta) + kappa (q(theta) - q0)^2`` over a ladder of targets; whatever ``q`` is reached
lies on the profile curve, so no reparametrisation is needed. The interval ends where the drop in
likelihood equals ``t_nu^2``; a curve that never gets there has an open end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_laws.estimate import Estimate, refit
from scaling_laws.halfwild import relax
from scaling_laws.kernel import Objective
from scaling_laws.problem import Problem
from scaling_laws.uncertainty import student_t
from scaling_laws.variance import inverse_information

__all__ = ["Profile", "profile"]

Array = NDArray[np.float64]
Quantity = Callable[[Array], Array]

_LADDER = np.array([0.3, 0.6, 1.0, 1.4, 1.8, 2.4, 3.2, 4.5, 7.0, 12.0])


@dataclass(frozen=True)
class Profile:
    """Profile of one quantity.

    Attributes
    ----------
    value : array [m]
        Values reached, ascending.
    drop : array [m]
        ``2 (S - S_min)`` in units of the residual variance: compare with ``t^2``.
    low, high : float
        Interval ends; infinite where the data set no end.
    level : float
    """

    value: Array
    drop: Array
    low: float
    high: float
    level: float


def profile(
    problem: Problem,
    fit: Estimate,
    quantity: Quantity,
    level: float,
    *,
    bounds: tuple[float, float],
) -> Profile:
    """Profile ``quantity(theta [B, p]) -> [B]`` around the relaxed optimum.

    Parameters
    ----------
    quantity : callable
    level : float
    bounds : tuple of float
        Legal range of the quantity; ends are clipped to it.
    """
    theta, lower = relax(problem, fit)
    objective = fit.objective_of
    s2, nu = _residual_variance(problem, fit, theta)
    limit = student_t(nu, level) ** 2
    q0 = float(quantity(theta[None])[0])
    se = _delta_se(problem, fit, quantity, theta, lower, s2)
    targets = q0 + se * np.concatenate([-_LADDER[::-1], _LADDER])
    penalty = _penalty(quantity, targets, 30.0 / se)
    start = np.repeat(theta[None], len(targets), 0)
    found = refit(
        problem,
        fit,
        start,
        lower=lower,
        objective=Objective(objective.delta, objective.prior, penalty),
        steps=80,
        tolerance=1e-9,
    )
    reached = quantity(found.theta)
    own = _objective(problem, fit, found.theta)
    base = float(_objective(problem, fit, theta[None])[0])
    drop = 2.0 * np.maximum(own - base, 0.0) / s2
    value = np.concatenate([reached, [q0]])
    drop = np.concatenate([drop, [0.0]])
    order = np.argsort(value)
    value, drop = value[order], drop[order]
    low = _end(value, drop, q0, limit, -1)
    high = _end(value, drop, q0, limit, +1)
    return Profile(value, drop, max(low, bounds[0]), min(high, bounds[1]), level)


def _residual_variance(problem: Problem, fit: Estimate, theta: Array) -> tuple[float, float]:
    """Return the unit of the drop in the objective, and degrees of freedom.

    Squares: the residual variance (1 where weights are absolute). Huber: ``mean psi^2 / mean
    psi'``, which makes twice the drop chi-squared to first order (Huber 1981, section 7.10).
    """
    total = problem.n if problem.weights is None else float(problem.weights.sum())
    nu = max(total - int(fit.free.sum()), 1.0)
    if problem.known:
        return 1.0, nu
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    z = fit.residual(problem, theta) * fit.scale
    psi = np.clip(z, -fit.delta, fit.delta)
    inside = float((weights * (np.abs(z) <= fit.delta)).sum() / weights.sum())
    return max(float((weights * psi**2).sum()) / nu / max(inside, 1e-3), 1e-300), nu


def _objective(problem: Problem, fit: Estimate, theta: Array) -> Array:
    r = (fit.target(problem) - fit.curve(problem).residual_mean(theta)) * fit.scale
    cost = fit.objective_of.rho(r)
    if problem.weights is not None:
        cost = cost * problem.weights
    f = cost.sum(1)
    if fit.objective_of.prior is not None:
        centre, inverse = fit.objective_of.prior
        f = f + 0.5 * (((theta - centre) * inverse) ** 2).sum(1)
    return f


def _gradient(quantity: Quantity, theta: Array) -> Array:
    """``[B, p]`` by central differences."""
    batch, p = theta.shape
    step = 1e-6 * np.maximum(np.abs(theta), 1e-3)
    moved = theta[:, None, :] + np.eye(p) * step[:, :, None]
    back = theta[:, None, :] - np.eye(p) * step[:, :, None]
    up = quantity(moved.reshape(-1, p)).reshape(batch, p)
    down = quantity(back.reshape(-1, p)).reshape(batch, p)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num((up - down) / (2.0 * step), posinf=0.0, neginf=0.0)


def _delta_se(
    problem: Problem, fit: Estimate, quantity: Quantity, theta: Array, lower: Array, s2: float
) -> float:
    _, jacobian = fit.curve(problem).evaluate(theta[None])
    moving = fit.free & (theta > lower) & (theta < problem.model.upper)
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    j = jacobian[0][moving] * (fit.scale * np.sqrt(weights))
    g = _gradient(quantity, theta[None])[0][moving]
    se = float(np.sqrt(max(float(g @ inverse_information(j) @ g), 0.0) * s2))
    if not se > 0:
        raise ValueError("the quantity does not depend on any free parameter; it has no profile.")
    return se


def _penalty(
    quantity: Quantity, targets: Array, root_kappa: float
) -> Callable[[Array, NDArray[np.intp]], tuple[Array, Array, Array]]:
    def penalty(theta: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        gap = root_kappa * (quantity(theta) - targets[rows])
        g = root_kappa * _gradient(quantity, theta)
        return (
            0.5 * gap * gap,
            gap[:, None] * g,
            g[:, :, None] * g[:, None, :],
        )

    return penalty


def _end(value: Array, drop: Array, q0: float, limit: float, side: int) -> float:
    """Where the drop first reaches the limit, interpolated in its square root; else open."""
    out = (value - q0) * side >= 0
    v, d = value[out], np.sqrt(drop[out])
    if side < 0:
        v, d = v[::-1], d[::-1]
    d = np.maximum.accumulate(d)
    root = np.sqrt(limit)
    beyond = np.flatnonzero(d >= root)
    if not len(beyond):
        return side * np.inf
    i = int(beyond[0])
    if i == 0:
        return float(v[0])
    share = (root - d[i - 1]) / max(d[i] - d[i - 1], 1e-300)
    return float(v[i - 1] + share * (v[i] - v[i - 1]))
