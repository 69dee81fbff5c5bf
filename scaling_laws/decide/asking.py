"""What questions have in common: targets, points, and which run an answer hangs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Real
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.draws import Joint, main_fit
from scaling_laws.decide.probability import Targets
from scaling_laws.decide.result import Why
from scaling_laws.result import Fit
from scaling_laws.runs import Note
from scaling_laws.show import number

__all__ = [
    "Limits", "check_interval", "check_positive", "check_share", "cost_limits", "decisive_run",
    "decisive_unit", "lying_beyond", "one_point", "only_metric", "points_of", "row_of",
    "support_notes", "target_words", "targets_of", "why_there", "words_of",
]  # fmt: skip

Array = NDArray[np.float64]
Limits = Mapping[str, float] | float | None

_WHOSE = {"run": "a new run", "mean": "the curve", "score": "one evaluation of a new run"}
_UNITS = {
    "latency_ms": "latency_ms=80 for 80 milliseconds a request",
    "memory": "memory=80e9 for 80 GB on one device",
    "price": "price=5 for 5 dollars a million requests",
}


def targets_of(joint: Joint, at_least: Limits, at_most: Limits) -> dict[str, tuple[float, float]]:
    """Return metric -> (at least, at most).

    A plain number is a target of the only metric.

    Raises
    ------
    ValueError
        For no target, an unknown metric, the wrong direction (so that a metric has one target at
        most), or a value that no model has.
    """
    lows, highs = _by_metric(joint, at_least, "at_least"), _by_metric(joint, at_most, "at_most")
    for name in lows:
        if name in highs:
            raise ValueError(_both(joint, name, lows[name], highs[name]))
    lows, highs = _limits(joint, lows, "at_least"), _limits(joint, highs, "at_most")
    out: dict[str, tuple[float, float]] = {}
    for name in dict.fromkeys((*lows, *highs)):
        out[name] = (lows.get(name, -np.inf), highs.get(name, np.inf))
    if not out:
        metric = joint.metric(joint.first)
        word = "at_least" if metric.direction == "higher" else "at_most"
        raise ValueError(f"there is no target: write {word}={{{metric.name!r}: ...}}.")
    return out


def _by_metric(joint: Joint, given: Limits, what: str) -> Mapping[str, float]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return given
    if len(joint.names) > 1:
        raise ValueError(f"{what} = {given!r}: say of which metric, {what}={{...: {given!r}}}.")
    return {joint.first: given}


def _both(joint: Joint, name: str, low: float, high: float) -> str:
    """Say that a metric has two targets, and which of them to drop."""
    none = ", which no score meets" if low > high else ""
    higher = joint.metric(name).direction == "higher"
    wanted, value = ("at_least", low) if higher else ("at_most", high)
    return (
        f"at_least = {low!r} and at_most = {high!r} are both given for {name}{none}; it is better "
        f"{joint.metric(name).direction}: write {wanted}={{{name!r}: {value!r}}} alone."
    )


def _limits(joint: Joint, given: Mapping[str, float], what: str) -> dict[str, float]:
    for name, value in given.items():
        if name not in joint.names:
            raise ValueError(
                f"{what} names {name!r}, but the fit is of {', '.join(joint.names)}."
                f"{_meant(name, joint.names)} Pass "
                f"{{metric: fit, ...}} with a fit of {name!r}, or drop the target."
            )
        metric = joint.metric(name)
        if not (_real(value) and np.isfinite(value)):
            raise ValueError(
                f"{what}: {name} = {value!r} is not a finite number; write the score that is asked "
                "for, or drop the target."
            )
        wanted = "at_least" if metric.direction == "higher" else "at_most"
        if what != wanted:
            raise ValueError(
                f"{name} is better {metric.direction}: write {wanted}={{{name!r}: {value:g}}}."
            )
        if joint.is_log(name) and not value > 0:
            raise ValueError(
                f"{what}: {name} = {value:g} is not above 0, as every {name} is; write a positive "
                "number."
            )
        if metric.top is not None and not (metric.floor or 0.0) <= value <= metric.top:
            raise ValueError(
                f"{what}: {name} = {value:g} is not between its floor {metric.floor or 0:g} and "
                f"its top {metric.top:g}; write a score on that scale."
            )
    return {name: float(value) for name, value in given.items()}


def check_share(value: float, what: str) -> None:
    """Refuse a confidence or level outside (0, 1)."""
    if not (_real(value) and 0 < value < 1):
        share = value if _real(value) and 1 < value < 100 else 90
        raise ValueError(
            f"{what} = {value!r} is not in (0, 1); write {share / 100:g} for {share:g} %."
        )


def check_positive(value: float, what: str, instead: str) -> None:
    """Refuse what is not a finite number above 0."""
    if not (_real(value) and 0 < value < np.inf):
        raise ValueError(f"{what} = {value!r} is not positive and finite; {instead}.")


def check_interval(interval: str, of: Sequence[str] = tuple(_WHOSE)) -> None:
    """Refuse the name of no interval, or of one that a question can't be asked of."""
    if interval not in of:
        words = ", ".join(f"{name!r} ({_WHOSE[name]})" for name in of)
        raise ValueError(f"interval = {interval!r} is none of {words}; write one of these.")


