"""A student that passes doubtful items on to the teacher: what it scores and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.result import Result, View, Why
from scaling_laws.runs import Note
from scaling_laws.show import number
from scaling_laws.uncertainty import as_generator

__all__ = ["cascade"]

Array = NDArray[np.float64]

# Shares passed on that are shown.
_GRID = 51
_RESAMPLES = 1000


def cascade(
    student: pd.DataFrame | float,
    teacher: pd.DataFrame | float,
    *,
    prices: tuple[float, float],
    at_least: float | None = None,
    both: float | None = None,
    confidence: str | None = None,
    item: str = "item",
    gold: str = "gold",
    predicted: str = "predicted",
    level: float = 0.9,
    rng: Any = 0,
) -> Result:
    """Tell what a student and its teacher do together: share passed on, accuracy, price.

    ``price = c_student + s c_teacher`` for a share s of the items, those of which the student is
    least sure.

    Parameters
    ----------
    student, teacher : DataFrame, or accuracy
        Answers to the items of one test set: `item`, `gold`, `predicted`, and for the student the
        probability of each label in columns ``p(label)``, or of its answer in `confidence`. With
        accuracies alone bounds are given: nothing says which items are passed on.
    prices : (float, float)
        Of a request to the student and to the teacher, in one unit, such as dollars a million.
    at_least : float, optional
        Wanted accuracy: the smallest share that reaches it is the answer.
    both : float, optional
        With accuracies alone: share of items that both answer rightly; it narrows the bounds.
    confidence : str, optional
        Column of the student's probability of its own answer.
    item, gold, predicted : str
        Names of columns.
    level : float
        Of the intervals.
    rng : int, Generator or RandomState

    Returns
    -------
    Result
        ``frame``: ``share`` passed on, ``threshold`` of the probability, ``accuracy``, ``low``,
        ``high``, ``price``. From accuracies ``low`` and ``high`` are bounds, ``accuracy`` is that
        of items passed on blindly.

    Raises
    ------
    ValueError
        For columns that are not there, items that do not match, or numbers out of range.

    Notes
    -----
    The share is chosen on one half of the items and scored on the other, both ways, so that its
    accuracy is not that of a lucky choice; intervals resample items (the pair of answers stays
    together). Bounds without items are those of Fréchet: the kept part holds at most
    ``min(1 - s, a_student)`` right answers and at least ``max(0, a_student - s)``.
    """
    if len(prices) != 2 or not all(0 <= p < float("inf") for p in prices):
        raise ValueError(f"cascade: prices = {prices!r}; write (student, teacher), not negative.")
    if at_least is not None and not 0 < at_least <= 1:
        raise ValueError(f"cascade: at_least = {at_least:g} is no accuracy in (0, 1].")
    if isinstance(student, pd.DataFrame) and isinstance(teacher, pd.DataFrame):
        if both is not None:
            raise ValueError("cascade: both= is for accuracies alone; the items say it themselves.")
        names = {"item": item, "gold": gold, "predicted": predicted}
        sure, right, taught = _matched(student, teacher, names, confidence)
        return _of_items(sure, right, taught, prices, at_least, level, as_generator(rng))
    if isinstance(student, pd.DataFrame) or isinstance(teacher, pd.DataFrame):
        raise ValueError(
            "cascade: give the answers of both to the same items, or the accuracies of both."
        )
    return _of_summaries(float(student), float(teacher), both, prices, at_least)


# --- from items -----------------------------------------------------------------------------------
def _matched(
    student: pd.DataFrame, teacher: pd.DataFrame, names: Mapping[str, str], confidence: str | None
) -> tuple[Array, Array, Array]:
    """Return the student's probability of its answer, and whether each was right, item by item."""
    item, gold, predicted = names["item"], names["gold"], names["predicted"]
    for who, table, wanted in (
        ("student", student, (item, gold, predicted)), ("teacher", teacher, (item, predicted)),
    ):  # fmt: skip
        for column in wanted:
            if column not in table.columns:
                raise ValueError(
                    f"cascade: the {who} has no column {column!r}; it has "
                    f"{', '.join(map(str, table.columns))}. Name it, as in item='id'."
                )
        if table[item].duplicated().any():
            twice = table.loc[table[item].duplicated(), item].iloc[0]
            raise ValueError(f"cascade: item {twice!r} of the {who} occurs twice; pass one run.")
    missing = set(student[item]) ^ set(teacher[item])
    if missing:
        raise ValueError(
            f"cascade: {len(missing)} items, such as {sorted(missing, key=str)[0]!r}, were answered"
            " by one of both only; pass the same test set."
        )
    other = teacher.set_index(item).loc[student[item]]
    truth = student[gold].to_numpy(dtype=object)
    right = (student[predicted].to_numpy(dtype=object) == truth).astype(float)
    taught = (other[predicted].to_numpy(dtype=object) == truth).astype(float)
    return _confidence(student, predicted, confidence), right, taught


