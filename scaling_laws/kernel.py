"""The batched minimiser: every start, resample, profile point and group is a row of one batch.

Damped Newton steps with the true curvature of Huber's loss, bounds by an active set, no branch by
the law's name. Objective of a row:
``F(theta) = sum_i w_i rho((y_i - m_i(theta)) s_i) + 1/2 sum_j ((theta_j - c_j) / sd_j)^2``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONVERGED", "STALLED", "Minimum", "Objective", "minimise"]

Array = NDArray[np.float64]
_T = TypeVar("_T", bound=np.generic)

Index = NDArray[np.intp]

CONVERGED, STALLED = 0, 1


class Curve(Protocol):
    """What the kernel needs of a model."""

    def evaluate(self, theta: Array, rows: NDArray[np.intp] | None = None) -> tuple[Array, Array]:
        """Mean ``[B, n]`` and Jacobian ``[B, p, n]`` on the residual scale."""
        ...


@dataclass(frozen=True)
class Objective:
    """What is summed over rows.

    Parameters
    ----------
    delta : float
        Huber's corner, in units of the scaled residual; ``inf`` is least squares.
    prior : (array [p], array [p]) or None
        Centre and 1/sd of a normal prior on the kernel's coordinates (1/sd = 0: none); the centre
        may be ``[B, p]``.
    penalty : callable or None
        ``penalty(theta, rows) -> (f [B], gradient [B, p], curvature [B, p, p])``, for profiles.
    """

    delta: float = np.inf
    prior: tuple[Array, Array] | None = None
    penalty: Callable[[Array, NDArray[np.intp]], tuple[Array, Array, Array]] | None = None

    def rho(self, r: Array) -> Array:
        """Huber's loss: ``r^2 / 2`` inside delta, ``delta (|r| - delta / 2)`` outside."""
        if not np.isfinite(self.delta):
            return 0.5 * r * r
        a = np.minimum(np.abs(r), self.delta)
        return a * (np.abs(r) - 0.5 * a)


@dataclass(frozen=True)
class Minimum:
    """Result of a batch.

    Attributes
    ----------
    theta : array [B, p]
    objective : array [B]
    steps : array [B] of int
        Steps taken.
    status : array [B] of int
        `CONVERGED` or `STALLED` (out of steps, or damping exhausted without meeting the tolerance).
    """

    theta: Array
    objective: Array
    steps: NDArray[np.intp]
    status: NDArray[np.intp]


