"""One fit: starts, squares, run variance, Huber. No pandas, no printing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaling_laws.chains import ChainError, Curve, accumulation
from scaling_laws.constraints import Constraints, apply
from scaling_laws.kernel import Minimum, Objective, minimise
from scaling_laws.problem import Problem
from scaling_laws.search import box, descend, seeds
from scaling_laws.variance import paule_mandel

__all__ = ["Estimate", "estimate", "refit", "search_again"]

Array = NDArray[np.float64]

# 1.345 sigma: 95 % efficiency at the normal (Huber 1981, section 4.5).
_HUBER = 1.345
# Below this many rows a robust scale cannot be told from the noise in it: least squares.
_FEW = 20
_MAD = 1.4826
# fit -> evaluation variance at the fitted mean -> run variance; the third round changes nothing
# beyond the fourth digit.
_ROUNDS = 3
# Steps of the last descent: long curved valleys take hundreds, ordinary fits ten.
_PATIENT = 400
# Tolerance of the first descent: only an automatic delta is set from where it ends.
_ROUGH, _FINE = 1e-5, 1e-9
# Least-squares optima up to so many times the best may be the better one for Huber's loss.
_WORTH_A_LOOK = 4.0


@dataclass(frozen=True)
class Estimate:
    """A minimum and everything that was frozen to reach it.

    Attributes
    ----------
    theta : array [p]
        Kernel coordinates.
    objective : float
        ``sum w rho(z)`` (+ prior) at `theta`.
    objective_of : Objective
        Delta and prior.
    scale : array [n]
        What residuals are multiplied by: 1 / sd where evaluation variances are known, else 1.
    run_variance : float
        Variance on the residual scale beyond the known evaluation variance.
    evaluation : array [n]
        Known evaluation variance on the residual scale at the fitted mean (of the rotated rows,
        where errors accumulate along chains).
    chains : ChainError or None
        Rotation of rows whose errors accumulate.
    free : bool array [p]
    sigma : float
        Scale of the residuals that delta was set from, in residual units.
    steps : int
    converged : bool
    """

    theta: Array
    objective: float
    objective_of: Objective
    scale: Array
    run_variance: float
    evaluation: Array
    free: NDArray[np.bool_]
    sigma: float
    steps: int
    converged: bool
    chains: ChainError | None = None

    def curve(self, problem: Problem) -> Curve:
        """Return the model as the objective sees it."""
        return Curve(problem.model, self.chains)

    def target(self, problem: Problem) -> Array:
        """Return the observations as the objective sees them."""
        return self.curve(problem).rotate(problem.y)

    def residual(self, problem: Problem, theta: Array) -> Array:
        """Return what the observations are off the curve, as the objective sees them ``[n]``."""
        return self.target(problem) - self.curve(problem).residual_mean(theta[None])[0]

    @property
    def priors(self) -> int:
        """Number of priors; each counts as a run."""
        prior = self.objective_of.prior
        return 0 if prior is None else int((prior[1] > 0).sum())

    @property
    def delta(self) -> float:
        """Huber's corner in units of the scaled residual; infinite for least squares."""
        return self.objective_of.delta

    @property
    def variance(self) -> Array:
        """Whole variance of each row on the residual scale."""
        return self.evaluation + self.run_variance


def estimate(
    problem: Problem,
    constraints: Constraints,
    *,
    objective: str = "huber",
    delta: float | str = "auto",
) -> tuple[Problem, Estimate]:
    """Fit; returns the problem with its bounds applied beside the estimate.

    Raises
    ------
    ValueError
        If there are fewer rows than free parameters and no prior.
    """
    model, free, given, prior = apply(constraints, problem.model)
    problem = replace(problem, model=model)
    n_free = int(free.sum())
    if problem.n < n_free and prior is None:
        raise ValueError(
            f"{problem.n} usable rows for {n_free} free parameters of {model.law.name} "
            f"({', '.join(model.coordinates)}): fix some with parameters={{name: value}}, give a "
            "prior={name: (mean, sd)}, or add runs."
        )
    begin = _start(problem, given)
    scale = _first_scale(problem)
    squares = Objective(np.inf, prior)
    first = seeds(model, problem.y, scale, ~free, begin)
    # Where the noise is not known, a prior can only be weighed once the data alone have told it.
    first_look = Objective() if problem.n > n_free else squares
    found = descend(
        Curve(model),
        problem.y,
        first,
        scale,
        problem.weights,
        free,
        first_look,
        tolerance=_ROUGH if delta != "auto" else _FINE,
    )
    theta = found.theta[_argbest(found.objective, keep_last=bool(given))]
    theta, scale, run_variance = _weigh(problem, theta, free, squares, scale, None)
    evaluation = problem.evaluation_variance(model.mean(theta[None])[0])
    chains = accumulation(problem, theta, free, evaluation)
    if chains is not None:
        theta, scale, run_variance = _weigh(problem, theta, free, squares, scale, chains)

    sigma, corner = _corner(problem, theta, scale, objective, delta, n_free, chains)
    final = Objective(corner, prior)
    several = theta[None]
    if np.isfinite(corner):
        several = np.concatenate([several, found.theta[_others(found.objective)]])
    curve = Curve(model, chains)
    done = descend(
        curve,
        curve.rotate(problem.y),
        several,
        scale,
        problem.weights,
        free,
        final,
        steps=_PATIENT,
        squares_first=False,
    )
    best = _argbest(done.objective)
    theta = done.theta[best]
    evaluation = _evaluation(problem, theta, chains)
    if np.isfinite(corner) and not problem.absolute:
        run_variance = _run_variance(problem, theta, evaluation, n_free, chains, final)
    return problem, Estimate(
        theta=theta,
        objective=float(done.objective[best]),
        objective_of=final,
        scale=scale,
        run_variance=run_variance,
        evaluation=evaluation,
        free=free,
        sigma=sigma,
        steps=int(done.steps[best] + found.steps.max()),
        converged=bool(done.status[best] == 0),
        chains=chains,
    )


