"""Draws of a fit that keeps another's exponents: their uncertainty and its noise come along.

Each draw takes the kept parameters of one draw of the lending fit, simulates the new runs with that
draw's run-to-run variance, and refits the free parameters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scaling_laws.estimate import Estimate, refit
from scaling_laws.halfwild import Draws, Pooling, relax
from scaling_laws.model import Model
from scaling_laws.problem import Problem
from scaling_laws.variance import paule_mandel

__all__ = ["inherit", "keeps_noise", "scatter"]

Array = NDArray[np.float64]

# Variances are pooled unless the F test rejects at this level, as in the choice of a unit.
_POOL_P = 0.25
# A variance from fewer degrees of freedom says nothing of its own.
_FEW = 3


def keeps_noise(problem: Problem, fit: Estimate, lent: Estimate, lent_df: float) -> bool:
    """Whether the run-to-run variance is the lending fit's.

    It is while the new runs have fewer residual degrees of freedom and, from three on, do not
    scatter more by the F test.
    """
    df = problem.n - int(fit.free.sum())
    if problem.absolute or df >= max(lent_df, _FEW):
        return False
    return df < _FEW or scatter(problem, fit, lent, lent_df) > _POOL_P


def scatter(problem: Problem, fit: Estimate, lent: Estimate, lent_df: float) -> float:
    """Return the p-value of new residuals as large as these under the lending fit's noise."""
    df = problem.n - int(fit.free.sum())
    if df < 1:
        return 1.0
    from scipy.special import fdtrc

    variance = np.maximum(fit.evaluation + lent.run_variance, 1e-300)
    f = float((fit.residual(problem, fit.theta) ** 2 / variance).sum()) / df
    return float(fdtrc(df, min(lent_df, 1e6), f))


def inherit(
    problem: Problem,
    fit: Estimate,
    lender: Model,
    lent: Estimate,
    draws: Draws,
    rng: np.random.Generator,
) -> Draws:
    """Draw the free parameters again under each draw of the kept ones.

    Parameters
    ----------
    problem, fit
        The new runs; parameters that are not free are kept.
    lender, lent, draws
        The fit that they are kept from, and its draws.
    rng : Generator
    """
    rule = draws.pooling or Pooling("run", np.inf, np.nan, np.nan, np.nan, np.nan)
    kept = np.where(fit.free, fit.theta, _moved(problem.model, lender, draws.theta))
    total, df = draws.run_variance, rule.df
    if not keeps_noise(problem, fit, lent, rule.df):
        df = float(problem.n - int(fit.free.sum()))
        q = rng.chisquare(df, len(kept))
        total = paule_mandel(fit.residual(problem, fit.theta) ** 2, fit.evaluation, q)
        total = np.zeros(len(kept)) if problem.absolute else total
    centre, lower = relax(problem, fit)
    spread = np.sqrt(fit.evaluation + total[:, None])
    noise = spread * rng.standard_normal((len(kept), problem.n))
    found = refit(
        problem,
        fit,
        kept,
        y=fit.curve(problem).residual_mean(centre[None]) + noise,
        lower=np.where(fit.free, lower, -np.inf),
        upper=np.where(fit.free, problem.model.upper, np.inf),
    )
    pooled = Pooling("run", df, np.nan, np.nan, np.nan, np.nan)
    return Draws(found.theta, total, "wild", pooled, float(found.steps.mean()))


def _moved(model: Model, lender: Model, theta: Array) -> Array:
    """Return the lender's draws in the coordinates of the new model."""
    if model.coordinates == lender.coordinates and model.frame.local == lender.frame.local:
        return theta
    # Printed amplitudes are infinite where an exponent has passed 0: draws end at their bounds.
    clipped = np.clip(theta, lender.lower, lender.upper)
    names = lender.natural(clipped)
    return np.stack([model.working({k: v[i] for k, v in names.items()}) for i in range(len(theta))])
