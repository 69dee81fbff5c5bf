"""What the panel repeats: the fitted forms' arithmetic on their draws, and quantiles of those.

``estimate = sum_f w_f m_f(x)``, ``draw_d(x) = m_f(x; theta_d)`` with each form's share of the
draws, ``run_d(x) = draw_d(x) + s_f(x) e_d``: what `Forecast.predict` does. `panel.js` does the same
from the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.draws import stages_of
from scaling_laws.forecast import Forecast
from scaling_laws.halfwild import NoInterval
from scaling_laws.points import coordinates
from scaling_laws.reporting.alone import SameRun, predicted
from scaling_laws.reporting.extent import Extent, Scale
from scaling_laws.reporting.program import Program, Untold, program_of
from scaling_laws.result import Fit
from scaling_laws.uncertainty import quantile_pair, student_t

__all__ = ["NUMBERS", "PROBES", "Part", "Replay", "replay_of"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# What is promised: error over the width of the interval, at so many random points.
_PROMISE, PROBES = 0.01, 60
# Intervals narrower than this share of the range of the estimates count as so wide: residuals at
# rounding level leave nothing to be right about.
_NARROW = 1e-6
# Of each axis, places where a law is asked what it does.
_SAMPLE = 3
# Numbers of a page at most: with its figures it stays below two megabytes.
NUMBERS = 120_000
# Sizes at which a chain's growing error is told; it is linear between those of the log.
_SIZES = 129


@dataclass(frozen=True, eq=False)
class Part:
    """A form of the forecast.

    Attributes
    ----------
    program : Program
    table : array ``[parameters of all levels, 1 + draws]``
        Its estimate and its share of the draws, in the kernel's coordinates.
    rows : array of int ``[combinations of levels, parameters of the program]``
        Into `table`.
    weight : float
        Of its estimate.
    admissible : bool
    noise : array ``[draws]``
        Error of a new run, the first of its chain.
    stages : array ``[2, sizes]``
        Fractions kept, and the factor on the error's variance there; no sizes where it is 1.
    """

    program: Program
    table: Array
    rows: Index
    weight: float
    admissible: bool
    noise: Array
    stages: Array

    @property
    def numbers(self) -> int:
        """Numbers that are stored."""
        return self.table.size + self.noise.size + self.stages.size

    def values(self, axes: Mapping[str, Array], combination: Index) -> Array:
        """Return estimate and draws ``[points, 1 + draws]`` on the residual scale."""
        out = np.empty((len(combination), self.table.shape[1]))
        for code in np.unique(combination):
            at = combination == code
            own = {name: values[at] for name, values in axes.items()}
            out[at] = self.program.run(own, self.table[self.rows[code]])
        return out

    def growth(self, axes: Mapping[str, Array]) -> Array:
        """Return the factor ``[points, 1]`` on a new run's error: it grows along a chain."""
        if not self.stages.size:
            return np.ones((1, 1))
        factor = np.asarray(np.interp(axes["kept"], self.stages[0], self.stages[1]), float)
        return np.sqrt(factor)[:, None]


