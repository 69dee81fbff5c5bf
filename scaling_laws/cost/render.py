"""How costs are printed: labelled lines, a table and notes; text and HTML twins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from html import escape

import pandas as pd

from scaling_laws.readers.table import Note
from scaling_laws.wrapping import wrapped

__all__ = ["Printed", "interval", "quantity", "together"]

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


class Printed(ABC):
    """What every cost result has in common: a title, labelled lines, a table, notes."""

    notes: tuple[Note, ...]

    @abstractmethod
    def _title(self) -> str: ...

    def _lines(self) -> Sequence[tuple[str, str]]:
        return ()

    def _table(self) -> pd.DataFrame | None:
        return None

    def __repr__(self) -> str:
        return together([self])

    def body(self) -> list[str]:
        """Return the lines of the text without the notes."""
        parts, lines = [self._title()], self._lines()
        room = max((len(label) for label, _ in lines), default=0) + 2
        parts += [line for label, text in lines for line in wrapped(label, text, room)]
        table = self._table()
        if table is not None:
            parts += ["  " + line.rstrip() for line in table.to_string(index=False).split("\n")]
        return parts

    def _repr_html_(self) -> str:
        lines = "".join(
            f'<tr><th style="text-align:left">{escape(label)}</th><td>{escape(text)}</td></tr>'
            for label, text in self._lines()
        )
        table = self._table()
        shown = "" if table is None else table.to_html(index=False, escape=True)
        notes = "".join(
            f"<li>{escape(note.severity)}: {escape(note.sentence)}</li>" for note in self.notes
        )
        return f"<p><b>{escape(self._title())}</b></p><table>{lines}</table>{shown}<ul>{notes}</ul>"


def together(results: Sequence[Printed]) -> str:
    """Return results one after the other, and each of their notes once."""
    notes = dict.fromkeys(note for one in results for note in one.notes)
    told = [line for n in notes for line in wrapped(n.severity, n.sentence, 9)]
    bodies = ["\n".join(one.body()) for one in results]
    if len(bodies) == 1:
        return "\n".join([*bodies, *told])
    return "\n\n".join([*bodies, "\n".join(["Notes", *told])])


def quantity(value: float, unit: str = "") -> str:
    """Return a number with three significant digits and a decimal prefix where it has a unit.

    >>> quantity(65.5e9, "B"), quantity(0.1318), quantity(8987.0)
    ('65.5 GB', '0.132', '8990')
    """
    if value != value:
        return "–"
    if unit:
        for size, prefix in _PREFIXES:
            if abs(value) >= size:
                return f"{value / size:.3g} {prefix}{unit}"
        return f"{value:.3g} {unit}"
    text = f"{value:.3g}"
    return f"{float(text):.0f}" if "e+" in text and abs(value) < 1e9 else text


def interval(low: float, high: float, unit: str = "") -> str:
    """Return both ends of a range, once where they print alike."""
    first, last = quantity(low, unit), quantity(high, unit)
    return first if first == last else f"{first} to {last}"
