"""The paper's findings, each asked of a log.

Every finding is one claim or several (one a format, say), each with a number that is above 0 where
the claim holds; `rule` says how answers follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import scaling_laws as sl
from scaling_laws.decide import Result
from scaling_laws.decide.draws import Joint, joint_of
from scaling_laws.uncertainty import quantile_pair, student_t

from .laws import Held, Outcome, points
from .parts import GENERAL, LEVEL, TASK, Parts
from .retention import gap, half_points, name_of, no_skill, places
from .rule import FEWEST, Claim, Finding, claim, shared

__all__ = ["FINDINGS", "ask"]

Array = NDArray[np.float64]
_Outcomes = Mapping[str, Outcome]
_Held = Mapping[str, "Held | str"]


def ask(outcomes: _Outcomes, held: _Held, parts: Parts) -> list[Finding]:
    """Ask every finding.

    Parameters
    ----------
    outcomes : mapping
        By metric; a metric may be missing.
    held : mapping
        `Held` of the smallest students, or why there is none, by metric.
    parts : Parts
    """
    found = []
    for name, (words, rule, question, needs_all) in FINDINGS.items():
        try:
            claims = tuple(question(outcomes, held, parts))
        except ValueError as why:
            claims = (Claim("all of it", said=str(why)),)
        found.append(Finding(name, words, rule, claims, needs_all))
    return found


def _need(outcomes: _Outcomes, *metrics: str) -> None:
    for metric in metrics:
        if metric not in outcomes:
            raise ValueError(f"there is no law of {metric}.")


# --- 1: in-domain quality -------------------------------------------------------------------------
def _degrades(outcomes: _Outcomes, held: _Held, parts: Parts) -> Iterable[Claim]:
    _need(outcomes, TASK)
    one = outcomes[TASK]
    if len(one.known.get("kept", ())) < 2:
        raise ValueError("the students have one size.")
    kept = one.known["kept"]
    middle = [v[len(v) // 2] for v in [one.known.get("examples", [])] if v]
    fixed = {"examples": middle} if middle else {}
    ends = [points(one.known, kept=[k], **fixed) for k in (kept[-1], kept[0])]
    draws = one.forecast.draws_at(pd.concat(ends, ignore_index=True))
    value = one.forecast.predict(pd.concat(ends, ignore_index=True), None)["estimate"].to_numpy()
    n = len(ends[0])
    fall = float(value[:n].mean() - value[n:].mean())
    low, high = _ends(draws[:n].mean(0) - draws[n:].mean(0), LEVEL)
    yield claim(f"{TASK} at kept {kept[-1]:.2f} less that at {kept[0]:.2f}", fall, low, high)
    yield _predicted(held.get(TASK, "no hold-out was done."))


def _predicted(held: Held | str) -> Claim:
    what = "error of the best guess without a law less that of the Forecast"
    if isinstance(held, str):
        return Claim(what, said=held)
    best = held.guesses.idxmin()
    gain = float(held.guesses.min()) - held.errors
    n, mean = len(gain), float(gain.mean())
    half = np.nan
    if n >= FEWEST:
        half = student_t(n - 1.0, LEVEL) * float(gain.std(ddof=1)) / np.sqrt(n)
    inside = held.forecast.frame["covered"]
    said = (
        f"mean |pred - obs| {held.guesses.min():.3f} ({best}) and "
        f"{held.errors.mean():.3f} over {n} chains; {int(inside.sum())} of {len(inside)} rows "
        f"inside {100 * LEVEL:g} % intervals"
    )
    if n < FEWEST:
        said += f"; an interval takes {FEWEST} chains"
    return claim(what, mean, mean - half, mean + half, said)


# --- 2: general knowledge goes first --------------------------------------------------------------
def _collapses(outcomes: _Outcomes, held: _Held, parts: Parts) -> Iterable[Claim]:
    _need(outcomes, TASK, GENERAL)
    asked = places(outcomes[TASK], parts.formats)
    level = shared(len(asked))
    for at in asked:
        yield _first(outcomes, at, level)


def _first(outcomes: _Outcomes, at: Mapping[str, Any], level: float) -> Claim:
    """Return which skill goes first at a place, as a number above 0 where general does."""
    name, found = name_of("", at), gap(outcomes, at, level)
    if isinstance(found, str):
        return Claim(name, said=found)
    v = found.values
    if found.found:
        # The band's end: it counts that the largest of many differences was taken.
        said = f"at kept {v['kept']:.2f}"
        return claim(name, v["difference"], v["lower"], v["high"], said)
    back = gap(outcomes, at, level, reverse=True)
    if isinstance(back, Result) and back.found:
        v = back.values
        said = f"at kept {v['kept']:.2f} the task goes first"
        return claim(name, -v["difference"], -v["high"], -v["lower"], said)
    ends = min(v["low"], 0.0), max(v["high"], 0.0)
    return claim(name, v["difference"], *ends, f"at kept {v['kept']:.2f}")


# --- 3: format drives the gap ---------------------------------------------------------------------
def _drives(outcomes: _Outcomes, held: _Held, parts: Parts) -> Iterable[Claim]:
    _need(outcomes, TASK, GENERAL)
    known = outcomes[TASK].known
    pair = [f for f in ("blended", "cot") if f in known.get("format", ())][:1]
    if not pair or "label" not in known["format"]:
        raise ValueError("it takes label and a format with reasoning.")
    pair.append("label")
    n = outcomes[TASK].common(*pair).get("examples", [])
    if len(n) < 2 or "kept" not in known:
        raise ValueError(f"it takes {' and '.join(pair)} at two numbers of examples.")
    for f in pair:
        for m in (n[0], n[-1]):
            for name in (TASK, GENERAL):
                if lacks := no_skill(outcomes[name].forecast, {"format": f, "examples": m}):
                    raise ValueError(f"{f} n{m:g}: {lacks}")
    joint = joint_of({name: outcomes[name].forecast for name in (TASK, GENERAL)})
    apart = {
        (f, m): _gap(joint, known["kept"], format=f, examples=m)
        for f in pair
        for m in (n[0], n[-1])
    }
    by_format = _moved(apart, [((pair[0], m), (pair[1], m)) for m in (n[0], n[-1])])
    by_data = _moved(apart, [((f, n[-1]), (f, n[0])) for f in pair])
    what = f"|{pair[0]} - {pair[1]}| less |{n[-1]:g} - {n[0]:g} examples|"
    sizes = [abs(m) for m, _ in (by_format, by_data)]
    low, high = _ends(np.abs(by_format[1]) - np.abs(by_data[1]), LEVEL)
    each = (
        f"{word} {m:.3f} [{a:.3f}, {b:.3f}]"
        for word, (m, d) in (("format moves the gap by", by_format), ("examples by", by_data))
        for a, b in [_ends(d, LEVEL)]
    )
    yield claim(what, sizes[0] - sizes[1], low, high, "; ".join(each))


def _gap(joint: Joint, kept: list[float], **at: Any) -> tuple[float, Array]:
    """Return ``R_task - R_general``, mean over the sizes: estimate and draws."""
    table = pd.DataFrame({"kept": [1.0, *kept], **at})
    parts = []
    for name in (TASK, GENERAL):
        floor = joint.metric(name).floor or 0.0
        mean, draws = joint.estimate(name, table) - floor, joint.values(name, table) - floor
        parts.append((float((mean[1:] / mean[0]).mean()), (draws[1:] / draws[0]).mean(0)))
    return parts[0][0] - parts[1][0], parts[0][1] - parts[1][1]


def _moved(
    apart: Mapping[Any, tuple[float, Array]], pairs: list[tuple[Any, Any]]
) -> tuple[float, Array]:
    """Return the mean difference of gaps over pairs: estimate and draws."""
    means = [apart[a][0] - apart[b][0] for a, b in pairs]
    return float(np.mean(means)), np.mean([apart[a][1] - apart[b][1] for a, b in pairs], axis=0)


# --- 4: reasoning recovers ------------------------------------------------------------------------
def _recovers(metric: str) -> Callable[[_Outcomes, _Held, Parts], Iterable[Claim]]:
    def question(outcomes: _Outcomes, held: _Held, parts: Parts) -> Iterable[Claim]:
        _need(outcomes, metric)
        one = outcomes[metric]
        reasoning = [f for f in one.known.get("format", ()) if f != "label"]
        if not reasoning or "label" not in one.known["format"]:
            raise ValueError("it takes label and a format with reasoning.")
        level = shared(len(reasoning) * len(one.known.get("kept", [1.0])))
        for f in reasoning:
            most: dict[str, Any] = {k: v[-1] for k, v in one.common(f, "label").items()}
            found = sl.decide.compare_formats(one.forecast, [f, "label"], level=level, **most)
            for _, row in found.frame[found.frame["format"] == f].iterrows():
                where = f" at kept {row['kept']:.2f}" if "kept" in row else ""
                ends = row["lead"], row["lead_low"], row["lead_high"]
                yield claim(f"{f} leads label{where}", *ends)

    return question


# --- 5: the smallest student ----------------------------------------------------------------------
def _retains(outcomes: _Outcomes, held: _Held, parts: Parts) -> Iterable[Claim]:
    _need(outcomes, TASK)
    one = outcomes[TASK]
    smallest = one.known.get("kept", [1.0])[0]
    level = shared(len(places(one, parts.formats)))
    for name, found in half_points({TASK: one}, parts, level).items():
        what = f"{name}: kept {smallest:.2f} less the half point"
        if not isinstance(found, Result):
            yield Claim(what, said=found)
            continue
        v = found.values
        yield claim(what, smallest - v["kept"], smallest - v["high"], smallest - v["low"],
                    found.answer)  # fmt: skip


def _ends(draws: Array, level: float) -> tuple[float, float]:
    low, high = quantile_pair(draws[None], level)
    return float(low[0]), float(high[0])


_RECOVERS = (
    "lead over label at the most examples of both, at each size and for each format with reasoning "
    "(compare_formats)"
)
FINDINGS: Mapping[str, tuple[str, str, Callable[..., Iterable[Claim]], bool]] = {
    "1": (
        "In-domain quality degrades predictably under compression",
        f"both: {TASK} falls from the largest to the smallest student; and with the smallest "
        "students held out, the Forecast errs less than the best guess without a law (mean over "
        "chains)",
        _degrades, True,
    ),
    "2": (
        "General knowledge collapses well before in-domain quality",
        f"largest R({TASK}) - R({GENERAL}) over the sizes at the most examples, for each format "
        "(divergence)",
        _collapses, False,
    ),
    "3": (
        "Supervision format is the key driver of that trade-off",
        f"the format moves R({TASK}) - R({GENERAL}), mean over the sizes, by more than the least "
        "and the most examples do",
        _drives, False,
    ),
    "4": (
        "Reasoning recovers general knowledge that pruning erases",
        f"{GENERAL}: {_RECOVERS}",
        _recovers(GENERAL), False,
    ),
    "4, by general_kl": (
        "Reasoning keeps students nearer to the base model on general text",
        f"general_kl: {_RECOVERS}",
        _recovers("general_kl"), False,
    ),
    "5": (
        "The smallest student retains meaningful task accuracy",
        f"half of {TASK} above its floor is lost only below the smallest size, for each format "
        "(half_point, 0 where it is nowhere); that half is meaningful is our reading",
        _retains, False,
    ),
}  # fmt: skip
"""Name -> the finding, the number behind it, the question, whether it needs all claims."""
