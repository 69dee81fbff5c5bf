"""Predictions of a fitted law: estimates, intervals, and how far the runs carry them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.checks import prediction_notes, support_of
from scaling_laws.estimate import Estimate
from scaling_laws.halfwild import Draws, NoInterval
from scaling_laws.model import Model
from scaling_laws.points import coordinates, typical
from scaling_laws.problem import Problem
from scaling_laws.uncertainty import (
    Band,
    NewRuns,
    as_generator,
    band,
    check_level,
    levels_at,
    values_at,
)

__all__ = ["draws_of", "estimates", "predictions"]

Array = NDArray[np.float64]
Columns = Mapping[str, Array]

_INTERVALS = ("mean", "run", "score")


def estimates(problem: Problem, fit: Estimate, points: pd.DataFrame) -> pd.DataFrame:
    """Return the points with their ``estimate``."""
    codes, raw = coordinates(problem, points)
    return points.assign(estimate=problem.model.at(raw, codes).mean(fit.theta[None])[0])


def predictions(
    problem: Problem,
    fit: Estimate,
    drawn: Draws | NoInterval,
    points: pd.DataFrame,
    interval: str,
    level: float,
    rng: Any,
    *,
    population: bool = False,
) -> pd.DataFrame:
    """Return the points with ``estimate``, interval, distance and support; see `Fit.predict`.

    Without draws the interval is missing, and everything else is told.
    """
    _known(interval)
    check_level(level)
    codes, raw = coordinates(problem, points)
    out = estimates(problem, fit, points)
    new = _new_runs(problem, points, raw, population)
    found = _band(problem, fit, drawn, codes, raw, interval, level, rng, new)
    out["low"], out["high"] = found.low, found.high
    out["distance"], out["support"] = support_of(problem, fit, problem.model.at(raw, codes), raw)
    if problem.metric.noise == "proportion":
        p = np.clip(out["estimate"].to_numpy(), 0.0, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            out["equivalent_n"] = p * (1.0 - p) / found.se**2
    out.attrs["notes"] = prediction_notes(problem, out)
    return out


def draws_of(
    problem: Problem, fit: Estimate, drawn: Draws, points: pd.DataFrame, interval: str, rng: Any
) -> Array:
    """Return the draws behind `predictions`: the metric, ``[rows, draws]``."""
    _known(interval)
    codes, raw = coordinates(problem, points)
    new = _new_runs(problem, points, raw)
    at = problem.model.at(raw, codes)
    return values_at(problem, fit, drawn, at, interval, as_generator(rng), new)


def _known(interval: str) -> None:
    if interval not in _INTERVALS:
        names = ", ".join(map(repr, _INTERVALS))
        raise ValueError(f"interval: {interval!r} is not one of {names}, None.")


def _band(
    problem: Problem,
    fit: Estimate,
    drawn: Draws | NoInterval,
    codes: NDArray[np.intp],
    raw: Columns,
    interval: str,
    level: float,
    rng: Any,
    new: NewRuns,
) -> Band:
    rows = len(codes)
    if isinstance(drawn, NoInterval):
        nothing = np.full(rows, np.nan)
        return Band(nothing, nothing, nothing)

    def at(part: slice) -> Model:
        return problem.model.at({k: v[part] for k, v in raw.items()}, codes[part])

    levels = levels_at(problem, drawn, raw, level)
    return band(problem, fit, drawn, at, rows, interval, levels, as_generator(rng), new)


def _new_runs(
    problem: Problem, points: pd.DataFrame, raw: Columns, population: bool = False
) -> NewRuns:
    metric = problem.metric
    return NewRuns(
        raw.get("kept"),
        typical(points, metric.n, problem.items),
        typical(points, metric.se, problem.se),
        population,
    )
