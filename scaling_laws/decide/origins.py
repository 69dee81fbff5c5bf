"""A pruned student against an off-the-shelf or quantised model of the same size, speed or price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.asking import (
    check_interval,
    check_share,
    row_of,
    support_notes,
    why_there,
)
from scaling_laws.decide.draws import Ask, Joint, joint_of
from scaling_laws.decide.pruned import Pruning, at_bits, bits_notes, counted_of, path_of
from scaling_laws.decide.result import Result, View
from scaling_laws.result import Interval
from scaling_laws.runs import Note
from scaling_laws.show import number
from scaling_laws.uncertainty import quantile_pair

if TYPE_CHECKING:
    from scaling_laws.cost import Serving, Shape

__all__ = ["compare_origins"]

Array = NDArray[np.float64]
Same = Literal["params", "latency", "price"]


def compare_origins(
    fitted: Ask,
    whole: Shape | str,
    others: Sequence[Shape | str],
    *,
    origins: tuple[str, str] = ("pruned", "pretrained"),
    same: Same = "params",
    serving: Serving | None = None,
    pruning: Pruning | None = None,
    interval: Interval = "mean",
    level: float = 0.9,
    rng: Any = None,
    **point: Any,
) -> Result:
    """Return whether a pruned student beats other models of the same size, latency or price.

    Parameters
    ----------
    fitted : Fit, Forecast, or mapping of metric to one
        With the factor ``origin`` and a size, ``params`` or ``kept`` (then of the `whole` model).
    whole : cost.Shape or name
        The model that is pruned.
    others : sequence of cost.Shape or name
        The models compared with; a quantised one has its ``weight_bits``, which a law with that
        axis or factor is asked at. Of other laws a note says what is scored as unquantised.
    origins : (str, str)
        Levels of ``origin`` of students and of the others.
    same : {"params", "latency", "price"}
        What the student has in common with the other model; the last two need `serving`.
    serving : cost.Serving, optional
        Makes both bills; its ``weight_bits`` stand for those of all models.
    pruning : mapping, optional
        How students are cut, as in `smallest`.
    interval, level, rng
        As in `compare_formats`.
    **point
        The other axes and factors.

    Returns
    -------
    Result
        ``frame``: a row a model and metric: its ``params``, the student's ``student_params``, both
        scores, ``lead`` of the student with ``low``, ``high`` and ``probability``, and both bills.

    Raises
    ------
    ValueError
        If the fit has no ``origin`` or size, a level is unknown, or no student is comparable.
    """
    from scaling_laws.cost import shape as shape_of

    check_share(level, "level")
    check_interval(interval)
    joint = joint_of(fitted, rng)
    _check(joint, origins, same, serving, point)
    teacher, models = shape_of(whole), [shape_of(other) for other in others]
    if not models:
        raise ValueError("others is empty: name at least one model to compare with.")
    size = "params" if "params" in joint.axes else "kept"
    counted = "total" if size == "params" else counted_of(joint.rows, pruning)
    path = None
    if serving is not None or counted != "total":
        path = path_of(teacher, joint.rows, pruning, counted).drop_duplicates("params")
        path = path.sort_values("params").reset_index(drop=True)
    own = np.array([m.params for m in models], float)
    params, bills = own, pd.DataFrame(index=range(len(models)))
    if serving is not None and path is not None:
        params, bills = _students(path, models, same, serving)
    first = pd.DataFrame({size: _sizes(teacher, params, path, size), **point, "origin": origins[0]})
    second = pd.DataFrame({size: _others(teacher, models, size, counted), **point,
                           "origin": origins[1]})  # fmt: skip
    notes = _set_bits(joint, teacher, models, serving, first, second)
    parts: list[pd.DataFrame] = []
    for name in joint.names:
        sign = 1.0 if joint.metric(name).direction == "higher" else -1.0
        lead = sign * (
            joint.values(name, first, interval) - joint.values(name, second, interval, which=1)
        )
        low, high = quantile_pair(lead, level)
        scores = joint.estimate(name, first), joint.estimate(name, second)
        table = {"model": [m.name or f"model {i}" for i, m in enumerate(models)],
                 "metric": name, "params": own, "student_params": params,
                 "student": scores[0], "other": scores[1], "lead": sign * (scores[0] - scores[1]),
                 "low": low, "high": high, "probability": (lead > 0).mean(1)}  # fmt: skip
        parts.append(pd.concat([pd.DataFrame(table), bills], axis=1))
    frame = pd.concat(parts, ignore_index=True)
    return _answer(joint, frame, first, second, same, level, notes)


def _check(
    joint: Joint,
    origins: tuple[str, str],
    same: str,
    serving: Serving | None,
    point: Mapping[str, Any],
) -> None:
    if "origin" not in joint.factors:
        raise ValueError("the fit has no factor 'origin': fit a law with by='origin'.")
    for origin in origins:
        if origin not in joint.factors["origin"]:
            raise ValueError(
                f"origin {origin!r} was not in the log; it had "
                f"{', '.join(joint.factors['origin'])}: pass origins=."
            )
    if not {"params", "kept"} & set(joint.axes):
        raise ValueError(f"origins are compared by size; the fit is of {', '.join(joint.axes)}.")
    if same not in ("params", "latency", "price"):
        raise ValueError(f"same = {same!r} is not one of 'params', 'latency', 'price'.")
    if same != "params" and serving is None:
        raise ValueError(f"same={same!r} needs serving=sl.cost.Serving(...).")
    # What the models themselves say is not asked for.
    models = ("params", "kept", "origin", "weight_bits")
    needed = [a for a in (*joint.axes, *joint.factors) if a not in models]
    for name in needed:
        if name not in point:
            raise ValueError(f"say at which {name}: {name}=...")
    for name in point:
        if name not in needed:
            raise ValueError(f"{name!r} can't be given here; the question takes {needed}.")


def _sizes(teacher: Shape, params: Array, path: pd.DataFrame | None, size: str) -> Array:
    """Return the axis of students with so many parameters."""
    if size == "params":
        return params
    if path is None:
        return params / teacher.params
    known = path["params"].to_numpy(dtype=float)
    beyond = (params < known[0]) | (params > known[-1])
    if beyond.any():
        raise ValueError(
            f"no student of {teacher.name or 'the whole model'} has {params[beyond][0]:,.0f} "
            f"parameters; they have {known[0]:,.0f} to {known[-1]:,.0f}. Leave that model out, or "
            "say with pruning= how students are cut."
        )
    return np.asarray(np.interp(params, known, path["kept"].to_numpy(dtype=float)), float)


def _others(teacher: Shape, models: Sequence[Shape], size: str, counted: str) -> Array:
    """Return the axis of the other models: parameters, or those that count of the teacher's."""
    if size == "params":
        return np.array([m.params for m in models], float)
    if counted == "total":
        return np.array([m.params / teacher.params for m in models], float)
    return np.array([m.params_nonembedding / teacher.params_nonembedding for m in models], float)


