"""What a careful reader would say of a log's layout, before any fit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scaling_laws.problem import Problem
from scaling_laws.runs import Note
from scaling_laws.span import PARALLEL, TOGETHER, direction, inflation

__all__ = ["layout_notes", "moving_together"]

# Errors so many times those of a design without collinearity are worth a warning.
_LARGE = 10.0
# A larger factor is none that anyone could pay for in runs.
_MOST = 1000.0


def layout_notes(problem: Problem) -> tuple[Note, ...]:
    """Return the notes on levels, on axes that move together, and on a constant score."""
    return (
        *_levels(problem),
        *_together(problem),
        *_confounding(problem),
        *_constant(problem),
    )


def moving_together(problem: Problem) -> list[str]:
    """Return the axes that move together so closely that their exponents are not fixed alone."""
    names = [a.name for a in problem.model.law.axis_list()]
    return [k for k, v in inflation(problem.frame, names).items() if v >= _LARGE]


def _levels(problem: Problem) -> Iterator[Note]:
    frame = problem.frame
    for axis in problem.model.law.axis_list():
        count = frame[axis.name].nunique()
        if count == 1:
            yield Note(
                "one_level",
                "warning",
                f"{axis.name} has one level ({frame[axis.name].iloc[0]:g}): nothing here says "
                f"how the metric changes with it. Add runs at other {axis.name}.",
            )
        elif count == 2:
            yield Note(
                "two_levels",
                "warning",
                f"{axis.name} has two levels: a slope can be read, an exponent with a limit "
                "cannot. Add a third.",
            )


def _together(problem: Problem) -> Iterator[Note]:
    """Tell how much of the exponents' errors comes from axes that move together."""
    frame = problem.frame
    axes = [a.name for a in problem.model.law.axis_list()]
    found = {k: v for k, v in inflation(frame, axes).items() if v >= TOGETHER}
    if len(found) < 2:
        return
    names, worst = list(found), max(found.values())
    words = f"{', '.join(names[:-1])} and {names[-1]}"
    alone = f"Vary {names[0]} at a fixed {names[-1]}."
    power = ""
    if len(names) == 2:
        first, second = names
        power = f" ({second} goes as {first}^{direction(frame, names)[1]:.2f})"
        per_size = frame.groupby(second, observed=True)[first].nunique()
        if worst > PARALLEL and (per_size == 1).all():
            yield Note(
                "one_size_each",
                "warning",
                f"Every {second} was run at a single {first}: their effects cannot be told "
                f"apart. {alone}",
            )
    if worst > PARALLEL:
        told = f"{words} move together in this log{power}; their exponents are not separate"
    else:
        told = f"{words} move nearly together in this log{power}"
    if worst < _MOST:
        told += (
            f": errors of the exponents are about {worst:.0f} times those of runs that vary each "
            "axis by itself over the same range"
        )
    severity = "warning" if worst >= _LARGE else "info"
    yield Note("collinear", severity, f"{told}. {alone}")


def _confounding(problem: Problem) -> Iterator[Note]:
    frame = problem.frame
    names = [a.name for a in problem.model.law.axis_list()]
    for counted in ("steps", "examples_seen", "tokens"):
        if "examples" in names and counted in frame.columns and counted not in names:
            if max(inflation(frame, ["examples", counted]).values(), default=1.0) > PARALLEL:
                yield Note(
                    "steps_confounded",
                    "info",
                    f"examples and {counted} rise in proportion (fixed epochs): the curve may "
                    "be about training length, not about labels.",
                )
                return


def _constant(problem: Problem) -> Iterator[Note]:
    if problem.n > 1 and np.ptp(problem.score) == 0:
        yield Note(
            "constant",
            "warning",
            f"All {problem.n} scores equal {problem.score[0]:g}: a law of a constant is a "
            "constant; exponents mean nothing here.",
        )
