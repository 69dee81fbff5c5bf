"""Exchange rate between methods: how many examples of one are worth those of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scaling_laws.forecast import Forecast
from scaling_laws.halfwild import NoInterval
from scaling_laws.result import Fit
from scaling_laws.runs import Note
from scaling_laws.uncertainty import quantile_pair

__all__ = ["Exchange", "estimated_rate", "exchange_rate"]

Array = NDArray[np.float64]
Fitted = Fit | Forecast

# Grid on which the curve of A is inverted: this far beyond its data, so fine in log n that linear
# interpolation is exact to some 1e-4 of n.
_BELOW, _ABOVE = 1e-3, 1e6
_POINTS = 800


@dataclass(frozen=True, eq=False)
class Exchange:
    """How much of A has the score of B.

    Attributes
    ----------
    frame : DataFrame
        A row a size of B: ``at`` (n_B), ``score`` of B there, ``n`` of A with that score, ``low``,
        ``high``, ``ratio`` n_A / n_B with ``ratio_low``, ``ratio_high``, ``unreachable`` (the
        probability that A never gets there; such draws count as infinite) and ``support`` of
        ``n`` in A's data ({inside, outside}).
    draws : array [rows, draws] or None
        n_A in each draw; infinite where unreachable, 0 where A is better at any size.
    axis : str
    names : (str, str)
        What A and B are.
    most : float
        Largest n_A looked at: beyond it A counts as never getting there.
    joint : bool
        Whether both curves come from one fit, so that draws are paired.
    level : float
    reason : str
        Why there is no interval, or "".
    """

    frame: pd.DataFrame
    draws: Array | None
    axis: str
    names: tuple[str, str]
    most: float
    joint: bool
    level: float
    reason: str

    @property
    def notes(self) -> tuple[Note, ...]:
        """Where the rate rests on A beyond its data, is open, or has no interval."""
        notes: list[Note] = []
        a, b = self.names
        if self.reason:
            notes.append(Note("no_interval", "warning", self.reason))
        if not self.joint and self.draws is not None:
            sentence = "Two fits: their errors count as independent."
            notes.append(Note("independent_fits", "info", sentence))
        never = self.frame.loc[~np.isfinite(self.frame["n"]), "at"]
        if len(never):
            sizes = ", ".join(f"{v:.4g}" for v in never)
            sentence = (
                f"{a} does not reach the score of {b} with {sizes} {self.axis} by {self.most:.2g}."
            )
            notes.append(Note("unreachable", "warning", sentence))
        far = self.frame.loc[
            np.isfinite(self.frame["n"]) & (self.frame["support"] == "outside"), "at"
        ]
        if len(far):
            sizes = ", ".join(f"{v:.4g}" for v in far)
            sentence = f"{a} lies outside its runs where it is worth {b} with {sizes} {self.axis}."
            notes.append(Note("outside", "warning", sentence))
        return tuple(notes)

    def plot(self, ax: Any = None) -> Any:
        """Draw n_A / n_B against n_B with its interval; returns the Axes."""
        from scaling_laws.plot.exchanges import plot_exchange

        return plot_exchange(self, ax)

    def __repr__(self) -> str:
        from scaling_laws.show_exchange import exchange_text

        return exchange_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_exchange import exchange_html

        return exchange_html(self)


def exchange_rate(
    fitted: Fitted | Sequence[Fitted],
    at: ArrayLike,
    a: Mapping[str, Any] | None = None,
    b: Mapping[str, Any] | None = None,
    *,
    axis: str | None = None,
    level: float = 0.9,
) -> Exchange:
    """Return ``n_A`` with ``score_A(n_A) = score_B(n_B)``, the least where there are several.

    Each draw of the curves is solved by itself, so that an interval may be open above: then A
    may never reach the score.

    Parameters
    ----------
    fitted : Fit, Forecast, or two of them
        One with a factor: A and B share its draws, errors common to both cancel. Two (A, B): the
        draws are independent.
    at : array
        Sizes n_B.
    a, b : mapping, optional
        What A and B are: the levels of the factors and the other axes,
        ``{"method": "distilled", "kept": .37}``.
    axis : str, optional
        Exchanged axis; default ``examples``, ``tokens`` or the only axis.
    level : float

    Returns
    -------
    Exchange

    Raises
    ------
    ValueError
        If A and B are the same curve, score different metrics, or lack an axis.
    """
    one = isinstance(fitted, Fit | Forecast)
    both = [fitted, fitted] if one else list(fitted)
    if len(both) != 2:
        raise ValueError(f"fitted: {len(both)} fits; give one, or two for A and B.")
    fit_a, fit_b = both
    point_a, point_b = dict(a or {}), dict(b or {})
    if one and point_a == point_b:
        raise ValueError(f"A and B are one curve ({point_a}); say which with a= and b=.")
    if fit_a.metric.name != fit_b.metric.name:
        raise ValueError(
            f"A is fitted to {fit_a.metric.name}, B to {fit_b.metric.name}; no exchange there."
        )
    along = _axis_of(fit_a, axis)
    sizes = np.atleast_1d(np.asarray(at, float))
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(f"at = {sizes.tolist()}: sizes of {along} must be positive and finite.")
    low, high = _seen(fit_a, along, point_a)
    grid, curve, targets = _along(along, (low, high), sizes, point_a, point_b)
    score, n = _estimate(fit_a, fit_b, grid, curve, targets)
    sign = _sign(fit_a)
    draws, reason = _draws(fit_a, fit_b, grid, curve, targets, sign)
    frame = _frame(sizes, score, n, draws, level)
    frame["support"] = np.where((n >= low) & (n <= high), "inside", "outside")
    names = _names(point_a, point_b)
    return Exchange(frame, draws, along, names, float(grid[-1]), fit_a is fit_b, level, reason)


def estimated_rate(
    fit_a: Fitted, fit_b: Fitted, at: float, a: Mapping[str, Any], b: Mapping[str, Any], axis: str
) -> float:
    """Return ``n_A / n_B`` at a size, without an interval; infinite where A never gets there."""
    sizes = np.array([at])
    grid, curve, targets = _along(axis, _seen(fit_a, axis, a), sizes, a, b)
    return float(_estimate(fit_a, fit_b, grid, curve, targets)[1][0] / at)


def _along(
    axis: str,
    seen: tuple[float, float],
    sizes: Array,
    a: Mapping[str, Any],
    b: Mapping[str, Any],
) -> tuple[Array, pd.DataFrame, pd.DataFrame]:
    """Sizes at which A is looked at, and the points of A there and of B."""
    grid = np.geomspace(seen[0] * _BELOW, seen[1] * _ABOVE, _POINTS)
    return grid, _points(a, axis, grid), _points(b, axis, sizes)


def _sign(fitted: Fitted) -> float:
    return 1.0 if fitted.metric.direction == "higher" else -1.0


def _estimate(
    fit_a: Fitted, fit_b: Fitted, grid: Array, curve: pd.DataFrame, targets: pd.DataFrame
) -> tuple[Array, Array]:
    """Scores of B, and the sizes at which A has them."""
    sign = _sign(fit_a)
    score = fit_b.predict(targets, interval=None)["estimate"].to_numpy(dtype=float)
    mean_a = fit_a.predict(curve, interval=None)["estimate"].to_numpy(dtype=float)
    return score, _first(grid, sign * mean_a[:, None], sign * score[:, None])[:, 0]


def _axis_of(fitted: Fitted, axis: str | None) -> str:
    best = fitted if isinstance(fitted, Fit) else fitted.best
    axes = [x.name for x in best.law.axis_list()]
    if axis is not None:
        if axis not in axes:
            raise ValueError(f"axis: {axis!r} is none of the law's axes, {', '.join(axes)}.")
        return axis
    known = [x for x in ("examples", "tokens") if x in axes] or axes
    if len(known) > 1 and "examples" not in known:
        raise ValueError(f"axis: say which of {', '.join(axes)} is exchanged.")
    return known[0]


def _seen(fitted: Fitted, axis: str, point: Mapping[str, Any]) -> tuple[float, float]:
    """Range of the axis in the rows of this level of the factors."""
    best = fitted if isinstance(fitted, Fit) else fitted.best
    rows = best.problem.frame
    for factor in best.law.by:
        if factor not in point:
            raise ValueError(
                f"the fit has the factor {factor!r}: give it in a= and b=, one of "
                f"{', '.join(sorted(rows[factor].astype(str).unique()))}."
            )
        rows = rows[rows[factor].astype(str) == str(point[factor])]
    if not len(rows):
        raise ValueError(f"no run has {_words(point)}.")
    values = rows[axis].to_numpy(dtype=float)
    return float(values.min()), float(values.max())


def _points(point: Mapping[str, Any], axis: str, values: Array) -> pd.DataFrame:
    return pd.DataFrame({axis: values, **point})


def _names(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, str]:
    """Name A and B by what sets them apart."""
    apart = [k for k in {**a, **b} if a.get(k) != b.get(k)]
    mine, theirs = ({k: point[k] for k in apart if k in point} for point in (a, b))
    return _words(mine) or "A", _words(theirs) or "B"


def _words(point: Mapping[str, Any]) -> str:
    """Return a point in words: a level alone, a number after its axis."""
    return ", ".join(v if isinstance(v, str) else f"{k} {v:.3g}" for k, v in point.items())


def _draws(
    fit_a: Fitted,
    fit_b: Fitted,
    grid: Array,
    curve: pd.DataFrame,
    targets: pd.DataFrame,
    sign: float,
) -> tuple[Array | None, str]:
    try:
        values, wanted = fit_a.draws_at(curve), fit_b.draws_at(targets)
    except NoInterval as why:
        return None, str(why)
    count = min(values.shape[1], wanted.shape[1])
    return _first(grid, sign * values[:, :count], sign * wanted[:, :count]), ""


def _first(grid: Array, curve: Array, wanted: Array) -> Array:
    """Return the least n with ``curve(n) >= wanted``, interpolated in log n: ``[rows, draws]``.

    0 where the curve starts there already, infinite where it never gets there.
    """
    # Where a curve turns down again the level once reached counts.
    best = np.maximum.accumulate(curve, axis=0)
    log_n = np.log(grid)
    out = np.empty(wanted.shape)
    for j in range(curve.shape[1]):
        above = np.searchsorted(best[:, j], wanted[:, j], side="left")
        inside = (above > 0) & (above < len(grid))
        i = np.clip(above, 1, len(grid) - 1)
        low, high = best[i - 1, j], best[i, j]
        share = (wanted[:, j] - low) / np.maximum(high - low, 1e-300)
        solved = np.exp(log_n[i - 1] + np.clip(share, 0.0, 1.0) * (log_n[i] - log_n[i - 1]))
        out[:, j] = np.where(inside, solved, np.where(above == 0, 0.0, np.inf))
    return out


def _frame(sizes: Array, score: Array, n: Array, draws: Array | None, level: float) -> pd.DataFrame:
    nothing = np.full(len(sizes), np.nan)
    low, high, never = nothing, nothing, nothing
    if draws is not None:
        low, high = quantile_pair(draws, level)
        never = np.isinf(draws).mean(axis=1)
    return pd.DataFrame(
        {
            "at": sizes, "score": score, "n": n, "low": low, "high": high, "ratio": n / sizes,
            "ratio_low": low / sizes, "ratio_high": high / sizes, "unreachable": never,
        }
    )  # fmt: skip
