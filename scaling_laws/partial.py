"""Partial pooling: what several fits say together of one parameter that each has of its own.

With ``L_c(a)`` the profile likelihood of group c, groups are taken as ``a_c ~ N(mean, spread^2)``,
and ``p(mean, spread | data) ~ prod_c int L_c(a) N(a; mean, spread^2) da`` under flat priors on mean
and spread (Gelman 2006, Bayesian Analysis 1:515, section 5). The likelihoods are used as they are,
not as an estimate and a standard error: a group that says nothing has a flat one, and one whose
estimate lies at a bound has a lopsided one.

Groups that were measured on the same runs err together: of the variance ``s_c^2`` of the estimate
of group c the share ``rho_c`` is an error that all have. It hides in their agreement, so the spread
is taken from likelihoods without it (of variance ``(1 - rho_c) s_c^2``), and no number of groups
averages it away, so the mean keeps it. Of all normal priors ``N(mean, P^2)`` that leave the
interval of a group as wide as the error that its estimate then has, the narrowest has ``P^2 =
(spread^2 + se^2) / (1 - 2 rho_c)``; from ``rho_c = 1/2`` on there is none, and the group is left
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from scaling_laws.halfwild import leverage
from scaling_laws.kernel import minimise
from scaling_laws.result import Fit
from scaling_laws.variance import paule_mandel

__all__ = [
    "Likelihood", "Pooled", "common_run_variance", "likelihood", "pool", "shared_run_variance",
]  # fmt: skip

Array = NDArray[np.float64]

# Knots of a profile, and points at which it is read off: its signed root is nearly a straight line.
_KNOTS, _POINTS = 50, 600
_MEANS, _SPREADS = 80, 48
# The smallest spread that is told from none, as a share of the largest.
_FINEST = 1e-3
# Standard deviations around the mean, or beyond the spread, that the second pass looks at.
_REACH = 6.0
# At least this share of a variance is taken as a group's own: the grid tells no narrower one.
_OWN = 0.02
# Where every likelihood is below this share of its best, the grid is left out.
_NOTHING = 1e-14


@dataclass(frozen=True)
class Likelihood:
    """Profile likelihood of one parameter of a fit.

    Attributes
    ----------
    grid : array [m]
        Values of the parameter, ascending.
    drop : array [m]
        Loss of log-likelihood against the best value.
    best : float
        The most likely value.
    shared : float
        Share of its variance that is an error of all groups.
    """

    grid: Array
    drop: Array
    best: float
    shared: float = 0.0

    @property
    def se(self) -> float:
        """Half of the range within 1/2 of the best; NaN where that has no end in the grid."""
        near = np.flatnonzero(self.drop <= 0.5)
        if not len(near) or near[0] == 0 or near[-1] == len(self.grid) - 1:
            return float("nan")
        return float(self.grid[near[-1]] - self.grid[near[0]]) / 2.0


@dataclass(frozen=True)
class Pooled:
    """The distribution of a parameter over groups.

    Attributes
    ----------
    mean, se : float
        Its mean over groups, and how well that is known, the error that all share counted in.
    spread : float
        Standard deviation between groups, the root of its posterior mean square.
    low, high : float
        90 % interval of the spread.
    groups : int
        How many it rests on.
    """

    mean: float
    se: float
    spread: float
    low: float
    high: float
    groups: int

    @property
    def prior(self) -> tuple[float, float]:
        """Mean and standard deviation for one more group."""
        return self.mean, float(np.hypot(self.spread, self.se))

    def prior_of(self, one: Likelihood) -> tuple[float, float] | None:
        """Return the prior for one of these groups; None where it is best left alone."""
        if one.shared >= 0.5:
            return None
        mean, sd = self.prior
        return mean, sd / float(np.sqrt(1.0 - 2.0 * one.shared))


def common_run_variance(fits: Sequence[Fit]) -> float:
    """Return the run-to-run variance that all fits share: a few runs each cannot tell their own."""
    if all(fit.problem.absolute for fit in fits):
        return 0.0
    residual = np.concatenate([f.problem.residual(f.estimate.theta) for f in fits])
    known = np.concatenate([fit.estimate.evaluation for fit in fits])
    degrees = float(max(sum(fit.degrees for fit in fits), 1))
    return float(paule_mandel(residual**2, known, np.array([degrees]))[0])


def shared_run_variance(
    fits: Sequence[Fit], runs: Sequence[NDArray[np.intp]], run_variance: float
) -> float:
    """Return the part of the run-to-run variance that all fits of a run have in common.

    With ``f_c`` the standardised residuals of a fit by run and ``G_c`` what it leaves of an effect
    of the runs, ``sum f_c . f_d = shared sum tr(G_c' G_d)`` over pairs in expectation. Few runs
    say little of it however many fits there are: the posterior mean of a variance on nu degrees
    is ``nu / (nu - 2)`` times the estimate; up to two degrees all variance counts as shared.

    Parameters
    ----------
    fits : sequence of Fit
    runs : sequence of int arrays
        Code of the run of each row of each fit.
    run_variance : float
        Of a row; the result is no larger.
    """
    size = 1 + max(int(codes.max()) for codes in runs)
    total, alone = np.zeros(size), 0.0
    kept, kept_alone = np.zeros((size, size)), np.zeros((size, size))
    for fit, codes in zip(fits, runs, strict=True):
        scale = 1.0 / np.sqrt(np.maximum(fit.estimate.evaluation + run_variance, 1e-300))
        theta = fit.estimate.theta
        residual = fit.problem.residual(theta) * scale
        a = leverage(fit.problem, fit.estimate, theta, scale, fit.model.lower)
        at = np.zeros((len(codes), size))
        at[np.arange(len(codes)), codes] = 1.0
        f, effect = at.T @ residual, at * scale[:, None]
        g = at.T @ (effect - a @ (a.T @ effect))
        total, alone = total + f, alone + float(f @ f)
        kept, kept_alone = kept + g, kept_alone + g.T @ g
    pairs = kept.T @ kept - kept_alone
    trace = float(np.trace(pairs))
    products = float(total @ total) - alone
    if trace <= 0.0 or products <= 0.0:
        return 0.0
    degrees = trace**2 / float((pairs * pairs).sum())
    if degrees <= 2.0:
        return run_variance
    return min(products / trace * degrees / (degrees - 2.0), run_variance)


def likelihood(
    fit: Fit, name: str, run_variance: float, shared_variance: float = 0.0
) -> Likelihood:
    """Profile a parameter over its legal range, by least squares with known variances.

    Parameters
    ----------
    fit : Fit
    name : str
        Of a shape with finite bounds.
    run_variance : float
        Added to the evaluation variance of each row.
    shared_variance : float
        The part of it that all fits of a run have in common.
    """
    problem, estimate, model = fit.problem, fit.estimate, fit.model
    at = model.coordinates.index(name)
    low, high = model.legal_range(name)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(
            f"pool: {name} has no finite bounds ({low:g} to {high:g}); bound it with parameters=."
        )
    grid, knots = (
        np.geomspace(low, high, n) if low > 0 else np.linspace(low, high, n)
        for n in (_POINTS, _KNOTS)
    )
    theta = np.repeat(estimate.theta[None], _KNOTS + 1, 0)
    theta[:-1, at] = model.param(name).inward(knots)
    free = np.repeat(estimate.free[None], _KNOTS + 1, 0)
    free[:-1, at] = False
    variance = np.maximum(estimate.evaluation + run_variance, 1e-300)
    found = minimise(
        estimate.curve(problem),
        estimate.target(problem),
        theta,
        scale=1.0 / np.sqrt(variance),
        weights=problem.weights,
        free=free,
        lower=model.lower,
        upper=model.upper,
    )
    value = np.append(knots, model.param(name).outward(found.theta[-1, at]))
    least = int(np.argmin(found.objective))
    drop = np.maximum(found.objective - found.objective[least], 0.0)
    order = np.argsort(value)
    root = (np.sign(value - value[least]) * np.sqrt(drop))[order]
    between = np.asarray(np.interp(grid, value[order], root), float)
    shared = float((shared_variance / variance).mean())
    return Likelihood(grid, between**2, float(value[least]), shared)


def pool(likelihoods: Sequence[Likelihood]) -> Pooled:
    """Return mean and spread of a parameter over groups.

    Parameters
    ----------
    likelihoods : sequence of Likelihood
        On one grid.
    """
    grid = likelihoods[0].grid
    edges = np.concatenate([grid[:1], 0.5 * (grid[1:] + grid[:-1]), grid[-1:]])
    likely = np.exp(-np.stack([one.drop / max(1 - one.shared, _OWN) for one in likelihoods]))
    told = np.flatnonzero(likely.max(0) > _NOTHING)
    likely, edges = likely[:, told[0] : told[-1] + 1], edges[told[0] : told[-1] + 2]
    low, high, top = float(grid[0]), float(grid[-1]), float(grid[-1] - grid[0]) / 4.0
    mean = se = square = 0.0
    spreads = weight = np.ones(1)
    for _ in range(2):  # over the whole range, then where the answer lies
        means = np.linspace(low, high, _MEANS)
        spreads = np.geomspace(_FINEST * top, top, _SPREADS)
        m, t = (x.ravel() for x in np.meshgrid(means, spreads))
        # The probability of each cell of the grid; mass outside the legal range is lost.
        below = np.asarray(ndtr((edges - m[:, None]) / t[:, None]), float)
        between = below[:, 1:] - below[:, :-1]
        log_p = np.log(between @ likely.T + 1e-300).sum(1) + np.log(np.gradient(spreads)).repeat(
            _MEANS
        )
        p = np.exp(log_p - log_p.max())
        p /= p.sum()
        mean, square = float(p @ m), float(p @ t**2)
        se = float(np.sqrt(p @ (m - mean) ** 2))
        weight = p.reshape(_SPREADS, _MEANS).sum(1)
        low, high = max(low, mean - _REACH * se), min(high, mean + _REACH * se)
        about = float(weight @ spreads)
        wide = float(np.sqrt(weight @ (spreads - about) ** 2))
        top = min(top, about + _REACH * wide)
    ends = np.interp([0.05, 0.95], weight.cumsum(), spreads)
    common = [one.shared * one.se**2 for one in likelihoods if np.isfinite(one.se)]
    se = float(np.sqrt(se**2 + (np.median(common) if common else 0.0)))
    return Pooled(mean, se, float(np.sqrt(square)), float(ends[0]), float(ends[1]), len(likely))
