"""A recipe as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.plot.rows import name_rows
from scaling_laws.plot.style import (
    COLOURS,
    GREY,
    axes_of,
    finish,
    plain_log_axis,
    room_of,
    small,
    wrapped,
)

if TYPE_CHECKING:
    from scaling_laws.recipes import Recipe

__all__ = ["plot_recipe"]

# Ends of the axis around its values.
_ROOM = 2.0


def plot_recipe(recipe: Recipe, ax: Any = None) -> Any:
    """Draw the tokens per parameter that each step asks for, first step on top.

    A step whose constants have no compute optimum is named without a marker.
    """
    ax = axes_of(ax)
    ratio = recipe.frame["tokens_per_parameter"].to_numpy(dtype=float)
    at = np.arange(len(ratio))
    known = np.isfinite(ratio) & (ratio > 0)
    low, high = (ratio[known].min(), ratio[known].max()) if known.any() else (1.0, 1.0)
    low, high = float(low) / _ROOM, float(high) * _ROOM
    ax.hlines(at[known], low, ratio[known], color=COLOURS[0], linewidth=0.8, alpha=0.5)
    ax.plot(ratio[known], at[known], marker="o", color=COLOURS[0], linestyle="none")
    for value, y in zip(ratio[known], at[known], strict=True):
        ax.annotate(f"{value:.3g}", (value, y), xytext=(6, 0), textcoords="offset points",
                    fontsize=small(ax), va="center")  # fmt: skip
    for y in at[~known]:
        ax.annotate("no optimum", (0.0, y), xycoords=("axes fraction", "data"), xytext=(4, 0),
                    textcoords="offset points", fontsize=small(ax), va="center",
                    color=GREY)  # fmt: skip
    beside = name_rows(ax, at, list(recipe.frame.index))
    ax.set_xscale("log")
    plain_log_axis(ax.xaxis, low, high, beside)
    ax.set_xlim(low, high)
    flops = f"{recipe.flops:.3g}".replace("e+", "e")
    words = f"tokens per parameter of the compute optimum at {flops} FLOP"
    finish(ax, wrapped(words, room_of(ax, beside), small(ax) + 1.0))
    ax.grid(False, axis="y")
    ax.grid(True, axis="x", linewidth=0.5, alpha=0.4)
    return ax
