"""The sweep: does every job once, whatever is killed, and keeps what is known in its folder.

All of its memory is the files of the attempts (see `experiments.jobs`) and the run log, so that a
sweep that was killed goes on where it was.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from filelock import FileLock, Timeout

from .backends import Backend
from .jobs import Attempt, End, Job, load_jobs, save_jobs
from .rows import RunRows
from .table import Table, View

__all__ = ["FOLDER", "LOG", "Sweep", "SweepError", "look"]

FOLDER = "sweep"
"""Name of the sweep's folder in the output folder."""

LOG = "runs.jsonl"
"""Name of the run log in the output folder."""

_LOSSES = 3


class SweepError(RuntimeError):
    """A sweep cannot go on."""


@dataclass
class _State:
    waiting: dict[str, Job] = field(default_factory=dict)
    running: dict[str, Attempt] = field(default_factory=dict)
    done: dict[str, End] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class Sweep:
    """Jobs of one output folder.

    Parameters
    ----------
    out : Path
        Output folder; the sweep's own files are in ``sweep``, the run log is ``runs.jsonl``.
    jobs : sequence of Job
        In the order in which they begin.
    backend : Backend
        Where they run.
    retry : bool
        Begin those again that failed before.
    give_up_after : int
        Begin nothing more after so many failures with no success between them.
    table : Table, optional
        Where progress is shown.
    """

    def __init__(
        self,
        out: Path,
        jobs: Sequence[Job],
        backend: Backend,
        *,
        retry: bool = False,
        give_up_after: int = 5,
        table: Table | None = None,
    ) -> None:
        self.folder = out.absolute() / FOLDER
        self.jobs = {job.name: job for job in jobs}
        if len(self.jobs) < len(jobs):
            raise ValueError("Two jobs have one name; each needs a name of its own.")
        self.backend, self.retry, self.table = backend, retry, table or Table()
        self.rows = RunRows(out / LOG)
        self.give_up_after, self._failures = give_up_after, 0
        self._losses: dict[str, int] = {}
        self._there: set[str] = set()
        self._stopped_by: int | None = None
        self._asked: set[str] = set()
        self.state = _State()

    def run(self) -> bool:
        """Do what is left to do.

        Returns
        -------
        bool
            Whether every job is done.

        Raises
        ------
        SweepError
            If another sweep works in this folder.
        KeyboardInterrupt
            After SIGINT, SIGTERM or SIGHUP, when all jobs have ended.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone(), self._signals():
            self._keep_running()
            save_jobs(self.folder / "jobs.json", list(self.jobs.values()))
            try:
                self._find_state()
                self._loop()
            finally:
                self.backend.close()
                self.table.close(self.view())
        if self._stopped_by is not None:
            raise KeyboardInterrupt
        return len(self.state.done) == len(self.jobs)

    def view(self) -> View:
        """Return what there is to see."""
        state = self.state
        running = {name: attempt.age for name, attempt in state.running.items()}
        return View(
            done=len(state.done),
            running=running,
            failed=dict(state.failed),
            waiting=len(state.waiting),
            left=_time_left(self.jobs, state, running),
        )

    def _keep_running(self) -> None:
        """Watch what still runs of a sweep of other jobs in this folder."""
        path = self.folder / "jobs.json"
        for job in load_jobs(path) if path.exists() else ():
            if job.name not in self.jobs:
                _, attempt, _ = look(job, self.folder, self.rows)
                if attempt is not None and attempt.alive:
                    self.jobs[job.name] = job

    def _find_state(self) -> None:
        for name, job in self.jobs.items():
            kind, attempt, end = look(job, self.folder, self.rows)
            if kind == "running" and attempt is not None:
                place = attempt.place.get("backend", self.backend.name)
                if place != self.backend.name and attempt.alive:
                    raise SweepError(f"{name} still runs there: write --backend {place}.")
                if place == self.backend.name and self.backend.adopt(attempt):
                    self.state.running[name] = attempt
                    self.table.event(f"goes on   {name}")
                    continue
                attempt.close("gone")
                # It may have ended by itself just now.
                kind, attempt, end = look(job, self.folder, self.rows)
            if kind == "done":
                self.state.done[name] = end or End("done")
            elif kind == "failed" and not self.retry and attempt is not None and end is not None:
                self._fail(attempt, end.error)
            else:
                self.state.waiting[name] = job

    def _loop(self) -> None:
        while self.state.running or (self.state.waiting and not self._ending):
            for attempt in list(self.state.running.values()):
                if self.backend.poll(attempt) != "running":
                    self._settle(attempt)
            if self._stopped_by is not None:
                self._stop()
            elif not self._ending:
                self._start()
            self.table.show(self.view)
            if self.state.running:
                time.sleep(self.backend.interval)

    def _stop(self) -> None:
        for name, attempt in self.state.running.items():
            if name not in self._asked:
                self._asked.add(name)
                attempt.ask_to_stop()
                self.backend.cancel(attempt)

    @property
    def _ending(self) -> bool:
        return self._stopped_by is not None or self._failures >= self.give_up_after

    def _start(self) -> None:
        """Begin jobs for which there is room, unless a running one makes what they need too."""
        if not self.state.waiting or self.backend.room([0]) == 0:
            return
        pending = self._pending(self.state.running)
        ready: list[Job] = []
        for job in self.state.waiting.values():
            if pending.isdisjoint(job.makes):
                ready.append(job)
                pending |= self._undone(job)
        count = self.backend.room([job.gpus for job in ready])
        attempts = []
        for job in ready[:count]:
            attempt = Attempt.new(job, self.folder / "jobs" / job.name, self.rows.size)
            attempts.append(attempt)
            self.state.running[job.name] = attempt
            del self.state.waiting[job.name]
        if attempts:
            self.backend.submit(attempts)
        for attempt in attempts:
            self.table.event(f"started   {attempt.job.name}")

    def _pending(self, running: dict[str, Attempt]) -> set[str]:
        return {path for attempt in running.values() for path in self._undone(attempt.job)}

    def _undone(self, job: Job) -> set[str]:
        undone = set()
        for path in job.makes:
            if path not in self._there:
                if os.path.exists(path):
                    self._there.add(path)
                else:
                    undone.add(path)
        return undone

    def _settle(self, attempt: Attempt) -> None:
        """Sort a job that ended."""
        job, end = attempt.job, attempt.end()
        del self.state.running[job.name]
        assert end is not None  # a backend closes what ended without a word
        if end.kind == "done" and (missing := self.rows.missing(job)):
            end = End("failed", f"ended well, but {missing[0]} is not in {self.rows.path}")
        if end.kind == "gone":
            self._losses[job.name] = self._losses.get(job.name, 0) + 1
            if self._losses[job.name] >= _LOSSES:
                end = End("failed", f"lost {_LOSSES} times with what it ran on")
        if end.kind == "done":
            self._failures = 0
            self.state.done[job.name] = end
            self.table.event(f"done      {job.name} in {end.seconds:.0f} s")
        elif end.kind == "failed":
            self._failures += 1
            self._fail(attempt, end.error)
            if self._failures == self.give_up_after:
                self.table.event(f"{self._failures} failures in a row: nothing more is begun.")
        else:
            self.state.waiting = {job.name: job, **self.state.waiting}
            self.table.event(f"{end.kind:<9} {job.name}")

    def _fail(self, attempt: Attempt, error: str) -> None:
        tail = attempt.tail()
        self.state.failed[attempt.job.name] = error
        text = f"{error}\n{tail}" if tail else error
        if attempt.job.rows:
            self.rows.failed(attempt, attempt.log_size, text)
        shown = "\n".join(f"    {line}" for line in text.splitlines())
        self.table.event(f"failed    {attempt.job.name} (log: {attempt.log})\n{shown}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock, owner = FileLock(self.folder / "lock"), self.folder / "pid"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            number = owner.read_text("utf-8") if owner.exists() else "unknown"
            raise SweepError(
                f"Process {number} sweeps in {self.folder.parent}. See it with `status`, or stop "
                "it with SIGTERM first."
            ) from None
        try:
            owner.write_text(str(os.getpid()), encoding="utf-8")
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let the first signal stop the jobs in order; a second one ends this process."""
        before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

        def stop(number: int, frame: object) -> None:
            self._stopped_by = number
            restore()

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        for number in before:
            signal.signal(number, stop)
        try:
            yield
        finally:
            restore()


