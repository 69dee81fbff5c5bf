"""Long logs: a row a score. Spread it over metric columns, check it, gather the rows of a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .check import duplicates
from .rules import is_missing, parse_texts
from .schema import Schema
from .table import Cells, Rejection, RunLogError, Table, row_codes, show

__all__ = ["gather", "spread"]


def spread(table: Table, long: tuple[str, str], schema: Schema) -> Table:
    """Return the table with a column for each metric, still one row for each score.

    Parameters
    ----------
    table : Table
        With a column that names the metric and one that holds its score; columns named like the
        latter with ``_se`` and ``_n`` are its standard error and test items.
    long : (str, str)
        Names of those two columns.
    schema : Schema
        Rows of a metric that it doesn't know are refused.

    Raises
    ------
    RunLogError
        Where one of the two columns is absent.
    """
    named, scored = long
    for name in long:
        if name not in table.columns:
            raise RunLogError(
                f"long: {table.source} has no column {name!r}; it has {', '.join(table.columns)}."
            )
    parsed = parse_texts(table.columns[named])
    metric = parsed.values
    empty = [is_missing(cell) for cell in table.columns[scored]]  # a failed run has no score
    known = np.array(
        [
            name in schema.metrics or (name is None and none and at not in parsed.problems)
            for at, (name, none) in enumerate(zip(metric, empty, strict=True))
        ],
        dtype=np.bool_,
    )
    used = [m for name, m in schema.metrics.items() if name in set(metric[known])]
    parts = {scored, f"{scored}_se", f"{scored}_n", named}
    columns = {name: cells for name, cells in table.columns.items() if name not in parts}
    for m in used:
        if taken := {m.name, m.se, m.n} & set(columns):
            raise RunLogError(
                f"long: {table.source} holds {m.name} as rows, and {min(taken)} as a column too; "
                "rename or leave out one."
            )
        here = metric == m.name
        for part, target in ((scored, m.name), (f"{scored}_se", m.se), (f"{scored}_n", m.n)):
            if part in table.columns:
                columns[target] = _only(table.columns[part], here)
    refused = [
        Rejection(
            int(table.rows[at]), named, metric[at],
            f"{named} = {show(metric[at])} is not a known metric; declare it with "
            f"metrics=[sl.Metric({show(metric[at])}, ...)].",
        )
        for at in np.flatnonzero(~known)
    ]  # fmt: skip
    spread_out = replace(table, columns=columns)
    return spread_out.take(known, refused) if refused else spread_out


def _only(cells: Cells, here: NDArray[np.bool_]) -> Cells:
    """Return the cells of the rows of one metric, the others missing."""
    kept = np.full(len(cells), None, dtype=object)
    kept[here] = cells[here]
    return kept


def gather(table: Table, schema: Schema) -> Table:
    """Return one row for each run: rows that agree in all but their scores are joined.

    A second score of one metric in one run is refused.
    """
    scores = [c for m in schema.metrics.values() for c in (m.name, m.se, m.n) if c in table.columns]
    keys = [name for name in table.columns if name not in scores]
    runs = row_codes((table.columns[name] for name in keys), len(table.rows))
    refused = {**_second_scores(table, runs, schema), **duplicates(table, runs)}
    if refused:
        keep = np.ones(len(table.rows), dtype=np.bool_)
        keep[list(refused)] = False
        table, runs = table.take(keep, refused.values()), runs[keep]
    _, head, counts = np.unique(runs, return_index=True, return_counts=True)
    columns = {name: table.columns[name][head] for name in keys}
    joined = pd.DataFrame({name: table.columns[name] for name in scores}).groupby(runs).first()
    columns |= {name: joined[name].to_numpy(dtype=np.float64) for name in scores}
    return replace(table, columns=columns, rows=table.rows[head], counts=counts)


def _second_scores(table: Table, runs: NDArray[np.int64], schema: Schema) -> dict[int, Rejection]:
    """Return the rows that score a metric of a run again, by position."""
    refused: dict[int, Rejection] = {}
    for metric in schema.metrics:
        if metric not in table.columns:
            continue
        scores = table.columns[metric]
        scored = np.flatnonzero(~np.isnan(scores))
        first: dict[int, int] = {}
        for at in scored:
            earlier = first.setdefault(int(runs[at]), int(at))
            if earlier != at:
                refused[int(at)] = Rejection(
                    int(table.rows[at]),
                    metric,
                    float(scores[at]),
                    f"{metric} = {show(scores[at])} is a second score of the run in row "
                    f"{table.rows[earlier]}; a repeat needs a run_id or seed of its own.",
                )
    return refused
