"""Joint draws of one metric at many points, a few points at a time, and the ends of their middle.

`Joint.values` prepares its points at each call; here they are prepared once, each distinct one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.draws import Joint
from scaling_laws.decide.skeleton import spanned
from scaling_laws.model import Model, slice_rows
from scaling_laws.points import coordinates
from scaling_laws.uncertainty import quantile_ends, quantile_pair, quantile_ranks

__all__ = ["Sampled", "Tails", "near", "sampled"]

Array = NDArray[np.float64]
Places = NDArray[np.intp]

# Draws beyond the ends of an interval that are sorted too: the order of draws shifts from point to
# point. Where more than this share is likely to lie there, all of them are sorted.
_MARGIN = 6
_SHARE = 0.4
# Values evaluated at once: a few such arrays stay in a processor's cache.
_TILE = 64_000
# Points of a cell, and the most axes of which all corners are looked at.
_CELL = 256
_AXES = 3


@dataclass(frozen=True, eq=False)
class _Bound:
    """A form at all distinct points, its draws, and which of the joint ones they are."""

    model: Model
    theta: Array
    at: Places

    def values(self, own: Places) -> Array:
        """Return draws ``[own, draws]``."""
        every = np.arange(len(self.theta))
        found = spanned(lambda p, d: self._evaluated(own[p], d), len(own), len(every))
        return self._evaluated(own, every) if found is None else found

    def _evaluated(self, own: Places, draws: Places) -> Array:
        x = {k: v[own] for k, v in self.model.x.items()}
        here = slice_rows(self.model, x, self.model.codes[own])
        out = np.empty((len(own), len(draws)))
        step = max(1, _TILE // len(own))
        for begin in range(0, len(draws), step):
            part = slice(begin, begin + step)
            out[:, part] = here.mean(self.theta[draws[part]]).T
        return out


@dataclass(frozen=True, eq=False)
class Sampled:
    """Draws of a metric's curve at n points; made by `sampled`.

    Attributes
    ----------
    place : array [n]
        Distinct point of each point.
    forms : tuple
    width : array [distinct]
        The least sd beyond the log, see `Joint.width`.
    joint : Joint
    name : str
        The metric.
    """

    place: Places
    forms: tuple[_Bound, ...]
    width: Array
    joint: Joint
    name: str

    def distinct(self, points: Places) -> tuple[Array, Places]:
        """Return draws ``[distinct, draws]`` of the points, and which row belongs to each."""
        where = self.place[points]
        own, back = np.unique(where, return_inverse=True)
        if len(own) == len(where):
            own, back = where, np.arange(len(where))
        return self._values(own), back

    def values(self, points: Places) -> Array:
        """Return draws ``[points, draws]``, those of `Joint.values` for ``interval="mean"``."""
        values, back = self.distinct(points)
        return values if len(values) == len(back) else values[back]

    def _values(self, own: Places) -> Array:
        if len(self.forms) == 1:
            out = self.forms[0].values(own)
        else:
            out = np.empty((len(own), self.joint.count))
            for form in self.forms:
                out[:, form.at] = form.values(own)
        far = np.flatnonzero(self.width[own] > 0)
        if len(far):
            sd = self.joint.lacking(self.name, out[far], self.width[own[far]])
            out[far] = self.joint.moved(self.name, out[far], sd, self.normals)
        return out

    @cached_property
    def normals(self) -> Array:
        """Normals of the error beyond the log."""
        return self.joint.normals()


def sampled(joint: Joint, name: str, points: pd.DataFrame) -> Sampled:
    """Prepare the draws of a metric at points.

    Raises
    ------
    NoInterval
        If the log cannot support an interval.
    ValueError
        For a missing axis, a level the log never had, or a value that is not legal.
    """
    forms = joint.forms[name]
    at = [coordinates(form.fit.problem, points) for form in forms]
    first, place = _distinct([column for codes, raw in at for column in (codes, *raw.values())])
    bound = [
        _Bound(
            form.fit.model.at({k: v[first] for k, v in raw.items()}, codes[first]),
            form.fit.draws.theta,
            form.at,
        )
        for form, (codes, raw) in zip(forms, at, strict=True)
    ]
    return Sampled(place, tuple(bound), joint.width(name, points.iloc[first]), joint, name)


def _distinct(columns: Sequence[NDArray[np.generic]]) -> tuple[Places, Places]:
    """Return the first row of each distinct one, and which of them each row is."""
    first = np.zeros(1, np.intp)
    place = np.zeros(len(columns[0]), np.intp)
    for column in columns:
        levels, code = np.unique(column, return_inverse=True)
        _, first, place = np.unique(
            place * len(levels) + code, return_index=True, return_inverse=True
        )
    return first, place


def near(joint: Joint, points: pd.DataFrame) -> list[tuple[Places, Places]]:
    """Return cells of points of one level and like axes, each with those at its corners.

    Cells are cut by the ranks of all axes and hold a few hundred points; in one, points of equal
    axes follow one another, those of the axis that most laws have first.
    """
    laws = [form.fit.law for forms in joint.forms.values() for form in forms]
    shared = {a: sum(a in [x.name for x in law.axis_list()] for law in laws) for a in joint.axes}
    levels = [np.unique(points[f].astype(str), return_inverse=True)[1] for f in joint.factors]
    axes: list[Places] = []
    for axis in sorted(joint.axes, key=lambda a: -shared[a]):
        values, code = np.unique(points[axis].to_numpy(dtype=float), return_inverse=True)
        if len(values) > 1:
            axes.append(code)
    groups = len(points) / np.prod([level.max() + 1 for level in levels], dtype=float)
    cells = max(1, round((groups / _CELL) ** (1.0 / max(len(axes), 1))))
    none = np.zeros(len(points), np.intp)
    cut = np.array([none, *levels, *(code * cells // (int(code.max()) + 1) for code in axes)])
    order = np.lexsort([*cut, *axes][::-1])
    ends: Places = np.flatnonzero((np.diff(cut[:, order], axis=1) != 0).any(0)) + 1
    ranks = np.array([code / int(code.max()) for code in axes]).reshape(len(axes), len(points))
    return [(cell, cell[_corners(ranks[:, cell])]) for cell in np.split(order, ends)]


def _corners(ranks: Array) -> Places:
    """Return the points ``[axes, points]`` that lie farthest out in each direction."""
    axes = len(ranks)
    unit = np.eye(axes)
    few = np.array(list(product((-1.0, 1.0), repeat=axes)))
    return np.unique(((few if axes <= _AXES else np.concatenate([unit, -unit])) @ ranks).argmax(1))


class Tails:
    """Interval ends of many rows of draws whose order hardly changes from row to row.

    The draws that lie in the tails of a few rows are sorted alone; that no other draw lies there
    is then looked up. A row of which it is not true is sorted whole: the ends are always exact.
    """

    def __init__(self, level: float, count: int) -> None:
        self._level, self._count = level, count
        self._below, self._above, self._share = quantile_ranks(count, level)
        self._likely = np.ones(count, np.bool_)

    def expect(self, rows: Array) -> None:
        """Take the draws in the tails of some rows ``[rows, draws]`` for those of what follows."""
        self._likely = np.zeros(self._count, np.bool_)
        low = min(int(self._above[0]) + _MARGIN, self._count - 1)
        high = max(int(self._below[1]) - _MARGIN, 0)
        order = np.argpartition(rows, np.unique([low, high]), axis=1)
        self._likely[order[:, : low + 1]] = True
        self._likely[order[:, high:]] = True

    def ends(self, values: Array) -> tuple[Array, Array]:
        """Return the quantiles of each row, as `quantile_pair` does."""
        likely = np.flatnonzero(self._likely)
        others = self._count - len(likely)
        if len(likely) > _SHARE * self._count:
            return quantile_pair(values, self._level)
        # Where the others are looked at, one of them stands for all the likely ones.
        rest = values.copy()
        rest[:, likely] = values[:, int(self._likely.argmin()), None]
        below, above = self._below - [0, others], self._above - [0, others]
        part = values[:, likely]
        part.partition(np.unique(np.concatenate([below, above])), axis=1)
        low, high = quantile_ends(part[:, below], part[:, above], self._share)
        sure = (rest.min(1) >= part[:, above[0]]) & (rest.max(1) <= part[:, below[1]])
        missed = np.flatnonzero(~sure)
        if len(missed):
            low[missed], high[missed] = quantile_pair(values[missed], self._level)
        return low, high
