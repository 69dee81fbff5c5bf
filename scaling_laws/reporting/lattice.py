"""Draws computed beforehand on a lattice, and how the page reads intervals from them.

``draw_d(x) = m(x) + sum_k B_k(x) C_kd``: curves of all draws in a basis of few (the leading
singular vectors over the nodes). Each is smooth, so that cubic pieces through few nodes, even in
the logarithm of each axis, give every draw at any point, and its quantiles the interval; quantiles
themselves have kinks where draws cross and would need many more nodes. `panel.js` does the same
arithmetic and knows no law.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.draws import Fitted, main_fit
from scaling_laws.forecast import Forecast
from scaling_laws.halfwild import NoInterval
from scaling_laws.uncertainty import quantile_pair, student_t

__all__ = ["Lattice", "SameRun", "Scale", "lattice_of", "predicted", "scale_of"]

Array = NDArray[np.float64]
Nodes = NDArray[np.intp]

# How far an axis reaches below and beyond its data, in log-ranges of the data.
_BELOW, _BEYOND = 0.15, 0.5
# Nodes along an axis at first; numbers of a lattice at most (four bytes each).
_COARSEST = 13
_NUMBERS = 120_000
# Rows of a lattice at most: nodes and combinations of levels.
_ROWS = 4000
# Intervals narrower than this share of the range of the estimates count as so wide: residuals at
# rounding level leave nothing to be right about.
_NARROW = 1e-6
# Error over width of the interval at which nothing is made finer: 1 % is promised.
_TOLERANCE = 0.003
_PROBES = 60
# Of the basis: largest error of a draw over the interval's width, and functions at most.
_BASIS_ERROR = 0.002
_RANK = 48


class SameRun(np.random.Generator):
    """Gives every point the noise that a single point would get: one new run along a curve."""

    @classmethod
    def of(cls, seed: int) -> SameRun:
        """Return the generator that stands for a seed."""
        return cls(np.random.PCG64(seed))

    def spawn(self, n_children: int) -> list[np.random.Generator]:
        """Return the first child, as often as asked."""
        child = self.bit_generator.spawn(1)[0]
        return [type(self)(deepcopy(child)) for _ in range(n_children)]

    def standard_normal(self, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return one row of normals, broadcast to all."""
        return np.broadcast_to(super().standard_normal((1, *size[1:])), size)


@dataclass(frozen=True)
class Scale:
    """An axis of a lattice: nodes even in the logarithm, and the ends of the data."""

    name: str
    low: float
    high: float
    nodes: int
    seen: tuple[float, float]

    @property
    def values(self) -> Array:
        """Values of the nodes."""
        out = np.geomspace(self.low, self.high, self.nodes)
        out[0], out[-1] = self.low, self.high
        return out

    def stencil(self, values: Array) -> tuple[Nodes, Array]:
        """Return four nodes around each value and their weights (Lagrange), ``[values, 4]``."""
        at = np.log(values / self.low) / np.log(self.high / self.low) * (self.nodes - 1)
        first = np.clip(np.floor(at).astype(np.intp) - 1, 0, self.nodes - 4)
        t = at - first
        weights = np.stack(
            [
                -(t - 1) * (t - 2) * (t - 3) / 6,
                t * (t - 2) * (t - 3) / 2,
                -t * (t - 1) * (t - 3) / 2,
                t * (t - 1) * (t - 2) / 6,
            ],
            axis=1,
        )
        return first[:, None] + np.arange(4), weights

    def overshoot(self, values: Array) -> Array:
        """Return how far values lie beyond the data, in log-ranges of the data."""
        low, high = np.log(self.seen[0]), np.log(self.seen[1])
        width = high - low if high > low else 1.0
        beyond = np.maximum(low - np.log(values), np.log(values) - high) - 1e-9 * width
        return np.maximum(beyond, 0.0) / width


