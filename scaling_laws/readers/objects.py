"""Objects in the cells of a tracker's export: spread into columns under dotted names."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

from .jsonl import parse_json
from .rules import is_missing
from .table import Cells, Table, cells_of

__all__ = ["flat_columns", "holds_objects"]

_LONGEST = 1_000_000  # characters of an object that is written as text
_DEEPEST = 8
_MANY = (Mapping, list, tuple)


def holds_objects(cells: Cells | None) -> bool:
    """Return whether a column's first value is an object, or one that was written as text."""
    if cells is None or cells.dtype != object:
        return False
    first = next((cell for cell in cells if not is_missing(cell)), None)
    return isinstance(first, Mapping) or (isinstance(first, str) and first.startswith("{"))


def flat_columns(
    table: Table, nested: Sequence[str], inner: Sequence[str] = (), bare: Sequence[str] = ()
) -> tuple[dict[str, Cells], dict[str, str]]:
    """Return columns without objects in their cells, and why a column was not read.

    Parameters
    ----------
    table : Table
    nested : sequence of str
        Columns of objects; their values become the columns ``column.name``.
    inner : sequence of str
        Names in them that hold a list of ``{"key": ..., "value": ...}``.
    bare : sequence of str
        Those of `nested` whose own name is left off.
    """
    columns: dict[str, Cells] = {}
    unread: dict[str, str] = {}
    for name, cells in table.columns.items():
        if name in nested and holds_objects(cells):
            head = "" if name in bare else f"{name}."
            rows = [_leaves(_object(cell), inner) for cell in cells]
            for key in dict.fromkeys(key for row in rows if row is not None for key in row):
                columns[head + key] = cells_of(
                    (None if row is None else row.get(key) for row in rows), len(rows)
                )
            bad = sum(r is None and not is_missing(c) for r, c in zip(rows, cells, strict=True))
            if bad:
                unread[name] = f"{bad} cells that hold no object"
        else:
            columns.setdefault(name, cells)
    for name in [n for n, cells in columns.items() if cells.dtype == object]:
        found = [type(cast(object, c)).__name__ for c in columns[name] if isinstance(c, _MANY)]
        if found:
            unread[name] = f"a {found[0]} in {len(found)} rows"
            del columns[name]
    return columns, unread


def _object(cell: object) -> Mapping[str, Any] | None:
    """Return an object, also one written as text: as JSON, or as pandas writes it into a CSV."""
    if isinstance(cell, Mapping):
        return cast(Mapping[str, Any], cell)
    if not isinstance(cell, str) or len(cell) > _LONGEST:
        return None
    try:
        found = parse_json(cell, "The cell")
    except ValueError:
        found = _literal(cell)
    if not isinstance(found, dict):
        return None
    pairs = cast(dict[Any, Any], found)
    return {str(name): value for name, value in pairs.items()}


def _literal(text: str) -> object:
    """Return a Python literal, None for any other text; nothing is run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _leaves(
    found: Mapping[str, Any] | None, inner: Sequence[str], head: str = "", depth: int = 0
) -> dict[str, Any] | None:
    """Return an object's values by dotted name."""
    if found is None:
        return None
    out: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, Mapping) and depth < _DEEPEST:
            below = cast(Mapping[str, Any], value)
            if "value" in below and set(below) <= {"value", "desc"}:  # W&B's stored config
                out[head + name] = below["value"]
            else:
                out |= _leaves(below, (), f"{head}{name}.", depth + 1) or {}
        elif name in inner and isinstance(value, list):  # MLflow's REST API
            for entry in cast(list[object], value):
                if isinstance(entry, Mapping) and "key" in entry:
                    pair = cast(Mapping[str, Any], entry)
                    out[f"{head}{name}.{pair['key']}"] = pair.get("value")
        else:
            out[head + name] = value
    return out
