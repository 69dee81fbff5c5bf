"""From draws to intervals: resampling kinds, clipping, parameter tables, prediction bands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scaling_laws.chains import position_of
from scaling_laws.estimate import Estimate, refit
from scaling_laws.halfwild import Draws, NoInterval, half_wild
from scaling_laws.kernel import Minimum
from scaling_laws.model import Model
from scaling_laws.nullspace import as_good
from scaling_laws.problem import Problem
from scaling_laws.ridge import ends, refitted
from scaling_laws.span import PARALLEL, aside, inflation

__all__ = [
    "Band",
    "NewRuns",
    "as_generator",
    "band",
    "check_level",
    "levels_at",
    "printed",
    "quantile_ends",
    "quantile_pair",
    "quantile_ranks",
    "resample",
    "student_t",
    "values_at",
]

Array = NDArray[np.float64]
Kind = Literal["wild", "cluster", "case"]
Rng = np.random.Generator | np.random.RandomState

# Predictions are evaluated in chunks of about this many (draw, row) pairs: 12 MB an array.
_CHUNK = 1_500_000


def as_generator(rng: Any) -> np.random.Generator:
    """Return a Generator of a seed, Generator or RandomState."""
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, np.random.RandomState):
        return np.random.default_rng(rng.randint(0, 2**31, 4))
    return np.random.default_rng(rng)


def resample(
    problem: Problem, fit: Estimate, n: int, kind: Kind, rng: Any, unit: str | None = None
) -> Draws:
    """Draw `n` refits.

    Parameters
    ----------
    kind : {"wild", "cluster", "case"}
        ``wild``: the half-wild bootstrap (the default everywhere); ``cluster``: whole units with
        replacement; ``case``: rows with replacement, ``rng.choice(n, n)`` a draw, as in Besiroglu
        et al. 2024 (pass a RandomState to repeat their numbers).
    """
    if kind == "wild":
        return half_wild(problem, fit, n, as_generator(rng), unit)
    if kind not in ("case", "cluster"):
        raise ValueError(f"kind: {kind!r} is not one of 'wild', 'cluster', 'case'.")
    source: Rng = rng if isinstance(rng, np.random.RandomState) else as_generator(rng)
    codes = np.arange(problem.n) if kind == "case" else problem.unit
    units = int(codes.max()) + 1
    if kind == "cluster" and units < 6:
        raise NoInterval(
            f"{units} {problem.unit_kind}s are too few to resample; six are the least. Use "
            'kind="wild", or add runs.'
        )
    counts = np.stack(
        [np.bincount(source.choice(units, units), minlength=units) for _ in range(n)]
    ).astype(float)
    weights = counts[:, codes]
    if problem.weights is not None:
        weights = weights * problem.weights
    model = problem.model

    def again(begin: Array) -> Minimum:
        return refit(problem, fit, begin, weights=weights, tolerance=1e-6)

    others = as_good(problem, fit, fit.theta, model.lower)
    found = refitted(again, fit.theta, others, n)
    variance = np.full(n, fit.run_variance)
    return Draws(found.theta, variance, kind, None, float(found.steps.mean()), others)


def printed(model: Model, theta: Array, clip: bool = True) -> dict[str, Array]:
    """Return printed parameters of draws, each clipped to its legal range."""
    # Where an exponent runs to 0 or below, limit and amplitude have no finite value: they are open.
    out = model.natural(theta)
    if not clip:
        return out
    for name, values in out.items():
        out[name] = np.clip(values, *model.legal_range(name))
    return out


def quantile_pair(values: Array, level: float) -> tuple[Array, Array]:
    """Equal-tailed quantiles along the last axis (linear interpolation between order statistics).

    Infinite draws are legal: an end that falls among them is infinite.
    """
    below, above, share = quantile_ranks(values.shape[-1], level)
    part = np.partition(values, np.unique(np.concatenate([below, above])), axis=-1)
    return quantile_ends(part[..., below], part[..., above], share)


def quantile_ranks(n: int, level: float) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Order statistics below and above the two quantiles of n values, and the share of the way.

    Raises
    ------
    ValueError
        For a level that is no share, such as 90 for 90 %.
    """
    check_level(level)
    tail = 0.5 * (1.0 - level)
    at: Array = np.array([tail, 1.0 - tail]) * (n - 1)
    below = np.floor(at).astype(np.intp)
    return below, np.minimum(below + 1, n - 1), at - below


