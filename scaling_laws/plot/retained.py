"""What pruning takes from the task against what it takes from general knowledge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.halfwild import NoInterval
from scaling_laws.plot.curves import common_words, looks_of, scale_x
from scaling_laws.plot.parts import (
    Line,
    axis_words,
    grid_of,
    level_words,
    lines_of,
    main,
    rows_of,
    score_words,
)
from scaling_laws.plot.style import (
    COLOURS,
    GREY,
    LINES,
    MARKERS,
    axes_of,
    figure_of,
    finish,
    is_wide,
    legend_above,
    text_of,
)
from scaling_laws.uncertainty import quantile_pair

if TYPE_CHECKING:
    from scaling_laws.forecast import Forecast
    from scaling_laws.result import Fit

__all__ = ["divergence", "retention", "retention_difference"]

Array = NDArray[np.float64]
Fits = Mapping[str, "Fit | Forecast"]

# Every so many points of the grid one is drawn: each has a thousand draws of each metric.
_EVERY = 2


@dataclass(frozen=True)
class _Kept:
    """Retention of one metric along one line.

    Attributes
    ----------
    metric : str
    line : dict
        The other axes and factors.
    estimate : array [points]
    draws : array [points, draws] or None
        Joint with those of the other metrics.
    runs : DataFrame
        ``kept`` and ``retention`` of the runs on the line.
    """

    metric: str
    line: Line
    estimate: Array
    draws: Array | None
    runs: pd.DataFrame


def divergence(
    in_domain: Fit | Forecast,
    general: Fit | Forecast,
    figure: Any = None,
    *,
    at: Mapping[str, Any] | None = None,
    level: float = 0.9,
    floors: Mapping[str, float] | None = None,
) -> Any:
    """Draw the retention of both scores, and their difference.

    ``R(v) = (score(v) - floor) / (score(1) - floor)`` at the same data and format.

    Parameters
    ----------
    in_domain, general : Fit or Forecast
        Fitted to one log.
    figure : Figure or SubFigure, optional
    at, level, floors
        As in `retention`.

    Returns
    -------
    Figure
        Of two Axes, because a difference over the curves would cover them: `retention` and
        `retention_difference`; side by side on a wide figure.
    """
    fits = _pair(in_domain, general)
    figure = figure_of(figure, height=76.0)
    grid, found = _all(fits, at, floors)
    left, right = figure.subplots(*((1, 2) if is_wide(figure) else (2, 1)))
    _draw_retention(left, fits, grid, found, level)
    _draw_difference(right, fits, grid, found, level)
    return figure


def retention(
    fits: Fit | Forecast | Fits,
    ax: Any = None,
    *,
    at: Mapping[str, Any] | None = None,
    level: float = 0.9,
    floors: Mapping[str, float] | None = None,
) -> Any:
    """Draw ``R(v) = (score(v) - floor) / (score(1) - floor)`` with its interval.

    Parameters
    ----------
    fits : Fit, Forecast, or mapping of metric to one
        Several: fitted to one log.
    ax : Axes, optional
    at : mapping, optional
        Values of the other axes and factors; default every level of the factors, and the largest
        level of the other axes.
    level : float
        Of the interval of the curve.
    floors : mapping of str to float, optional
        Metric -> score of a model that knows nothing; default that of the metric.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If a law has no axis ``kept``, or a score no floor.

    Notes
    -----
    With one format colour is the metric; with several colour is the format, and the line style the
    metric. Markers are runs, over the fitted score of the whole model.
    """
    named = fits if isinstance(fits, Mapping) else {fits.metric.name: fits}
    ax = axes_of(ax)
    grid, found = _all(named, at, floors)
    _draw_retention(ax, named, grid, found, level)
    return ax


def retention_difference(
    in_domain: Fit | Forecast,
    general: Fit | Forecast,
    ax: Any = None,
    *,
    at: Mapping[str, Any] | None = None,
    level: float = 0.9,
    floors: Mapping[str, float] | None = None,
) -> Any:
    """Draw how much more of the task is retained than of general knowledge, with its interval.

    Parameters
    ----------
    in_domain, general
        As in `divergence`; their draws are joint: what both errors have in common cancels.
    ax, at, level, floors
        As in `retention`.

    Returns
    -------
    Axes

    Notes
    -----
    A marker stands at the largest difference within the range seen whose interval excludes 0. Lines
    are thin where the interval does not.
    """
    fits = _pair(in_domain, general)
    ax = axes_of(ax)
    grid, found = _all(fits, at, floors)
    _draw_difference(ax, fits, grid, found, level)
    return ax


def _pair(in_domain: Fit | Forecast, general: Fit | Forecast) -> dict[str, Fit | Forecast]:
    names = in_domain.metric.name, general.metric.name
    if names[0] == names[1]:
        raise ValueError(f"both are fits of {names[0]}; a divergence is between two scores.")
    return {names[0]: in_domain, names[1]: general}


def _all(
    fits: Fits, at: Mapping[str, Any] | None, floors: Mapping[str, float] | None
) -> tuple[Array, dict[str, list[_Kept]]]:
    """Return the grid, and for each metric its retention along each line."""
    grid = np.append(_grid(fits), 1.0)
    given = floors or {}
    draws = _draws(fits)
    found: dict[str, list[_Kept]] = {}
    for name, one in fits.items():
        base = main(one)
        floor = given.get(name, base.metric.floor)
        if floor is None:
            raise ValueError(
                f"retention: {name} has no floor; give the score of a model that knows nothing, "
                f"floors={{{name!r}: ...}}."
            )
        found[name] = []
        for line in lines_of(base, "kept", _asked_of(name, fits, at), 1):
            points = pd.DataFrame({"kept": grid, **line})
            score = one.predict(points, interval=None)["estimate"].to_numpy(dtype=float) - floor
            values = None if draws is None else draws.values(name, points) - floor
            frame = base.problem.frame
            mine = frame[rows_of(frame, line)]
            runs = pd.DataFrame(
                {"kept": mine["kept"], "retention": (mine[name] - floor) / score[-1]}
            )
            part = None if values is None else (values / values[-1])[:-1]
            found[name].append(_Kept(name, line, (score / score[-1])[:-1], part, runs))
    return grid[:-1], found


def _asked_of(name: str, fits: Fits, at: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Leave out what only the laws of other metrics are functions of."""
    laws = {key: main(one).law for key, one in fits.items()}
    known = {key: {*(a.name for a in law.axis_list()), *law.by} for key, law in laws.items()}
    others = set[str]().union(*known.values()) - known[name]
    return {k: v for k, v in (at or {}).items() if k not in others}


