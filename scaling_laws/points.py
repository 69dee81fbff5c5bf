"""New points to predict at: a table, its legality, its coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.problem import Problem, level_codes

__all__ = ["coordinates", "table_of", "typical"]

Array = NDArray[np.float64]


def table_of(
    problem: Problem, data: pd.DataFrame | Mapping[str, Any] | None, axes: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the points as a frame; without any, those of the log."""
    law = problem.model.law
    if isinstance(data, pd.DataFrame):
        return data.assign(**axes)
    given = {**(data or {}), **axes}
    if not given:
        columns = [a.name for a in law.axis_list()] + list(law.by)
        return problem.frame[columns].sort_index()
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v)) for v in given.values()))
    return pd.DataFrame(dict(zip(given, (a.ravel() for a in arrays), strict=True)))


def coordinates(
    problem: Problem, points: pd.DataFrame
) -> tuple[NDArray[np.intp], dict[str, Array]]:
    """Return level codes and raw axis columns.

    Raises
    ------
    ValueError
        For a missing axis, a level the log never had, or a value that is not legal.
    """
    law = problem.model.law
    needed = [a.name for a in law.axis_list()]
    for column in (*needed, *law.by):
        if column not in points.columns:
            raise ValueError(
                f"predict needs {column}=; the law is a function of "
                f"{', '.join([*needed, *law.by])}."
            )
    codes, _ = level_codes(points, law.by, problem.model.levels)
    raw: dict[str, Array] = {}
    for name in needed:
        raw[name] = points[name].to_numpy(dtype=float)
        bad = ~np.isfinite(raw[name])
        if law.output == "eta":
            bad |= raw[name] <= 0
        if name == "kept":
            bad |= raw[name] > 1
        if bad.any():
            legal = "in (0, 1]" if name == "kept" else "positive and finite"
            value = raw[name][np.flatnonzero(bad)[0]]
            raise ValueError(f"predict: {name} = {value:g} must be {legal}.")
    return codes, raw


def typical(points: pd.DataFrame, column: str, logged: Array) -> Array | None:
    """Return given values of a column, else the median of the log's, else None."""
    if column in points.columns:
        return points[column].to_numpy(dtype=float)
    if np.isfinite(logged).any():
        return np.full(len(points), float(np.nanmedian(logged)))
    return None
