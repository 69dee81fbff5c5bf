"""Is there a law at all? law, flat, inverse, non-monotone, too noisy, or too few levels.

Works on means per level, on the residual scale, after removing what other axes and factors explain.
The trend test permutes levels, so its error rate does not rest on normal noise; its statistic is
the best correlation with a family of monotone curves ``(x^c - 1) / c`` (power laws above a floor
have ``c < 0``). A trend is a law only if the interval of the change, too, has one sign: the order
of the levels alone says nothing of a size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_laws.problem import Problem

__all__ = ["Verdict", "judge", "judge_problem"]

Array = NDArray[np.float64]

# Levels without which no permutation is rare enough to show a trend: of one curve, of several.
_FEWEST, _FEWEST_IN_GROUPS = 5, 3
_SHAPES = np.array([-1.5, -1.0, -0.6, -0.3, -0.1, 0.1, 0.4, 0.8])
# One-sided levels of both trend tests and of the turning test: together 4.5 %, so that a constant
# is called flat in at least 95 % of logs.
_TAIL = 0.0175
_TURN = 0.01
# Where a trend was found too, a turn needs less evidence: a U must not pass for a law.
_TURN_AGAINST_TREND = 0.05
_PERMUTATIONS = 2000
# A change worth naming over the whole range: 15 % of the score's range, or of a loss.
_MEANINGFUL = 0.15


@dataclass(frozen=True)
class Verdict:
    """What the data say about one axis.

    Attributes
    ----------
    kind : {"law", "flat", "inverse", "non-monotone", "too noisy", "too few"}
    axis : str
    levels : int
    change, low, high : float
        Change of the metric over the whole range of the axis along the monotone curve that is
        closest, with a 90 % interval, on the residual scale. Where several curves are judged
        together they share the change, each has a level of its own, and errors are those of rows.
    p_better, p_worse : float
        Permutation p-values of an improving and a worsening trend.
    sentence : str
    """

    kind: str
    axis: str
    levels: int
    change: float
    low: float
    high: float
    p_better: float
    p_worse: float
    sentence: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.sentence}"


def judge_problem(problem: Problem, axis: str, rng: np.random.Generator) -> Verdict:
    """Judge one axis of a problem's rows."""
    frame = problem.frame
    x = frame[axis].to_numpy(dtype=float)
    codes = np.zeros(len(x), np.intp)
    others = [a.name for a in problem.model.law.axis_list() if a.name != axis]
    others += list(problem.model.law.by)
    better = 1.0 if problem.metric.direction == "higher" else -1.0
    y = problem.y.copy()
    change = None
    if others:
        keys = frame[others].astype(str).agg("|".join, axis=1).to_numpy()
        codes = np.unique(keys, return_inverse=True)[1].astype(np.intp)
    if codes.max() > 0:
        change = _along(_share_of_range(x), better * y, codes)
        y = _remove_groups(y, x, codes)
    levels, inverse = np.unique(x, return_inverse=True)
    count = np.bincount(inverse)
    means = np.bincount(inverse, weights=y) / count
    link = problem.model.link
    scale = (link.top - link.floor) if link.kind == "logit" else 1.0
    shuffled = _shuffle_rows(better * y, inverse, codes, rng)
    return judge(
        levels,
        better * means,
        rng,
        axis=axis,
        scale=scale,
        name=problem.metric.name,
        shuffled=shuffled,
        change=change,
        instead=_instead(problem, axis),
    )


def _share_of_range(x: Array) -> Array:
    """Return where values lie in their range, 0 to 1, by logarithms where they have them."""
    u = np.log(x) if (x > 0).all() else x
    return (u - u.min()) / max(float(np.ptp(u)), 1e-300)


def _shuffle_rows(
    y: Array, level: NDArray[np.intp], group: NDArray[np.intp], rng: np.random.Generator
) -> Array | None:
    """Level means of rows permuted within their groups; None where there is one group only.

    One curve is permuted by its level means instead: its replicates may share an error.
    """
    if group.max() == 0:
        return None
    order = np.argsort(group[None, :] + rng.random((_PERMUTATIONS, len(y))), axis=1)
    home = np.argsort(group, kind="stable")
    count = np.bincount(level).astype(float)
    indicator = (level[home][:, None] == np.arange(len(count))) / count
    return y[order] @ indicator


