"""A recipe as a figure."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.plot.style import COLOURS, axes_of, plain_log_axis, tidy

if TYPE_CHECKING:
    from scaling_laws.recipes import Recipe

__all__ = ["plot_recipe"]

# Columns of a step's words before they are wrapped.
_LABEL = 26


def plot_recipe(recipe: Recipe, ax: Any = None) -> Any:
    """Draw the tokens per parameter that each step asks for, first step on top."""
    ax = axes_of(ax)
    ratio = recipe.frame["tokens_per_parameter"].to_numpy(dtype=float)
    at = np.arange(len(ratio))
    ax.hlines(at, ratio.min(), ratio, color=COLOURS[0], linewidth=0.8, alpha=0.5)
    ax.plot(ratio, at, marker="o", color=COLOURS[0], linestyle="none")
    for value, y in zip(ratio, at, strict=True):
        ax.annotate(f"{value:.1f}", (value, y), xytext=(6, 4), textcoords="offset points",
                    fontsize="small")  # fmt: skip
    ax.set_yticks(at, [fill(str(step), _LABEL) for step in recipe.frame.index])
    ax.invert_yaxis()
    low, high = float(ratio.min()) / 2.0, float(ratio.max()) * 2.0
    ax.set_xscale("log")
    plain_log_axis(ax.xaxis, low, high)
    ax.set_xlim(low, high)
    ax.set_xlabel(f"tokens per parameter at {recipe.flops:.3g} FLOP")
    tidy(ax)
    return ax
