"""An exchange rate as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.plot.rows import shortened
from scaling_laws.plot.style import (
    COLOURS,
    GREY,
    axes_of,
    finish,
    legend_above,
    plain_log_axis,
    room_of,
    small,
    text_of,
    wrapped,
)

if TYPE_CHECKING:
    from scaling_laws.exchange import Exchange

__all__ = ["plot_exchange"]

# Ends of the axes around their values.
_ROOM = 2.0
# Share of the width of the axes that the name of what is exchanged may take.
_NAME = 0.4


def plot_exchange(found: Exchange, ax: Any = None) -> Any:
    """Draw n_A / n_B against n_B with its interval; an end that is open leaves the axes above.

    An open marker is an estimate beyond the runs of A; a triangle at the upper edge a size of B
    whose score A never reaches.
    """
    ax = axes_of(ax)
    frame = found.frame.sort_values("at")
    at, ratio, low, high = (
        frame[c].to_numpy(dtype=float) for c in ("at", "ratio", "ratio_low", "ratio_high")
    )
    drawn = np.concatenate([ratio, low, high])
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    least, most = (1.0, 1.0) if not len(drawn) else (float(drawn.min()), float(drawn.max()))
    least, most = least / _ROOM, most * _ROOM
    size, room = small(ax) + 1.0, 0.9 * room_of(ax)
    a, b = (shortened(name, int(_NAME * room / (0.55 * size))) for name in found.names)
    handles = _estimates(ax, at, ratio, (frame["support"] == "inside").to_numpy(), most, a)
    known = np.isfinite(low) & ~np.isnan(high)
    if known.any():
        handles += _interval(ax, at[known], np.clip([low[known], high[known]], least, most),
                             f"{100 * found.level:g} % interval")  # fmt: skip
    if least <= 1.0 <= most:
        handles.append(ax.axhline(1.0, color=GREY, linewidth=0.8, label="one for one"))
    ends = float(at.min()), float(at.max())
    # A single size is to have a number on either side.
    pad = max((ends[1] / ends[0]) ** 0.05, 1.0 if ends[1] > ends[0] else _ROOM)
    ax.set_xscale("log")
    ax.set_yscale("log")
    plain_log_axis(ax.xaxis, ends[0] / pad, ends[1] * pad)
    plain_log_axis(ax.yaxis, least, most)
    ax.set_xlim(ends[0] / pad, ends[1] * pad)
    ax.set_ylim(least, most)
    height = 72.0 / ax.get_figure(root=True).dpi * ax.get_window_extent().height
    finish(ax, wrapped(f"{found.axis} of {b}", room, size),
           wrapped(f"{found.axis} of {a} for each of {b}", height, size))  # fmt: skip
    legend_above(ax, handles)
    return ax


def _estimates(ax: Any, at: Any, ratio: Any, inside: Any, most: float, a: str) -> list[Any]:
    """Draw estimates, open beyond the runs of A, and at the upper edge what A never reaches."""
    finite = np.isfinite(ratio) & (ratio > 0)
    ax.plot(at, np.where(finite, ratio, np.nan), color=COLOURS[0], linewidth=1.5)
    handles: list[Any] = []
    for mine, face, words in (
        (finite & inside, COLOURS[0], "estimate"),
        (finite & ~inside, "white", text_of(f"beyond the runs of {a}")),
    ):
        if mine.any():
            handles += ax.plot(at[mine], ratio[mine], linestyle="none", marker="o", markersize=5,
                               color=COLOURS[0], markerfacecolor=face, zorder=3,
                               label=words)  # fmt: skip
    never = ratio == np.inf
    if never.any():
        handles += ax.plot(at[never], np.full(int(never.sum()), most), linestyle="none",
                           marker="^", color=COLOURS[1], clip_on=False, zorder=3,
                           label="never reached")  # fmt: skip
    return handles


def _interval(ax: Any, at: Any, ends: Any, words: str) -> list[Any]:
    """Draw a band, and bars, which also show an interval between two that are missing."""
    ax.vlines(at, *ends, color=COLOURS[0], linewidth=1.0)
    return [ax.fill_between(at, *ends, color=COLOURS[0], alpha=0.2, linewidth=0, label=words)]
