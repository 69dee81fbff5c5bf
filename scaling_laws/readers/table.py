"""What every reader hands on: columns of cells, where each row stood, and what was refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = [
    "Cells",
    "Note",
    "Rejection",
    "RunLogError",
    "Table",
    "cells_of",
    "encodable",
    "row_codes",
    "show",
]

Cells = NDArray[Any]
"""One column: a numeric or boolean array, or an object array of Python scalars."""


class RunLogError(ValueError):
    """A log that can't be read or written at all; the message says where, and what to do."""


@dataclass(frozen=True)
class Note:
    """A remark on data or on a fit, in one sentence.

    Parameters
    ----------
    code : str
        Stable short name, for programs.
    severity : {"info", "warning", "error"}
        ``error``: the answer should not be used as it is.
    sentence : str
        What was found and what to do about it, for people.
    """

    code: str
    severity: Literal["info", "warning", "error"]
    sentence: str


@dataclass(frozen=True)
class Rejection:
    """One row that was not accepted: where it stood, and why."""

    row: int
    field: str
    value: object
    reason: str


@dataclass(frozen=True)
class Table:
    """Cells of a source before any check.

    Parameters
    ----------
    source : str
        Name for messages: a file name, or ``DataFrame``.
    columns : mapping of str to array
        Arrays of equal length, one a column.
    rows : array of int
        Where each row stood: its line in a file (the header of a CSV is line 1), else its
        position from 0.
    rejected : tuple of Rejection
        Rows that could not even be split into cells.
    notes : tuple of Note
        What the reader saw.
    counts : array of int or None
        How many source rows each row was made of; None: one each.
    typed : bool
        False where every cell is text (CSV), so that columns of numbers must be recognised.
    measured : frozenset of str
        Covariates that a run measured: no part of its configuration.
    files : tuple of str
        For a folder, the place of each row, as in ``a/run.json``; `rows` count them.
    """

    source: str
    columns: Mapping[str, Cells]
    rows: NDArray[np.int64]
    rejected: tuple[Rejection, ...] = ()
    notes: tuple[Note, ...] = ()
    counts: NDArray[np.int64] | None = None
    typed: bool = True
    measured: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()

    def take(self, keep: NDArray[np.bool_], rejected: Iterable[Rejection]) -> Table:
        """Return the rows of a mask; the rest is accounted for by `rejected`."""
        return replace(
            self,
            columns={name: cells[keep] for name, cells in self.columns.items()},
            rows=self.rows[keep],
            counts=None if self.counts is None else self.counts[keep],
            rejected=(*self.rejected, *rejected),
        )


def cells_of(values: Iterable[object], count: int) -> Cells:
    """Return an object array, one element a value (lists stay single cells)."""
    return np.fromiter(values, dtype=object, count=count)


def row_codes(columns: Iterable[Cells | pd.Series[Any]], count: int) -> NDArray[np.int64]:
    """Return a number for each row, equal where rows agree in all columns, by first appearance."""
    codes = np.zeros(count, dtype=np.int64)
    for column in columns:
        own, distinct = pd.factorize(column, use_na_sentinel=False)
        codes, _ = pd.factorize(codes * max(len(distinct), 1) + own)
    return codes.astype(np.int64)


def encodable(text: str) -> bool:
    """Return whether a text is valid Unicode, without half surrogate pairs."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def show(value: object, width: int = 60) -> str:
    """Return a value as it should stand in a message: short, on one line, and never failing."""
    try:
        text = value if isinstance(value, str) else str(value)
    except (ValueError, RecursionError):  # digits or nesting beyond what Python agrees to print
        return f"({type(value).__name__}, too large to print)"
    text = text.encode("utf-8", "backslashreplace").decode()
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: width + 1])
    text = text if len(text) <= width else text[: width - 3] + "..."
    return f"'{text}'" if isinstance(value, str) else text
