"""What a careful reader would say of a fit: design, identifiability, bounds, lack of fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.constraints import Constraints
from scaling_laws.estimate import Estimate
from scaling_laws.factors import apart
from scaling_laws.halfwild import Draws, NoInterval, leverage, relax
from scaling_laws.laws.base import Axis
from scaling_laws.layout import layout_notes, moving_together
from scaling_laws.model import Model, slice_rows
from scaling_laws.problem import Problem
from scaling_laws.ridge import entangled
from scaling_laws.runs import Note
from scaling_laws.scatter import UNEQUAL_P, scatter_notes
from scaling_laws.span import aside, cloud, direction
from scaling_laws.uncertainty import printed, quantile_pair
from scaling_laws.variance import inverse_information

__all__ = [
    "data_notes",
    "draw_notes",
    "identifiability",
    "prediction_notes",
    "row_leverage",
    "support_of",
]

Array = NDArray[np.float64]

# An exponent or steepness whose interval spans more than this factor is not a finding.
_WIDE = 4.0
# Level of the intervals in notes.
_LEVEL = 0.9
# Log step of a slope: small beside any curvature, large beside rounding.
_STEP = 1e-3
# Levels of a category that a note names.
_SHOWN = 4
# Scaled singular values below this share of the largest leave a combination of parameters open.
_OPEN = 1e-3


def data_notes(
    problem: Problem, fit: Estimate, constraints: Constraints, settings: Mapping[str, Any]
) -> tuple[Note, ...]:
    """Return the notes that need no draws."""
    return (
        *_convergence(fit),
        *layout_notes(problem),
        *_identified(problem, fit),
        *scatter_notes(problem, fit),
        *_objective(problem, fit, settings),
        *_priors(constraints),
        *_unused(problem),
    )


def _convergence(fit: Estimate) -> Iterator[Note]:
    if not fit.converged:
        yield Note(
            "not_converged",
            "warning",
            f"The kernel stopped after {fit.steps} steps without meeting its tolerance.",
        )


def identifiability(problem: Problem, fit: Estimate) -> pd.DataFrame:
    """Singular values of the scaled Jacobian and the combination of parameters each one belongs to.

    A row a combination, sorted from best to worst fixed; columns ``singular_value`` (relative to
    the largest) and the weight of each kernel coordinate.
    """
    _, jacobian = fit.curve(problem).evaluate(fit.theta[None])
    j = (jacobian[0] * fit.scale)[fit.free].T
    norm = np.sqrt((j * j).sum(0))
    _, s, vt = np.linalg.svd(j / np.where(norm > 0, norm, 1.0), full_matrices=False)
    names = [n for n, free in zip(problem.model.coordinates, fit.free, strict=True) if free]
    frame = pd.DataFrame(vt, columns=names)
    frame.insert(0, "singular_value", s / max(float(s.max(initial=0.0)), 1e-300))
    return frame


def _identified(problem: Problem, fit: Estimate) -> Iterator[Note]:
    """Tell of an open combination at the estimate; `_entangled` does where axes move together."""
    table = identifiability(problem, fit)
    if len(table) < 2 or moving_together(problem):
        return
    worst = table.iloc[-1]
    if worst["singular_value"] < _OPEN:
        weights = worst.drop("singular_value").abs().sort_values(ascending=False)
        names = [str(n) for n in weights.index[weights > 0.3]]
        yield Note(
            "weak_combination",
            "warning",
            f"The data do not fix {' and '.join(names)} separately (relative singular value "
            f"{worst['singular_value']:.1g}): read predictions inside the data, not these "
            "numbers.",
        )


def _objective(problem: Problem, fit: Estimate, settings: Mapping[str, Any]) -> Iterator[Note]:
    if settings["delta"] != "auto" and np.isfinite(fit.delta) and fit.sigma > 0:
        ratio = fit.delta / (fit.sigma * float(np.median(fit.scale)))
        if ratio < 0.7:
            yield Note(
                "least_absolute",
                "info",
                f"delta is {ratio:.2g} residual sd: nearly least absolute deviations. Intervals "
                "under it are wider and cover less reliably than with delta='auto'.",
            )


def _priors(constraints: Constraints) -> Iterator[Note]:
    for name, (mean, sd) in constraints.prior.items():
        yield Note(
            "prior",
            "info",
            f"{name} has a prior {mean:g} ± {sd:g}; where the truth lies elsewhere, intervals "
            "do not cover it.",
        )


def _unused(problem: Problem) -> Iterator[Note]:
    """Tell of runs of several kinds that one curve is fitted to."""
    frame, law = problem.frame, problem.model.law
    names = apart(frame, [a.name for a in law.axis_list()], law.by)
    if not names:
        return
    kinds: list[str] = []
    for name in names:
        counts = frame[name].value_counts(sort=False).sort_index()
        shown = ", ".join(f"{level} {n}" for level, n in list(counts.items())[:_SHOWN])
        more = f", {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
        kinds.append(f"{name} ({shown}{more})")
    yield Note(
        "unused_factor",
        "warning",
        f"Rows differ in {', '.join(kinds)}, of which the law knows nothing: they are pooled. Give "
        f"each kind its own curve with by={[*law.by, *names]!r}, or select one.",
    )


def _bound_rejected(problem: Problem, fit: Estimate) -> Iterator[Note]:
    """Tell of a soft bound that the data reject: the law misfits, and draws do not keep to it."""
    from scipy.special import fdtrc

    theta, _ = relax(problem, fit)
    if np.array_equal(theta, fit.theta):
        return
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    held, opened = (
        float((weights * (fit.residual(problem, t) * fit.scale) ** 2).sum())
        for t in (fit.theta, theta)
    )
    nu = max(problem.n - int(fit.free.sum()), 1)
    crossed = theta < problem.model.lower - 1e-12
    p_value = float(fdtrc(int(crossed.sum()) or 1, nu, max(held / opened - 1.0, 0.0) * nu))
    if p_value < 0.01:
        names = [n for n, c in zip(problem.model.coordinates, crossed, strict=True) if c]
        yield Note(
            "bound_rejected",
            "warning",
            f"The data reject the bound of {' and '.join(names)} (p = {p_value:.1g}): the law "
            "misfits with it, and the intervals are those of the law without it. Try another form.",
        )


def draw_notes(problem: Problem, fit: Estimate, draws: Draws | NoInterval) -> tuple[Note, ...]:
    """Return the notes that need the default draws."""
    if isinstance(draws, NoInterval):
        return (Note("no_interval", "warning", f"No interval: {draws}"),)
    return (
        *_pooling(problem, draws),
        *_entangled(problem, fit, draws),
        *_bounds(problem, fit, draws),
        *_bound_rejected(problem, fit),
    )


def _entangled(problem: Problem, fit: Estimate, draws: Draws) -> Iterator[Note]:
    """Name what axes that move together leave open, and what they fix: the curve along the line."""
    axes = moving_together(problem)
    if draws.rivals is None or not axes:
        return
    names = entangled(problem, fit, draws.rivals, draws.theta)
    if len(names) < 2:
        return
    centre, value, slope = _along(problem, draws, axes)
    first = axes[0]
    is_log = problem.model.link.kind == "log"
    if is_log:
        value = np.exp(value)
    low, high = quantile_pair(np.stack([value, slope]), _LEVEL)
    metric = problem.metric.name
    at = ", ".join(f"{name} {x:.3g}" for name, x in centre.items())
    yield Note(
        "weak_combination",
        "warning",
        f"The runs do not fix {', '.join(names[:-1])} and {names[-1]} one by one, only what they "
        f"add up to as {' and '.join(axes)} move together: {metric} {low[0]:.4g} to "
        f"{high[0]:.4g} at the centre of the data ({at}), and there a slope of {low[1]:.3g} to "
        f"{high[1]:.3g} of {'log ' * is_log}{metric} in log {first} (90 %). Predict along that "
        f"line, or fit a law of {first} alone.",
    )


def _along(
    problem: Problem, draws: Draws, axes: list[str]
) -> tuple[dict[str, float], Array, Array]:
    """Centre of the data; the draws' curve there, and its slope as the `axes` move together."""
    names = [a.name for a in _axes_of(problem)]
    centre = {n: float(np.exp(cloud(problem.frame, [n]).mean())) for n in names}
    step = dict.fromkeys(names, 0.0) | dict(zip(axes, direction(problem.frame, axes), strict=True))
    h = np.array([-_STEP, 0.0, _STEP])
    raw = {n: centre[n] * np.exp(h * step[n]) for n in names}
    model = problem.model.at(raw, np.zeros(3, np.intp))
    low, value, high = model.residual_mean(draws.theta).T
    return centre, value, (high - low) / (2.0 * _STEP)


