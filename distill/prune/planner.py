"""Which sizes a pruned model gets: a target share of parameters, met by a split over axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Literal

from transformers import PreTrainedConfig

from distill.prune.tensors import ParameterTable, Shape, read_shape

__all__ = [
    "KEPT",
    "SPLITS",
    "Plan",
    "Rounding",
    "Step",
    "plan",
    "plan_chain",
    "plan_shape",
    "schedule",
]

KeptOf = Literal["total", "nonembedding"]

KEPT = (0.79, 0.58, 0.37, 0.16)
"""Fractions of the teacher kept at each step of the paper."""

SPLITS: Mapping[str, Mapping[str, float]] = {
    "depth": {"layers": 1.0},
    "width": {"ffn": 1.0, "hidden": 0.5, "kv_heads": 0.5},
    "both": {"layers": 1.0, "ffn": 1.0, "hidden": 0.5, "kv_heads": 0.5},
}
"""Shares of the axes by name. Ours: the feed-forward network gives more than hidden and heads."""

_AXES = ("layers", "hidden", "ffn", "kv_heads")


@dataclass(frozen=True)
class Rounding:
    """Multiples that pruned sizes are rounded to, for the hardware's sake; what stays whole, stays.

    Matrix units like multiples of 256; tensor parallelism over g devices wants `kv_heads` in
    multiples of g.
    """

    layers: int = 1
    hidden: int = 256
    ffn: int = 512
    kv_heads: int = 1

    def __post_init__(self) -> None:
        """Refuse steps below 1."""
        for name in _AXES:
            if getattr(self, name) < 1:
                raise ValueError(f"Rounding: {name} = {getattr(self, name)} is not 1 or more.")


@dataclass(frozen=True)
class Plan:
    """Sizes of a pruned model, and what they keep of the teacher.

    Parameters
    ----------
    layers, hidden, ffn, kv_heads, heads : int
        As in `Shape`; each key-value head keeps all its query heads.
    params, params_nonembedding : int
        Exact counts, norms and biases included; tied embeddings count once.
    kept_total, kept_nonembedding : float
        Fractions of the teacher's two counts, as reached.
    target : float or None
        Fraction asked for; None where the sizes were given.
    kept_of : {"total", "nonembedding"}
        Which of the two the target is about.
    axis : {"depth", "width", "both"}
        Axes that were pruned, or offered to be.
    """

    layers: int
    hidden: int
    ffn: int
    kv_heads: int
    heads: int
    params: int
    params_nonembedding: int
    kept_total: float
    kept_nonembedding: float
    target: float | None
    kept_of: KeptOf
    axis: Literal["depth", "width", "both"]

    @property
    def kept(self) -> float:
        """Fraction reached, of the count that the target is about."""
        return self.kept_total if self.kept_of == "total" else self.kept_nonembedding


@dataclass(frozen=True)
class Step:
    """One pruning step: from a model that keeps `parent` of the teacher to one that keeps `kept`.

    Parameters
    ----------
    kept, parent : float
        Fractions of the teacher; ``parent = 1`` is the teacher itself.
    """

    kept: float
    parent: float

    @property
    def step_kept(self) -> float:
        """Fraction of the parent that this step keeps."""
        return self.kept / self.parent


def schedule(
    kept: Sequence[float] = KEPT, mode: Literal["iterative", "one-shot"] = "iterative"
) -> tuple[Step, ...]:
    """Order the pruning steps.

    ``iterative``: each student is pruned from the one before it, distilled in between;
    ``one-shot``: each from the teacher.

    Raises
    ------
    ValueError
        If `kept` does not fall strictly within (0, 1), or for another mode.
    """
    _check_falling(kept)
    if mode not in ("iterative", "one-shot"):
        raise ValueError(f"schedule: mode = {mode!r}; write 'iterative' or 'one-shot'.")
    parents = (1.0, *kept[:-1]) if mode == "iterative" else (1.0,) * len(kept)
    return tuple(Step(k, parent) for k, parent in zip(kept, parents, strict=True))


def plan_chain(
    config: PreTrainedConfig,
    kept: Sequence[float] = KEPT,
    *,
    kept_of: KeptOf = "total",
    split: str | Mapping[str, float] = "both",
    rounding: Rounding | None = None,
) -> tuple[Plan, ...]:
    """Plan a falling series of students, each within the one before.

    The same plans serve both schedules, so that iterative and one-shot students of a size have one
    shape and differ in nothing but their path. Arguments as in `plan`.
    """
    _check_falling(kept)
    plans: list[Plan] = []
    for target in kept:
        within = plans[-1] if plans else None
        plans.append(
            plan(config, target, kept_of=kept_of, split=split, rounding=rounding, within=within)
        )
    return tuple(plans)


def plan_shape(
    config: PreTrainedConfig,
    *,
    layers: int | None = None,
    hidden: int | None = None,
    ffn: int | None = None,
    kv_heads: int | None = None,
    kept_of: KeptOf = "total",
) -> Plan:
    """Describe a model of the given sizes; those left out stay as in `config`.

    Raises
    ------
    ValueError
        For a size below 1 or above the teacher's, or one that the model type forbids.
    """
    asked = {"layers": layers, "hidden": hidden, "ffn": ffn, "kv_heads": kv_heads}
    sizes = {name: size for name, size in asked.items() if size is not None}
    teacher = read_shape(config)
    for name, size in sizes.items():
        if not 1 <= size <= getattr(teacher, name):
            raise ValueError(
                f"plan_shape: {name} = {size} is not in [1, {getattr(teacher, name)}]."
            )
    shape = teacher.narrowed(**sizes)
    if not _legal(config, shape):
        raise ValueError(
            f"plan_shape: hidden = {shape.hidden} is not a multiple of heads = {shape.heads}, as "
            f"{config.model_type} demands."
        )
    return _report(config, ParameterTable.of(config), shape, None, kept_of, sizes)


def plan(
    config: PreTrainedConfig,
    kept: float,
    *,
    kept_of: KeptOf = "total",
    split: str | Mapping[str, float] = "both",
    rounding: Rounding | None = None,
    within: Plan | None = None,
) -> Plan:
    """Choose sizes that keep a fraction of the teacher's parameters.

    An axis of share w keeps the fraction ``exp(-s * w)``, with the one s that meets the target;
    sizes are rounded, and then moved one step at a time while that brings the count closer. In the
    end no single step of an axis comes closer to the target.

    Parameters
    ----------
    config : PreTrainedConfig
        The teacher's; no weights are made.
    kept : float in (0, 1]
        Target fraction of the teacher.
    kept_of : {"total", "nonembedding"}
        Whether embedding and output head count. They are 5 % of a 32B model and a third of a
        student of 5B, and pruning depth or FFN leaves them alone.
    split : {"depth", "width", "both"} or mapping
        Shares by axis (``layers``, ``hidden``, ``ffn``, ``kv_heads``); an axis left out is not
        pruned.
    rounding : Rounding, optional
    within : Plan, optional
        Plan of the model that is pruned next; no size exceeds it. The teacher, if left out.

    Returns
    -------
    Plan
        What was reached stands beside the target.

    Raises
    ------
    ValueError
        If the target is above what is left or below the smallest model that the split allows, or
        an axis of the split is narrower than its rounding.
    """
    if not 0 < kept <= 1:
        raise ValueError(
            f"plan: kept = {kept} is not in (0, 1]; it is the fraction of the teacher left."
        )
    if kept_of not in ("total", "nonembedding"):
        raise ValueError(f"plan: kept_of = {kept_of!r}; write 'total' or 'nonembedding'.")
    shares = _shares(split)
    teacher, table = read_shape(config), ParameterTable.of(config)
    start = teacher
    if within is not None:
        start = teacher.narrowed(**{name: getattr(within, name) for name in _AXES})
    count = table.count if kept_of == "total" else table.count_nonembedding
    target = kept * count(teacher)
    if target > count(start):
        raise ValueError(
            f"plan: kept = {kept} is above the {count(start) / count(teacher):.4g} that is left."
        )
    grids = {
        name: _grid(name, getattr(start, name), rounding or Rounding())
        if name in shares
        else [getattr(start, name)]
        for name in _AXES
    }
    shape = _search(config, start, shares, grids, count, target)
    return _report(config, table, shape, kept, kept_of, shares)


def _shares(split: str | Mapping[str, float]) -> Mapping[str, float]:
    if isinstance(split, str):
        if split not in SPLITS:
            raise ValueError(f"plan: split = {split!r}; write one of {', '.join(SPLITS)}.")
        return SPLITS[split]
    wrong = [name for name in split if name not in _AXES]
    if wrong or not split or not all(share > 0 for share in split.values()):
        raise ValueError(
            f"plan: split = {dict(split)}; give positive shares to some of {', '.join(_AXES)}."
        )
    return split


def _check_falling(kept: Sequence[float]) -> None:
    bounds = (1.0, *kept, 0.0)
    if not kept or any(a <= b for a, b in zip(bounds[:-1], bounds[1:], strict=True)):
        raise ValueError(f"kept = {tuple(kept)} does not fall strictly from below 1 to above 0.")


def _grid(name: str, size: int, rounding: Rounding) -> list[int]:
    """Sizes that an axis may take, rising, up to the one it has."""
    step = getattr(rounding, name)
    if size < step:
        raise ValueError(
            f"plan: {name} = {size} is below its rounding of {step}, so it can't be pruned; pass "
            f"rounding=Rounding({name}=...), or leave {name} out of the split."
        )
    return [*range(step, size, step), size]


def _legal(config: PreTrainedConfig, shape: Shape) -> bool:
    # The config class of Llama refuses other hidden sizes, even with head_dim written out.
    return config.model_type != "llama" or shape.hidden % shape.heads == 0


def _search(
    config: PreTrainedConfig,
    start: Shape,
    shares: Mapping[str, float],
    grids: Mapping[str, list[int]],
    count: Callable[[Shape], int],
    target: float,
) -> Shape:
    """Return the shape on the grids that meets the target along the split, as near as it gets."""
    pairs = [
        pair
        for pair in product(grids["hidden"], grids["kv_heads"])
        if _legal(config, start.narrowed(hidden=pair[0], kv_heads=pair[1]))
    ]

    def at(s: float) -> Shape:
        wanted = {a: math.log(getattr(start, a)) - s * shares.get(a, 0.0) for a in _AXES}

        def off(axis: str, size: int) -> float:
            return abs(math.log(size) - wanted[axis])

        hidden, kv_heads = min(pairs, key=lambda p: off("hidden", p[0]) + off("kv_heads", p[1]))
        layers, ffn = (min(grids[a], key=partial(off, a)) for a in ("layers", "ffn"))
        return start.narrowed(layers=layers, hidden=hidden, ffn=ffn, kv_heads=kv_heads)

    # From the size as it is to where every axis is at its smallest.
    low = 0.0
    high = 1.0 + max(math.log(getattr(start, a) / grids[a][0]) / w for a, w in shares.items())
    smallest = count(at(high))
    if target < smallest:
        raise ValueError(
            f"plan: {target:.0f} parameters are asked for, but this split and rounding leave "
            f"{smallest} at least. Add axes to the split, or round to smaller multiples."
        )
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if count(at(middle)) > target else (low, middle)

    def error(shape: Shape) -> float:
        return abs(count(shape) - target)

    return _descend(config, min(at(low), at(high), key=error), grids, error)


def _descend(
    config: PreTrainedConfig,
    shape: Shape,
    grids: Mapping[str, list[int]],
    error: Callable[[Shape], float],
) -> Shape:
    """Move one axis by one step, the best move first, while that lowers the error."""
    while True:
        moves = []
        for axis, grid in grids.items():
            here = grid.index(getattr(shape, axis))
            for size in grid[max(here - 1, 0) : here + 2]:
                moves.append(shape.narrowed(**{axis: size}))
        best = min((move for move in moves if _legal(config, move)), key=error)
        if error(best) >= error(shape):
            return shape
        shape = best


def _report(
    config: PreTrainedConfig,
    table: ParameterTable,
    shape: Shape,
    target: float | None,
    kept_of: KeptOf,
    axes: Collection[str],
) -> Plan:
    teacher = read_shape(config)
    params, inner = table.count(shape), table.count_nonembedding(shape)
    depth, width = "layers" in axes, any(axis != "layers" for axis in axes)
    return Plan(
        layers=shape.layers,
        hidden=shape.hidden,
        ffn=shape.ffn,
        kv_heads=shape.kv_heads,
        heads=shape.heads,
        params=params,
        params_nonembedding=inner,
        kept_total=params / table.count(teacher),
        kept_nonembedding=inner / table.count_nonembedding(teacher),
        target=target,
        kept_of=kept_of,
        axis="both" if depth == width else "depth" if depth else "width",
    )
