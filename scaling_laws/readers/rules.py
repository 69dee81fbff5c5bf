"""What a cell may hold: parse it, test it, and say in a sentence what is wrong with it.

Arrays of numbers are tested as arrays; other cells go through the scalar functions `number_of`,
`text_of` and `scalar_of`, distinct texts once each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .table import Cells, encodable

__all__ = [
    "EXACT", "Parsed", "Rule", "is_missing", "number_of", "parse_covariate", "parse_numbers",
    "parse_texts", "scalar_of", "text_of",
]  # fmt: skip

EXACT = 2.0**53
"""Integers above this are no longer all exact as 64-bit floats."""

_INFINITE = "is not finite; leave the cell empty if there is no value."
_MISSING = frozenset({"", "-", "na", "n/a", "#n/a", "nan", "nat", "none", "null", "<na>"})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INFINITY = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_SUFFIX = re.compile(r"([+-]?\d+\.?\d*)\s*([kKmMbBgGtT])", re.ASCII)
_POWER = {"k": 3, "m": 6, "b": 9, "g": 9, "t": 12}


@dataclass(frozen=True)
class Parsed:
    """A column after parsing: values, and for each bad position what is wrong with the cell."""

    values: NDArray[Any]
    problems: dict[int, str] = field(default_factory=dict[int, str])


@dataclass(frozen=True)
class Rule:
    """What one field may hold.

    Parameters
    ----------
    name : str
        The field.
    kind : {"number", "count", "text"}
        ``count``: a whole number.
    low, high : float
        Closed bounds of a number; an open bound at 0 is the next float above it.
    span : str
        The bounds in words, for messages.
    meaning : str
        What the field is.
    option : str
        Argument of `read_runs` that reads the field in percent; "" where there is none.
    words : tuple of str
        Canonical spellings of a text; others are legal.
    """

    name: str
    kind: Literal["number", "count", "text"]
    low: float = -np.finfo(np.float64).max
    high: float = np.finfo(np.float64).max
    span: str = ""
    meaning: str = ""
    option: str = ""
    words: tuple[str, ...] = ()

    def outside(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return where numbers break the rule; a missing number never does."""
        bad = (values < self.low) | (values > self.high)
        if self.kind == "count":
            bad |= (values != np.rint(values)) & ~np.isnan(values)
        return bad

    def problem(self, value: float) -> str:
        """Return what is wrong with a number that breaks the rule."""
        if math.isinf(value):
            return _INFINITE
        if self.kind == "count" and abs(value) > EXACT:
            return "is larger than 2**53: integers above it are no longer exact."
        if self.low <= value <= self.high:
            return f"is not a whole number; it is {self.meaning}."
        return f"is not {self.span}; it is {self.meaning}.{self._remedy(value)}"

    def _remedy(self, value: float) -> str:
        if not self.option or not 1 < value <= 100:
            return ""
        percent = f' Write {value / 100:.6g}, or pass {self.option}="percent"'
        if self.option == "kept_unit" and value < 10:
            return f'{percent}; for a ratio teacher : student pass kept_unit="compression".'
        return f"{percent}."


def is_missing(value: object) -> bool:
    """Return whether a scalar stands for no value."""
    if isinstance(value, str):
        return value.strip().casefold() in _MISSING
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, Real):
        return value != value  # a huge integer, or fraction, has no math.isnan
    return value is None or value is pd.NA or value is pd.NaT


def _is_bool(value: object) -> bool:
    return isinstance(value, (bool, np.bool_))


def number_of(value: object) -> float:
    """Return a scalar as a float, NaN where it is missing.

    Raises
    ------
    ValueError
        With the predicate of a sentence whose subject is the cell ("is not a number; ...").
    """
    if is_missing(value):
        return math.nan
    if isinstance(value, str):
        return _number_in(value.strip())
    if _is_bool(value):
        raise ValueError("is true or false where a number is needed.")
    if not isinstance(value, (Real, Decimal)):
        raise ValueError(f"is a {type(value).__name__} where a number is needed.")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("is too large for a 64-bit float.") from None


def _number_in(text: str) -> float:
    if _NUMBER.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            raise ValueError("is too large for a 64-bit float.")
        return number
    if _INFINITY.fullmatch(text):
        return math.inf
    if _COMMA.fullmatch(text):
        raise ValueError(
            f"has a comma; write {text.replace(',', '.')} if it marks decimals, "
            f"{text.replace(',', '')} if it groups thousands."
        )
    if text.endswith("%"):
        raise ValueError(
            'has a percent sign; write a fraction, or drop the sign and pass the unit "percent".'
        )
    if suffixed := _SUFFIX.fullmatch(text):
        power = _POWER[suffixed[2].lower()]
        raise ValueError(f"has a unit; write {suffixed[1]}e{power}.")
    raise ValueError("is not a number.")