def _pooling(problem: Problem, draws: Draws) -> Iterator[Note]:
    rule = draws.pooling
    if rule is None:
        return
    if rule.fallback == "few_degrees":
        yield Note(
            "few_degrees",
            "warning",
            f"Only {rule.df:g} residual degree{'s' * (rule.df != 1)} of freedom; the width rests "
            "on an assumption about noise more than on data.",
        )
    elif rule.fallback == "evaluation_noise_only":
        yield Note(
            "evaluation_noise_only",
            "warning",
            "No residual degrees of freedom: intervals hold evaluation noise alone, no "
            "run-to-run noise.",
        )
    if rule.unit != "run" and np.isfinite(rule.p_value):
        test = f"F = {rule.f:.2g}, p = {rule.p_value:.2g}"
        told = (
            f"scatter more than the runs within them ({test}); intervals count {rule.unit}s."
            if rule.p_value < UNEQUAL_P
            else f"may scatter more than the runs within them ({test}: neither shown nor ruled "
            f"out); intervals count {rule.unit}s, the safer of the two."
        )
        yield Note("shared_error", "info", f"{rule.unit.capitalize()}s {told}")
    kind = problem.unit_kind
    if rule.unit == "run" and rule.within >= 2 and rule.between < 1 and kind != "configuration":
        units = problem.n - int(rule.within)
        free = units - int(rule.between)
        yield Note(
            "untested_unit",
            "warning",
            f"{units} {kind}s for {free} free parameters: whether {kind}s scatter more than the "
            "runs within them cannot be tested. Intervals take runs as independent and may be "
            f"too narrow; with {free + 3} {kind}s they could count {kind}s.",
        )


