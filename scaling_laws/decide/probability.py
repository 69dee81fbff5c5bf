"""Probability that targets are met, at many points at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.draws import Form, Joint, stages_of
from scaling_laws.points import coordinates
from scaling_laws.result import Interval

__all__ = ["Targets", "on_residual_scale", "probabilities"]

Array = NDArray[np.float64]
Targets = Mapping[str, tuple[float, float]]
"""Metric -> (at least, at most); infinite where there is no such limit."""

# Draws times points of a tile: its arrays stay in a processor's cache, which is worth a factor 3.
_ROWS, _DRAWS = 4_000, 16
_SCORES = 250


def on_residual_scale(joint: Joint, name: str, ends: tuple[float, float]) -> tuple[float, float]:
    """Return a target's ends where residuals live: logarithms of a loss, scores as they are.

    What is 0 or less lies below every loss: its logarithm is minus infinity, as that of no limit.
    """
    if not joint.is_log(name):
        return ends
    low, high = (float(np.log(end)) if end > 0 else -np.inf for end in ends)
    return low, high


def probabilities(
    joint: Joint, points: pd.DataFrame, targets: Targets, interval: Interval
) -> pd.DataFrame:
    """Return the probability that all targets are met, and each alone, a row a point.

    Parameters
    ----------
    interval : {"mean", "run", "score"}
        Of the curve; of one new run at each point; of one evaluation of it.

    Returns
    -------
    DataFrame
        ``probability``, then ``p_{metric}``.
    """
    names = ["probability", *(f"p_{name}" for name in targets)]
    # Points of one level side by side: a law then copies no parameter to every point.
    factors = list(joint.factors)
    keys = [points[f].astype(str).to_numpy() for f in reversed(factors)]
    order = np.lexsort(keys) if keys else np.arange(len(points))
    out = np.zeros((len(points), len(names)))
    step = _SCORES if interval == "score" else _ROWS
    metrics = [
        _Asked(joint, name, ends, on_residual_scale(joint, name, ends), interval)
        for name, ends in targets.items()
    ]
    for begin in range(0, len(points), step):
        rows = order[begin : begin + step]
        for met in zip(*(m.tiles(points.iloc[rows]) for m in metrics), strict=True):
            for j, one in enumerate(met):
                out[rows, 1 + j] += one.sum(0)
            out[rows, 0] += np.logical_and.reduce(met).sum(0)
    return pd.DataFrame(out / joint.count, columns=names, index=points.index)


@dataclass(frozen=True)
class _Asked:
    """One metric and its target, as a score and on the residual scale."""

    joint: Joint
    name: str
    ends: tuple[float, float]
    scaled: tuple[float, float]
    interval: Interval

    def tiles(self, points: pd.DataFrame) -> Iterator[NDArray[np.bool_]]:
        """Yield whether the target is met, ``[draws, points]``, some draws at a time."""
        count = self.joint.count
        if self.interval == "score":
            values = self.joint.values(self.name, points, "score").T
            met = (values >= self.ends[0]) & (values <= self.ends[1])
            yield from (met[begin : begin + _DRAWS] for begin in range(0, count, _DRAWS))
            return
        far = self.joint.beyond(self.name, points)
        forms = [_Placed(form, points) for form in self.joint.forms[self.name]]
        normal = self.joint.noise()[self.name][0]
        for begin in range(0, count, _DRAWS):
            end = min(begin + _DRAWS, count)
            met = np.empty((end - begin, len(points)), bool)
            for placed in forms:
                first, last = np.searchsorted(placed.form.at, [begin, end])
                if last > first:
                    at = placed.form.at[first:last]
                    met[at - begin] = self._met(placed, slice(int(first), int(last)), far, normal)
            yield met

    def _met(
        self,
        placed: _Placed,
        part: slice,
        far: tuple[NDArray[np.intp], Array, Array],
        normal: Array,
    ) -> NDArray[np.bool_]:
        one, at = placed.form.fit, placed.form.at[part]
        mean = placed.model.residual_mean(one.draws.theta[part])
        if len(far[0]):
            mean = mean.copy()  # of a form that is a score itself it may be a view
            mean[:, far[0]] += far[2][at, None] * far[1]
        low, high = self.scaled
        if self.interval == "mean":
            return (mean >= low) & (mean <= high)
        # The noise of a run moves the target instead of every value.
        move = (np.sqrt(one.draws.run_variance[part]) * normal[at])[:, None] * placed.stages
        if np.isneginf(low):
            return mean <= high - move
        met = mean >= low - move
        return met & (mean <= high - move) if np.isfinite(high) else met


class _Placed:
    """A form at points."""

    def __init__(self, form: Form, points: pd.DataFrame) -> None:
        self.form = form
        codes, raw = coordinates(form.fit.problem, points)
        self.model = form.fit.model.at(raw, codes)
        self.stages = stages_of(form.fit, raw.get("kept"))
