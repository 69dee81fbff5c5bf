"""Units: from what the source holds to what the schema says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .check import Conversion
from .schema import Schema
from .table import RunLogError, Table

__all__ = ["conversions"]

_KEPT: Mapping[str, Conversion | None] = {
    "fraction": None,
    "percent": lambda values: values / 100,
    "compression": lambda values: 1 / values,
}
_SCORE: Mapping[str, Conversion | None] = {
    "fraction": None, "percent": lambda values: values / 100,
}  # fmt: skip


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
    for name, factor in (units or {}).items():
        rule = schema.rules.get(name)
        if name not in table.columns or rule is None or rule.kind == "text":
            numbers = [
                n for n in table.columns if n in schema.rules and schema.rules[n].kind != "text"
            ]
            close = get_close_matches(name, numbers, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise RunLogError(
                f"units: {name!r} is not a field of numbers in {table.source}.{hint} "
                f"Those are {', '.join(numbers) or 'none'}."
            )
        if name in convert:
            raise RunLogError(f"units: {name!r} already has a unit from {rule.option}; give one.")
        if not (isinstance(factor, (int, float)) and 0 < factor < math.inf):
            raise RunLogError(f"units: {name!r} = {factor!r} is not a positive multiplier.")
        convert[name] = partial(_times, float(factor))
    return convert


def _times(factor: float, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values * factor


def _chosen(option: str, unit: Any, known: Mapping[str, Conversion | None]) -> Conversion | None:
    if unit not in known:
        raise RunLogError(f"{option} must be one of {', '.join(known)}; not {unit!r}.")
    return known[unit]
