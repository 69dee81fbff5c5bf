"""Where students lose their skills: half point, knee, and the gap between task and general."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

import scaling_laws as sl
from scaling_laws.decide import Result
from scaling_laws.uncertainty import quantile_pair

from .laws import Outcome
from .parts import GENERAL, LEVEL, TASK, Parts

__all__ = [
    "alone", "gap", "gaps", "half_points", "knees", "name_of", "no_skill", "places",
    "table_of",
]  # fmt: skip


def places(outcome: Outcome, formats: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return where questions are asked: each format of the law, at the most examples it has."""
    if "format" not in outcome.known:
        return [{k: v[-1] for k, v in outcome.common().items()}]
    here = [f for f in formats if f in outcome.known["format"]]
    return [{"format": f, **{k: v[-1] for k, v in outcome.common(f).items()}} for f in here]


def half_points(
    outcomes: Mapping[str, Outcome], parts: Parts, level: float = LEVEL
) -> dict[str, Result | str]:
    """Ask where half of each skill is lost; by the name of metric and place, or why not."""
    asked = {}
    for metric in (TASK, GENERAL):
        if metric in outcomes:
            one = outcomes[metric]
            for at in places(one, parts.formats):
                asked[name_of(metric, at)] = no_skill(one.forecast, at) or _asked(
                    sl.decide.half_point, one.forecast, {**at, "level": level}
                )
    return asked


def alone(parts: Parts) -> tuple[sl.Fit, dict[str, Result | str]]:
    """Ask where half of general knowledge is lost by a law of the size alone, teacher included.

    `sl.laws.Collapse` over students of all numbers of examples: one score of the whole model, the
    teacher's row among the rest, and a collapse of its own for each format.

    Raises
    ------
    ValueError
        If there is no such score, or no form can be fitted.
    """
    frame = parts.done.frame
    if GENERAL not in frame:
        raise ValueError(f"no row has a {GENERAL}.")
    teachers = parts.teachers[parts.teachers["format"].isin(parts.formats)]
    first = frame.index.isin(teachers.index[:1])
    rows = parts.done.select(parts.is_student(frame) | first)
    several = len(parts.formats) > 1
    law = (
        sl.laws.Collapse(by="format", share={"acc1": True, "k0": False})
        if several
        else sl.laws.Collapse()
    )
    fitted = sl.fit(law, rows, GENERAL)
    at = [{"format": f} for f in parts.formats] if several else [{}]

    def half(a: Mapping[str, Any]) -> Result | str:
        return no_skill(fitted, a) or _asked(sl.decide.half_point, fitted, dict(a))

    return fitted, {name_of(GENERAL, a): half(a) for a in at}


def knees(outcomes: Mapping[str, Outcome], parts: Parts) -> dict[str, Result | str]:
    """Ask where general knowledge begins to fall."""
    if GENERAL not in outcomes:
        return {}
    one = outcomes[GENERAL]
    return {
        name_of(GENERAL, at): _asked(sl.decide.knee, one.forecast, at)
        for at in places(one, parts.formats)
    }


def gaps(outcomes: Mapping[str, Outcome], parts: Parts) -> dict[str, Result | str]:
    """Ask how much more is left of the task's skill than of the general one, by place."""
    if not {TASK, GENERAL} <= set(outcomes):
        return {}
    asked = places(outcomes[TASK], parts.formats)
    return {name_of("", at): gap(outcomes, at) for at in asked}


def gap(
    outcomes: Mapping[str, Outcome], at: Mapping[str, Any], level: float = LEVEL,
    reverse: bool = False,
) -> Result | str:  # fmt: skip
    """Ask for the largest ``R_task - R_general`` at a place, or why there is none.

    Parameters
    ----------
    outcomes : mapping
        By metric, both of them.
    at : mapping
    level : float
        Of interval and band.
    reverse : bool
        Ask for ``R_general - R_task``.
    """
    fits = {name: outcomes[name].forecast for name in (TASK, GENERAL)}
    for one in fits.values():
        if lacks := no_skill(one, at):
            return lacks
    task, general = (GENERAL, TASK) if reverse else (TASK, GENERAL)
    given = {**at, "task": task, "general": general, "level": level}
    return _asked(sl.decide.divergence, fits, given)


def no_skill(fitted: sl.Fit | sl.Forecast, at: Mapping[str, Any]) -> str:
    """Say that a full-size run may score no more than the floor, so that nothing can be kept.

    Empty where the interval of one run at kept 1 lies above the floor. What has no interval at all
    is left to the question.
    """
    best = fitted.best if isinstance(fitted, sl.Forecast) else fitted
    floor = fitted.metric.floor or 0.0
    try:
        draws = fitted.draws_at(
            pd.DataFrame([{"kept": 1.0, **at}]), "score" if best.problem.known else "run"
        )
    except ValueError:
        return ""
    low = float(quantile_pair(draws, LEVEL)[0][0])
    if low > floor:
        return ""
    return (
        f"one run at kept 1 may score {low:.3f} in {fitted.metric.name}, no more than the floor "
        f"{floor:g}: there is no skill to keep."
    )


def _asked(question: Callable[..., Result], fitted: Any, given: dict[str, Any]) -> Result | str:
    try:
        return question(fitted, **given)
    except ValueError as why:
        return str(why)


def name_of(metric: str, at: Mapping[str, Any]) -> str:
    """Say of what a question is."""
    words = [metric, str(at.get("format", "")), f"n{at['examples']:g}" if "examples" in at else ""]
    return " ".join(w for w in words if w) or "all"


def table_of(found: Mapping[str, Result | str], names: tuple[str, ...]) -> pd.DataFrame:
    """Return the numbers of answers by name, a row each; those without are left out."""
    rows = {k: [r.values.get(n) for n in names] for k, r in found.items() if isinstance(r, Result)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(names))
