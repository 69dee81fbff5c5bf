"""Names beside the axes, of rows and of ends: apart, and so short that the data keep their room."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np

from scaling_laws.plot.style import GREY, axes_of, room_of, small, text_of

__all__ = [
    "axes_of_rows", "ends_take", "name_ends", "name_rows", "named_every", "rows_that_fit",
    "shortened",
]  # fmt: skip

# Share of the figure that names may take, and the most lines of one.
_NAMES, _MOST_LINES = 0.42, 3
# Over the size of the text: a line, a letter, a tick with its pads, a line of a legend, and what
# stands below the axes.
_LINE, _LETTER, _TICK, _ABOVE, _BELOW = 1.2, 0.55, 1.2, 1.7, 5.0
# Inches of a row on a figure of its own, and of what stands above and below the rows.
_ROW, _FRAME = 0.17, 1.1
# Share of the figure that names of ends may take, and the points of the line that leads to one.
_END, _LEAD = 0.3, 12.0
# Rows to spare at both ends.
_PAD = 0.6
# Shares of a shortened name that are its end; the first that tells all names apart is taken.
_TAILS = (0.5, 0.2, 0.8, 0.0, 1.0)


def axes_of_rows(ax: Any, rows: float) -> Any:
    """Return the caller's Axes, or those of a new figure that is as high as its rows need."""
    made = axes_of(ax)
    if ax is None:
        figure = made.get_figure()
        figure.set_figheight(max(figure.get_figheight(), _FRAME + _ROW * rows))
    return made


def named_every(ax: Any, at: Any, legend: int = 1) -> int:
    """Return 1 where all rows can be named, 2 where every second one, and so on.

    `legend` is the number of lines that will stand above the axes.
    """
    return max(1, int(np.ceil(_LINE * small(ax) / _row(ax, at, legend))))


def rows_that_fit(ax: Any, legend: int = 1) -> int:
    """Count the rows that can all be named below a legend of so many lines."""
    return max(1, int(_inside(ax, legend) / (_LINE * small(ax)) - 2.0 * _PAD) + 1)


def name_rows(ax: Any, at: Any, names: Sequence[Any], legend: int = 1, room: float = 0.0) -> float:
    """Name rows at their heights, the first on top; return the points that the names take.

    `room` are the points that they and the axes have, where that is not what the axes have now.
    """
    size, step = small(ax), named_every(ax, at, legend)
    # Half a line stands between two names.
    lines = int(_row(ax, at, legend) / (_LINE * size) - 0.5)
    letters = max(8, int(_NAMES * (room or room_of(ax)) / (_LETTER * size)))
    words = _apart([str(name) for name in names], letters, min(max(1, lines), _MOST_LINES))
    ax.set_yticks(at[::step], [text_of(one) for one in words[::step]])
    ax.tick_params(axis="y", labelsize=size)
    ax.set_ylim(float(np.max(at)) + _PAD, float(np.min(at)) - _PAD)
    longest = max(len(line) for one in words[::step] for line in one.split("\n"))
    return size * (_TICK + _LETTER * longest)


def name_ends(ax: Any, heights: Any, names: Sequence[Any], colours: Sequence[str] = ()) -> int:
    """Name what ends at the right of the axes, at heights in data units, with a line to each name.

    Scales and limits are those of the axes now. Where there is no room for all names, the extremes
    and as many between them have one. Returns how many are named.
    """
    size = small(ax)
    left = np.full(len(heights), ax.get_xlim()[1])
    points = np.column_stack([left, np.asarray(heights, float)])
    height = _inside(ax, 1)
    at = height * (ax.transScale + ax.transLimits).transform(points)[:, 1]
    order = np.argsort(at, kind="stable")
    most = max(1, int(height / (_LINE * size)))
    if len(order) > most:
        order = order[np.linspace(0, len(order) - 1, most).round().astype(int)]
    words = _apart([str(name) for name in names], _end_letters(ax), 1)
    # Drawn from the top, as they are read.
    for i, y in zip(order[::-1], _spread(at[order], _LINE * size, height)[::-1], strict=True):
        colour = colours[i] if len(colours) else GREY
        ax.annotate(
            text_of(words[i]), (1.0, at[i] / height),
            xycoords="axes fraction", xytext=(1.0, y / height),
            textcoords=ax.transAxes + _moved(ax, _LEAD), ha="left", va="center", fontsize=size,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1.0,
                        "shrinkB": 1.0, "relpos": (0.0, 0.5)},
        )  # fmt: skip
    return len(order)


def ends_take(ax: Any, names: Sequence[Any]) -> float:
    """Return the points that `name_ends` takes beside the axes."""
    longest = max(min(len(str(name)), _end_letters(ax)) for name in names)
    return _LEAD + _LETTER * small(ax) * longest


def _end_letters(ax: Any) -> int:
    return max(8, int(_END * room_of(ax) / (_LETTER * small(ax))))


def _moved(ax: Any, points: float) -> Any:
    from matplotlib.transforms import ScaledTranslation

    return ScaledTranslation(points / 72.0, 0.0, ax.get_figure(root=True).dpi_scale_trans)


def _spread(at: Any, gap: float, height: float) -> Any:
    """Move rising heights apart, each as little as the others allow, and inside the axes."""
    from scipy.optimize import isotonic_regression

    steps = gap * np.arange(len(at))
    lowest = isotonic_regression(at - steps).x
    return np.clip(lowest, 0.0, max(height - steps[-1], 0.0)) + steps


def shortened(words: str, most: int, tail: float = 0.5) -> str:
    """Return words of at most so many letters: their begin and end tell them apart."""
    if len(words) <= most:
        return words
    end = int(tail * (most - 1))
    return f"{words[: most - 1 - end]}…{words[len(words) - end :]}"


def _apart(names: list[str], letters: int, lines: int) -> list[str]:
    words: list[str] = []
    for tail in _TAILS:
        words = [_broken(one, letters, lines, tail) for one in names]
        if len(set(words)) == len(set(names)):
            return words
    return [_broken(one, letters, lines, _TAILS[0]) for one in names]


def _broken(words: str, letters: int, lines: int, tail: float) -> str:
    """Break into lines, and take letters out until the lines are few enough."""
    for most in range(letters * lines, 0, -1):
        found = wrap(shortened(words, most, tail), letters)
        if len(found) <= lines:
            return "\n".join(found)
    return ""


def _row(ax: Any, at: Any, legend: int) -> float:
    """Height in points that a row will about have after the layout."""
    return _inside(ax, legend) / (float(np.ptp(at)) + 2.0 * _PAD)


def _inside(ax: Any, legend: int) -> float:
    """Height in points that axes will about have below a legend of so many lines."""
    figure = ax.get_figure()
    whole = 72.0 / ax.get_figure(root=True).dpi * figure.bbox.height
    spec = ax.get_subplotspec()
    if spec is not None:
        ratios = np.asarray(spec.get_gridspec().get_height_ratios(), float)
        whole *= float(ratios[spec.rowspan.start : spec.rowspan.stop].sum() / ratios.sum())
    return max(whole - small(ax) * (_BELOW + _ABOVE * legend), 1.0)
