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
# Kinds of interval are drawn so far apart in nominal coverage that they do not hide each other.
_APART = 0.006


def coverage(tables: Mapping[float, pd.DataFrame], ax: Any = None) -> Any:
    """Draw actual against nominal coverage: mean over points (marker) and their range (bar).

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
    _diagonal(ax, whole)
    kinds = list(dict.fromkeys(whole["interval"]))
    handles: list[Any] = []
    for i, kind in enumerate(kinds):
        mine = whole["interval"] == kind
        part = pd.Series(whole.loc[mine, "coverage"]).groupby(whole.loc[mine, "level"])
        at = np.array(levels) + _APART * (i - 0.5 * (len(kinds) - 1))
        colour = COLOURS[i % len(COLOURS)]
        ax.vlines(at, part.min(), part.max(), color=colour, linewidth=1.1, zorder=3)
        handles += ax.plot(
            at, part.mean(), color=colour, linewidth=0.8, marker=MARKERS[i % len(MARKERS)],
            markersize=4.5, markeredgecolor="white", markeredgewidth=0.5, zorder=4,
            label=text_of(_KINDS.get(kind, kind)),
        )  # fmt: skip
    refused = float(whole["refused"].max())
    finish(ax, "nominal coverage", "actual coverage")
    legend_above(ax, handles, f"refused: {100 * refused:.2g} % of logs" if refused else "")
    return ax


def _diagonal(ax: Any, whole: pd.DataFrame) -> None:
    low = max(0.0, float(whole["level"].min()) - 0.06)
    at = np.linspace(low, 1.0, 60)
    inside, se = (whole[c].to_numpy(dtype=float) for c in ("coverage", "coverage_se"))
    known = se > 0
    ax.plot(at, at, color=GREY, linewidth=0.9)
    if known.any():
        logs = float(np.median(inside[known] * (1.0 - inside[known]) / se[known] ** 2))
        noise = _NOISE * np.sqrt(at * (1.0 - at) / logs)
        ax.fill_between(at, at - noise, np.minimum(at + noise, 1.0), color=GREY, alpha=0.18,
                        linewidth=0)  # fmt: skip
    ax.set_xlim(low, 1.0)
