"""What all figures share: colours that colour-blind readers can tell apart, plain log axes, text.

No function shows a figure or touches ``rcParams``. Sizes are those of print: `blank` makes Axes of
a column (85 mm) or a page (170 mm), and text stays between 6.5 and 9 points on either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

__all__ = [
    "COLOURS", "GREY", "LINES", "MARKERS", "axes_of", "blank", "exact_number", "figure_of",
    "finish", "is_wide", "legend_above", "legend_over", "level_looks", "margin_label", "page",
    "plain_log_axis", "plain_number", "room_of", "save_figure", "small", "text_of", "tidy",
    "wrapped",
]  # fmt: skip

# Okabe & Ito (2008), without the yellow that vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.4)), (0, (4, 1.6, 1, 1.6)))
GREY = "#666666"

_INCH = 25.4
# Axes on a narrower figure than this (inches) get the smaller text.
_NARROW = 4.5
# Space between two labels of an axis, in points.
_GAP = 4.0
_MOST_COLUMNS = 5
# Width of a letter, that of a line of wide ones, and of what a legend draws before its words, over
# the size of the text.
_LETTER, _WIDE_LETTER, _HANDLE = 0.55, 0.6, 4.6
# Height of a line of a legend, over the size of its text.
_LINE = 1.7
# Share of its part of a figure that axes take, the rest being labels.
_INSIDE = 0.86
# A little more than a decade is still read in single steps.
_DECADE = 12.0
_TICKS: tuple[tuple[float, ...], ...] = (
    (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0),
    (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0),
    (1.0, 2.0, 5.0),
    (1.0, 3.0),
    (1.0,),
)


def level_looks(levels: Iterable[Any]) -> dict[str, tuple[str, str]]:
    """Return the colour and the marker of each level of a log's factor, the levels sorted.

    Figures of one log agree on what a level looks like where each asks for all levels of the log,
    also for those that it does not draw.
    """
    names, many = sorted({str(level) for level in levels}), len(COLOURS)
    # Once through the colours the markers move on by one: no level looks like another one.
    return {
        name: (COLOURS[i % many], MARKERS[(i + i // many) % len(MARKERS)])
        for i, name in enumerate(names)
    }


def blank(width: float = 85.0, height: float | None = None) -> Any:
    """Return Axes of a new figure of a size in mm; the height is two thirds of the width."""
    return page(width, 0.68 * width if height is None else height).add_subplot()


def page(width: float, height: float) -> Any:
    """Return a new figure of a size in mm, for those that hold several Axes."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / _INCH, height / _INCH), layout="constrained")


def axes_of(ax: Any) -> Any:
    """Return the caller's Axes, or those of a new figure of its own."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=(6.4, 4.2), layout="constrained").add_subplot()


def figure_of(figure: Any, width: float = 170.0, height: float = 68.0) -> Any:
    """Return the caller's figure, or a new one of a size in mm."""
    return page(width, height) if figure is None else figure


def is_wide(figure: Any) -> bool:
    """Whether a figure holds panels side by side at a readable size."""
    return _inches(figure)[0] >= _NARROW


def _inches(figure: Any) -> tuple[float, float]:
    """Size of a figure, or of a part of one, in inches."""
    box = figure.bbox.transformed(figure.dpi_scale_trans.inverted())
    return float(box.width), float(box.height)


def small(ax: Any) -> float:
    """Size of small text, in points."""
    return 8.0 if _inches(ax.get_figure())[0] >= _NARROW else 6.5


def plain_log_axis(axis: Any, low: float, high: float, beside: float = 0.0) -> None:
    """Label a log axis with plain numbers, as many as fit beside each other: 6k, 400k, 1.5M.

    `beside` are the points that labels will take from the width of the axes.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_major_locator(FixedLocator(_log_ticks(axis, low, high, beside)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_formatted))


def _formatted(value: float, _position: int | None) -> str:
    return plain_number(value)


def _log_ticks(axis: Any, low: float, high: float, beside: float) -> list[float]:
    box = axis.axes.get_window_extent()
    figure = axis.axes.get_figure(root=True)
    points = 72.0 / figure.dpi * (box.width if axis.axis_name == "x" else box.height)
    if beside and axis.axis_name == "x":
        points = min(points, room_of(axis.axes, beside))
    size = small(axis.axes)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks: list[float] = []
    # From dense to sparse, at last some of the decades; over more than a decade in 1, 2, 5.
    kinds = _TICKS if high / low < _DECADE else _TICKS[2:]
    for steps, stride in [*((s, 1) for s in kinds), *((_TICKS[-1], n) for n in range(2, 9))]:
        ticks = [s * 10.0**d for d in decades if d % stride == 0 for s in steps]
        ticks = [t for t in ticks if low * 0.999 <= t <= high * 1.001]
        gaps = np.diff(np.log(ticks)) / np.log(high / low) * points
        if axis.axis_name == "x":
            lengths = np.array([0.6 * size * len(plain_number(t)) for t in ticks])
            needed = 0.5 * (lengths[1:] + lengths[:-1]) + _GAP
        else:
            needed = np.full(len(gaps), 1.5 * size)
        if len(ticks) <= 10 and (gaps >= needed).all():
            break
    return ticks


def plain_number(value: float, digits: int = 4) -> str:
    """Return a number as a reader would write it: 6k, 400k, 1.5M, 0.16."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.{digits}g}{letter}"
    return f"{value:.3g}"


