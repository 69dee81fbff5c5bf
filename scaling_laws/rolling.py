"""Rolling origin: forecast each harder level from the easier ones, for every form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.fitting import fit
from scaling_laws.result import Fit
from scaling_laws.runs import RunLog

__all__ = ["Rolled", "held_axis", "ordered_levels", "roll"]

Array = NDArray[np.float64]

# Levels that one origin forecasts: as many as a hold-out leaves by default.
_AHEAD = 3
_FEWEST_LEVELS = 4


@dataclass(frozen=True)
class Rolled:
    """Forecast errors from moving origins.

    Attributes
    ----------
    axis : str
    errors : DataFrame
        A row a forecast of a held-out row: ``form, origin, distance`` (in log-ranges of the
        training levels) and ``error`` (forecast minus observed on the residual scale).
    origins : int
        Number of origins that every form could be fitted at.
    """

    axis: str
    errors: pd.DataFrame
    origins: int

    def mean_square(self) -> pd.Series[float]:
        """Mean squared error by form."""
        return self.errors.assign(square=self.errors["error"] ** 2).groupby("form")["square"].mean()


def held_axis(fits: Sequence[Fit], by: str | None) -> str:
    """Return the axis to roll along: `by`, else the data axis, else the one with most levels."""
    one = fits[0]
    axes = [a.name for a in one.law.axis_list()]
    if by is not None:
        if by not in one.problem.frame.columns:
            raise ValueError(f"by: {by!r} is no column of the rows used.")
        return by
    counts = {a: one.problem.frame[a].nunique() for a in axes}
    for data in ("examples", "tokens"):
        if counts.get(data, 0) >= _FEWEST_LEVELS:
            return data
    return max(counts, key=lambda a: counts[a])


def ordered_levels(values: Array) -> Array:
    """Distinct finite values, ascending."""
    return np.unique(values[np.isfinite(values)])


def roll(fits: Mapping[str, Fit], log: RunLog, axis: str, options: Mapping[str, Any]) -> Rolled:
    """Refit every form at every origin.

    An origin trains on the easiest half of the levels or more, on at least one row more than the
    largest form has parameters, and forecasts up to three levels ahead. Only origins where every
    form can be fitted count, so that errors are compared on the same forecasts.
    """
    first = next(iter(fits.values()))
    column = log.frame[axis].to_numpy(dtype=float, na_value=np.nan)
    hardness = -column if axis == "kept" else column
    used = log.frame.index.isin(first.problem.frame.index)
    levels = ordered_levels(hardness[used])
    most = max(int(f.estimate.free.sum()) for f in fits.values())
    rows: list[dict[str, Any]] = []
    origins = 0
    passed = {k: v for k, v in options.items() if k != "rng"}
    for position in range(max((len(levels) + 1) // 2, 3), len(levels)):
        easy = used & (hardness <= levels[position - 1])
        if easy.sum() <= most:
            continue
        last = levels[min(position + _AHEAD, len(levels)) - 1]
        ahead = used & (hardness > levels[position - 1]) & (hardness <= last)
        one = _origin(fits, log, easy, ahead, hardness, position, passed)
        if one is not None:
            origins += 1
            rows += one
    columns = ["form", "origin", "distance", "error"]
    return Rolled(axis, pd.DataFrame(rows, columns=columns), origins)


def _origin(
    fits: Mapping[str, Fit],
    log: RunLog,
    easy: NDArray[np.bool_],
    ahead: NDArray[np.bool_],
    hardness: Array,
    position: int,
    options: Mapping[str, Any],
) -> list[dict[str, Any]] | None:
    train, test = log.select(easy), log.frame[ahead]
    x = np.abs(hardness)
    low, high = np.log(x[easy].min()), np.log(x[easy].max())
    width = max(high - low, 1e-12)
    logs = np.log(x[ahead])
    distance = np.maximum(np.maximum(low - logs, logs - high), 0.0) / width
    rows: list[dict[str, Any]] = []
    for form, whole in fits.items():
        try:
            found = fit(whole.law, train, whole.metric, **options)
            predicted = found.predict(test, interval=None)["estimate"].to_numpy()
        except ValueError:
            # A level of a factor first appears ahead, or too few rows: no fair comparison here.
            return None
        observed = test[whole.metric.name].to_numpy(dtype=float)
        if whole.model.link.kind == "log":
            predicted, observed = np.log(predicted), np.log(observed)
        rows += [
            {"form": form, "origin": position, "distance": d, "error": e}
            for d, e in zip(distance, predicted - observed, strict=True)
        ]
    return rows
