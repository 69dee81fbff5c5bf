"""Joint draws of several metrics of one log: what is asked of two scores is asked of one run.

Each metric has its own fit, drawn together with the others as `coupling` says; the noise of a new
run carries the correlation of the residuals too. One metric alone has the draws of `Fit.draws`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.bootstrap import DRAWS
from scaling_laws.chains import position_of
from scaling_laws.checks import support_of
from scaling_laws.decide.coupling import Coupling, couple
from scaling_laws.forecast import Forecast
from scaling_laws.halfwild import Draws
from scaling_laws.metrics import Metric
from scaling_laws.points import coordinates
from scaling_laws.result import Fit, Interval
from scaling_laws.runs import Note
from scaling_laws.uncertainty import student_t

__all__ = ["Ask", "Fitted", "Form", "Joint", "joint_of", "left_out", "main_fit", "stages_of"]

Array = NDArray[np.float64]
Fitted = Fit | Forecast
Ask = Fitted | Mapping[str, Fitted]

# Codes of notes on rows that gave no score.
_WITHOUT_SCORE = ("rejected_rows", "failed_runs", "no_score")
_SUPPORT = np.array(["corner", "inside", "outside"])


def main_fit(fitted: Fitted) -> Fit:
    """Return the fit, or the form with the largest weight."""
    return fitted.best if isinstance(fitted, Forecast) else fitted


class _Given(np.random.Generator):
    """Hands out given normals ``[draws]``, the same at every point: one new run in each draw."""

    def __init__(self, normals: Sequence[Array], seed: int) -> None:
        super().__init__(np.random.PCG64(seed))
        self._normals = list(normals)

    def standard_normal(self, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return the next of the given normals, broadcast to points."""
        return np.broadcast_to(self._normals.pop(0), size)


