"""When a student has paid for itself: the traffic at which its training is won back."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.cost import Budget, Serving, Training
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.runs import Note
from scaling_laws.show import number

__all__ = ["break_even"]

Dollars = float | tuple[float, float]
_MILLION = 1e6


@dataclass(frozen=True)
class _Bill:
    """``dollars + hours x price of an hour``, each a range; None where no price of an hour."""

    dollars: tuple[float, float]
    hours: tuple[float, float]
    price: tuple[float, float] | None

    def at(self, end: int, hour: float) -> float:
        return self.dollars[end] + self.hours[end] * hour


def break_even(
    student: Any,
    against: Any,
    *,
    training: Training | Budget | Dollars,
    serving: Serving | None = None,
    other: Dollars = 0.0,
    against_training: Training | Budget | Dollars = 0.0,
    per_day: float | None = None,
) -> Result:
    """Find the traffic at which a student has paid for its training.

    ``requests = (F_student - F_other) / (c_other - c_student)``, F paid once, c a request.

    Parameters
    ----------
    student, against : name, Shape, number or pair
        What is served (priced by `serving`), or dollars for a million requests, such as the price
        of an API.
    training : Training, Budget, number or pair
        What the student costs once; a number or a range in dollars.
    serving : Serving, optional
        Needed where `student` or `against` is a model.
    other : number or pair
        Dollars paid once for the student beside the training: labels, evaluation, people.
    against_training
        What the other option costs once.
    per_day : float, optional
        Requests a day, to say when.

    Returns
    -------
    Result
        ``values``: ``requests``, ``low``, ``high``; ``found`` is False where a request to the
        student is not cheaper at any end of the ranges. ``frame``: both bills against traffic.

    Raises
    ------
    ValueError
        For a price that is missing or negative.

    Notes
    -----
    The ends come from all corners of the ranges: utilisation of the training, of prefill (the same
    for both models on one server) and the price of an hour, which is the same for training and
    serving on the same device and then cancels but for `other`.
    """
    if per_day is not None and not per_day > 0:
        raise ValueError(f"break_even: per_day = {per_day} is not positive.")
    once = [_once(training, "training"), _dollars(other, "other")]
    rival = _once(against_training, "against_training")
    mine, theirs = _request(student, serving, "student"), _request(against, serving, "against")
    hours = [b.price for b in (*once, rival, mine, theirs) if b.price is not None]
    common = len(set(hours)) <= 1
    low_price, high_price = (hours[0] if hours else (0.0, 0.0)) if common else (0.0, 0.0)
    ends: list[float] = []
    gains: list[float] = []
    bills: list[tuple[float, float, float, float]] = []
    corners = itertools.product((0, 1), repeat=3)
    for hour, (fixed, paid, serve) in itertools.product((low_price, high_price), corners):
        cost = [b.at(fixed, _hour(b, hour, common, fixed)) for b in once]
        up_front = sum(cost) - rival.at(paid, _hour(rival, hour, common, paid))
        own = mine.at(serve, _hour(mine, hour, common, serve))
        for other_end in (serve,) if serving is not None and theirs.price is not None else (0, 1):
            per = theirs.at(other_end, _hour(theirs, hour, common, other_end)) - own
            gains.append(per)
            ends.append(max(up_front, 0.0) / per * _MILLION if per > 0 else float("inf"))
            bills.append((up_front, per, own, per + own))
    return _answer(ends, gains, bills, per_day, _notes(serving, training, common))


def _hour(bill: _Bill, hour: float, common: bool, end: int) -> float:
    if bill.price is None:
        return 0.0
    return hour if common else bill.price[end]


def _dollars(given: Any, name: str) -> _Bill:
    pair = (given, given) if isinstance(given, int | float) else given
    try:
        low, high = (float(p) for p in pair)
    except (TypeError, ValueError):
        raise ValueError(
            f"break_even: {name} = {given!r}; write dollars, or a pair (low, high)."
        ) from None
    if not 0 <= low <= high < float("inf"):
        raise ValueError(f"break_even: {name} = ({low:g}, {high:g}) is no range of dollars.")
    return _Bill((low, high), (0.0, 0.0), None)


def _once(given: Any, name: str) -> _Bill:
    """Return what is paid once: GPU-hours at a price of an hour, or dollars."""
    if isinstance(given, Training):
        price = given.hardware.price
        if price is None:
            raise ValueError(
                f"break_even: {name} has no price of an hour; pass price= to sl.cost.training."
            )
        hours = [a + b for a, b in zip(given.gpu_hours, given.cache_gpu_hours, strict=True)]
        return _Bill((0.0, 0.0), (hours[0], hours[1]), (price.low, price.high))
    if isinstance(given, Budget):
        if given.price is None:
            raise ValueError(f"break_even: an item of {name} has no price of an hour; pass price=.")
        return _dollars(given.price, name)
    return _dollars(given, name)


def _request(model: Any, serving: Serving | None, name: str) -> _Bill:
    """Return what a million requests take: device hours, low end first, or dollars."""
    if isinstance(model, int | float | tuple):
        return _dollars(model, name)
    if serving is None:
        raise ValueError(
            f"break_even: {name} = {model!r} is a model; pass serving=, or dollars for a million "
            "requests."
        )
    row = serving.evaluate(model).iloc[0]
    if not row["served"]:
        raise ValueError(f"break_even: {name} can't be served: {row['why']}.")
    price = serving.device.price
    if price is None:
        raise ValueError("break_even: the hardware has no price; pass Serving(..., price=...).")
    devices = serving.replicas * serving.gpus * _MILLION / 3600
    hours = (
        devices / float(row["requests_per_s_high"]), devices / float(row["requests_per_s_low"])
    )  # fmt: skip
    return _Bill((0.0, 0.0), hours, (price.low, price.high))


def _notes(serving: Serving | None, training: Any, common: bool) -> list[Note]:
    notes = [] if serving is None else list(serving.notes)
    if isinstance(training, Training | Budget):
        notes += list(training.notes)
    if not common:
        sentence = (
            "Training and serving have other prices of an hour: their ranges are combined at their "
            "own ends."
        )
        notes.append(Note("two_prices", "info", sentence))
    if serving is not None and serving.load is not None:
        sentence = (
            "The price of a request rests on the given load; at other traffic idle time is another."
        )
        notes.append(Note("load", "info", sentence))
    return list(dict.fromkeys(notes))


def _answer(
    ends: list[float], gains: list[float], bills: list[tuple[float, float, float, float]],
    per_day: float | None, notes: list[Note],
) -> Result:  # fmt: skip
    low, high = min(ends), max(ends)
    up_front = [b[0] for b in bills]
    middle_gain = 0.5 * (min(gains) + max(gains))
    middle = max(0.5 * (min(up_front) + max(up_front)), 0.0)
    requests = middle / middle_gain * _MILLION if middle_gain > 0 else float("inf")
    found = bool(np.isfinite(low))
    if not found:
        answer = (
            "Never: a request to the student costs at least as much as one to the other, "
            f"${number(-max(gains))} more for a million."
        )
    elif not np.isfinite(high):
        answer = (
            f"From {number(low)} requests on at best; within the ranges a request to the student "
            "may also cost as much as one to the other, and then never."
        )
    else:
        answer = f"After {_about(requests, low, high)} requests"
        if per_day is not None:
            days = _about(requests / per_day, low / per_day, high / per_day)
            answer += f": after {days} days at {number(per_day)} requests a day"
        answer += "."
    grid = _grid(low, high)
    table = pd.DataFrame(
        {
            "requests": np.tile(grid, 2),
            "option": np.repeat(["student", "other"], len(grid)),
            "dollars": np.concatenate([
                middle + grid / _MILLION * 0.5 * (bills[0][2] + bills[-1][2]),
                grid / _MILLION * 0.5 * (bills[0][3] + bills[-1][3]),
            ]),
        }
    )  # fmt: skip
    change = (
        f"A request saves ${number(min(gains))} to ${number(max(gains))} for a million; what is "
        f"paid once is ${number(min(up_front))} to ${number(max(up_front))}"
    )
    values: dict[str, Any] = {
        "requests": requests, "low": low, "high": high, "once_low": min(up_front),
        "once_high": max(up_front), "saved_per_million_low": min(gains),
        "saved_per_million_high": max(gains),
    }  # fmt: skip
    if per_day is not None:
        values |= {
            "days": requests / per_day,
            "days_low": low / per_day,
            "days_high": high / per_day,
        }
    marks = {"break-even": requests} if np.isfinite(requests) and requests > 0 else {}
    return Result(
        question="At what traffic has the student paid for its training?",
        answer=answer,
        frame=table,
        view=View("requests", "dollars", by="option", log_x=True, log_y=True, marks=marks),
        values=values,
        found=found,
        reason=Why(answer, None, "", change),
        notes=tuple(notes),
    )


def _about(value: float, low: float, high: float) -> str:
    first, last = number(low), number(high)
    return number(value) if first == last else f"{number(value)} ({first} to {last})"


def _grid(low: float, high: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    first = low if np.isfinite(low) and low > 0 else _MILLION
    last = high if np.isfinite(high) and high > 0 else first * 100.0
    return np.geomspace(first / 10.0, last * 10.0, 60)
