"""A backtest as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.plot.style import COLOURS, MARKERS, axes_of, plain_log_axis, tidy

if TYPE_CHECKING:
    from scaling_laws.backtesting import Backtest

__all__ = ["plot_backtest"]


def plot_backtest(found: Backtest, ax: Any = None) -> Any:
    """Draw the median error of each method (marker), its 10-90 % range over curves, its mean (|).

    The share of held-out scores inside the intervals stands at the right of each line. Colour and
    marker tell the log.
    """
    ax = axes_of(ax)
    error = found.curves.groupby(["log", "method"], sort=False)["error"]
    low = error.quantile(0.1)
    labels: list[str] = []
    for i, (log, part) in enumerate(found.frame.groupby(level="log", sort=False)):
        at = len(labels) + i + np.arange(len(part), dtype=float)
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        words = f"{log} ({part['scale'].iloc[0]})".replace("$", r"\$")
        ax.hlines(at, low.loc[part.index], part["90 %"], color=colour, linewidth=1.2, alpha=0.7)
        ax.plot(part["mean"], at, linestyle="none", marker="|", markersize=9, color=colour)
        ax.plot(part["median"], at, linestyle="none", marker=marker, color=colour, label=words)
        for y, share in zip(at, part["coverage"], strict=True):
            words = "" if np.isnan(share) else f"{share:.0%} inside"
            ax.annotate(words, (1.01, y), xycoords=("axes fraction", "data"), va="center",
                        fontsize="x-small", color="#555555", annotation_clip=False)  # fmt: skip
        labels += part.index.get_level_values("method").to_list()
    count = found.frame.index.get_level_values("log").to_series(index=found.frame.index)
    gaps = count.ne(count.shift()).cumsum().to_numpy() - 1
    ax.set_yticks(np.arange(len(labels)) + gaps, labels)
    ax.invert_yaxis()
    ends = [float(low[low > 0].min()), float(found.frame["90 %"].max())]
    ax.set_xscale("log")
    plain_log_axis(ax.xaxis, ends[0] / 1.3, ends[1] * 1.3)
    ax.set_xlim(ends[0] / 1.3, ends[1] * 1.3)
    ax.set_xlabel(f"error on the hardest {found.leave} levels, held out")
    ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0.0, 1.0))
    tidy(ax)
    ax.grid(False, axis="y")
    ax.grid(True, axis="x", linewidth=0.5, alpha=0.4)
    return ax
