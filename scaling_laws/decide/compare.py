"""One way against another: formats, schedules, and how many labels of one are worth another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scaling_laws.decide.asking import (
    check_interval,
    check_share,
    decisive_run,
    points_of,
    row_of,
    support_notes,
    why_there,
    words_of,
)
from scaling_laws.decide.draws import Ask, Fitted, Joint, joint_of, left_out, main_fit
from scaling_laws.decide.pruned import Pruning
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.decide.students import scored_notes, served
from scaling_laws.exchange import estimated_rate
from scaling_laws.exchange import exchange_rate as exchange
from scaling_laws.result import Fit, Interval
from scaling_laws.runs import Note
from scaling_laws.show import number
from scaling_laws.uncertainty import quantile_pair

if TYPE_CHECKING:
    from scaling_laws.cost import Budget, Serving, Shape, Traces, Training

__all__ = ["compare_formats", "compare_schedules", "exchange_rate"]

Array = NDArray[np.float64]
Bills = Mapping[str, "Training | Traces | Budget"]


def compare_formats(
    fitted: Ask,
    formats: Sequence[str] | None = None,
    *,
    serving: Serving | None = None,
    shape: Shape | str | None = None,
    pruning: Pruning | None = None,
    bills: Bills | None = None,
    interval: Interval = "mean",
    level: float = 0.9,
    rng: Any = None,
    **axes: Any,
) -> Result:
    """Return which supervision format is best, by how much, and what each costs.

    Parameters
    ----------
    fitted : Fit, Forecast, or mapping of metric to one
        With the factor ``format``.
    formats : sequence of str, optional
        Default all of the log.
    serving, shape, pruning : optional
        As in `smallest`; ``tokens_out={"label": 4, "cot": 300}`` makes the bill of serving each.
    bills : mapping of format to cost.Training, Traces or Budget, optional
        The bill of training each.
    interval : {"mean", "run", "score"}
        Whether curves are compared, or one new run of each.
    level : float
    rng : int, optional
    **axes
        Value or values of the other axes; default the largest in the log (of ``kept`` all).

    Returns
    -------
    Result
        ``frame``: a row a point, metric and format: ``score, low, high``, ``best`` (probability of
        being the best), ``lead`` over the best of the others with ``lead_low``, ``lead_high``
        (paired draws, positive is better), ``latency_ms, price, gpu_hours, dollars`` where asked.

    Raises
    ------
    ValueError
        If the fit has no such factor, or fewer than two of the levels.
    """
    return _compared(
        fitted, "format", formats, serving, shape, pruning, bills, interval, level, rng, axes
    )


def compare_schedules(
    fitted: Ask,
    schedules: Sequence[str] | None = None,
    *,
    serving: Serving | None = None,
    shape: Shape | str | None = None,
    pruning: Pruning | None = None,
    bills: Bills | None = None,
    interval: Interval = "mean",
    level: float = 0.9,
    rng: Any = None,
    **axes: Any,
) -> Result:
    """Return which pruning schedule is best; all as in `compare_formats`, by ``schedule``."""
    return _compared(
        fitted, "schedule", schedules, serving, shape, pruning, bills, interval, level, rng, axes
    )


def _compared(
    fitted: Ask,
    factor: str,
    levels: Sequence[str] | None,
    serving: Serving | None,
    shape: Shape | str | None,
    pruning: Pruning | None,
    bills: Bills | None,
    interval: Interval,
    level: float,
    rng: Any,
    axes: Mapping[str, Any],
) -> Result:
    check_share(level, "level")
    check_interval(interval)
    joint = joint_of(fitted, rng)
    if factor not in joint.factors:
        has = ", ".join(joint.factors) or "none"
        raise ValueError(
            f"the fit has no factor {factor!r} (it has {has}): fit a law with by={factor!r}."
        )
    chosen = list(joint.factors[factor] if levels is None else levels)
    unknown = [v for v in chosen if v not in joint.factors[factor]]
    if unknown or len(chosen) < 2:
        what = f"{factor} = {unknown[0]!r} was not in the log" if unknown else "two are compared"
        raise ValueError(f"{what}; there are {', '.join(joint.factors[factor])}.")
    points = points_of(joint, None, {**axes, factor: chosen}, partial(_default, joint))
    notes = scored_notes(joint, points, serving, shape)
    if serving is not None:
        bill, differing = served(joint, points, serving, shape, pruning)
        notes = (*differing, *notes)
        points = points.assign(latency_ms=bill["latency_ms"], price=bill["price"])
    if bills is not None:
        points = points.assign(**_bills(points[factor].tolist(), bills))
    others = [c for c in (*joint.axes, *joint.factors) if c != factor]
    groups = points.groupby(others, sort=False).indices.values() if others else [range(len(points))]
    parts: list[pd.DataFrame] = []
    for rows in groups:
        here = points.iloc[list(rows)].reset_index(drop=True)
        parts += [_leads(joint, name, here, interval, level) for name in joint.names]
    frame = pd.concat(parts, ignore_index=True)
    return _answer(joint, factor, others, frame, level, notes)


def _default(joint: Joint, axis: str) -> Array:
    seen = joint.seen(axis)
    return seen if axis == "kept" else seen[-1:]


def _bills(levels: Sequence[Any], bills: Bills) -> dict[str, list[float]]:
    """Return the dear ends of GPU-hours and dollars of training."""
    missing = [v for v in dict.fromkeys(levels) if v not in bills]
    if missing:
        raise ValueError(f"bills lacks {missing[0]!r}; give a sl.cost.training(...) for each.")
    hours = [float(bills[v].gpu_hours[1]) for v in levels]
    prices = [bills[v].price for v in levels]
    return {"gpu_hours": hours, "dollars": [float("nan") if p is None else p[1] for p in prices]}


def _leads(
    joint: Joint, name: str, points: pd.DataFrame, interval: Interval, level: float
) -> pd.DataFrame:
    """Score of each level at one point, and its lead over the best of the others."""
    sign = 1.0 if joint.metric(name).direction == "higher" else -1.0
    draws = np.concatenate(
        # One new run of each level: its own noise.
        [joint.values(name, points.iloc[[i]], interval, which=i) for i in range(len(points))]
    )
    low, high = quantile_pair(draws, level)
    score, better = joint.estimate(name, points), sign * draws
    out = points.assign(metric=name, score=score, low=low, high=high)
    leads: list[tuple[float, float, float]] = []
    for i in range(len(points)):
        rest = [j for j in range(len(points)) if j != i]
        rival = rest[int(np.argmax(sign * score[rest]))]
        a, b = quantile_pair((better[i] - better[rival])[None], level)
        leads.append((float(sign * (score[i] - score[rival])), float(a[0]), float(b[0])))
    best = np.bincount(np.argmax(better, axis=0), minlength=len(points)) / better.shape[1]
    table = np.array(leads)
    return out.assign(best=best, lead=table[:, 0], lead_low=table[:, 1], lead_high=table[:, 2])


def _answer(
    joint: Joint,
    factor: str,
    others: Sequence[str],
    frame: pd.DataFrame,
    level: float,
    notes: tuple[Note, ...],
) -> Result:
    name = joint.first
    # The hardest point: the last group, the smallest student where kept varies.
    mine = frame.iloc[np.flatnonzero(np.array([v == name for v in frame["metric"]]))]
    if "kept" in others:
        mine = mine.iloc[np.flatnonzero(np.isclose(mine["kept"], mine["kept"].min()))]
    first = row_of(mine, int(np.argmax(mine["lead"].to_numpy(dtype=float))))
    at = {k: first[k] for k in others}
    ends = f"[{number(first['lead_low'])}, {number(first['lead_high'])}]"
    where = f" at {words_of(at)}" * bool(at)
    answer = f"{first[factor]} leads in {name}{where} by {number(first['lead'])} {ends}"
    x = next((a for a in ("kept", "params") if a in others and frame[a].nunique() > 1), "")
    sure = first["lead_low"] > 0 or first["lead_high"] < 0
    change = (
        f"runs there in which another {factor} does as well"
        if sure
        else f"more seeds there: {100 * level:g} % intervals of the lead hold 0"
    )
    table = frame.iloc[np.flatnonzero(np.array([v == name for v in frame["metric"]]))]
    point = {**at, factor: first[factor]}
    return Result(
        question=f"which {factor} is best in {', '.join(joint.names)}",
        answer=answer, frame=frame, found=bool(sure),
        values={**point, "metric": name, "lead": first["lead"], "low": first["lead_low"],
                "high": first["lead_high"], "probability": first["best"]},
        view=View(x, "score", "low", "high", by=factor, y_label=name, table=table)
        if x
        else View(factor, "score", "low", "high", style="bars", y_label=name, table=mine),
        reason=partial(why_there, joint, name, point, f"its {name} there", answer, first["best"],
                       change),
        notes=(
            *joint.left_out, *notes,
            *support_notes(joint, frame[[*others, factor]].drop_duplicates()),
        ),
    )  # fmt: skip


def exchange_rate(
    fitted: Fitted | Sequence[Fitted],
    a: str | Mapping[str, Any] | None = None,
    b: str | Mapping[str, Any] | None = None,
    at: ArrayLike | None = None,
    *,
    axis: str | None = None,
    level: float = 0.9,
    **point: Any,
) -> Result:
    """Return how many labels of A have the score of B, ``score_A(n_A) = score_B(n_B)``.

    Parameters
    ----------
    fitted : Fit, Forecast, or two of them
        One with a factor: paired draws. Two (A, B): independent ones.
    a, b : level of the only factor, or mapping
        What A and B are.
    at : array, optional
        Sizes n_B; default those of the log.
    axis : str, optional
        Exchanged axis; default ``examples``, ``tokens`` or the only axis.
    level : float
    **point
        Axes that A and B have in common, such as ``kept=.37``.

    Returns
    -------
    Result
        ``frame``: a row a size, as `scaling_laws.exchange.Exchange` has it.

    Raises
    ------
    ValueError
        If A and B are the same curve, score different metrics, or lack an axis.
    """
    sources = fitted if isinstance(fitted, Sequence) else (fitted,)
    one = main_fit(sources[0])
    sides = [_side(one.law.by, side, point) for side in (a, b)]
    rows, along = one.problem.frame, axis
    if along is None:
        along = next((n for n in ("examples", "tokens") if n in rows.columns), "")
    if at is None and along not in rows.columns:
        raise ValueError("at: give the sizes of B at which to ask.")
    if along in sides[0] or along in sides[1]:
        raise ValueError(
            f"{along} is what is exchanged and can't be given as one value: write at=, the {along} "
            "of B at which to ask, or say with axis= what else is exchanged."
        )
    sizes = np.unique(rows[along].to_numpy(dtype=float)) if at is None else at
    found = exchange(fitted, sizes, sides[0], sides[1], axis=axis, level=level)
    last = row_of(found.frame, len(found.frame) - 1)
    names = found.names
    ratio, n_b = last["ratio"], number(last["at"])
    ends = f"[{_rate(last['ratio_low'])}, {_rate(last['ratio_high'])}]"
    answer = (
        f"{names[0]} never has the score of {names[1]} with {n_b} {found.axis}"
        if np.isinf(ratio)
        else f"{names[0]} takes {_rate(ratio)} {ends} times the {found.axis} of {names[1]} at {n_b}"
    )
    reach = None if np.isnan(last["unreachable"]) else 1.0 - last["unreachable"]
    run = _moving_rate(fitted, float(last["at"]), sides, found.axis)
    why = Why(answer, reach, run, f"further runs of {names[0]} beyond its largest {found.axis}")
    common = {k: v for k, v in sides[0].items() if sides[1].get(k) == v}
    return Result(
        question=f"how many {found.axis} of {names[0]} have the score of {names[1]}"
        + f", at {words_of(common)}" * bool(common),
        answer=answer, frame=found.frame, found=bool(np.isfinite(ratio)), reason=why,
        values={k: last[k] for k in ("at", "n", "ratio", "ratio_low", "ratio_high",
                                     "unreachable")},
        view=View("at", "ratio", "ratio_low", "ratio_high", log_x=True, log_y=True,
                  x_label=f"{found.axis} of {names[1]}",
                  y_label=f"{found.axis} of {names[0]} for each of {names[1]}",
                  lines={"alike": 1.0}),
        notes=(*left_out(*sources), *found.notes),
    )  # fmt: skip


def _moving_rate(
    fitted: Fitted | Sequence[Fitted], at: float, sides: Sequence[Mapping[str, Any]], axis: str
) -> str:
    """Say without which unit of A's log the rate at a size moves most."""
    pair = fitted if isinstance(fitted, Sequence) else (fitted, fitted)
    shared = pair[0] is pair[1]

    def rate(left: Fit) -> float:
        try:
            return estimated_rate(left, left if shared else pair[1], at, sides[0], sides[1], axis)
        except ValueError:  # the unit was all that one side had
            return float("nan")

    joint = joint_of(pair[0])
    return decisive_run(joint, joint.names[0], rate, f"the rate at {number(at)}")


def _rate(ratio: float) -> str:
    """Return a rate; without an end where A may never get there."""
    return "open" if np.isinf(ratio) else number(ratio)


def _side(
    by: Sequence[str], side: str | Mapping[str, Any] | None, point: Mapping[str, Any]
) -> dict[str, Any]:
    if isinstance(side, str):
        if len(by) != 1:
            raise ValueError(
                f"{side!r}: the fit has {len(by)} factors; write a mapping of factor to level."
            )
        return {**point, by[0]: side}
    return {**point, **(side or {})}
