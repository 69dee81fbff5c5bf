"""Exponents and learning curves of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.plot.parts import axis_words
from scaling_laws.plot.rows import axes_of_rows, ends_take, name_ends, name_rows, named_every
from scaling_laws.plot.style import (
    COLOURS,
    GREY,
    axes_of,
    finish,
    legend_above,
    plain_log_axis,
    room_of,
    small,
    wrapped,
)

if TYPE_CHECKING:
    from scaling_laws.classes import ClassFits

__all__ = ["plot_curves", "plot_exponents"]

_POINTS = 120
# Grey of what a class says alone.
_ALONE = "#888888"


def plot_exponents(found: ClassFits, ax: Any = None) -> Any:
    """Draw a line a class: its exponent from its own runs (grey) and pooled (blue).

    An open marker is an exponent to which the runs set no end, an arrow one beyond the axes; the
    band is mean and spread over classes. The class with most test items is on top.
    """
    frame = found.frame
    ax = axes_of_rows(ax, len(frame))
    at = np.arange(len(frame), dtype=float)[::-1]
    pooled = found.pooled
    shades = [
        ax.axvspan(pooled.mean - pooled.spread, pooled.mean + pooled.spread, color="#000000",
                   alpha=0.08, linewidth=0, label="± spread"),
        ax.axvline(pooled.mean, color=GREY, linewidth=0.8, label="mean over classes"),
    ]  # fmt: skip
    spans = frame[["low", "high"]].to_numpy(dtype=float)
    limits = _limits(spans, pooled.mean)
    ax.set_xlim(*limits)
    raw, se = (frame[c].to_numpy(dtype=float) for c in ("raw", "raw_se"))
    handles = _alone(ax, at - 0.15, raw, se, limits)
    ends = np.abs(spans.T - frame["pooled"].to_numpy(dtype=float))
    handles.append(ax.errorbar(frame["pooled"], at + 0.15, xerr=ends, fmt="o", color=COLOURS[0],
                               markersize=4.5, elinewidth=1.2, label="pooled, 90 %"))  # fmt: skip
    beside, every = name_rows(ax, at, list(frame.index), 3), named_every(ax, at, 3)
    words = f"{found.name}: {found.law.params[found.name].meaning}"
    finish(ax, wrapped(words, room_of(ax, beside), small(ax) + 1.0))
    ax.grid(False, axis="y")
    ax.grid(True, axis="x", linewidth=0.5, alpha=0.4)
    title = f"one class in {every} is named" if every > 1 else ""
    legend_above(ax, [*handles, *shades[::-1]], title, beside)
    return ax


def _limits(spans: Any, mean: float) -> tuple[float, float]:
    """Return the ends of the axis: half a range of the pooled intervals around them."""
    known = spans[np.isfinite(spans)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (mean, mean)
    pad = 0.5 * (high - low) if high > low else 0.5 * abs(mean) + 1e-3
    return max(low - pad, 0.0), high + pad


def _alone(ax: Any, at: Any, raw: Any, se: Any, limits: tuple[float, float]) -> list[Any]:
    """Draw each exponent from the class's own runs: with its error, without, or as an arrow."""
    inside = (raw >= limits[0]) & (raw <= limits[1])
    known = inside & np.isfinite(se)
    handles: list[Any] = []
    if known.any():
        one = ax.errorbar(raw[known], at[known], xerr=se[known], fmt="s", color=_ALONE,
                          markersize=3.5, elinewidth=0.8, label="alone, ± se")  # fmt: skip
        handles.append(one)
    kinds = [
        (inside & ~known, raw, "s", "alone, no end"),
        (raw > limits[1], np.full(len(raw), limits[1]), ">", "alone, beyond"),
        (raw < limits[0], np.full(len(raw), limits[0]), "<", "alone, below"),
    ]
    for mine, x, marker, words in kinds:
        if mine.any():
            face = "white" if marker == "s" else _ALONE
            handles += ax.plot(x[mine], at[mine], linestyle="none", marker=marker, markersize=4.0,
                               color=_ALONE, markerfacecolor=face, clip_on=False,
                               label=words)  # fmt: skip
    return handles


def plot_curves(found: ClassFits, ax: Any = None) -> Any:
    """Draw the curve of every class with one of its own, over the range of the data.

    Where test items are counted, the curve of a class with few of them is pale.

    Raises
    ------
    ValueError
        For a law of several axes.
    """
    names = [axis.name for axis in found.law.axis_list()]
    if len(names) != 1:
        raise ValueError(f"plot_curves: the law has {', '.join(names)}; plot the fit of a class.")
    ax = axes_of(ax)
    frame = found.frame
    x = np.asarray(found.data[names[0]], float)
    x = x[np.isfinite(x) & (x > 0)]
    grid = np.geomspace(float(x.min()), float(x.max()), _POINTS)
    rank = np.asarray(frame["items"].rank(pct=True), float)
    shades = dict(zip(frame.index, 0.25 + 0.75 * np.nan_to_num(rank, nan=1.0), strict=True))
    curves = found.predict({names[0]: grid}, interval=None)
    keys = [key for key in frame.index if key in found.fits]
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(keys))]
    ends: list[float] = []
    for key, colour in zip(keys, colours, strict=True):
        here = np.array([value == key for value in curves[found.by]], np.bool_)
        y = np.asarray(curves["estimate"], float)[here]
        ax.plot(grid, y, color=colour, alpha=shades[key], linewidth=1.3)
        ends.append(float(y[-1]))
    ax.set_xscale("log")
    plain_log_axis(ax.xaxis, float(grid[0]), float(grid[-1]), ends_take(ax, keys))
    ax.set_xlim(grid[0], grid[-1])
    ax.set_ylim(*ax.get_ylim())
    named = name_ends(ax, ends, keys, colours)
    finish(ax, axis_words(names[0]), found.metric.meaning or found.metric.name)
    title = [f"{named} of {len(keys)} classes named"] if named < len(keys) else []
    title += ["paler: fewer test items"] if np.isfinite(rank).any() else []
    legend_above(ax, [], "; ".join(title))
    return ax
