"""A fit, a forecast, a choice and a hold-out as figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.plot.style import COLOURS, MARKERS, axes_of, plain_log_axis, tidy

if TYPE_CHECKING:
    from scaling_laws.forecast import Forecast
    from scaling_laws.result import Fit
    from scaling_laws.validation import Choice, Holdout

__all__ = ["plot_choice", "plot_fit", "plot_holdout"]

Array = NDArray[np.float64]

_POINTS = 160
_MOST_LINES = 5
# How far beyond the data a curve is drawn, in log-ranges of its axis.
_BEYOND = 0.3


def plot_fit(
    fit: Fit | Forecast, ax: Any = None, *, x: str | None = None, level: float = 0.9,
    run: bool = True, fixed: dict[str, Any] | None = None,
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
    run : bool
        Draw the interval of a new run too.
    fixed : dict, optional
        Draw one line at these values of the other axes and factors instead of one a combination.

    Notes
    -----
    The data's range is shaded and lines are dashed beyond it. Colour tells the factor's level, or the
    other axis where there is no factor; markers tell the other axis.
    """
    ax = axes_of(ax)
    base = fit.best if not hasattr(fit, "problem") else fit  # a Forecast draws its best form's data
    frame = base.problem.frame
    axes = [a.name for a in base.law.axis_list()]
    x = x or _main_axis(frame, axes)
    others = [*(a for a in axes if a != x), *base.law.by]
    lines = [fixed] if fixed else _lines(frame, others)
    xs = frame[x].to_numpy(dtype=float)
    low, high = float(xs.min()), float(xs.max())
    grid = _grid(low, high, x)
    colour_of, marker_of = _codes(lines, others, base.law.by)
    for line in lines:
        colour, marker = colour_of(line), marker_of(line)
        _one_line(ax, fit, line, x, grid, (low, high), level, run, colour)
        _one_scatter(ax, base, line, x, others, colour, marker, _label(line, others))
    ax.axvspan(low, high, color="#000000", alpha=0.04, linewidth=0, zorder=0)
    _references(ax, base)
    ax.set_xscale("log")
    plain_log_axis(ax.xaxis, float(grid[0]), float(grid[-1]))
    ax.set_xlim(grid[0], grid[-1])
    ax.set_xlabel(x)
    ax.set_ylabel(base.metric.meaning or base.metric.name)
    if others:
        ax.legend(frameon=False, fontsize="small")
    tidy(ax)
    return ax


def _main_axis(frame: pd.DataFrame, axes: list[str]) -> str:
    for data in ("examples", "tokens"):
        if data in axes and frame[data].nunique() > 1:
            return data
    return max(axes, key=lambda a: frame[a].nunique())


def _lines(frame: pd.DataFrame, others: list[str]) -> list[dict[str, Any]]:
    """Combinations of the other axes and factors in the data; evenly thinned where many."""
    if not others:
        return [{}]
    table = frame[others].drop_duplicates().sort_values(others, ascending=False)
    numeric = [c for c in others if pd.api.types.is_numeric_dtype(table[c])]
    for column in numeric:
        levels = np.sort(table[column].unique())
        if len(levels) > _MOST_LINES:
            keep = levels[np.linspace(0, len(levels) - 1, _MOST_LINES).round().astype(int)]
            table = table[table[column].isin(keep)]
    return [dict(zip(others, row, strict=True)) for row in table.itertuples(index=False)]


def _codes(lines: list[dict[str, Any]], others: list[str], by: tuple[str, ...]) -> tuple[Any, Any]:
    """Colour by factor level (by the first other axis without a factor), marker by the rest."""
    first = list(by) or others[:1]
    rest = [o for o in others if o not in first]

    def place(names: list[str]) -> Any:
        keys = list(dict.fromkeys(tuple(line.get(n) for n in names) for line in lines))
        return lambda line: keys.index(tuple(line.get(n) for n in names))

    colour, marker = place(first), place(rest)
    return (
        lambda line: COLOURS[colour(line) % len(COLOURS)],
        lambda line: MARKERS[marker(line) % len(MARKERS)],
    )


def _grid(low: float, high: float, x: str) -> Array:
    span = np.log(high / low) if high > low else 1.0
    begin, end = np.log(low) - _BEYOND * span, np.log(high) + _BEYOND * span
    if x == "kept":
        end = min(end, 0.0)
    return np.exp(np.linspace(begin, end, _POINTS))


def _one_line(
    ax: Any, fit: Fit | Forecast, line: dict[str, Any], x: str, grid: Array,
    seen: tuple[float, float], level: float, run: bool, colour: str,
) -> None:
    points = pd.DataFrame({x: grid, **line})
    mean = fit.predict(points, interval="mean", level=level)
    if run:
        one = fit.predict(points, interval="run", level=level)
        ax.fill_between(grid, one["low"], one["high"], color=colour, alpha=0.10, linewidth=0)
    ax.fill_between(grid, mean["low"], mean["high"], color=colour, alpha=0.22, linewidth=0)
    inside = (grid >= seen[0]) & (grid <= seen[1])
    estimate = mean["estimate"].to_numpy()
    ax.plot(grid, estimate, color=colour, linewidth=1.2, linestyle=(0, (4, 2)))
    ax.plot(grid[inside], estimate[inside], color=colour, linewidth=1.8)


