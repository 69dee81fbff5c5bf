"""The run log: read it from anywhere, check every row, write it, and see its noise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .metrics import Metric
from .readers import read_table
from .readers.check import check_table, refuse_duplicates, values_of
from .readers.schema import SCHEMA_VERSION, Run, Schema, schema_of
from .readers.table import Note, Rejection, RunLogError, Table
from .readers.units import conversions

__all__ = ["SCHEMA_VERSION", "Note", "Run", "RunLog", "RunLogError", "read_runs"]

Where: TypeAlias = Callable[[pd.DataFrame], ArrayLike] | Mapping[str, object] | ArrayLike
"""Which rows: a function of the frame, a column -> value or list of values, or a mask."""

Column: TypeAlias = str | Callable[[pd.DataFrame], ArrayLike]
"""Where a field comes from: a column of the source, or a function of its frame."""


@dataclass(frozen=True, eq=False, repr=False)
class RunLog:
    """Checked runs: the accepted rows, the refused ones with reasons, and remarks.

    ``accepted + len(rejected) + left_out`` is the number of rows in the source.

    Parameters
    ----------
    frame : DataFrame
        The accepted rows: fields in canonical order, then covariates. Numbers are float64 with NaN
        where missing; `schema_version` is not repeated.
    rows : array of int
        Where each accepted row stood: its line in a file (the header of a CSV is line 1), else
        its position from 0.
    source : str
        Name for messages.
    notes : tuple of Note
        Remarks, such as a column name close to that of a field.
    rejections : tuple of Rejection
        The refused rows, as objects; `rejected` is their frame.
    schema : Schema
        The rules and metrics under which it was read.
    counts : array of int or None
        For a long source, how many of its rows each row was made of.
    left_out : int
        Rows that `select` or ``where=`` left out.
    """

    frame: pd.DataFrame
    rows: NDArray[np.int64]
    source: str
    notes: tuple[Note, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    schema: Schema = field(default_factory=schema_of)
    counts: NDArray[np.int64] | None = None
    left_out: int = 0

    @property
    def accepted(self) -> int:
        """Number of source rows behind the frame."""
        return len(self.frame) if self.counts is None else int(self.counts.sum())

    @cached_property
    def rejected(self) -> pd.DataFrame:
        """A row for each refused row of the source: `row`, `field`, `value`, `reason`."""
        cells = [(r.row, r.field, r.value, r.reason) for r in self.rejections]
        return pd.DataFrame(cells, columns=["row", "field", "value", "reason"])

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics of which at least one row has a score."""
        present = (name for name in self.schema.metrics if name in self.frame)
        return tuple(name for name in present if self.frame[name].notna().any())

    def __len__(self) -> int:
        return len(self.frame)

    def __iter__(self) -> Iterator[Run]:
        """Go through the accepted rows as runs."""
        names = list(self.frame.columns)
        for cells in zip(*(self.frame[name].to_numpy() for name in names), strict=True):
            values = values_of(dict(zip(names, cells, strict=True)), self.schema)
            yield Run.model_construct(**values)

    def select(self, where: Where) -> RunLog:
        """Return the log of some rows.

        Parameters
        ----------
        where : callable, mapping or mask
            A function of the frame that returns a mask, a mapping of columns to a value or a list
            of values, or a boolean mask.

        Raises
        ------
        RunLogError
            For an unknown column, or a mask of another length or type.
        """
        mask = self._mask(where)
        if mask.all():
            return self
        kept, total = int(mask.sum()), len(mask)
        sentence = f"{self.source}: `where` kept {kept} of {total} rows."
        left = total - kept if self.counts is None else int(self.counts[~mask].sum())
        return replace(
            self,
            frame=self.frame[mask].reset_index(drop=True),
            rows=self.rows[mask],
            counts=None if self.counts is None else self.counts[mask],
            notes=(*self.notes, Note("rows_left_out", "info", sentence)),
            left_out=self.left_out + left,
        )

    def _mask(self, where: Where) -> NDArray[np.bool_]:
        frame = self.frame
        if isinstance(where, Mapping):
            mask = np.ones(len(frame), dtype=np.bool_)
            for name, wanted in cast(Mapping[str, object], where).items():
                if name not in frame:
                    known = ", ".join(map(str, frame.columns))
                    raise RunLogError(f"where: there is no column {name!r}; there are {known}.")
                several = isinstance(wanted, Iterable) and not isinstance(wanted, str)
                values = list(cast(Iterable[Any], wanted)) if several else [wanted]
                mask &= frame[name].isin(values).to_numpy()
            return mask
        mask = np.asarray(where(frame) if callable(where) else where)
        if mask.dtype != np.bool_ or mask.shape != (len(frame),):
            raise RunLogError(
                f"where must give {len(frame)} values, true or false; it gave an array of "
                f"{mask.dtype} of shape {mask.shape}."
            )
        return mask


Source: TypeAlias = (
    pd.DataFrame | RunLog | Sequence[Run | Mapping[str, Any]] | str | os.PathLike[str]
)
"""What can be read: a frame, a log, a list of dicts or runs, or the path of a file."""


def read_runs(
    source: Source,
    *,
    columns: Mapping[str, Column] | None = None,
    long: tuple[str, str] | None = None,
    metrics: Iterable[str | Metric] | None = None,
    kept_unit: Literal["fraction", "percent", "compression"] = "fraction",
    score_unit: Literal["fraction", "percent"] = "fraction",
    units: Mapping[str, float] | None = None,
    where: Where | None = None,
) -> RunLog:
    """Read a run log and check every row."""
    if isinstance(source, RunLog):
        return source if where is None else source.select(where)
    schema = schema_of(metrics)
    table = read_table(source)
    convert = conversions(table, schema, kept_unit, score_unit, units)
    table = refuse_duplicates(check_table(table, schema, convert))
    log = _log(table, schema)
    return log if where is None else log.select(where)


def _log(table: Table, schema: Schema) -> RunLog:
    frame = pd.DataFrame(dict(table.columns), index=pd.RangeIndex(len(table.rows)))
    rejections = tuple(sorted(table.rejected, key=lambda rejection: rejection.row))
    return RunLog(frame, table.rows, table.source, table.notes, rejections, schema, table.counts)
