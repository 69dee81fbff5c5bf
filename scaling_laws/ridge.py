"""Fits that the runs cannot tell apart.

Where the axes of a log move together, the terms of a law stand in for one another: along a ridge
of fits one term grows as another shrinks, and all predict the runs alike. They part away from the
runs, so what is said there must come from the whole ridge and not from the point of it at which a
fit happened to end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scaling_laws.chains import Curve
from scaling_laws.estimate import Estimate, search_again
from scaling_laws.kernel import Minimum
from scaling_laws.model import Model
from scaling_laws.problem import Problem
from scaling_laws.search import box, spread
from scaling_laws.span import TOGETHER, inflation

__all__ = ["breadth", "ends", "entangled", "refitted", "rivals"]

Array = NDArray[np.float64]

_STARTS, _STEPS, _TOLERANCE = 64, 40, 1e-6
# A rival is a fit inside the region that a likelihood-ratio test of one parameter leaves at 90 %.
_LEVEL = 0.9
# Draws are as good as one another if their objectives differ by less.
_EQUAL = 1e-6
# Rotations of one axis against the others that stand for every combination of their levels.
_SHIFTS = 24
# Standard errors between the 5 % and the 95 % quantile of a normal distribution.
_NORMAL_WIDTH = 3.28971


def rivals(problem: Problem, fit: Estimate, theta: Array, lower: Array) -> Array | None:
    """Return ``[m, p]`` fits as good as the estimate; None where the axes vary by themselves.

    Even starts over the full bounds are followed to where they end, and kept where ``2 (S - S_min)
    <= t^2 s^2``, ``s^2 = 2 S_min / nu``.
    """
    axes = [a.name for a in problem.model.law.axis_list()]
    if max(inflation(problem.frame, axes).values(), default=1.0) < TOGETHER:
        return None
    from scipy.special import stdtrit

    starts = np.concatenate([theta[None], spread(problem.model, problem.y, _STARTS)])
    starts[:, ~fit.free] = theta[~fit.free]
    found = search_again(problem, fit, starts, lower=lower, steps=_STEPS, tolerance=_TOLERANCE)
    rows = problem.n if problem.weights is None else float(problem.weights.sum())
    nu = max(rows - int(fit.free.sum()) + fit.priors, 1.0)
    limit = 1.0 + float(stdtrit(nu, 0.5 + 0.5 * _LEVEL)) ** 2 / nu
    return found.theta[found.objective <= limit * float(found.objective.min())]


def ends(others: Array) -> Array:
    """Return the rivals with the lowest and the highest value of a parameter."""
    return others[np.unique([others.argmin(axis=0), others.argmax(axis=0)])]


def refitted(
    refit: Callable[[Array], Minimum], theta: Array, others: Array | None, n: int
) -> Minimum:
    """Refit `n` draws from the estimate, and from rivals in turn; the rival's end if as good.

    The rivals are the ends of the ridge, so that each has a share of the draws.
    """
    found = refit(np.repeat(theta[None], n, 0))
    if others is None:
        return found
    apart = ends(others)
    again = refit(apart[np.arange(n) % len(apart)])
    as_good = again.objective <= found.objective * (1.0 + _EQUAL)
    return replace(
        found,
        theta=np.where(as_good[:, None], again.theta, found.theta),
        objective=np.where(as_good, again.objective, found.objective),
        steps=found.steps + again.steps,
    )


def entangled(problem: Problem, fit: Estimate, others: Array, draws: Array) -> list[str]:
    """Return the parameters whose draws are wide because axes move together.

    Their 90 % interval is at least `TOGETHER` times what the same levels in every combination would
    give, to first order at the rival farthest from all bounds.
    """
    model = problem.model
    theta = others[int(np.argmax(_room(model, problem.y, others)))]
    names = [n for n, free in zip(model.coordinates, fit.free, strict=True) if free]
    wide = breadth(draws[:, fit.free]) >= TOGETHER * _crossed(problem, fit, theta)
    return [name for name, is_wide in zip(names, wide, strict=True) if is_wide]


def breadth(draws: Array) -> Array:
    """Return the 90 % interval of each column ``[draws, p]`` as a normal standard deviation."""
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    return (high - low) / _NORMAL_WIDTH


def _room(model: Model, y: Array, theta: Array) -> Array:
    """Distance of each fit from the nearest bound, in ranges of the coordinate."""
    low, high = box(model, y)
    share = (theta - low) / np.where(high > low, high - low, 1.0)
    return np.minimum(share, 1.0 - share).min(axis=1)


def _crossed(problem: Problem, fit: Estimate, theta: Array) -> Array:
    """Return the free parameters' standard errors if every level met every other."""
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    root = np.sqrt(weights / np.maximum(fit.variance, 1e-300))
    axes = [a.name for a in problem.model.law.axis_list()]
    raw = [problem.frame[name].to_numpy(dtype=float) for name in axes]
    shifts = np.unique(np.linspace(0, problem.n, _SHIFTS, endpoint=False).astype(int))
    information = np.zeros((int(fit.free.sum()),) * 2)
    for shift in shifts:
        x = {name: np.roll(v, k * shift) for k, (name, v) in enumerate(zip(axes, raw, strict=True))}
        curve = Curve(problem.model.at(x, problem.model.codes), fit.chains)
        j = curve.evaluate(theta[None])[1][0][fit.free] * root
        information += j @ j.T / len(shifts)
    size = np.sqrt(np.maximum(np.diag(information), 1e-300))
    inverse = np.linalg.pinv(information / np.outer(size, size), rcond=1e-13, hermitian=True)
    return np.sqrt(np.diag(inverse)) / size
