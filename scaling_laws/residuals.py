"""Residuals as the tests of a fit take them: each row's own, and those of the fit set free."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scaling_laws.estimate import Estimate
from scaling_laws.halfwild import leverage, relax
from scaling_laws.problem import Problem

__all__ = ["NO_VARIANCE", "ROUNDING", "is_exact", "own_errors", "relaxed_residuals"]

Array = NDArray[np.float64]

# Residuals of an exact fit have no scale; divided by this they stay what they are, 0.
NO_VARIANCE = 1e-300
# Residuals of such a share of the observations are rounding.
ROUNDING = 1e-9


def is_exact(problem: Problem, fit: Estimate) -> bool:
    """Whether the curve passes through every run, to rounding."""
    size = np.abs(problem.residual(fit.theta)).max()
    return bool(size <= ROUNDING * np.abs(problem.y).max())


def own_errors(problem: Problem, fit: Estimate, errors: Array) -> Array:
    """Return of errors ``[..., n]`` what is each row's own, in sd, as the fit weighs it."""
    if fit.chains is not None:
        return fit.chains.innovations(errors, max(fit.run_variance, NO_VARIANCE))
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    return errors * np.sqrt(weights / np.maximum(fit.variance, NO_VARIANCE))


def relaxed_residuals(problem: Problem, fit: Estimate) -> tuple[Array, Array]:
    """Return scaled residuals ``[n]`` and leverage factor of the fit without its soft bounds."""
    theta, lower = relax(problem, fit)
    e = problem.residual(theta) * fit.scale
    return e, leverage(problem, fit, theta, fit.scale, lower)