def cost_limits(**given: float | None) -> dict[str, float]:
    """Return the limits of ``latency_ms``, ``memory`` and ``price`` that are given.

    Raises
    ------
    ValueError
        For what is not a finite number above 0.
    """
    out: dict[str, float] = {}
    for name, value in given.items():
        if value is not None:
            check_positive(value, name, f"write {_UNITS[name]}, or leave it out for no limit")
            out[name] = float(value)
    return out


def only_metric(joint: Joint) -> str:
    """Return the name of the metric, where the question is of one.

    Raises
    ------
    ValueError
        For several.
    """
    if len(joint.names) > 1:
        raise ValueError(
            f"one metric is asked about, not {', '.join(joint.names)}; pass the fit of one of them."
        )
    return joint.first


def _real(value: Any) -> bool:
    return isinstance(value, Real)


def target_words(targets: Targets) -> str:
    """Return the targets in words."""
    parts: list[str] = []
    for name, (low, high) in targets.items():
        parts += [f"{name} >= {low:g}"] * bool(np.isfinite(low))
        parts += [f"{name} <= {high:g}"] * bool(np.isfinite(high))
    return " and ".join(parts)


# --- points ---------------------------------------------------------------------------------------
def points_of(
    joint: Joint,
    candidates: pd.DataFrame | None,
    axes: Mapping[str, Any],
    default: Callable[[str], Sequence[float] | Array],
) -> pd.DataFrame:
    """Return candidates as a frame: the given one, or every combination of the axes' values.

    Parameters
    ----------
    axes : mapping
        Value or values by axis or factor. What the laws do not know is kept for serving; a mapping
        gives a value to each level of a factor.
    default : callable
        Values of an axis that is not given.

    Raises
    ------
    ValueError
        For no candidates, an axis that is missing or no law knows, or a level no run had.
    """
    known = (*joint.axes, *joint.factors)
    if candidates is None:
        values = {
            name: _listed(axes[name]) if name in axes else list(default(name))
            for name in joint.axes
        }
        values |= {
            name: _listed(axes[name]) if name in axes else list(levels)
            for name, levels in joint.factors.items()
        }
        _refuse_empty(all(len(v) for v in values.values()))
        index = pd.MultiIndex.from_product(list(values.values()), names=list(values))
        frame = index.to_frame(index=False)
    else:
        frame = pd.DataFrame(candidates).reset_index(drop=True)
        frame = frame.assign(**{n: v for n, v in axes.items() if n in known})
    _refuse_empty(len(frame) > 0)
    for name in known:
        if name not in frame.columns:
            raise ValueError(
                f"the candidates have no column {name!r}; the law is a function of "
                f"{', '.join(known)}."
            )
    for name, value in axes.items():
        if name not in known:
            frame[name] = _spread(name, value, frame, joint)
    return frame


def _refuse_empty(enough: bool) -> None:
    if not enough:
        raise ValueError("there are no candidates; give at least one, such as kept=[.58, .37].")


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return [value]
    return list(value)


def _spread(name: str, value: Any, frame: pd.DataFrame, joint: Joint) -> Any:
    """Return a column of something that no law knows: a number, or one for each level."""
    if isinstance(value, Mapping):
        levels = cast("Mapping[str, Any]", value)
        for factor in joint.factors:
            words = frame[factor].astype(str)
            if set(words) <= {str(k) for k in levels}:
                return words.map({str(k): v for k, v in levels.items()}).astype(float)
        raise ValueError(
            f"{name}: {', '.join(map(str, levels))} are not the levels of a factor of the fit."
        )
    if name not in _EXTRA:
        known = [*joint.axes, *joint.factors]
        hint = _meant(name, [*known, *_EXTRA])
        raise ValueError(f"{name!r} is no axis of the fit.{hint} It has {', '.join(known)}.")
    return value


