"""Read one JSON file: told apart by what it holds, not by its name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from .files import read_text
from .frame import from_records
from .harness import is_harness, read_harness
from .jsonl import parse_json, read_jsonl
from .table import Rejection, RunLogError, Table, show
from .trainer import is_trainer_state, read_trainer_state

__all__ = ["read_json", "run_name"]

# What `scaling_laws.saved` writes into each of its files, so that none is taken for a log.
_FIT = "scaling-laws fit"


def read_json(path: Path, name: str = "", checkpoints: bool = False) -> Table:
    """Return the cells of a JSON file.

    The state of a Hugging Face trainer and the results of lm-evaluation-harness are known by their
    keys; else the file holds one run, a list of runs, columns of runs as pandas writes them, or
    JSON lines.

    Parameters
    ----------
    path : Path
    name : str
        Name of the run and of the file in messages, for one of a folder; by default its own.
    checkpoints : bool
        A row a checkpoint where the file holds several.

    Raises
    ------
    RunLogError
        For a file that can't be read, is not JSON, or holds no objects.
    """
    source = name or path.name
    text = read_text(path)
    try:
        found = parse_json(text, "The file")
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and error.lineno > 1:
            return read_jsonl(path, source)
        raise RunLogError(
            f"{source} is not a complete JSON file: {error.msg} at line {error.lineno} column "
            f"{error.colno}."
        ) from None
    except ValueError as error:
        raise RunLogError(f"{source}: {error}") from None
    return _table(found, source, run_name(path, name), checkpoints)


def run_name(path: Path, name: str = "") -> str:
    """Return the name of a run: that of its file, or for a trainer's state of the run's folder.

    Parameters
    ----------
    path : Path
    name : str
        The file within the folder that is read, if one is.
    """
    place = Path(name or path.name)
    if place.name != "trainer_state.json":
        return place.with_suffix("").as_posix()
    above = 2 if path.absolute().parent.name.startswith("checkpoint-") else 1
    inside = place.parts[:-above]
    return "/".join(inside) or path.absolute().parts[-above - 1]


def _table(found: Any, source: str, run: str, checkpoints: bool) -> Table:
    if isinstance(found, dict):
        state = cast(dict[str, Any], found)
        if state.get("format") == _FIT:
            raise RunLogError(
                f"{source} is a saved fit, not a log of runs: read it with sl.load, and give the "
                "log that was fitted here."
            )
        if is_trainer_state(state):
            return read_trainer_state(state, source, run, checkpoints)
        if is_harness(state):
            return read_harness(state, source, run)
        if isinstance(state.get("runs"), list) and set(state) <= {"runs", "next_page_token"}:
            return _records(state["runs"], source)
        columns = _columns(state)
        return _records(columns, source) if columns else from_records([(0, state)], source)
    if isinstance(found, list):
        return _records(cast(list[Any], found), source)
    raise RunLogError(
        f"{source} holds {show(found)}; a run is an object, several are a list of objects."
    )


def _columns(found: Mapping[str, Any]) -> list[Any]:
    """Return the rows of a frame that pandas wrote by column, {name: {row: cell}}, if it is one."""
    if not found or not all(isinstance(cells, Mapping) for cells in found.values()):
        return []
    columns = cast(Mapping[str, Mapping[str, Any]], found)
    rows = list(next(iter(columns.values())))
    if not all(row.isdecimal() for row in rows) or any(list(c) != rows for c in columns.values()):
        return []
    return [{name: cells[row] for name, cells in columns.items()} for row in rows]


def _records(found: list[Any], source: str) -> Table:
    records: list[tuple[int, Mapping[str, object]]] = []
    rejected: list[Rejection] = []
    for at, row in enumerate(found):
        if isinstance(row, Mapping):
            records.append((at, cast(Mapping[str, object], row)))
        else:
            reason = f"The entry is a JSON {type(row).__name__}, not an object."
            rejected.append(Rejection(at, "", show(row), reason))
    return from_records(records, source, rejected)
