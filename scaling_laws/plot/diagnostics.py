"""What the residuals of a fit say: by chain, against the fitted score, against the normal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.plot.parts import main, score_words
from scaling_laws.plot.style import (
    COLOURS,
    GREY,
    axes_of,
    figure_of,
    finish,
    is_wide,
    legend_above,
    legend_over,
    level_looks,
    text_of,
)

if TYPE_CHECKING:
    from scaling_laws.forecast import Forecast
    from scaling_laws.result import Fit

__all__ = ["residuals", "residuals_against_fitted", "residuals_by_unit", "residuals_qq"]

Array = NDArray[np.float64]

_LEVEL = 0.9
_Z = "standardised residual"
# Names of more units, or longer ones, would cover each other or take the place of the residuals.
_NAMED, _LETTERS = 12, 8


def residuals(fitted: Fit | Forecast, figure: Any = None) -> Any:
    """Draw the standardised residuals three ways: by unit, against the fitted score, and QQ.

    Parameters
    ----------
    fitted : Fit or Forecast
        Of a forecast, the form with the largest weight.
    figure : Figure or SubFigure, optional
        Panels stand side by side on a wide one, else one below the other.

    Returns
    -------
    Figure
        Of three Axes: `residuals_by_unit`, `residuals_against_fitted`, `residuals_qq`.
    """
    figure = figure_of(figure)
    shape = (1, 3) if is_wide(figure) else (3, 1)
    axes = figure.subplots(*shape)
    residuals_by_unit(fitted, axes[0])
    residuals_against_fitted(fitted, axes[1])
    residuals_qq(fitted, axes[2])
    for ax in axes[:2]:
        ax.get_legend().remove()
    legend_over(figure, _handles(main(fitted)))
    return figure


def residuals_by_unit(fitted: Fit | Forecast, ax: Any = None) -> Any:
    """Draw the standardised residuals of each chain (else configuration), and their mean (bar).

    Units whose mean leaves the band, or whose residuals keep to one side, share an error.

    Returns
    -------
    Axes
    """
    ax = axes_of(ax)
    table, base = _table(fitted)
    _band(ax)
    units = list(dict.fromkeys(table["unit"]))
    place = np.array([units.index(unit) for unit in table["unit"]], float)
    _by_level(ax, base, place, table["z"].to_numpy(dtype=float), table["level"])
    means = table.groupby("unit", sort=False)["z"].mean().to_numpy(dtype=float)
    ax.hlines(means, np.arange(len(units)) - 0.4, np.arange(len(units)) + 0.4, color=GREY,
              linewidth=1.2, zorder=2)  # fmt: skip
    kind = base.problem.unit_kind
    names = _unit_names(base, table, units)
    upright = 90 if sum(map(len, names)) > 2 * _NAMED else 0
    ax.set_xticks(np.arange(len(names)), [text_of(n) for n in names], rotation=upright)
    ax.set_xlim(-0.8, len(units) - 0.2)
    finish(ax, kind if names else f"{len(units)} {kind}s, as in the log", _Z)
    legend_above(ax, _handles(base))
    return ax


def residuals_against_fitted(fitted: Fit | Forecast, ax: Any = None) -> Any:
    """Draw the standardised residuals against the fitted score.

    A bend is lack of fit; a funnel is noise that the weights do not know of.

    Returns
    -------
    Axes
    """
    ax = axes_of(ax)
    table, base = _table(fitted)
    _band(ax)
    at = table["mean"].to_numpy(dtype=float)
    _by_level(ax, base, at, table["z"].to_numpy(dtype=float), table["level"])
    finish(ax, f"fitted {score_words(base)}", _Z)
    legend_above(ax, _handles(base))
    return ax


def residuals_qq(fitted: Fit | Forecast, ax: Any = None) -> Any:
    """Draw the sorted standardised residuals against those of a normal sample.

    The band holds each point with a probability of 90 % if residuals are independent and normal
    (order statistics of the uniform are beta-distributed).

    Returns
    -------
    Axes
    """
    from scipy.special import betaincinv, ndtri

    ax = axes_of(ax)
    table, _ = _table(fitted)
    z = np.sort(table["z"].to_numpy(dtype=float))
    n = len(z)
    rank = np.arange(1.0, n + 1.0)
    at = np.asarray(ndtri((rank - 0.5) / n), float)
    tail = 0.5 * (1.0 - _LEVEL)
    low, high = (ndtri(betaincinv(rank, n + 1.0 - rank, p)) for p in (tail, 1.0 - tail))
    ax.fill_between(at, low, high, color=GREY, alpha=0.18, linewidth=0)
    ax.plot(at[[0, -1]], at[[0, -1]], color=GREY, linewidth=0.9)
    ax.plot(at, z, linestyle="none", marker="o", markersize=3.5, color=COLOURS[0],
            markeredgecolor="white", markeredgewidth=0.4)  # fmt: skip
    finish(ax, "quantile of the normal", "sorted residual")
    return ax


def _table(fitted: Fit | Forecast) -> tuple[pd.DataFrame, Fit]:
    """Return residuals with their unit and factor level, in the order of the log."""
    base = main(fitted)
    problem = base.problem
    own = pd.DataFrame(
        {"unit": problem.unit, "level": problem.model.codes}, index=problem.frame.index
    )
    return base.residuals.join(own), base


def _unit_names(base: Fit, table: pd.DataFrame, units: list[Any]) -> list[str]:
    """Return the names of few chains, if short; other units have none."""
    if len(units) > _NAMED or base.problem.unit_kind != "chain":
        return []
    chain = base.problem.frame["chain_id"].fillna("none").groupby(table["unit"]).first()
    names = [str(chain[unit]) for unit in units]
    return names if max(map(len, names)) <= _LETTERS else []


def _band(ax: Any) -> None:
    from scipy.special import ndtri

    half = float(ndtri(0.5 * (1.0 + _LEVEL)))
    ax.axhspan(-half, half, color=GREY, alpha=0.12, linewidth=0, zorder=0)
    ax.axhline(0.0, color=GREY, linewidth=0.9, zorder=1)


def _by_level(ax: Any, base: Fit, x: Array, z: Array, level: pd.Series[int]) -> None:
    looks = level_looks(base.model.levels)
    for code, name in enumerate(base.model.levels):
        mine = level.to_numpy() == code
        colour, marker = looks[name]
        ax.plot(x[mine], z[mine], linestyle="none", marker=marker, markersize=3.5, color=colour,
                markeredgecolor="white", markeredgewidth=0.4, zorder=3)  # fmt: skip


def _handles(base: Fit) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    out: list[Any] = [
        Line2D([], [], linestyle="none", marker=marker, markersize=3.5, color=colour,
               label=text_of(level))
        for level, (colour, marker) in level_looks(base.model.levels).items() if level
    ]  # fmt: skip
    band = f"{100 * _LEVEL:g} % if normal"
    return [*out, Patch(color=GREY, alpha=0.18, linewidth=0, label=band)]