def _one_scatter(
    ax: Any, base: Fit, line: dict[str, Any], x: str, others: list[str], colour: str, marker: str,
    label: str,
) -> None:
    rows = base.problem.frame
    for name in others:
        rows = rows[rows[name] == line[name]]
    y = rows[base.metric.name].to_numpy(dtype=float)
    at = rows[x].to_numpy(dtype=float)
    se = rows[base.metric.se].to_numpy(dtype=float) if base.metric.se in rows else None
    if se is not None:
        ax.errorbar(at, y, yerr=se, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.7)
    ax.plot(at, y, linestyle="none", marker=marker, color=colour, markeredgecolor="white",
            markeredgewidth=0.6, markersize=6.5, label=label, zorder=3)  # fmt: skip


def _label(line: dict[str, Any], others: list[str]) -> str:
    words: list[str] = []
    for name in others:
        value = line[name]
        number = isinstance(value, int | float | np.number)
        if number and name in ("params", "params_nonembedding"):
            words.append(f"{float(value) / 1e9:.3g}B parameters")
        else:
            words.append(f"{name} {value:.3g}" if number else str(value))
    return ", ".join(words)


def _references(ax: Any, base: Fit) -> None:
    """The floor, and the score of the whole model where the log has it."""
    metric = base.metric
    if metric.link == "logit" and metric.floor:
        ax.axhline(metric.floor, color="#777777", linewidth=0.8, linestyle=":")
        ax.annotate("knows nothing", (0.99, metric.floor), xycoords=("axes fraction", "data"),
                    ha="right", va="bottom", fontsize="x-small", color="#777777")  # fmt: skip
    frame = base.problem.frame
    if "kept" in frame and (frame["kept"] == 1).any():
        teacher = float(frame.loc[frame["kept"] == 1, metric.name].mean())
        ax.axhline(teacher, color="#777777", linewidth=0.8, linestyle="-.")
        ax.annotate("whole model", (0.01, teacher), xycoords=("axes fraction", "data"),
                    ha="left", va="bottom", fontsize="x-small", color="#777777")  # fmt: skip


def plot_choice(choice: Choice, ax: Any = None) -> Any:
    """Draw the forecast with its interval, and every form that was tried as a thin line."""
    forecast = choice.forecast
    x = _main_axis(choice.best.problem.frame, [a.name for a in choice.best.law.axis_list()])
    frame = choice.best.problem.frame
    others = [*(a.name for a in choice.best.law.axis_list() if a.name != x), *choice.best.law.by]
    line = _lines(frame, others)[0]
    ax = plot_fit(forecast, ax, x=x, fixed=line)
    xs = frame[x].to_numpy(dtype=float)
    grid = _grid(float(xs.min()), float(xs.max()), x)
    for i, (form, one) in enumerate(choice.fits.items()):
        guess = one.predict(pd.DataFrame({x: grid, **line}), interval=None)["estimate"]
        weight = float(choice.frame.loc[form, "weight"])
        ax.plot(grid, guess, color=COLOURS[(i + 1) % len(COLOURS)], linewidth=1.0,
                label=f"{form}, weight {weight:.2f}")  # fmt: skip
    ax.legend(frameon=False, fontsize="x-small")
    return ax


def plot_holdout(held: Holdout, ax: Any = None) -> Any:
    """Draw predicted against observed for the held-out rows, with their intervals."""
    ax = axes_of(ax)
    frame = held.frame
    observed = frame["observed"].to_numpy(dtype=float)
    guess = frame["estimate"].to_numpy(dtype=float)
    inside = frame["covered"].to_numpy(dtype=bool)
    for chosen, colour, words in ((inside, COLOURS[0], "inside"), (~inside, COLOURS[1], "outside")):
        if not chosen.any():
            continue
        ends = np.abs(frame.loc[chosen, ["low", "high"]].to_numpy().T - guess[chosen])
        ax.errorbar(observed[chosen], guess[chosen], yerr=ends, fmt="o", color=colour, markersize=5,
                    elinewidth=0.8, alpha=0.85,
                    label=f"observed {words} the {100 * held.level:g} % interval")  # fmt: skip
    ends = [min(observed.min(), guess.min()), max(observed.max(), guess.max())]
    ax.plot(ends, ends, color="#777777", linewidth=0.8)
    ax.set_xlabel(f"observed {held.fitted.metric.name}, held out by {held.by}")
    ax.set_ylabel("predicted from the rest")
    ax.legend(frameon=False, fontsize="small")
    tidy(ax)
    return ax