def _set_bits(
    joint: Joint,
    teacher: Shape,
    models: Sequence[Shape],
    serving: Serving | None,
    first: pd.DataFrame,
    second: pd.DataFrame,
) -> tuple[Note, ...]:
    """Give each side the bits of its weights, or say that the law knows none."""
    given = None if serving is None else serving.weight_bits
    bits = [float(given or m.weight_bits) for m in (teacher, *models)]
    known = (*joint.axes, *joint.factors)
    if "weight_bits" not in known:
        names = [m.name or f"model {i}" for i, m in enumerate(models)]
        who = [f"students of {teacher.name or 'the whole model'}", *names]
        return tuple(
            note
            for name, b in zip(who, bits, strict=True)
            for note in bits_notes(joint.rows, known, [b], name)
        )
    first["weight_bits"] = _level(joint, bits[0])
    second["weight_bits"] = [_level(joint, b) for b in bits[1:]]
    return ()


def _level(joint: Joint, bits: float) -> float | str:
    """Return bits as the law takes them: a number of an axis, or the word of a factor."""
    if "weight_bits" in joint.axes:
        return bits
    words = joint.factors["weight_bits"]
    for word in words:
        if float(word) == bits:
            return word
    raise ValueError(
        f"weight_bits = {bits:g} was not in the log; it had {', '.join(words)}. Leave that model "
        "out, or add runs of it."
    )


