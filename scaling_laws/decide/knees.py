"""Whether scores have a knee in the fraction kept: flat down to it, falling below it.

The knee is that of ``score = floor + A f(v)`` with the hinge ``f = clip(1 - s (k - v), 0, 1)``
against every smooth fall: logistic in log v, power, ``exp(-c (v^-g - 1))``, the joint law's
logistic of it, and a power deficit cut at the floor. Shapes lie on grids and A is solved for, so
that a fit is one matrix product and the test a parametric bootstrap of the smooth shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.asking import check_share, one_point, only_metric, words_of
from scaling_laws.decide.draws import Fitted, Joint, joint_of, main_fit
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.problem import Problem
from scaling_laws.runs import Note
from scaling_laws.show import number
from scaling_laws.uncertainty import quantile_pair

__all__ = ["knee"]

Array = NDArray[np.float64]

# Fewer levels fit a smooth curve as well as a hinge, whatever the truth.
_LEVELS = 7
# The bootstrap takes the fitted smooth curve for the true one, so that steep truths exceed the
# nominal size; at this one smooth truths have a knee in .5 % of logs, the steepest in 1 %.
_SIZE = 0.002
_DRAWS = 999
# Sets of levels whose shapes are kept: those of a log, and of it without each of its runs.
_KEPT = 64


def knee(
    fitted: Fitted,
    *,
    floor: float | None = None,
    level: float = 0.9,
    rng: Any = None,
    **point: Any,
) -> Result:
    """Return where the fall begins as the fraction kept shrinks, if the runs show that at all.

    Found where the hinge beats the best smooth curve by more than a smooth truth would let it in
    one of five hundred logs. Scores near their floor show few knees whatever the test: of
    four-choice scores from .75 on 1,000 items and eight levels, none that errs in one of a hundred
    logs can find more than 77 % of falls that begin at .7.

    Parameters
    ----------
    fitted : Fit or Forecast
        Of one metric, with the axis ``kept``; the runs at `point` are looked at.
    floor : float, optional
        Score of a model that knows nothing; default the metric's.
    level : float
        Of the interval.
    rng : int, optional
    **point
        The other axes and factors.

    Returns
    -------
    Result
        ``values``: ``verdict`` {found, none, not identifiable}, ``knee, low, high, p_value``, or
        ``add``, the levels to add.

    Raises
    ------
    ValueError
        For several metrics, an axis that is missing, a point at which no run lies, or no floor.
    """
    check_share(level, "level")
    joint = joint_of(fitted, rng)
    name = only_metric(joint)
    if "kept" not in joint.axes:
        raise ValueError(f"a knee is in kept; the fit is of {', '.join(joint.axes)}.")
    at = one_point(joint, point, ("kept",))
    problem = main_fit(joint.fits[name]).problem
    data = _rows(problem, at, floor_of(joint, name, floor))
    if not len(data.kept):
        raise ValueError(
            f"no run lies at {words_of(at)}, and a knee is read off runs: write values that the "
            f"log has, {_seen(joint, at)}."
        )
    question = f"where {name} begins to fall with kept" + (f", at {words_of(at)}" * bool(at))
    levels = np.unique(data.kept)
    if len(levels) < _LEVELS:
        return _not_identifiable(question, data, levels, joint.left_out)
    return _tested(question, data, joint, level)


def _seen(joint: Joint, at: Mapping[str, Any]) -> str:
    """Return what values of some axes and factors the log has."""
    known = {k: joint.factors[k] if k in joint.factors else joint.seen(k) for k in at}
    return "; ".join(
        f"{k} {', '.join(v if isinstance(v, str) else number(float(v)) for v in values)}"
        for k, values in known.items()
    )


def floor_of(joint: Joint, name: str, floor: float | None) -> float:
    """Return the score of a model that knows nothing.

    Raises
    ------
    ValueError
        Where it is not known, or no finite number.
    """
    known = joint.metric(name).floor if floor is None else floor
    if known is None:
        raise ValueError(
            f"retention needs the {name} of a model that knows nothing: pass floor=, measured on "
            "an untrained copy."
        )
    if not np.isfinite(known):
        raise ValueError(f"floor = {known!r} of {name} is not a finite number; write a score.")
    return float(known)


@dataclass(frozen=True, eq=False)
class _Data:
    """Scores above the floor, and their known variance (ones where not known)."""

    kept: Array
    y: Array
    variance: Array
    known: bool
    floor: float
    metric: str

    def without(self, i: int) -> _Data:
        """Return all runs but one."""
        kept, y, variance = (np.delete(v, i) for v in (self.kept, self.y, self.variance))
        return replace(self, kept=kept, y=y, variance=variance)

    def run(self, i: int) -> str:
        """Name a run by its fraction kept, and by its score where several have that."""
        where = f"the run at kept {number(self.kept[i])}"
        alone = (self.kept == self.kept[i]).sum() == 1
        return where if alone else f"{where} with {self.metric} {number(self.y[i] + self.floor)}"


def _rows(problem: Problem, at: Mapping[str, Any], floor: float) -> _Data:
    frame = problem.frame
    here = np.ones(len(frame), np.bool_)
    for name, value in at.items():
        if isinstance(value, str):
            same = [str(v) == value for v in frame[str(name)]]
        else:
            same = [bool(np.isclose(float(v), float(value), rtol=1e-6)) for v in frame[str(name)]]
        here &= np.array(same, np.bool_)
    rows = np.flatnonzero(here)
    score = problem.score[rows]
    variance = problem.evaluation_variance(problem.score)[rows]
    known = problem.known and bool((variance > 0).all()) and problem.model.link.kind != "log"
    kept = frame["kept"].to_numpy(dtype=float)[rows]
    return _Data(
        kept, score - floor, variance if known else np.ones(len(rows)), known, floor,
        problem.metric.name,
    )  # fmt: skip


# --- shapes ---------------------------------------------------------------------------------------
def _grid(*axes: Array) -> list[Array]:
    return [g.ravel()[:, None] for g in np.meshgrid(*axes, indexing="ij")]


@lru_cache(_KEPT)
def _smooth(kept: tuple[float, ...]) -> Array:
    """Smooth falls ``[shapes, rows]``, 1 at kept 1."""
    v = np.array(kept)[None]
    k0, s = _grid(np.geomspace(0.03, 3.0, 45), np.geomspace(0.3, 60.0, 25))
    logistic = np.exp(np.logaddexp(0, s * np.log(k0)) - np.logaddexp(0, s * np.log(k0 / v)))
    (g,) = _grid(np.geomspace(0.02, 12.0, 80))
    power = v**g
    c, g = _grid(np.geomspace(1e-3, 10.0, 30), np.geomspace(0.05, 8.0, 20))
    deficit = c * (v**-g - 1.0)
    e, c, g = _grid(np.linspace(0.0, 4.0, 5), np.geomspace(1e-3, 10.0, 20),
                    np.geomspace(0.05, 8.0, 12))  # fmt: skip
    joint = (1.0 + np.exp(-e)) / (1.0 + np.exp(np.minimum(c * (v**-g - 1.0) - e, 500.0)))
    return np.concatenate(
        [logistic, power, np.exp(-np.minimum(deficit, 500.0)), np.maximum(1.0 - deficit, 0.0),
         joint]
    )  # fmt: skip


@lru_cache(_KEPT)
def _hinges(kept: tuple[float, ...]) -> tuple[Array, Array]:
    """Hinges ``[shapes, rows]`` and their knees: two levels at least on either side."""
    v = np.array(kept)[None]
    levels: Array = np.unique(v)
    knees: Array = np.linspace(float(levels[1]), float(levels[-2]), 61)
    k, s = _grid(knees, np.geomspace(0.3, 12.0, 30))
    return np.clip(1.0 - s * (k - v), 0.0, 1.0), k[:, 0]


def _best(shapes: Array, y: Array, weight: Array) -> tuple[Array, NDArray[np.intp]]:
    """Least weighted squares over shapes, ``A`` solved: the sum and the shape of each ``y [B, n]``.

    ``y' W y - (f' W y)^2 / (f' W f)``.
    """
    size = np.sqrt(np.maximum((shapes * shapes) @ weight, 1e-300))
    gain = np.abs(y @ (shapes * weight / size[:, None]).T)
    best = np.argmax(gain, axis=1)
    return (y * y) @ weight - gain[np.arange(len(y)), best] ** 2, best


# --- the test -------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class _Test:
    """Hinge against the best smooth curve: their fits, the noise's draws, and how often by chance.

    ``place`` holds the knee, and the knees of the hinge with noise.
    """

    p_value: float
    smooth: Array
    bent: Array
    place: Array

    @property
    def found(self) -> bool:
        return self.p_value <= _SIZE

    @property
    def knee(self) -> float:
        return float(self.place[0])

    @classmethod
    def of(cls, data: _Data, seed: int) -> _Test:
        key = tuple(float(v) for v in data.kept)
        smooth, (hinges, knees) = _smooth(key), _hinges(key)
        weight, df = 1.0 / data.variance, len(key) - 3

        def statistic(y: Array) -> tuple[Array, Array, NDArray[np.intp], NDArray[np.intp]]:
            plain, i = _best(smooth, y, weight)
            bent, j = _best(hinges, y, weight)
            least = np.maximum(np.minimum(plain, bent) / df, float(data.known))
            return (plain - bent) / np.maximum(least, 1e-300), least, i, j

        observed, least, i, j = statistic(data.y[None])
        source = np.random.default_rng((seed, 7))
        error = np.sqrt(data.variance * least[0]) * source.standard_normal((_DRAWS, len(key)))
        curve, hinge = (
            _fitted(shape, data.y, weight) for shape in (smooth[i[0]], hinges[j[0]])
        )  # fmt: skip
        null = statistic(curve + error)[0]
        p_value = (1.0 + float((null >= observed[0]).sum())) / (_DRAWS + 1.0)
        again = _best(hinges, hinge + error, weight)[1]
        return cls(p_value, curve, hinge, knees[np.append(j, again)])


def _tested(question: str, data: _Data, joint: Joint, level: float) -> Result:
    test = _Test.of(data, joint.seed)
    low, high = (float(v[0]) for v in quantile_pair(test.place[None, 1:].copy(), level))
    k, found, p_value = test.knee, test.found, test.p_value
    values = {
        "verdict": "found" if found else "none",
        "knee": k if found else None,
        "low": low if found else None,
        "high": high if found else None,
        "p_value": p_value,
    }
    answer = (
        f"at kept {number(k)} [{number(low)}, {number(high)}]"
        if found
        else f"none: a smooth curve explains the runs (p = {p_value:.2g})"
    )
    change = (
        f"further runs about kept {number(k)} that lie on a smooth curve"
        if found
        else "more test items, seeds, or levels where the fall begins"
    )
    frame = _frame(data, test.smooth, test.bent)
    return Result(
        question=question, answer=answer, frame=frame, values=values, found=found,
        view=_view(frame, data.metric, {"knee": k} if found else {}),
        # A p value is no probability that there is a knee.
        reason=lambda: Why(answer, None, _decisive(data, test, joint.seed), change),
        notes=joint.left_out,
    )  # fmt: skip


def _fitted(shape: Array, y: Array, weight: Array) -> Array:
    return shape * float((shape * y) @ weight) / max(float((shape * shape) @ weight), 1e-300)


def _decisive(data: _Data, whole: _Test, seed: int) -> str:
    """Say without which run the answer moves most: another verdict, another knee, another p."""
    parts = [data.without(i) for i in range(len(data.kept))]
    tests = {
        i: _Test.of(part, seed)
        for i, part in enumerate(parts)
        if len(np.unique(part.kept)) >= _LEVELS
    }
    short = len(parts) - len(tests)
    few = f"without {short} of {len(parts)} runs there are fewer than {_LEVELS} levels"
    if not tests:
        return f"without any one of the runs there are fewer than {_LEVELS} levels"
    turned = [i for i, test in tests.items() if test.found != whole.found]
    if turned:
        at = max(turned, key=lambda i: abs(tests[i].p_value - whole.p_value))
        one = tests[at]
        verdict = (
            f"there is a knee at kept {number(one.knee)}" if one.found
            else "a smooth curve explains the runs"
        )  # fmt: skip
        words = f"{verdict} (p = {one.p_value:.2g})"
    elif whole.found:
        at = max(tests, key=lambda i: abs(tests[i].knee - whole.knee))
        words = f"the knee is at kept {number(tests[at].knee)} instead of {number(whole.knee)}"
    else:
        at = max(tests, key=lambda i: abs(tests[i].p_value - whole.p_value))
        words = f"p is {tests[at].p_value:.2g} instead of {whole.p_value:.2g}"
    return f"without {data.run(at)} {words}" + f"; {few}" * bool(short)


def _not_identifiable(question: str, data: _Data, levels: Array, left: tuple[Note, ...]) -> Result:
    """Say which levels to add: in the middle of the widest gaps."""
    wanted = list(levels)
    while len(wanted) < _LEVELS:
        wanted = sorted(wanted)
        if len(wanted) < 2:
            wanted = sorted({*wanted, 0.2, 0.6, 1.0})
            continue
        gaps = np.diff(wanted)
        i = int(np.argmax(gaps))
        wanted.append(round(float(wanted[i] + gaps[i] / 2), 3))
    add = sorted(set(wanted) - set(levels.tolist()))
    words = ", ".join(f"{v:g}" for v in add)
    answer = f"not identifiable from {len(levels)} kept levels: add kept = {words}"
    frame = _frame(data, None, None)
    note = Note("few_levels", "warning", f"{_LEVELS} levels of kept are the least for a knee.")
    return Result(
        question=question, answer=answer, frame=frame, found=False, notes=(*left, note),
        view=_view(frame, data.metric, {}),
        values={"verdict": "not identifiable", "knee": None, "add": add},
        reason=Why(answer, change=f"runs at kept = {words}"),
    )  # fmt: skip


def _frame(data: _Data, smooth: Array | None, hinge: Array | None) -> pd.DataFrame:
    frame = pd.DataFrame({"kept": data.kept, data.metric: data.y + data.floor})
    if smooth is not None and hinge is not None:
        frame["smooth"], frame["hinge"] = smooth + data.floor, hinge + data.floor
    return frame.sort_values("kept").reset_index(drop=True)


def _view(frame: pd.DataFrame, metric: str, marks: dict[str, float]) -> View:
    columns = [c for c in frame if c != "kept"]
    table = frame.melt("kept", columns, "curve", "score")
    return View("kept", "score", by="curve", style="points", y_label=metric, marks=marks,
                table=table)  # fmt: skip
