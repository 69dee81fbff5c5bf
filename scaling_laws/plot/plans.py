"""Fronts and candidate runs as figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scaling_laws.plot.parts import level_text
from scaling_laws.plot.style import COLOURS, axes_of, plain_log_axis, tidy

if TYPE_CHECKING:
    from scaling_laws.decide.frontier import Frontier
    from scaling_laws.decide.proposals import Proposal

__all__ = ["plot_next_runs", "plot_pareto"]

_GREY = "#999999"
# Candidates that a marker can still show one by one; of more, evenly spaced ones are drawn.
_MOST = 4000
# Candidates on the front with at least this probability carry their interval.
_LIKELY = 0.5
# Candidates that are named in a figure.
_NAMED = 6


def _words(text: Any) -> str:
    return str(text).replace("$", r"\$")


def plot_next_runs(found: Proposal, ax: Any = None) -> Any:
    """Draw the share of variance that each candidate removes alone against its cost.

    The chosen ones are numbered in their order.
    """
    ax = axes_of(ax)
    frame = found.frame
    chosen = frame[frame["runs"] > 0]
    others = frame[frame["runs"] == 0]
    others = others.iloc[np.linspace(0, len(others) - 1, min(len(others), _MOST)).astype(int)]
    ax.plot(others["cost"], others["reduction"], linestyle="", marker=".", color=_GREY,
            alpha=0.5, clip_on=False, label="not chosen")  # fmt: skip
    ax.plot(chosen["cost"], chosen["reduction"], linestyle="", marker="o", color=COLOURS[1],
            clip_on=False, zorder=3, label="chosen, in order")  # fmt: skip
    for place, (_, row) in enumerate(chosen.sort_values("cost").iterrows()):
        ax.annotate(f"{int(row['order'])}", (row["cost"], row["reduction"]),
                    xytext=(4, 5 if place % 2 else -11), textcoords="offset points",
                    fontsize="small", color=COLOURS[1])  # fmt: skip
    costs = frame["cost"].to_numpy(dtype=float)
    low, high = float(costs.min()), float(costs.max())
    if high > low * 1.5:
        ax.set_xscale("log")
        plain_log_axis(ax.xaxis, low, high * 1.001)
    ax.set_ylim(0.0, 1.12 * max(float(frame["reduction"].max()), 1e-9))
    ax.set_xlabel("cost of the run")
    ax.set_ylabel("share of the answer's variance removed")
    left = float(found.values["variance_left"])
    ax.set_title(f"{int(found.values['runs'])} runs leave {100 * left:.2g} % of the variance",
                 loc="left", fontsize="medium")  # fmt: skip
    ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0.0, 1.06), ncol=2)
    tidy(ax)
    return ax


def plot_pareto(found: Frontier, ax: Any = None) -> Any:
    """Draw the first score against the first cost; the darker, the likelier on the front."""
    ax = axes_of(ax)
    x, y = found.costs[0], found.scores[0]
    frame = found.frame.sort_values("probability")
    frame = frame.iloc[np.linspace(0, len(frame) - 1, min(len(frame), _MOST)).astype(int)]
    at, value = frame[x].to_numpy(dtype=float), frame[y].to_numpy(dtype=float)
    sure = frame["probability"].to_numpy(dtype=float)
    likely = sure >= _LIKELY
    ax.vlines(at[likely], frame[f"{y}_low"][likely], frame[f"{y}_high"][likely], color=COLOURS[0],
              alpha=0.4, linewidth=1.0)  # fmt: skip
    drawn = ax.scatter(at, value, c=sure, cmap="Blues", vmin=-0.25, vmax=1.0, s=22,
                       edgecolors="#666666", linewidths=0.4, zorder=3)  # fmt: skip
    bar = ax.get_figure(root=True).colorbar(drawn, ax=ax, fraction=0.05, pad=0.02)
    bar.ax.set_ylim(0.0, 1.0)
    # Its colours as shapes: a picture inside an SVG is another file to a browser.
    bar.solids.set_rasterized(False)
    bar.solids.set_edgecolor("face")
    bar.set_label("probability of being on the front")
    if len(found.scores) == len(found.costs) == 1:
        # A front in more than these two is no line among them.
        order = np.argsort(at[likely])
        ax.plot(at[likely][order], value[likely][order], color=COLOURS[0], linewidth=0.9)
    _name(ax, found, frame[frame["probability"] >= _LIKELY], at[likely], value[likely])
    if (at > 0).all() and at.max() > 3.0 * at.min():
        ax.set_xscale("log")
        plain_log_axis(ax.xaxis, float(at.min()), float(at.max()) * 1.001)
    ax.set_xlabel(_words(x))
    ax.set_ylabel(_words(y))
    tidy(ax)
    return ax


def _listed(name: str, value: Any) -> str:
    """Return a level that stands in a list, a number of it without commas."""
    return value if isinstance(value, str) else level_text(name, value).replace(",", "")


def _name(ax: Any, found: Frontier, likely: pd.DataFrame, at: Any, value: Any) -> None:
    """Name some of the likely ones, evenly spaced along the cost, by what sets them apart."""
    axes = [a for a in found.axes if likely[a].nunique() > 1]
    order = np.argsort(at)
    some = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), _NAMED)).astype(int))]
    for place in some.tolist():
        row = {a: likely[a].iloc[place] for a in axes}
        words = ", ".join(_listed(a, value) for a, value in row.items())
        # Below and right of a rising front there is room; it takes none from the axes.
        last = place == order[-1]
        named = ax.annotate(_words(words), (at[place], value[place]), fontsize="x-small",
                            xytext=(-8, 3) if last else (6, -10), ha="right" if last else "left",
                            textcoords="offset points")  # fmt: skip
        named.set_in_layout(False)
    if axes and len(some):
        ax.set_title(f"named by {', '.join(axes)}", loc="left", fontsize="small", color="#555555")
