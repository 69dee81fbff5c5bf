"""The half-wild bootstrap: residuals plus the noise that the fit absorbed, one variance a draw.

With standardised residuals ``e``, leverages ``h`` and ``lambda = 1/2`` a draw's noise is
``w_i = sqrt(1 - lambda) e_i omega_i + sqrt(k (h_i + lambda (1 - h_i))) z_i``, ``omega`` Webb's
six-point weights, ``z`` standard normal: the residual carries ``1 - h`` of the variance, the normal
part gives back ``h`` and half of the rest from the pooled variance. The draw's variance solves
``sum r_i^2 / (v_i + s_b^2) = chi^2_nu`` (a Q-profile; Student's t where no evaluation variance is
known). Soft bounds are open while drawing; quantities are clipped to their legal range afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_laws.estimate import Estimate, refit
from scaling_laws.kernel import Minimum, Objective
from scaling_laws.nullspace import as_good
from scaling_laws.problem import Problem
from scaling_laws.ridge import refitted
from scaling_laws.variance import paule_mandel

__all__ = ["Draws", "NoInterval", "Pooling", "half_wild", "leverage", "pooling", "relax"]

Array = NDArray[np.float64]

_LAMBDA = 0.5
# Classical rule: pool two mean squares unless their F test gives p below .25 (Bancroft 1964).
_POOL_P = 0.25
_WEBB = np.array([-np.sqrt(1.5), -1.0, -np.sqrt(0.5), np.sqrt(0.5), 1.0, np.sqrt(1.5)])
# A refit stops here: far below the width of any interval, far above rounding.
_TOLERANCE = 1e-6
# A column of length 1 that keeps less than this beside the others adds no direction.
_NEW_DIRECTION = 1e-7


class NoInterval(ValueError):
    """The log cannot support an interval; the sentence says what to add."""


@dataclass(frozen=True)
class Pooling:
    """Which unit errors are counted in.

    Attributes
    ----------
    unit : {"run", "configuration", "chain", "cluster"}
    df : float
        Residual degrees of freedom of that unit.
    f, p_value : float
        F of between-unit against within-unit scatter; NaN without replicates.
    between, within : float
        Degrees of freedom of the two mean squares.
    fallback : str
        Code of the note for a thin design, or "".
    """

    unit: str
    df: float
    f: float
    p_value: float
    between: float
    within: float
    fallback: str = ""


@dataclass(frozen=True)
class Draws:
    """Refitted parameters.

    Attributes
    ----------
    theta : array [B, p]
        Kernel coordinates, soft bounds open.
    run_variance : array [B]
        Variance of a new run on the residual scale, beyond evaluation noise.
    kind : {"wild", "case", "cluster"}
    pooling : Pooling or None
        None for case and cluster resampling.
    steps : float
        Mean kernel steps a draw.
    rivals : array [m, p] or None
        Fits as good as the estimate that draws started from too; None where the runs fix every
        parameter.
    """

    theta: Array
    run_variance: Array
    kind: str
    pooling: Pooling | None
    steps: float
    rivals: Array | None = None


def relax(problem: Problem, fit: Estimate) -> tuple[Array, Array]:
    """Refit with soft bounds open; returns ``(theta, open lower bounds)``."""
    model = problem.model
    lower = model.open_lower.copy()
    open_limit = np.isneginf(lower) & np.isfinite(model.lower)
    if open_limit.any():
        # A limit may go as far below 0 as the curve stands above it at the centre of the data.
        centre = np.exp(problem.y.mean()) if model.link.kind == "log" else np.abs(problem.y).mean()
        lower[open_limit] = np.minimum(model.lower[open_limit], -centre)
    lower = np.where(fit.free, lower, model.lower)
    touching = fit.free & (fit.theta <= model.lower + 1e-12) & (lower < model.lower)
    if not touching.any():
        return fit.theta, lower
    found = refit(problem, fit, fit.theta[None], lower=lower)
    return found.theta[0], lower


def leverage(problem: Problem, fit: Estimate, theta: Array, scale: Array, lower: Array) -> Array:
    """Return ``A [n, q]`` with ``A A^T`` the hat matrix of the scaled Jacobian.

    A parameter at its bound absorbs nothing and takes no part.
    """
    _, jacobian = fit.curve(problem).evaluate(theta[None])
    moving = fit.free & (theta > lower) & (theta < problem.model.upper)
    j = (jacobian[0] * scale)[moving].T
    norm = np.sqrt((j * j).sum(0))
    return _basis(j / np.where(norm > 0, norm, 1.0))


def _basis(columns: Array) -> Array:
    """Gram-Schmidt, twice, in the order of the parameters; what adds no direction is left out.

    A singular value decomposition leaves signs and rotations to the linear algebra library. They
    meet normal numbers here, so draws of one seed would differ from one processor to another.
    """
    basis = np.empty((len(columns), 0))
    for column in columns.T:
        for _ in range(2):
            column = column - basis @ (basis.T @ column)
        length = float(np.sqrt(column @ column))
        if length > _NEW_DIRECTION:
            basis = np.column_stack([basis, column / length])
    return basis


def pooling(problem: Problem, e: Array, n_free: int, unit: str | None = None) -> Pooling:
    """Choose the unit by the F test of scatter between and within units.

    Raises
    ------
    NoInterval
        Where neither residuals, replicates nor known evaluation noise can carry a variance.
    """
    codes, kind = problem.unit, problem.unit_kind
    n, c = problem.n, len(np.unique(codes))
    if problem.weights is not None:
        n = int(round(float(problem.weights.sum())))
    between, within = c - n_free, problem.n - c
    f = p_value = float("nan")
    chosen = "run"
    if problem.copies and kind == "configuration":
        # Runs that repeat one another to the last digit are one run, whatever a test would say.
        chosen = kind
    elif within >= 2 and between >= 1:
        from scipy.special import fdtrc

        mean = _unit_means(e, codes)
        between_ss = float((mean[codes] ** 2).sum())
        within_ss = float(((e - mean[codes]) ** 2).sum())
        f = (between_ss / between) / max(within_ss / within, 1e-300)
        p_value = float(fdtrc(between, within, f))
        chosen = "run" if p_value > _POOL_P else kind
    if unit is not None:
        chosen = kind if unit in ("configuration", "chain", "cluster") else unit
    df = n - n_free if chosen == "run" else between
    fallback = ""
    if df < 1:
        if chosen == "run" and problem.known:
            fallback, df = "evaluation_noise_only", np.inf
        elif chosen != "run":
            raise NoInterval(
                f"{c} {kind}s for {n_free} free parameters: no interval can count {kind}s. Add "
                f'{kind}s, fix parameters, or pass unit="run" if runs of one {kind} are '
                "independent."
            )
        else:
            raise NoInterval(
                f"{n} rows for {n_free} free parameters leave no residual to measure noise by, and "
                f"no evaluation noise is known. Add runs, or give {problem.metric.se} or "
                f"{problem.metric.n}."
            )
    elif df <= 2:
        fallback = "few_degrees"
    return Pooling(chosen, float(df), f, p_value, float(between), float(within), fallback)


def _unit_means(e: Array, codes: NDArray[np.intp]) -> Array:
    count = np.bincount(codes)
    return np.bincount(codes, weights=e) / np.maximum(count, 1)


def half_wild(
    problem: Problem, fit: Estimate, n: int, rng: np.random.Generator, unit: str | None = None
) -> Draws:
    """Draw `n` refits.

    Parameters
    ----------
    problem, fit
        Of `scaling_laws.fit`.
    n : int
        Draws; 1000 put an error of 2 % of the width on an endpoint.
    rng : Generator
    unit : {"run", "configuration"}, optional
        Overrides the pooling rule.

    Raises
    ------
    NoInterval
        See `pooling`.
    """
    theta, lower = relax(problem, fit)
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    variance = np.maximum(fit.variance, 1e-300)
    root_w = np.sqrt(weights)
    curve, target = fit.curve(problem), fit.target(problem)
    r = target - curve.residual_mean(theta[None])[0]
    e = r * root_w / np.sqrt(variance)
    rule = pooling(problem, e, int(fit.free.sum()) - fit.priors, unit)
    if np.isfinite(rule.df) and fit.run_variance <= 0 and problem.known:
        # Residuals cannot be less noisy than the test sets behind them.
        e = e * max(1.0, float(np.sqrt(rule.df / max(float((e * e).sum()), 1e-300))))
    a = leverage(problem, fit, theta, root_w / np.sqrt(variance), lower)
    if rule.unit == "run":
        noise, total = _by_run(e, a, r, fit, rule, n, rng, weights)
        run_variance = _positive(total, rng)
        spread = np.sqrt(fit.evaluation + total[:, None])
    else:
        noise, spread, run_variance = _by_unit(problem, e, a, r, fit, rule, n, rng)
    y = curve.residual_mean(theta[None]) + noise * spread / root_w
    objective = fit.objective_of
    if objective.prior is not None:
        inverse = objective.prior[1]
        sd = np.where(inverse > 0, 1.0 / np.maximum(inverse, 1e-300), 0.0)
        # New data lie around the fit, which the prior has pulled already: so must the new priors,
        # or every draw would be pulled twice.
        pulled = theta + sd * rng.standard_normal((n, len(theta)))
        objective = Objective(objective.delta, (pulled, inverse))

    def again(begin: Array) -> Minimum:
        return refit(
            problem,
            fit,
            begin,
            y=y,
            lower=lower,
            objective=objective,
            steps=40,
            tolerance=_TOLERANCE,
        )

    others = as_good(problem, fit, theta, lower)
    found = refitted(again, theta, others, n)
    return Draws(found.theta, run_variance, "wild", rule, float(found.steps.mean()), others)


def _by_run(
    e: Array,
    a: Array,
    r: Array,
    fit: Estimate,
    rule: Pooling,
    n: int,
    rng: np.random.Generator,
    weights: Array,
) -> tuple[Array, Array]:
    h = np.clip((a * a).sum(1), 0.0, 1.0)
    size = (n, len(e))
    if not np.isfinite(rule.df):
        # No residual degrees of freedom: known evaluation noise alone.
        return rng.standard_normal(size), np.zeros(n)
    k = float((e * e).sum()) / rule.df
    noise = np.sqrt(k * (h + _LAMBDA * (1.0 - h))) * rng.standard_normal(size)
    noise += np.sqrt(1.0 - _LAMBDA) * e * rng.choice(_WEBB, size)
    total = paule_mandel(r * r, fit.evaluation, rng.chisquare(rule.df, n), weights)
    return noise, total


def _positive(variance: Array, rng: np.random.Generator) -> Array:
    """Run variances, half of those cut at 0 redrawn from the positive ones.

    A draw of the Q-profile cut at 0 says that the test sets alone can explain the scatter; it
    cannot tell a run without noise from one with some, so it stands for both in equal parts. A new
    run near floor or top would otherwise get an interval without width.
    """
    cut = variance <= 0
    if not cut.any() or cut.all():
        return variance
    cut &= rng.random(len(variance)) < 0.5
    return np.where(cut, rng.choice(variance[~cut], len(variance)), variance)


def _by_unit(
    problem: Problem,
    e: Array,
    a: Array,
    r: Array,
    fit: Estimate,
    rule: Pooling,
    n: int,
    rng: np.random.Generator,
) -> tuple[Array, Array, Array]:
    """Noise ``[n, rows]``, its spread, and the variance of a new run."""
    codes = problem.unit
    count = np.bincount(codes).astype(float)
    units = len(count)
    mean = _unit_means(e, codes)[codes]
    deviation = e - mean
    phi = max(float((mean * mean).sum()) / rule.df, 1.0)
    omega = rng.choice(_WEBB, (n, units))[:, codes]
    absorbed = np.einsum("iq,biq->bi", a, rng.standard_normal((n, units, a.shape[1]))[:, codes])
    unit_mean_a = np.stack([np.bincount(codes, weights=a[:, q]) for q in range(a.shape[1])]) / count
    h = np.clip((unit_mean_a**2).sum(0) * count, 0.0, 1.0)
    pooled = np.sqrt(_LAMBDA * phi * (1.0 - h) / count) * rng.standard_normal((n, units))
    noise = (
        (deviation + np.sqrt(1.0 - _LAMBDA) * mean) * omega
        + np.sqrt(phi) * absorbed
        + pooled[:, codes]
    )
    r_unit = np.bincount(codes, weights=r) / count
    v_unit = np.bincount(codes, weights=fit.evaluation) / count**2
    total = paule_mandel(r_unit**2, v_unit, rng.chisquare(rule.df, n))
    centre = paule_mandel(r_unit**2, v_unit, np.array([rule.df]))
    ratio = np.sqrt((v_unit + total[:, None]) / np.maximum(v_unit + centre, 1e-300))
    spread = ratio[:, codes] * np.sqrt(fit.variance)
    within = np.zeros(n)
    if rule.within > 0:
        several = count[codes] > 1
        rd = (r - r_unit[codes])[several]
        within = paule_mandel(rd**2, fit.evaluation[several], rng.chisquare(rule.within, n))
    new_run = np.maximum(within, total + within * (1.0 - 1.0 / count.mean()))
    return noise, spread, new_run
