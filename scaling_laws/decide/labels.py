"""How many labels reach a target, or which target is reached by any number of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
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
from scaling_laws.decide.draws import Ask, Joint, joint_of, main_fit
from scaling_laws.decide.probability import Targets, on_residual_scale
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.result import Fit
from scaling_laws.show import number
from scaling_laws.uncertainty import quantile_pair

__all__ = ["Kind", "data_axis", "first_reaching", "labels_needed"]

Array = NDArray[np.float64]
Kind = Literal["run", "mean"]

# Beyond either end of the log as far again as it is wide, or so many times where it is narrow: a
# law's form alone speaks of what is farther.
_NARROW = 10.0
_A_DECADE, _FEWEST = 24, 25
# A target that is reachable is found to this power of a half of the way from one that is not.
_HALVINGS = 30


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
        Largest n looked at; default as far beyond the log's largest as the log is wide, by factors:
        of 100 to 2,000 examples, up to 40,000. At least ten times the largest. Below the log it is
        as far, and not under 1 where all n of the log are 1 or more.
    rng : int, optional
    **point
        The other axes and factors, such as ``kept=.37, format="label"``.

    Returns
    -------
    Result
        ``values``: ``n, low, high`` (infinite where some curves do not get there by `most`),
        ``never`` (their share), and where it is not reachable the ``top`` of each metric (of a loss
        its least) with its interval, at the size, none below the log, that is the likeliest to do;
        ``distance`` of that size, or of n, beyond the log, in log-ranges of its axis.
        ``why.run`` names what moves n: the size at which the curve is as high as it is at n. Where
        the target lies beneath the curve at all sizes, so that noise alone asks for more, it names
        what moves the score at n.
        ``frame``: a row a size, with the probability, each metric's interval and the distance.

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
    'not reachable with up to 9.00e7 examples'
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
    if most is not None and most <= seen[0]:
        raise ValueError(
            f"most = {most:g} is not above {seen[0]:g}, the smallest {along} logged; write a "
            "larger one, or leave it out."
        )
    grid = _sizes(float(seen[0]), float(seen[-1]), most)
    asked = _Needed(joint, targets, along, at, grid, confidence, interval, level)
    return asked.answer()


def _sizes(first: float, last: float, most: float | None) -> Array:
    """Return the sizes looked at, of a log from `first` to `last`."""
    reach = max(last / first, _NARROW)
    start = max(first / reach, 1.0) if first >= 1 else first / reach
    end = last * reach if most is None else float(most)
    decades = np.log10(end / start)
    return np.geomspace(start, end, max(_FEWEST, 1 + int(np.ceil(_A_DECADE * decades))))


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
class _Goal:
    """Draws of a metric on the residual scale and a run's sd, ``[sizes, draws]``, and its sign."""

    value: Array
    sd: Array | None
    sign: float

    def met(self, target: float) -> Array:
        """Return the probability that one run of each draw meets a target."""
        from scipy.special import ndtr

        gap = self.sign * (self.value - target)
        if self.sd is None:
            return (gap >= 0).astype(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.sd > 0, ndtr(gap / self.sd), gap >= 0)

    @property
    def easiest(self) -> float:
        """A target that every run meets."""
        far = 10.0 * (0.0 if self.sd is None else float(self.sd.max()))
        return self.sign * (float((self.sign * self.value).min()) - far)


def _jointly(met: Mapping[str, Array], names: Sequence[str]) -> Array:
    """Return the probability that one run of each draw meets all of some targets."""
    return np.array(prod(met[name] for name in names), ndmin=2)


