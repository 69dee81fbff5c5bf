"""Runs that a fit had not seen: predicted against observed, and what one would do without a law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scaling_laws.plot.parts import axis_words, level_text, level_words, main, score_words
from scaling_laws.plot.style import (
    COLOURS,
    GREY,
    axes_of,
    figure_of,
    finish,
    is_wide,
    legend_above,
    margin_label,
    text_of,
)

if TYPE_CHECKING:
    from scaling_laws.validation import Holdout

__all__ = ["baselines", "holdout", "plot_holdout"]


def holdout(held: Holdout, figure: Any = None) -> Any:
    """Draw predicted against observed, and the errors of the baselines.

    Returns
    -------
    Figure
        Of two Axes, because errors are no scores: `plot_holdout` and `baselines`; side by side on a
        wide figure.
    """
    figure = figure_of(figure)
    if is_wide(figure):
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
    else:
        left, right = figure.subplots(2, 1, height_ratios=(1.7, 1.0))
    plot_holdout(held, left)
    baselines(held, right)
    return figure


def plot_holdout(held: Holdout, ax: Any = None) -> Any:
    """Draw predicted against observed for the held-out rows, with their intervals.

    Returns
    -------
    Axes
    """
    ax = axes_of(ax)
    frame = held.frame
    observed = frame["observed"].to_numpy(dtype=float)
    guess = frame["estimate"].to_numpy(dtype=float)
    inside = frame["covered"].to_numpy(dtype=bool)
    share = f"{100 * held.level:g} % interval"
    handles: list[Any] = []
    for chosen, colour, marker, words in (
        (inside, COLOURS[0], "o", f"in the {share}"), (~inside, COLOURS[1], "D", "outside"),
    ):  # fmt: skip
        if not chosen.any():
            continue
        low, high = (frame.loc[chosen, end].to_numpy(dtype=float) for end in ("low", "high"))
        if np.isfinite(low).all():
            ax.vlines(observed[chosen], low, high, color=colour, linewidth=0.9, alpha=0.7)
        handles += ax.plot(
            observed[chosen], guess[chosen], linestyle="none", marker=marker, markersize=4.5,
            color=colour, markeredgecolor="white", markeredgewidth=0.5, zorder=3,
            label=f"{words} ({int(chosen.sum())} of {len(frame)})",
        )  # fmt: skip
    ends = [min(observed.min(), guess.min()), max(observed.max(), guess.max())]
    ax.plot(ends, ends, color=GREY, linewidth=0.9, zorder=1)
    words = score_words(main(held.fitted))
    finish(ax, f"observed {words}", "predicted from the easier runs")
    ax.grid(True, axis="both", linewidth=0.5, alpha=0.4)
    legend_above(ax, handles, f"held out: {_range(frame, held.by)}")
    return ax


def _range(frame: pd.DataFrame, by: str) -> str:
    values = frame[by].to_numpy(dtype=float)
    low, high = float(values.min()), float(values.max())
    if low == high:
        return level_words(by, low)
    return f"{axis_words(by)} {level_text(by, low)} to {level_text(by, high)}"


def baselines(held: Holdout, ax: Any = None) -> Any:
    """Draw the mean error of the law, and of what one would do without it.

    In percent of the scores, or in points where one of them is 0.

    Returns
    -------
    Axes
    """
    ax = axes_of(ax)
    errors = {str(k): float(v) for k, v in held.errors.items()}
    at = np.arange(len(errors))
    unit, factor = (" %", 100.0) if held.relative else ("", 1.0)
    values = factor * np.array(list(errors.values()))
    colours = [COLOURS[0], *[GREY] * (len(errors) - 1)]
    ax.barh(at, values, height=0.6, color=colours, alpha=0.85)
    for y, value in zip(at, values, strict=True):
        margin_label(ax, float(y), f"{value:.3g}{unit}")
    ax.set_yticks(at, [text_of(words) for words in errors])
    ax.invert_yaxis()
    ax.set_xlim(0.0, 1.02 * float(values.max()))
    finish(
        ax, "mean |predicted / observed - 1|, %" if held.relative else "mean |predicted - observed|"
    )
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")
    ax.grid(True, axis="x", linewidth=0.5, alpha=0.4)
    return ax
