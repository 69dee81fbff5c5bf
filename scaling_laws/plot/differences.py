"""One format against another, paired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.halfwild import NoInterval
from scaling_laws.plot.curves import common_words, looks_of, scale_x
from scaling_laws.plot.parts import (
    SIZES,
    Line,
    Shown,
    axis_words,
    grid_of,
    level_words,
    lines_of,
    rows_of,
    score_words,
    shown_of,
    smoothed,
)
from scaling_laws.plot.style import GREY, axes_of, finish, legend_above, text_of
from scaling_laws.uncertainty import quantile_pair

if TYPE_CHECKING:
    from scaling_laws.forecast import Forecast
    from scaling_laws.result import Fit

__all__ = ["format_difference"]

Array = NDArray[np.float64]


def format_difference(
    fitted: Fit | Forecast,
    a: str,
    b: str,
    ax: Any = None,
    *,
    by: str | None = None,
    x: str | None = None,
    at: Mapping[str, Any] | None = None,
    level: float = 0.9,
    run: bool | None = None,
) -> Any:
    """Draw the score of `a` minus that of `b`, everything else equal.

    Parameters
    ----------
    fitted : Fit or Forecast
        With a factor that has both levels. Both curves are of the same draws: errors that they
        have in common cancel.
    a, b : str
        Levels of the factor, such as ``"cot"`` and ``"label"``.
    ax : Axes, optional
    by : str, optional
        The factor; default ``format``, or the only one.
    x : str, optional
        Axis along the abscissa; default the size, else the law's first.
    at : mapping, optional
        Values of the other axes (several: a line each) and of other factors. Default the largest
        level of the other axes.
    level : float
        Of the intervals: of the curves' difference (dark) and of the difference of two new
        training runs (light).
    run : bool, optional
        Draw the interval of new runs; default with one line.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the law has no such factor or axis, or the log no such level.

    Notes
    -----
    Markers are differences of the mean scores of the runs of both at the same point. Lines are thin
    where the interval of the curve holds 0.
    """
    shown = shown_of(fitted)
    factor, along = _factor(shown, by), _along(shown, x)
    for word in (a, b):
        levels = sorted(shown.base.problem.frame[factor].astype(str).unique())
        if word not in levels:
            raise ValueError(f"{factor} = {word!r} is not in the fitted log; it had {levels}.")
    ax = axes_of(ax)
    lines = lines_of(shown.base, along, {**(at or {}), factor: a}, 1)
    looks = looks_of([{k: v for k, v in line.items() if k != factor} for line in lines], ())
    seen = shown.base.problem.frame[along].to_numpy(dtype=float)
    grid = grid_of(float(seen[seen > 0].min()), float(seen.max()), along)
    ax.axvspan(float(seen.min()), float(seen.max()), color="#000000", alpha=0.05, linewidth=0,
               zorder=0)  # fmt: skip
    with_run = len(lines) == 1 if run is None else run
    for line, (colour, _, marker) in zip(lines, looks, strict=True):
        pair = (line, {**line, factor: b})
        _curve(ax, shown, pair, along, grid, level, with_run, colour)
        observed = _observed(shown, pair, along)
        ax.plot(observed.index, observed, linestyle="none", marker=marker, markersize=4.5,
                color=colour, markeredgecolor="white", markeredgewidth=0.5, zorder=4)  # fmt: skip
    ax.axhline(0.0, color=GREY, linewidth=0.9, zorder=1)
    scale_x(ax, along, grid)
    finish(ax, axis_words(along), f"{score_words(shown.base)}:\n{a} minus {b}")
    others = [{k: v for k, v in line.items() if k != factor} for line in lines]
    legend_above(ax, _handles(others, looks, level, with_run), common_words(others))
    return ax


def _factor(shown: Shown, by: str | None) -> str:
    factors = shown.base.law.by
    if by is not None and by in factors:
        return by
    if by is None and ("format" in factors or len(factors) == 1):
        return "format" if "format" in factors else factors[0]
    have = ", ".join(factors) or "none"
    raise ValueError(f"by: {by!r} is no factor of the law; it has {have}.")


def _along(shown: Shown, x: str | None) -> str:
    if x is not None and x not in shown.axes:
        raise ValueError(f"x: {x!r} is none of the law's axes, {', '.join(shown.axes)}.")
    return x or next((n for n in SIZES if n in shown.axes), shown.axes[0])


def _curve(
    ax: Any,
    shown: Shown,
    pair: tuple[Line, Line],
    x: str,
    grid: Array,
    level: float,
    run: bool,
    colour: str,
) -> None:
    first, second = (pd.DataFrame({x: grid, **line}) for line in pair)
    fitted = shown.fitted
    gap = np.subtract(*(
        fitted.predict(points, interval=None)["estimate"].to_numpy(dtype=float)
        for points in (first, second)
    ))  # fmt: skip
    sure = np.zeros(len(grid), np.bool_)
    try:
        mean = _ends(fitted.draws_at(first) - fitted.draws_at(second), level)
        if run:
            # Two runs, each with an error of its own.
            drawn = fitted.draws_at(first, "run", 1) - fitted.draws_at(second, "run", 2)
            new = _ends(drawn, level)
            low, high = (smoothed(mean[end], new[end]) for end in ("low", "high"))
            ax.fill_between(grid, low, high, color=colour, alpha=0.12, linewidth=0)
        ax.fill_between(grid, mean["low"], mean["high"], color=colour, alpha=0.25, linewidth=0)
        sure = ((mean["low"] > 0) | (mean["high"] < 0)).to_numpy(dtype=bool)
    except NoInterval:
        ax.annotate("no interval", (0.02, 0.02), xycoords="axes fraction", color=GREY)
    ax.plot(grid, gap, color=colour, linewidth=0.8)
    ax.plot(grid, np.where(sure, gap, np.nan), color=colour, linewidth=1.8)


def _ends(draws: Array, level: float) -> pd.DataFrame:
    low, high = quantile_pair(draws, level)
    return pd.DataFrame({"low": low, "high": high})


def _observed(shown: Shown, pair: tuple[Line, Line], x: str) -> pd.Series[float]:
    """Difference of the mean scores at every point of the axis that has runs of both."""
    frame, name = shown.base.problem.frame, shown.base.metric.name
    first, second = (frame[rows_of(frame, line)].groupby(x)[name].mean() for line in pair)
    return (first - second).dropna()


def _handles(others: list[Line], looks: Any, level: float, run: bool) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    differing = [k for k in others[0] if any(line[k] != others[0][k] for line in others)]
    out: list[Any] = []
    for line, (colour, _, marker) in zip(others, looks, strict=True):
        if differing:
            words = ", ".join(level_words(k, line[k]) for k in differing)
            out.append(Line2D([], [], color=colour, marker=marker, markersize=4.5,
                              markeredgecolor="white", markeredgewidth=0.5,
                              label=text_of(words)))  # fmt: skip
    share = f"{100 * level:g} %"
    out.append(Patch(color=GREY, alpha=0.35, linewidth=0, label=f"{share} of the curves"))
    if run:
        out.append(Patch(color=GREY, alpha=0.15, linewidth=0, label=f"{share} of two new runs"))
    return out