def look(job: Job, folder: Path, rows: RunRows) -> tuple[str, Attempt | None, End | None]:
    """Say from its files how a job stands, and its last attempt.

    Returns
    -------
    str
        ``waiting``, ``running`` (it began, and may have been killed since), ``done`` or ``failed``.
    Attempt or None
    End or None
    """
    attempts = Attempt.all_of(job, folder / "jobs" / job.name)
    last = attempts[-1] if attempts else None
    end = last.end() if last is not None else None
    if job.rows and not rows.missing(job) and (last is None or end is not None):
        return "done", last, End("done") if end is None or end.kind != "done" else end
    if last is None:
        return "waiting", None, None
    if end is None:
        return "running", last, None
    if end.kind == "failed" or (end.kind == "done" and not job.rows):
        return end.kind, last, end
    return "waiting", last, end


def _time_left(jobs: dict[str, Job], state: _State, running: dict[str, float]) -> float | None:
    """Seconds until the end at the speed so far; None before the first job is done."""
    # The first job makes what the others share; the median does not mind.
    rates = [end.seconds / jobs[name].size for name, end in state.done.items() if end.seconds]
    if not rates:
        return None
    rate = median(rates)
    left = sum(job.size for job in state.waiting.values()) * rate
    left += sum(max(jobs[name].size * rate - seen, 0.0) for name, seen in running.items())
    return left / max(len(running), 1)
