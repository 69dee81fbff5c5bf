"""Read JSON lines: one object a line, told apart from a torn, nested or repeated one.

`parse_json` is the strict parser of every reader of JSON.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

from .files import read_utf8
from .frame import from_records
from .table import Note, Rejection, Table, encodable, show

__all__ = ["parse_json", "read_jsonl"]

_LONGEST_INTEGER = 400  # digits; beyond every float, and Python refuses to parse thousands


def read_jsonl(path: Path, source: str = "") -> Table:
    """Return the cells of a JSONL file; rows are numbered by line from 1, blank lines skipped.

    A line that is not one flat object is refused, with the reason. A last line without its end
    that can't be parsed is a torn write: refused too, and reported in a note.

    Raises
    ------
    RunLogError
        For a file that can't be read, or that is UTF-16 or UTF-32.
    """
    source = source or path.name
    content = read_utf8(path)
    lines = content.split(b"\n")
    records: list[tuple[int, dict[str, object]]] = []
    rejected: list[Rejection] = []
    notes: list[Note] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records.append((number, _object(line)))
        except ValueError as error:
            reason = str(error)
            if number == len(lines) and isinstance(error, _Incomplete):
                reason = "The last line is torn: its end was never written."
                sentence = f"{source} line {number} is torn, so it was not read; run it again."
                notes.append(Note("torn_line", "warning", sentence))
            shown = show(line.decode("utf-8", "backslashreplace"))
            rejected.append(Rejection(number, "", shown, reason))
    return from_records(records, source, rejected, notes)


class _Incomplete(ValueError):
    """A line that is not JSON, or not even text: as a torn write leaves it."""


def _object(line: bytes) -> dict[str, object]:
    """Parse a line; a ValueError says in a sentence what is wrong with it."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise _Incomplete(f"The line is not UTF-8 at its byte {error.start}.") from None
    try:
        parsed = parse_json(text, "The line")
    except json.JSONDecodeError as error:
        raise _Incomplete(
            f"The line is not a complete JSON object: {error.msg} at column {error.colno}."
        ) from None
    if not isinstance(parsed, dict):
        raise ValueError(f"The line is a JSON {type(parsed).__name__}, not an object.")
    row = cast(dict[str, object], parsed)
    return row


def parse_json(text: str, subject: str) -> Any:
    """Return what a JSON text holds; keys are unique and valid Unicode, integers of any length.

    Raises
    ------
    json.JSONDecodeError
        For a text that is not JSON, or not the whole of one.
    ValueError
        With a sentence about `subject`, for a repeated or invalid key, or nesting without end.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            repeated = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{subject} gives {show(repeated)} more than once.")
        for name in found:
            if not encodable(name):
                raise ValueError(f"The key {show(name)} is not valid Unicode.")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique, parse_int=_integer)
    except RecursionError:
        raise ValueError(f"{subject} is nested too deeply; a cell holds one value.") from None


def _integer(digits: str) -> float:
    if len(digits) <= _LONGEST_INTEGER:
        return int(digits)
    return -math.inf if digits.startswith("-") else math.inf