def scale_of(name: str, values: Array) -> Scale:
    """Return the axis for values of the data, at its coarsest."""
    values = values[np.isfinite(values) & (values > 0)]
    low, high = float(np.log(values.min())), float(np.log(values.max()))
    width = high - low if high > low else 1.0
    top = min(high + _BEYOND * width, 0.0) if name == "kept" else high + _BEYOND * width
    ends = (_plain(np.exp(low - _BELOW * width)), _plain(np.exp(top)))
    return Scale(name, *ends, _COARSEST, (float(values.min()), float(values.max())))


def _plain(value: float) -> float:
    """Return a number of two digits."""
    return float(f"{value:.1e}")


@dataclass(frozen=True, eq=False)
class Lattice:
    """The draws of a metric at every node.

    Attributes
    ----------
    scales : tuple of Scale
    factors : mapping of str to tuple of str
        Levels.
    table : array ``[combinations of levels, nodes, columns]``
        Estimate; estimates of the admissible forms; ``m``; ``B_k``; size of a new run's noise.
    forms : int
        Admissible forms; none where there is only one, or no interval.
    coefficients : array ``[k, draws]``
        ``C``.
    noise : array ``[draws]``
        Error of a new run where its size is 1.
    support : array of int ``[combinations, nodes]``
        0 inside, 1 corner, 2 outside.
    log : bool
        Whether values are logarithms.
    bounds : (float, float) or None
        Of the score of a new run.
    level : float
        Of the intervals.
    growth : float
        Half width per distance beyond the data that an interval has at least.
    error : float
        Largest difference from a prediction at random points, over the interval's width.
    """

    scales: tuple[Scale, ...]
    factors: Mapping[str, tuple[str, ...]]
    table: Array
    forms: int
    coefficients: Array
    noise: Array
    support: NDArray[np.uint8]
    log: bool
    bounds: tuple[float, float] | None
    level: float
    growth: float
    error: float = float("nan")

    @property
    def numbers(self) -> int:
        """Numbers that are stored."""
        return self.table.size + self.coefficients.size + self.noise.size

    def read(self, points: pd.DataFrame) -> pd.DataFrame:
        """Return what the page shows at points: estimate, low, high, run_low, run_high."""
        row = self._between(points)
        out = {"estimate": row[:, 0]}
        if len(self.noise):
            k = len(self.coefficients)
            mean = row[:, 1 + self.forms, None] + row[:, -1 - k : -1] @ self.coefficients
            run = mean + row[:, -1:] * self.noise
            if self.bounds is not None:
                run = np.clip(run, *self.bounds)
            out["low"], out["high"] = self._ends(mean, row, points)
            out["run_low"], out["run_high"] = self._ends(run, row, points)
        frame = pd.DataFrame(out, index=points.index)
        return frame.apply(np.exp) if self.log else frame

    def _ends(self, drawn: Array, row: Array, points: pd.DataFrame) -> tuple[Array, Array]:
        """Return the quantiles, at least as wide beyond the data as forms and growth say."""
        low, high = quantile_pair(drawn, self.level)
        distance = np.max([s.overshoot(points[s.name].to_numpy(float)) for s in self.scales], 0)
        outside, half, centre = distance > 0, self.growth * distance, row[:, 0]
        least, most = centre - half, centre + half
        if self.bounds is not None:
            least = np.maximum(least, self.bounds[0])
            most = np.minimum(most, self.bounds[1])
        if self.forms:
            forms = row[:, 1 : 1 + self.forms]
            low = np.where(outside, np.minimum.reduce([low, least, forms.min(1)]), low)
            high = np.where(outside, np.maximum.reduce([high, most, forms.max(1)]), high)
        return low, high

    def _between(self, points: pd.DataFrame) -> Array:
        """Return the columns of the table at points ``[points, columns]``."""
        combination = np.zeros(len(points), np.intp)
        for name, levels in self.factors.items():
            place = points[name].astype(str).map(list(levels).index).to_numpy(dtype=np.intp)
            combination = combination * len(levels) + place
        node = np.zeros((len(points), 1), np.intp)
        weight = np.ones((len(points), 1))
        for scale in self.scales:
            nodes, weights = scale.stencil(points[scale.name].to_numpy(dtype=float))
            node = (node[:, :, None] * scale.nodes + nodes[:, None, :]).reshape(len(points), -1)
            weight = (weight[:, :, None] * weights[:, None, :]).reshape(len(points), -1)
        found = self.table[combination[:, None], node]
        return np.einsum("pn,pnc->pc", weight, found)


