"""Check a table against the schema, a column at a time; a bad row is refused, with the reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .hints import field_meant
from .rules import Parsed, Rule, is_missing, parse_covariate, parse_numbers, parse_texts
from .schema import SCHEMA_VERSION, Schema
from .table import Cells, Rejection, Table, cells_of, show

__all__ = ["Conversion", "check_row", "check_table", "duplicates", "refuse_duplicates", "values_of"]

Conversion = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From the unit of the source to the unit of the schema."""

_Problems = dict[int, list[tuple[str, object, str]]]


def check_table(
    table: Table, schema: Schema, convert: Mapping[str, Conversion] | None = None
) -> Table:
    """Return the rows that keep every rule, columns in canonical order, the others refused.

    Parameters
    ----------
    table : Table
        As a reader made it.
    schema : Schema
        The rules.
    convert : mapping of str to function, optional
        Units: applied to a column of numbers before its rule.
    """
    convert = convert or {}
    problems: _Problems = defaultdict(list)
    known = [name for name in schema.rules if name in table.columns]
    columns: dict[str, Cells] = {}
    for name in (*known, *(name for name in table.columns if name not in schema.rules)):
        cells = table.columns[name]
        parsed = _parse(cells, schema.rules.get(name), convert.get(name), table.typed)
        columns[name] = parsed.values
        for at, problem in parsed.problems.items():
            problems[at].append((name, cells[at], problem))
    _ask_for_score(columns, len(table.rows), schema, problems)
    columns.pop("schema_version", None)  # accepted rows are all of the current version
    checked = replace(table, columns=columns)
    if not problems:
        return checked
    keep = np.ones(len(table.rows), dtype=np.bool_)
    keep[list(problems)] = False
    return checked.take(keep, [_refuse(table, at, problems[at]) for at in sorted(problems)])


def _refuse(table: Table, at: int, problems: list[tuple[str, object, str]]) -> Rejection:
    field, value, _ = problems[0]
    told = " ".join(
        f"{name} = {show(v)} {problem}" if name else problem for name, v, problem in problems
    )
    plain = isinstance(value, (int, float)) and abs(value) < 1e300
    return Rejection(int(table.rows[at]), field, value if plain else show(value), told)


def _parse(cells: Cells, rule: Rule | None, convert: Conversion | None, typed: bool) -> Parsed:
    if rule is None:
        return parse_covariate(cells, typed)
    if rule.kind == "text":
        return parse_texts(cells)
    parsed = parse_numbers(cells)
    values = parsed.values if convert is None else _converted(parsed.values, convert, rule)
    outside = rule.outside(values)
    if not outside.any():
        return Parsed(values, parsed.problems)
    newer = "" if rule.name != "schema_version" else _newer_version()
    found = {int(i): newer or rule.problem(float(values[i])) for i in np.flatnonzero(outside)}
    return Parsed(values, {**parsed.problems, **found})


def _newer_version() -> str:
    return (
        f"is not a version that this release reads, which is up to {SCHEMA_VERSION}; "
        "update scaling-laws."
    )


def _converted(values: NDArray[np.float64], convert: Conversion, rule: Rule) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", over="ignore"):
        values = convert(values)
    if rule.kind == "count":  # 0.3 thousand is 300, not 299.99999999999994
        whole = np.rint(values)
        values = np.where(np.abs(values - whole) <= 1e-9 * np.abs(whole), whole, values)
    return values


def _ask_for_score(
    columns: Mapping[str, Cells], count: int, schema: Schema, problems: _Problems
) -> None:
    """Refuse rows without a score; a failed run may lack one."""
    scored = np.zeros(count, dtype=np.bool_)
    for name in schema.metrics:
        if name in columns:
            scored |= ~np.isnan(columns[name])
            if scored.all():
                return
    if "status" in columns:
        scored |= columns["status"] == "failed"
    told = _told(columns, schema)
    for at in np.flatnonzero(~scored):
        if not any(field in schema.metrics for field, *_ in problems[int(at)]):
            problems[int(at)].append(("", None, told))


_NO_SCORE = (
    "The row has no score: give at least one metric, such as task_f1 or loss, name yours with "
    'columns={...} or metrics=[...], or mark the row status = "failed".'
)


def _told(columns: Mapping[str, Cells], schema: Schema) -> str:
    """Say what a row without a score lacks; of columns that may be scores, what to write."""
    meant = {field: name for name in columns if (field := field_meant(name, schema)) is not None}
    wanted = {f: name for f, name in meant.items() if f in schema.metrics and f not in columns}
    if not wanted:
        return _NO_SCORE
    names = " and ".join(f"{name!r} as {field}" for field, name in wanted.items())
    return (
        f"The row has no score under the name of a metric: read {names} by columns={wanted!r}, or "
        "one of your own by metrics=[...]."
    )


def check_row(row: Mapping[str, object], schema: Schema) -> dict[str, Any]:
    """Return a row as the schema holds it, missing fields left out.

    Raises
    ------
    ValueError
        With a sentence for every problem of the row.
    """
    columns = {name: cells_of([value], 1) for name, value in row.items()}
    table = check_table(Table("run", columns, np.zeros(1, dtype=np.int64)), schema)
    if table.rejected:
        raise ValueError(table.rejected[0].reason)
    return values_of({name: cells[0] for name, cells in table.columns.items()}, schema)


def values_of(row: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Return the values of a checked row as plain Python, counts whole, missing left out."""
    values: dict[str, Any] = {}
    for name, value in row.items():
        if is_missing(value):
            continue
        rule = schema.rules.get(name)
        plain = value.item() if hasattr(value, "item") else value  # NumPy's scalars have it
        values[name] = int(plain) if rule is not None and rule.kind == "count" else plain
    return values


def refuse_duplicates(table: Table) -> Table:
    """Refuse every row whose `run_id` an earlier row has."""
    found = duplicates(table, np.arange(len(table.rows)))
    if not found:
        return table
    keep = np.ones(len(table.rows), dtype=np.bool_)
    keep[list(found)] = False
    return table.take(keep, found.values())


def duplicates(table: Table, runs: NDArray[np.int64]) -> dict[int, Rejection]:
    """Return the rows whose `run_id` belongs to an earlier run, by position.

    Parameters
    ----------
    table : Table
        Checked.
    runs : array of int
        Which rows make one run: those of equal number.
    """
    if "run_id" not in table.columns:
        return {}
    ids = table.columns["run_id"]
    codes, distinct = pd.factorize(ids)
    first = np.full(len(distinct) + 1, -1)
    first[codes[::-1]] = np.arange(len(ids))[::-1]  # the last to write is the earliest row
    again = (codes >= 0) & (runs != runs[first[codes]])
    return {int(at): _second(table, int(first[codes[at]]), int(at)) for at in np.flatnonzero(again)}


def _second(table: Table, first: int, at: int) -> Rejection:
    columns = table.columns
    run_id = columns["run_id"][at]
    differ = [name for name, cells in columns.items() if not _same(cells[first], cells[at])]
    what = (
        f"which differs in {differ[0]}; give each run an id of its own"
        if differ
        else "an exact duplicate of it"
    )
    reason = f"run_id = {show(run_id)} was already used by row {table.rows[first]}, {what}."
    return Rejection(int(table.rows[at]), "run_id", run_id, reason)


def _same(a: object, b: object) -> bool:
    return a == b or (is_missing(a) and is_missing(b))