def _confidence(student: pd.DataFrame, predicted: str, confidence: str | None) -> Array:
    if confidence is not None:
        if confidence not in student.columns:
            raise ValueError(f"cascade: the student has no column {confidence!r}.")
        sure = student[confidence].to_numpy(dtype=float)
    else:
        labels = [c for c in student.columns if str(c).startswith("p(") and str(c).endswith(")")]
        if not labels:
            raise ValueError(
                "cascade: the student has no probabilities; add columns p(label), or name the one "
                "of its answer in confidence=."
            )
        # The probability of the answer given; of an answer that is no label, none: it is passed on.
        place = {str(c)[2:-1]: i for i, c in enumerate(labels)}
        at = student[predicted].astype(str).map(place).to_numpy(dtype=float)
        table = student[labels].to_numpy(dtype=float)
        known = np.isfinite(at)
        sure = np.zeros(len(student))
        sure[known] = table[np.flatnonzero(known), at[known].astype(int)]
    if not ((sure >= 0) & (sure <= 1)).all():
        bad = int(np.flatnonzero(~((sure >= 0) & (sure <= 1)))[0])
        raise ValueError(f"cascade: probability {sure[bad]:g} of row {bad} is not in [0, 1].")
    return sure


def _curve(right: Array, taught: Array, passed: NDArray[np.intp]) -> Array:
    """Accuracy where the first `passed` items go to the teacher; the least sure come first."""
    gain = np.concatenate([[0.0], np.cumsum(taught - right)])
    return (right.sum() + gain[passed]) / len(right)


def _of_items(
    sure: Array, right: Array, taught: Array, prices: tuple[float, float], at_least: float | None,
    level: float, rng: np.random.Generator,
) -> Result:  # fmt: skip
    n = len(sure)
    if n < 2:
        raise ValueError(f"cascade: {n} items are too few; pass a test set.")
    # Items of one probability can't be told apart: they are passed on in random order.
    order = np.lexsort((rng.random(n), sure))
    share = np.linspace(0.0, 1.0, _GRID)
    passed = np.rint(share * n).astype(np.intp)
    drawn = np.empty((_RESAMPLES, _GRID))
    for i in range(_RESAMPLES):
        take = rng.integers(n, size=n)
        again = take[np.lexsort((rng.random(n), sure[take]))]
        drawn[i] = _curve(right[again], taught[again], passed)
    tail = 0.5 * (1.0 - level)
    low, high = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
    threshold = np.append(sure[order], 1.0)[passed]
    frame = pd.DataFrame({
        "share": share, "threshold": threshold,
        "accuracy": _curve(right[order], taught[order], passed),
        "low": low, "high": high, "price": prices[0] + share * prices[1],
    })  # fmt: skip
    values = {"student": float(right.mean()), "teacher": float(taught.mean()),
              "both": float((right * taught).mean()), "items": n}  # fmt: skip
    best = _highest(frame, "accuracy")
    if at_least is None:
        words = (
            f"The accuracy is highest, {best['accuracy']:.3f}, with {best['share']:.0%} passed on: "
            f"student alone {values['student']:.3f}, teacher alone {values['teacher']:.3f}"
        )
        return _result(frame, values, words, True, prices, at_least, None, [])
    reached = frame["accuracy"] >= at_least
    if not reached.any():
        words = (
            f"No share reaches {number(at_least)}: the best is {best['accuracy']:.3f}, with "
            f"{best['share']:.0%} passed on"
        )
        return _result(frame, values, words, False, prices, at_least, None, [])
    held = _held_out(sure, right, taught, at_least, rng)
    row = frame[reached].iloc[0]
    place = int(np.flatnonzero(reached)[0])
    sure_of = float((drawn[:, place] >= at_least).mean())
    values |= {"share": float(row["share"]), "threshold": float(row["threshold"]),
               "accuracy": float(row["accuracy"]), "held_out": held, "low": float(row["low"]),
               "high": float(row["high"]), "price": float(row["price"])}  # fmt: skip
    words = (
        f"Pass on answers with a probability below {row['threshold']:.3f}: {row['share']:.0%} of "
        f"the items, accuracy {row['accuracy']:.3f} ({row['low']:.3f} to {row['high']:.3f}), price "
        f"{number(float(row['price']))} against {number(prices[1])} of the teacher"
    )
    sentence = f"Chosen on one half of the items, a threshold scored {held:.3f} on the other."
    return _result(frame, values, words, True, prices, at_least, sure_of,
                   [Note("held_out", "info", sentence)])  # fmt: skip


def _highest(frame: pd.DataFrame, column: str) -> dict[Any, Any]:
    return frame.iloc[int(frame[column].to_numpy(dtype=float).argmax())].to_dict()


