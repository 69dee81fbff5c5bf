"""How many labels: for a target, for the next step, for each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.asking import (
    Limits,
    check_interval,
    check_positive,
    check_share,
    decisive_run,
    one_point,
    row_of,
    support_notes,
    target_words,
    targets_of,
    words_of,
)
from scaling_laws.decide.draws import Ask, Joint, joint_of
from scaling_laws.decide.probability import Targets, on_residual_scale
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.result import Fit
from scaling_laws.runs import Note
from scaling_laws.show import number
from scaling_laws.uncertainty import quantile_pair

__all__ = ["Kind", "data_axis", "first_reaching", "labels_needed", "marginal"]

Array = NDArray[np.float64]
Kind = Literal["run", "mean"]

# Sizes looked at: from this share of the smallest in the log to so many times its largest.
_BELOW, _ABOVE, _POINTS = 1e-3, 1e6, 361


def labels_needed(
    fitted: Ask,
    *,
    at_least: Limits = None,
    at_most: Limits = None,
    confidence: float = 0.9,
    interval: Kind = "run",
    level: float = 0.9,
    axis: str | None = None,
    most: float | None = None,
    rng: Any = None,
    **point: Any,
) -> Result:
    """Return the smallest n with ``P(all targets are met by one new run at n) >= confidence``.

    The interval of n: in each draw of the curves, the n from which a run of that draw meets the
    targets with the same confidence; its equal-tailed quantiles.

    Parameters
    ----------
    fitted : Fit, Forecast, or mapping of metric to one
    at_least, at_most : mapping of metric to number, or number
    confidence : float
    interval : {"run", "mean"}
        Whether a new training run must meet the targets, or the curve.
    level : float
        Of the intervals.
    axis : str, optional
        What is counted; default ``examples``, else ``tokens``.
    most : float, optional
        Largest n looked at; default a million times the largest in the log.
    rng : int, optional
    **point
        The other axes and factors, such as ``kept=.37, format="label"``.

    Returns
    -------
    Result
        ``values``: ``n, low, high`` (infinite where some curves never get there), ``never`` (their
        share), and where it is not reachable the ``top`` of each metric with its interval, at the
        size that is the likeliest to do.
        ``frame``: a row a size, with the probability and each metric's interval.

    Raises
    ------
    ValueError
        For unknown names, no target, or an axis that is missing.

    Examples
    --------
    >>> import numpy as np, pandas as pd, scaling_laws as sl
    >>> design = pd.DataFrame({"examples": np.geomspace(1e3, 3e5, 12).round()})
    >>> runs = sl.simulate(sl.laws.Power(), design, {"E": 2.0, "A": .8, "a": .4}, .005, 1,
    ...                    metric="task_f1")
    >>> fit = sl.fit(sl.laws.Power(), runs, "task_f1")
    >>> found = sl.decide.labels_needed(fit, at_least=.80)
    >>> found.values["low"] < found.values["n"] < found.values["high"]
    True
    >>> sl.decide.labels_needed(fit, at_least=.95).answer.split(":")[0]
    'not reachable'
    """
    check_share(confidence, "confidence")
    check_share(level, "level")
    check_interval(interval, ("run", "mean"))
    joint = joint_of(fitted, rng)
    targets = targets_of(joint, at_least, at_most)
    along = data_axis(joint, axis)
    at = one_point(joint, point, (along,))
    seen = joint.seen(along)
    if most is not None:
        check_positive(most, "most", f"write the largest {along} to look at, or leave it out")
    end = float(seen[-1]) * _ABOVE if most is None else float(most)
    if end <= seen[0]:
        raise ValueError(f"most = {end:g} is not above {seen[0]:g}, the smallest {along} logged.")
    grid = np.geomspace(float(seen[0]) * _BELOW, end, _POINTS)
    asked = _Needed(joint, targets, along, at, grid, confidence, interval, level)
    return asked.answer()


def data_axis(joint: Joint, axis: str | None) -> str:
    """Return the axis that counts data."""
    if axis is not None:
        if axis not in joint.axes:
            raise ValueError(f"axis = {axis!r} is none of the laws' axes, {', '.join(joint.axes)}.")
        return axis
    for name in ("examples", "tokens"):
        if name in joint.axes:
            return name
    raise ValueError(f"no axis of the fit counts data; it has {', '.join(joint.axes)}. Say axis=.")


def first_reaching(grid: Array, curve: Array, wanted: float) -> Array:
    """Return the least n of each column where ``curve [grid, columns]`` reaches `wanted`.

    Interpolated in log n; the first of the grid where it starts there, infinite where it never
    gets there. Where a curve turns down again the level once reached counts.
    """
    best = np.maximum.accumulate(np.nan_to_num(curve, nan=-np.inf), axis=0)
    reached = best >= wanted
    first = np.argmax(reached, axis=0)
    i = np.maximum(first, 1)
    columns: NDArray[np.intp] = np.arange(len(first))
    low, high = best[i - 1, columns], best[i, columns]
    with np.errstate(all="ignore"):
        share = np.clip(np.nan_to_num((wanted - low) / (high - low), nan=1.0), 0.0, 1.0)
    log_n = np.log(grid)
    n = np.exp(log_n[i - 1] + share * (log_n[i] - log_n[i - 1]))
    return np.where(reached[-1], np.where(first == 0, grid[0], n), np.inf)


@dataclass(frozen=True, eq=False)
class _Needed:
    """The question, ready to be answered."""

    joint: Joint
    targets: Targets
    along: str
    at: Mapping[str, Any]
    grid: Array
    confidence: float
    interval: Kind
    level: float

    def points(self, n: Any) -> pd.DataFrame:
        return pd.DataFrame({self.along: np.atleast_1d(n), **self.at})

    def margins(self) -> Array:
        """Probability that one run of each draw meets the targets, ``[grid, draws]``."""
        from scipy.special import ndtr

        points = self.points(self.grid)
        out = np.ones((len(self.grid), self.joint.count))
        for name, ends in self.targets.items():
            value = self.joint.residual(name, points)
            sd = self.joint.run_sd(name, points) if self.interval == "run" else 0.0
            low, high = on_residual_scale(self.joint, name, ends)
            for end, sign in ((low, 1.0), (high, -1.0)):
                if np.isfinite(end):
                    gap = sign * (value - end)
                    with np.errstate(divide="ignore", invalid="ignore"):
                        out *= np.where(sd > 0, ndtr(gap / sd), gap >= 0)
        return out

    def answer(self) -> Result:
        margin = self.margins()
        sure = margin.mean(1)
        n = float(first_reaching(self.grid, sure[:, None], self.confidence)[0])
        draws = first_reaching(self.grid, margin, self.confidence)
        low, high = (float(v[0]) for v in quantile_pair(draws[None], self.level))
        found = bool(np.isfinite(n))
        never = float(np.isinf(draws).mean())
        values: dict[str, Any] = {"n": n, "low": low, "high": high, "never": never}
        frame = self._frame(sure, n)
        notes: tuple[Note, ...] = ()
        if found:
            notes = support_notes(self.joint, self.points(n))
        else:
            last = self.points(self._surest(sure))
            for name in self.targets:
                ends = quantile_pair(self.joint.values(name, last, "mean"), self.level)
                top = (self.joint.estimate(name, last), *ends)
                values[f"top_{name}"] = [float(v[0]) for v in top]
        words = self._words(values, found, float(sure.max()))
        label = f"{self.along} needed"
        return Result(
            question=(
                f"the least {self.along} with which {'a new run' * (self.interval == 'run')}"
                f"{'the curve' * (self.interval == 'mean')} has {target_words(self.targets)} with "
                f"probability {self.confidence:g}" + (f", at {words_of(self.at)}" * bool(self.at))
            ),
            answer=words, frame=frame, values=values, found=found, notes=notes,
            view=View(self.along, "probability", log_x=True, marks={label: n} if found else {},
                      y_label="probability of meeting the targets",
                      lines={f"confidence {self.confidence:g}": self.confidence}),
            reason=partial(self._why, words, values, found, sure),
        )  # fmt: skip

    def _surest(self, sure: Array) -> float:
        """Return the largest n at which the targets are the likeliest to be met.

        Not always the end of the grid: a Forecast knows less and less beyond its log.
        """
        return float(self.grid[len(sure) - 1 - int(np.argmax(sure[::-1]))])

    def _frame(self, sure: Array, n: float) -> pd.DataFrame:
        """Return sizes of the log and those up to the answer, and the far end."""
        seen = self.joint.seen(self.along)
        end = max(float(seen[-1]), min(n, float(seen[-1]) * 1e3)) * 2.0
        near = np.flatnonzero((self.grid >= seen[0] / 2.0) & (self.grid <= end))
        shown = np.unique([*near[:: max(1, len(near) // 20)], len(self.grid) - 1])
        points = self.points(self.grid[shown])
        frame = points.assign(probability=sure[shown].round(6))
        for name in self.targets:
            low, high = quantile_pair(self.joint.values(name, points, "mean"), self.level)
            frame[name] = self.joint.estimate(name, points)
            frame[f"{name}_low"], frame[f"{name}_high"] = low, high
        return frame

    def _words(self, values: Mapping[str, Any], found: bool, surest: float) -> str:
        if found:
            if values["n"] <= self.grid[0]:
                return f"{number(self.grid[0])} {self.along} or fewer"
            ends = f"[{number(values['low'])}, {number(values['high'])}]"
            return f"{number(values['n'])} {self.along} {ends}"
        tops: list[str] = []
        for name in self.targets:
            top, low, high = values[f"top_{name}"]
            of = f" of {name}" if len(self.targets) > 1 else ""
            tops.append(f"top{of} {number(top)} [{number(low)}, {number(high)}]")
        return f"not reachable: {', '.join(tops)}, probability {surest:.2f} at most"

    def _why(self, words: str, values: Mapping[str, Any], found: bool, sure: Array) -> Why:
        name = next(iter(self.targets))
        if not found:
            p = float(sure.max())
            end = self.points(self._surest(sure))
            last = {str(c): end[c].iloc[0] for c in end}
            run = decisive_run(self.joint, name, last, f"the top of {name}")
            return Why(
                words, p, run, f"a target below {number(values[f'top_{name}'][1])} is reachable"
            )
        run = decisive_run(self.joint, name, self._needed_by, f"the {self.along} needed on average")
        even = float(first_reaching(self.grid, sure[:, None], 0.5)[0])
        change = f"at even odds {number(even)} {self.along} would do"
        return Why(words, self.confidence, run, change)

    def _needed_by(self, one: Fit) -> float:
        """Return the n from which the curve of a fit meets its own target."""
        name = one.metric.name
        low, high = self.targets[name]
        score = one.predict(self.points(self.grid), interval=None)["estimate"].to_numpy(dtype=float)
        sign, wanted = (1.0, low) if np.isfinite(low) else (-1.0, -high)
        return float(first_reaching(self.grid, sign * score[:, None], wanted)[0])


def marginal(
    fitted: Ask,
    *,
    more: float | None = None,
    at: Any = None,
    level: float = 0.9,
    axis: str | None = None,
    rng: Any = None,
    **point: Any,
) -> Result:
    """Return what the next labels add to each score: ``m(n + more) - m(n)``, paired draws.

    Parameters
    ----------
    fitted : Fit, Forecast, or mapping of metric to one
    more : float, optional
        How many; default as many again as there are.
    at : number or array, optional
        From which sizes on; default the log's own, the answer being at its largest.
    level : float
    axis : str, optional
    rng : int, optional
    **point
        The other axes and factors.

    Returns
    -------
    Result
        ``frame``: a row a size and metric: ``gain`` (positive is better) with ``low``, ``high``,
        ``per_1000`` labels, and the probability that it is more than nothing.

    Raises
    ------
    ValueError
        For unknown names or sizes that are not positive.
    """
    check_share(level, "level")
    joint = joint_of(fitted, rng)
    along = data_axis(joint, axis)
    where = one_point(joint, point, (along,))
    sizes = np.sort(np.atleast_1d(joint.seen(along) if at is None else np.asarray(at, float)))
    if more is not None:
        check_positive(more, "more", f"write how many {along}, or leave it out for as many again")
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(f"at = {sizes.tolist()}: give positive finite numbers of {along}.")
    step = sizes if more is None else np.full(len(sizes), float(more))
    here, there = (pd.DataFrame({along: n, **where}) for n in (sizes, sizes + step))
    parts: list[pd.DataFrame] = []
    for name in joint.names:
        sign = 1.0 if joint.metric(name).direction == "higher" else -1.0
        draws = sign * (joint.values(name, there, "mean") - joint.values(name, here, "mean"))
        low, high = quantile_pair(draws, level)
        gain = sign * (joint.estimate(name, there) - joint.estimate(name, here))
        parts.append(
            pd.DataFrame(
                {
                    "metric": name, along: sizes, "more": step, "gain": gain, "low": low,
                    "high": high, "per_1000": 1000.0 * gain / step,
                    "probability": (draws > 0).mean(1),
                }
            )
        )  # fmt: skip
    frame = pd.concat(parts, ignore_index=True)
    told = [row_of(part, len(part) - 1) for part in parts]
    first = told[0]
    words = "; ".join(
        f"{number(r['gain'])} [{number(r['low'])}, {number(r['high'])}] {r['metric']}" for r in told
    )
    answer = f"the next {number(first['more'])} {along} after {number(sizes[-1])} add {words}"
    last = {along: float(sizes[-1] + step[-1]), **where}
    return Result(
        question=f"what further {along} add" + (f", at {words_of(where)}" * bool(where)),
        answer=answer, frame=frame,
        view=View(along, "gain", "low", "high", by="metric", log_x=True,
                  y_label="gain by the next labels"),
        values=first,
        reason=partial(_why_marginal, joint, answer, first, last),
        notes=support_notes(joint, there),
    )  # fmt: skip


def _why_marginal(
    joint: Joint, answer: str, first: Mapping[str, Any], last: Mapping[str, Any]
) -> Why:
    name = str(first["metric"])
    run = decisive_run(joint, name, last, f"{name} with the further labels")
    sure = float(first["probability"])
    change = "a run there would settle it" if sure < 0.95 else "a run there that gains nothing"
    return Why(answer, sure, run, change)
