"""Parameters of several fits, or of the levels of a factor, beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from scaling_laws.plot.style import (
    GREY,
    MARKERS,
    blank,
    figure_of,
    finish,
    is_wide,
    level_looks,
    small,
    text_of,
)
from scaling_laws.result import Fit

if TYPE_CHECKING:
    from scaling_laws.grouped import FitTable

__all__ = ["forest", "parameters"]

# Millimetres of a row, and of what stands above and below the rows.
_ROW, _FRAME = 6.0, 22.0
_WIDE_COLUMNS, _NARROW_COLUMNS = 5, 2


@dataclass(frozen=True)
class _Row:
    """A line of a forest: a fit, and a level of its factors ("" for all)."""

    label: str
    key: Any
    level: str
    colour: str


Fits = Fit | Mapping[Any, Fit]


def forest(fits: Fits | FitTable, name: str, ax: Any = None, *, level: float = 0.9) -> Any:
    """Draw one parameter with its interval: a line a fit, and a level where levels have their own.

    Parameters
    ----------
    fits : Fit, mapping of label to Fit, or FitTable
    name : str
        The parameter, without a level: ``"b"``, or ``"c"`` for ``c[cot]``, ``c[label]``, ...
    ax : Axes, optional
    level : float
        Of the intervals.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If no fit has that parameter.

    Notes
    -----
    An arrow is an interval without an end there; an open marker a parameter that was held, or that
    has no interval.
    """
    named = _named(fits)
    _check(named, [name])
    rows = _rows(named, [name])
    if ax is None:
        ax = blank(85.0, _FRAME + _ROW * len(rows))
    _draw(ax, named, rows, name, level)
    _label_rows(ax, rows)
    return ax


def parameters(
    fits: Fits | FitTable,
    figure: Any = None,
    *,
    names: Sequence[str] | None = None,
    level: float = 0.9,
    width: float = 170.0,
) -> Any:
    """Draw all parameters of one or several fits: a panel a parameter.

    Parameters
    ----------
    fits, level
        As in `forest`.
    figure : Figure or SubFigure, optional
    names : sequence of str, optional
        Parameters, without levels; default all.
    width : float
        Of a new figure, mm; it is as high as its rows need.

    Returns
    -------
    Figure
        A panel each, because every parameter has a unit of its own. What all levels of a factor
        share stands once, between them.
    """
    named = _named(fits)
    if not named:
        raise ValueError("fits: there is none.")
    chosen = list(names or dict.fromkeys(k for one in named.values() for k in one.law.params))
    _check(named, chosen)
    rows = _rows(named, chosen)
    made = figure_of(figure, width)
    columns = min(len(chosen), _WIDE_COLUMNS if is_wide(made) else _NARROW_COLUMNS)
    lines = -(-len(chosen) // columns)
    if figure is None:
        made.set_figheight(lines * (_FRAME + 6.0 + _ROW * len(rows)) / 25.4)
    axes = made.subplots(lines, columns, squeeze=False).ravel()
    for i, (ax, name) in enumerate(zip(axes, chosen, strict=False)):
        _draw(ax, named, rows, name, level, columns)
        _label_rows(ax, rows if i % columns == 0 else [replace(r, label="") for r in rows])
    for ax in axes[len(chosen) :]:
        ax.remove()
    return made


def _named(fits: Any) -> dict[str, Fit]:
    if isinstance(fits, Fit):
        return {"": fits}
    mapping = cast("Mapping[Any, Fit]", getattr(fits, "fits", fits))
    return {
        ", ".join(map(str, cast("tuple[Any, ...]", k))) if isinstance(k, tuple) else str(k): one
        for k, one in mapping.items()
    }


def _check(named: Mapping[str, Fit], names: Sequence[str]) -> None:
    known = list(dict.fromkeys(k for one in named.values() for k in one.law.params))
    for name in names:
        if name not in known:
            raise ValueError(f"{name!r} is no parameter of these fits; there are {known}.")


def _own(one: Fit, name: str) -> bool:
    return name in one.law.params and f"{name}[{one.model.levels[0]}]" in one.model.names


def _rows(named: Mapping[str, Fit], names: Sequence[str]) -> list[_Row]:
    rows: list[_Row] = []
    # Levels of one log; colours tell the fits apart where these have none of their own.
    of_level = level_looks(level for one in named.values() for level in one.model.levels)
    of_fit = level_looks(named)
    for key, one in named.items():
        levels = one.model.levels if any(_own(one, name) for name in names) else ("",)
        for level in levels:
            words = ", ".join(w for w in (key, level) if w) or "all rows"
            look = of_level[level] if level else of_fit[key]
            rows.append(_Row(words, key, level, look[0]))
    return rows


def _draw(
    ax: Any, named: Mapping[str, Fit], rows: Sequence[_Row], name: str, level: float,
    columns: int = 1,
) -> None:  # fmt: skip
    lines: list[tuple[float, str, Any]] = []
    for key, one in named.items():
        if name not in one.law.params:
            continue
        table = one.intervals(level)
        mine = [(y, row) for y, row in enumerate(rows) if row.key == key]
        if _own(one, name):
            lines += [(float(y), row.colour, table.loc[f"{name}[{row.level}]"]) for y, row in mine]
        else:
            middle = float(np.mean([y for y, _ in mine]))
            colour = "black" if len(mine) > 1 else mine[0][1].colour
            lines.append((middle, colour, table.loc[name]))
    low, high = _limits([table for _, _, table in lines])
    for y, colour, row in lines:
        _bar(ax, y, colour, row, (low, high))
    ax.set_xlim(low, high)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    meaning = next(one.law.params[name].meaning for one in named.values()
                   if name in one.law.params)  # fmt: skip
    width = 72.0 * ax.get_figure().bbox.width / ax.get_figure(root=True).dpi / columns
    finish(ax, fill(f"{name}: {meaning}", max(12, int(0.8 * width / (0.55 * small(ax))))))
    ax.xaxis.label.set_size(small(ax))
    ax.grid(False, axis="y")
    ax.grid(True, axis="x", linewidth=0.5, alpha=0.4)


def _limits(tables: Sequence[Any]) -> tuple[float, float]:
    values = np.array([[t["estimate"], t["low"], t["high"]] for t in tables], float)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = 0.12 * (high - low) if high > low else 0.1 * abs(high) + 1e-3
    return low - pad, high + pad


def _bar(ax: Any, y: float, colour: str, row: Any, limits: tuple[float, float]) -> None:
    estimate, low, high = (float(row[c]) for c in ("estimate", "low", "high"))
    known = not (np.isnan(low) or np.isnan(high))
    if known:
        ends = [max(low, limits[0]), min(high, limits[1])]
        ax.hlines(y, *ends, color=colour, linewidth=1.4)
        for end, edge, marker in ((low, limits[0], "<"), (high, limits[1], ">")):
            if np.isinf(end):
                ax.plot(edge, y, marker=marker, color=colour, markersize=5.0, clip_on=False)
    if np.isfinite(estimate):
        ax.plot(estimate, y, marker=MARKERS[0], markersize=5.0, color=colour,
                markerfacecolor=colour if known else "white", zorder=3)  # fmt: skip


def _label_rows(ax: Any, rows: Sequence[_Row]) -> None:
    ax.set_yticks(range(len(rows)), [text_of(row.label) for row in rows])
    ax.tick_params(axis="y", length=0)
    keys = [row.key for row in rows]
    # A line between two fits of several levels each.
    for y, (above, below) in enumerate(zip(keys, keys[1:], strict=False)):
        if above != below and len(keys) > len(set(keys)):
            ax.axhline(y + 0.5, color=GREY, linewidth=0.5)