def _held_out(
    sure: Array, right: Array, taught: Array, at_least: float, rng: np.random.Generator
) -> float:
    """Choose the threshold on one half, score it on the other, both ways."""
    halves = np.array_split(rng.permutation(len(sure)), 2)
    total = 0.0
    for mine, theirs in (halves, halves[::-1]):
        order = mine[np.argsort(sure[mine], kind="stable")]
        curve = _curve(right[order], taught[order], np.arange(len(mine) + 1))
        met = np.flatnonzero(curve >= at_least)
        # Where one half never gets there, everything is passed on.
        count = int(met[0]) if len(met) else len(mine)
        limit = np.append(sure[order], np.inf)[count]
        passed = sure[theirs] < limit
        total += float(np.where(passed, taught[theirs], right[theirs]).sum())
    return total / len(sure)


# --- from accuracies ------------------------------------------------------------------------------
def _of_summaries(
    mine: float, theirs: float, both: float | None, prices: tuple[float, float],
    at_least: float | None,
) -> Result:  # fmt: skip
    for name, value in (("student", mine), ("teacher", theirs)):
        if not 0 <= value <= 1:
            raise ValueError(f"cascade: the {name}'s accuracy {value:g} is not in [0, 1].")
    least, most = max(0.0, mine + theirs - 1.0), min(mine, theirs)
    if both is not None and not least - 1e-12 <= both <= most + 1e-12:
        raise ValueError(
            f"cascade: both = {both:g} can't be; with these accuracies it lies between {least:.3g} "
            f"and {most:.3g}."
        )
    share = np.linspace(0.0, 1.0, _GRID)
    low = np.maximum(0.0, mine - share) + np.maximum(0.0, theirs - (1.0 - share))
    high = np.minimum(1.0 - share, mine) + np.minimum(share, theirs)
    if both is not None:
        # Items move by at most those that one of both alone answers rightly.
        won, lost = theirs - both, mine - both
        high = np.minimum(high, mine + np.minimum(won, share))
        high = np.minimum(high, theirs + np.minimum(lost, 1.0 - share))
        low = np.maximum(low, mine - np.minimum(lost, share))
        low = np.maximum(low, theirs - np.minimum(won, 1.0 - share))
    blind = (1.0 - share) * mine + share * theirs
    frame = pd.DataFrame({
        "share": share, "threshold": np.nan, "accuracy": blind, "low": low,
        "high": np.minimum(high, 1.0), "price": prices[0] + share * prices[1],
    })  # fmt: skip
    values: dict[str, Any] = {"student": mine, "teacher": theirs, "both": both}
    note = Note("bounds", "warning", "Without items only bounds are known: what the cascade scores "
                "rests on which items are passed on. Pass the answers of both.")  # fmt: skip
    if at_least is None:
        best = _highest(frame, "high")
        words = (
            f"At {best['share']:.0%} passed on the accuracy lies between {best['low']:.3f} and "
            f"{best['high']:.3f}; blindly passed on, {best['accuracy']:.3f}"
        )
        return _result(frame, values, words, True, prices, at_least, None, [note])
    able = frame[frame["high"] >= at_least]
    surely = frame[frame["low"] >= at_least]
    if not len(able):
        words = f"No share can reach {number(at_least)}: at most {frame['high'].max():.3f}"
        return _result(frame, values, words, False, prices, at_least, None, [note])
    first = float(able["share"].iloc[0])
    values |= {"share_low": first, "share_high": float(surely["share"].iloc[0])
               if len(surely) else float("nan")}  # fmt: skip
    certain = f"certain from {values['share_high']:.0%} on" if len(surely) else "certain at none"
    words = (
        f"{number(at_least)} is possible from {first:.0%} passed on, at a price of "
        f"{number(float(able['price'].iloc[0]))}, and {certain}"
    )
    return _result(frame, values, words, True, prices, at_least, None, [note])


def _result(
    frame: pd.DataFrame, values: Mapping[str, Any], words: str, found: bool,
    prices: tuple[float, float], at_least: float | None, sure: float | None, notes: list[Note],
) -> Result:  # fmt: skip
    lines = {} if at_least is None else {"wanted": at_least}
    marks = {"chosen": values["share"]} if "share" in values else {}
    even = 1.0 - prices[0] / prices[1] if prices[1] > 0 else 0.0
    change = (
        f"Above {even:.0%} passed on the teacher alone is cheaper"
        if even > 0
        else ("The student costs as much as the teacher: a cascade never pays")
    )
    wanted = "" if at_least is None else f" with an accuracy of {number(at_least)} or more"
    return Result(
        question=f"What do student and teacher do together{wanted}?",
        answer=words + ".",
        frame=frame,
        view=View("share", "accuracy", "low", "high", x_label="share passed on to the teacher",
                  lines=lines, marks=marks),
        values=dict(values),
        found=found,
        reason=Why(words, sure, "", change),
        notes=tuple(notes),
    )  # fmt: skip
