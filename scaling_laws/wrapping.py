"""Labelled sentences, tables and notes on lines of one width: what printed texts are made of."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaling_laws.runs import Note

__all__ = ["WIDTH", "indented", "note_lines", "note_list", "wrapped"]

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


def indented(table: str) -> list[str]:
    """Return the lines of a printed table, indented as labelled sentences are."""
    return ["  " + line.rstrip() for line in table.split("\n")]


def note_lines(notes: Iterable[Note]) -> list[str]:
    """Return notes as labelled sentences."""
    return [line for note in notes for line in wrapped(note.severity, note.sentence)]


def note_list(notes: Iterable[Note]) -> str:
    """Return notes as a list in HTML; nothing where there are none."""
    items = "".join(f"<li>{escape(n.severity)}: {escape(n.sentence)}</li>" for n in notes)
    return f"<ul>{items}</ul>" if items else ""
