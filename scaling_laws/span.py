"""Which directions of its axes a log spans, and how far a point lies off them.

In the logarithms of its axes a log is a cloud of points. What the other axes leave unexplained of
one axis is what its exponent is read from: the exponent's error is ``1 / sqrt(1 - R^2)`` times that
of runs that vary each axis by itself over the same range, ``R^2`` of the regression of the axis on
the others (the root of the variance inflation factor; Marquardt 1970, Technometrics 12, 591).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["PARALLEL", "TOGETHER", "aside", "cloud", "direction", "inflation"]

Array = NDArray[np.float64]

# Errors inflated by so much are worth a sentence: variance inflation factors of 10, the usual rule.
TOGETHER = float(np.sqrt(10.0))
# Two axes whose logarithms correlate beyond .999 cannot be told apart by any law.
PARALLEL = float(1.0 / np.sqrt(1.0 - 0.999**2))
# Tokens are whole and fractions are percents: so small a share of an axis of its own is rounding.
_ROUNDING = 1e-12
# A log spans no direction in which it is thinner than this share of its longest one.
_THIN = 0.01


def cloud(frame: pd.DataFrame, names: Sequence[str]) -> Array:
    """Return the logarithms of columns ``[rows, names]``; rows without one are left out."""
    x = frame[list(names)].to_numpy(dtype=float, na_value=np.nan)
    return np.log(x[(np.isfinite(x) & (x > 0)).all(axis=1)])


def inflation(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Return the factor on the error of each axis's exponent; infinite where others determine it.

    Axes of one level are not in it.
    """
    u = cloud(frame, names)
    if len(u) < 3:
        return {}
    several = [k for k in range(len(names)) if np.ptp(u[:, k]) > 0]
    u = np.asarray(u - u.mean(axis=0), float)
    out: dict[str, float] = {}
    for k in several:
        others = u[:, [j for j in several if j != k]]
        rest = u[:, k] - others @ np.linalg.lstsq(others, u[:, k], rcond=None)[0]
        own = float(rest @ rest / (u[:, k] @ u[:, k]))
        out[names[k]] = float(1.0 / np.sqrt(own)) if own > _ROUNDING else float("inf")
    return out


def direction(frame: pd.DataFrame, names: Sequence[str]) -> Array:
    """Return the longest direction of the cloud, of step 1 in the first axis.

    Two axes move as ``second ~ first^s``, ``s`` the second entry.
    """
    u = cloud(frame, names)
    _, _, axes = np.linalg.svd(u - u.mean(axis=0), full_matrices=False)
    return np.asarray(axes[0] / axes[0, 0], float)


def aside(frame: pd.DataFrame, points: Mapping[str, Array]) -> Array:
    """Return how far points lie off the log, in its extents along its principal directions.

    0 within the extent of every direction; above 1 a point is farther off than the runs spread. The
    directions are those of the logarithms, each axis in units of its range. What an axis alone lies
    beyond its range is no matter here: points are moved to its end first. Points with an axis that
    is not positive, and axes of one level, are not judged.
    """
    names = list(points)
    x = np.stack([np.asarray(points[n], float) for n in names], axis=1)
    out = np.zeros(len(x))
    u = cloud(frame, names)
    several = np.ptp(u, axis=0) > 0 if len(u) else np.zeros(len(names), bool)
    judged = (x > 0).all(axis=1)
    if several.sum() < 2 or not judged.any():
        return out
    u, v = u[:, several], np.log(x[judged][:, several])
    v = np.clip(v, u.min(axis=0), u.max(axis=0))
    unit, centre = np.ptp(u, axis=0), u.mean(axis=0)
    _, _, axes = np.linalg.svd((u - centre) / unit, full_matrices=False)
    u, v = (u - centre) / unit @ axes.T, (v - centre) / unit @ axes.T
    low, high = u.min(axis=0), u.max(axis=0)
    extent = np.maximum(high - low, _THIN * float((high - low).max()))
    out[judged] = (np.maximum(np.maximum(low - v, v - high), 0.0) / extent).max(axis=1)
    return out
