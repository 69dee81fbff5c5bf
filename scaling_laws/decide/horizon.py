"""What a log has settled: how surprising a new run is, and what can't be answered yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.asking import check_share
from scaling_laws.decide.draws import Ask, Fitted, Joint, joint_of, main_fit
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.fitting import update
from scaling_laws.forecast import Forecast
from scaling_laws.halfwild import NoInterval
from scaling_laws.problem import as_log
from scaling_laws.result import Fit, Interval
from scaling_laws.runs import Note
from scaling_laws.show import number
from scaling_laws.uncertainty import printed, quantile_pair
from scaling_laws.validation import choose
from scaling_laws.verdict import judge_problem

__all__ = ["limits", "surprise"]

Array = NDArray[np.float64]

# Below this a run is called surprising.
_RARE = 0.05
# A limit whose score is closer to the top than this can't be told from it.
_OPEN = 1e-3
# Scaled singular values below this share of the largest leave a combination open.
_LOOSE = 1e-3
# A form with less weight than this leaves room for another.
_SURE = 0.9


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
        ``frame``: a row a run and metric: expected, low, high, observed, z, p. ``values``: ``p`` of
        all together, and the answer before and after.

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
    values: dict[str, Any] = {"p": p, "z": most, "runs": len(log.frame)}
    words = _surprise_words(frame, p, len(largest))
    after = ""
    if question is not None:
        values |= _before_after(joint.fits[joint.names[0]], log, question, level)
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
        reason=Why(words, None, "", _advice(p)),
        notes=tuple(notes),
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
    rows = [
        {"metric": name, **{a: frame[a].iloc[i] for a in axes}, "expected": expected[i],
         "low": low[i], "high": high[i], "observed": observed[i], "z": z[i], "p": p[i]}
        for i in range(len(frame))
    ]  # fmt: skip
    return rows, (scale - middle) / sd, interval


def _surprise_words(frame: pd.DataFrame, p: float, draws: int) -> str:
    worst = frame.iloc[int(np.abs(frame["z"].to_numpy(dtype=float)).argmax())].to_dict()
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
) -> dict[str, float]:
    after = update(fitted, log) if isinstance(fitted, Fit) else _chosen_again(fitted, log)
    out: dict[str, float] = {}
    for one, ending in ((fitted, ""), (after, "_after")):
        found = one.predict(dict(question), level=level)
        if len(found) != 1:
            raise ValueError(f"surprise: question has {len(found)} points; give one.")
        for column, name in (("estimate", "answer"), ("low", "low"), ("high", "high")):
            out[name + ending] = float(found[column].iloc[0])
    return out


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


# --- limits ---------------------------------------------------------------------------------------
def limits(fitted: Fitted, *, level: float = 0.9) -> Result:
    """List what the log can't answer yet, and what would be needed.

    Floors and ceilings that runs have reached, the range of each axis, whether there is a trend at
    all, what the data leave open, whether forms can be told apart, and the best score attainable at
    the full size with infinite data.

    Parameters
    ----------
    fitted : Fit or Forecast
    level : float
        Of the best attainable score's interval.

    Returns
    -------
    Result
        ``frame``: ``subject``, ``settled`` and the ``sentence``. ``values``: ``best``,
        ``best_low``, ``best_high``; by level, as in ``best[label]``, where the law has several.

    Raises
    ------
    ValueError
        For something else than a fit of one metric, or a level outside (0, 1).
    """
    if not isinstance(fitted, Fit | Forecast):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(
            f"limits: {type(fitted).__name__} is neither a Fit nor a Forecast; ask one metric at a "
            "time."
        )
    check_share(level, "level")
    one = main_fit(fitted)
    rows: list[tuple[str, bool, str]] = [*_ends_reached(one), *_axes(one), *_open(one)]
    if isinstance(fitted, Forecast):
        top = float(fitted.weights.max())
        words = ", ".join(f"{k} {w:.2f}" for k, w in fitted.weights.items() if w >= 0.005)
        far = "" if top >= _SURE else " More levels at the end that is asked about tell them apart."
        rows.append(("form", top >= _SURE, f"Weights of the forms: {words}.{far}"))
    values, best = _best(fitted, level)
    rows += best
    frame = pd.DataFrame(rows, columns=["subject", "settled", "sentence"])
    unsettled = frame.loc[~frame["settled"], "sentence"]
    head = best[0][2].rstrip(".") if best else "The law has no limit"
    answer = f"{head}; {len(unsettled)} of {len(frame)} points are not settled."
    drawn = frame.assign(no=frame["settled"].astype(float))
    return Result(
        question=f"What does the log of {one.problem.n} runs not settle about {one.metric.name}?",
        answer=answer,
        frame=frame,
        view=View("subject", "no", style="bars", y_label="settled (1) or not (0)", table=drawn),
        values=values,
        found=bool(len(unsettled) == 0),
        reason=Why(answer, None, "", str(unsettled.iloc[0]) if len(unsettled) else ""),
        notes=tuple(n for n in one.notes if n.severity != "info"),
    )  # fmt: skip


def _ends_reached(one: Fit) -> list[tuple[str, bool, str]]:
    """Count the runs that lie at the floor or the top, where the score says nothing of the law."""
    link, problem = one.model.link, one.problem
    if link.kind != "logit":
        return []
    sd = np.sqrt(problem.evaluation_variance(problem.score) + one.estimate.run_variance)
    rows: list[tuple[str, bool, str]] = []
    for word, end, near in (
        ("floor", link.floor, problem.score <= link.floor + 2.0 * sd),
        ("top", link.top, problem.score >= link.top - 2.0 * sd),
    ):
        count = int(near.sum())
        verb = "lies" if count == 1 else "lie"
        rows.append((word, count * 5 <= problem.n, f"{count} of {problem.n} runs {verb} within two "
                     f"standard deviations of the {word}, {end:.3g}."))  # fmt: skip
    return rows


def _axes(one: Fit) -> list[tuple[str, bool, str]]:
    rows: list[tuple[str, bool, str]] = []
    for axis in (a.name for a in one.law.axis_list()):
        values = one.problem.frame[axis].to_numpy(dtype=float)
        verdict = judge_problem(one.problem, axis, np.random.default_rng(one.seed))
        rows.append((
            axis, verdict.kind == "law",
            f"{axis} runs from {number(float(values.min()))} to {number(float(values.max()))} in "
            f"{len(np.unique(values))} levels; what lies beyond is a forecast. Verdict: {verdict}",
        ))  # fmt: skip
    return rows


def _open(one: Fit) -> list[tuple[str, bool, str]]:
    """List combinations of parameters that the data do not fix, and how the noise is known."""
    table = one.identifiability
    size = table.iloc[:, 0].to_numpy(dtype=float)
    loose = int((size < _LOOSE * size.max()).sum())
    words = (
        "The data fix every combination of parameters."
        if not loose
        else f"{loose} of {len(size)} combinations of parameters are left open; predictions inside "
        "the data hold, parameters and far forecasts do not. Add levels of the axes."
    )
    rows = [("parameters", loose == 0, words)]
    reason = one.draws_or_reason
    if isinstance(reason, NoInterval):
        rows.append(("noise", False, f"No interval: {reason}"))
    elif reason.pooling is not None:
        df = reason.pooling.df
        few = " Repeat some runs with other seeds." if df < 6 else ""
        rows.append(("noise", bool(df >= 6),
                     f"The noise is known from {df:g} degrees of freedom.{few}"))  # fmt: skip
    return rows


def _best(fitted: Fitted, level: float) -> tuple[dict[str, float], list[tuple[str, bool, str]]]:
    """Return the score at the full size with infinite data, from the limits of all forms."""
    one = main_fit(fitted)
    names = [n for n in one.model.names if one.model.param(n).role == "limit"]
    values: dict[str, float] = {}
    rows: list[tuple[str, bool, str]] = []
    if not names or isinstance(one.draws_or_reason, NoInterval):
        return values, rows
    joint = joint_of(fitted)
    forms = [f.fit for f in joint.forms[joint.names[0]]]
    top = one.model.link.top if one.model.link.kind == "logit" else np.inf
    for name in names:
        drawn = [_limit(f, name) for f in forms if name in f.model.names]
        low, high = (float(e[0]) for e in quantile_pair(np.concatenate(drawn)[None], level))
        estimate = float(_limit(one, name, at_estimate=True)[0])
        label = name.partition("[")[2].rstrip("]")
        key = f"best[{label}]" if label else "best"
        values |= {key: estimate, f"{key}_low": low, f"{key}_high": high}
        is_open = high >= top - _OPEN or (one.metric.direction == "lower" and low <= 0.0)
        where = f" with {'|'.join(one.law.by)} {label}" if label else ""
        room = ": no ceiling is seen yet" if is_open else ""
        rows.append((key, not is_open, f"The best {one.metric.name} that the laws allow{where} is "
                     f"{estimate:.3g} ({low:.3g} to {high:.3g}){room}."))  # fmt: skip
    return values, rows


def _limit(one: Fit, name: str, at_estimate: bool = False) -> Array:
    """Return draws of a limit as a score."""
    theta = one.estimate.theta[None] if at_estimate else one.draws.theta
    value = printed(one.model, theta)[name]
    if not one.model.on_logit(name):
        return value
    link = one.model.link
    share = 1.0 / (1.0 + np.exp(-np.clip(value, -500.0, 500.0)))
    return link.floor + (link.top - link.floor) * share