def _remove_groups(y: Array, x: Array, codes: NDArray[np.intp]) -> Array:
    """Subtract additive group effects, fitted together with level effects (unbalanced designs)."""
    _, level = np.unique(x, return_inverse=True)
    n = len(y)
    groups, levels = codes.max() + 1, level.max() + 1
    design = np.zeros((n, groups + levels - 1))
    design[np.arange(n), codes] = 1.0
    later = level > 0
    design[np.flatnonzero(later), groups + level[later] - 1] = 1.0
    solution, *_ = np.linalg.lstsq(design, y, rcond=None)
    return y - design[:, :groups] @ solution[:groups] + float(y.mean())


def judge(
    x: Array,
    y: Array,
    rng: np.random.Generator,
    *,
    axis: str = "x",
    scale: float = 1.0,
    name: str = "the score",
    shuffled: Array | None = None,
    change: tuple[float, float, float] | None = None,
    instead: str = "",
) -> Verdict:
    """Judge levels ``x`` (ascending) with means ``y``, larger = better.

    Parameters
    ----------
    x, y : array [levels]
    rng : Generator
        For the permutations.
    shuffled : array [permutations, levels], optional
        Level means under permuted rows, where several curves are judged together.
    change : (float, float, float), optional
        Their change with its interval, by the rows; otherwise by the level means.
    axis, name : str
        Words of the sentence.
    instead : str, optional
        What to take where the score is flat; default its mean.
    scale : float
        Range of the score (1 for log losses): 15 % of it is a change worth naming.
    """
    n = len(x)
    fewest = _FEWEST if shuffled is None else _FEWEST_IN_GROUPS
    if n < fewest:
        return _too_few(axis, n, f"{axis} has {n} levels; {fewest} are the least that can show")
    flat = f"leave {axis} out and take {instead or f'the mean of {name}'}"
    u = _share_of_range(x)
    found, low, high = change or _along(u, y, np.zeros(n, np.intp))
    if np.isnan(low):
        told = f"{axis} has too few rows at two of its levels, all else equal, to show"
        return _too_few(axis, n, told)
    if np.ptp(y) <= 1e-12 * max(1.0, float(np.abs(y).max())):
        return Verdict(
            "flat",
            axis,
            n,
            0.0,
            0.0,
            0.0,
            1.0,
            1.0,
            f"{name} does not change with {axis}: {flat}.",
        )
    curves = _curves(u)
    p_better, p_worse = _permute(curves, y, rng, shuffled)
    words = f"{found:+.3g} over the range of {axis} (90 % interval {low:+.3g} to {high:+.3g})"
    trend = min(p_better, p_worse) <= _TAIL
    if _turns(u, y, curves) < (_TURN_AGAINST_TREND if trend else _TURN):
        kind, sentence = (
            "non-monotone",
            (f"{name} turns inside the range of {axis}; a monotone law would mislead. {words}."),
        )
    elif p_better <= _TAIL and low > 0:
        kind, sentence = "law", f"{name} improves with {axis}: {words}."
    elif p_worse <= _TAIL and high < 0:
        kind, sentence = "inverse", f"{name} gets worse with {axis}: {words}."
    elif max(abs(low), abs(high)) <= _MEANINGFUL * scale:
        # A change below what is worth naming may still have a sign that its interval shows.
        tested = f"{words[:-1]}; p = {min(1.0, 2.0 * min(p_better, p_worse)):.2g} of a trend)"
        little = "does not change" if low <= 0.0 <= high else "changes little"
        kind, sentence = (
            "flat",
            f"{name} {little} with {axis}: {tested}; {flat}.",
        )
    else:
        kind, sentence = (
            "too noisy",
            (
                f"no trend of {name} with {axis} stands out of the noise: {words}. "
                "Add levels or seeds."
            ),
        )
    return Verdict(kind, axis, n, found, low, high, p_better, p_worse, sentence)


def _instead(problem: Problem, axis: str) -> str:
    """Say what a flat axis leaves of a law, in the columns of the log."""
    law = problem.model.law
    axes = " and ".join(a.name for a in law.axis_list() if a.name != axis)
    by = " and ".join(law.by)
    if axes:
        return f"a law of {axes}{f' by {by}' * bool(by)} alone"
    return f"the mean of {problem.metric.name}{f' for each {by}' * bool(by)}"