def _meant(name: str, known: Sequence[str]) -> str:
    """Return the near name as a question, with a space before it; nothing without one."""
    close = get_close_matches(str(name), known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


# Columns that the costs of serving read.
_EXTRA = ("tokens_in", "tokens_out", "batch", "load", "weight_bits", "group")


def one_point(joint: Joint, axes: Mapping[str, Any], free: Sequence[str] = ()) -> dict[str, Any]:
    """Return values of all axes and factors but the `free` ones; levels may be left out if single.

    Raises
    ------
    ValueError
        For what is missing, unknown, or more than one value.
    """
    known = {**{a: joint.seen(a) for a in joint.axes}, **joint.factors}
    for name in axes:
        if name not in known or name in free:
            wanted = ", ".join(k for k in known if k not in free) or "no further axis"
            hint = "" if name in known else _meant(name, list(known))
            raise ValueError(f"{name!r} can't be given here; the question takes {wanted}.{hint}")
    point: dict[str, Any] = {}
    for name, levels in known.items():
        if name in free:
            continue
        if name in axes:
            values = _listed(axes[name])
            if len(values) != 1:
                raise ValueError(f"{name} = {values}: one value is asked for.")
            point[name] = _known_value(joint, name, values[0])
        elif len(levels) == 1:
            point[name] = levels[0]
        else:
            seen = ", ".join(v if isinstance(v, str) else f"{v:g}" for v in levels[:8])
            raise ValueError(f"say at which {name}: {name}=...; the log has {seen}.")
    return point


def _known_value(joint: Joint, name: str, value: Any) -> Any:
    """Return the value of an axis or a factor.

    Raises
    ------
    ValueError
        For a level that no run had, or an axis that is no finite number.
    """
    if name not in joint.factors:
        if not (_real(value) and np.isfinite(value)):
            seen = [f"{v:g}" for v in joint.seen(name)[:8]]
            raise ValueError(
                f"{name} = {value!r} is not a finite number; the log has {', '.join(seen)}."
            )
        return value
    levels = joint.factors[name]
    if str(value) not in levels:
        raise ValueError(
            f"{name} = {value!r} was not in the fitted log; it had {', '.join(levels)}."
            f"{_meant(value, levels)} Write one of these, or add runs of {value!r}."
        )
    return value


def words_of(point: Mapping[str, Any]) -> str:
    """Return a point in words."""
    return ", ".join(
        f"{k} {v}" if isinstance(v, str) else f"{k} {number(float(v))}" for k, v in point.items()
    )


def support_notes(joint: Joint, points: pd.DataFrame) -> tuple[Note, ...]:
    """Say how far beyond the log an answer lies."""
    return lying_beyond(points, joint.support(points), (*joint.axes, *joint.factors))


def lying_beyond(points: pd.DataFrame, far: pd.DataFrame, names: Sequence[str]) -> tuple[Note, ...]:
    """Say of points with a known ``distance`` and ``support`` which lies farthest beyond the log.

    Parameters
    ----------
    names : sequence of str
        Axes and factors that tell points apart.
    """
    if (far["support"] == "outside").any():
        row = int(np.argmax(far["distance"].to_numpy()))
        given = row_of(points, row)
        point = {k: given[k] for k in names if k in given}
        sentence = (
            f"{words_of(point)} lies outside the log, {far['distance'].iloc[row]:.2g} of its "
            "log-range beyond; add runs nearer to it before relying on this."
        )
        return (Note("outside", "warning", sentence),)
    if (far["support"] == "corner").any():
        sentence = "The answer lies in a corner of the log that no run fills; one run there helps."
        return (Note("corner", "info", sentence),)
    return ()


# --- the run that matters most --------------------------------------------------------------------
def decisive_run(
    joint: Joint, name: str, question: Callable[[Fit], float] | Mapping[str, Any], what: str
) -> str:
    """Say without which unit of the log an answer moves most.

    Parameters
    ----------
    question : callable or mapping
        Of the fit of this metric (its main form): a number, or a point to predict at. Infinity is
        an answer: it moves farther than any number. NaN is none, and is counted.
    what : str
        What the number is.
    """
    return decisive_unit(main_fit(joint.fits[name]), question, what)


def why_there(
    joint: Joint, name: str, point: Mapping[str, Any], what: str, answer: str, probability: float,
    change: str,
) -> Why:  # fmt: skip
    """Return what an answer on the score at a point rests on; `what` that score is."""
    return Why(answer, probability, decisive_run(joint, name, point, what), change)


def decisive_unit(one: Fit, question: Callable[[Fit], float] | Mapping[str, Any], what: str) -> str:
    """Say without which unit of the log of a fit an answer moves most; as `decisive_run`."""
    try:
        found = one.influence(question)
    except ValueError as why:
        return f"no run could be left out: {why}"
    answers, base = found.frame["answer"].to_numpy(dtype=float), found.answer
    known = ~np.isnan(answers)
    with np.errstate(invalid="ignore"):
        moved = np.where(known & (answers != base), np.abs(answers - base), 0.0)
    kind, missing = found.kind, int((~known).sum())
    lost = f"; without {missing} of {len(known)} there is none to ask" * bool(missing)
    if not moved.max() > 0:
        return f"no single {kind} moves the answer{lost}"
    first = row_of(found.frame, int(np.argmax(moved)))
    which, answer = str(first["which"]), float(first["answer"])
    # A row of no chain is one run.
    kind = "run at" if kind == "chain" else kind
    unit = which if which.startswith(("chain", kind)) else f"the {kind} {which}"
    digits = 3
    while digits < 6 and number(answer, digits) == number(base, digits):
        digits += 1
    ends = f"{number(answer, digits)} instead of {number(base, digits)}"
    return f"without {unit} {what} is {ends}{lost}"


def row_of(frame: pd.DataFrame, position: int) -> dict[str, Any]:
    """Return a row as plain Python values."""
    out: dict[str, Any] = {}
    for column in frame.columns:
        value: Any = frame[column].iloc[position]
        out[str(column)] = value.item() if hasattr(value, "item") else value
    return out
