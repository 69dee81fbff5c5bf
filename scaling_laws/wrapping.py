"""Labelled sentences on lines of one width: what every printed text is made of."""

from __future__ import annotations

import textwrap

__all__ = ["WIDTH", "wrapped"]

# Columns of every printed text.
WIDTH = 98


def wrapped(label: str, text: str, room: int = 10) -> list[str]:
    """Return a labelled sentence as lines with a hanging indent; the label has `room` columns.

    Words longer than a line, such as paths and formulas, stay whole.

    >>> wrapped("rows", "12 from runs.csv")
    ['  rows      12 from runs.csv']
    """
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"  {label:<{room}}",
        subsequent_indent=" " * (room + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )
