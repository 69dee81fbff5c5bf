"""The tables of a fit: parameters with intervals, what follows from them, residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.firstorder import at_bounds, covariance, unfixed
from scaling_laws.halfwild import Draws
from scaling_laws.layout import moving_together
from scaling_laws.ridge import breadth, entangled
from scaling_laws.runs import Note
from scaling_laws.span import TOGETHER
from scaling_laws.uncertainty import printed, quantile_pair, student_t

if TYPE_CHECKING:
    from scaling_laws.result import Fit

__all__ = ["Method", "covariance_table", "derived_table", "parameter_table", "residual_table"]

Array = NDArray[np.float64]
Method = Literal["wild", "profile", "covariance"]

_METHODS = {
    "wild": "half-wild bootstrap",
    "profile": "profile likelihood",
    "covariance": "covariance (first order)",
}
# Sides of an interval more uneven than this have no one standard error.
_UNEVEN = 3.0
# Where axes move together, an amplitude whose ends differ by more has no standard error.
_FACTOR = 4.0
# A limit whose sigmoid is within a thousandth of the top score cannot be told from it: open.
_AT_TOP = 7.0


def parameter_table(fit: Fit, level: float, method: Method) -> pd.DataFrame:
    """Return ``estimate, se, low, high, meaning``; the header names level and method."""
    if method not in _METHODS:
        raise ValueError(f"method: {method!r} is not one of {', '.join(_METHODS)}.")
    names = list(fit.model.names)
    estimate = np.array([fit.values[n] for n in names])
    low, high, se = {"wild": _wild, "profile": _profile, "covariance": _covariance}[method](
        fit, estimate, level
    )
    held = np.array([not fit.is_free(n) for n in names])
    frame = pd.DataFrame(
        {
            "estimate": estimate,
            "se": np.where(held, np.nan, se),
            "low": np.where(held, np.nan, low),
            "high": np.where(held, np.nan, high),
            "meaning": [_meaning(fit, n) for n in names],
        },
        index=names,
    )
    frame.columns.name = f"{100 * level:g} % {_METHODS[method]}"
    return frame


def _wild(fit: Fit, estimate: Array, level: float) -> tuple[Array, Array, Array]:
    draws = fit.draws_or_reason
    if not isinstance(draws, Draws):
        nothing = np.full(len(estimate), np.nan)
        return nothing, nothing, nothing
    low, high = quantile_pair(np.stack(list(printed(fit.model, draws.theta).values())), level)
    df = np.inf if draws.pooling is None else draws.pooling.df
    with np.errstate(invalid="ignore"):
        se = (high - low) / (2.0 * student_t(df, level))
    ridge = _ridge(fit)
    for i, name in enumerate(fit.model.names):
        if fit.model.on_logit(name) and high[i] > _AT_TOP:
            high[i] = np.inf
        least, most = fit.model.legal_range(name)
        touches = low[i] <= least + 1e-9 * abs(least) + 1e-12 or high[i] >= most * (1 - 1e-9)
        below, above = estimate[i] - low[i], high[i] - estimate[i]
        uneven = max(below, above) > _UNEVEN * max(min(below, above), 0.0)
        # Amplitudes are printed far from the data, through the exponents.
        far = fit.model.param(name).role == "amplitude" and high[i] > _FACTOR * low[i]
        if touches or uneven or name in ridge or (ridge and far) or not np.isfinite(se[i]):
            se[i] = np.nan
    return low, high, se


def _ridge(fit: Fit) -> list[str]:
    """Return the coordinates that draws find wide because axes move together."""
    draws = fit.draws_or_reason
    if not isinstance(draws, Draws) or draws.rivals is None or not moving_together(fit.problem):
        return []
    return entangled(fit.problem, fit.estimate, draws.rivals, draws.theta)


def _bent(fit: Fit, kernel: Array) -> list[str]:
    """Return those whose draws go farther along a ridge than its curvature at the optimum says."""
    ridge = _ridge(fit)
    if not ridge:
        return []
    se = np.sqrt(np.maximum(np.diag(kernel), 0.0))
    beyond = breadth(fit.draws.theta) > TOGETHER * se
    return [n for n, far in zip(fit.model.coordinates, beyond, strict=True) if far and n in ridge]


def _covariance(fit: Fit, estimate: Array, level: float) -> tuple[Array, Array, Array]:
    se = np.sqrt(np.maximum(np.diag(covariance_table(fit).to_numpy()), 0.0))
    half = student_t(max(fit.degrees, 1), level) * se
    return estimate - half, estimate + half, se


def covariance_table(fit: Fit) -> pd.DataFrame:
    """Return the first-order covariance; rows and columns of what has none are missing."""
    names = fit.model.names
    kernel, matrix = covariance(fit.problem, fit.estimate)
    table = pd.DataFrame(matrix, index=names, columns=names)
    pinned = at_bounds(fit.problem, fit.estimate)
    found = unfixed(fit.problem, fit.estimate, _bent(fit, kernel))
    open_ = [name for name in found if name not in pinned]
    why = (
        (pinned, "at a bound; the errors of the others are given that."),
        (open_, "the runs fix none of these by itself."),
    )
    notes = [
        Note("no_covariance", "warning", f"No first-order error of {', '.join(names)}: {told}")
        for names, told in why
        if names
    ]
    lost = [*pinned, *open_]
    table.loc[lost, :] = np.nan
    table.loc[:, lost] = np.nan
    table.attrs["notes"] = tuple(notes)
    return table


def _profile(fit: Fit, estimate: Array, level: float) -> tuple[Array, Array, Array]:
    nothing = np.full(len(estimate), np.nan)
    low, high = nothing.copy(), nothing.copy()
    for i, name in enumerate(fit.model.names):
        if fit.is_free(name):
            found = fit.profile(name, level)
            low[i], high[i] = found.low, found.high
    return low, high, nothing


def _meaning(fit: Fit, name: str) -> str:
    """Return the parameter's sentence, its score where it is a limit, its prior, its unit."""
    model, param = fit.model, fit.model.param(name)
    words = param.meaning
    unit = param.unit.replace("{metric}", fit.metric.name)
    if unit and model.link.kind == "logit" and fit.law.output == "eta":
        unit = "logit"
    if model.on_logit(name):
        link = model.link
        share = 1.0 / (1.0 + float(np.exp(-np.clip(fit.values[name], -500, 500))))
        words += f"; as a score {link.floor + (link.top - link.floor) * share:.3g}"
    prior = fit.constraints.prior.get(name) or fit.constraints.prior.get(name.split("[", 1)[0])
    if prior is not None:
        words += f"; prior {prior[0]:g} ± {prior[1]:g}"
    if not fit.is_free(name):
        words += "; fixed"
    return f"{words} [{unit}]" if unit else words