def check_level(level: float) -> None:
    """Refuse a level that is not within (0, 1)."""
    if not 0.0 < level < 1.0:
        percent = f" Write {level / 100:g}." if 1.0 < level < 100.0 else ""
        raise ValueError(f"level = {level!r} must be within (0, 1).{percent}")


def quantile_ends(below: Array, above: Array, share: Array) -> tuple[Array, Array]:
    """Interpolate between order statistics ``[..., 2]``; an end among infinite ones is infinite."""
    with np.errstate(invalid="ignore"):
        end = below + share * (above - below)
    low, high = end[..., 0], end[..., 1]
    low = np.where(np.isfinite(low), low, below[..., 0])
    return low, np.where(np.isfinite(high), high, above[..., 1])


def student_t(df: float, level: float) -> float:
    """Two-sided quantile of Student's t (normal for infinite df)."""
    from scipy.special import ndtri, stdtrit

    check_level(level)
    tail = 0.5 * (1.0 + level)
    return float(stdtrit(df, tail)) if np.isfinite(df) else float(ndtri(tail))


@dataclass(frozen=True)
class Band:
    """Interval ends of predictions, and the standard error behind them."""

    low: Array
    high: Array
    se: Array


@dataclass(frozen=True)
class NewRuns:
    """What is known of predicted runs.

    Attributes
    ----------
    kept : array or None
        Their sizes, for the place in a chain.
    items, se : array or None
        Test items, or standard error, of the new evaluation.
    common : bool
        Add the variance of the test set that all rows share (a population of items, not this set).
    """

    kept: Array | None = None
    items: Array | None = None
    se: Array | None = None
    common: bool = False

    def part(self, rows: slice) -> NewRuns:
        """Return some of the rows."""

        def cut(a: Array | None) -> Array | None:
            return None if a is None else a[rows]

        return NewRuns(cut(self.kept), cut(self.items), cut(self.se), self.common)


def levels_at(problem: Problem, draws: Draws, raw: Mapping[str, Array], level: float) -> Array:
    """Return the level of each point's quantiles: `level`, but off a line of parallel axes.

    There an interval is the union of those that the ends of the ridge give: of `m` ends, each with
    its share of the draws, ``1 - (1 - level) / m``.
    """
    out = np.full(len(next(iter(raw.values()))), level)
    together = max(inflation(problem.frame, list(raw)).values(), default=1.0)
    if draws.rivals is None or together < PARALLEL:
        return out
    off = aside(problem.frame, raw) > 1.0
    return np.where(off, 1.0 - (1.0 - level) / len(ends(draws.rivals)), out)


def band(
    problem: Problem,
    fit: Estimate,
    draws: Draws,
    at: Callable[[slice], Model],
    rows: int,
    interval: str,
    level: Array,
    rng: np.random.Generator,
    new: NewRuns,
) -> Band:
    """Interval of each of `rows` predictions.

    Parameters
    ----------
    at : callable
        ``at(slice)`` returns the model at those rows.
    interval : {"mean", "run", "score"}
        The curve; one new training run; one evaluation of it.
    level : array [rows]
        Of each quantile pair; see `levels_at`.
    new : NewRuns
        What is known of the predicted runs.
    """
    n_draws = len(draws.theta)
    chunk = max(1, _CHUNK // n_draws)
    starts = range(0, rows, chunk)
    seeds = rng.spawn(len(starts))
    low, high, spread = np.empty(rows), np.empty(rows), np.empty(rows)

    def one(job: tuple[int, np.random.Generator]) -> None:
        begin, source = job
        part = slice(begin, min(begin + chunk, rows))
        values = values_at(problem, fit, draws, at(part), interval, source, new.part(part))
        df = np.inf if draws.pooling is None else draws.pooling.df
        for own in np.unique(level[part]):
            at_level = np.flatnonzero(level[part] == own)
            low[begin + at_level], high[begin + at_level] = quantile_pair(values[at_level], own)
            width = high[begin + at_level] - low[begin + at_level]
            spread[begin + at_level] = width / (2.0 * student_t(df, own))

    jobs = list(zip(starts, seeds, strict=True))
    if len(jobs) == 1:
        one(jobs[0])
    else:
        # NumPy releases the interpreter lock in its loops; two threads are what a small machine
        # has.
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, jobs))
    return Band(low, high, spread)


