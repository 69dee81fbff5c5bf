"""The main job on real runs, without network: laws, predictions, where skills are lost, hold-outs.

The runs are those of `load_example`. Skill at the task and general knowledge are each a law of
examples x fraction kept x format; what the rows do not fix yet is said, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from scaling_laws.candidates import forms_for
from scaling_laws.decide.curves import divergence, half_point
from scaling_laws.decide.result import Result
from scaling_laws.demo_rows import GENERAL, METRICS, TASK, places, plain_students
from scaling_laws.example import load_example
from scaling_laws.runs import RunLog
from scaling_laws.validation import Choice, Holdout, choose, holdout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Demo", "run_demo"]

# Levels of an axis without which one held out would be forecast from a single other one.
_FEWEST = 3
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Demo:
    """Everything the demo shows.

    Attributes
    ----------
    log : RunLog
        All rows.
    students : RunLog
        Those that are fitted: distilled students of the grid.
    choices : mapping of str to Choice
        Metric -> forms and their Forecast.
    held : mapping of (str, str) to Holdout
        Metric and axis -> its hardest level forecast from the others.
    halves : mapping of (str, str) to Result
        Metric and format -> where half of the skill is lost.
    gaps : mapping of str to Result
        Format -> how much more of the task is kept than of general knowledge.
    undecided : mapping of str to str
        What these rows cannot answer, and why.
    """

    log: RunLog
    students: RunLog
    choices: Mapping[str, Choice]
    held: Mapping[tuple[str, str], Holdout]
    halves: Mapping[tuple[str, str], Result]
    gaps: Mapping[str, Result]
    undecided: Mapping[str, str]

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One new training run (90 %) of each format and size, where questions are asked.

        ``format, examples, kept``; for each metric ``NAME, NAME_low, NAME_high``; ``support``: seen
        where a student was trained, else inside or outside what was seen, the latter if it is that
        for any metric.
        """
        frame = self.students.frame
        sizes = sorted(frame["kept"].unique(), reverse=True)
        points = [{**at, "kept": k} for at in places(self.students) for k in sizes]
        table = pd.DataFrame(points, columns=["format", "examples", "kept"])
        seen = pd.MultiIndex.from_frame(table).isin(pd.MultiIndex.from_frame(frame[[*table]]))
        outside = np.zeros(len(table), np.bool_)
        out = table.copy()
        for metric, choice in self.choices.items():
            found = choice.forecast.predict(table, interval="run")
            outside |= (found["support"] == "outside").to_numpy(dtype=bool)
            for column, end in (("estimate", ""), ("low", "_low"), ("high", "_high")):
                out[f"{metric}{end}"] = found[column].to_numpy(dtype=float)
        return out.assign(support=np.where(seen, "seen", np.where(outside, "outside", "inside")))

    def text(self) -> str:
        """Return the demo as text."""
        from scaling_laws.demo_show import lines

        return "\n".join(lines(self))

    def plot(self) -> Figure:
        """Draw the task and general knowledge against what is kept, side by side."""
        from scaling_laws.demo_show import draw

        return draw(self)

    def save(self, folder: str | Path) -> list[Path]:
        """Write text, predictions, figures, and the best fit of each metric."""
        from scaling_laws import plot

        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        made = [out / "demo.txt", out / "predictions.csv"]
        made[0].write_text(self.text() + "\n", encoding="utf-8")
        self.predictions.to_csv(made[1], index=False)
        for name, figure in self._figures():
            made.append(out / f"{name}.png")
            plot.save_figure(figure(), made[-1])
        made += [c.best.save(out / f"{metric}.json") for metric, c in self.choices.items()]
        return made

    def _figures(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        from scaling_laws import plot

        if self.choices:
            yield "demo", self.plot
        for metric, choice in self.choices.items():
            yield f"{metric}-kept", partial(plot.degradation, choice.forecast, plot.blank(170))
            if _is_axis(choice, "examples"):
                yield (
                    f"{metric}-examples",
                    partial(plot.learning_curve, choice.forecast, plot.blank(170)),
                )
        if self.gaps:
            pair = (self.choices[name].forecast for name in (TASK, GENERAL))
            yield "divergence", partial(plot.divergence, *pair)


def run_demo(log: RunLog | None = None) -> Demo:
    """Fit the three metrics, hold out, and ask where skills are lost.

    Parameters
    ----------
    log : RunLog, optional
        Rows of the grid behind `load_example`, the default.
    """
    whole = load_example() if log is None else log
    students = plain_students(whole)
    undecided: dict[str, str] = {}
    choices: dict[str, Choice] = {}
    held: dict[tuple[str, str], Holdout] = {}
    halves: dict[tuple[str, str], Result] = {}
    gaps: dict[str, Result] = {}
    for metric in METRICS:
        _ask(choices, metric, undecided, f"Law of {metric}", partial(_choose, students, metric))
    for metric in choices:
        for axis in ("kept", "examples"):
            _ask(held, (metric, axis), undecided, f"Hold-out of {metric} by {axis}",
                 partial(_hold_out, students, metric, axis))  # fmt: skip
    for at in places(students):
        format = at["format"]
        for metric in (m for m in (TASK, GENERAL) if m in choices):
            _ask(halves, (metric, format), undecided, f"Half point of {metric}, {format}",
                 partial(half_point, choices[metric].forecast, **_known(choices[metric], at)),
                 )  # fmt: skip
        if {TASK, GENERAL} <= set(choices):
            _ask(gaps, format, undecided, f"Divergence, {format}", partial(_gap, choices, at))
    return Demo(whole, students, choices, held, halves, gaps, undecided)


def _ask(
    found: MutableMapping[Any, _T],
    key: Any,
    undecided: MutableMapping[str, str],
    name: str,
    question: Callable[[], _T],
) -> None:
    """Keep the answer, or why there is none."""
    try:
        found[key] = question()
    except ValueError as why:
        undecided[name] = str(why)


def _scored(students: RunLog, metric: str) -> RunLog:
    if metric not in students.metrics:
        raise ValueError(f"no student has a {metric}.")
    return students.select(students.frame[metric].notna().to_numpy(dtype=bool))


def _choose(students: RunLog, metric: str) -> Choice:
    rows = _scored(students, metric)
    return choose(forms_for(rows, metric), rows, metric)


def _hold_out(students: RunLog, metric: str, axis: str) -> Holdout:
    rows = _scored(students, metric)
    levels = rows.frame[axis].nunique()
    if levels < _FEWEST:
        raise ValueError(
            f"{axis} has {levels} level{'s' * (levels > 1)}; it takes {_FEWEST} to forecast one "
            "from others."
        )
    return holdout(forms_for(rows, metric), rows, metric, by=axis, leave=1)


def _gap(choices: Mapping[str, Choice], at: Mapping[str, Any]) -> Result:
    fits = {name: choices[name].forecast for name in (TASK, GENERAL)}
    return divergence(fits, task=TASK, general=GENERAL, **_known(choices[TASK], at))


def _is_axis(choice: Choice, name: str) -> bool:
    return any(a.name == name for a in choice.best.law.axis_list())


def _known(choice: Choice, at: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a law is a function of, among the values of a place."""
    law = choice.best.law
    names = {*law.by, *(a.name for a in law.axis_list())}
    return {k: v for k, v in at.items() if k in names}
