"""Where the kernel starts, and how it is followed from there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scaling_laws.chains import Curve
from scaling_laws.kernel import Minimum, Objective, minimise
from scaling_laws.model import Model

__all__ = ["along_curve", "box", "descend", "placed", "projected", "seeds", "spread"]

Array = NDArray[np.float64]

# Starts that are followed: few where variable projection has found the basin, more where the best
# of plain samples may all lie in a wrong one.
_SPLIT_SEEDS, _SEEDS = 4, 16
# Starts placed along the curve (several a run of a log of ordinary size), and those followed.
_ALONG, _ALONG_SEEDS = 96, 8
# Halvings that place one, to 1.5e-5 of the range: a step of a thousandth of it has many places.
_HALVINGS = 16
# Predictions beyond so many times the data's size are all as far.
_FAR = 10.0
# Steps that settle limit and amplitudes with the shapes held, and until when: for starts only, and
# a linear problem takes one or two.
_SETTLE, _SETTLED = 6, 1e-3
# Orders of magnitude over which a parameter of no stated size is sought.
_DECADES = 7.0


def box(model: Model, y: Array) -> tuple[Array, Array]:
    """Return finite ranges ``(low, high)`` of the coordinates: bounds, else the data's size."""
    values = np.exp(y) if model.link.kind == "log" else y
    if model.law.output == "eta" and model.link.kind == "logit":
        values = to_eta(model, values)
    low, high = model.lower.copy(), model.upper.copy()
    span = float(np.ptp(values)) or abs(float(values[0])) or 1.0
    sizes = [float(np.abs(x[np.isfinite(x)]).max(initial=0.0)) for x in model.x.values()]
    for j, name in enumerate(model.coordinates):
        param = model.param(name)
        if param.role == "limit" and model.law.output == "eta":
            low[j] = max(low[j], float(values.min()) - 2 * span)
            high[j] = min(high[j], float(values.max()) + 2 * span)
        elif param.role == "amplitude" and not np.isfinite(high[j]):
            if param.scale == "log":
                low[j] = max(low[j], float(param.inward(1e-3 * span)))
            high[j] = max(low[j] + 1e-9, float(param.inward(5.0 * span)))
        elif not (np.isfinite(low[j]) and np.isfinite(high[j])):
            reach = 10.0 * max(1.0, float(np.abs(values).max()), *sizes)
            low[j] = max(low[j], -reach)
            high[j] = min(high[j], reach)
    return low, high


def to_eta(model: Model, values: Array) -> Array:
    """Scores on the link scale, those beyond floor and top pulled just inside; for starts only."""
    floor, top = model.link.floor, model.link.top
    share = np.clip((values - floor) / (top - floor), 0.005, 0.995)
    return np.log(share / (1.0 - share))


def _spread_points(count: int, dimension: int) -> Array:
    """Additive-recurrence points in the unit cube: even, deterministic, cheap (Roberts 2018)."""
    root = 2.0
    for _ in range(30):
        root = (1.0 + root) ** (1.0 / (dimension + 1))
    alpha = (1.0 / root) ** np.arange(1, dimension + 1)
    return (0.5 + np.arange(1, count + 1)[:, None] * alpha) % 1.0


def _search_range(model: Model, low: Array, high: Array) -> tuple[Array, Array]:
    low, high = low.copy(), high.copy()
    for j, name in enumerate(model.coordinates):
        param = model.param(name)
        if param.search is not None and param.role == "shape":
            low[j], high[j] = (float(param.inward(v)) for v in param.search)
    return low, high


def _sizeless(model: Model) -> NDArray[np.bool_]:
    """Coordinates of a user's parameter with no stated size: unbounded on at least one side."""
    limits, amplitudes = (
        np.array([model.param(n).role == role for n in model.coordinates])
        for role in ("limit", "amplitude")
    )
    return ~(np.isfinite(model.lower) & np.isfinite(model.upper)) & ~limits & ~amplitudes


def _place(unit: Array, low: Array, high: Array, wide: NDArray[np.bool_]) -> Array:
    """Points of the unit cube in the box; sizeless coordinates by order of magnitude."""
    plain = low + unit * (high - low)
    if not wide.any():
        return plain
    # The half of the unit interval on each side of 0 that the box allows.
    zero = np.clip(-low / np.where(high > low, high - low, 1.0), 0.0, 1.0)
    zero = np.where((low < 0) & (high > 0), 0.5, zero)
    below = unit < zero
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(below, 1.0 - unit / zero, (unit - zero) / (1.0 - zero))
    reach = np.where(below, low, high)
    return np.where(wide, reach * 10.0 ** (_DECADES * (share - 1.0)), plain)


def spread(model: Model, y: Array, count: int) -> Array:
    """Return ``[count, p]`` even starts over the full bounds."""
    return placed(model, y, _spread_points(count, model.p))