def derived_table(fit: Fit, level: float) -> pd.DataFrame:
    """Return ``estimate, low, high, meaning`` of the law's further quantities."""
    draws = fit.draws_or_reason
    drawn = fit.model.derived(draws.theta) if isinstance(draws, Draws) else {}
    rows: dict[str, dict[str, Any]] = {}
    for name, (value, meaning) in fit.model.derived(fit.estimate.theta).items():
        low = high = float("nan")
        if name in drawn:
            ends = quantile_pair(drawn[name][0][None], level)
            low, high = float(ends[0][0]), float(ends[1][0])
        rows[name] = {"estimate": float(value[0]), "low": low, "high": high, "meaning": meaning}
    columns = ["estimate", "low", "high", "meaning"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def residual_table(fit: Fit) -> pd.DataFrame:
    """Return ``score, mean, residual`` on the residual scale, and ``z`` in units of its sd."""
    problem, estimate = fit.problem, fit.estimate
    mean = problem.model.mean(estimate.theta[None])[0]
    residual = problem.residual(estimate.theta)
    sd = np.sqrt(problem.evaluation_variance(mean) + max(estimate.run_variance, 1e-300))
    columns = {"score": problem.score, "mean": mean, "residual": residual, "z": residual / sd}
    return pd.DataFrame(columns, index=problem.frame.index).sort_index()
