"""What every question returns: the answer, why, the table behind it, its figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd

from scaling_laws.runs import Note

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Result", "View", "Why"]


@dataclass(frozen=True)
class Why:
    """What an answer rests on.

    Attributes
    ----------
    answer : str
        In words.
    probability : float or None
        That it holds, or that targets are met there; None where the question has none: a p value
        is not one.
    run : str
        The unit (chain, else configuration; of a knee the run) of the log without which the answer
        moves most, each left out in turn, and what it would be. Empty where an answer is of no log,
        or of all of it.
    change : str
        The first thing that would change the answer.
    """

    answer: str
    probability: float | None = None
    run: str = ""
    change: str = ""

    def __str__(self) -> str:
        sure = "" if self.probability is None else f" (probability {self.probability:.2f})"
        parts = (self.answer + sure, self.run, self.change)
        return " ".join(part.rstrip(".") + "." for part in parts if part)


@dataclass(frozen=True)
class View:
    """How a table is drawn; names are columns.

    Attributes
    ----------
    x, y : str
        What is drawn against what.
    low, high : str or None
        Ends of the interval of `y`.
    by : str or None
        A colour a level.
    levels : tuple of str
        All levels that colours are given to, where the table has some of them.
    style : {"line", "points", "bars"}
        Bars lie: the words of `x` label them from above.
    log_x, log_y : bool
    x_label, y_label : str
        Default the columns' names.
    lines : mapping of str to float
        Horizontal lines by label, such as a target.
    marks : mapping of str to float
        Vertical lines by label, such as the answer.
    table : DataFrame or None
        What is drawn, if not the result's `frame`.
    """

    x: str
    y: str
    low: str | None = None
    high: str | None = None
    by: str | None = None
    style: Literal["line", "points", "bars"] = "line"
    log_x: bool = False
    log_y: bool = False
    x_label: str = ""
    y_label: str = ""
    lines: Mapping[str, float] = field(default_factory=dict[str, float])
    marks: Mapping[str, float] = field(default_factory=dict[str, float])
    table: pd.DataFrame | None = field(default=None, repr=False, compare=False)
    levels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Result:
    """An answer: made by the questions of `scaling_laws.decide`, frozen.

    Attributes
    ----------
    question : str
        As it was asked, with its targets and limits.
    answer : str
        One line.
    frame : DataFrame
        The candidates, sizes or levels behind it.
    view : View
        How `plot` draws it.
    values : mapping
        The numbers of the answer by name; plain numbers, words and lists.
    found : bool
        False where the answer is that there is none: no candidate meets the targets, no knee, not
        reachable.
    reason : Why or callable
        Behind `why`; a callable is asked once, when first needed, since it refits.
    notes : tuple of Note
    """

    question: str
    answer: str
    frame: pd.DataFrame
    view: View
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    found: bool = True
    reason: Why | Callable[[], Why] | None = None
    notes: tuple[Note, ...] = ()

    @cached_property
    def why(self) -> Why:
        """The answer, its probability, the run that matters most, what would change it first."""
        if self.reason is None:
            return Why(self.answer)
        return self.reason if isinstance(self.reason, Why) else self.reason()

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the figure as plain JSON values; NaN and infinity become None."""
        why = self.why
        return {
            "question": self.question,
            "answer": self.answer,
            "found": self.found,
            "values": plain(self.values),
            "why": {
                "answer": why.answer, "probability": plain(why.probability), "run": why.run,
                "change": why.change,
            },
            "frame": plain(self.frame.to_dict("records")),
            "notes": [
                {"code": n.code, "severity": n.severity, "sentence": n.sentence} for n in self.notes
            ],
        }  # fmt: skip

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the table behind the answer; returns the Axes."""
        from scaling_laws.plot.decisions import plot_result

        return plot_result(self, ax)

    def __repr__(self) -> str:
        from scaling_laws.show_decide import result_text

        return result_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_decide import result_html

        return result_html(self)


def plain(value: Any) -> Any:
    """Return plain JSON values; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in cast(list[Any], value)]
    single: Any = value.item() if hasattr(value, "item") else value
    if isinstance(single, float):
        return single if np.isfinite(single) else None
    return single if single is None or isinstance(single, bool | int | str) else str(single)
