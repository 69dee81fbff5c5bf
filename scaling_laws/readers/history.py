"""The history of a run, a row a step: gathered into the run, or kept as its checkpoints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from .rules import is_missing, text_of
from .table import Cells, Note, Table, cells_of, show

__all__ = ["gather_history"]


def gather_history(table: Table, checkpoints: bool) -> Table:
    """Return one row a run of a table with a row a step, or the steps of each as one chain.

    A table with a row a run is returned as it is; one without a `run_id` is of one run.
    """
    count = len(table.rows)
    if "run_id" in table.columns:
        codes, distinct = pd.factorize(table.columns["run_id"], use_na_sentinel=True)
    else:
        codes, distinct = np.zeros(count, np.int64), np.array([table.source], dtype=object)
    if count == len(distinct) or (codes < 0).any():
        return table  # a row a run: nothing to gather
    names = [str(name) for name in distinct]
    told = f"{table.source}: {count} steps of {len(names)} run{'s' * (len(names) > 1)}"
    if checkpoints:
        runs = cells_of((names[code] for code in codes), count)
        steps = table.columns["steps"]
        ids = cells_of((f"{r}@{_place(s)}" for r, s in zip(runs, steps, strict=True)), count)
        columns = {**table.columns, "run_id": ids}
        columns.setdefault("chain_id", runs)
        sentence = f"{told} are rows; one chain_id makes those of a run one cluster."
        measured = table.measured
    else:
        frame = pd.DataFrame({n: _nullable(c) for n, c in table.columns.items()}, dtype=object)
        last = frame.groupby(codes).last()
        columns = {str(n): last[n].to_numpy(dtype=object) for n in last.columns}
        columns.setdefault("run_id", cells_of(names, len(names)))
        sentence = (
            f"{told}: the last value of each column is read, as in the tracker's own summary; "
            "checkpoints=True makes each step a row."
        )
        measured = table.measured
        _, at = np.unique(codes[::-1], return_index=True)
        table = replace(table, rows=table.rows[count - 1 - at])
    note = Note("history", "info", sentence)
    return replace(table, columns=columns, measured=measured, notes=(*table.notes, note))


def _nullable(cells: Cells) -> Cells:
    return cells_of((None if is_missing(cell) else cell for cell in cells), len(cells))


def _place(step: object) -> str:
    try:
        return text_of(step) or "none"
    except ValueError:
        return show(step, 20)
