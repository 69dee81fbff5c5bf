"""Scores along one axis: degradation against size, learning curves against examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.plot.parts import (
    SIZES,
    Line,
    Shown,
    axis_words,
    grid_of,
    level_of,
    level_words,
    lines_of,
    rows_of,
    score_words,
    shown_of,
    smoothed,
)
from scaling_laws.plot.style import (
    COLOURS,
    GREY,
    LINES,
    MARKERS,
    axes_of,
    finish,
    legend_above,
    level_looks,
    margin_label,
    plain_log_axis,
    text_of,
)

if TYPE_CHECKING:
    from scaling_laws.forecast import Forecast
    from scaling_laws.result import Fit
    from scaling_laws.validation import Holdout

__all__ = [
    "Look", "common_words", "degradation", "learning_curve", "legend_entries", "legend_handle",
    "looks_of", "references", "scale_x",
]  # fmt: skip

Array = NDArray[np.float64]
Look = tuple[str, Any, str]
"""Colour, line style, marker."""

# Lines on one figure unless the caller asks for others.
_MOST = 4
# With more lines than this the intervals of a new run would hide each other.
_MOST_RUN_BANDS = 2
# A loss that spans more than this factor is drawn on a log axis.
_WIDE = 4.0


def degradation(
    result: Fit | Forecast | Holdout,
    ax: Any = None,
    *,
    at: Mapping[str, Any] | None = None,
    level: float = 0.9,
    run: bool | None = None,
    teacher: float | None = None,
) -> Any:
    """Draw the score against how much of the model is left.

    Parameters
    ----------
    result : Fit, Forecast or Holdout
        Of a hold-out, the rows that the fit has not seen are drawn as open markers.
    ax : Axes, optional
    at : mapping, optional
        Values of the other axes and factors, one or several each, as in ``{"examples": [6e3,
        4e5]}``. Default: every level of the factors, and the largest level of the other axes.
    level : float
        Of the intervals: of the curve (dark) and of one new training run (light).
    run : bool, optional
        Draw the interval of a new run; default where there are at most two lines.
    teacher : float, optional
        Score of the teacher. Default: the mean of the fitted rows with ``phase = "teacher"``; in a
        log without phases those with ``kept = 1``, where the law has no other axis.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the law has no axis of size, or `at` names something else than its axes and factors.

    Notes
    -----
    Colour is the format (or the other axis, without a factor), the line style the other axis,
    filled markers are rows seen and open ones held out. Data on other lines are not drawn. The
    range of the rows seen is shaded; beyond it lines are thin.
    """
    shown = shown_of(result)
    size = next((name for name in SIZES if name in shown.axes), None)
    if size is None:
        raise ValueError(
            f"degradation: the law is a function of {', '.join(shown.axes)}, of no size; fit a law "
            f"with one of {', '.join(SIZES)}, or draw learning_curve."
        )
    ax = _curves(shown, axes_of(ax), size, at, 1, level, run)
    references(ax, shown, teacher)
    return ax


def learning_curve(
    result: Fit | Forecast | Holdout,
    ax: Any = None,
    *,
    x: str | None = None,
    at: Mapping[str, Any] | None = None,
    level: float = 0.9,
    run: bool | None = None,
    teacher: float | None = None,
) -> Any:
    """Draw the score against the data.

    Parameters
    ----------
    result, ax, level, run, teacher
        As in `degradation`.
    x : str, optional
        Axis of the data; default ``examples``, else ``tokens``, else the law's first.
    at : mapping, optional
        As in `degradation`. Default: every level of the factors, and as many levels of the other
        axes, the largest and the smallest first, as make four lines.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If `x` is none of the law's axes, or `at` names something else than its axes and factors.
    """
    shown = shown_of(result)
    chosen = x or next((n for n in ("examples", "tokens") if n in shown.axes), shown.axes[0])
    if chosen not in shown.axes:
        raise ValueError(f"x: {chosen!r} is none of the law's axes, {', '.join(shown.axes)}.")
    levels = max(1, _MOST // max(1, len(lines_of(shown.base, chosen, None, 1))))
    ax = _curves(shown, axes_of(ax), chosen, at, levels, level, run)
    references(ax, shown, teacher)
    return ax


def _curves(
    shown: Shown,
    ax: Any,
    x: str,
    at: Mapping[str, Any] | None,
    most: int,
    level: float,
    run: bool | None,
) -> Any:
    lines = lines_of(shown.base, x, at, most)
    looks = looks_of(lines, shown.base.law.by, shown.base.model.levels)
    seen = shown.base.problem.frame[x].to_numpy(dtype=float)
    ends = float(seen.min()), float(seen.max())
    every = shown.values(x)
    grid = grid_of(float(every[every > 0].min()), float(every.max()), x)
    with_run = len(lines) <= _MOST_RUN_BANDS if run is None else run
    ax.axvspan(*ends, color="#000000", alpha=0.05, linewidth=0, zorder=0)
    for line, look in zip(lines, looks, strict=True):
        _one_line(ax, shown, line, look, x, grid, ends, level, with_run)
        _markers(ax, shown, line, look, x)
    scale_x(ax, x, grid)
    if shown.base.model.link.kind == "log":
        _scale_loss(ax)
    finish(ax, axis_words(x), score_words(shown.base))
    legend_above(ax, _handles(shown, lines, looks, level, with_run), common_words(lines))
    return ax


def _scale_loss(ax: Any) -> None:
    """Give a loss that spans much a log axis."""
    y = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines])
    low, high = float(y.min()), float(y.max())
    if high > _WIDE * low:
        ends = low / (high / low) ** 0.05, high * (high / low) ** 0.05
        ax.set_yscale("log")
        plain_log_axis(ax.yaxis, *ends)
        ax.set_ylim(*ends)


def scale_x(ax: Any, x: str, grid: Array) -> None:
    """Give the abscissa a log axis over the grid."""
    ax.set_xscale("log")
    # Where the whole model is an end of the axis its marker is not to be cut.
    end = grid[-1] * (1.02 if x == "kept" else 1.0)
    plain_log_axis(ax.xaxis, float(grid[0]), float(end))
    ax.set_xlim(grid[0], end)


def looks_of(
    lines: Sequence[Line], by: Sequence[str], levels: Sequence[str] | None = None
) -> list[Look]:
    """Return colour (factor, else the other axis), line style and marker (the other axes).

    `levels` are all of the fit, so that one has its colour whichever are drawn; default those of
    the lines.
    """
    rest = [tuple(v for k, v in line.items() if k not in by) for line in lines]
    second = list(dict.fromkeys(rest))
    places = [second.index(r) for r in rest]
    if not by:
        return [(COLOURS[i % len(COLOURS)], "-", MARKERS[i % len(MARKERS)]) for i in places]
    keys = [level_of(line, by) for line in lines]
    known = level_looks(levels or keys)
    # Where the line styles are one the markers repeat the colours, for who sees none.
    several = len(second) > 1
    return [
        (known[k][0], LINES[i % len(LINES)], MARKERS[i % len(MARKERS)] if several else known[k][1])
        for k, i in zip(keys, places, strict=True)
    ]


def _one_line(
    ax: Any,
    shown: Shown,
    line: Line,
    look: Look,
    x: str,
    grid: Array,
    ends: tuple[float, float],
    level: float,
    run: bool,
) -> None:
    colour, style, _ = look
    points = pd.DataFrame({x: grid, **line})
    mean = shown.fitted.predict(points, interval="mean", level=level)
    if run:
        one = shown.fitted.predict(points, interval="run", level=level)
        low, high = (smoothed(mean[end], one[end]) for end in ("low", "high"))
        ax.fill_between(grid, low, high, color=colour, alpha=0.12, linewidth=0)
    ax.fill_between(grid, mean["low"], mean["high"], color=colour, alpha=0.25, linewidth=0)
    y = mean["estimate"].to_numpy(dtype=float)
    inside = (grid >= ends[0] * (1 - 1e-9)) & (grid <= ends[1] * (1 + 1e-9))
    ax.plot(grid, y, color=colour, linestyle=style, linewidth=0.7)
    ax.plot(grid[inside], y[inside], color=colour, linestyle=style, linewidth=1.6)


def _markers(ax: Any, shown: Shown, line: Line, look: Look, x: str) -> None:
    """Draw the rows of a line: filled where the fit has seen them, open where they were held out.

    A standard error is drawn where the log has one.
    """
    colour, _, marker = look
    metric = shown.base.metric
    parts = [(shown.base.problem.frame, metric.name, colour)]
    if shown.held is not None:
        parts.append((shown.held, "observed", "white"))
    for frame, column, face in parts:
        mine = frame[rows_of(frame, line)]
        at, y = mine[x].to_numpy(dtype=float), mine[column].to_numpy(dtype=float)
        if metric.se in mine.columns and mine[metric.se].notna().any():
            ax.errorbar(at, y, yerr=mine[metric.se].to_numpy(dtype=float), fmt="none",
                        ecolor=colour, elinewidth=0.7, zorder=3)  # fmt: skip
        edge = "white" if face == colour else colour
        ax.plot(at, y, linestyle="none", marker=marker, markersize=4.5, markerfacecolor=face,
                markeredgecolor=edge, markeredgewidth=0.5 if face == colour else 1.0,
                zorder=4)  # fmt: skip


def references(ax: Any, shown: Shown, teacher: float | None = None) -> None:
    """Draw the floor, and the score of the teacher, named beside the axes."""
    metric = shown.base.metric
    low, _ = ax.get_ylim()
    whole = _teacher(shown) if teacher is None else teacher
    marks = {} if whole is None else {"teacher": (whole, "-.")}
    # A floor of 0 far below the scores would only press them together.
    if metric.floor is not None and (metric.floor > 0 or low <= 0):
        marks["floor"] = (metric.floor, ":")
    for words, (value, style) in marks.items():
        ax.axhline(value, color=GREY, linewidth=0.9, linestyle=style, zorder=1)
        margin_label(ax, value, words)
    if metric.floor is not None and metric.floor == 0 and low < 0:
        ax.set_ylim(bottom=0.0)


def _teacher(shown: Shown) -> float | None:
    """Return the teacher's score, where rows that the fit has seen tell it.

    A student of which nothing is pruned is no teacher where the score depends on the data too.
    """
    frame = shown.base.problem.frame
    if "phase" in frame:
        rows = frame["phase"] == "teacher"
    elif shown.axes == ["kept"]:
        rows = frame["kept"] == 1
    else:
        return None
    return float(frame.loc[rows, shown.base.metric.name].mean()) if rows.any() else None


def common_words(lines: Sequence[Line]) -> str:
    """Say what all lines have in common."""
    shared = {k: v for k, v in lines[0].items() if all(line[k] == v for line in lines)}
    return ", ".join(level_words(k, v) for k, v in shared.items())


def legend_entries(
    lines: Sequence[Line], looks: Sequence[Look], by: Sequence[str]
) -> dict[str, Look]:
    """Return what a legend says: of a grid of lines each colour, then each style, once."""
    differing = [k for k in lines[0] if any(line[k] != lines[0][k] for line in lines)]
    factors, axes = [k for k in differing if k in by], [k for k in differing if k not in by]
    colours: dict[str, Look] = {}
    styles: dict[str, Look] = {}
    for line, (colour, style, marker) in zip(lines, looks, strict=True):
        words = [", ".join(level_words(k, line[k]) for k in names) for names in (factors, axes)]
        if all(words):
            colours.setdefault(words[0], (colour, "-", ""))
            styles.setdefault(words[1], (GREY, style, marker))
        elif any(words):
            styles["".join(words)] = (colour, style, marker)
    return {**dict(sorted(colours.items())), **styles}


def legend_handle(words: str, look: Look) -> Any:
    """Return a line with its marker, as it is drawn."""
    from matplotlib.lines import Line2D

    colour, style, marker = look
    return Line2D([], [], color=colour, linestyle=style, marker=marker, markersize=4.5,
                  markeredgecolor="white", markeredgewidth=0.5, label=text_of(words))  # fmt: skip


def _handles(
    shown: Shown, lines: Sequence[Line], looks: Sequence[Look], level: float, run: bool
) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries = legend_entries(lines, looks, shown.base.law.by)
    out: list[Any] = [legend_handle(words, look) for words, look in entries.items()]
    if shown.held is not None:
        for words, face in (("seen", GREY), ("held out", "white")):
            out.append(Line2D([], [], color=GREY, linestyle="none", marker="o", markersize=4.5,
                              markerfacecolor=face, label=words))  # fmt: skip
    share = f"{100 * level:g} %"
    out.append(Patch(color=GREY, alpha=0.35, linewidth=0, label=f"{share} of the curve"))
    if run:
        out.append(Patch(color=GREY, alpha=0.15, linewidth=0, label=f"{share} of a new run"))
    return out
