"""A section of the report: text, tables and figures, and how they are written."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

import scaling_laws as sl
from scaling_laws.show import number

__all__ = ["Section", "write"]

_WIDTH = 100


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Parameters
    ----------
    title : str
    lines : sequence of str
        Paragraphs; one that has line breaks is printed as it is.
    tables : mapping of str to DataFrame
        Printed, and written as ``NAME.csv``.
    figures : mapping of str to callable
        Makes what is written as ``NAME.png``: Axes or Figure.
    quiet : mapping of str to DataFrame
        Written, not printed.
    """

    title: str
    lines: Sequence[str] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    quiet: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"== {self.title}"]
        parts += [s if "\n" in s else textwrap.fill(s, _WIDTH) for s in self.lines]
        parts += [f"[{name}]\n{_text(table)}" for name, table in self.tables.items()]
        return "\n\n".join(parts)


def write(found: Sequence[Section], out: Path) -> list[Path]:
    """Write the text, the tables and the figures; return what was written."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "findings.txt"]
    paths[0].write_text("\n\n\n".join(map(str, found)) + "\n", "utf-8")
    for section in found:
        for name, table in {**section.tables, **section.quiet}.items():
            paths.append(out / f"{name}.csv")
            table.to_csv(paths[-1], index=False)
        for name, draw in section.figures.items():
            paths.append(out / f"{name}.png")
            sl.plot.save_figure(draw(), paths[-1])
    return paths


def _text(table: pd.DataFrame) -> str:
    if not len(table):
        return "  nothing"
    shown = table.map(_cell)
    return "\n".join("  " + s.rstrip() for s in shown.to_string(index=False).split("\n"))


def _cell(value: Any) -> str:
    if value is None or value is pd.NA:
        return "–"
    return number(float(value)) if isinstance(value, float) else str(value)
