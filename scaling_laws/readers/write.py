"""Write runs: one line at the end of a log, whole logs, and a template to fill in."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..metrics import Metric
from .files import append_line, replace_file
from .schema import SCHEMA_VERSION, Run, schema_of
from .table import RunLogError

__all__ = ["append_run", "template", "write_jsonl"]


def append_run(
    path: str | os.PathLike[str],
    run: Run | Mapping[str, Any],
    *,
    metrics: Iterable[Metric] = (),
    timeout: float = 2.0,
) -> None:
    """Check a run and append it to a JSONL log as one line, durably.

    The line is written at once under the lock ``{path}.lock``, and file and folder are synced
    before this returns. If a crash left a torn last line, the run starts on a line of its own and
    the torn one is reported by `read_runs`. A `run_id` that the log already has is refused when
    the log is read, not here.

    Parameters
    ----------
    path : path
        A .jsonl file; made if absent, its folder is not.
    run : Run or mapping
        A row; `schema_version` is added.
    metrics : iterable of Metric
        Metrics beside the known ones, so that their scores are checked too.
    timeout : float
        Seconds to wait for another writer.

    Raises
    ------
    RunLogError
        While another process holds the lock, for a file of another kind, and where the disk took
        only a part of the line.
    pydantic.ValidationError
        For a row that breaks the schema; nothing is written.
    """
    from filelock import FileLock, Timeout  # only writers need it

    path = Path(path)
    _ask_for_suffix(path, ".jsonl", ".ndjson")
    row = run.model_dump(exclude_none=True) if isinstance(run, Run) else run
    line = _line(Run.model_validate(row, context={"metrics": tuple(metrics)}))
    lock = FileLock(f"{path}.lock")
    try:
        with lock.acquire(timeout=timeout):
            append_line(path, line)
    except Timeout:
        raise RunLogError(
            f"{path} is locked by another writer ({lock.lock_file}, waited {timeout:g} s); nothing "
            "was written. Try again, or give each writer a file of its own."
        ) from None


def write_jsonl(path: str | os.PathLike[str], runs: Iterable[Run]) -> None:
    """Write runs to a JSONL file that replaces an old one only when it is complete."""
    path = Path(path)
    _ask_for_suffix(path, ".jsonl", ".ndjson")
    replace_file(path, b"".join(_line(run) for run in runs))


def _line(run: Run) -> bytes:
    """Return a run as one line of JSON, fields in canonical order, missing ones left out."""
    values = run.model_dump(exclude_none=True)
    order = [
        "schema_version",
        *(n for n in schema_of().rules if n in values and n != "schema_version"),
    ]
    values = {name: values[name] for name in dict.fromkeys((*order, *values))}
    return json.dumps(values, ensure_ascii=False, allow_nan=False).encode() + b"\n"


_LEVELS = (1.0, 0.79, 0.58, 0.37, 0.16)
_EXAMPLE: Mapping[str, object] = {
    "schema_version": SCHEMA_VERSION,
    "chain_id": "chain-0",
    "status": "ok",
    "teacher": "my-teacher-32b",
    "kept_of": "total",
    "weight_bits": 16,
    "prune_axis": "both",
    "schedule": "iterative",
    "format": "label",
    "method": "full",
    "target": "logits",
    "label_source": "teacher",
    "temperature": 1.0,
    "task": "my-task",
    "examples": 6000,
    "seed": 0,
}


def template(path: str | os.PathLike[str], *, rows: int = 3) -> Path:
    """Write a CSV with every column of the schema and a few invented rows to replace.

    Parameters
    ----------
    path : path
        A .csv file that does not exist yet.
    rows : int
        Number of example rows: the teacher, then students of one chain.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunLogError
        For a file that exists, or of another kind.
    """
    path = Path(path)
    _ask_for_suffix(path, ".csv")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(schema_of().rules), lineterminator="\n")
    writer.writeheader()
    for stage in range(rows):
        kept = _LEVELS[stage % len(_LEVELS)]
        parent = {"parent_id": f"example-{stage - 1}"} if stage else {}
        phase, origin = ("distilled", "pruned") if stage else ("teacher", "pretrained")
        lineage = {"stage": stage, "phase": phase, "origin": origin, **parent}
        sizes = {"kept": kept, "params": round(32e9 * kept)}
        scores = {"task_f1": round(0.8 * kept**0.1, 3), "task_f1_se": 0.005, "task_f1_n": 10000}
        writer.writerow({**_EXAMPLE, "run_id": f"example-{stage}", **lineage, **sizes, **scores})
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
    except FileExistsError:
        raise RunLogError(f"{path} exists; name a new file for the template.") from None
    return path


def _ask_for_suffix(path: Path, *suffixes: str) -> None:
    if path.suffix.lower() not in suffixes:
        raise RunLogError(f"{path}: the name must end in {' or '.join(suffixes)}.")
