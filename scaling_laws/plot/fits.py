"""A fit, a forecast and a choice as figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.plot.curves import (
    Look,
    common_words,
    legend_entries,
    legend_handle,
    references,
)
from scaling_laws.plot.parts import (
    Line,
    axis_words,
    grid_of,
    level_of,
    level_words,
    score_words,
    shown_of,
    smoothed,
)
from scaling_laws.plot.style import (
    COLOURS,
    LINES,
    MARKERS,
    axes_of,
    finish,
    legend_above,
    level_looks,
    plain_log_axis,
    text_of,
)
from scaling_laws.result import Fit

if TYPE_CHECKING:
    from scaling_laws.forecast import Forecast
    from scaling_laws.validation import Choice

__all__ = ["plot_choice", "plot_fit"]

Array = NDArray[np.float64]

# Levels of an axis, and all lines, that can still be told apart.
_MOST_LEVELS, _MOST_LINES = 5, 9
# How far beyond the data a curve is drawn, in log-ranges of its axis.
_BEYOND = 0.3
# With more lines than this the intervals of a new run would hide each other.
_MOST_RUN_BANDS = 4


def plot_fit(
    fit: Fit | Forecast,
    ax: Any = None,
    *,
    x: str | None = None,
    level: float = 0.9,
    run: bool | None = None,
    fixed: Line | None = None,
) -> Any:
    """Draw data, curves, and the intervals of the mean (dark) and of one new run (light).

    Parameters
    ----------
    fit : Fit or Forecast
    ax : Axes, optional
    x : str, optional
        Axis along the abscissa; default the data axis, else the axis with most levels.
    level : float
        Of the intervals.
    run : bool, optional
        Draw the interval of a new run too; default with at most four lines.
    fixed : dict, optional
        Draw one line at these values of the other axes and factors instead of one a combination.

    Notes
    -----
    The data's range is shaded and lines are dashed beyond it. Colour tells the factor's level, or
    the other axis where there is no factor; markers tell the other axis.
    """
    ax = axes_of(ax)
    base = fit if isinstance(fit, Fit) else fit.best  # a Forecast draws its best form's data
    frame = base.problem.frame
    axes = [a.name for a in base.law.axis_list()]
    x = x or _main_axis(frame, axes)
    others = [*(a for a in axes if a != x), *base.law.by]
    lines = [fixed] if fixed else _lines(base, others)
    xs = frame[x].to_numpy(dtype=float)
    low, high = float(xs.min()), float(xs.max())
    grid = grid_of(low, high, x, _BEYOND)
    looks = _looks(lines, others, base)
    with_run = len(lines) <= _MOST_RUN_BANDS if run is None else run
    for line, (colour, _, marker) in zip(lines, looks, strict=True):
        _one_line(ax, fit, line, x, grid, (low, high), level, with_run, colour)
        _one_scatter(ax, base, line, x, others, colour, marker)
    ax.axvspan(low, high, color="#000000", alpha=0.04, linewidth=0, zorder=0)
    references(ax, shown_of(fit))
    ax.set_xscale("log")
    plain_log_axis(ax.xaxis, float(grid[0]), float(grid[-1]))
    ax.set_xlim(grid[0], grid[-1])
    finish(ax, axis_words(x), score_words(base))
    entries = legend_entries(lines, looks, base.law.by)
    legend_above(ax, [legend_handle(words, look) for words, look in entries.items()],
                 common_words(lines))  # fmt: skip
    return ax


def _main_axis(frame: pd.DataFrame, axes: list[str]) -> str:
    for data in ("examples", "tokens"):
        if data in axes and frame[data].nunique() > 1:
            return data
    return max(axes, key=lambda a: frame[a].nunique())


def _lines(base: Fit, others: list[str]) -> list[Line]:
    """List combinations of the other axes and factors in the data.

    Where they are many, an axis is thinned to evenly spread levels, its ends among them.
    """
    if not others:
        return [{}]
    table = base.problem.frame[others].drop_duplicates().sort_values(others, ascending=False)
    most = min(_MOST_LEVELS, max(2, _MOST_LINES // len(base.model.levels)))
    for column in others:
        levels = sorted(set(table[column].tolist()))
        allowed = _MOST_LEVELS if column in base.law.by else most
        if len(levels) > allowed:
            at = np.linspace(0, len(levels) - 1, allowed).round().astype(int)
            table = table[table[column].isin([levels[i] for i in at])]
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _looks(lines: list[Line], others: list[str], base: Fit) -> list[Look]:
    """Colour by factor level (by the first other axis without a factor), marker by the rest.

    Where nothing is left for the markers they repeat the colours, for readers who see none.
    """
    by = base.law.by
    rest = [o for o in others if o not in (by or others[:1])]

    def places(names: list[str]) -> list[int]:
        keys = [tuple(line[n] for n in names) for line in lines]
        known = list(dict.fromkeys(keys))
        return [known.index(key) for key in keys]

    first = places(others[:1])
    looks = [(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i in first]
    if by:
        known = level_looks(base.model.levels)
        looks = [known[level_of(line, by)] for line in lines]
    if rest:
        marks = places(rest)
        looks = [(c, MARKERS[m % len(MARKERS)]) for (c, _), m in zip(looks, marks, strict=True)]
    return [(colour, "-", marker) for colour, marker in looks]


def _one_line(
    ax: Any,
    fit: Fit | Forecast,
    line: Line,
    x: str,
    grid: Array,
    seen: tuple[float, float],
    level: float,
    run: bool,
    colour: str,
) -> None:
    points = pd.DataFrame({x: grid, **line})
    mean = fit.predict(points, interval="mean", level=level)
    if run:
        one = fit.predict(points, interval="run", level=level)
        low, high = (smoothed(mean[end], one[end]) for end in ("low", "high"))
        ax.fill_between(grid, low, high, color=colour, alpha=0.10, linewidth=0)
    ax.fill_between(grid, mean["low"], mean["high"], color=colour, alpha=0.22, linewidth=0)
    inside = (grid >= seen[0]) & (grid <= seen[1])
    estimate = mean["estimate"].to_numpy()
    ax.plot(grid, estimate, color=colour, linewidth=1.2, linestyle=(0, (4, 2)))
    ax.plot(grid[inside], estimate[inside], color=colour, linewidth=1.8)


def _one_scatter(
    ax: Any,
    base: Fit,
    line: Line,
    x: str,
    others: list[str],
    colour: str,
    marker: str,
) -> None:
    frame = base.problem.frame
    chosen = np.ones(len(frame), bool)
    for name in others:
        chosen &= (frame[name] == line[name]).to_numpy(dtype=bool)
    at, y = frame[x].to_numpy(dtype=float)[chosen], base.problem.score[chosen]
    se = base.problem.se[chosen]
    label = ", ".join(level_words(name, line[name]) for name in others)
    if np.isfinite(se).any():
        ax.errorbar(at, y, yerr=se, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.7)
    ax.plot(at, y, linestyle="none", marker=marker, color=colour, markeredgecolor="white",
            markeredgewidth=0.6, markersize=5.0, label=text_of(label), zorder=3)  # fmt: skip


def plot_choice(choice: Choice, ax: Any = None) -> Any:
    """Draw the forecast with its interval, and every form that was tried as a thin line."""
    forecast = choice.forecast
    x = _main_axis(choice.best.problem.frame, [a.name for a in choice.best.law.axis_list()])
    frame = choice.best.problem.frame
    others = [*(a.name for a in choice.best.law.axis_list() if a.name != x), *choice.best.law.by]
    line = _lines(choice.best, others)[0]
    ax = plot_fit(forecast, ax, x=x, fixed=line)
    xs = frame[x].to_numpy(dtype=float)
    grid = grid_of(float(xs.min()), float(xs.max()), x, _BEYOND)
    colour, _, marker = _looks([line], others, choice.best)[0]
    free = [c for c in COLOURS if c != colour]
    for i, (form, one) in enumerate(choice.fits.items()):
        guess = one.predict(pd.DataFrame({x: grid, **line}), interval=None)["estimate"]
        weight = float(choice.forecast.weights[form])
        ax.plot(grid, guess, color=free[i % len(free)], linewidth=1.0,
                linestyle=LINES[i // len(free) % len(LINES)],
                label=text_of(f"{form}, weight {weight:.2f}"))  # fmt: skip
    mixture = legend_handle("forecast", (colour, "-", marker))
    forms = [h for h in ax.lines if "weight" in h.get_label()]
    legend_above(ax, [mixture, *forms], common_words([line]))
    return ax
