"""Read rows that are already in memory: a DataFrame, or a list of dicts or runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .table import Cells, Note, Rejection, RunLogError, Table, cells_of, encodable, show

__all__ = ["column_cells", "from_frame", "from_records"]


def from_frame(frame: pd.DataFrame, source: str = "DataFrame") -> Table:
    """Return the columns of a frame; rows are numbered by position from 0.

    Raises
    ------
    RunLogError
        For column names that repeat or are not text.
    """
    names = list(frame.columns)
    check_names(names, source)
    notes: tuple[Note, ...] = ()
    if any(name is not None for name in frame.index.names):
        labels = ", ".join(show(name) for name in frame.index.names)
        sentence = f"{source}: the index ({labels}) is not read; reset_index() makes it a column."
        notes = (Note("index_not_read", "info", sentence),)
    columns = {name: column_cells(frame.iloc[:, i]) for i, name in enumerate(names)}
    return Table(source, columns, np.arange(len(frame)), notes=notes)


def column_cells(column: pd.Series[Any]) -> Cells:
    """Return a column as an array of numbers or booleans where it is one, else of objects."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufb":
        return column.to_numpy()
    if pd.api.types.is_bool_dtype(column.dtype) or not pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=object)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def check_names(names: Sequence[object], source: str) -> None:
    """Refuse column names that repeat or are not valid text."""
    for name in names:
        if not isinstance(name, str) or not encodable(name):
            raise RunLogError(f"{source}: the column name {show(name)} is not text; rename it.")
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise RunLogError(
            f"{source}: the column {show(repeated[0])} appears {names.count(repeated[0])} times; "
            "rename or delete one."
        )


def from_records(
    records: Iterable[tuple[int, Mapping[str, object]]],
    source: str,
    rejected: Iterable[Rejection] = (),
    notes: Iterable[Note] = (),
) -> Table:
    """Return numbered dicts as a table; a key that a row lacks is missing there."""
    numbered = list(records)
    names = list(dict.fromkeys(name for _, row in numbered for name in row))
    check_names(names, source)
    columns = {
        name: cells_of((row.get(name) for _, row in numbered), len(numbered)) for name in names
    }
    rows = np.fromiter((at for at, _ in numbered), dtype=np.int64, count=len(numbered))
    return Table(source, columns, rows, tuple(rejected), tuple(notes))
