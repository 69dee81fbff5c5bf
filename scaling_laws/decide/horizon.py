"""What a log has not settled yet, and what would settle it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.asking import check_share, decisive_unit
from scaling_laws.decide.draws import Fitted, joint_of, left_out, main_fit
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.forecast import Forecast
from scaling_laws.halfwild import NoInterval
from scaling_laws.result import Fit
from scaling_laws.show import number
from scaling_laws.uncertainty import printed, quantile_pair
from scaling_laws.verdict import judge_problem

__all__ = ["limits"]

Array = NDArray[np.float64]

# A limit whose score is closer to the top than this can't be told from it.
_OPEN = 1e-3
# Scaled singular values below this share of the largest leave a combination open.
_LOOSE = 1e-3
# A form with less weight than this leaves room for another.
_SURE = 0.9


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
        reason=partial(_why_limits, one, answer, str(unsettled.iloc[0]) if len(unsettled) else ""),
        notes=tuple(dict.fromkeys([
            *left_out(fitted),
            *(n for n in one.notes if n.severity != "info" and n.code != "bound_rejected"),
        ])),
    )  # fmt: skip


def _why_limits(one: Fit, answer: str, change: str) -> Why:
    """Ask the log about the best score, where the law has one: all else is about the whole log."""
    names = [n for n in one.model.names if one.model.param(n).role == "limit"]
    if not names:
        return Why(answer, change=change)

    def best(fit: Fit) -> float:
        return float(_limit(fit, names[0], at_estimate=True)[0])

    label = names[0].partition("[")[2].rstrip("]")
    what = f"the best {one.metric.name}" + f" of {label}" * bool(label)
    return Why(answer, None, decisive_unit(one, best, what), change)


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
