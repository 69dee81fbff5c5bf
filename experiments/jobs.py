"""What a sweep does: jobs, their attempts in a folder each, and how an attempt ended."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from distill.files import write_whole

from .runner import BEAT_S, LIFELINE, MARK, kill, remnants, write_once

__all__ = ["Attempt", "End", "Job", "load_jobs", "save_jobs"]

_TAIL = 20
_SILENT = 8
_RUNNER = Path(__file__).with_name("runner.py")


@dataclass(frozen=True)
class Job:
    """A command that a sweep does once.

    Parameters
    ----------
    name : str
        Unique in its sweep; also the name of its folder.
    command : tuple of str
    gpus : int
        GPUs that it needs at the same time, on one machine.
    makes : tuple of str
        Files that it makes on its way if they are not there: two jobs that make the same file do
        not run at the same time before it is there.
    rows : tuple of str
        Run ids of the rows that the log must have when it is done, in the order of their making.
    about : mapping
        Fields of the row that says of a failed attempt what it was.
    size : float
        Its length relative to other jobs, for the time left.
    """

    name: str
    command: tuple[str, ...]
    gpus: int = 0
    makes: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    size: float = 1.0


def save_jobs(path: Path, jobs: Sequence[Job]) -> None:
    """Write the jobs of a sweep, for `load_jobs`."""
    write_whole(path, json.dumps([asdict(job) for job in jobs], indent=1).encode())


def load_jobs(path: Path) -> list[Job]:
    """Read the jobs that a sweep has."""
    values = json.loads(path.read_text("utf-8"))
    texts = ("command", "makes", "rows")
    return [Job(**{k: tuple(v) if k in texts else v for k, v in job.items()}) for job in values]


@dataclass(frozen=True)
class End:
    """How an attempt ended.

    Parameters
    ----------
    kind : {"done", "failed", "stopped", "gone"}
        ``stopped`` by the sweep itself, ``gone`` with the machine or process that held it: both
        are begun again without being asked.
    error : str
        What a failed attempt failed of; else empty.
    seconds, cpu_s : float
        Wall-clock and processor time; 0 where nobody could measure.
    """

    kind: str
    error: str = ""
    seconds: float = 0.0
    cpu_s: float = 0.0


@dataclass(frozen=True)
class Attempt:
    """One try of a job; the files of its folder are all that is known of it.

    Parameters
    ----------
    job : Job
    folder : Path
        Absolute.
    """

    job: Job
    folder: Path

    @classmethod
    def all_of(cls, job: Job, folder: Path) -> list[Attempt]:
        """Return the attempts in a job's folder, the last one at the end."""
        numbers = sorted(int(p.name) for p in folder.glob("*") if p.name.isdecimal())
        return [cls(job, folder / str(n)) for n in numbers]

    @classmethod
    def new(cls, job: Job, folder: Path, log_size: int = 0) -> Attempt:
        """Make the folder of another attempt, which finds the run log at a size."""
        before = cls.all_of(job, folder)
        path = folder / str(1 + (int(before[-1].folder.name) if before else 0))
        path.mkdir(parents=True)
        write_once(path / "start.json", {"log_size": log_size})
        return cls(job, path)

    @property
    def log_size(self) -> int:
        """Bytes that the run log had when it began."""
        return (_read(self.folder / "start.json") or {}).get("log_size", 0)

    def runner(self, *options: str) -> list[str]:
        """Return the command of the runner, which does the job's."""
        return [sys.executable, "-P", str(_RUNNER), *options, str(self.folder), *self.job.command]

    @property
    def log(self) -> Path:
        """What the job printed."""
        return self.folder / "log.txt"

    @property
    def claim(self) -> Mapping[str, Any] | None:
        """Who does it, if somebody began."""
        return _read(self.folder / "claim.json")

    @property
    def place(self) -> Mapping[str, Any]:
        """Where a backend put it: ``backend``, and what this needs to find it again."""
        return _read(self.folder / "place.json") or {}

    @property
    def alive(self) -> bool:
        """Whether its runner runs: a process of this machine, or one that gave a sign lately."""
        claim = self.claim
        if self.ended or claim is None or "pid" not in claim:
            return False
        if claim["host"] != socket.gethostname():
            beat = (self.folder / "claim.json").stat().st_mtime
            return time.time() - beat < _SILENT * BEAT_S
        try:
            # The number may be another process's by now; the mark is of this attempt alone. What
            # has ended and was not waited for has no environment.
            return psutil.Process(claim["pid"]).environ().get(MARK) == str(self.folder)
        except psutil.Error:
            return False

    @property
    def age(self) -> float:
        """Seconds since its runner began; 0 if it did not."""
        claim = self.claim or {}
        return time.time() - claim["at"] if "at" in claim else 0.0

    def put(self, **place: Any) -> None:
        """Remember where it was put."""
        write_whole(self.folder / "place.json", json.dumps(place).encode())

    def close(self, how: str) -> None:
        """Declare it ended from outside: one that did not begin never will.

        What its runner left on this machine, if that was killed, is killed too.
        """
        write_once(self.folder / "claim.json", {"by": "sweep"})
        for pid in remnants(self.folder):
            kill(pid)
        write_once(self.folder / "exit.json", {"closed": how})

    def ask_to_stop(self) -> None:
        """Note that the sweep stops it, so that this counts as no failure."""
        (self.folder / "stop").touch()

    @property
    def ended(self) -> bool:
        """Whether it is known how it ended."""
        return (self.folder / "exit.json").exists()

    def end(self) -> End | None:
        """Return how it ended, as far as its own folder tells; None while it has not."""
        found = _read(self.folder / "exit.json")
        if found is None:
            return None
        asked = (self.folder / "stop").exists()
        if "closed" in found:
            kind = "gone" if found["closed"] == "gone" else "stopped" if asked else "failed"
            return End(kind, found["closed"])
        times = {"seconds": found["ended"] - found["began"], "cpu_s": found["cpu_s"]}
        if found["code"] == 0:
            return End("done", **times)
        if found["stopped_by"] and asked:
            return End("stopped", **times)
        if found["stopped_by"] == LIFELINE or (found["stopped_by"] and self.place.get("lost")):
            return End("gone", **times)
        return End("failed", self._why(found), **times)

    @property
    def interrupted(self) -> bool:
        """Whether it was ended by a signal that the sweep did not send."""
        found, asked = _read(self.folder / "exit.json") or {}, (self.folder / "stop").exists()
        return bool(found.get("stopped_by")) and not asked

    def tail(self, lines: int = _TAIL) -> str:
        """Return the last lines that the job printed."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as stream:
            stream.seek(max(0, self.log.stat().st_size - 200 * lines))
            text = stream.read().decode("utf-8", "replace")
        return "\n".join(text.rstrip().splitlines()[-lines:])

    def _why(self, found: Mapping[str, Any]) -> str:
        code = found["code"]
        if found["stopped_by"]:
            return f"stopped from outside by {found['stopped_by']}"
        if code is None:
            return f"did not start: {found['error']}"
        if code < 0:
            hint = "; the system does this when memory runs out" if code == -9 else ""
            return f"killed by signal {-code}{hint}"
        return f"exit code {code}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
