"""The run log: read it from anywhere, check every row, write it, and see its noise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .metrics import Metric
from .noise import configurations, noise_shares
from .readers import read_table
from .readers.check import check_table, refuse_duplicates, values_of
from .readers.columns import Column, conversions, rename
from .readers.hints import hints
from .readers.long import gather, spread
from .readers.schema import SCHEMA_VERSION, Run, Schema, schema_of
from .readers.table import Note, Rejection, RunLogError, Table
from .readers.write import append_run, template, write_jsonl
from .shared import repeats, shared_models

__all__ = [
    "SCHEMA_VERSION", "Note", "Run", "RunLog", "RunLogError", "append_run", "read_runs", "template",
]  # fmt: skip

_SHOWN = 5

Where: TypeAlias = Callable[[pd.DataFrame], ArrayLike] | Mapping[str, object] | ArrayLike
"""Which rows: a function of the frame, a column -> value or list of values, or a mask."""


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
    measured : frozenset of str
        Covariates that a run measured: no part of its configuration.
    files : tuple of str
        For a folder, the place of each of the `rows`.
    """

    frame: pd.DataFrame
    rows: NDArray[np.int64]
    source: str
    notes: tuple[Note, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    schema: Schema = field(default_factory=schema_of)
    counts: NDArray[np.int64] | None = None
    left_out: int = 0
    measured: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()

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

    def configurations(self, by: Iterable[str] | None = None) -> NDArray[np.int64]:
        """Return a number for each row, equal where two rows differ in their seed only.

        Parameters
        ----------
        by : iterable of str, optional
            The columns that make a configuration; by default all but names, scores, costs, seeds
            and what early stopping moves.
        """
        frame = self.frame
        if by is None:
            frame = frame.drop(columns=[name for name in frame if name in self.measured])
        return configurations(frame, self.schema.metrics.values(), by)

    def noise(
        self, metric: str | Metric | None = None, by: Iterable[str] | None = None
    ) -> pd.DataFrame:
        """Return where the scatter of the scores comes from, before any law.

        Three sources for each metric: ``evaluation`` (another test set), ``seed`` (another run of
        the same configuration) and ``chain`` (shared by the runs of a chain). On the log link the
        scatter is that of ``log(score)``, else of the score. Failed runs are left out.

        Parameters
        ----------
        metric : str or Metric, optional
            One metric; all by default.
        by : iterable of str, optional
            As in `configurations`.

        Returns
        -------
        DataFrame
            `metric`, `source`, `sd`, `share` of the variance that could be estimated, `count` that
            it rests on (rows, degrees of freedom, chains) and a `sentence`; NaN where the log
            can't tell.

        Raises
        ------
        RunLogError
            For a metric that has no score in the log.
        """
        name = metric.name if isinstance(metric, Metric) else metric
        if name is not None and name not in self.metrics:
            present = ", ".join(self.metrics) or "none"
            raise RunLogError(f"{self.source} has no score of {name!r}; it has {present}.")
        names = self.metrics if name is None else (name,)
        same = self.configurations(by)
        parts = [noise_shares(self.frame, self.schema.metrics[name], same) for name in names]
        empty = pd.DataFrame(columns=["metric", "source", "sd", "share", "count", "sentence"])
        return pd.concat(parts, ignore_index=True) if parts else empty

    def to_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Write the accepted rows to a JSONL file, replacing an old one only when complete.

        Raises
        ------
        RunLogError
            For a file of another kind.
        """
        write_jsonl(path, self)

    def __len__(self) -> int:
        """Return the number of accepted rows."""
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

    def _lines(self) -> Iterator[str]:
        """Yield the summary: counts, the first refused rows, the notes."""
        left = f", {self.left_out} left out" if self.left_out else ""
        named = ", ".join(self.metrics) or "no metric"
        yield (
            f"{self.source}: {self.accepted} rows accepted, {len(self.rejections)} rejected{left}; "
            f"{len(self)} runs with {named}"
        )
        reasons: dict[str, list[int]] = {}
        for refused in self.rejections:
            reasons.setdefault(refused.reason, []).append(refused.row)
        for reason, rows in list(reasons.items())[:_SHOWN]:
            more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
            place = self.files[rows[0]] if self.files else f"row {rows[0]}"
            yield f"{self.source} {place}{more}: {reason}"
        if len(reasons) > _SHOWN:
            yield f"... and {len(reasons) - _SHOWN} more reasons in .rejected"
        for note in self.notes:
            yield f"{note.severity}: {note.sentence}"

    def __repr__(self) -> str:
        """Return the counts, the first refused rows and the notes."""
        return "\n  ".join(self._lines())

    def _repr_html_(self) -> str:
        """Return the summary and the first rows as HTML."""
        first, *rest = (escape(line) for line in self._lines())
        items = "".join(f"<li>{line}</li>" for line in rest)
        head = self.frame.head(_SHOWN).to_html(index=False, na_rep="")
        return f"<p><b>{first}</b></p><ul>{items}</ul>{head}"

    def _mask(self, where: Where) -> NDArray[np.bool_]:
        frame = self.frame
        if isinstance(where, Mapping):
            mask = np.ones(len(frame), dtype=np.bool_)
            for name, wanted in cast(Mapping[str, object], where).items():
                if name not in frame:
                    known = ", ".join(map(str, frame.columns))
                    raise RunLogError(f"where: there is no column {name!r}; there are {known}.")
                mask &= frame[name].isin(_listed(wanted)).to_numpy()
            return mask
        mask = np.asarray(where(frame) if callable(where) else where)
        if mask.dtype != np.bool_ or mask.shape != (len(frame),):
            raise RunLogError(
                f"where must give {len(frame)} values, true or false; it gave an array of "
                f"{mask.dtype} of shape {mask.shape}."
            )
        return mask


def _listed(wanted: object) -> list[object]:
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        return [wanted]
    return list(cast(Iterable[object], wanted))


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
    checkpoints: bool = False,
) -> RunLog:
    """Read a run log from memory, a file or a folder, and check every row.

    A bad row is refused with the reason, never repaired: `RunLog.rejected` lists them. What other
    tools write is known by its content: a Hugging Face ``trainer_state.json``, the results of
    lm-evaluation-harness, and exports of W&B and MLflow; notes say which names were mapped.

    Parameters
    ----------
    source : DataFrame, list of dict or Run, RunLog, or path
        A path is that of a .csv, .tsv, .jsonl, .ndjson, .parquet or .json file, or of a folder of
        JSON files at any depth. A log is checked again only under new options.
    columns : mapping of str to str or callable, optional
        Where a field comes from, if not from the column of its name: the name of a column, or a
        function of the source's frame, such as
        ``{"tokens": lambda f: f["train_flops"] / (6 * f["params"])}``.
    long : (str, str), optional
        For a row a score: the columns that name the metric and hold the score. ``{score}_se`` and
        ``{score}_n`` are read where present. Rows that agree in everything else make one run.
    metrics : iterable of Metric, optional
        Metrics beside those of `METRICS`; a column of unknown name is a covariate.
    kept_unit : {"fraction", "percent", "compression"}
        Unit of `kept` and `step_kept` in the source; compression is 1 / kept.
    score_unit : {"fraction", "percent"}
        Unit of the scores whose best is 1, and of their standard errors.
    units : mapping of str to float, optional
        Multipliers of other fields, such as ``{"params": 1e9}``.
    where : callable, mapping or mask, optional
        Rows to select after the check, as in `RunLog.select`.
    checkpoints : bool
        Where a source holds the history of a run, make each step a row, the run being their
        `chain_id` and so one cluster; by default a run is one row.

    Returns
    -------
    RunLog
        The accepted rows as `frame`, with the refused ones and remarks.

    Raises
    ------
    RunLogError
        For a source that can't be split into rows and columns (missing, empty, not UTF-8, a header
        twice, not Parquet, not JSON), and for options that don't fit it.

    Examples
    --------
    >>> log = read_runs([{"kept": 0.16, "task_f1": 0.71}, {"kept": 16.0, "task_f1": 0.70}])
    >>> len(log)
    1
    >>> print(log.rejected.reason[0].partition(";")[0])
    kept = 16.0 is not in (0, 1]
    """
    if isinstance(source, RunLog):
        if not (columns or long or metrics or units) and kept_unit == score_unit == "fraction":
            return source if where is None else source.select(where)
        schema = schema_of((*source.schema.metrics.values(), *(metrics or ())))
        table = _table(source)
    else:
        schema = schema_of(metrics)
        asked = frozenset((*_origins(columns), *(long or ()), *(units or ())))
        computed = any(callable(origin) for origin in (columns or {}).values())
        wanted = None if computed else asked.union(schema.metrics, ("status",))
        table = read_table(source, wanted, asked, checkpoints)
    if columns:
        table = rename(table, columns)
    if long is not None:
        table = spread(table, long, schema)
    table = check_table(table, schema, conversions(table, schema, kept_unit, score_unit, units))
    table = gather(table, schema) if long is not None else refuse_duplicates(table)
    log = _log(table, schema)
    if isinstance(source, RunLog):
        log = replace(log, left_out=source.left_out)
    return log if where is None else log.select(where)


def _origins(columns: Mapping[str, Column] | None) -> list[str]:
    return [origin for origin in (columns or {}).values() if isinstance(origin, str)]


def _table(log: RunLog) -> Table:
    columns = {str(name): column.to_numpy() for name, column in log.frame.items()}
    return Table(
        log.source, columns, log.rows, log.rejections, log.notes, log.counts,
        measured=log.measured, files=log.files,
    )  # fmt: skip


def _log(table: Table, schema: Schema) -> RunLog:
    frame = pd.DataFrame(dict(table.columns), index=pd.RangeIndex(len(table.rows)))
    rejections = tuple(sorted(table.rejected, key=lambda rejection: rejection.row))
    told = (*table.notes, *hints(table, schema), *_shared(frame, table.source))
    notes = tuple(dict.fromkeys(told))
    return RunLog(
        frame, table.rows, table.source, notes, rejections, schema, table.counts,
        measured=table.measured & set(table.columns).difference(schema.rules), files=table.files,
    )  # fmt: skip


def _shared(frame: pd.DataFrame, source: str) -> Iterator[Note]:
    """Tell of rows that are one model, logged by each of the chains that share it."""
    codes = shared_models(frame)
    again = repeats(codes)
    if again.any():
        models, count = len(np.unique(codes[codes >= 0])), int(again.sum())
        yield Note(
            "shared_model",
            "info",
            f"{source}: {count} row{'s' * (count != 1)} repeat{'s' * (count == 1)} a model that "
            f"several chains share ({models} such model{'s' * (models != 1)}, the same in every "
            "field but the names of chain and run); noise and fits count it once.",
        )