def _students(
    path: pd.DataFrame, models: Sequence[Shape], same: Same, serving: Serving
) -> tuple[Array, pd.DataFrame]:
    """Parameters of the student that has as much of `same` as each model, and both bills."""
    column = {"params": "params", "latency": "latency_ms_high", "price": "price_high"}[same]
    students, theirs = serving.evaluate(at_bits(path, serving)), serving.evaluate(list(models))
    x = students[column].to_numpy(dtype=float)
    wanted = theirs[column].to_numpy(dtype=float)
    usable = np.flatnonzero(np.isfinite(x))
    # What the student costs rises with its size but for rounding of its axes.
    rising = np.maximum.accumulate(x[usable])
    sizes = path["params"].to_numpy(dtype=float)[usable]
    if not ((wanted >= rising[0]) & (wanted <= rising[-1])).all():
        odd = int(np.flatnonzero(~((wanted >= rising[0]) & (wanted <= rising[-1])))[0])
        raise ValueError(
            f"{models[odd].name or 'a model'} has {same} {wanted[odd]:.4g}; students of the whole "
            f"model have {rising[0]:.4g} to {rising[-1]:.4g}. Leave it out, or compare by another "
            "same=."
        )
    params: Array = np.asarray(np.interp(wanted, rising, sizes), float)
    bill: dict[str, Array] = {}
    for word, end in (("latency_ms", "latency_ms_high"), ("price", "price_high")):
        mine = students[end].to_numpy(dtype=float)[usable]
        bill[f"student_{word}"] = np.asarray(np.interp(params, sizes, mine), float)
        bill[f"other_{word}"] = theirs[end].to_numpy(dtype=float)
    return params, pd.DataFrame(bill)


def _answer(
    joint: Joint, frame: pd.DataFrame, first: pd.DataFrame, second: pd.DataFrame, same: str,
    level: float, notes: tuple[Note, ...],
) -> Result:  # fmt: skip
    name = joint.first
    mine = frame.iloc[: len(first)]
    i = int(np.argmin(mine["probability"].to_numpy(dtype=float)))
    worst = row_of(mine, i)
    ahead = worst["low"] > 0
    ends = f"[{number(worst['low'])}, {number(worst['high'])}]"
    answer = (
        f"against {worst['model']} a student of the same {same} leads in {name} by "
        f"{number(worst['lead'])} {ends}"
    )
    sure = worst["low"] > 0 or worst["high"] < 0
    change = (
        f"runs of {worst['model']}" if sure
        else f"more seeds of both: the {100 * level:g} % interval of the lead holds 0"
    )  # fmt: skip
    values = {k: worst[k] for k in ("model", "lead", "low", "high", "probability",
                                    "student_params")}  # fmt: skip
    point = row_of(second, i)
    return Result(
        question=f"a pruned student or another model of the same {same}",
        answer=answer, frame=frame, found=bool(ahead), values=values,
        view=View("model", "lead", "low", "high", style="bars", y_label=f"lead in {name}",
                  table=mine),
        reason=partial(why_there, joint, name, point, f"the other's {name}", answer,
                       worst["probability"], change),
        notes=(
            *joint.left_out, *notes,
            *support_notes(joint, pd.concat([first, second], ignore_index=True)),
        ),
    )  # fmt: skip