def exact_number(value: float) -> str:
    """Return a level of a log without rounding: 6k, 1,024, 0.16."""
    short = plain_number(value, 3)
    scale = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}.get(short[-1], 1.0)
    if np.isclose(float(short.rstrip("kMBT")) * scale, value, rtol=1e-12, atol=0.0):
        return short
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.10g}"


def text_of(words: Any) -> str:
    """Return text in which no dollar starts mathematics."""
    return str(words).replace("$", r"\$")


def room_of(ax: Any, beside: float = 0.0) -> float:
    """Width in points that axes will about have; `beside` is what wide labels take of it."""
    return max(_width(ax) / _INSIDE - beside - _GAP, _GAP) if beside else _width(ax)


def wrapped(words: Any, room: float, size: float) -> str:
    """Return words in as many lines as a room of some points needs at a size of text."""
    return fill(str(words), max(8, int(room / (_WIDE_LETTER * size))))


def tidy(ax: Any) -> None:
    """Take away what carries no data."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(True, axis="y", linewidth=0.5, alpha=0.4)
    ax.set_axisbelow(True)


def finish(ax: Any, x: str = "", y: str = "") -> None:
    """Label the axes, set text to the size of the figure, and `tidy`."""
    size = small(ax)
    ax.set_xlabel(text_of(x), fontsize=size + 1.0)
    ax.set_ylabel(text_of(y), fontsize=size + 1.0)
    ax.tick_params(labelsize=size)
    tidy(ax)


def legend_above(
    ax: Any, handles: Sequence[Any], title: str = "", beside: float = 0.0, room: float = 0.0
) -> float:
    """Put a legend over the axes, where it covers no data, in as many columns as fit.

    It begins `beside` points left of the axes, over wide labels of rows, and has a `room` of its
    own where that of the axes is not known yet, as beside a colour bar. Returns its height in
    points, for what is to stand above it.
    """
    from matplotlib.transforms import ScaledTranslation

    if not handles and not title:
        return 0.0
    size, room = small(ax), room or _width(ax)
    # A label that is wider than the axes would take the room of the data.
    labels = [_lines_of(h.get_label(), room - _HANDLE * size, size) for h in handles]
    title = _lines_of(text_of(title), room, size)
    columns = _columns([max(map(len, label.split("\n"))) for label in labels], size, room)
    shift = ScaledTranslation(-beside / 72.0, 0.0, ax.get_figure(root=True).dpi_scale_trans)
    ax.legend(handles=handles, labels=labels or None, frameon=False, fontsize=size,
              loc="lower left", bbox_to_anchor=(-0.02, 1.0), bbox_transform=ax.transAxes + shift,
              ncols=columns, borderaxespad=0.2, title=title or None, title_fontsize=size,
              alignment="left", handlelength=2.6, columnspacing=1.2, labelspacing=0.35)  # fmt: skip
    rows = -(-len(handles) // columns) if handles else 0
    more = sum(label.count("\n") for label in labels)
    return _LINE * size * (rows + more + (title.count("\n") + 1 if title else 0))


def _lines_of(text: str, room: float, size: float) -> str:
    """Break text whose dollars are marked, so that none is parted from its mark."""
    return text_of(wrapped(text.replace(r"\$", "$"), room, size))


def legend_over(figure: Any, handles: Sequence[Any], title: str = "") -> None:
    """Put one legend over all panels of a figure."""
    wide, _ = _inches(figure)
    size = 8.0 if wide >= _NARROW else 6.5
    columns = _columns([len(h.get_label()) for h in handles], size, 0.95 * 72.0 * wide)
    figure.legend(handles=handles, frameon=False, fontsize=size, loc="outside upper left",
                  ncols=columns, title=text_of(title) or None, title_fontsize=size,
                  alignment="left", handlelength=2.6, columnspacing=1.2,
                  labelspacing=0.35)  # fmt: skip


def _width(ax: Any) -> float:
    """Width in points that axes will about have after their layout."""
    whole = 72.0 * _inches(ax.get_figure())[0]
    spec = ax.get_subplotspec()
    if spec is None:
        return whole * ax.get_position().width
    ratios = np.asarray(spec.get_gridspec().get_width_ratios(), float)
    own = ratios[spec.colspan.start : spec.colspan.stop].sum() / ratios.sum()
    return whole * float(own) * _INSIDE


def _columns(lengths: Sequence[int], size: float, width: float) -> int:
    """Return the most columns of a legend that fit; entries fill one column after the other."""
    for columns in range(min(len(lengths), _MOST_COLUMNS), 1, -1):
        rows = -(-len(lengths) // columns)
        longest = [max(lengths[i : i + rows]) for i in range(0, len(lengths), rows)]
        if sum(size * (_HANDLE + _LETTER * one) for one in longest) <= width:
            return len(longest)
    return 1


def margin_label(ax: Any, y: float, words: str, colour: str = GREY) -> None:
    """Write beside the right end of the axes, at a height in data units."""
    ax.annotate(text_of(words), (1.0, y), xycoords=("axes fraction", "data"), xytext=(3, 0),
                textcoords="offset points", ha="left", va="center", fontsize=small(ax),
                color=colour, annotation_clip=False)  # fmt: skip


def save_figure(ax: Any, path: str | Path) -> None:
    """Write the figure, or the one that holds the Axes; the suffix names the format."""
    figure = ax.get_figure(root=True) if hasattr(ax, "get_figure") else ax
    figure.savefig(path, dpi=160)