def placed(model: Model, y: Array, unit: Array) -> Array:
    """Return points of the unit cube ``[count, p]`` as coordinates over the full bounds."""
    return _place(unit, *box(model, y), _sizeless(model))


def along_curve(
    model: Model, y: Array, theta: Array, unit: Array, held: NDArray[np.bool_]
) -> Array:
    """Return starts whose free shapes are spread evenly over what they do to the curve.

    The value of a shape at share ``u`` of the unit interval is where ``sum_i |change of m_i|`` has
    reached ``u`` of its total over the full bounds, the other coordinates as they are. A steep
    curve jumps where it passes a run and stands still between two: starts that are even over the
    parameter nearly all stand where nothing says which way to go; of these each jump gets its part.
    Far beyond the data all values count as one: where a curve explodes there is nothing to find.

    Parameters
    ----------
    theta, unit : array [count, p]
        Starts, and the shares; only those of free shapes are used.
    held : bool array [p]
    """
    theta = theta.copy()
    low, high = box(model, y)
    reach = _FAR * max(float(np.abs(y).max()), float(np.ptp(y)))
    moving: NDArray[np.intp] = np.flatnonzero(_shapes(model) & ~held)
    for j in map(int, moving):
        u = unit[:, j]
        a: Array = np.full(len(theta), low[j])
        b: Array = np.full(len(theta), high[j])
        mean_a, mean_b = (_moved(model, theta, j, end, reach) for end in (a, b))
        for _ in range(_HALVINGS):
            middle = 0.5 * (a + b)
            mean = _moved(model, theta, j, middle, reach)
            before: Array = np.abs(mean - mean_a).sum(1)
            whole: Array = before + np.abs(mean_b - mean).sum(1)
            # Where the shape does nothing, no place is better than another.
            share: Array = np.where(whole > 0.0, before / np.maximum(whole, 1e-300), 0.5)
            left: NDArray[np.bool_] = u < share
            u = np.where(left, u, u - share) / np.maximum(np.where(left, share, 1 - share), 1e-300)
            a, b = np.where(left, a, middle), np.where(left, middle, b)
            mean_a = np.where(left[:, None], mean_a, mean)
            mean_b = np.where(left[:, None], mean, mean_b)
        theta[:, j] = 0.5 * (a + b)
    return theta


def _moved(model: Model, theta: Array, j: int, value: Array, reach: float) -> Array:
    """Predictions with one coordinate moved, between minus and plus `reach`; no number is 0."""
    theta = theta.copy()
    theta[:, j] = value
    mean = np.nan_to_num(model.residual_mean(theta), nan=0.0, posinf=reach, neginf=-reach)
    return np.clip(mean, -reach, reach)


def seeds(
    model: Model,
    y: Array,
    scale: Array,
    held: NDArray[np.bool_],
    start: Array,
) -> Array:
    """Return a few good starts ``[few, p]``.

    Shapes are spread over their ranges; for each the limit and amplitudes follow from a
    non-negative linear fit (variable projection). A law without that split is sampled in all its
    parameters, and once more with its shapes spread along the curve.
    """
    low, high = _search_range(model, *box(model, y))
    wide = _sizeless(model)
    linear, split = _linear(model, held)
    moving = ~held & (~linear if split else True)
    n_moving = int(moving.sum())
    base, most = (40, 160) if split else (400 if wide.any() else 40, 2000)
    n_points = 1 if n_moving == 0 else min(base * 2 ** (n_moving - 1), most)
    theta = np.repeat(start[None], n_points, 0)
    if n_moving:
        unit = _spread_points(n_points, n_moving)
        theta[:, moving] = _place(unit, low[moving], high[moving], wide[moving])
    theta = theta if split else np.concatenate([start[None], theta])
    if split:
        theta = _project(model, y, scale, theta, linear)
    best = _best(model, y, scale, theta, _SPLIT_SEEDS if split else _SEEDS)
    if split:
        return best
    # The caller's start stays last.
    return np.concatenate([best, _seeds_along(model, y, scale, held, start), start[None]])


def _seeds_along(
    model: Model, y: Array, scale: Array, held: NDArray[np.bool_], start: Array
) -> Array:
    """Return the best starts of a law without the linear split, shapes spread along the curve."""
    if not (_shapes(model) & ~held).any():
        return np.empty((0, model.p))
    unit = _spread_points(_ALONG, model.p)
    theta = np.where(held, start, placed(model, y, unit))
    theta = along_curve(model, y, theta, unit, held)
    theta = theta[np.isfinite(model.residual_mean(theta)).all(1)]
    if not len(theta):
        return theta
    return _best(model, y, scale, _settled(model, y, scale, theta, held), _ALONG_SEEDS)


