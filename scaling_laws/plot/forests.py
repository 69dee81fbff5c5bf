"""Parameters of several fits, or of the levels of a factor, beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from scaling_laws.plot.rows import name_rows
from scaling_laws.plot.style import (
    GREY,
    MARKERS,
    blank,
    figure_of,
    finish,
    is_wide,
    legend_above,
    legend_over,
    level_looks,
    plain_number,
    small,
)
from scaling_laws.result import Fit

if TYPE_CHECKING:
    from scaling_laws.grouped import FitTable

__all__ = ["forest", "parameters"]

# Millimetres of a row, of what stands below the rows, and of a line of a legend or label.
_ROW, _FRAME, _LEGEND = 6.0, 22.0, 5.0
# Numbers from here on are written in thousands.
_LARGE = 1e4
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
    has no interval. What all levels share is black.
    """
    named = _named(fits)
    _check(named, [name])
    rows = _rows(named, [name])
    if ax is None:
        ax = blank(85.0, _FRAME + 2.0 * _LEGEND + _ROW * len(rows))
    beside = _label_rows(ax, rows, 2)
    kinds = _draw(ax, named, rows, name, level, _points(ax.get_figure()) - beside)
    legend_above(ax, _handles(kinds, level), beside=beside)
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
        made.set_figheight((lines * (_FRAME + _ROW * len(rows)) + _LEGEND) / 25.4)
    axes = made.subplots(lines, columns, squeeze=False).ravel()
    # Names stand beside the first column, and take their room from all.
    whole = _points(made)
    beside = [
        _label_rows(
            ax, rows if i % columns == 0 else [replace(r, label="") for r in rows], 3, whole
        )
        for i, ax in enumerate(axes)
    ]
    width_each = (whole - max(beside)) / columns
    kinds: set[str] = set()
    for ax, name in zip(axes, chosen, strict=False):
        kinds |= _draw(ax, named, rows, name, level, width_each)
    for ax in axes[len(chosen) :]:
        ax.remove()
    if figure is None:
        longest = max(ax.get_xlabel().count("\n") for ax in axes[: len(chosen)])
        made.set_figheight(made.get_figheight() + lines * longest * _LEGEND / 25.4)
    legend_over(made, _handles(kinds, level))
    return made


def _points(figure: Any) -> float:
    """Width of a figure or of a part of one, in points."""
    return 72.0 * float(figure.bbox.width) / float(figure.get_figure(root=True).dpi)


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
    own = {key for key, one in named.items() if any(_own(one, name) for name in names)}
    for key, one in named.items():
        levels = one.model.levels if key in own else ("",)
        for level in levels:
            words = ", ".join(w for w in (key, level) if w) or "all rows"
            # Beside levels a colour is a level: who has none is black.
            whole = "black" if own else of_fit[key][0]
            rows.append(_Row(words, key, level, of_level[level][0] if level else whole))
    return rows


def _draw(
    ax: Any, named: Mapping[str, Fit], rows: Sequence[_Row], name: str, level: float, width: float
) -> set[str]:
    """Draw a parameter on axes that have so many points; return what kinds of marks there are."""
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
    kinds = {kind for y, colour, row in lines for kind in _bar(ax, y, colour, row, (low, high))}
    if any(row.level for row in rows) and any(colour == "black" for _, colour, _ in lines):
        kinds.add("shared")
    ax.set_xlim(low, high)
    meaning = next(one.law.params[name].meaning for one in named.values()
                   if name in one.law.params)  # fmt: skip
    size = small(ax)
    finish(ax, fill(f"{name}: {meaning}", max(12, int(0.85 * width / (0.6 * size)))))
    ax.xaxis.label.set_size(size)
    _few_numbers(ax, width / size, max(abs(low), abs(high)))
    ax.grid(False, axis="y")
    ax.grid(True, axis="x", linewidth=0.5, alpha=0.4)
    return kinds


def _few_numbers(ax: Any, letters: float, largest: float) -> None:
    """Write no more numbers than fit, and large ones in thousands."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    most = max(3, min(8, int(letters / 5.0)))
    ax.xaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    if largest >= _LARGE:
        ax.xaxis.set_major_formatter(FuncFormatter(_thousands))


def _thousands(value: float, _position: int | None) -> str:
    return plain_number(value)


def _handles(kinds: set[str], level: float) -> list[Any]:
    from matplotlib.lines import Line2D

    share = f"{100 * level:g} %"
    looks: dict[str, dict[str, Any]] = {
        "bar": {"marker": MARKERS[0], "linestyle": "-", "label": f"estimate, {share} interval"},
        "open": {"marker": MARKERS[0], "markerfacecolor": "white", "label": "without interval"},
        "arrow": {"marker": ">", "label": "no end there"},
        "shared": {"color": "black", "linestyle": "-", "label": "black: same for all levels"},
    }
    plain: dict[str, Any] = {"color": GREY, "linestyle": "none", "markersize": 5.0}
    return [Line2D([], [], **{**plain, **look}) for kind, look in looks.items() if kind in kinds]


def _limits(tables: Sequence[Any]) -> tuple[float, float]:
    values = np.array([[t["estimate"], t["low"], t["high"]] for t in tables], float)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = 0.12 * (high - low) if high > low else 0.1 * abs(high) + 1e-3
    return low - pad, high + pad


def _bar(ax: Any, y: float, colour: str, row: Any, limits: tuple[float, float]) -> set[str]:
    """Draw a line; return what kinds of marks it has."""
    estimate, low, high = (float(row[c]) for c in ("estimate", "low", "high"))
    known = not (np.isnan(low) or np.isnan(high))
    kinds = {"bar" if known else "open"}
    if known:
        ends = [max(low, limits[0]), min(high, limits[1])]
        ax.hlines(y, *ends, color=colour, linewidth=1.4)
        for end, edge, marker in ((low, limits[0], "<"), (high, limits[1], ">")):
            if np.isinf(end):
                ax.plot(edge, y, marker=marker, color=colour, markersize=5.0, clip_on=False)
                kinds.add("arrow")
    if np.isfinite(estimate):
        ax.plot(estimate, y, marker=MARKERS[0], markersize=5.0, color=colour,
                markerfacecolor=colour if known else "white", zorder=3)  # fmt: skip
    return kinds


def _label_rows(ax: Any, rows: Sequence[_Row], legend: int, room: float = 0.0) -> float:
    """Name the rows, and part two fits of several levels; return the points that names take."""
    beside = name_rows(ax, range(len(rows)), [row.label for row in rows], legend, room)
    ax.tick_params(axis="y", length=0)
    keys = [row.key for row in rows]
    # A line between two fits of several levels each.
    for y, (above, below) in enumerate(zip(keys, keys[1:], strict=False)):
        if above != below and len(keys) > len(set(keys)):
            ax.axhline(y + 0.5, color=GREY, linewidth=0.5)
    return beside