@dataclass
class _Batch:
    """Arrays of the rows still moving."""

    curve: Curve
    y: Array
    scale: Array | None
    weights: Array | None
    objective: Objective

    def local(self, theta: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Objective ``[B]``, minus gradient ``[B, p]`` and curvature ``[B, p, p]``."""
        block = max(1, _BLOCK // (self.y.shape[-1] * theta.shape[1]))
        with np.errstate(all="ignore"):
            if len(rows) <= 2 * block:
                return self._local(theta, rows)
            parts = [
                self._local(theta[i : i + block], rows[i : i + block])
                for i in range(0, len(rows), block)
            ]
        f, gradient, curvature = zip(*parts, strict=True)
        return np.concatenate(f), np.concatenate(gradient), np.concatenate(curvature)

    def _local(self, theta: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        mean, jacobian = self.curve.evaluate(theta, rows)
        scale = None if self.scale is None else _pick(self.scale, rows)
        r = _pick(self.y, rows) - mean
        if scale is not None:
            r *= scale
        delta = self.objective.delta
        if np.isfinite(delta):
            psi = np.clip(r, -delta, delta)
            f_row = psi * (r - 0.5 * psi)
            # Rows outside delta have no curvature of their own; a small share of the majorising
            # weight delta/|r| keeps the step finite where few rows are inside.
            size = np.abs(r)
            inside = (_OUTSIDE * delta) / np.maximum(size, delta)
            inside[size <= delta] = 1.0
        else:
            psi, f_row, inside = r, 0.5 * r * r, None
        w = None if self.weights is None else _pick(self.weights, rows)
        if w is not None:
            f_row = f_row * w
            psi = psi * w
            inside = w if inside is None else inside * w
        f = f_row.sum(1)
        if scale is not None:
            psi = psi * scale
            inside = scale**2 if inside is None else inside * scale**2
        gradient = np.matmul(jacobian, psi[:, :, None])[:, :, 0]
        if inside is not None:
            jacobian *= np.sqrt(inside)[:, None, :]
        curvature = np.matmul(jacobian, jacobian.transpose(0, 2, 1))
        return self._add_prior(theta, rows, f, gradient, curvature)

    def bend(self, theta: Array, step: Array, rows: Index) -> Array:
        """Return ``J^T W m''`` ``[B, p]``, ``m''`` the mean's second derivative along `step`."""
        with np.errstate(all="ignore"):
            mean, jacobian = self.curve.evaluate(theta, rows)
            ahead, _ = self.curve.evaluate(theta + _AHEAD * step, rows)
            along = np.matmul(step[:, None, :], jacobian)[:, 0]
            second = 2.0 / _AHEAD * ((ahead - mean) / _AHEAD - along)
            scale = 1.0 if self.scale is None else _pick(self.scale, rows)
            r = np.abs(_pick(self.y, rows) - mean) * scale
            weight = np.where(r <= self.objective.delta, np.square(scale), 0.0)
            if self.weights is not None:
                weight = weight * _pick(self.weights, rows)
            return np.nan_to_num(np.matmul(jacobian, (second * weight)[:, :, None])[:, :, 0])

    def _add_prior(
        self, theta: Array, rows: NDArray[np.intp], f: Array, gradient: Array, curvature: Array
    ) -> tuple[Array, Array, Array]:
        if self.objective.prior is not None:
            centre, inverse = self.objective.prior
            gap = (_pick(np.atleast_2d(centre), rows) - theta) * inverse
            f = f + 0.5 * (gap * gap).sum(1)
            gradient = gradient + gap * inverse
            i: Index = np.arange(theta.shape[1], dtype=np.intp)
            curvature[:, i, i] += inverse**2
        if self.objective.penalty is not None:
            pf, pg, ph = self.objective.penalty(theta, rows)
            f, gradient, curvature = f + pf, gradient - pg, curvature + ph
        return f, gradient, curvature


# Numbers in a Jacobian that stay in a core's own cache: larger batches are walked in blocks.
_BLOCK = 100_000
# Factor on the damping after a rejected step, squared by the next rejection, and so on.
_GROWTH = 4.0
# Bent steps (geodesic acceleration: Transtrum & Sethna 2012, arXiv 1201.5885): the second
# derivative is taken over the first share of a step, a bend beyond the other refuses the step.
_AHEAD, _TURN = 0.1, 0.375
# Share of the majorising curvature given to rows outside delta.
_OUTSIDE = 0.02


def _pick(a: NDArray[_T], rows: Index) -> NDArray[_T]:
    """Rows of a batched array; an array shared by all rows stays as it is."""
    return a if a.shape[0] == 1 or a.shape[0] == len(rows) else a[rows]


def minimise(
    curve: Curve,
    y: Array,
    theta: Array,
    *,
    scale: Array | None = None,
    weights: Array | None = None,
    free: NDArray[np.bool_] | None = None,
    lower: Array,
    upper: Array,
    objective: Objective | None = None,
    steps: int = 60,
    tolerance: float = 1e-10,
    bend_after: int = 30,
) -> Minimum:
    """Minimise a batch of objectives from given starts.

    Parameters
    ----------
    curve : Curve
        Usually a `Model`.
    y : array [B or 1, n]
        Observations on the residual scale.
    theta : array [B, p]
        Starts; clipped into the bounds.
    scale : array [B or 1, n], optional
        Inverse standard deviations; 1 without.
    weights : array [B or 1, n], optional
        Multiplicities: weight 2 is a row twice, weight 0 a row absent.
    free : bool array [B or 1, p], optional
        False: held at its start.
    lower, upper : array [p]
    objective : Objective, optional
        Least squares without.
    steps : int
        Most steps a row may take.
    tolerance : float
        A row has converged when the step is below `tolerance` of the residual norm, or the relative
        decrease below ``tolerance**1.5`` with little damping.
    bend_after : int
        A row that still moves after so many steps is taken to be in a curved valley: its steps are
        bent by the mean's second derivative, at the price of two more evaluations each.

    Returns
    -------
    Minimum
    """
    objective = objective or Objective()
    y = np.atleast_2d(y)
    # Residuals in their own unit are not multiplied at all.
    scale = None if scale is None or (scale == 1.0).all() else np.atleast_2d(scale)
    theta = np.clip(np.asarray(theta, float), lower, upper)
    n_batch, p = theta.shape
    held: NDArray[np.bool_] = np.zeros((1, p), np.bool_)
    if free is not None:
        held = np.logical_not(np.atleast_2d(free))
    batch = _Batch(curve, y, scale, None if weights is None else np.atleast_2d(weights), objective)

    act: Index = np.arange(n_batch, dtype=np.intp)
    best_f, gradient, curvature = batch.local(theta, act)
    best_f = np.where(np.isfinite(best_f), best_f, np.inf)
    best = theta.copy()
    damping = np.full(n_batch, 1e-3)
    growth = np.full(n_batch, _GROWTH)
    taken = np.zeros(n_batch, np.intp)
    status = np.full(n_batch, STALLED, np.intp)
    diagonal: Index = np.arange(p, dtype=np.intp)
    for _ in range(steps):
        t, g, h = best[act], gradient, curvature
        blocked = ((t <= lower) & (g < 0)) | ((t >= upper) & (g > 0)) | _pick(held, act)
        d = np.maximum(_finite(h[:, diagonal, diagonal]), 1e-300)
        step = _solve(h, g, d, damping[act], blocked, diagonal)
        straight = np.ones(len(act), np.bool_)
        late: Index = np.flatnonzero(taken[act] >= bend_after)
        if len(late):
            bend = batch.bend(t[late], step[late], act[late])
            turn = _solve(h[late], -bend, d[late], damping[act[late]], blocked[late], diagonal)
            straight[late] = _norm(turn, d[late]) <= _TURN * _norm(step[late], d[late])
            step[late] += 0.5 * np.where(straight[late, None], turn, 0.0)
        new = np.clip(t + step, lower, upper)
        step = new - t
        f_new, g_new, h_new = batch.local(new, act)
        f_old = best_f[act]
        better = (f_new <= f_old) & straight
        with np.errstate(invalid="ignore"):  # infinite before and after
            gain = f_old - f_new
        taken[act] += 1

        size = (np.abs(step) * np.sqrt(d)).max(1)
        # Relative to the residual norm, and to rounding where the fit is exact.
        small = size <= tolerance * np.sqrt(2.0 * f_old) + 1e-14 * _norm(t, d)
        small &= np.isfinite(f_old)
        flat = better & (gain <= tolerance**1.5 * f_old) & (damping[act] < 0.1)
        harder = np.maximum(damping[act], 1e-10) * growth[act]
        eased = damping[act] * _easing(gain, step, g, h)
        damping[act] = np.where(better, np.maximum(eased, 1e-12), harder)
        growth[act] = np.where(better, _GROWTH, growth[act] * _GROWTH)
        moved: Index = act[better]
        best[moved] = new[better]
        best_f[moved] = f_new[better]
        done = small | flat
        status[act[done]] = CONVERGED
        go = ~(done | (damping[act] > 1e9))
        gradient = np.where(better[:, None], g_new, g)[go]
        curvature = np.where(better[:, None, None], h_new, h)[go]
        act = act[go]
        if not len(act):
            break
    return Minimum(best, best_f, taken, status)


def _easing(decrease: Array, step: Array, g: Array, h: Array) -> Array:
    """Return the factor on the damping after a step that was taken.

    By the decrease over the one that the quadratic model promised (Moré 1978, section 5).
    """
    with np.errstate(all="ignore"):
        promised = (step * (g - 0.5 * np.matmul(h, step[:, :, None])[:, :, 0])).sum(1)
        gain = decrease / np.maximum(promised, 1e-300)
    return np.where(gain > 0.75, 0.1, np.where(gain > 0.25, 0.5, 4.0))


def _finite(a: Array) -> Array:
    """Return the array with anything infinite or undefined made finite; as it is if nothing is."""
    return a if np.isfinite(a).all() else np.nan_to_num(a)


def _norm(theta: Array, d: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt((theta * theta * d).sum(1))


def _solve(
    h: Array,
    g: Array,
    d: Array,
    damping: Array,
    blocked: NDArray[np.bool_],
    diagonal: NDArray[np.intp],
) -> Array:
    """Damped Newton step in unit-diagonal coordinates, blocked coordinates held."""
    # A coordinate without curvature may be sent to infinity; bounds or a refusal take it back.
    with np.errstate(over="ignore"):
        root = 1.0 / np.sqrt(d)
        a = h * root[:, :, None] * root[:, None, :]
        if blocked.any():
            keep = (~blocked).astype(float)
            a = a * keep[:, :, None] * keep[:, None, :]
            g = g * keep
        a = _finite(a)
        a[:, diagonal, diagonal] = 1.0 + damping[:, None] + 1e-14
        rhs = _finite(g * root)
        return np.linalg.solve(a, rhs[:, :, None])[:, :, 0] * root