def _rounded(target: float, higher: bool) -> float:
    """Return a target in three digits, rounded to where it is easier."""
    if target == 0:
        return target
    step = 10.0 ** (np.floor(np.log10(abs(target))) - 2)
    share = target / step
    return float(step * (np.floor(share) if higher else np.ceil(share)))


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

    def goal(self, name: str) -> _Goal:
        """Return a metric at all sizes, to be held against a target."""
        points = self.points(self.grid)
        sd = self.joint.run_sd(name, points) if self.interval == "run" else None
        higher = self.joint.metric(name).direction == "higher"
        return _Goal(self.joint.residual(name, points), sd, 1.0 if higher else -1.0)

    def asked(self, name: str) -> float:
        """Return the target of a metric on the residual scale."""
        low, high = on_residual_scale(self.joint, name, self.targets[name])
        return low if np.isfinite(low) else high

    def answer(self) -> Result:
        met = {name: self.goal(name).met(self.asked(name)) for name in self.targets}
        margin = _jointly(met, list(met))
        sure = margin.mean(1)
        n = float(first_reaching(self.grid, sure[:, None], self.confidence)[0])
        draws = first_reaching(self.grid, margin, self.confidence)
        low, high = (float(v[0]) for v in quantile_pair(draws[None], self.level))
        found = bool(np.isfinite(n))
        never = float(np.isinf(draws).mean())
        values: dict[str, Any] = {"n": n, "low": low, "high": high, "never": never}
        frame = self._frame(sure, n)
        there = self.points(n if found else self._surest(sure))
        values["distance"] = float(self.joint.support(there)["distance"].iloc[0])
        if not found:
            for name in self.targets:
                ends = quantile_pair(self.joint.values(name, there, "mean"), self.level)
                top = (self.joint.estimate(name, there), *ends)
                values[f"top_{name}"] = [float(v[0]) for v in top]
        words = self._words(values, found, float(sure.max()))
        label = f"{self.along} needed"
        return Result(
            question=(
                f"the least {self.along} with which {'a new run' * (self.interval == 'run')}"
                f"{'the curve' * (self.interval == 'mean')} has {target_words(self.targets)} with "
                f"probability {self.confidence:g}" + (f", at {words_of(self.at)}" * bool(self.at))
            ),
            answer=words, frame=frame, values=values, found=found,
            notes=self.joint.left_out + support_notes(self.joint, there),
            view=View(self.along, "probability", log_x=True, marks={label: n} if found else {},
                      y_label="probability of meeting the targets",
                      lines={f"confidence {self.confidence:g}": self.confidence}),
            reason=partial(self._why, words, there, found, sure, met),
        )  # fmt: skip

    def _surest(self, sure: Array) -> float:
        """Return the largest n, none below the log, at which the targets are the likeliest met.

        Not always the end of the grid: a Forecast knows less and less beyond its log.
        """
        here = sure[self.grid >= self._first]
        return float(self.grid[len(sure) - 1 - int(np.argmax(here[::-1]))])

    @property
    def _first(self) -> float:
        """The least n of the log."""
        return float(self.joint.seen(self.along)[0])

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
        return frame.assign(distance=self.joint.support(points)["distance"])

    def _words(self, values: Mapping[str, Any], found: bool, surest: float) -> str:
        if found:
            if values["n"] <= self.grid[0]:
                return f"{number(self.grid[0])} {self.along} or fewer"
            return f"{number(values['n'])} {self.along} {self._ends(values)}"
        tops: list[str] = []
        for name in self.targets:
            top, low, high = values[f"top_{name}"]
            of = f" of {name}" if len(self.targets) > 1 else ""
            tops.append(f"{self._best(name)}{of} {number(top)} [{number(low)}, {number(high)}]")
        upto = f"with up to {number(self.grid[-1])} {self.along}"
        return f"not reachable {upto}: {', '.join(tops)}, probability {surest:.2f} at most"

    def _ends(self, values: Mapping[str, Any]) -> str:
        """Return the interval of n in words; an end may lie beyond the sizes looked at."""
        low, high = float(values["low"]), float(values["high"])
        first = f"{number(low)} or fewer" if low <= self.grid[0] else number(low)
        return f"[{first}, {number(high) if np.isfinite(high) else self._beyond}]"

    @property
    def _beyond(self) -> str:
        return f"over {number(self.grid[-1])}"

    def _best(self, name: str) -> str:
        return "top" if self.joint.metric(name).direction == "higher" else "least"

    def _why(
        self, words: str, there: pd.DataFrame, found: bool, sure: Array, met: Mapping[str, Array]
    ) -> Why:
        """Ask the log about the target that binds: at the answer, the least likely to be met."""
        i = int(np.argmin(np.abs(np.log(self.grid / there[self.along].iloc[0]))))
        order = sorted(met, key=lambda one: float(met[one][i].mean()))
        name = order[0]
        if not found:
            best = f"the {self._best(name)} of {name}"
            run = decisive_run(self.joint, name, row_of(there, 0), best)
            return Why(words, float(sure.max()), run, self._reachable(order, met))
        even = float(first_reaching(self.grid, sure[:, None], 0.5)[0])
        few = " or fewer" * bool(even <= self.grid[0])
        change = f"at even odds {number(even)} {self.along}{few} would do"
        return Why(words, max(self.confidence, float(sure[0])), self._moving(name, there), change)

    def _moving(self, name: str, there: pd.DataFrame) -> str:
        """Say without which unit n moves most, with the margin above the target that it has now."""
        n = float(there[self.along].iloc[0])
        main = main_fit(self.joint.fits[name])
        height = float(main.predict(there, interval=None)["estimate"].iloc[0])
        low, high = self.targets[name]
        if self._reached(main, low if np.isfinite(low) else high) <= self.grid[0]:
            # The curve meets the target at every size: what keeps n up is how little is known.
            at = self.points(max(n, self._first))
            where = f"{name} at {number(float(at[self.along].iloc[0]))} {self.along}"
            return decisive_run(self.joint, name, row_of(at, 0), where)

        def needed(one: Fit) -> float:
            return self._reached(one, height)

        return decisive_run(self.joint, name, needed, f"the number of {self.along} needed")

    def _reachable(self, order: Sequence[str], met: Mapping[str, Array]) -> str:
        """Name the hardest target of the metric that binds which is met with the confidence.

        Where the other targets are not met either, those that bind most are left out first.
        """
        left = 0
        while _jointly(met, order[left + 1 :]).mean(1).max() < self.confidence:
            left += 1
        name, rest = order[left], order[left + 1 :]
        others, goal = _jointly(met, rest), self.goal(name)
        hard, easy = self.asked(name), goal.easiest
        for _ in range(_HALVINGS):
            middle = 0.5 * (hard + easy)
            enough = (others * goal.met(middle)).mean(1).max() >= self.confidence
            hard, easy = (hard, middle) if enough else (middle, easy)
        log, higher = self.joint.is_log(name), goal.sign > 0
        target = _rounded(float(np.exp(easy)) if log else easy, higher)
        sure = (others * goal.met(float(np.log(target)) if log else target)).mean(1)
        n = float(first_reaching(self.grid, sure[:, None], self.confidence)[0])
        dropped = {k: self.targets[k] for k in order[:left]}
        without = f"without {target_words(dropped)}, " * bool(left)
        beside = f" beside {target_words({k: self.targets[k] for k in rest})}" * bool(rest)
        wanted = f"{name} {'>=' if higher else '<='} {number(target)}"
        return f"{without}{wanted}{beside} is reachable, with {number(n)} {self.along}"

    def _reached(self, one: Fit, height: float) -> float:
        """Return the n from which the curve of a fit is as good as a score."""
        sign = 1.0 if one.metric.direction == "higher" else -1.0
        score = one.predict(self.points(self.grid), interval=None)["estimate"].to_numpy(dtype=float)
        return float(first_reaching(self.grid, sign * score[:, None], sign * height)[0])