def _from_bound(low: float, high: float) -> str:
    """Say how far an interval goes that begins at a bound."""
    if high <= low + 1e-9:
        return f"{low:g} alone: no more than one draw in twenty leaves it"
    short, bound = f"{high:.3g}", f"{low:g}"
    return f"one-sided ({bound} to {short if short != bound else f'{high:.9g}'})"


def _bounds(problem: Problem, fit: Estimate, draws: Draws) -> Iterator[Note]:
    model = problem.model
    values = printed(model, draws.theta)
    weak = False
    for name, drawn in values.items():
        param = model.param(name)
        if model.on_logit(name):
            if np.mean(np.isinf(drawn)) > 0.05:
                yield Note(
                    "open_ceiling",
                    "info",
                    f"No ceiling of {problem.metric.name} below the top score is supported "
                    f"({name} is open).",
                )
            continue
        low, high = (float(v[0]) for v in quantile_pair(drawn[None], 0.9))
        j = model.coordinates.index(name) if name in model.coordinates else None
        if j is None or not fit.free[j]:
            continue
        value = float(printed(model, fit.theta)[name][0])
        if fit.theta[j] <= model.lower[j] + 1e-9:
            yield Note(
                "at_bound",
                "info",
                f"{name} is not distinguishable from {param.lower:g}; its interval is "
                f"{_from_bound(param.lower, high)}.",
            )
        elif fit.theta[j] >= model.upper[j] - 1e-9:
            yield Note(
                "at_bound",
                "info",
                f"{name} is at its upper bound {value:g}; its interval is one-sided (above "
                f"{low:.3g}).",
            )
        if param.role == "shape" and param.scale == "log" and high > _WIDE * low:
            yield Note(
                "not_identified",
                "warning",
                f"{name} is not identified: these runs allow {low:.3g} to {high:.3g}.",
            )
        if param.role == "shape" and param.scale == "linear" and param.lower > 0:
            touches = low <= param.lower * 1.0001
            weak = weak or touches or high > _WIDE * max(low, 1e-300)
    if weak:
        yield Note(
            "weak_curvature",
            "info",
            "The data fix the slope at the centre, not limit and exponent apart; read the "
            "prediction, not the parameters.",
        )


