"""How far a report goes: the range of its sliders, levels that have runs, what the log supports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.checks import support_of
from scaling_laws.points import coordinates
from scaling_laws.result import Fit

__all__ = ["Extent", "Scale", "extent_of", "scale_of"]

Array = NDArray[np.float64]

# How far an axis reaches below and beyond its data, in log-ranges of the data.
_BELOW, _BEYOND = 0.15, 0.5
# Nodes along an axis at most, and, about, nodes of all combinations of levels together.
_ALONG, _ALL = 49, 4000
_SUPPORT = ("inside", "corner", "outside")
_UNSEEN = len(_SUPPORT)


@dataclass(frozen=True)
class Scale:
    """An axis: nodes even in the logarithm, and the ends of the data."""

    name: str
    low: float
    high: float
    nodes: int
    seen: tuple[float, float]

    @property
    def values(self) -> Array:
        """Values of the nodes."""
        return self.spread(np.linspace(0.0, 1.0, self.nodes))

    def spread(self, shares: Array) -> Array:
        """Return the values at shares of the axis: 0 its low end, 1 its high one."""
        out = np.exp(np.log(self.low) + shares * np.log(self.high / self.low))
        return np.clip(np.where(shares == 1.0, self.high, out), self.low, self.high)

    def overshoot(self, values: Array) -> Array:
        """Return how far values lie beyond the data, in log-ranges of the data."""
        low, high = np.log(self.seen[0]), np.log(self.seen[1])
        width = high - low if high > low else 1.0
        beyond = np.maximum(low - np.log(values), np.log(values) - high) - 1e-9 * width
        return np.maximum(beyond, 0.0) / width


def scale_of(name: str, values: Array, nodes: int = _ALONG) -> Scale:
    """Return the axis for values of the data."""
    values = values[np.isfinite(values) & (values > 0)]
    low, high = float(np.log(values.min())), float(np.log(values.max()))
    width = high - low if high > low else 1.0
    top = min(high + _BEYOND * width, 0.0) if name == "kept" else high + _BEYOND * width
    ends = (_plain(np.exp(low - _BELOW * width)), _plain(np.exp(top)))
    return Scale(name, *ends, nodes, (float(values.min()), float(values.max())))


def _plain(value: float) -> float:
    """Return a number of two digits."""
    return float(f"{value:.1e}")


@dataclass(frozen=True, eq=False)
class Extent:
    """Axes and levels of a metric, and what its log supports.

    Attributes
    ----------
    scales : tuple of Scale
    factors : mapping of str to tuple of str
        Levels.
    support : array of int ``[combinations of levels, nodes]``
        0 inside, 1 corner, 2 outside, 3 where no run has the combination.
    """

    scales: tuple[Scale, ...]
    factors: Mapping[str, tuple[str, ...]]
    support: NDArray[np.uint8]

    @property
    def combinations(self) -> pd.DataFrame:
        """Combinations of levels that have runs, by their place among all."""
        every = list(product(*self.factors.values()))
        table = pd.DataFrame(every, columns=list(self.factors), index=range(len(every)))
        return table.iloc[np.flatnonzero((self.support != _UNSEEN).all(axis=1))]

    def place(self, points: pd.DataFrame) -> NDArray[np.intp]:
        """Return the place of each point's levels among all combinations."""
        found = np.zeros(len(points), np.intp)
        for name, levels in self.factors.items():
            own = points[name].astype(str).map(list(levels).index).to_numpy(dtype=np.intp)
            found = found * len(levels) + own
        return found

    def has_runs(self, points: pd.DataFrame) -> NDArray[np.bool_]:
        """Whether runs have the levels of each point."""
        return np.isin(self.place(points), self.combinations.index)


def extent_of(fit: Fit, factors: Mapping[str, tuple[str, ...]]) -> Extent:
    """Return the axes of a fit, and what its log supports at their nodes.

    `factors` may hold levels, and make combinations, that no run of the fit has.
    """
    combinations = list(product(*factors.values()))
    seen = [i for i, levels in enumerate(combinations) if "|".join(levels) in fit.model.levels]
    axes = [a.name for a in fit.law.axis_list()]
    along = int((_ALL / len(combinations)) ** (1.0 / len(axes)))
    nodes = min(max(along, 2), _ALONG)
    scales = tuple(scale_of(a, fit.problem.frame[a].to_numpy(dtype=float), nodes) for a in axes)
    places = list(product(*(s.values for s in scales)))
    points = pd.DataFrame(
        [(*combinations[i], *x) for i in seen for x in places], columns=[*factors, *axes]
    )
    codes, raw = coordinates(fit.problem, points)
    _, words = support_of(fit.problem, fit.estimate, fit.model.at(raw, codes), raw)
    support = np.full((len(combinations), len(places)), _UNSEEN, np.uint8)
    told = np.array([_SUPPORT.index(word) for word in words], np.uint8)
    support[seen] = told.reshape(len(seen), len(places))
    return Extent(scales, factors, support)
