"""How surprising new runs are under a forecast, and what they change."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.asking import check_share, decisive_run, lying_beyond, support_notes
from scaling_laws.decide.draws import Ask, Fitted, Joint, joint_of, main_fit
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.forecast import Forecast
from scaling_laws.halfwild import NoInterval
from scaling_laws.problem import as_log
from scaling_laws.refitting import update
from scaling_laws.result import Fit, Interval
from scaling_laws.runs import Note
from scaling_laws.uncertainty import quantile_pair
from scaling_laws.validation import choose

__all__ = ["surprise"]

Array = NDArray[np.float64]

# Below this a run is called surprising.
_RARE = 0.05


def surprise(
    fitted: Ask,
    runs: Any,
    *,
    question: Mapping[str, Any] | None = None,
    level: float = 0.9,
    rng: int | None = None,
) -> Result:
    """Tell how surprising new runs are under a forecast, and what they change.

    ``p = 2 min(P(draw <= score), P(draw >= score))`` over draws of the curve, a run's noise and its
    evaluation; ``z`` = distance from the median in robust standard deviations of the draws, on the
    residual scale. All runs and metrics together: how often the largest of the draws' own ``|z|``
    is as large.

    Parameters
    ----------
    fitted : Fit, Forecast, or mapping of metric to one
    runs : RunLog, DataFrame, path or list of dict
        The new runs with their scores; not part of the fit.
    question : mapping, optional
        A point whose score (of the first metric) is asked before and after.
    level : float
        Of the answer's interval.

    Returns
    -------
    Result
        ``frame``: a row a run and metric: expected, low, high, observed, z, p, and its ``distance``
        beyond the log, in log-ranges of its axis. ``values``: ``p`` of all together, and the answer
        before and after.

    Raises
    ------
    ValueError
        If a run lacks a score or an axis, or the level is not in (0, 1).
    NoInterval
        If the log cannot support an interval.
    """
    check_share(level, "level")
    joint = joint_of(fitted, rng)
    first = joint.metric(joint.names[0])
    log = as_log(runs, first, None)
    if len(log.rejected):
        raise ValueError(f"surprise: {log.rejected['reason'].iloc[0]}")
    rows: list[dict[str, Any]] = []
    own: list[Array] = []
    notes: list[Note] = []
    for name in joint.names:
        table, deviations, interval = _compare(joint, name, log.frame, level)
        rows += table
        own.append(deviations)
        if interval == "run":
            sentence = (
                f"The evaluation noise of {name} is not known: the expected scatter is that of the "
                "logged runs."
            )
            notes.append(Note("evaluation_unknown", "info", sentence))
    frame = pd.DataFrame(rows)
    largest = np.abs(np.concatenate(own)).max(0)
    most = float(frame["z"].abs().max())
    p = (1.0 + float((largest >= most).sum())) / (1.0 + len(largest))
    notes += support_notes(joint, log.frame)
    values: dict[str, Any] = {"p": p, "z": most, "runs": len(log.frame)}
    words = _surprise_words(frame, p, len(largest))
    after = ""
    if question is not None:
        told, beyond = _before_after(joint.fits[joint.names[0]], log, question, level)
        values |= told
        notes += beyond
        after = (
            f"; {joint.names[0]} at the asked point moves from {_ends(values, '')} to "
            f"{_ends(values, '_after')}"
        )
    shown = frame.assign(at=np.arange(1, len(frame) + 1))
    return Result(
        question=f"How surprising are {len(log.frame)} new runs?",
        answer=words + after + ".",
        frame=frame,
        view=View("at", "z", style="points", x_label="new run", y_label="z",
                  lines={"1.64": 1.64, "-1.64": -1.64}, table=shown),
        values=values,
        found=True,
        reason=partial(_why_surprise, joint, frame, words, p),
        notes=(*joint.left_out, *notes),
    )  # fmt: skip


def _compare(
    joint: Joint, name: str, frame: pd.DataFrame, level: float
) -> tuple[list[dict[str, Any]], Array, Interval]:
    """Return a row a run, and every draw's deviation ``[runs, draws]`` in the same units."""
    if name not in frame.columns or frame[name].isna().any():
        raise ValueError(f"surprise: a new run has no {name}; leave it out, or ask without {name}.")
    log = main_fit(joint.fits[name]).model.link.kind == "log"
    observed = frame[name].to_numpy(dtype=float)
    interval: Interval = "score"
    drawn = np.empty((len(frame), joint.count))
    try:
        joint.values(name, frame.iloc[[0]], interval)
    except NoInterval:
        interval = "run"
    for i in range(len(frame)):
        drawn[i] = joint.values(name, frame.iloc[[i]], interval, which=i)[0]
    low, high = quantile_pair(drawn.copy(), level)
    below = (drawn <= observed[:, None]).sum(1)
    above = (drawn >= observed[:, None]).sum(1)
    p = np.minimum(2.0 * (1.0 + np.minimum(below, above)) / (1.0 + joint.count), 1.0)
    scale, seen = (np.log(drawn), np.log(observed)) if log else (drawn, observed)
    middle = np.median(scale, axis=1, keepdims=True)
    ends = np.quantile(scale, [0.1587, 0.8413], axis=1)
    sd = np.maximum(0.5 * (ends[1] - ends[0]), 1e-300)[:, None]
    z = (seen - middle[:, 0]) / sd[:, 0]
    expected = np.median(drawn, axis=1)
    axes = [a for a in (*joint.axes, *joint.factors) if a in frame.columns]
    far = joint.support(frame)["distance"].to_numpy(dtype=float)
    rows = [
        {"metric": name, **{a: frame[a].iloc[i] for a in axes}, "expected": expected[i],
         "low": low[i], "high": high[i], "observed": observed[i], "z": z[i], "p": p[i],
         "distance": far[i]}
        for i in range(len(frame))
    ]  # fmt: skip
    return rows, (scale - middle) / sd, interval


