"""From any source to checked rows: a reader a format, one table, one set of rules.

A reader only splits its source into cells (`Table`); `exports`, `trainer` and `harness` know the
names that tools gave them. `schema` declares the fields, `rules` says what a cell may hold,
`check` refuses rows, a column at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

import pandas as pd
from pydantic import BaseModel

from .delimited import read_delimited
from .exports import mapped
from .folder import read_folder
from .frame import from_frame, from_records
from .jsonfile import read_json
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


def read_table(
    source: object,
    wanted: frozenset[str] | None = None,
    asked: frozenset[str] = frozenset(),
    checkpoints: bool = False,
) -> Table:
    """Return the cells of a frame, a list of rows, a file, or the JSON files of a folder.

    Parameters
    ----------
    source : object
    wanted : frozenset of str, optional
        Names of which a run in a folder has one; None takes every object for a run.
    asked : frozenset of str
        Column names that the caller uses: no reader changes those.
    checkpoints : bool
        A row a checkpoint where a source holds a run's history.

    Raises
    ------
    RunLogError
        For a source of another kind, or a file that can't be split into cells.
    """
    if isinstance(source, pd.DataFrame):
        return mapped(from_frame(source), asked, checkpoints)
    if isinstance(source, (str, os.PathLike)):
        path = Path(cast(str | os.PathLike[str], source))
        if path.is_dir():
            return read_folder(path, wanted, asked, checkpoints)
        if path.suffix.lower() == ".json":
            return mapped(read_json(path, checkpoints=checkpoints), asked, checkpoints)
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            known = ", ".join((*_READERS, ".json"))
            raise RunLogError(f"{path}: the name must end in {known}, or be that of a folder.")
        return mapped(reader(path), asked, checkpoints)
    if not isinstance(source, Iterable):
        raise RunLogError(
            f"{show(source)} is not a frame, a list of rows or the path of a file or folder."
        )
    rows = [_mapping(row, at) for at, row in enumerate(cast(Iterable[object], source))]
    return mapped(from_records(enumerate(rows), "list"), asked, checkpoints)


def _mapping(row: object, at: int) -> Mapping[str, object]:
    if isinstance(row, BaseModel):
        return row.model_dump(exclude_none=True)
    if not isinstance(row, Mapping):
        raise RunLogError(f"list row {at}: {show(row)} is neither a dict nor a Run.")
    return cast(Mapping[str, object], row)
