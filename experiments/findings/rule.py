"""How an answer follows from numbers: a claim, a finding made of claims, and the one rule."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field

from scaling_laws.show import number

from .parts import LEVEL

__all__ = ["FEWEST", "RULE", "Claim", "Finding", "claim", "decide", "shared", "together"]

RULE = (
    "A claim is yes where its interval lies above 0, no where it lies below, else not decidable. "
    f"Intervals are {100 * LEVEL:g} %; where a finding may show in any of k claims (formats, "
    f"sizes), each has 1 - {1 - LEVEL:.1f} / k. Such a finding is yes where a claim is yes and "
    "none no, and no where a claim is no and none yes; one that needs all its claims is yes where "
    "all are, and no where any is no."
)

FEWEST = 6
"""Chains that an interval over chains takes, as `Fit.bootstrap` does for clusters."""

YES, NO, OPEN = "yes", "no", "not decidable"


@dataclass(frozen=True)
class Claim:
    """A number that is above 0 where something holds.

    Parameters
    ----------
    what : str
    estimate, low, high : float
    answer : str
    said : str
        What goes with the number, or why there is none.
    """

    what: str
    estimate: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    answer: str = OPEN
    said: str = ""


@dataclass(frozen=True)
class Finding:
    """A finding of the paper and what these runs say of it."""

    name: str
    words: str
    rule: str
    claims: tuple[Claim, ...]
    needs_all: bool = False
    answer: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "answer", together(self.claims, self.needs_all))

    def __str__(self) -> str:
        lines = textwrap.wrap(f"{self.name}. {self.words}: {self.answer.upper()}", 100)
        lines += textwrap.wrap(f"({self.rule})", 96, initial_indent="   ", subsequent_indent="   ")
        for c in self.claims:
            value = f"{number(c.estimate)} [{number(c.low)}, {number(c.high)}]"
            lines.append(f"   {c.answer:<14}{value:<28}{c.what}")
            indent = " " * 45
            lines += textwrap.wrap(c.said, 100, initial_indent=indent, subsequent_indent=indent)
        return "\n".join(lines)


def decide(low: float, high: float) -> str:
    """Answer one claim."""
    if low > 0:
        return YES
    return NO if high < 0 else OPEN


def together(claims: Iterable[Claim], needs_all: bool) -> str:
    """Answer a finding."""
    answers = [claim.answer for claim in claims]
    if needs_all:
        if NO in answers:
            return NO
        return YES if answers and set(answers) == {YES} else OPEN
    one = {YES, NO} & set(answers)
    return one.pop() if len(one) == 1 else OPEN


def claim(what: str, estimate: float, low: float, high: float, said: str = "") -> Claim:
    """Return a claim with its answer."""
    return Claim(what, float(estimate), float(low), float(high), decide(low, high), said)


def shared(claims: int) -> float:
    """Return the level of each of several claims."""
    return 1.0 - (1.0 - LEVEL) / max(claims, 1)
