"""What a column of a log tells that others do not: which runs a law would pool."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.noise import OUTCOMES
from scaling_laws.readers.schema import schema_of

__all__ = ["ROUNDED", "apart", "follows"]

Array = NDArray[np.float64]

# Less than this share of a size's range is rounding, as of a fraction with two decimals.
ROUNDED = 0.05
# Rows that are compared with all others at once.
_CHUNK = 500

# The texts of a run that were chosen: not its names, nor how it ended and where.
_CATEGORIES = tuple(
    n for n, rule in schema_of().rules.items() if rule.kind == "text" and n not in OUTCOMES
)


def apart(frame: pd.DataFrame, axes: Sequence[str], by: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the categories that set runs apart where neither factors nor axes do.

    A category is left out where the others, or an axis, say it already: the prompt that goes with a
    format, the model of each size.

    Parameters
    ----------
    frame : DataFrame
        Rows of a log, such as those of a fit.
    axes : sequence of str
        Columns that a law is a function of.
    by : sequence of str
        Columns that are factors already.

    Returns
    -------
    tuple of str
        In the order of the fields of a run.
    """
    found: list[str] = []
    for name in _CATEGORIES:
        if name in by or name not in frame.columns or frame[name].nunique() < 2:
            continue
        if not (_fixed(frame, name, [*by, *found]) or any(_split(frame, name, a) for a in axes)):
            found.append(name)
    return tuple(found)


def _fixed(frame: pd.DataFrame, name: str, factors: Sequence[str]) -> bool:
    """Whether each combination of the factors has one value of the category."""
    if not factors:
        return False
    return bool((frame.groupby(list(factors), observed=True)[name].nunique() < 2).all())


def _split(frame: pd.DataFrame, name: str, axis: str) -> bool:
    """Whether each value of the category has a stretch of the axis to itself."""
    values = frame[axis].groupby(frame[name], observed=True).agg(["min", "max"]).dropna()
    values = values.sort_values("min")
    return bool((values["max"].to_numpy()[:-1] < values["min"].to_numpy()[1:]).all())


def follows(frame: pd.DataFrame, name: str, others: Sequence[str], by: Sequence[str]) -> bool:
    """Whether a size rises or falls with others, within each level of the factors.

    With one direction a size for all levels, a run that is further in every other size is further
    in this one, and two runs that agree in them agree in it.
    """
    if not others:
        return False
    rows = frame[[name, *others, *by]].dropna().drop_duplicates()
    rows = rows[(rows[[name, *others]] > 0).all(axis=1)]
    if not len(rows):
        return False
    u = np.log(rows[[name, *others]].to_numpy(dtype=float))
    slack = ROUNDED * float(np.ptp(u[:, 0]))
    groups = rows.groupby(list(by), observed=True).indices.values() if by else [np.arange(len(u))]
    return any(
        all(_rises(u[g, 0], u[g, 1:] * signs, slack) for g in groups)
        for signs in product((1.0, -1.0), repeat=len(others))
    )


def _rises(y: Array, x: Array, slack: float) -> bool:
    """Whether y is nowhere lower by more than the slack where every x is as large or larger."""
    for i in range(0, len(y), _CHUNK):
        before = (x[i : i + _CHUNK, None, :] <= x[None, :, :]).all(axis=2)
        if (before & (y[i : i + _CHUNK, None] > y[None, :] + slack)).any():
            return False
    return True
