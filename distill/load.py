"""Read labelled texts from a file, and say which columns were taken."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .examples import Example

__all__ = ["Loaded", "load_examples", "read_frame"]


@dataclass(frozen=True)
class Loaded:
    """Examples from a file, their labels, the columns taken and notes that say so."""

    examples: list[Example]
    labels: tuple[str, ...]
    columns: dict[str, str]
    notes: tuple[str, ...]


# Names that settle which of several possible columns is meant, compared without case.
_TEXT_NAMES = ("headline", "headlines", "title", "text", "sentence", "news")
_LABEL_NAMES = ("label", "labels", "category", "class", "event", "event_type", "topic")
_OPTIONAL = ("rationale", "template", "id")


def load_examples(path: str | Path, text: str | None = None, label: str | None = None) -> Loaded:
    """Read labelled texts from a ``.csv``, ``.parquet`` or ``.jsonl`` file.

    Parameters
    ----------
    path : str or Path
        For example the parquet file of ``nvidia/FinHeadlineMix``.
    text, label : str, optional
        Columns to take. By default the text column is the one of strings with a headline's length
        (2 to 60 words at the median) that hardly repeat, and the label column the one with few
        distinct short values; where several would do, a usual name such as ``headline`` or
        ``category`` decides. Columns ``rationale``, ``template`` and ``id`` are taken when there.

    Returns
    -------
    Loaded
        Labels are sorted by frequency, the commonest first. Notes say which columns were taken
        and how many rows had no text or no label.

    Raises
    ------
    ValueError
        When no column or several fit; the message names all columns found.
    """
    path = Path(path)
    frame = read_frame(path)
    columns = {
        "text": _column(frame, path, "text", text, _text_like, _TEXT_NAMES),
        "label": _column(frame, path, "label", label, _label_like, _LABEL_NAMES),
    }
    if columns["text"] == columns["label"]:
        raise ValueError(f"{path.name}: text and label are the same column {columns['text']!r}.")
    columns |= {name: name for name in _OPTIONAL if name in frame.columns}
    notes = [f"{path.name}: {field} from column {column!r}." for field, column in columns.items()]
    fields = {field: _strings(frame[column]) for field, column in columns.items()}
    complete = fields["text"].notna() & fields["label"].notna()
    if not complete.all():
        rows = np.flatnonzero(~complete)
        notes.append(
            f"{path.name}: {len(rows)} of {len(frame)} rows left out, without text or label; the "
            f"first is row {rows[0] + 1}."
        )
    ids = fields.pop("id", pd.Series(range(1, len(frame) + 1), frame.index).astype(str))
    values = pd.DataFrame({**fields, "id": ids})[complete].astype(object)
    values = values.where(values.notna(), None)
    examples = [Example(**row) for row in values.to_dict("records")]
    labels = tuple(values["label"].value_counts(sort=True).index)
    notes += [
        f"{path.name}: the labels {', '.join(map(repr, alike))} differ in case, spaces or the "
        "writing of accents alone; they stay classes of their own. Write them alike in the file if "
        "they are one."
        for alike in _alike(labels)
    ]
    return Loaded(examples, labels, columns, tuple(notes))


def _alike(labels: Sequence[str]) -> list[list[str]]:
    """Return groups of labels that a person would take for one."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        name = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
        groups.setdefault(name, []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def read_frame(path: Path) -> pd.DataFrame:
    """Read a ``.csv``, ``.parquet`` or ``.jsonl`` file: a row a line, every cell as it stands."""
    try:
        match path.suffix.lower():
            case ".csv":
                return _csv(path)
            case ".jsonl":
                return pd.DataFrame(_json_lines(path), dtype=object)
            case ".parquet":
                return pd.read_parquet(path)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} is not UTF-8: {error}. Write it anew in UTF-8, such as with "
            f"iconv -f WINDOWS-1252 -t UTF-8 {path.name} > NEW{path.suffix}"
        ) from error
    raise ValueError(f"{path.name}: write a .csv, .parquet or .jsonl file, not {path.suffix!r}.")


def _csv(path: Path) -> pd.DataFrame:
    told = "A text or label with a comma needs double quotes around it."
    try:
        # Every cell as it stands: "NA" and "None" are texts, "007" is not a number.
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except pd.errors.ParserError as error:
        raise ValueError(f"{path.name}: {str(error).strip()}. {told}") from error
    if not isinstance(
        frame.index, pd.RangeIndex
    ):  # pandas takes what is too much for names of rows
        raise ValueError(f"{path.name}: its first row has more cells than its header. {told}")
    return frame


def _json_lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open(encoding="utf-8-sig") as lines:  # some editors put a mark before the first line
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path.name} line {number} is not JSON: {error}.") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path.name} line {number} is not an object: {line[:60]!r}.")
            rows.append(row)
    return rows


def _strings(column: pd.Series) -> pd.Series:
    """Turn cells into stripped text; missing where there is none."""
    text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    return text.where(text != "", None)


def _text_like(column: pd.Series) -> bool:
    cells = column.dropna().tolist()
    if not all(isinstance(cell, str) for cell in cells):
        return False
    words = np.median([len(cell.split()) for cell in cells]) if cells else 0
    return 2 <= words <= 60 and len(set(cells)) > 0.5 * len(cells)


def _label_like(column: pd.Series) -> bool:
    cells = column.dropna().tolist()
    if not all(isinstance(cell, str | int) and not isinstance(cell, bool) for cell in cells):
        return False
    distinct = {str(cell) for cell in cells}
    return 2 <= len(distinct) <= 0.1 * len(cells) and max(map(len, distinct)) <= 60


def _column(
    frame: pd.DataFrame,
    path: Path,
    role: str,
    given: str | None,
    fits: Callable[[pd.Series], bool],
    names: tuple[str, ...],
) -> str:
    """Find a role's column: the one given, the only one that fits or the one of a usual name."""
    found = ", ".join(map(repr, frame.columns))
    if given is not None:
        if given not in frame.columns:
            raise ValueError(f"{path.name} has no column {given!r}; its columns are {found}.")
        return given
    fitting = [column for column in frame.columns if fits(frame[column])]
    usual = [column for column in fitting if str(column).lower() in names]
    for choice in (fitting, usual):
        if len(choice) == 1:
            return choice[0]
    count = "no column looks" if not fitting else f"the columns {fitting} all look"
    raise ValueError(
        f"{path.name}: {count} like a {role} column; its columns are {found}. "
        f'Say which one it is with {role}="...".'
    )
