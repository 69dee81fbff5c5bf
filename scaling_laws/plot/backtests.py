"""A backtest as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.plot.rows import axes_of_rows, name_rows, named_every
from scaling_laws.plot.style import (
    COLOURS,
    GREY,
    MARKERS,
    finish,
    legend_above,
    plain_log_axis,
    room_of,
    small,
    text_of,
    wrapped,
)

if TYPE_CHECKING:
    from scaling_laws.backtesting import Backtest

__all__ = ["plot_backtest"]

# Ends of the axis around its values.
_ROOM = 1.3
_INSIDE = "100 % inside"


def plot_backtest(found: Backtest, ax: Any = None) -> Any:
    """Draw the median error of each method (marker), its 10-90 % range over curves, its mean (|).

    The share of held-out scores inside the intervals stands at the right of each line. Colour and
    marker tell the log. An error of 0 lies at the left edge.
    """
    logs = [log for log, _ in found.frame.groupby(level="log", sort=False)]
    ax = axes_of_rows(ax, len(found.frame) + 2 * len(logs))
    error = found.curves.groupby(["log", "method"], sort=False)["error"]
    table = found.frame.assign(low=error.quantile(0.1))
    ends = _ends(table[["low", "median", "mean", "90 %"]].to_numpy(dtype=float))
    handles: list[Any] = []
    rows: list[float] = []
    for i, log in enumerate(logs):
        part = table.xs(log, level="log")
        # A gap between two logs.
        at = len(rows) + i + np.arange(len(part), dtype=float)
        rows += at.tolist()
        low, high, mean, median = (
            np.maximum(part[c].to_numpy(dtype=float), ends[0])
            for c in ("low", "90 %", "mean", "median")
        )
        # Once through the colours the markers move on by one: no log looks like another one.
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]
        ax.hlines(at, low, high, color=colour, linewidth=1.2, alpha=0.7)
        ax.plot(mean, at, linestyle="none", marker="|", markersize=9, color=colour)
        handles += ax.plot(median, at, linestyle="none", marker=marker,
                           color=colour, markersize=5,
                           label=text_of(f"{log} ({part['scale'].iloc[0]})"))  # fmt: skip
    # The title has two lines on a narrow figure.
    lines = len(logs) + 2
    every = named_every(ax, rows, lines)
    _coverage(ax, rows[::every], table["coverage"].to_numpy(dtype=float)[::every])
    beside = name_rows(ax, rows, table.index.get_level_values("method").to_list(), lines)
    inside = 0.0 if table["coverage"].isna().all() else 0.6 * small(ax) * len(_INSIDE)
    ax.set_xscale("log")
    plain_log_axis(ax.xaxis, *ends, beside + inside)
    ax.set_xlim(*ends)
    words = f"error on the hardest {found.leave} levels, held out"
    finish(ax, wrapped(words, room_of(ax, beside + inside), small(ax) + 1.0))
    legend_above(ax, handles, _title(found.level, bool(inside)), beside)
    ax.grid(False, axis="y")
    ax.grid(True, axis="x", linewidth=0.5, alpha=0.4)
    return ax


def _title(level: float, inside: bool) -> str:
    words = "over curves: median (marker), mean (|), 10 to 90 % (line)"
    return words + (f"; share inside the {100 * level:g} % intervals" if inside else "")


def _ends(values: Any) -> tuple[float, float]:
    """Return the ends of the axis, also where errors are 0 or there is none."""
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return 0.1, 10.0
    return float(values.min()) / _ROOM, float(values.max()) * _ROOM


def _coverage(ax: Any, at: Any, shares: Any) -> None:
    for y, share in zip(at, shares, strict=True):
        words = "" if np.isnan(share) else f"{100 * share:.0f} % inside"
        ax.annotate(words, (1.01, y), xycoords=("axes fraction", "data"), va="center",
                    fontsize=small(ax), color=GREY, annotation_clip=False)  # fmt: skip
