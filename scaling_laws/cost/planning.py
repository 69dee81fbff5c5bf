"""Which sizes a model pruned to a fraction gets, for many fractions at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .shapes import AXES, Shape, counts

__all__ = ["ROUNDING", "SPLITS", "planned"]

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
    split: str | Mapping[str, float] = "both",
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
    split : {"depth", "width", "both"} or mapping
        Shares by axis; an axis left out is not pruned.
    rounding : mapping, optional
        Multiples by axis, where they differ from `ROUNDING`.

    Returns
    -------
    DataFrame
        A row a target: every size, as the functions of this package take it, with ``params``,
        ``kept`` as reached (of what `kept_of` says) and ``kept_target``.

    Raises
    ------
    ValueError
        For a target outside (0, 1] or below the smallest model that the split allows, or an
        unknown axis.
    """
    targets = np.atleast_1d(np.asarray(kept, np.float64))
    bad = ~((targets > 0) & (targets <= 1))
    if bad.any():
        raise ValueError(
            f"planned: kept = {targets[bad][0]:g} is not in (0, 1]; it is the fraction of the "
            "parameters left."
        )
    if kept_of not in ("total", "nonembedding"):
        raise ValueError(f"planned: kept_of = {kept_of!r}; write 'total' or 'nonembedding'.")
    shares = _shares(split)
    path = _path(shape, shares, dict(ROUNDING) | dict(rounding or {}))
    count = counts(path)
    reached = count.params if kept_of == "total" else count.nonembedding
    whole = shape.params if kept_of == "total" else shape.params_nonembedding
    fraction = reached / whole
    if targets.min() < fraction.min() * (1 - 1e-9):
        raise ValueError(
            f"planned: kept = {targets.min():g} is below {fraction.min():.3g}, the least that this "
            "split and rounding leave. Add axes to the split, or round to smaller multiples."
        )
    order = np.argsort(fraction, kind="stable")
    ordered = fraction[order]
    above = np.clip(np.searchsorted(ordered, targets), 1, len(ordered) - 1)
    nearer = np.abs(ordered[above] - targets) < np.abs(ordered[above - 1] - targets)
    chosen = order[np.where(nearer, above, above - 1)]
    out = path.iloc[chosen].reset_index(drop=True)
    return out.assign(params=count.params[chosen], kept=fraction[chosen], kept_target=targets)


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


def _path(shape: Shape, shares: Mapping[str, float], rounding: Mapping[str, int]) -> pd.DataFrame:
    """Every shape met as s grows from nothing pruned to every axis at its smallest."""
    grids = {a: _grid(shape, a, rounding[a]) for a in shares}
    far = max(np.log(grids[a][-1] / grids[a][0]) / w for a, w in shares.items()) + 1e-9
    s: NDArray[np.float64] = np.linspace(0.0, float(far), _STEPS)
    wanted = {a: np.log(getattr(shape, a)) - s * w for a, w in shares.items()}
    sizes = {
        a: grids[a][_nearest(np.log(grids[a]), wanted[a])]
        for a in shares
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