def refit(
    problem: Problem,
    fit: Estimate,
    theta: Array,
    *,
    y: Array | None = None,
    weights: Array | None = None,
    lower: Array | None = None,
    upper: Array | None = None,
    objective: Objective | None = None,
    steps: int = 60,
    tolerance: float = 1e-10,
) -> Minimum:
    """Minimise again from starts ``[B, p]``, all as for the fit but what is given.

    Parameters
    ----------
    y : array [B or 1, n], optional
        Other observations, as the objective sees them (rotated, where errors accumulate).
    weights, lower, upper, objective, steps, tolerance
        As in `kernel.minimise`.
    """
    return minimise(
        fit.curve(problem),
        fit.target(problem) if y is None else y,
        theta,
        scale=fit.scale,
        weights=problem.weights if weights is None else weights,
        free=fit.free,
        lower=problem.model.lower if lower is None else lower,
        upper=problem.model.upper if upper is None else upper,
        objective=objective or fit.objective_of,
        steps=steps,
        tolerance=tolerance,
    )


def search_again(
    problem: Problem,
    fit: Estimate,
    theta: Array,
    *,
    free: NDArray[np.bool_] | None = None,
    lower: Array | None = None,
    steps: int = 80,
    tolerance: float = 1e-10,
) -> Minimum:
    """Follow far starts ``[B, p]`` to where they end, all as for the fit but what is given.

    Parameters
    ----------
    free : bool array [p] or [B, p], optional
        What is free of each start.
    lower, steps, tolerance
        As in `search.descend`.
    """
    return descend(
        fit.curve(problem),
        fit.target(problem),
        theta,
        fit.scale,
        problem.weights,
        fit.free if free is None else free,
        fit.objective_of,
        lower=lower,
        steps=steps,
        tolerance=tolerance,
    )


def _others(objective: Array) -> NDArray[np.intp]:
    """Rows that ended elsewhere than the best, each place once, those far worse left out."""
    finite = np.where(np.isfinite(objective), objective, np.inf)
    best = float(finite.min())
    places, first = np.unique(np.round(finite / max(best, 1e-300), 6), return_index=True)
    return first[(places > 1.0 + 1e-6) & (places < _WORTH_A_LOOK)].astype(np.intp)


def _argbest(objective: Array, keep_last: bool = False) -> int:
    """Row of the lowest objective; of mirror images, the one that began at the caller's values."""
    finite = np.where(np.isfinite(objective), objective, np.inf)
    best = int(np.argmin(finite))
    equal = finite[-1] <= finite[best] * (1.0 + 1e-9)
    return len(finite) - 1 if keep_last and equal else best


def _start(problem: Problem, given: dict[str, float]) -> Array:
    """Kernel coordinates of the caller's values, the middle of the box elsewhere."""
    model = problem.model
    low, high = box(model, problem.y)
    theta = 0.5 * (low + high)
    if not given:
        return theta
    printed = {k: float(v[0]) for k, v in model.natural(theta).items()}
    with np.errstate(all="ignore"):
        moved = model.working({**printed, **given})
    for j, name in enumerate(model.coordinates):
        if name in given:
            theta[j] = moved[j]
    return theta


