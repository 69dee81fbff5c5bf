"""Which directions of its axes a log spans.

In the logarithms of its axes a log is a cloud of points. What the other axes leave unexplained of
one axis is what its exponent is read from: the exponent's error is ``1 / sqrt(1 - R^2)`` times that
of runs that vary each axis by itself over the same range, ``R^2`` of the regression of the axis on
the others (the root of the variance inflation factor; Marquardt 1970, Technometrics 12, 591).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["PARALLEL", "TOGETHER", "cloud", "inflation", "slope"]

Array = NDArray[np.float64]

# Errors inflated by so much are worth a sentence: variance inflation factors of 10, the usual rule.
TOGETHER = float(np.sqrt(10.0))
# Two axes whose logarithms correlate beyond .999 cannot be told apart by any law.
PARALLEL = float(1.0 / np.sqrt(1.0 - 0.999**2))
# Tokens are whole and fractions are percents: so small a share of an axis of its own is rounding.
_ROUNDING = 1e-12


def cloud(frame: pd.DataFrame, names: Sequence[str]) -> Array:
    """Return the logarithms of columns ``[rows, names]``, centred; rows without one left out."""
    x = frame[list(names)].to_numpy(dtype=float, na_value=np.nan)
    u = np.log(x[(np.isfinite(x) & (x > 0)).all(axis=1)])
    return u - u.mean(axis=0) if len(u) else u


def inflation(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Return the factor on the error of each axis's exponent; infinite where others determine it.

    Axes of one level are not in it.
    """
    u = cloud(frame, names)
    several = [k for k in range(len(names)) if len(u) > 2 and np.ptp(u[:, k]) > 0]
    out: dict[str, float] = {}
    for k in several:
        others = u[:, [j for j in several if j != k]]
        solution, *_ = np.linalg.lstsq(others, u[:, k], rcond=None)
        own = float(((u[:, k] - others @ solution) ** 2).sum() / (u[:, k] ** 2).sum())
        out[names[k]] = float(1.0 / np.sqrt(own)) if own > _ROUNDING else float("inf")
    return out


def slope(frame: pd.DataFrame, first: str, second: str) -> float:
    """Return ``s`` of ``second ~ first^s`` through the log, by the major axis."""
    _, _, vt = np.linalg.svd(cloud(frame, [first, second]), full_matrices=False)
    return float(vt[0, 1] / vt[0, 0])
