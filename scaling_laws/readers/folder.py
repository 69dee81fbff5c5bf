"""Read a folder of runs: the JSON files in it, at any depth, each read by what it holds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from .exports import mapped
from .jsonfile import read_json
from .table import Note, Rejection, RunLogError, Table, cells_of, show

__all__ = ["read_folder"]

_OTHER_LOGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_SHOWN = 4


def read_folder(
    folder: Path,
    wanted: frozenset[str] | None = None,
    asked: frozenset[str] = frozenset(),
    checkpoints: bool = False,
) -> Table:
    """Return the runs of every JSON file below a folder, one table.

    Of the states that a trainer left in ``checkpoint-N`` folders the furthest is read: it holds the
    others' history. A file without a `run_id` gives its own name as one. A damaged file is refused
    like a bad row; a file that holds no run is named in a note.

    Parameters
    ----------
    folder : Path
    wanted : frozenset of str, optional
        Names of which a run has one; None takes every object for a run.
    asked, checkpoints
        As in `exports.mapped`.

    Raises
    ------
    RunLogError
        For a folder that holds no run, or can't be read.
    """
    files = _files(folder)
    tables: list[Table] = []
    rejected: list[tuple[str, str]] = []
    strange: list[str] = []
    for name in files:
        if not name.endswith(".json"):
            continue
        try:
            table = mapped(read_json(folder / name, name, checkpoints), asked, checkpoints)
        except RunLogError as error:
            rejected.append((name, str(error)))
            continue
        # A tool's own file has notes: then a missing score is a refused row, not another file.
        if wanted is None or wanted & set(table.columns) or table.rejected or table.notes:
            tables.append(_named(table, name))
        else:
            strange.append(name)
    others = [name for name in files if name.endswith(_OTHER_LOGS)]
    tables, earlier = _furthest(tables)
    if not tables:
        raise RunLogError(_nothing(folder, strange, others, rejected))
    notes = _notes(folder, strange, others, earlier)
    return _joined(folder.absolute().name, tables, rejected, notes)


def _files(folder: Path) -> list[str]:
    """Return every file below, relative; links to folders are not followed."""

    def refuse(error: OSError) -> None:
        raise RunLogError(f"{error.filename} can't be read: {error.strerror}.") from error

    found: list[str] = []
    for here, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        found += [Path(here, name).relative_to(folder).as_posix() for name in sorted(names)]
    return found


def _named(table: Table, name: str) -> Table:
    """Give the rows of a file their run_id, the file's name, where they have none."""
    if "run_id" in table.columns:
        return table
    stem = name.removesuffix(".json")
    count = len(table.rows)
    ids = [stem] if count == 1 else [f"{stem}@{row}" for row in table.rows]
    return replace(table, columns={"run_id": cells_of(ids, count), **table.columns})


def _furthest(tables: Sequence[Table]) -> tuple[list[Table], list[str]]:
    """Return the tables without a trainer's earlier states of one run, and the files of those."""
    kept: list[Table] = []
    earlier: list[str] = []
    for run, group in groupby(sorted(tables, key=_run_of), key=_run_of):
        own = list(group)
        if run:
            # The state of the run's own folder comes last: it may have logged more at that step.
            own.sort(key=lambda table: (_end(table), "/checkpoint-" not in f"/{table.source}"))
            earlier += [table.source for table in own[:-1]]
            own = own[-1:]
        kept += own
    kept.sort(key=lambda table: table.source)
    return kept, earlier


def _run_of(table: Table) -> str:
    """Return the name of a trainer's run; "" for another table."""
    if not table.source.endswith("trainer_state.json") or not len(table.rows):
        return ""
    of_run = "chain_id" if "chain_id" in table.columns else "run_id"
    return str(table.columns[of_run][0])


def _end(table: Table) -> float:
    steps = table.columns.get("steps", ())
    return max((float(s) for s in steps if isinstance(s, (int, float))), default=0.0)


def _nothing(
    folder: Path, strange: list[str], others: list[str], rejected: Sequence[tuple[str, str]]
) -> str:
    if rejected:
        return f"{folder} holds no run: {rejected[0][1]}"
    found = f"{_some(strange)} hold no score" if strange else "there is no .json file below it"
    hint = f" Logs of several runs are read by name: {_some(others)}." if others else ""
    return f"{folder} holds no run: {found}.{hint}"


def _notes(
    folder: Path, strange: list[str], others: list[str], earlier: list[str]
) -> Iterator[Note]:
    name = folder.absolute().name
    if earlier:
        told = f"{name}: earlier states of runs that are read: {_some(earlier)}."
        yield Note("earlier_states", "info", told)
    if strange:
        told = f"{name}: not read, as no known score is in it: {_some(strange)}."
        yield Note("no_run", "info", told)
    if others:
        told = f"{name}: not read, as only JSON is looked for in a folder: {_some(others)}."
        yield Note("not_read", "info", told)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(show(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _joined(
    source: str, tables: Sequence[Table], refused: Sequence[tuple[str, str]], notes: Iterator[Note]
) -> Table:
    """Return the tables as one; rows are counted through, and `files` says where each stood."""
    places: list[str] = []
    rejected: list[Rejection] = []
    rows: list[int] = []
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    cells: dict[str, list[object]] = {name: [] for name in names}
    for table in tables:
        several = len(table.rows) + len(table.rejected) > 1
        for at, row in enumerate(table.rows):
            rows.append(len(places))
            places.append(f"{table.source} row {row}" if several else table.source)
            for name in names:
                column = table.columns.get(name)
                cells[name].append(None if column is None else column[at])
        for refusal in table.rejected:
            rejected.append(replace(refusal, row=len(places)))
            places.append(f"{table.source} row {refusal.row}")
    for name, reason in refused:
        rejected.append(Rejection(len(places), "", name, reason.removeprefix(f"{name}: ")))
        places.append(name)
    return Table(
        source,
        {name: cells_of(values, len(rows)) for name, values in cells.items()},
        np.array(rows, dtype=np.int64),
        tuple(rejected),
        (*notes, *_summed([note for table in tables for note in table.notes])),
        typed=all(table.typed for table in tables),
        measured=frozenset(name for table in tables for name in table.measured),
        files=tuple(places),
    )


def _summed(notes: Sequence[Note]) -> Iterator[Note]:
    """Return the notes of all files, those that differ in the file's name alone said once."""
    seen: dict[tuple[str, str], list[Note]] = {}
    for note in notes:
        _, _, told = note.sentence.partition(": ")
        seen.setdefault((note.code, told), []).append(note)
    for same in seen.values():
        first = same[0]
        more = f" (so {len(same) - 1} more files)" if len(same) > 1 else ""
        yield replace(first, sentence=first.sentence + more)