@dataclass(frozen=True, eq=False)
class Form:
    """A fit that holds its part of the joint draws, and which of them they are."""

    fit: Fit
    at: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Joint:
    """Fits of one log, by metric, with joint draws.

    Attributes
    ----------
    fits : dict of str to Fit or Forecast
    forms : dict of str to tuple of Form
        Per metric; one for a Fit.
    mix : array [metrics, metrics]
        Lower triangular, ``mix mix^T`` the correlation of residuals.
    seed : int
    """

    fits: Mapping[str, Fitted]
    forms: Mapping[str, tuple[Form, ...]]
    mix: Array
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """Metrics."""
        return tuple(self.fits)

    @property
    def first(self) -> str:
        """The first metric."""
        return next(iter(self.fits))

    @property
    def count(self) -> int:
        """Number of draws."""
        return sum(len(form.at) for form in self.forms[self.first])

    def metric(self, name: str) -> Metric:
        """Return a metric by its name."""
        return self.fits[name].metric

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """Axes of all laws."""
        laws = [f.fit.law for forms in self.forms.values() for f in forms]
        return tuple(dict.fromkeys(a.name for law in laws for a in law.axis_list()))

    @cached_property
    def factors(self) -> dict[str, tuple[str, ...]]:
        """Levels of each factor of the laws, as words."""
        out: dict[str, tuple[str, ...]] = {}
        for forms in self.forms.values():
            for form in forms:
                for name in form.fit.law.by:
                    seen = form.fit.problem.frame[name].astype(str)
                    out[name] = tuple(sorted({*out.get(name, ()), *seen}))
        return out

    @cached_property
    def left_out(self) -> tuple[Note, ...]:
        """Notes on runs of the log without a score, and on rejected bounds, of all metrics."""
        return left_out(*self.fits.values())

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Rows of the log behind the first metric."""
        return main_fit(self.fits[self.first]).problem.frame.sort_index()

    def seen(self, axis: str) -> Array:
        """Sorted levels of an axis in the rows of all metrics."""
        frames = [main_fit(f).problem.frame for f in self.fits.values()]
        values = [f[axis].to_numpy(dtype=float) for f in frames if axis in f]
        return np.unique(np.concatenate(values))

    def noise(self, which: int = 0) -> dict[str, list[Array]]:
        """Return normals of a new run's error and of its evaluation, ``[draws]`` a metric.

        Equal `which` is the same new run, at whatever point; another number another run.
        """
        source = np.random.default_rng((self.seed, 4, which))
        m, n = len(self.names), self.count
        run, evaluation = self.mix @ source.standard_normal((m, n)), source.standard_normal((m, n))
        return {name: [run[i], evaluation[i]] for i, name in enumerate(self.names)}

    def estimate(self, name: str, points: pd.DataFrame) -> Array:
        """Return the estimate of the curve at each point."""
        return self.fits[name].predict(points, interval=None)["estimate"].to_numpy(dtype=float)

    def support(self, points: pd.DataFrame) -> pd.DataFrame:
        """Return the largest ``distance`` over metrics of each point, and its ``support``."""
        found = [_support(main_fit(f), points) for f in self.fits.values()]
        distance = np.maximum.reduce([d for d, _ in found])
        rank = np.maximum.reduce([np.searchsorted(_SUPPORT, words) for _, words in found])
        return pd.DataFrame({"distance": distance, "support": _SUPPORT[rank]}, index=points.index)

    def values(
        self, name: str, points: pd.DataFrame, interval: Interval = "mean", which: int = 0
    ) -> Array:
        """Return draws of a metric ``[points, draws]``; `which` numbers the new run."""
        normals = self.noise(which)[name]
        out = np.empty((len(points), self.count))
        for form in self.forms[name]:
            given = _Given([z[form.at] for z in normals], self.seed + which)
            out[:, form.at] = form.fit.draws_at(points, interval, given)
        far, sd, z = self.beyond(name, points)
        if len(far):
            out[far] = self.moved(name, out[far], sd, z)
        return out

    def moved(self, name: str, values: Array, sd: Array, normals: Array) -> Array:
        """Return values ``[points, draws]`` with an error of `sd` on the residual scale added."""
        link, move = main_fit(self.fits[name]).model.link, sd[:, None] * normals
        if link.kind == "log":
            return values * np.exp(move)
        # No score is above its top, however far the forecast.
        return np.clip(values + move, 0.0, link.top) if link.kind == "logit" else values + move

    def run_sd(self, name: str, points: pd.DataFrame) -> Array:
        """Return the sd of a new run on the residual scale, ``[points, draws]``."""
        out = np.empty((len(points), self.count))
        for form in self.forms[name]:
            kept = points["kept"].to_numpy(dtype=float) if "kept" in points else None
            sd = np.sqrt(form.fit.draws.run_variance)
            out[:, form.at] = stages_of(form.fit, kept)[:, None] * sd
        return out

    def residual(self, name: str, points: pd.DataFrame) -> Array:
        """Return draws of the curve on the residual scale, ``[points, draws]``."""
        values = self.values(name, points, "mean")
        return np.log(values) if self.is_log(name) else values

    def beyond(self, name: str, points: pd.DataFrame) -> tuple[NDArray[np.intp], Array, Array]:
        """Return what a Forecast adds outside its log: points, an error's sd there, its normals.

        Draws and error together are as wide as `width` says.
        """
        width = self.width(name, points)
        far = np.flatnonzero(width > 0)
        if not len(far):
            return far, np.zeros(0), np.zeros(0)
        drawn = np.empty((len(far), self.count))
        for form in self.forms[name]:
            drawn[:, form.at] = form.fit.draws_at(points.iloc[far], "mean")
        return far, self.lacking(name, drawn, width[far]), self.normals()

    def width(self, name: str, points: pd.DataFrame) -> Array:
        """Return the least sd of a Forecast outside its log, on the residual scale; 0 inside.

        That of the rolling-origin error at that distance, and 90 % of it as wide as the admissible
        forms lie from the estimate: the same two bounds as those of `Forecast.predict`.
        """
        fitted, out = self.fits[name], np.zeros(len(points))
        if not isinstance(fitted, Forecast):
            return out
        distance, _ = _support(fitted.best, points)
        far = np.flatnonzero(distance > 0)
        if not len(far):
            return out
        there = points.iloc[far]
        forms, centre = fitted.admitted(there), self.estimate(name, there)
        if self.is_log(name):
            forms, centre = np.log(forms), np.log(centre)
        apart = np.abs(forms - centre).max(0) / student_t(np.inf, 0.9)
        out[far] = np.maximum(fitted.growth * distance[far], apart)
        return out

    def lacking(self, name: str, drawn: Array, width: Array) -> Array:
        """Return the sd that draws ``[points, draws]`` of the curve lack of `width`."""
        spread = (np.log(drawn) if self.is_log(name) else drawn).var(1)
        return np.sqrt(np.maximum(width**2 - spread, 0.0))

    def normals(self) -> Array:
        """Return the normals of the error outside the log, the same at every point ``[draws]``."""
        return np.random.default_rng((self.seed, 5)).standard_normal(self.count)

    def is_log(self, name: str) -> bool:
        """Whether residuals of a metric are logarithms."""
        return main_fit(self.fits[name]).model.link.kind == "log"


def left_out(*fits: Fitted) -> tuple[Note, ...]:
    """Return what fits say of rows that gave no score, and of a bound that the data reject.

    Where they do, estimate and interval are those of two laws, and an answer may lie outside its
    own interval.
    """
    found: list[Note] = []
    for one in map(main_fit, fits):
        found += [n for n in one.problem.notes if n.code in _WITHOUT_SCORE]
        found += [
            replace(n, sentence=f"{one.metric.name}: {n.sentence}")
            for n in one.notes
            if n.code == "bound_rejected"
        ]
    return tuple(dict.fromkeys(found))


def stages_of(one: Fit, kept: Array | None) -> Array:
    """Return the factor on the sd of a run's error: a chain's errors grow with its stages."""
    if one.estimate.chains is None or kept is None:
        return np.ones(1)
    seen = one.problem.frame["kept"].to_numpy(dtype=float)
    rho = one.estimate.chains.rho
    return np.sqrt(rho * position_of(one.estimate.chains, seen, kept) + 1.0 - rho)


def joint_of(fitted: Ask, rng: Any = None) -> Joint:
    """Return the fits of a question with joint draws.

    Parameters
    ----------
    fitted : Fit, Forecast, or mapping of metric to one
        Several: all fitted to the same log.
    rng : int, optional
        Seed; default that of the first fit.

    Raises
    ------
    NoInterval
        If the log cannot support an interval.
    TypeError, ValueError
        For something else, a name that is not the fit's metric, or fits of different logs.
    """
    fits = _named(fitted)
    mains = {name: main_fit(one) for name, one in fits.items()}
    seed = next(iter(mains.values())).seed if rng is None else int(rng)
    coupling = couple(mains, seed)
    forms = {name: tuple(_forms(name, one, coupling)) for name, one in fits.items()}
    return Joint(fits, forms, coupling.mix, seed)


def _forms(name: str, fitted: Fitted, coupling: Coupling) -> Iterator[Form]:
    """Yield the forms of a metric, each with its share of the joint draws."""
    if isinstance(fitted, Fit):
        drawn = coupling.draws(name, fitted, fitted)
        yield Form(_holding(fitted, drawn), np.arange(len(drawn.theta)))
        return
    # In an order of its own for each metric, so that the forms of two metrics do not go together.
    source = np.random.default_rng((coupling.seed, 6, list(coupling.places).index(name)))
    shares = np.cumsum(fitted.weights.to_numpy(dtype=float))
    form = np.searchsorted(shares / shares[-1], (source.permutation(DRAWS) + 0.5) / DRAWS)
    for i, label in enumerate(fitted.weights.index):
        at = np.flatnonzero(form == i)
        if len(at):
            one = fitted.fits[str(label)]
            drawn = coupling.draws(name, one, fitted.best)
            part = replace(drawn, theta=drawn.theta[at], run_variance=drawn.run_variance[at])
            yield Form(_holding(one, part), at)


def _holding(one: Fit, drawn: Draws) -> Fit:
    """Return the fit with other draws."""
    copy = replace(one)
    copy.__dict__["draws_or_reason"] = drawn
    return copy


def _named(fitted: Any) -> dict[str, Fitted]:
    if isinstance(fitted, Fit | Forecast):
        return {fitted.metric.name: fitted}
    kind = type(fitted).__name__
    if not isinstance(fitted, Mapping) or not fitted:
        given = "an empty mapping" if isinstance(fitted, Mapping) else kind
        write = "; write choice.forecast" if kind == "Choice" else ""
        if kind in ("list", "tuple"):
            write = '; write {"task_f1": fit, "mmlu": fit}, each under the name of its metric'
        raise TypeError(f"fitted: {given} is no Fit, Forecast, or mapping of metric to one{write}.")
    out: dict[str, Fitted] = {}
    for name, one in cast("dict[str, Any]", fitted).items():
        if not isinstance(one, Fit | Forecast):
            kind = type(one).__name__
            write = "; write choice.forecast" if kind == "Choice" else ""
            raise TypeError(f"fitted[{name!r}]: {kind} is no Fit or Forecast{write}.")
        if one.metric.name != name:
            raise ValueError(
                f"fitted[{name!r}] is a fit of {one.metric.name}; write {one.metric.name!r} as its "
                "key."
            )
        out[name] = one
    return out


def _support(one: Fit, points: pd.DataFrame) -> tuple[Array, NDArray[np.str_]]:
    codes, raw = coordinates(one.problem, points)
    return support_of(one.problem, one.estimate, one.model.at(raw, codes), raw)