@dataclass(frozen=True, eq=False)
class Replay:
    """A forecast as the page holds it.

    Attributes
    ----------
    extent : Extent
    parts : tuple of Part
    log : bool
        Whether the residual scale is that of logarithms.
    bounds : (float, float) or None
        Of the score of a new run.
    level : float
        Of the intervals.
    growth : float
        Half width per distance beyond the data that an interval has at least.
    error : float
        Largest difference from a prediction at random points, over the interval's width.
    """

    extent: Extent
    parts: tuple[Part, ...]
    log: bool
    bounds: tuple[float, float] | None
    level: float
    growth: float
    error: float = float("nan")

    @property
    def numbers(self) -> int:
        """Numbers that the page stores."""
        return sum(part.numbers for part in self.parts)

    @property
    def draws(self) -> int:
        """Draws of all forms; none without an interval."""
        return sum(len(part.noise) for part in self.parts)

    def read(self, points: pd.DataFrame) -> pd.DataFrame:
        """Return what the page shows at points: estimate, low, high, run_low, run_high."""
        axes = {s.name: points[s.name].to_numpy(dtype=float) for s in self.extent.scales}
        combination = self.extent.place(points)
        each = [part.values(axes, combination) for part in self.parts]
        centre = np.zeros(len(points))
        for part, values in zip(self.parts, each, strict=True):
            centre += part.weight * values[:, 0]
        out = {"estimate": centre}
        if self.draws:
            both = list(zip(self.parts, each, strict=True))
            forms = np.stack([values[:, 0] for part, values in both if part.admissible])
            mean = np.concatenate([values[:, 1:] for _, values in both], axis=1)
            run = np.concatenate(
                [values[:, 1:] + part.growth(axes) * part.noise for part, values in both], axis=1
            )
            if self.bounds is not None:
                run = np.clip(run, *self.bounds)
            out["low"], out["high"] = self._ends(mean, centre, forms, axes)
            out["run_low"], out["run_high"] = self._ends(run, centre, forms, axes)
        out["estimate"] = self._shown(centre)
        told = pd.DataFrame(out, index=points.index)
        told.loc[~self.extent.has_runs(points)] = np.nan
        return told

    def _shown(self, value: Array) -> Array:
        """Return a value of the metric."""
        with np.errstate(over="ignore"):  # far from the data a draw may diverge
            return np.exp(value) if self.log else value

    def _ends(
        self, drawn: Array, centre: Array, forms: Array, axes: Mapping[str, Array]
    ) -> tuple[Array, Array]:
        """Return the quantiles, at least as wide beyond the data as forms and growth say."""
        low, high = quantile_pair(self._shown(drawn), self.level)
        distance = np.max([s.overshoot(axes[s.name]) for s in self.extent.scales], axis=0)
        outside, half = distance > 0, self.growth * distance
        least, most = centre - half, centre + half
        if self.bounds is not None:
            least = np.maximum(least, self.bounds[0])
            most = np.minimum(most, self.bounds[1])
        least = self._shown(np.minimum(least, forms.min(0)))
        most = self._shown(np.maximum(most, forms.max(0)))
        low = np.where(outside, np.minimum(low, least), low)
        high = np.where(outside, np.maximum(high, most), high)
        return low, high


def replay_of(
    forecast: Forecast, extent: Extent, level: float = 0.9, most: int = NUMBERS, rng: int = 0
) -> Replay:
    """Return what a page needs to repeat a forecast.

    Parameters
    ----------
    forecast : Forecast
    extent : Extent
    level : float
        Of the intervals.
    most : int
        Numbers at most, of eight bytes each.
    rng : int
        Seed of the points that the error is judged at.

    Raises
    ------
    Untold
        If a law does something that the page cannot repeat, if there are more numbers than `most`,
        or if the page would not agree with `Forecast.predict` to 1 % of the interval.
    """
    best = forecast.best
    counts, normals = _drawn(forecast, extent)
    parts: list[Part] = []
    for form, one in forecast.fits.items():
        part = _part(one, extent, counts.get(form, 0), normals.get(form, np.zeros(0)))
        weight = float(forecast.weights[form])
        parts.append(replace(part, weight=weight, admissible=form in forecast.admissible))
    link = best.model.link
    found = Replay(
        extent,
        tuple(parts),
        link.kind == "log",
        (0.0, link.top) if link.kind == "logit" else None,
        level,
        student_t(np.inf, level) * forecast.growth if counts else 0.0,
    )
    if found.numbers > most:
        raise Untold(
            f"what-if of {forecast.metric.name} needs {found.numbers} numbers; with more than "
            f"{most} the page would be too large. Ask for fewer metrics, or for laws with fewer "
            "parameters of each level's own."
        )
    error = _error(forecast, found, np.random.default_rng((rng, 11)))
    if not error <= _PROMISE:
        raise Untold(
            f"what the page repeats of {best.law.name} misses `predict` by {error:.2g} of the "
            f"interval, more than {_PROMISE:g}."
        )
    return replace(found, error=error)


