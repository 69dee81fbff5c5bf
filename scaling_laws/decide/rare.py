"""How many labels each class needs: rare classes are what a student fails on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.classes import ClassFits
from scaling_laws.decide.asking import row_of
from scaling_laws.decide.draws import joint_of
from scaling_laws.decide.labels import Kind, data_axis, labels_needed
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.halfwild import NoInterval
from scaling_laws.runs import Note
from scaling_laws.show import number

__all__ = ["by_class"]


def by_class(
    classes: ClassFits,
    at_least: float,
    *,
    confidence: float = 0.9,
    interval: Kind = "run",
    level: float = 0.9,
    axis: str | None = None,
    **point: Any,
) -> Result:
    """Return how many examples each class needs for its score, the hardest first.

    Parameters
    ----------
    classes : ClassFits
        Of `scaling_laws.fit_classes`: curves that lend each other their exponent.
    at_least : float
        Target of every class's score.
    confidence, interval, level, axis, **point
        As in `labels_needed`; n counts the examples of all classes together.

    Returns
    -------
    Result
        ``frame``: a row a class: ``n, low, high`` of all examples, ``labels`` of that class among
        them where its share is logged, ``never``, and the reason where there is no curve.

    Raises
    ------
    TypeError
        For something else than classes.
    """
    kind = type(classes).__name__
    if kind != ClassFits.__name__:
        raise TypeError(f"by_class takes the classes of sl.fit_classes(...), not a {kind}.")
    rows: list[dict[str, Any]] = []
    runs: dict[Any, str] = {}
    for key, one in classes.fits.items():
        try:
            found = labels_needed(
                one, at_least=at_least, confidence=confidence, interval=interval, level=level,
                axis=axis, **point,
            )  # fmt: skip
        except NoInterval as why:
            rows.append({"class": key, "why": str(why)})
            continue
        kept = {k: found.values[k] for k in ("n", "low", "high", "never")}
        runs[key] = found.why.run
        share = _share(classes, key, data_axis(joint_of(one), axis))
        rows.append({"class": key, **kept, "labels": share * kept["n"], "why": ""})
    rows += [{"class": key, "why": why} for key, why in classes.small.items()]
    columns = ["class", "n", "low", "high", "never", "labels", "why"]
    frame = pd.DataFrame(rows).reindex(columns=columns)
    order = np.argsort(-frame["n"].fillna(-1.0).to_numpy(dtype=float), kind="stable")
    frame = frame.iloc[order].reset_index(drop=True)
    n = frame["n"].to_numpy(dtype=float)
    open_, unknown = int(np.isinf(n).sum()), int(np.isnan(n).sum())
    finite = frame.iloc[np.flatnonzero(np.isfinite(n))]
    answer, run = f"{len(finite)} of {len(frame)} classes reach {at_least:g}", ""
    if len(finite):
        most = row_of(finite, 0)
        answer += f", the last ({most['class']}) with {number(float(most['n']))} examples"
        run = f"For {most['class']}: {runs[most['class']]}" if runs[most["class"]] else ""
    notes = [Note("unreachable", "warning", f"{open_} classes don't get there.")] * bool(open_)
    if unknown:
        sentence = f"{unknown} classes have no curve of their own: label more of them first."
        notes.append(Note("no_curve", "warning", sentence))
    return Result(
        question=f"the examples with which each class has {classes.metric.name} >= {at_least:g} "
        f"with probability {confidence:g}",
        answer=answer, frame=frame, found=not open_ and not unknown,
        view=View("class", "n", "low", "high", style="bars", y_label="examples needed",
                  table=finite),
        values={"reaching": len(finite), "unreachable": open_, "unknown": unknown},
        reason=Why(
            answer, None, run, "the classes at the head of the table: label those first"
        ),
        notes=tuple(notes),
    )  # fmt: skip


def _share(classes: ClassFits, key: Any, along: str) -> float:
    """Share of a class among the examples, where logged."""
    if "labels" not in classes.data or along not in classes.data:
        return float("nan")
    here = np.array([value == key for value in classes.data[classes.by]], np.bool_)
    part = classes.data.iloc[np.flatnonzero(here)]
    return float((part["labels"] / part[along]).median())