def _grid(fits: Fits) -> Array:
    seen: list[Array] = []
    for name, one in fits.items():
        axes = [a.name for a in main(one).law.axis_list()]
        if "kept" not in axes:
            raise ValueError(
                f"retention: the law of {name} is a function of {', '.join(axes)}; it needs kept."
            )
        seen.append(main(one).problem.frame["kept"].to_numpy(dtype=float))
    every = np.concatenate(seen)
    return grid_of(float(every.min()), 1.0, "kept")[1::_EVERY]


def _draws(fits: Fits) -> Any:
    """Return the joint draws of the fits; None where a log supports no interval."""
    from scaling_laws.decide.draws import joint_of

    try:
        return joint_of(fits)
    except NoInterval:
        return None


def _looks(fits: Fits, found: Mapping[str, list[_Kept]]) -> dict[tuple[str, int], tuple[str, Any]]:
    """Return colour and line style of each metric and line."""
    looks: dict[tuple[str, int], tuple[str, Any]] = {}
    for i, (name, curves) in enumerate(found.items()):
        base = main(fits[name])
        drawn = looks_of([c.line for c in curves], base.law.by, base.model.levels)
        for j, (colour, _, _) in enumerate(drawn):
            alone = (COLOURS[i % len(COLOURS)], "-")
            looks[name, j] = (colour, LINES[i % len(LINES)]) if len(curves) > 1 else alone
    return looks