def _first_scale(problem: Problem) -> Array:
    """Inverse sd before a curve is known: evaluation variance at the observed scores."""
    if not problem.known:
        return np.ones(problem.n)
    v = problem.evaluation_variance(problem.score)
    if problem.absolute:
        return 1.0 / np.sqrt(v)
    typical = float(np.median(v[v > 0])) if np.any(v > 0) else 1.0
    return 1.0 / np.sqrt(v + typical)


def _evaluation(problem: Problem, theta: Array, chains: ChainError | None) -> Array:
    """Return the evaluation variance as the objective sees it."""
    if chains is not None:
        return chains.evaluation
    return problem.evaluation_variance(problem.model.mean(theta[None])[0])


def _residual(problem: Problem, theta: Array, chains: ChainError | None) -> Array:
    return Curve(problem.model, chains).rotate(problem.residual(theta))


# A prior at odds with the data must not explain all of the noise away.
_LEAST_SHARE = 0.25


def _run_variance(
    problem: Problem,
    theta: Array,
    evaluation: Array,
    n_free: int,
    chains: ChainError | None,
    objective: Objective,
) -> float:
    """Variance that the residuals need; a prior is a pseudo-run with a residual of its own."""
    r = _residual(problem, theta, chains)
    total = problem.n if problem.weights is None else float(problem.weights.sum())
    nu = float(total - n_free)
    if objective.prior is not None:
        centre, inverse = objective.prior
        nu += int((inverse > 0).sum())
        nu = max(nu - float((((theta - centre) * inverse) ** 2).sum()), _LEAST_SHARE * nu)
    if nu <= 0:
        return 0.0
    return float(paule_mandel(r * r, evaluation, np.array([nu]), problem.weights)[0])


def _weigh(
    problem: Problem,
    theta: Array,
    free: NDArray[np.bool_],
    objective: Objective,
    scale: Array,
    chains: ChainError | None,
) -> tuple[Array, Array, float]:
    """Iterate fit and weights; without known variances all rows weigh the same."""
    n_free = int(free.sum())
    if problem.absolute:
        return theta, scale, 0.0
    curve = Curve(problem.model, chains)
    y = curve.rotate(problem.y)
    run_variance = 0.0
    weighed = problem.known or objective.prior is not None
    for _ in range(_ROUNDS if weighed or chains is not None else 1):
        evaluation = _evaluation(problem, theta, chains)
        run_variance = _run_variance(problem, theta, evaluation, n_free, chains, objective)
        if weighed:
            variance = evaluation + run_variance
            floor = 1e-9 * float(variance.max()) + 1e-300
            scale = 1.0 / np.sqrt(np.maximum(variance, floor))
        elif chains is None:
            break
        theta = descend(
            curve, y, theta[None], scale, problem.weights, free, objective, tolerance=1e-7
        ).theta[0]
    return theta, scale, run_variance


def _median(values: Array, weights: Array) -> float:
    """Median in which a row of weight 2 counts as two rows."""
    order = np.argsort(values)
    total = np.asarray(weights[order].cumsum(), float)
    half = 0.5 * float(total[-1])
    low = int(np.searchsorted(total, half - 1e-9))
    high = min(int(np.searchsorted(total, half + 1e-9)), len(values) - 1)
    return 0.5 * float(values[order[low]] + values[order[high]])


def _corner(
    problem: Problem,
    theta: Array,
    scale: Array,
    objective: str,
    delta: float | str,
    n_free: int,
    chains: ChainError | None,
) -> tuple[float, float]:
    """Scale of the residuals, and Huber's corner in scaled units."""
    r = _residual(problem, theta, chains)
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    n = float(weights.sum())
    spread = float(np.sqrt(n / max(n - n_free, 1.0)))
    sigma = _MAD * _median(np.abs(r), weights) * spread
    if objective == "squares":
        return sigma, np.inf
    if objective != "huber":
        raise ValueError(f"objective: {objective!r} is not one of 'huber', 'squares'.")
    if delta != "auto":
        corner = float(delta)
        if not corner > 0:
            raise ValueError(f"delta = {delta!r} must be positive, or 'auto'.")
        # Scaled only to weigh a prior, residuals still mean what the caller's delta means.
        return sigma, corner if problem.known else corner * float(np.median(scale))
    if n < _FEW:
        return sigma, np.inf
    z = r * scale
    z_sigma = _MAD * _median(np.abs(z), weights) * spread
    evaluation = _evaluation(problem, theta, chains)
    z_sigma = max(z_sigma, float(np.sqrt(np.median(evaluation)) * np.median(scale)))
    # Residuals at rounding level have no scale to robustify against.
    exact = z_sigma <= 1e-9 * float(np.median(np.abs(problem.y)) * np.median(scale) + 1e-300)
    return sigma, np.inf if exact else _HUBER * z_sigma
