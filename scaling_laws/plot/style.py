"""What all figures share: colours that colour-blind readers can tell apart, plain log axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["COLOURS", "MARKERS", "axes_of", "plain_log_axis", "save_figure", "tidy"]

# Okabe & Ito (2008), without the yellow that vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def axes_of(ax: Any) -> Any:
    """Return the caller's Axes, or those of a new figure of its own."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=(6.4, 4.2), layout="constrained").add_subplot()


def plain_log_axis(axis: Any, low: float, high: float) -> None:
    """Label a log axis with plain numbers: 6k, 400k, 1.5M."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    steps: tuple[float, ...] = (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
    if high / low < 12:
        steps = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [s * 10.0**d for d in decades for s in steps]
    axis.set_major_locator(FixedLocator([t for t in ticks if low * 0.999 <= t <= high * 1.001]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_plain))


def _plain(value: float, _position: int | None = None) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.3g}"


def tidy(ax: Any) -> None:
    """Take away what carries no data."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(True, axis="y", linewidth=0.5, alpha=0.4)
    ax.set_axisbelow(True)


def save_figure(ax: Any, path: str | Path) -> None:
    """Write the figure that holds the Axes; the suffix names the format."""
    ax.get_figure(root=True).savefig(path, dpi=160)
