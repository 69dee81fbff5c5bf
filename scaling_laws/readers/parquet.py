"""Read Parquet, with pyarrow where it is installed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from .files import read_bytes
from .frame import from_frame
from .table import RunLogError, Table

__all__ = ["read_parquet"]


def read_parquet(path: Path) -> Table:
    """Return the cells of a Parquet file; rows are numbered from 0.

    Raises
    ------
    RunLogError
        Without pyarrow, and for a file that can't be read or repeats a column name.
    """
    try:
        pa: Any = import_module("pyarrow")
        pq: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise RunLogError('Parquet needs pyarrow: pip install "scaling-laws[parquet]".') from error
    content = read_bytes(path)
    try:
        arrow: Any = pq.ParquetFile(pa.BufferReader(content)).read()
        frame: pd.DataFrame = arrow.to_pandas(ignore_metadata=True)
    except Exception as error:  # on a damaged file Arrow raises nearly anything
        first = str(error).partition("\n")[0]
        raise RunLogError(f"{path.name} is not a Parquet file that can be read: {first}") from error
    return from_frame(frame, path.name)
