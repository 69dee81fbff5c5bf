"""A log of distillation runs, split into the grid of students and the arms beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import scaling_laws as sl
from scaling_laws.runs import RunLog

__all__ = ["CELL", "GENERAL", "GRID", "LEVEL", "TASK", "Parts", "read"]

LEVEL = 0.9
"""Level of every interval, unless a line says another."""

TASK, GENERAL = "task_f1", "quiz"
"""The two scores with a floor, of which retention is defined."""

GRID = {
    "phase": "distilled", "origin": "pruned", "schedule": "iterative", "method": "full",
    "format": "label", "extra": "",
}  # fmt: skip
"""What a student of the grid has, but for its format; what a log without a column means."""

CELL = ("phase", "format", "examples", "schedule", "method", "origin", "extra", "kept")
"""Rows that are alike in these differ in their seed alone."""

# Words of a chain's name that columns of its rows say too.
_SAID = re.compile(r"one-shot|lora|random")


@dataclass(frozen=True, eq=False)
class Parts:
    """A log and what its rows are.

    Parameters
    ----------
    log : RunLog
        All accepted rows, with every column of `CELL`. ``extra`` is what the name of a chain says
        beyond its columns, such as ``replay``.
    """

    log: RunLog

    @cached_property
    def done(self) -> RunLog:
        """Rows that did not fail."""
        return self.log.select((self.log.frame["status"] != "failed").to_numpy(dtype=bool))

    @cached_property
    def students(self) -> RunLog:
        """Distilled students of the grid: iterative pruning, all weights, nothing extra."""
        return self.done.select(self.is_student)

    @staticmethod
    def is_student(frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which rows are of the grid."""
        wanted = [frame[k] == v for k, v in GRID.items() if k != "format"]
        return np.logical_and.reduce([w.to_numpy(dtype=bool) for w in wanted])

    @cached_property
    def teachers(self) -> pd.DataFrame:
        """A row for each format in which the teacher was scored."""
        rows = self.done.frame[self.done.frame["phase"] == "teacher"]
        return rows.drop_duplicates("format")

    @cached_property
    def formats(self) -> tuple[str, ...]:
        """Formats of the grid; label, from which the others differ by reasoning, last."""
        seen = sorted(self.students.frame["format"].dropna().astype(str).unique())
        return (*(f for f in seen if f != "label"), *(f for f in seen if f == "label"))

    def levels(self, column: str) -> list[float]:
        """Sorted values of a column among the students of the grid."""
        if column not in self.students.frame:
            return []
        values = self.students.frame[column].dropna().astype(float)
        return sorted(float(v) for v in values.unique())


def read(path: str | Path) -> Parts:
    """Read a log.

    Raises
    ------
    RunLogError
        For a file that is no log.
    """
    log = sl.read_runs(path)
    frame = log.frame.copy()
    for name, usual in {**GRID, "status": "ok", "seed": 0.0}.items():
        if name not in frame and name != "extra":
            frame[name] = usual
    for name in ("examples", "kept"):
        if name not in frame:
            frame[name] = float("nan")
    frame["extra"] = _extra(frame)
    return Parts(replace(log, frame=frame))


def _extra(frame: pd.DataFrame) -> list[str]:
    """Return what follows the number of examples in each chain's name, less what columns say."""
    if "chain_id" not in frame:
        return [""] * len(frame)
    hashes = frame["config_hash"] if "config_hash" in frame else [None] * len(frame)
    out: list[str] = []
    for chain, code in zip(frame["chain_id"], hashes, strict=True):
        name = re.sub(rf"-{re.escape(str(code))}-s\d+$", "", str(chain))
        _, _, rest = name.partition(_number(name))
        words = _SAID.sub("", rest)
        out.append("-".join(w for w in words.split("-") if w))
    return out


def _number(name: str) -> str:
    """Return the part of a name that says the examples, or all of the name."""
    found = re.search(r"-n\d+(?=-|$)", name)
    return found.group() if found else name