def lattice_of(
    fitted: Fitted,
    factors: Mapping[str, tuple[str, ...]],
    level: float = 0.9,
    most: int = _NUMBERS,
    rng: int = 0,
) -> Lattice:
    """Return a lattice as fine as the promise needs, or as `most` numbers allow.

    Parameters
    ----------
    fitted : Fit or Forecast
    factors : mapping of str to levels
    level : float
        Of the intervals.
    most : int
        Numbers at most.
    rng : int
        Seed of the points that the error is judged at.
    """
    fit = main_fit(fitted)
    scales = tuple(
        scale_of(a.name, fit.problem.frame[a.name].to_numpy(dtype=float))
        for a in fit.law.axis_list()
    )
    source = np.random.default_rng((rng, 11))
    found = _filled(fitted, scales, factors, level)
    while True:
        apart = [_error(fitted, found, source, i) for i in range(len(scales))]
        worst = int(np.argmax(apart))
        if apart[worst] <= _TOLERANCE:
            break
        scales = tuple(
            replace(s, nodes=2 * s.nodes - 1) if i == worst else s for i, s in enumerate(scales)
        )
        if found.table.shape[0] * int(np.prod([s.nodes for s in scales])) > _ROWS:
            break
        finer = _filled(fitted, scales, factors, level)
        if finer.numbers > most:
            break
        found = finer
    return replace(found, error=_error(fitted, found, source, None))


def _filled(
    fitted: Fitted,
    scales: tuple[Scale, ...],
    factors: Mapping[str, tuple[str, ...]],
    level: float,
) -> Lattice:
    fit = main_fit(fitted)
    log, top = fit.model.link.kind == "log", fit.model.link.top
    combinations = list(product(*factors.values()))
    names = [*factors, *(s.name for s in scales)]
    nodes = list(product(*(s.values for s in scales)))
    points = pd.DataFrame([(*c, *x) for c in combinations for x in nodes], columns=names)

    def stored(values: Any) -> Array:
        plain = np.asarray(values, float)
        return np.log(plain) if log else plain

    def shaped(values: NDArray[Any]) -> NDArray[Any]:
        return values.reshape(len(combinations), len(nodes), *values.shape[1:])

    columns = [stored(fitted.predict(points, interval=None)["estimate"])[:, None]]
    support = fit.predict(points, interval="mean")["support"]
    code = support.map({"inside": 0, "corner": 1, "outside": 2}).to_numpy(dtype=np.uint8)
    growth, forms = 0.0, 0
    coefficients, noise = np.zeros((0, 0)), np.zeros(0)
    try:
        mean = stored(fitted.draws_at(points, "mean"))
    except NoInterval:
        mean = None
    if mean is not None:
        if isinstance(fitted, Forecast):
            growth = student_t(np.inf, level) * fitted.growth
            each = [fitted.fits[f].predict(points, interval=None) for f in fitted.admissible]
            columns += [stored(one["estimate"])[:, None] for one in each]
            forms = len(each)
        run = stored(fitted.draws_at(points, "run", _first_child(fit.seed)))
        size, noise = _noise(run - mean, run, top if fit.model.link.kind == "logit" else None)
        centre = mean.mean(1)
        basis, coefficients = _basis(mean - centre[:, None], level, _NARROW * float(np.ptp(centre)))
        columns += [centre[:, None], basis, size[:, None]]
    return Lattice(
        scales, factors, shaped(np.concatenate(columns, axis=1)), forms, coefficients, noise,
        shaped(code), log, (0.0, top) if fit.model.link.kind == "logit" else None, level, growth,
    )  # fmt: skip