def prediction_notes(problem: Problem, table: pd.DataFrame) -> tuple[Note, ...]:
    """Return notes on predictions that are vacuous, far, or narrower than the data can support."""
    metric = problem.metric
    notes: list[Note] = []
    width = (table["high"] - table["low"]).to_numpy(dtype=float)
    if metric.link == "logit" and metric.top is not None:
        vacuous = width > 0.5 * (metric.top - (metric.floor or 0.0))
        if vacuous.any():
            i = int(np.flatnonzero(vacuous)[0])
            at = ", ".join(f"{a.name} {table[a.name].iloc[i]:g}" for a in _axes_of(problem))
            low, high = float(table["low"].iloc[i]), float(table["high"].iloc[i])
            notes.append(Note(
                "vacuous", "warning",
                f"At {at} these runs allow {metric.name} from {low:.2f} to {high:.2f}: add runs "
                f"nearer to it ({int(vacuous.sum())} of {len(table)} points are as wide).",
            ))  # fmt: skip
    far = table["distance"].to_numpy(dtype=float)
    if (far > 1).any():
        notes.append(Note(
            "far", "warning",
            f"{int((far > 1).sum())} of {len(table)} points lie more than the data's own range "
            "beyond it; no interval covers a trend that breaks there.",
        ))  # fmt: skip
    names = [a.name for a in _axes_of(problem)]
    off = aside(problem.frame, {n: table[n].to_numpy(dtype=float) for n in names}) > 1.0
    if off.any():
        at = ", ".join(f"{n} {table[n].iloc[int(np.argmax(off))]:g}" for n in names)
        notes.append(Note(
            "off_design", "warning",
            f"{int(off.sum())} of {len(table)} points combine {' and '.join(names)} as no run does "
            f"(the first: {at}): the law's form alone says what happens there, and the interval "
            "spans what fits to these runs allow.",
        ))  # fmt: skip
    if "equivalent_n" in table and np.isfinite(problem.items).any():
        behind = float(np.nansum(problem.items))
        narrow = table["equivalent_n"].to_numpy(dtype=float) > behind
        if narrow.any():
            notes.append(Note(
                "too_narrow", "warning",
                f"{int(narrow.sum())} of {len(table)} intervals are narrower than the "
                f"{behind:,.0f} test items behind all runs can support; the law's form is doing "
                "the work.",
            ))  # fmt: skip
    return tuple(notes)


def _axes_of(problem: Problem) -> tuple[Axis, ...]:
    return problem.model.law.axis_list()


def row_leverage(problem: Problem, fit: Estimate) -> Array:
    """Leverage of each row (of each rotated row, where errors accumulate along chains)."""
    theta, lower = relax(problem, fit)
    a = leverage(problem, fit, theta, fit.scale, lower)
    return np.clip((a * a).sum(1), 0.0, 1.0)


def support_of(
    problem: Problem, fit: Estimate, at: Model, raw: Mapping[str, Array]
) -> tuple[Array, NDArray[np.str_]]:
    """Distance beyond the data in log-ranges, and {inside, corner, outside} for each point.

    A corner lies within the range of every axis, but where its leverage exceeds that of all runs,
    where its level was never seen, or farther off the directions that the axes span together than
    the runs spread there.
    """
    frame = problem.frame
    rows = at.size
    distance = np.zeros(rows)
    corner = np.zeros(rows, bool)
    for name, x in raw.items():
        seen = frame[name].to_numpy(dtype=float)
        logs = bool((seen > 0).all() and (x > 0).all())
        u, v = (np.log(seen), np.log(x)) if logs else (seen, x)
        low, high = float(u.min()), float(u.max())
        # One level has no range: then the distance is in units of the logarithm.
        width = high - low if high > low else 1.0
        slack = 1e-9 * width
        beyond = np.maximum(np.maximum(low - v, v - high) - slack, 0.0)
        distance = np.maximum(distance, np.where(beyond > 0, beyond / width, 0.0))
        for level in range(len(at.levels)):
            own = u[problem.model.codes == level]
            # A transferred fit may know a level from other runs alone.
            least, most = (own.min(), own.max()) if len(own) else (np.inf, -np.inf)
            outside_level = (v < least - slack) | (v > most + slack)
            corner |= (at.codes == level) & outside_level
    corner |= _point_leverage(problem, fit, at) > 1.0 + 1e-9
    corner |= aside(frame, raw) > 1.0
    support = np.where(distance > 0, "outside", np.where(corner, "corner", "inside"))
    return distance, support


def _point_leverage(problem: Problem, fit: Estimate, at: Model, chunk: int = 20_000) -> Array:
    """Leverage of new points over the largest leverage in the log (typical weight at both)."""
    theta, lower = relax(problem, fit)
    moving = fit.free & (theta > lower) & (theta < problem.model.upper)
    _, jacobian = problem.model.evaluate(theta[None])
    sd = float(np.median(fit.scale))
    j = (jacobian[0] * sd)[moving]
    inverse = inverse_information(j)
    seen = ((inverse @ j) * j).sum(0)
    out = np.empty(at.size)
    for begin in range(0, at.size, chunk):
        part = slice(begin, begin + chunk)
        x = {k: v[part] for k, v in at.x.items()}
        _, g = slice_rows(at, x, at.codes[part]).evaluate(theta[None])
        g = (g[0] * sd)[moving]
        out[part] = ((inverse @ g) * g).sum(0)
    return out / max(float(seen.max(initial=0.0)), 1e-300)
