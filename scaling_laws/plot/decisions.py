"""The answer to a question as a figure, drawn as its view says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scaling_laws.plot.parts import axis_words
from scaling_laws.plot.style import (
    COLOURS,
    axes_of,
    legend_above,
    level_looks,
    plain_log_axis,
    text_of,
    tidy,
)

if TYPE_CHECKING:
    from scaling_laws.decide.result import Result, View

__all__ = ["plot_result"]

_GREY = "#777777"
# No level of a factor among a few has it.
_MARK = COLOURS[-1]


def plot_result(found: Result, ax: Any = None) -> Any:
    """Draw lines with bands, points with bars, or bars, and mark targets and the answer."""
    ax = axes_of(ax)
    view = found.view
    table = found.frame if view.table is None else view.table
    if view.style == "bars":
        _bars(ax, table, view, _looks(found))
    else:
        draw = {"line": _line, "points": _points}[view.style]
        looks = _looks(found)
        for name, part in _groups(table, view):
            draw(ax, part, view, looks[str(name)], text_of(name))
    for label, value in view.lines.items():
        ax.axhline(value, color=_GREY, linewidth=0.8, linestyle="--", label=text_of(label))
    for label, value in view.marks.items():
        ax.axvline(value, color=_MARK, linewidth=1.0, label=text_of(label))
    if view.style != "bars":
        _scale(ax, ax.xaxis, table[view.x], view.log_x)
        _scale(ax, ax.yaxis, table[view.y], view.log_y)
        ax.set_xlabel(text_of(view.x_label or axis_words(view.x)))
        ax.set_ylabel(text_of(view.y_label or view.y))
    else:
        ax.set_xlabel(text_of(view.y_label or view.y))
    height = legend_above(ax, ax.get_legend_handles_labels()[0])
    ax.set_title(text_of(found.answer), loc="left", fontsize="medium", wrap=True, pad=height + 6.0)
    tidy(ax)
    return ax


def _groups(table: pd.DataFrame, view: View) -> list[tuple[Any, pd.DataFrame]]:
    return [("", table)] if view.by is None else list(table.groupby(view.by))


def _looks(found: Result) -> dict[str, tuple[str, str]]:
    """Return colour and marker of each level of what the view tells apart."""
    by = found.view.by
    if by is None:
        return level_looks([""])
    tables = (found.frame, found.view.table)
    seen = [v for t in tables if t is not None and by in t for v in t[by]]
    return level_looks([*found.view.levels, *seen])


def _numbers(part: pd.DataFrame, column: str | None) -> Any:
    return None if column is None else part[column].to_numpy(dtype=float)


def _line(ax: Any, part: pd.DataFrame, view: View, look: tuple[str, str], name: str) -> None:
    part = part.sort_values(view.x)
    x, y = _numbers(part, view.x), _numbers(part, view.y)
    low, high = _numbers(part, view.low), _numbers(part, view.high)
    colour, _ = look
    if low is not None and high is not None:
        ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(x, np.where(np.isfinite(y), y, np.nan), color=colour, label=name or None)


def _points(ax: Any, part: pd.DataFrame, view: View, look: tuple[str, str], name: str) -> None:
    x, y = _numbers(part, view.x), _numbers(part, view.y)
    low, high = _numbers(part, view.low), _numbers(part, view.high)
    colour, marker = look
    if low is not None and high is not None:
        ax.vlines(x, low, high, color=colour, alpha=0.5, linewidth=1.0)
    ax.plot(x, y, linestyle="", marker=marker, color=colour, label=name or None)


def _bars(ax: Any, table: pd.DataFrame, view: View, looks: dict[str, tuple[str, str]]) -> None:
    y, at = _numbers(table, view.y), np.arange(len(table))
    low, high = _numbers(table, view.low), _numbers(table, view.high)
    error = None
    if low is not None and high is not None:
        error = np.maximum(np.stack([y - low, high - y]), 0.0)
    own = [""] * len(table) if view.by is None else table[view.by]
    ax.barh(at, y, xerr=error, color=[looks[str(v)][0] for v in own], alpha=0.8)
    ax.set_yticks(at, [text_of(v) for v in table[view.x]])
    ax.invert_yaxis()


def _scale(ax: Any, axis: Any, values: pd.Series[Any], log: bool) -> None:
    seen = values.to_numpy(dtype=float)
    seen = seen[np.isfinite(seen) & (seen > 0)]
    if not log or not len(seen):
        return
    (ax.set_xscale if axis is ax.xaxis else ax.set_yscale)("log")
    plain_log_axis(axis, float(seen.min()), float(seen.max()) * 1.001)
