"""From any source to checked rows: a reader a format, one table, one set of rules.

A reader only splits its source into cells (`Table`); it knows nothing of runs. `schema` declares
the fields, `rules` says what a cell may hold, `check` refuses rows, a column at a time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from pydantic import BaseModel

from .frame import from_frame, from_records
from .table import RunLogError, Table

__all__ = ["read_table"]


def read_table(
    source: pd.DataFrame | Sequence[BaseModel | Mapping[str, Any]] | str | os.PathLike[str],
) -> Table:
    """Return the cells of a source."""
    if isinstance(source, pd.DataFrame):
        return from_frame(source)
    if isinstance(source, (str, os.PathLike)):
        raise RunLogError("files: not yet")
    rows = [r.model_dump(exclude_none=True) if isinstance(r, BaseModel) else r for r in source]
    return from_records(enumerate(rows), "list")