def _sample(extent: Extent) -> pd.DataFrame:
    """Return places over all axes at the first combination of levels."""
    shares = np.linspace(0.0, 1.0, _SAMPLE)
    axes = {s.name: s.spread(shares) for s in extent.scales}
    points = pd.DataFrame(list(product(*axes.values())), columns=list(axes))
    first = extent.combinations
    return points.assign(**{name: first[name].iloc[0] for name in extent.factors})


def _drawn(forecast: Forecast, extent: Extent) -> tuple[dict[str, int], dict[str, Array]]:
    """Return each form's number of draws and its normals of a new run; nothing without draws."""
    source = SameRun.of(forecast.best.seed).first()
    try:
        forecast.draws_at(_sample(extent).iloc[[0]], "run", source)
    except NoInterval:
        return {}, {}
    counts = forecast.counts  # in the order of its noise, too
    return dict(counts), dict(zip(counts, source.heard, strict=True))


def _part(one: Fit, extent: Extent, draws: int, normals: Array) -> Part:
    """Return a form with its estimate and its first draws."""
    model, combinations = one.model, extent.combinations
    theta, noise = one.estimate.theta[None], np.zeros(0)
    if draws:
        theta = np.concatenate([theta, one.draws.theta[:draws]])
        noise = (np.sqrt(one.draws.run_variance) * normals)[:draws]
    table = np.ascontiguousarray(model.expand(theta).T)
    sample = _sample(extent)
    places = sample.iloc[[0] * len(combinations)].set_axis(combinations.index)
    own = {name: combinations[name] for name in extent.factors}
    codes, _ = coordinates(one.problem, places.assign(**own))
    # The rows of combinations without runs are never read.
    rows = np.zeros((len(extent.support), len(model.columns)), np.intp)
    rows[combinations.index] = [
        [c[code % len(c)] for c in model.columns.values()] for code in codes
    ]
    _, raw = coordinates(one.problem, sample)
    first = table[rows[combinations.index[0]]]
    program = program_of(model, raw, dict(zip(model.columns, first, strict=True)))
    return Part(program, table, rows, 0.0, False, noise, _stages(one, extent.scales))


def _stages(one: Fit, scales: tuple[Scale, ...]) -> Array:
    kept = next((s for s in scales if s.name == "kept"), None)
    if kept is None or one.estimate.chains is None:
        return np.zeros((2, 0))
    seen = one.problem.frame["kept"].to_numpy(dtype=float)
    sizes = np.union1d(replace(kept, nodes=_SIZES).values, seen)
    return np.stack([sizes, stages_of(one, sizes) ** 2])


def _error(forecast: Forecast, found: Replay, source: np.random.Generator) -> float:
    """Return the largest error at random points, over the width of the interval.

    Without intervals, over the range of the estimates.
    """
    known = found.extent.combinations
    points = known.iloc[source.integers(len(known), size=PROBES)].reset_index(drop=True)
    places = {s.name: s.spread(source.uniform(size=PROBES)) for s in found.extent.scales}
    points = points.assign(**places)
    truth, read = predicted(forecast, points, found.level), found.read(points)
    span = max(float(np.ptp(truth["estimate"].to_numpy())), 1e-300)
    # An infinite end is right if it is infinite on the page too.
    gap = (read - truth).abs().where(read != truth, 0.0)
    if "low" not in truth:
        return float(gap["estimate"].max() / span)
    width = np.maximum(truth["high"] - truth["low"], _NARROW * span)
    wider = np.maximum(truth["run_high"] - truth["run_low"], _NARROW * span)
    curve = gap[["estimate", "low", "high"]].div(width, axis=0).to_numpy()
    run = gap[["run_low", "run_high"]].div(wider, axis=0).to_numpy()
    return float(max(curve.max(), run.max()))
