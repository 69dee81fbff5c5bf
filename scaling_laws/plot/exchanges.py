"""An exchange rate as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.plot.style import COLOURS, axes_of, plain_log_axis, tidy

if TYPE_CHECKING:
    from scaling_laws.exchange import Exchange

__all__ = ["plot_exchange"]


def plot_exchange(found: Exchange, ax: Any = None) -> Any:
    """Draw n_A / n_B against n_B with its interval; an end that is open leaves the axes above."""
    ax = axes_of(ax)
    frame = found.frame.sort_values("at")
    at = frame["at"].to_numpy(dtype=float)
    ratio, low, high = (
        frame[c].to_numpy(dtype=float) for c in ("ratio", "ratio_low", "ratio_high")
    )
    drawn = np.concatenate([ratio, low, high])
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    least, most = (drawn.min() / 2.0, drawn.max() * 2.0) if len(drawn) else (0.1, 10.0)
    ax.fill_between(at, np.clip(low, least, most), np.clip(high, least, most), color=COLOURS[0],
                    alpha=0.2, linewidth=0, label=f"{100 * found.level:g} % interval")  # fmt: skip
    shown = np.where(np.isfinite(ratio), ratio, np.nan)
    ax.plot(at, shown, marker="o", color=COLOURS[0])
    ax.axhline(1.0, color="#777777", linewidth=0.8)
    ax.set_xscale("log")
    ax.set_yscale("log")
    plain_log_axis(ax.xaxis, float(at.min()), float(at.max()) * 1.001)
    plain_log_axis(ax.yaxis, float(least), float(most))
    ax.set_ylim(least, most)
    a, b = (name.replace("$", r"\$") for name in found.names)
    ax.set_xlabel(f"{found.axis} of {b}")
    ax.set_ylabel(f"{found.axis} of {a} for each of {b}")
    ax.legend(frameon=False, fontsize="small")
    tidy(ax)
    return ax