def _too_few(axis: str, levels: int, told: str) -> Verdict:
    nan = float("nan")
    return Verdict("too few", axis, levels, nan, nan, nan, nan, nan, f"{told} a trend.")


def _along(u: Array, y: Array, group: NDArray[np.intp]) -> tuple[float, float, float]:
    """Change along the closest curve, a level each group, with a 90 % t interval; NaN without.

    The curve is chosen among the increasing ones, which takes a degree of freedom.
    """
    from scipy.special import stdtrit

    degrees = len(u) - len(np.unique(group)) - 2
    c = 4.0 * _SHAPES[:, None]
    y = _inside(y, group)
    curves = np.stack([_inside(w, group) for w in np.expm1(c * u) / np.expm1(c)])
    size = (curves**2).sum(1)
    if degrees < 1 or size.min() <= 1e-12 * len(u):
        return np.nan, np.nan, np.nan
    slopes = curves @ y / size
    rest = ((y - slopes[:, None] * curves) ** 2).sum(1)
    best = int(np.argmin(rest))
    half = float(stdtrit(degrees, 0.95)) * float(np.sqrt(rest[best] / degrees / size[best]))
    change = float(slopes[best])
    return change, change - half, change + half


def _inside(values: Array, group: NDArray[np.intp]) -> Array:
    """Return values with the mean of their group taken off."""
    return values - (np.bincount(group, weights=values) / np.bincount(group))[group]


def _curves(u: Array) -> Array:
    """Increasing curves over the levels, centred, of unit length ``[shapes, n]``."""
    c = _SHAPES * 4.0
    curves = np.expm1(c[:, None] * u) / c[:, None]
    curves -= curves.mean(1, keepdims=True)
    return curves / np.sqrt((curves**2).sum(1, keepdims=True))


def _permute(
    curves: Array, y: Array, rng: np.random.Generator, shuffled: Array | None
) -> tuple[float, float]:
    """Permutation p-values of the best correlation with an increasing and a decreasing curve."""
    centred = y - y.mean()
    if shuffled is None:
        shuffled = y[np.argsort(rng.random((_PERMUTATIONS, len(y))), axis=1)]
    projected = (shuffled - y.mean()) @ curves.T
    own = curves @ centred
    slack = 1e-12 * float(np.abs(own).max())
    better = (projected.max(1) >= own.max() - slack).sum()
    worse = (projected.min(1) <= own.min() + slack).sum()
    return (better + 1) / (_PERMUTATIONS + 1), (worse + 1) / (_PERMUTATIONS + 1)


def _turns(u: Array, y: Array, curves: Array) -> float:
    """p-value of: no parabola with its vertex inside beats every monotone curve (F test).

    Monotone are the shapes of `_curves`. An S or a step, which none of them follows, turns nowhere
    either: a parabola that is no closer than isotonic regression counts for nothing.
    """
    from scipy.special import fdtrc

    n = len(u)
    if n < 5:
        return 1.0
    centred = y - y.mean()
    total = float(centred @ centred)
    design = np.stack([np.ones(n), u, u * u], axis=1)
    solution, *_ = np.linalg.lstsq(design, y, rcond=None)
    rest = y - design @ solution
    parabola = float(rest @ rest)
    if abs(solution[2]) < 1e-300:
        return 1.0
    vertex = -solution[1] / (2.0 * solution[2])
    if not 0.1 < vertex < 0.9:
        return 1.0
    if parabola >= _isotonic(u, y):
        return 1.0
    monotone = total - float(((curves @ centred) ** 2).max())
    f = (monotone - parabola) / max(parabola / (n - 3), 1e-300)
    return float(fdtrc(1, n - 3, max(f, 0.0)))


def _isotonic(u: Array, y: Array) -> float:
    """Sum of squares that the closest rising or falling curve leaves."""
    from scipy.optimize import isotonic_regression

    _, level, count = np.unique(u, return_inverse=True, return_counts=True)
    means = np.bincount(level, weights=y) / count
    either = [isotonic_regression(means, weights=count, increasing=up).x for up in (True, False)]
    return min(float(((y - x[level]) ** 2).sum()) for x in either)
