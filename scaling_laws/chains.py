"""Errors that accumulate along a pruning chain, and the rotation that makes them independent.

A student inherits the luck of the student it was pruned from. On the residual scale the errors of
one chain have covariance ``V + s^2 R``: ``V`` the known evaluation variances, ``R_kl = rho min(k,
l)`` (``+ 1 - rho`` on the diagonal) over positions k, l in the chain. ``rho`` is chosen by
restricted likelihood; ``rho = 0`` is independent runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_laws.model import Model
from scaling_laws.problem import Problem
from scaling_laws.variance import paule_mandel

__all__ = ["ChainError", "Curve", "accumulation", "chain_rotation", "position_of"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Below 1: two students of one parent at one position (two formats) are alike, never identical.
_GRID = (0.0, 0.25, 0.5, 0.75, 0.97)


@dataclass(frozen=True)
class Block:
    """Chains of one length: their rows ``[chains, length]`` and rotations ``[chains, k, k]``."""

    rows: Index
    rotation: Array


@dataclass(frozen=True)
class ChainError:
    """Rotation to independent rows.

    Attributes
    ----------
    rho : float
        Share of a run's variance that its successors inherit.
    blocks : tuple of Block
    evaluation : array [n]
        Evaluation variance of the rotated rows; their run variance is ``s^2`` each.
    positions : array [n]
        Place of each row in its chain, from 1.
    variance : array [n]
        Evaluation variance of the rows as logged.
    """

    rho: float
    blocks: tuple[Block, ...]
    evaluation: Array
    positions: Array
    variance: Array

    def rotate(self, values: Array) -> Array:
        """Rotate the last axis ``[..., n]``."""
        out = np.empty_like(values)
        for block in self.blocks:
            out[..., block.rows] = np.einsum(
                "ckl,...cl->...ck", block.rotation, values[..., block.rows]
            )
        return out

    def innovations(self, errors: Array, run_variance: float) -> Array:
        """Return what each row adds to the errors before it in its chain, in its own sd.

        ``L^-1 e`` of each chain by position, ``L L^T = V + s^2 R``: independent, of variance 1.
        Unlike rotated rows, each still belongs to its own run. `errors` is ``[..., n]``.
        """
        out = np.empty_like(errors)
        for rows in (chain for block in self.blocks for chain in block.rows):
            ordered = rows[np.argsort(self.positions[rows], kind="stable")]
            shared = run_variance * _structure(self.rho, self.positions[ordered])
            factor = np.linalg.cholesky(shared + np.diag(self.variance[ordered]))
            out[..., ordered] = np.linalg.solve(factor, errors[..., ordered].T).T
        return out


@dataclass(frozen=True)
class Curve:
    """A model seen through the rotation of its chains (or as it is)."""

    model: Model
    chains: ChainError | None = None

    def evaluate(self, theta: Array, rows: Index | None = None) -> tuple[Array, Array]:
        """Return mean and Jacobian of the rotated rows."""
        mean, jacobian = self.model.evaluate(theta, rows)
        if self.chains is None:
            return mean, jacobian
        return self.chains.rotate(mean), self.chains.rotate(jacobian)

    def residual_mean(self, theta: Array) -> Array:
        """Return the mean of the rotated rows."""
        return self.rotate(self.model.residual_mean(theta))

    def rotate(self, values: Array) -> Array:
        """Rotate observations."""
        return values if self.chains is None else self.chains.rotate(values)


def _positions(problem: Problem) -> Array:
    """Place of each row in its chain, from 1, by decreasing size, else as logged."""
    frame, unit = problem.frame, problem.unit
    if "stage" in frame.columns and frame["stage"].notna().all():
        order = frame["stage"].to_numpy(dtype=float)
    elif "kept" in frame.columns:
        order = -frame["kept"].to_numpy(dtype=float)
    else:
        order = np.arange(len(frame), dtype=float)
    position = np.empty(len(frame))
    for code in np.unique(unit):
        rows = np.flatnonzero(unit == code)
        _, place = np.unique(order[rows], return_inverse=True)
        position[rows] = place + 1.0
    return position


def _structure(rho: float, positions: Array) -> Array:
    shared = np.minimum(positions[:, None], positions[None, :])
    return rho * shared + (1.0 - rho) * np.eye(len(positions))


def chain_rotation(unit: Index, rho: float, positions: Array, variance: Array) -> ChainError:
    """Diagonalise ``V`` and ``R`` together: rotated rows have variance ``lambda_i + s^2``."""
    lengths: dict[int, list[Index]] = {}
    for code in np.unique(unit):
        rows = np.flatnonzero(unit == code)
        lengths.setdefault(len(rows), []).append(rows)
    rotated = np.empty(len(unit))
    blocks: list[Block] = []
    for chains in lengths.values():
        turns: list[Array] = []
        for rows in chains:
            half = np.linalg.inv(np.linalg.cholesky(_structure(rho, positions[rows])))
            values, vectors = np.linalg.eigh(half * variance[rows] @ half.T)
            # Signs of eigenvectors are the library's choice; draws of one seed must not follow it.
            sign = np.where(np.arange(1, len(rows) + 1) @ vectors < 0, -1.0, 1.0)
            turns.append(np.asarray((vectors * sign).T @ half, float))
            rotated[rows] = np.maximum(values, 0.0)
        blocks.append(Block(np.stack(chains), np.stack(turns)))
    return ChainError(rho, tuple(blocks), rotated, positions, variance)


def accumulation(
    problem: Problem, theta: Array, free: NDArray[np.bool_], evaluation: Array
) -> ChainError | None:
    """Choose `rho` by restricted likelihood at a fit; None where errors do not accumulate."""
    if problem.unit_kind != "chain" or problem.weights is not None or problem.absolute:
        return None
    mean, jacobian = problem.model.evaluate(theta[None])
    residual, j = problem.y - mean[0], jacobian[0][free]
    # A parameter that moves no prediction here (a slope of 0 with its exponent) takes no degree.
    j = j[(j * j).sum(1) > 0.0]
    positions = _positions(problem)
    best: tuple[float, ChainError | None] = (-np.inf, None)
    for rho in _GRID:
        chains = chain_rotation(problem.unit, rho, positions, evaluation)
        r, a = chains.rotate(residual), chains.rotate(j)
        target = np.array([problem.n - len(j)], float)
        if target[0] <= 0:
            return None
        variance = chains.evaluation + paule_mandel(r * r, chains.evaluation, target)[0]
        variance = np.maximum(variance, 1e-300)
        a = a / np.sqrt(variance)
        norm = np.sqrt((a * a).sum(1))
        _, logdet = np.linalg.slogdet((a @ a.T) / np.outer(norm, norm) + 1e-12 * np.eye(len(a)))
        turn = sum(np.linalg.slogdet(b.rotation)[1].sum() for b in chains.blocks)
        score = -0.5 * float(
            np.log(variance).sum()
            - 2.0 * turn
            + logdet
            + 2.0 * np.log(norm).sum()
            + (r * r / variance).sum()
        )
        if score > best[0] + 1e-9:
            best = (score, chains if rho > 0 else None)
    return best[1]


def position_of(chains: ChainError, kept_seen: Array, kept: Array) -> Array:
    """Place in a chain that a new student of that size would have.

    Linear in the fraction kept between the levels seen and beyond them (schedules remove a constant
    share of the teacher a step), never below 1.
    """
    levels, inverse = np.unique(kept_seen, return_inverse=True)
    place = np.bincount(inverse, weights=chains.positions) / np.bincount(inverse)
    if len(levels) == 1:
        return np.full(np.shape(kept), place[0])
    inside = np.interp(kept, levels, place)
    low = place[0] + (place[1] - place[0]) / (levels[1] - levels[0]) * (kept - levels[0])
    return np.maximum(np.where(kept < levels[0], low, inside), 1.0)
