"""From any source to checked rows: a reader a format, one table, one set of rules.

A reader only splits its source into cells (`Table`); it knows nothing of runs. `schema` declares
the fields, `rules` says what a cell may hold, `check` refuses rows, a column at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

import pandas as pd
from pydantic import BaseModel

from .delimited import read_delimited
from .frame import from_frame, from_records
from .jsonl import read_jsonl
from .parquet import read_parquet
from .table import RunLogError, Table, show

__all__ = ["read_table"]

_READERS: Mapping[str, Callable[[Path], Table]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".parquet": read_parquet,
}


def read_table(source: object) -> Table:
    """Return the cells of a frame, a list of rows, or a file by its suffix.

    Raises
    ------
    RunLogError
        For a source of another kind, or a file that can't be split into cells.
    """
    if isinstance(source, pd.DataFrame):
        return from_frame(source)
    if isinstance(source, (str, os.PathLike)):
        path = Path(cast(str | os.PathLike[str], source))
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise RunLogError(f"{path}: the name must end in {', '.join(_READERS)}.")
        return reader(path)
    if not isinstance(source, Iterable):
        raise RunLogError(f"{show(source)} is not a frame, a list of rows or the path of a file.")
    rows = [_mapping(row, at) for at, row in enumerate(cast(Iterable[object], source))]
    return from_records(enumerate(rows), "list")


def _mapping(row: object, at: int) -> Mapping[str, object]:
    if isinstance(row, BaseModel):
        return row.model_dump(exclude_none=True)
    if not isinstance(row, Mapping):
        raise RunLogError(f"list row {at}: {show(row)} is neither a dict nor a Run.")
    return cast(Mapping[str, object], row)
