"""What intervals claim against what they hold, in simulated logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.plot.style import (
    COLOURS,
    GREY,
    MARKERS,
    axes_of,
    finish,
    legend_above,
    text_of,
)

__all__ = ["coverage"]

_KINDS = {"mean": "the curve", "run": "a new run", "score": "a new score"}
# Sides of a 90 % interval of a share, in standard errors.
_NOISE = 1.645
# Kinds of interval stand so far apart, in ranges of the axis, that they do not hide each other.
_APART = 0.022
# Room below the lowest level.
_BELOW = 0.06


def coverage(tables: Mapping[float, pd.DataFrame], ax: Any = None) -> Any:
    """Draw actual against nominal coverage: mean over points (marker) and their range (bar).

    Kinds of interval stand beside each other at each level; the short line across them is what
    they claim there.

    Parameters
    ----------
    tables : mapping of float to DataFrame
        Level -> the table of `scaling_laws.coverage` at that level.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is no table, or a level is not in (0, 1).

    Notes
    -----
    Intervals that hold what they claim lie on the diagonal. The band is the simulation noise, 90 %,
    of one point that lies on it, with as many simulated logs as the tables have.
    """
    levels = sorted(tables)
    if not levels or not all(0.0 < level < 1.0 for level in levels):
        raise ValueError(f"tables: levels {levels}; give a table for each of some in (0, 1).")
    ax = axes_of(ax)
    whole = pd.concat([tables[level].assign(level=level) for level in levels], ignore_index=True)
    bands = _diagonal(ax, whole)
    kinds = list(dict.fromkeys(whole["interval"]))
    low, high = ax.get_xlim()
    gap = _APART * (high - low)
    handles: list[Any] = []
    for i, kind in enumerate(kinds):
        mine = whole["interval"] == kind
        part = pd.Series(whole.loc[mine, "coverage"]).groupby(whole.loc[mine, "level"])
        at = np.array(levels) + gap * (i - 0.5 * (len(kinds) - 1))
        colour = COLOURS[i % len(COLOURS)]
        ax.vlines(at, part.min(), part.max(), color=colour, linewidth=1.1, zorder=3)
        handles += ax.plot(
            at, part.mean(), color=colour, linestyle="none", marker=MARKERS[i % len(MARKERS)],
            markersize=4.5, markeredgecolor="white", markeredgewidth=0.5, zorder=4,
            label=text_of(_KINDS.get(kind, kind)),
        )  # fmt: skip
    reach = 0.5 * gap * (len(kinds) + 1)
    ax.hlines(levels, np.array(levels) - reach, np.array(levels) + reach, color=GREY, linewidth=0.9)
    refused = float(whole["refused"].max())
    finish(ax, "nominal coverage", "actual coverage")
    title = ["mean and range over points"]
    title += [f"refused: {100 * refused:.3g} % of logs"] if refused else []
    legend_above(ax, [*handles, *bands], "; ".join(title))
    return ax


def _diagonal(ax: Any, whole: pd.DataFrame) -> list[Any]:
    """Draw what is claimed, and the noise of the simulation about it; return what they are."""
    low = max(0.0, float(whole["level"].min()) - _BELOW)
    at = np.linspace(low, 1.0, 60)
    inside, se = (whole[c].to_numpy(dtype=float) for c in ("coverage", "coverage_se"))
    known = se > 0
    handles = ax.plot(at, at, color=GREY, linewidth=0.9, label="as claimed")
    if known.any():
        logs = float(np.median(inside[known] * (1.0 - inside[known]) / se[known] ** 2))
        noise = _NOISE * np.sqrt(at * (1.0 - at) / logs)
        handles.append(ax.fill_between(at, at - noise, np.minimum(at + noise, 1.0), color=GREY,
                                       alpha=0.18, linewidth=0, label="noise, 90 %"))  # fmt: skip
    ax.set_xlim(low, 1.0)
    return handles
