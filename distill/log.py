"""The log of runs: a row is written once, and a second one of its name must say the same."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from filelock import FileLock

from scaling_laws.metrics import Metric
from scaling_laws.runs import Run, RunLogError, append_run

from .files import not_written

__all__ = ["Log"]

# Parts of a second and longer that another writer may hold the log.
_LOCK_S = 60.0
# What two rows of one model may differ in: clocks, who computed it, and the file of its answers,
# which holds every digit of what the scores say. A parent is named after the models that were
# scored, for which `evaluate.pruned` decides.
_CIRCUMSTANCES = {
    "answer_s", "code_version", "cpu_s", "gpu_hours", "items", "items_sha256", "machine",
    "parent_id", "schema_version", "wall_s",
}  # fmt: skip
# A stage that is done anew adds float32 numbers in another order.
_ROUNDING = 1e-4


class Log:
    """A log file that the processes of a chain share.

    Parameters
    ----------
    path : Path
    accelerator : Accelerator
        The first process writes rows; any process writes what failed.
    report : callable
        Called with a line of text for each row.
    metrics : sequence of Metric
        Beside those that the schema knows.
    """

    def __init__(
        self,
        path: Path,
        accelerator: Accelerator,
        report: Callable[[str], None],
        metrics: Sequence[Metric],
    ) -> None:
        self.path, self.main, self.report = path, accelerator.is_main_process, report
        self.metrics = metrics
        self.earlier = self._failed()
        accelerator.wait_for_everyone()  # else one could fail before another knows the earlier ones

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a row, unless the log has it.

        Raises
        ------
        ValueError
            If the log has one of its name that says other.
        StorageError
            If it can't be written.
        """
        if not self.main:
            return
        try:
            # Two calls for one chain know the scores of a student at the same time.
            with FileLock(f"{self.path}.add.lock", timeout=_LOCK_S):
                logged = self._rows().get(row["run_id"])
                if logged is None:
                    append_run(self.path, row, metrics=self.metrics, timeout=_LOCK_S)
        except OSError as error:
            raise not_written(self.path, error) from error
        if logged is not None:
            self._compare(row, logged)
            return
        shown = {m: row[m] for m in ("task_f1", "task_nll", "quiz") if m in row}
        scores = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
        self.report(f"{row['run_id']}: kept {row['kept']:.3f}, {scores}")

    def _compare(self, row: Mapping[str, Any], logged: Mapping[str, Any]) -> None:
        """Refuse a row that says of its model other than the log does.

        A field that only one of them has is of another version.
        """
        run = Run.model_validate(row, context={"metrics": tuple(self.metrics)})
        now = run.model_dump(exclude_none=True)
        other = [
            f"{name} = {logged[name]!r} there, {now[name]!r} now"
            for name in sorted((now.keys() & logged.keys()) - _CIRCUMSTANCES)
            if not _same(now[name], logged[name])
        ]
        if other:
            raise ValueError(
                f"{self.path} has {row['run_id']} with other results: {'; '.join(other)}. What the "
                "names in the configuration stand for (data, teacher, student, texts) has changed "
                "since, or the stages were done anew elsewhere. Use another out, or another name."
            )
        if now.get("parent_id") != logged.get("parent_id"):
            self.report(
                f"{row['run_id']} keeps the parent_id {logged.get('parent_id')} that it was logged "
                "with, when evaluate.pruned was another."
            )

    def failed(self, row: Mapping[str, Any], name: str, error: Exception) -> None:
        """Write a row for what failed: any process may, and of several the first one does."""
        text = f"{type(error).__name__}: {error}"
        chain = f"{row['chain_id']}/"
        try:
            with FileLock(f"{self.path}.failed.lock", timeout=_LOCK_S):
                failed = self._failed()
                if any(other.startswith(chain) for other in failed - self.earlier):
                    return
                number = sum(other.startswith(f"{name}.failed-") for other in failed) + 1
                about = {"run_id": f"{name}.failed-{number}", "status": "failed", "error": text}
                append_run(self.path, {**row, **about}, timeout=_LOCK_S)
        except (OSError, RunLogError) as second:  # the disk that is full may be the log's
            error.add_note(f"The log {self.path} could not be written either: {second}")

    def _failed(self) -> set[str]:
        return {name for name in self._rows() if ".failed-" in name}

    def _rows(self) -> dict[str, dict[str, Any]]:
        """Return the whole lines by run id; `scaling_laws.read_runs` reports torn ones."""
        rows = {}
        lines = self.path.read_text("utf-8").split("\n") if self.path.exists() else []
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                rows[str(row.get("run_id"))] = row
        return rows


def _same(a: Any, b: Any) -> bool:
    """Whether two values are one, or measured numbers that differ by rounding."""
    measured = all(isinstance(value, float) for value in (a, b)) and not (a % 1 == b % 1 == 0)
    return math.isclose(a, b, rel_tol=_ROUNDING, abs_tol=_ROUNDING) if measured else a == b
