"""The run log as a sweep sees it: which rows are there, and a row for what was killed."""

from __future__ import annotations

import json
from pathlib import Path

from scaling_laws.runs import append_run

from .jobs import Attempt, Job

__all__ = ["RunRows"]

# Seconds that another writer may hold the log.
_LOCK_S = 60.0


class RunRows:
    """Rows of a run log.

    Parameters
    ----------
    path : Path
        A file that may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state: tuple[int, int] | None = None
        self._names: set[str] = set()

    @property
    def size(self) -> int:
        """Bytes of the log."""
        return self.path.stat().st_size if self.path.exists() else 0

    def names(self, since: int = 0) -> list[str]:
        """Return the run ids of whole lines, those that begin after so many bytes."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as stream:
            stream.seek(since)
            lines = stream.read().splitlines()
        found = []
        for line in lines:
            try:
                found.append(str(json.loads(line)["run_id"]))
            except (ValueError, KeyError, TypeError):  # a torn line; read_runs reports it
                continue
        return found

    def missing(self, job: Job) -> list[str]:
        """Return the rows of a job that are not there yet."""
        if not job.rows:
            return []
        state = (self.size, self.path.stat().st_mtime_ns if self.path.exists() else 0)
        if state != self._state:
            self._state, self._names = state, set(self.names())
        return [row for row in job.rows if row not in self._names]

    def failed(self, attempt: Attempt, since: int, error: str) -> None:
        """Write a row for a failed attempt, unless its program wrote one itself."""
        job = attempt.job
        prefix = f"{job.rows[0].rpartition('/')[0]}/"
        own = [n for n in self.names(since) if n.startswith(prefix) and ".failed-" in n]
        missing = self.missing(job)
        if own or not missing:
            return
        stage, _, phase = missing[0].removeprefix(prefix).partition("-")
        before = sum(n.startswith(f"{missing[0]}.failed-") for n in self.names())
        row = {
            **job.about,
            "run_id": f"{missing[0]}.failed-{before + 1}",
            "stage": int(stage),
            "phase": phase,
            "status": "failed",
            "error": error,
        }
        append_run(self.path, row, timeout=_LOCK_S)
