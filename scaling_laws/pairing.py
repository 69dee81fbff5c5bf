"""Which rows of several fits are of one training run: their errors go together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .readers.table import row_codes

__all__ = ["paired_runs"]

_NAME = "run_id"


def paired_runs(frames: Sequence[pd.DataFrame], columns: Iterable[str]) -> list[NDArray[np.intp]]:
    """Return the number of the run of each row of several tables, equal where rows are of one run.

    A run is told by its ``run_id`` where every row of every table has one and no table has it
    twice, else by `columns`. Runs that agree in those are told apart by the order of each
    table: the second of one table is the second of another.

    Parameters
    ----------
    frames : sequence of DataFrame
        A row a run in each.
    columns : iterable of str
        Those that some table lacks are passed over. A missing value agrees with a missing one.

    Returns
    -------
    list of int arrays
        Numbers from 0 by first appearance, an array a table.
    """
    ends = np.cumsum([len(frame) for frame in frames])
    if all(_named(frame) for frame in frames):
        runs = row_codes([_words(frames, _NAME)], int(ends[-1]))
    else:
        common = [c for c in columns if all(c in frame for frame in frames)]
        alike = row_codes([_words(frames, c) for c in common], int(ends[-1]))
        # In each table alone: a count over all would never meet.
        order = [pd.Series(part).groupby(part).cumcount() for part in np.split(alike, ends[:-1])]
        runs = row_codes([alike, np.concatenate(order)], int(ends[-1]))
    return np.split(runs.astype(np.intp), ends[:-1])


def _named(frame: pd.DataFrame) -> bool:
    if _NAME not in frame:
        return False
    return bool(frame[_NAME].notna().all() and frame[_NAME].is_unique)


def _words(frames: Sequence[pd.DataFrame], column: str) -> NDArray[np.object_]:
    """Return a column of all tables as text, None where missing, whatever its type in each."""
    parts = [f[column].map(str).astype(object).where(f[column].notna(), None) for f in frames]
    return np.concatenate([part.to_numpy(dtype=object) for part in parts])
