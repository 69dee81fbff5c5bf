"""Names and units: from what the source holds to what the schema says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .check import Conversion
from .frame import column_cells
from .rules import parse_covariate
from .schema import Schema
from .table import Cells, RunLogError, Table

__all__ = ["Column", "conversions", "rename"]

Column: TypeAlias = str | Callable[[pd.DataFrame], ArrayLike]
"""Where a field comes from: a column of the source, or a function of its frame."""

_KEPT: Mapping[str, Conversion | None] = {
    "fraction": None,
    "percent": lambda values: values / 100,
    "compression": lambda values: 1 / values,
}
_SCORE: Mapping[str, Conversion | None] = {
    "fraction": None, "percent": lambda values: values / 100,
}  # fmt: skip


def rename(table: Table, columns: Mapping[str, Column]) -> Table:
    """Return the table with columns under the names of the schema.

    Parameters
    ----------
    table : Table
        As a reader made it.
    columns : mapping of str to str or callable
        For each new name the column that holds it, which gives up its old name, or a function of
        the source's frame.

    Raises
    ------
    RunLogError
        For a column that is not there, a new name that another column bears, or a function whose
        result is not one value a row.
    """
    used = {origin for origin in columns.values() if isinstance(origin, str)}
    for origin in used - set(table.columns):
        close = get_close_matches(origin, table.columns, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise RunLogError(
            f"columns: {table.source} has no column {origin!r}.{hint} "
            f"It has {', '.join(table.columns)}."
        )
    rest = {name: cells for name, cells in table.columns.items() if name not in used}
    for name in columns:
        if name in rest:
            raise RunLogError(
                f"columns: {table.source} has a column {name!r} already; to replace it, give the "
                f"old one another name: columns={{..., '{name}_old': {name!r}}}."
            )
    new = {
        name: table.columns[origin] if isinstance(origin, str) else _computed(table, name, origin)
        for name, origin in columns.items()
    }
    return replace(table, columns={**rest, **new})


def _computed(table: Table, name: str, function: Callable[[pd.DataFrame], ArrayLike]) -> Cells:
    parsed = {n: parse_covariate(cells, table.typed).values for n, cells in table.columns.items()}
    frame = pd.DataFrame(parsed, index=pd.RangeIndex(len(table.rows)))
    result = function(frame)
    if np.shape(result) != table.rows.shape:
        raise RunLogError(
            f"columns: the function for {name!r} must return {len(table.rows)} values, one a row; "
            f"it returned an array of shape {np.shape(result)}."
        )
    return column_cells(pd.Series(np.asarray(result)))


def conversions(
    table: Table,
    schema: Schema,
    kept_unit: str,
    score_unit: str,
    units: Mapping[str, float] | None,
) -> dict[str, Conversion]:
    """Return the conversion of each column that needs one.

    Raises
    ------
    RunLogError
        For a unit that is not known, a multiplier that is not positive, or a unit of a column
        that is not there or holds no numbers.
    """
    options = {
        "kept_unit": _chosen("kept_unit", kept_unit, _KEPT),
        "score_unit": _chosen("score_unit", score_unit, _SCORE),
    }
    convert = {
        name: conversion
        for name, rule in schema.rules.items()
        if (conversion := options.get(rule.option)) is not None
    }
    rules = schema.rules
    numbers = [n for n in table.columns if n in rules and rules[n].kind != "text"]
    for name, factor in (units or {}).items():
        if name not in numbers:
            close = get_close_matches(name, numbers, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise RunLogError(
                f"units: {name!r} is not a field of numbers in {table.source}.{hint} "
                f"Those are {', '.join(numbers) or 'none'}."
            )
        if name in convert:
            option = rules[name].option
            raise RunLogError(f"units: {name!r} already has a unit from {option}; give one.")
        if not 0 < factor < math.inf:
            raise RunLogError(f"units: {name!r} = {factor!r} is not a positive multiplier.")
        convert[name] = partial(_times, float(factor))
    return convert


def _times(factor: float, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values * factor


def _chosen(option: str, unit: str, known: Mapping[str, Conversion | None]) -> Conversion | None:
    if unit not in known:
        raise RunLogError(f"{option} must be one of {', '.join(known)}; not {unit!r}.")
    return known[unit]