def text_of(value: object) -> str | None:
    """Return a scalar as stripped text, None where it is missing; whole numbers lose their ".0".

    Raises
    ------
    ValueError
        With the predicate of a sentence whose subject is the cell.
    """
    if is_missing(value):
        return None
    if isinstance(value, str):
        return _valid(value.strip())
    if _is_bool(value) or not isinstance(value, (Real, Decimal)):
        raise ValueError(f"is a {type(value).__name__} where text is needed.")
    number = number_of(value)
    if not math.isfinite(number):
        raise ValueError(_INFINITE)
    if isinstance(value, Integral):
        return str(int(value))
    return f"{number:.0f}" if number.is_integer() else str(value)


def _valid(text: str) -> str:
    if not encodable(text):
        raise ValueError("holds half of a surrogate pair, which is not valid Unicode.")
    return text


def scalar_of(value: object) -> str | float | bool | None:
    """Return the cell of a covariate: a number, a text, true or false, or None; dates as text.

    Raises
    ------
    ValueError
        With the predicate of a sentence whose subject is the cell.
    """
    if is_missing(value):
        return None
    if isinstance(value, str):
        return _valid(value.strip())
    if _is_bool(value):
        return bool(value)
    if isinstance(value, date):
        return value.isoformat()
    if not isinstance(value, (Real, Decimal)):
        raise ValueError(f"is a {type(value).__name__}; a cell holds one number or text.")
    number = number_of(value)
    if math.isinf(number):
        raise ValueError(_INFINITE)
    return number


def _elementwise(cells: Cells, parse: Callable[[object], object]) -> Parsed:
    """Parse cell by cell, distinct texts once."""
    if len(cells) > 1 and pd.api.types.infer_dtype(cells, skipna=True) == "string":
        codes, distinct = pd.factorize(cells, use_na_sentinel=True)
        once = _parse_each(cast(Cells, distinct), parse)
        values = np.empty(len(distinct) + 1, dtype=object)
        values[:-1] = once.values
        values = values[codes]  # code -1, missing, takes the last, which is None
        if not once.problems:
            return Parsed(values)
        at = np.flatnonzero(np.isin(codes, list(once.problems)))
        return Parsed(values, {int(i): once.problems[int(codes[i])] for i in at})
    return _parse_each(cells, parse)


def _parse_each(cells: Cells, parse: Callable[[object], object]) -> Parsed:
    values = np.empty(len(cells), dtype=object)
    problems: dict[int, str] = {}
    for i, cell in enumerate(cells):
        try:
            values[i] = parse(cell)
        except ValueError as problem:
            problems[i] = str(problem)
    return Parsed(values, problems)


def parse_numbers(cells: Cells) -> Parsed:
    """Return a column as float64, NaN where a cell is missing or bad."""
    if cells.dtype.kind in "iuf":
        return Parsed(cells.astype(np.float64, copy=False))
    if cells.dtype == object and len(cells) > 1:
        kind = pd.api.types.infer_dtype(cells, skipna=True)
        if kind in ("floating", "integer", "mixed-integer-float"):
            try:
                return Parsed(cells.astype(np.float64))
            except (TypeError, OverflowError):  # pandas.NA, or an integer beyond any float
                return _as_float(_elementwise(cells, number_of))
    return _as_float(_elementwise(cells, number_of))


def _as_float(parsed: Parsed) -> Parsed:
    return Parsed(parsed.values.astype(np.float64), parsed.problems)  # None becomes NaN


def parse_texts(cells: Cells) -> Parsed:
    """Return a column as stripped texts, None where a cell is missing or bad."""
    return _elementwise(cells, text_of)


def parse_covariate(cells: Cells, typed: bool) -> Parsed:
    """Return an unknown column: float64 where all its cells are numbers, bool, else objects."""
    if cells.dtype.kind in "iuf":
        values = cells.astype(np.float64, copy=False)
        infinite = np.flatnonzero(np.isinf(values))
        return Parsed(values, {int(i): _INFINITE for i in infinite})
    if cells.dtype.kind == "b":
        return Parsed(cells)
    if not typed:
        numbers = parse_numbers(cells)
        if not numbers.problems and not np.isinf(numbers.values).any():
            return numbers
    parsed = _elementwise(cells, scalar_of)
    kinds = set(pd.unique(np.array([type(v).__name__ for v in parsed.values], dtype=object)))
    if kinds <= {"float", "NoneType"} and kinds != {"NoneType"}:
        return _as_float(parsed)
    if kinds == {"bool"}:
        return Parsed(parsed.values.astype(np.bool_), parsed.problems)
    return parsed