def values_at(
    problem: Problem,
    fit: Estimate,
    draws: Draws,
    model: Model,
    interval: str,
    rng: np.random.Generator,
    new: NewRuns,
) -> Array:
    """Return draws of the metric ``[rows, draws]`` at the model's rows."""
    values = model.residual_mean(draws.theta).T
    if model.link.kind == "log":
        # A draw with an open limit may fall below 0 far from the data: 0 is as far as is legal.
        values = np.where(np.isnan(values), -np.inf, values)
    if interval != "mean" or new.common:
        values = _new_run(problem, fit, draws, values, interval, rng, new)
    if model.link.kind == "log":
        values = _exp(values)
    elif interval != "mean" and model.link.kind == "logit":
        values = np.clip(values, 0.0, model.link.top)
    return np.ascontiguousarray(values)


def _exp(values: Array) -> Array:
    """Return exponentials; far from the data a draw may diverge, and is infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(values), float)


def _new_run(
    problem: Problem,
    fit: Estimate,
    draws: Draws,
    mean: Array,
    interval: str,
    rng: np.random.Generator,
    new: NewRuns,
) -> Array:
    """Add run noise, and evaluation noise for ``score``, to ``mean [rows, draws]``."""
    values, shape = mean, mean.shape
    is_log = problem.model.link.kind == "log"
    if new.common:
        variance = _new_evaluation(problem, mean, new, is_log)
        values = _scattered(values, variance, rng.standard_normal((1, shape[1])))
    if interval == "mean":
        return values
    variance = np.broadcast_to(draws.run_variance, shape)
    if fit.chains is not None and new.kept is not None:
        seen = problem.frame["kept"].to_numpy(dtype=float)
        rho = fit.chains.rho
        place = position_of(fit.chains, seen, new.kept)
        variance = variance * (rho * place + 1.0 - rho)[:, None]
    values = _scattered(values, variance, rng.standard_normal(shape))
    if interval == "score":
        if problem.metric.noise == "proportion" and new.items is not None and not is_log:
            n = new.items.astype(int)[:, None]
            return rng.binomial(n, np.clip(values, 0.0, 1.0)) / n
        variance = _new_evaluation(problem, values, new, is_log)
        values = _scattered(values, variance, rng.standard_normal(shape))
    return values


def _scattered(values: Array, variance: Array, normals: Array) -> Array:
    """Add noise; a loss of 0, whose logarithm has no variance to speak of, stays 0."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isneginf(values), values, values + np.sqrt(variance) * normals)


def _new_evaluation(problem: Problem, mean: Array, new: NewRuns, is_log: bool) -> Array:
    if problem.metric.noise == "proportion" and new.items is not None:
        p = np.clip(mean, 0.0, 1.0)
        return p * (1.0 - p) / new.items[:, None]
    if new.se is None:
        raise NoInterval(
            f"the noise of one evaluation is not known: give {problem.metric.n}=, the "
            f"number of test items, or {problem.metric.se}=, or log them with the runs."
        )
    return new.se[:, None] ** 2 * (_exp(-2.0 * mean) if is_log else 1.0)
