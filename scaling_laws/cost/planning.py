"""Which sizes a model pruned to a fraction gets, for many fractions at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .shapes import AXES, Shape, Split, counts

__all__ = ["ROUNDING", "SPLITS", "planned", "pruning_path"]

SPLITS: Mapping[str, Mapping[str, float]] = {
    "depth": {"layers": 1.0},
    "width": {"ffn": 1.0, "hidden": 0.5, "kv_heads": 0.5},
    "both": {"layers": 1.0, "ffn": 1.0, "hidden": 0.5, "kv_heads": 0.5},
}
"""Shares of the axes by name. Ours: the feed-forward network gives more than hidden and heads."""

ROUNDING: Mapping[str, int] = {"layers": 1, "hidden": 256, "ffn": 512, "kv_heads": 1}
"""Multiples that pruned sizes are rounded to, for the hardware's sake; what stays whole, stays."""

_STEPS = 4000


def planned(
    shape: Shape,
    kept: ArrayLike,
    *,
    kept_of: Literal["total", "nonembedding"] = "total",
    split: Split = "both",
    rounding: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """Choose sizes that keep a fraction of a model's parameters.

    An axis of share w keeps the fraction ``exp(-s w)``, rounded; of all s the one whose count is
    nearest to the target is taken.

    Parameters
    ----------
    shape : Shape
        The model that is pruned.
    kept : array-like of float in (0, 1]
        Target fractions.
    kept_of : {"total", "nonembedding"}
        Whether embedding and output head count.
    split : {"depth", "width", "both"}, mapping or DataFrame
        Shares by axis, an axis left out is not pruned; or the sizes of students of this model, a
        row each, on whose path the others lie (straight in logarithms between two of them).
    rounding : mapping, optional
        Multiples by axis, where they differ from `ROUNDING`; finer where given students are.

    Returns
    -------
    DataFrame
        A row a target: every size, as the functions of this package take it, with ``params``,
        ``kept`` as reached (of what `kept_of` says) and ``kept_target``.

    Raises
    ------
    ValueError
        For a target outside (0, 1] or below the smallest model that the split allows, an unknown
        axis, or students that lie on no path.
    """
    targets = np.atleast_1d(np.asarray(kept, np.float64))
    bad = ~((targets > 0) & (targets <= 1))
    if bad.any():
        raise ValueError(
            f"planned: kept = {targets[bad][0]:g} is not in (0, 1]; it is the fraction of the "
            "parameters left."
        )
    path = pruning_path(shape, kept_of=kept_of, split=split, rounding=rounding)
    fraction = path["kept"].to_numpy(dtype=np.float64)
    if len(targets) and targets.min() < fraction.min() * (1 - 1e-9):
        raise ValueError(
            f"planned: kept = {targets.min():g} is below {fraction.min():.3g}, the least that this "
            "split and rounding leave. Add axes to the split, or round to smaller multiples."
        )
    order = np.argsort(fraction, kind="stable")
    ordered = fraction[order]
    above = np.clip(np.searchsorted(ordered, targets), 1, len(ordered) - 1)
    nearer = np.abs(ordered[above] - targets) < np.abs(ordered[above - 1] - targets)
    chosen = order[np.where(nearer, above, above - 1)]
    return path.iloc[chosen].reset_index(drop=True).assign(kept_target=targets)


def pruning_path(
    shape: Shape,
    *,
    kept_of: Literal["total", "nonembedding"] = "total",
    split: Split = "both",
    rounding: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """Return every size that pruning goes through, from the whole model to the smallest one.

    Arguments and columns as in `planned`, without ``kept_target``.
    """
    if kept_of not in ("total", "nonembedding"):
        raise ValueError(f"planned: kept_of = {kept_of!r}; write 'total' or 'nonembedding'.")
    if isinstance(split, pd.DataFrame):
        knots = _knots(shape, split, kept_of)
        multiples = {a: _common(ROUNDING[a], sizes) for a, sizes in knots.sizes.items()}
    else:
        # The whole model is the only knot, and the shares lead on from it.
        shares = _shares(split)
        whole_sizes = {a: np.array([getattr(shape, a)], np.int64) for a in shares}
        knots, multiples = _Knots(np.zeros(1), whole_sizes, shares), dict(ROUNDING)
    path = _path(shape, knots, multiples | dict(rounding or {}))
    reached, whole = _counted(path, kept_of), _counted(shape, kept_of)
    return path.assign(params=counts(path).params, kept=reached / whole)


@dataclass(frozen=True, eq=False)
class _Knots:
    """Students that the path goes through, and the shares by which it goes on behind the last.

    Parameters
    ----------
    s : array [knots]
        Minus the logarithm of the fraction kept, rising from the whole model's 0.
    sizes : mapping of axis to array [knots]
    shares : mapping of axis to float
    """

    s: NDArray[np.float64]
    sizes: Mapping[str, NDArray[np.int64]]
    shares: Mapping[str, float]

    def wanted(self, axis: str, s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logarithm of a size at each s."""
        beyond = np.maximum(s - self.s[-1], 0.0) * self.shares[axis]
        return np.interp(s, self.s, np.log(self.sizes[axis])) - beyond


def _knots(shape: Shape, students: pd.DataFrame, kept_of: str) -> _Knots:
    named = [a for a in AXES if a in students]
    listed = students[named].drop_duplicates()
    told = shape.variants(**{a: listed[a].to_numpy(dtype=np.int64) for a in named})
    kept = _counted(told, kept_of) / _counted(shape, kept_of)
    order = np.argsort(-kept, kind="stable")
    order = order[kept[order] < 1]
    below, fractions = told.iloc[order], np.array([1.0, *kept[order]])
    axes = [a for a in named if (below[a] < getattr(shape, a)).any()]
    rising = [a for a in axes if (np.diff(below[a].to_numpy()) > 0).any()]
    why = "none is smaller than the model" if not axes else ""
    if rising:
        why = f"{rising[0]} grows where they get smaller"
    elif (np.diff(fractions) == 0).any():
        why = f"two keep {fractions[np.flatnonzero(np.diff(fractions) == 0)[0]]:.3g}"
    if why:
        raise ValueError(
            f"planned: the students given as split lie on no one path of pruning: {why}. Give "
            "those of one way to prune, or shares by axis."
        )
    s: NDArray[np.float64] = -np.log(fractions)
    knots = {a: np.array([getattr(shape, a), *below[a]], np.int64) for a in axes}
    shares = {a: float(np.log(size[0] / size[-1]) / s[-1]) for a, size in knots.items()}
    return _Knots(s, knots, shares)


def _common(multiple: int, sizes: NDArray[np.int64]) -> int:
    return int(np.gcd.reduce([multiple, *sizes]))


def _counted(shapes: Shape | pd.DataFrame, kept_of: str) -> NDArray[np.int64]:
    count = counts(shapes)
    return count.params if kept_of == "total" else count.nonembedding


def _shares(split: str | Mapping[str, float]) -> Mapping[str, float]:
    if isinstance(split, str):
        if split not in SPLITS:
            raise ValueError(f"planned: split = {split!r}; write one of {', '.join(SPLITS)}.")
        return SPLITS[split]
    if not split or any(a not in AXES for a in split) or not all(w > 0 for w in split.values()):
        raise ValueError(
            f"planned: split = {dict(split)}; give positive shares to some of {', '.join(AXES)}."
        )
    return split


def _path(shape: Shape, knots: _Knots, rounding: Mapping[str, int]) -> pd.DataFrame:
    """Every shape met as s grows from nothing pruned to every axis at its smallest."""
    axes = list(knots.sizes)
    grids = {a: _grid(shape, a, rounding[a]) for a in axes}
    last = {a: np.log(knots.sizes[a][-1] / grids[a][0]) for a in axes}
    far = knots.s[-1] + max(last[a] / knots.shares[a] for a in axes) + 1e-9
    s: NDArray[np.float64] = np.union1d(np.linspace(0.0, float(far), _STEPS), knots.s)
    wanted = {a: knots.wanted(a, s) for a in axes}
    sizes = {
        a: grids[a][_nearest(np.log(grids[a]), wanted[a])]
        for a in axes
        if a not in ("hidden", "kv_heads")
    }
    sizes |= _legal_pairs(shape, grids, wanted)
    return shape.variants(**sizes).drop_duplicates(ignore_index=True)


def _grid(shape: Shape, axis: str, step: int) -> NDArray[np.int64]:
    size = int(getattr(shape, axis))
    if step < 1 or size < step:
        raise ValueError(
            f"planned: {axis} = {size} can't be rounded to multiples of {step}; pass "
            f"rounding={{{axis!r}: ...}}, or leave {axis} out of the split."
        )
    return np.array([*range(step, size, step), size], np.int64)


def _nearest(grid: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.argmin(np.abs(grid[None, :] - wanted[:, None]), axis=1)


def _legal_pairs(
    shape: Shape,
    grids: Mapping[str, NDArray[np.int64]],
    wanted: Mapping[str, NDArray[np.float64]],
) -> dict[str, NDArray[np.int64]]:
    """Hidden size and key-value heads together: Llama wants hidden divisible by the heads."""
    axes = [a for a in ("hidden", "kv_heads") if a in grids]
    if not axes:
        return {}
    hidden, kv_heads = np.meshgrid(
        grids.get("hidden", np.array([shape.hidden])),
        grids.get("kv_heads", np.array([shape.kv_heads])),
        indexing="ij",
    )
    pairs = {"hidden": hidden.ravel(), "kv_heads": kv_heads.ravel()}
    if shape.family == "llama":
        legal = pairs["hidden"] % (pairs["kv_heads"] * (shape.heads // shape.kv_heads)) == 0
        pairs = {a: size[legal] for a, size in pairs.items()}
    off = sum(np.abs(np.log(pairs[a])[None, :] - wanted[a][:, None]) for a in axes)
    best = np.argmin(off, axis=1)
    return {a: pairs[a][best] for a in axes}
