"""Scores over two axes at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.plot.curves import common_words
from scaling_laws.plot.parts import (
    SIZES,
    Line,
    Shown,
    axis_words,
    grid_of,
    lines_of,
    rows_of,
    score_words,
    shown_of,
)
from scaling_laws.plot.style import (
    COLOURS,
    axes_of,
    finish,
    legend_above,
    plain_log_axis,
    room_of,
    small,
    text_of,
)

if TYPE_CHECKING:
    from scaling_laws.forecast import Forecast
    from scaling_laws.result import Fit
    from scaling_laws.validation import Holdout

__all__ = ["contours"]

Array = NDArray[np.float64]

_LEVELS = 8
# Every so many points of the grid one is predicted: contours need fewer than curves.
_EVERY = 3
# Share of their width that the colour bar leaves the axes.
_BAR = 0.85
# A middle colour of the map below the pale frame.
_PALE = "#c2c1bd"


def contours(
    result: Fit | Forecast | Holdout,
    ax: Any = None,
    *,
    x: str | None = None,
    y: str | None = None,
    at: Mapping[str, Any] | None = None,
    target: float | None = None,
    interval: str = "mean",
    level: float = 0.9,
) -> Any:
    """Draw lines of equal score over two axes, by default examples and the fraction kept.

    Parameters
    ----------
    result : Fit, Forecast or Holdout
    ax : Axes, optional
    x, y : str, optional
        Axes of the law; default the data and the size.
    at : mapping, optional
        Values of the factors and of further axes, one each; a factor must be given where it has
        several levels.
    target : float, optional
        Mark where this score is reached: by the estimate (solid) and by either end of its interval
        (dashed).
    interval : {"mean", "run", "score"}
        Of `target`, as in `Fit.predict`.
    level : float
        Of that interval.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the law has one axis only, or `at` leaves several levels.

    Notes
    -----
    Markers are the runs at these levels: filled where seen, open where held out. What lies outside
    the range of the runs seen is paler.
    """
    shown = shown_of(result)
    first, second = _pair(shown, x, y)
    lines = lines_of(shown.base, first, {second: 1.0, **(at or {})}, 1)
    if len(lines) > 1:
        raise ValueError(
            f"contours: {len(lines)} combinations of {', '.join(shown.base.law.by)}; choose one "
            f"with at=, as in at={dict(list(lines[0].items())[:1])}."
        )
    fixed = {k: v for k, v in lines[0].items() if k != second}
    ax = axes_of(ax)
    names = (first, second)
    grid_x, grid_y = (_grid(shown, name) for name in names)
    at_x, at_y = np.meshgrid(grid_x, grid_y)
    points = pd.DataFrame({first: at_x.ravel(), second: at_y.ravel(), **fixed})
    table = shown.fitted.predict(points, interval=None)
    height = table["estimate"].to_numpy(dtype=float).reshape(at_x.shape)
    drawn = _filled(ax, at_x, at_y, height, shown.base.metric.top)
    pale = _fade(ax, shown, names, (grid_x, grid_y))
    handles = [*_runs(ax, shown, fixed, names), *pale]
    if target is not None:
        ends = shown.fitted.predict(points, interval=interval, level=level)  # pyright: ignore[reportArgumentType]
        handles += _target(ax, at_x, at_y, height, ends, target, level)
    for axis, grid in ((ax.xaxis, grid_x), (ax.yaxis, grid_y)):
        (ax.set_xscale if axis is ax.xaxis else ax.set_yscale)("log")
        plain_log_axis(axis, float(grid[0]), float(grid[-1]))
    ax.set_xlim(grid_x[0], grid_x[-1])
    ax.set_ylim(grid_y[0], grid_y[-1])
    bar = ax.get_figure().colorbar(drawn, ax=ax, fraction=0.06, pad=0.02)
    bar.set_label(text_of(score_words(shown.base)), fontsize=small(ax) + 1.0)
    bar.ax.tick_params(labelsize=small(ax))
    finish(ax, axis_words(first), axis_words(second))
    ax.grid(False)
    legend_above(ax, handles, common_words([fixed]), room=_BAR * room_of(ax))
    return ax


def _pair(shown: Shown, x: str | None, y: str | None) -> tuple[str, str]:
    if len(shown.axes) < 2:
        raise ValueError(
            f"contours: the law is a function of {', '.join(shown.axes)} alone; draw "
            "learning_curve or degradation."
        )
    for name in (x, y):
        if name is not None and name not in shown.axes:
            raise ValueError(f"{name!r} is none of the law's axes, {', '.join(shown.axes)}.")
    second = y or next((n for n in SIZES if n in shown.axes and n != x), None)
    first = x or next(n for n in shown.axes if n != second)
    return first, second or next(n for n in shown.axes if n != first)


def _grid(shown: Shown, name: str) -> Array:
    values = shown.values(name)
    values = values[values > 0]
    return grid_of(float(values.min()), float(values.max()), name)[::_EVERY]


def _filled(ax: Any, x: Array, y: Array, height: Array, top: float | None) -> Any:
    from matplotlib.ticker import MaxNLocator

    low, high = float(np.nanmin(height)), float(np.nanmax(height))
    levels = MaxNLocator(_LEVELS).tick_values(low, high)
    if top is not None and high <= top:
        # No colour for scores that there are not.
        levels = np.unique(np.minimum(levels, top))
    drawn = ax.contourf(x, y, height, levels=levels, cmap="cividis", alpha=0.9)
    ax.contour(x, y, height, levels=levels, colors="white", linewidths=0.5)
    return drawn


def _fade(ax: Any, shown: Shown, names: tuple[str, str], grids: tuple[Array, Array]) -> list[Any]:
    """Lay a pale frame over what is outside the range of the runs seen; return what it is."""
    frame = shown.base.problem.frame
    (left, right), (bottom, top) = ((float(frame[n].min()), float(frame[n].max())) for n in names)
    (x0, x1), (y0, y1) = ((float(g[0]), float(g[-1])) for g in grids)
    from matplotlib.patches import Patch, Rectangle

    for corner, width, height in (
        ((x0, y0), left - x0, y1 - y0), ((right, y0), x1 - right, y1 - y0),
        ((left, y0), right - left, bottom - y0), ((left, top), right - left, y1 - top),
    ):  # fmt: skip
        if width > 0 and height > 0:
            ax.add_patch(Rectangle(corner, width, height, color="white", alpha=0.45, linewidth=0))
    # Of the colour of a middle score.
    return [Patch(facecolor=_PALE, linewidth=0, label="pale: beyond them")] if ax.patches else []


def _runs(ax: Any, shown: Shown, fixed: Line, names: tuple[str, str]) -> list[Any]:
    parts = [(shown.base.problem.frame, "black", "runs seen")]
    if shown.held is not None:
        parts.append((shown.held, "white", "held out"))
    out: list[Any] = []
    for frame, face, words in parts:
        mine = frame[rows_of(frame, fixed)]
        out += ax.plot(
            mine[names[0]], mine[names[1]], linestyle="none", marker="o", markersize=4.0,
            markerfacecolor=face, markeredgecolor="white" if face == "black" else "black",
            markeredgewidth=0.6, label=words, zorder=4, clip_on=False,
        )  # fmt: skip
    return out


def _target(
    ax: Any, x: Array, y: Array, height: Array, ends: pd.DataFrame, target: float, level: float
) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    colour = COLOURS[1]
    surfaces: list[tuple[Array, Any, str]] = [(height, "-", f"{target:g} reached")]
    for end in ("low", "high"):
        edge = ends[end].to_numpy(dtype=float).reshape(x.shape)
        surfaces.append((edge, "--", f"{100 * level:g} % interval"))
    handles: dict[str, Any] = {}
    for surface, style, words in surfaces:
        if np.nanmin(surface) < target < np.nanmax(surface):
            width = 1.6 if style == "-" else 1.0
            # On a white edge: without colours it would be no lighter or darker than the ground.
            edge = [withStroke(linewidth=width + 1.4, foreground="white")]
            ax.contour(x, y, surface, levels=[target], colors=[colour], linestyles=[style],
                       linewidths=[width]).set_path_effects(edge)  # fmt: skip
            handles[words] = Line2D([], [], color=colour, linestyle=style, label=words)
    if surfaces[0][2] not in handles:
        words = f"{target:g}: nowhere"
        handles = {words: Line2D([], [], linestyle="none", label=words), **handles}
    return list(handles.values())
