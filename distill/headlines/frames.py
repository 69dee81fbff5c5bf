"""How one or two facts become a headline, and what the second fact is to the label.

``<1s>`` is the fact that gives the label and ``<2s>`` the other one; the letters are the verb's
form (see `grammar.inflect`). ``{F}`` is the company that the headline is about, ``{O}`` another.
"""

from __future__ import annotations

import re

__all__ = ["FRAMES", "MENTION", "STATUSES"]

MENTION = re.compile(r"<([12])(s|ed|ing|to)>")


# What the second fact is: absent; a fact of the same company that the first one outranks; or one
# that does not count, because it is another company's, lies in the past or is denied.
STATUSES = {"alone": 0.70, "same": 0.10, "other": 0.10, "past": 0.05, "denied": 0.05}


def _both_orders(*frames: str) -> tuple[str, ...]:
    """Each frame, and its twin with the two facts swapped: order says nothing here."""
    swap = str.maketrans("12", "21")
    return tuple(version for frame in frames for version in (frame, frame.translate(swap)))


FRAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "alone": {
        "train": (
            "{F} <1s>, a filing in {city} shows on {day}",
            "{F} <1ed>, it said in {city} on {day}",
            "On {day} in {city}, {F} <1s>",
            "{F} <1s> ahead of its {day} meeting in {city}",
        ),
        "validation": (
            "{F} <1s>, people in {city} said on {day}",
            "News from {city} on {day}: {F} <1s>",
        ),
        "test": (
            "{F} <1s>, a report from {city} said on {day}",
            "In {city}, {F} <1s> before its {day} meeting",
            "{city}, {day}: {F} <1s>",
        ),
    },
    "same": {
        "train": _both_orders(
            "{F} <1s> and <2s>",
            "{F} <1s> as it <2s>",
            "{F} <1s>; it also <2s>",
            "On {day}, {F} <1s> and <2s>",
            "While it <1s>, {F} also <2s>",
            "{F} <1s> and on the same day <2s>",
        ),
        "validation": _both_orders("{F} <1s> and also <2s>", "{F} on {day} <1s> as it <2s>"),
        "test": _both_orders(
            "{F} <1s> and at the same time <2s>",
            "As {F} <1s>, it also <2s>",
            "{city}: {F} <1s> and <2s>",
        ),
    },
    "other": {
        "train": (
            "{F} <1s> while {rel} {O} <2s>",
            "While {rel} {O} <2s>, {F} <1s>",
            "{F} <1ed> after {rel} {O} <2ed>",
            "{Rel} {O} <2s>, but {F} <1s>",
            "{F} <1s> as {rel} {O} <2s>",
            "{Rel} {O} <2s> while {F} <1s>",
        ),
        "validation": (
            "{F} <1s> on a day when {rel} {O} <2s>",
            "With {rel} {O} <2ing>, {F} <1s>",
        ),
        "test": (
            "{F} <1s> just as {rel} {O} <2s>",
            "After {rel} {O} <2ed>, {F} <1s>",
            "{Rel} {O} <2s> as {F} <1s>",
        ),
    },
    "past": {
        "train": (
            "{F} <1s> a year after <2ing>",
            "{F} <2ed> a year ago and <1s> today",
            "A year after <2ing>, {F} <1s>",
            "{F}, which <2ed> last spring, <1s>",
            "{F} <2ed> last year and now <1s>",
        ),
        "validation": (
            "Last year {F} <2ed>; now it <1s>",
            "{F} <1s> two years after <2ing>",
        ),
        "test": (
            "{F}, which <2ed> two years ago, <1s>",
            "Years after <2ing>, {F} <1s>",
            "{F} <2ed> last autumn and this week <1s>",
        ),
    },
    "denied": {
        "train": (
            "{F} <1s> and denies it will <2to>",
            "{F} denies it will <2to> but <1s>",
            "{F} <1s>, with no plan to <2to>",
            "With no plan to <2to>, {F} <1s>",
            "{F} <1s> and says it will not <2to>",
            "{F} denies plans to <2to> as it <1s>",
        ),
        "validation": (
            "{F} <1s> but rules out that it will <2to>",
            "{F} rules out a plan to <2to> but <1s>",
        ),
        "test": (
            "{F} <1s> and denies a plan to <2to>",
            "{F} denies a plan to <2to> as it <1s>",
            "{F} says it will not <2to> but <1s>",
        ),
    },
}
