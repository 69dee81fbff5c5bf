"""Exponents and learning curves of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.plot.style import COLOURS, axes_of, plain_log_axis, tidy

if TYPE_CHECKING:
    from scaling_laws.classes import ClassFits

__all__ = ["plot_curves", "plot_exponents"]

_POINTS = 120


def plot_exponents(found: ClassFits, ax: Any = None) -> Any:
    """Draw a line a class: its exponent from its own runs (grey) and pooled (blue).

    An exponent to which the runs set no end stands without a bar; the band is mean and spread over
    classes.
    """
    ax = axes_of(ax)
    frame = found.frame
    at = np.arange(len(frame))
    ax.axvspan(
        found.pooled.mean - found.pooled.spread, found.pooled.mean + found.pooled.spread,
        color="#000000", alpha=0.06, linewidth=0,
    )  # fmt: skip
    ax.axvline(found.pooled.mean, color="#777777", linewidth=0.8)
    for raw, se, y in zip(frame["raw"], frame["raw_se"], at, strict=True):
        bar = None if np.isnan(se) else se
        ax.errorbar(raw, y + 0.15, xerr=bar, fmt="s", color="#999999", markersize=3.5,
                    elinewidth=0.8, label="alone, ± se" if y == 0 else None)  # fmt: skip
    ends = np.abs(frame[["low", "high"]].to_numpy().T - frame["pooled"].to_numpy())
    ax.errorbar(frame["pooled"], at - 0.15, xerr=ends, fmt="o", color=COLOURS[0], markersize=4.5,
                elinewidth=1.2, label="pooled, 90 %")  # fmt: skip
    ax.set_yticks(at, [str(name).replace("$", r"\$") for name in frame.index], fontsize="x-small")
    spans = frame[["low", "high"]].to_numpy()
    low, high = float(np.nanmin(spans)), float(np.nanmax(spans))
    ax.set_xlim(max(low - 0.5 * (high - low), 0.0), high + 0.5 * (high - low))
    ax.set_xlabel(f"{found.name}: {found.law.params[found.name].meaning}")
    ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0.0, 1.0), ncol=2)
    tidy(ax)
    return ax


def plot_curves(found: ClassFits, ax: Any = None) -> Any:
    """Draw the curve of every class with one of its own, over the range of the data.

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
    for i, key in enumerate(k for k in frame.index if k in found.fits):
        here = np.array([value == key for value in curves[found.by]], np.bool_)
        y = np.asarray(curves["estimate"], float)[here]
        ax.plot(grid, y, color=COLOURS[i % len(COLOURS)], alpha=shades[key], linewidth=1.3)
        ax.annotate(str(key).replace("$", r"\$"), (grid[-1], float(y[-1])), xytext=(3, 0),
                    textcoords="offset points", fontsize="xx-small", va="center")  # fmt: skip
    ax.set_xscale("log")
    plain_log_axis(ax.xaxis, float(grid[0]), float(grid[-1]))
    ax.set_xlabel(names[0])
    ax.set_ylabel(found.metric.meaning or found.metric.name)
    tidy(ax)
    return ax
