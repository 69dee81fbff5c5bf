"""Read CSV and TSV: UTF-8, one line a row unless quoted, every cell kept as the text it is."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from .files import read_text
from .frame import check_names
from .table import Note, Rejection, RunLogError, Table, cells_of, show

__all__ = ["read_delimited"]


def read_delimited(path: Path) -> Table:
    """Return the cells of a CSV or TSV file; rows are numbered by line, the header being line 1.

    The delimiter is the comma, semicolon or tab that splits the header into most fields. A row
    with more or fewer fields than the header is refused.

    Raises
    ------
    RunLogError
        For a file that is missing, empty, not UTF-8, with a repeated header or with a quotation
        mark that is never closed.
    """
    source = path.name
    lines = list(io.StringIO(read_text(path), newline=""))
    records = _records(lines, _delimiter(lines, source), source)
    line, header, problem = next(records)
    if problem:
        raise RunLogError(f"{source} line {line}, the header, {problem}")
    names = [name.strip() or f"column_{i}" for i, name in enumerate(header, 1)]
    check_names(names, source)
    notes = tuple(
        Note("unnamed_column", "info", f"{source}: header field {i} is empty; read as column_{i}.")
        for i, name in enumerate(header, 1)
        if not name.strip()
    )
    numbers: list[int] = []
    rows: list[list[str]] = []
    rejected: list[Rejection] = []
    for line, cells, problem in records:
        if not problem and len(cells) != len(names):
            problem = f"has {len(cells)} fields, the header has {len(names)}."
        if problem:
            rejected.append(Rejection(line, "", show(",".join(cells)), f"The line {problem}"))
        else:
            numbers.append(line)
            rows.append(cells)
    columns = {name: cells_of((row[i] for row in rows), len(rows)) for i, name in enumerate(names)}
    rows_at = np.array(numbers, dtype=np.int64)
    return Table(source, columns, rows_at, tuple(rejected), notes, typed=False)


def _delimiter(lines: Sequence[str], source: str) -> str:
    """Return the delimiter that splits the header into most fields; a comma where none does."""
    header = next((line for line in lines if line.strip("\r\n")), None)
    if header is None:
        raise RunLogError(f"{source} is empty; its first line must name the columns.")
    return max(",;\t", key=re.sub('"[^"]*"', "", header).count)


def _records(
    lines: Sequence[str], delimiter: str, source: str
) -> Iterator[tuple[int, list[str], str]]:
    """Yield (first line, cells, problem) for each record; blank lines are passed over."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise RunLogError(
                    f"{source} line {line}: a quotation mark is opened and never closed."
                ) from None
            yield line, [lines[reader.line_num - 1].rstrip("\r\n")], f"is not valid CSV: {error}."
        else:
            if cells:
                yield line, cells, ""
