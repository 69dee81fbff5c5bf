"""Predictions of many points, each as if it were asked alone: the same new run everywhere."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.forecast import Forecast

__all__ = ["SameRun", "predicted"]

Array = NDArray[np.float64]


class SameRun(np.random.Generator):
    """Gives every point the noise that a single point would get: one new run along a curve.

    `heard` holds what was given.
    """

    def __init__(self, bits: np.random.BitGenerator) -> None:
        super().__init__(bits)
        self.heard: list[Array] = []

    @classmethod
    def of(cls, seed: int) -> SameRun:
        """Return the generator that stands for a seed."""
        return cls(np.random.PCG64(seed))

    def first(self) -> SameRun:
        """Return the first child."""
        return type(self)(deepcopy(self.bit_generator.spawn(1)[0]))

    def spawn(self, n_children: int) -> list[np.random.Generator]:
        """Return the first child, as often as asked."""
        first = self.first()
        return [type(self)(deepcopy(first.bit_generator)) for _ in range(n_children)]

    def standard_normal(self, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return one row of normals, broadcast to all."""
        row = super().standard_normal((1, *size[1:]))
        self.heard.append(row[0])
        return np.broadcast_to(row, size)


def predicted(forecast: Forecast, points: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return what `predict` says of each point alone: both intervals, where there are any."""
    mean = forecast.predict(points, interval="mean", level=level)
    out = mean[["estimate"]].copy()
    if mean["low"].notna().all():
        noise = SameRun.of(forecast.best.seed)
        run = forecast.predict(points, interval="run", level=level, rng=noise)
        out["low"], out["high"] = mean["low"], mean["high"]
        out["run_low"], out["run_high"] = run["low"], run["high"]
    return out