def _first_child(seed: int) -> np.random.Generator:
    return SameRun.of(seed).spawn(1)[0]


def _noise(noise: Array, run: Array, top: float | None) -> tuple[Array, Array]:
    """Split a new run's error ``[nodes, draws]`` in its size at a node and that of each draw.

    A clipped run hides its error: each draw's is taken where its run lies furthest inside.
    """
    if top is None:
        free, where = np.ones_like(run, bool), np.zeros(run.shape[1], np.intp)
    else:
        room = np.minimum(run, top - run)
        free, where = room > 0, np.argmax(room, axis=0)
    own = noise[where, np.arange(noise.shape[1])]
    size = np.ones(len(noise))
    strong = np.abs(own) >= np.median(np.abs(own))
    if float(np.abs(own).max(initial=0.0)) > 0:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(free & strong, noise / own, np.nan)
        known = np.isfinite(ratio).any(1)
        size[known] = np.nanmedian(ratio[known], axis=1)
    return size, own


def _basis(deviation: Array, level: float, least: float) -> tuple[Array, Array]:
    """Return basis and coefficients of draws ``[nodes, draws]``, exact to a share of the width.

    Widths below `least` count as that.
    """
    low, high = quantile_pair(deviation, level)
    width = np.maximum(high - low, max(least, 1e-300))[:, None]
    u, s, v = np.linalg.svd(deviation / width, full_matrices=False)
    left = deviation / width
    rank = 0
    # Extreme draws move no quantile: a small share of misses is allowed.
    while rank < min(_RANK, len(s)):
        if float(np.quantile(np.abs(left).max(0), 0.98)) <= _BASIS_ERROR:
            break
        left = left - s[rank] * np.outer(u[:, rank], v[rank])
        rank += 1
    root = np.sqrt(s[:rank])
    return u[:, :rank] * root * width, root[:, None] * v[:rank]


def predicted(fitted: Fitted, points: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return what `predict` says of each point alone: both intervals, where there are any."""
    mean = fitted.predict(points, interval="mean", level=level)
    out = mean[["estimate"]].copy()
    if mean["low"].notna().all():
        noise = SameRun.of(main_fit(fitted).seed)
        run = fitted.predict(points, interval="run", level=level, rng=noise)
        out["low"], out["high"] = mean["low"], mean["high"]
        out["run_low"], out["run_high"] = run["low"], run["high"]
    return out


def _error(fitted: Fitted, found: Lattice, source: np.random.Generator, along: int | None) -> float:
    """Return the largest error at random points, over width; off the nodes of one axis or of all.

    Without intervals, over the range of the estimates.
    """
    points = pd.DataFrame(dict(_random_points(found, source, along)))
    truth, read = predicted(fitted, points, found.level), found.read(points)
    gap = (read - truth).abs()
    span = max(float(np.ptp(truth["estimate"].to_numpy())), 1e-300)
    if "low" not in truth:
        return float(gap["estimate"].max() / span)
    width = np.maximum(truth["high"] - truth["low"], _NARROW * span)
    wider = np.maximum(truth["run_high"] - truth["run_low"], _NARROW * span)
    curve = gap[["estimate", "low", "high"]].div(width, axis=0).to_numpy()
    run = gap[["run_low", "run_high"]].div(wider, axis=0).to_numpy()
    return float(max(curve.max(), run.max()))


def _random_points(
    found: Lattice, source: np.random.Generator, along: int | None
) -> Iterator[tuple[str, Any]]:
    for name, levels in found.factors.items():
        yield name, source.choice(np.array(levels, dtype=object), _PROBES)
    for i, scale in enumerate(found.scales):
        if along in (None, i):
            ends: Sequence[float] = (np.log(scale.low), np.log(scale.high))
            yield scale.name, np.clip(np.exp(source.uniform(*ends, _PROBES)), scale.low, scale.high)
        else:
            yield scale.name, source.choice(scale.values, _PROBES)