def _farthest(frame: pd.DataFrame) -> dict[Any, Any]:
    """Return the row of the score that lies farthest from what was expected."""
    return frame.iloc[int(np.abs(frame["z"].to_numpy(dtype=float)).argmax())].to_dict()


def _why_surprise(joint: Joint, frame: pd.DataFrame, words: str, p: float) -> Why:
    """Ask the log about the farthest score: the surprise is as large as what it was expected."""
    worst = _farthest(frame)
    name = str(worst["metric"])
    law = main_fit(joint.fits[name]).law
    point = {a: worst[a] for a in (*(axis.name for axis in law.axis_list()), *law.by)}
    run = decisive_run(joint, name, point, f"the {name} expected of the farthest run")
    return Why(words, None, run, _advice(p))


def _surprise_words(frame: pd.DataFrame, p: float, draws: int) -> str:
    worst = _farthest(frame)
    least = "p < " if p <= 1.5 / (1 + draws) else "p = "
    size = f"{least}{max(p, 1.0 / (1 + draws)):.2g}"
    word = "surprising" if p < _RARE else "not surprising"
    return (
        f"The new runs are {word} ({size}): the farthest has {worst['metric']} "
        f"{worst['observed']:.4g} where {worst['expected']:.4g} was expected "
        f"(z = {worst['z']:+.1f})"
    )


def _advice(p: float) -> str:
    if p < _RARE:
        return "Repeat the farthest run with another seed before the law is changed"
    return "Add the runs to the log"


def _before_after(
    fitted: Fitted, log: Any, question: Mapping[str, Any], level: float
) -> tuple[dict[str, float], tuple[Note, ...]]:
    """Return the answer before and after, and how far beyond the log it was asked."""
    after = update(fitted, log) if isinstance(fitted, Fit) else _chosen_again(fitted, log)
    out: dict[str, float] = {}
    beyond: tuple[Note, ...] = ()
    for one, ending in ((fitted, ""), (after, "_after")):
        found = one.predict(dict(question), level=level)
        if len(found) != 1:
            raise ValueError(f"surprise: question has {len(found)} points; give one.")
        if not ending:
            beyond = lying_beyond(found, found, list(question))
        for column, name in (("estimate", "answer"), ("low", "low"), ("high", "high")):
            out[name + ending] = float(found[column].iloc[0])
    return out, beyond


def _chosen_again(fitted: Forecast, log: Any) -> Forecast:
    """Weigh the forms again with the new runs."""
    old = fitted.best.problem.frame.sort_index()
    both = pd.concat([old, log.frame], ignore_index=True)
    again = choose([f.law for f in fitted.fits.values()], both, fitted.metric,
                   by=fitted.rolled.axis, rng=fitted.best.seed)  # fmt: skip
    return again.forecast


def _ends(values: Mapping[str, float], ending: str) -> str:
    return (
        f"{values['answer' + ending]:.4g} ({values['low' + ending]:.4g} to "
        f"{values['high' + ending]:.4g})"
    )