def _draw_retention(
    ax: Any, fits: Fits, grid: Array, found: Mapping[str, list[_Kept]], level: float
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    _support(ax, fits)
    looks = _looks(fits, found)
    handles: dict[str, Any] = {}
    for i, (name, curves) in enumerate(found.items()):
        for j, one in enumerate(curves):
            colour, style = looks[name, j]
            marker = MARKERS[i % len(MARKERS)]
            if one.draws is not None:
                low, high = quantile_pair(one.draws, level)
                ax.fill_between(grid, low, high, color=colour, alpha=0.2, linewidth=0)
            ax.plot(grid, one.estimate, color=colour, linestyle=style, linewidth=1.5)
            ax.plot(one.runs["kept"], one.runs["retention"], linestyle="none", marker=marker,
                    markersize=4.0, color=colour, markeredgecolor="white", markeredgewidth=0.5,
                    zorder=4)  # fmt: skip
            if len(curves) > 1:
                words = _differing(curves, j)
                handles.setdefault(words, Line2D([], [], color=colour, label=text_of(words)))
        several = len(curves) > 1
        words = score_words(main(fits[name]))
        handles[name] = Line2D(
            [], [], color=GREY if several else looks[name, 0][0], linestyle=looks[name, 0][1],
            marker=MARKERS[i % len(MARKERS)], markersize=4.0, label=text_of(words),
        )  # fmt: skip
    if any(c.draws is not None for curves in found.values() for c in curves):
        handles[""] = Patch(color=GREY, alpha=0.3, linewidth=0,
                            label=f"{100 * level:g} % of the curve")  # fmt: skip
    for value in (0.0, 1.0):
        ax.axhline(value, color=GREY, linewidth=0.7, linestyle=":", zorder=1)
    scale_x(ax, "kept", np.append(grid, 1.0))
    finish(ax, axis_words("kept"), "retention")
    lines = [c.line for curves in found.values() for c in curves]
    legend_above(ax, list(handles.values()), _same(lines))


def _draw_difference(
    ax: Any, fits: Fits, grid: Array, found: Mapping[str, list[_Kept]], level: float
) -> None:
    from matplotlib.lines import Line2D

    low, high = _support(ax, fits)
    supported = (grid >= low * (1.0 - 1e-9)) & (grid <= high * (1.0 + 1e-9))
    first, second = (found[name] for name in fits)
    base = main(fits[first[0].metric])
    looks = looks_of([c.line for c in first], base.law.by, base.model.levels)
    handles: list[Any] = []
    for j, (one, (colour, _, marker)) in enumerate(zip(first, looks, strict=True)):
        other = next((c for c in second if _together(one.line, c.line)), None)
        if other is None:
            raise ValueError(
                f"retention_difference: {second[0].metric} is not fitted at "
                f"{common_words([one.line])}; name what both have with at=."
            )
        gap, sure = one.estimate - other.estimate, np.zeros(len(grid), np.bool_)
        if one.draws is not None and other.draws is not None:
            low, high = quantile_pair(one.draws - other.draws, level)
            ax.fill_between(grid, low, high, color=colour, alpha=0.2, linewidth=0)
            sure = (low > 0) | (high < 0)
        ax.plot(grid, gap, color=colour, linewidth=0.8)
        ax.plot(grid, np.where(sure, gap, np.nan), color=colour, linewidth=1.8)
        words = _mark_largest(ax, grid, gap, sure & supported, (colour, marker))
        name = _differing(first, j)
        words = f"{name} ({words})" if name else words
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=5.0,
                              label=text_of(words)))  # fmt: skip
    ax.axhline(0.0, color=GREY, linewidth=0.9, zorder=1)
    scale_x(ax, "kept", np.append(grid, 1.0))
    finish(ax, axis_words("kept"), "difference in retention")
    legend_above(ax, handles, _same([c.line for c in first]))


def _mark_largest(
    ax: Any, grid: Array, gap: Array, sure: NDArray[np.bool_], look: tuple[str, str]
) -> str:
    """Mark the largest difference among those that are sure, and say where it is."""
    if not sure.any():
        return "not told from 0"
    top = int(np.argmax(np.where(sure, np.abs(gap), -1.0)))
    ax.plot(grid[top], gap[top], linestyle="none", marker=look[1], markersize=5.5, color=look[0],
            markeredgecolor="white", markeredgewidth=0.6, zorder=4)  # fmt: skip
    return f"largest at {grid[top]:.2f}"


def _support(ax: Any, fits: Fits) -> tuple[float, float]:
    """Shade the range of the rows that every fit has seen, and return it."""
    seen = [main(one).problem.frame["kept"] for one in fits.values()]
    low, high = max(float(s.min()) for s in seen), min(float(s.max()) for s in seen)
    ax.axvspan(low, high, color="#000000", alpha=0.05, linewidth=0, zorder=0)
    return low, high


def _together(one: Line, other: Line) -> bool:
    """Whether two lines have the same values of what both have."""
    return all(other[k] == v for k, v in one.items() if k in other)


def _differing(curves: Sequence[_Kept], j: int) -> str:
    lines = [c.line for c in curves]
    names = [k for k in lines[0] if any(line[k] != lines[0][k] for line in lines)]
    return ", ".join(level_words(k, lines[j][k]) for k in names)


def _same(lines: Sequence[Line]) -> str:
    """Say what all lines have in common, where they have the same axes at all."""
    return common_words(lines) if all(set(line) == set(lines[0]) for line in lines) else ""
