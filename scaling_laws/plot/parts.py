"""Pieces of figures of fits: what is drawn along an axis, in which words, from which rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsFloat, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.plot.style import exact_number, plain_number
from scaling_laws.result import Fit

if TYPE_CHECKING:
    from scaling_laws.forecast import Forecast
    from scaling_laws.validation import Holdout

__all__ = [
    "POINTS", "SIZES", "Line", "Shown", "axis_words", "grid_of", "level_of", "level_text",
    "level_words", "lines_of", "main", "rows_of", "score_words", "shown_of", "smoothed",
]  # fmt: skip

Array = NDArray[np.float64]
Line = dict[str, Any]

POINTS = 160
# How far beyond the data a curve is drawn unless it says otherwise, in log-ranges of its axis.
_BEYOND = 0.12
# Axes that say how much of the model is left.
SIZES = ("kept", "params", "params_nonembedding")

_AXES = {
    "kept": "fraction of parameters kept",
    "examples": "labelled examples",
    "tokens": "training tokens",
    "params": "parameters",
    "params_nonembedding": "parameters without embeddings",
    "compute": "training compute, FLOP",
}
# Sizes are known by three digits of them, as models are named; other levels are told exactly.
_ROUNDED = ("kept", "params", "params_nonembedding", "compute")
# A value of an axis, in fewer words.
_VALUES = {
    "kept": "{percent} % kept",
    "examples": "{number} examples",
    "tokens": "{number} tokens",
    "params": "{number} parameters",
    "params_nonembedding": "{number} parameters",
    "compute": "{number} FLOP",
}


@dataclass(frozen=True)
class Shown:
    """A fit to draw, and rows that it has not seen.

    Attributes
    ----------
    fitted : Fit or Forecast
        What predicts.
    base : Fit
        The fit, or the form with the largest weight: its rows are drawn.
    held : DataFrame or None
        Held-out rows, with the score in ``observed``.
    """

    fitted: Fit | Forecast
    base: Fit
    held: pd.DataFrame | None

    @property
    def axes(self) -> list[str]:
        """Axes of the law."""
        return [a.name for a in self.base.law.axis_list()]

    def values(self, column: str) -> Array:
        """Return a column of all rows, those held out too."""
        frames = [self.base.problem.frame, *([] if self.held is None else [self.held])]
        return np.concatenate([f[column].to_numpy(dtype=float) for f in frames])


def main(fitted: Fit | Forecast) -> Fit:
    """Return the fit, or the form with the largest weight."""
    return fitted if isinstance(fitted, Fit) else fitted.best


def shown_of(result: Fit | Forecast | Holdout) -> Shown:
    """Return what is to be drawn of a fit, a forecast, or a hold-out with its held-out rows."""
    # Told apart by what they have: to import their classes would turn the arrows round.
    if isinstance(result, Fit) or hasattr(result, "best"):
        fitted = cast("Fit | Forecast", result)
        return Shown(fitted, main(fitted), None)
    held = cast("Holdout", result)
    return Shown(held.fitted, main(held.fitted), held.frame)


def axis_words(name: str) -> str:
    """Return an axis in words."""
    return _AXES.get(name, name.replace("_", " "))


def score_words(base: Fit) -> str:
    """Return the score in words."""
    return base.metric.meaning or base.metric.name.replace("_", " ")


def level_of(line: Mapping[str, Any], by: Sequence[str]) -> str:
    """Return the level of a fit that a line is of, as the fit names it: ``cot|lora``."""
    return "|".join(str(line[name]) for name in by)


def level_words(name: str, value: Any) -> str:
    """Return one value of an axis or factor in words."""
    if not _is_number(value):
        return str(value)
    words = _VALUES.get(name, f"{name} {{number}}")
    return words.format(number=level_text(name, value), percent=f"{100 * float(value):.3g}")


def level_text(name: str, value: Any) -> str:
    """Return one value of an axis or factor, without what it counts."""
    if not _is_number(value):
        return str(value)
    return plain_number(float(value), 3) if name in _ROUNDED else exact_number(float(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, SupportsFloat) and not isinstance(value, str)


def grid_of(low: float, high: float, axis: str, beyond: float = _BEYOND) -> Array:
    """Return points along an axis, so many log-ranges beyond the data."""
    span = np.log(high / low) if high > low else 1.0
    begin, end = float(np.log(low) - beyond * span), float(np.log(high) + beyond * span)
    if axis == "kept":
        end = min(end, 0.0)
    return np.exp(np.linspace(begin, end, POINTS))


def smoothed(mean: pd.Series[float], run: pd.Series[float]) -> Array:
    """End of a run's interval with the jitter of its simulated noise averaged over neighbours."""
    beyond = (run - mean).to_numpy(dtype=float)
    half = POINTS // 16
    wide = np.pad(beyond, half, mode="edge")
    window = np.full(2 * half + 1, 1.0 / (2 * half + 1))
    smooth = np.convolve(wide, window, "valid")
    return np.asarray(mean.to_numpy(dtype=float) + smooth, float)


def lines_of(base: Fit, x: str, at: Mapping[str, Any] | None, most: int) -> list[Line]:
    """List the lines to draw along `x`: levels of factors times values of the other axes.

    Parameters
    ----------
    at : mapping or None
        Values of other axes and factors, one or several each. An axis that is not named gets up to
        `most` of its levels, the largest first; a factor all of its levels.
    most : int

    Raises
    ------
    ValueError
        For a name in `at` that is none of the others.
    """
    frame = base.problem.frame
    factors, axes = list(base.law.by), [a.name for a in base.law.axis_list() if a.name != x]
    given = {k: _several(v) for k, v in (at or {}).items()}
    for name in given:
        if name not in (*factors, *axes):
            others = ", ".join([*factors, *axes]) or "none"
            raise ValueError(f"at: {name!r} is none of the other axes and factors ({others}).")
    lines: list[Line] = [{}]
    if factors:
        table = frame[factors].drop_duplicates().sort_values(factors)
        lines = [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
        lines = [
            line for line in lines
            if all(str(line[f]) in map(str, given[f]) for f in factors if f in given)
        ]  # fmt: skip
        if not lines:
            asked = [f"{k} = {' or '.join(map(str, given[k]))}" for k in factors if k in given]
            raise ValueError(f"at: no run has {', '.join(asked)}.")
    for name in axes:
        values = given.get(name) or _spread(frame[name].to_numpy(dtype=float), most)
        lines = [{**line, name: value} for line in lines for value in values]
    return lines


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or not np.iterable(value) else list(value)


def _spread(values: Array, most: int) -> list[float]:
    """Return up to so many levels, the largest and then evenly down to the smallest."""
    levels = np.unique(values)[::-1]
    chosen = np.linspace(0, len(levels) - 1, min(most, len(levels))).round().astype(int)
    return [float(levels[i]) for i in chosen]


def rows_of(frame: pd.DataFrame, line: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return the mask of the rows that lie on a line."""
    mine = np.ones(len(frame), np.bool_)
    for name, value in line.items():
        if isinstance(value, str):
            mine &= (frame[name].astype(str) == value).to_numpy(dtype=bool)
        else:
            mine &= np.isclose(frame[name].to_numpy(dtype=float), float(value), rtol=1e-6, atol=0.0)
    return mine