def _best(model: Model, y: Array, scale: Array, theta: Array, count: int) -> Array:
    with np.errstate(all="ignore"):
        r = (y - model.residual_mean(theta)) * scale
        cost = np.minimum(np.abs(np.nan_to_num(r, nan=np.inf)), 1e150)
        cost = (cost**2).sum(1)
    return theta[np.argsort(cost, kind="stable")[:count]]


def projected(model: Model, y: Array, scale: Array, theta: Array, held: NDArray[np.bool_]) -> Array:
    """Return starts ``[count, p]`` whose limit and amplitudes follow from their shapes."""
    linear, split = _linear(model, held)
    if split:
        return _project(model, y, scale, theta, linear)
    return _settled(model, y, scale, theta, held)


def _settled(model: Model, y: Array, scale: Array, theta: Array, held: NDArray[np.bool_]) -> Array:
    """Fit limit and amplitudes with the shapes held, where no single linear solve does it."""
    free = ~held & ~_shapes(model)
    if not free.any():
        return theta
    return minimise(
        Curve(model),
        y,
        theta,
        scale=scale,
        free=free,
        lower=model.lower,
        upper=model.upper,
        steps=_SETTLE,
        tolerance=_SETTLED,
    ).theta


def _shapes(model: Model) -> NDArray[np.bool_]:
    return np.array([model.param(n).role == "shape" for n in model.coordinates])


def _linear(model: Model, held: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], bool]:
    """Limit and amplitudes, and whether they follow from the shapes by a linear fit."""
    linear = ~_shapes(model)
    split = model.law.output == "eta" and model.mix is None and not (held & linear).any()
    return linear, split


def _project(
    model: Model, y: Array, scale: Array, theta: Array, linear: NDArray[np.bool_]
) -> Array:
    """Best limit and amplitudes for each row's shapes, on the link scale, inside their bounds."""
    theta = theta.copy()
    theta[:, linear] = 1.0
    _, jacobian = model.linear_basis(theta)
    basis = jacobian[:, linear]
    if model.link.kind == "logit":
        target = to_eta(model, y)
        p = 1.0 / (1.0 + np.exp(-target))
        weight = np.broadcast_to(scale, target.shape) * p * (1.0 - p)
    elif model.link.kind == "log":
        target = np.exp(y)
        weight = np.broadcast_to(scale, target.shape) / target
    else:
        target, weight = y, np.broadcast_to(scale, y.shape)
    basis = basis * weight
    theta[:, linear] = _bounded_least_squares(
        basis, target * weight, model.lower[linear], model.upper[linear]
    )
    return theta


def _bounded_least_squares(basis: Array, target: Array, lower: Array, upper: Array) -> Array:
    """Batched least squares; coordinates that leave their bounds are held, the rest refitted."""
    gram = np.matmul(basis, basis.transpose(0, 2, 1))
    rhs = np.matmul(basis, target)
    q = gram.shape[1]
    i: NDArray[np.intp] = np.arange(q, dtype=np.intp)
    gram[:, i, i] *= 1.0 + 1e-10
    gram[:, i, i] += 1e-300
    fixed = np.zeros(gram.shape[:2], bool)
    value = np.zeros(gram.shape[:2])
    for _ in range(q + 1):
        a = np.where(fixed[:, :, None] | fixed[:, None, :], 0.0, gram)
        a[:, i, i] = np.where(fixed, 1.0, gram[:, i, i])
        moved = rhs - np.matmul(gram, np.where(fixed, value, 0.0)[:, :, None])[:, :, 0]
        root = 1.0 / np.sqrt(a[:, i, i])
        a = a * root[:, :, None] * root[:, None, :]
        b = np.where(fixed, value / root, moved * root)
        solved = np.linalg.solve(a + 1e-12 * np.eye(q), b[:, :, None])[:, :, 0] * root
        out = ~fixed & ((solved < lower) | (solved > upper))
        value = np.clip(solved, lower, upper)
        if not out.any():
            break
        fixed |= out
    return value


def descend(
    curve: Curve,
    y: Array,
    theta: Array,
    scale: Array,
    weights: Array | None,
    free: NDArray[np.bool_],
    objective: Objective,
    *,
    lower: Array | None = None,
    steps: int = 80,
    tolerance: float = 1e-10,
    squares_first: bool = True,
) -> Minimum:
    """Minimise from several starts: squares first where Huber's corner would hide the way."""
    lower = curve.model.lower if lower is None else lower

    def run(begin: Array, by: Objective, until: float) -> Minimum:
        return minimise(
            curve,
            y,
            begin,
            scale=scale,
            weights=weights,
            free=free,
            lower=lower,
            upper=curve.model.upper,
            objective=by,
            steps=steps,
            tolerance=until,
        )

    if squares_first and np.isfinite(objective.delta):
        theta = run(theta, Objective(np.inf, objective.prior), 1e-4).theta
    return run(theta, objective, tolerance)
