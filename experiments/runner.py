"""Run one attempt of a job: claim it, keep its output, write how it ended.

Started as a script, by file name, in a process of its own, so that a job outlives the sweep that
started it and its end is known even if nobody watched. Files of the attempt's folder:

- ``claim.json``: who does it; made once, so that no attempt is done twice or after it was closed;
  touched again and again while it lasts, for other machines to see
- ``log.txt``: all that the job prints
- ``exit.json``: how it ended; made once

Imports nothing of the project, and starts in a fiftieth of a second.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["BEAT_S", "LIFELINE", "MARK", "kill", "main", "remnants", "write_once"]

MARK = "SCALING_LAWS_ATTEMPT"
"""Environment variable that all processes of an attempt inherit: its folder."""

BEAT_S = 15.0
"""Seconds between two signs of life."""

LIFELINE = "lifeline"
"""What ``stopped_by`` says where the process that started the runner is no more."""

_GRACE_S = 20
_LOOK_S = 1.0
# ru_maxrss is in bytes on macOS and in KiB elsewhere.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def write_once(path: Path, content: Mapping[str, Any]) -> bool:
    """Make a file that is whole whenever it is there; False if somebody else made it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def remnants(folder: Path) -> list[int]:
    """Return the processes of an attempt that still run, this one apart."""
    import psutil  # slow to import, and wanted after accidents only

    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == str(folder):
                found.append(process.pid)
        except (psutil.Error, OSError):  # ended meanwhile, or another user's
            continue
    return found


class _Attempt:
    """The job's process, and what signals do to it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped_by: str | None = None

    def stop(self, number: int, frame: object) -> None:
        """Ask the job to end, and insist after a while."""
        self.stopped_by = self.stopped_by or signal.Signals(number).name
        signal.alarm(_GRACE_S)
        self.send(signal.SIGTERM)

    def insist(self, number: int, frame: object) -> None:
        self.send(signal.SIGKILL)

    def send(self, number: int) -> None:
        """Send a signal to the process group of the job, which is its own."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return


def main(arguments: Sequence[str] | None = None) -> int:
    """Do it; the exit code is 0 whenever the end was written down."""
    parser = argparse.ArgumentParser(description="Run one attempt of a job.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lifeline", action="store_true", help="stop when standard input closes")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    folder, attempt = options.folder, _Attempt()
    signal.signal(signal.SIGTERM, attempt.stop)
    signal.signal(signal.SIGINT, attempt.stop)
    signal.signal(signal.SIGUSR2, attempt.stop)  # of Slurm, before a time limit
    signal.signal(signal.SIGALRM, attempt.insist)
    claim = {"by": "runner", "pid": os.getpid(), "host": socket.gethostname(), "at": time.time()}
    if not write_once(folder / "claim.json", claim):
        return 0  # closed before it began, or begun already
    threading.Thread(target=_beat, args=(folder,), daemon=True).start()
    if options.lifeline:
        threading.Thread(target=_watch_lifeline, args=(attempt,), daemon=True).start()
    began = time.time()
    code, error = _run(attempt, folder, options.command)
    if code is None or code < 0 or attempt.stopped_by:
        for pid in remnants(folder):  # such as workers of torchrun, in sessions of their own
            kill(pid)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = {
        "code": code,
        "error": error,
        "stopped_by": attempt.stopped_by,
        "began": began,
        "ended": time.time(),
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "max_rss": usage.ru_maxrss * _RSS_UNIT,
    }
    write_once(folder / "exit.json", ended)
    return 0


def _run(attempt: _Attempt, folder: Path, command: Sequence[str]) -> tuple[int | None, str | None]:
    with (folder / "log.txt").open("ab") as log:
        try:
            attempt.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, MARK: str(folder)},
            )
        except OSError as error:
            return None, str(error)
        if attempt.stopped_by:  # between the claim and the start
            attempt.send(signal.SIGTERM)
        return attempt.process.wait(), None


def _beat(folder: Path) -> None:
    """Give signs of life, and look whether the sweep wants an end of it."""
    last, stop = time.monotonic(), False
    while not stop:
        time.sleep(_LOOK_S)
        try:
            if time.monotonic() - last > BEAT_S:
                last = time.monotonic()
                os.utime(folder / "claim.json")
            stop = (folder / "stop").exists()
        except OSError:  # of a shared file system; silence would say that the job is dead
            continue
    os.kill(os.getpid(), signal.SIGTERM)


def _watch_lifeline(attempt: _Attempt) -> None:
    sys.stdin.buffer.read()
    attempt.stopped_by = LIFELINE
    os.kill(os.getpid(), signal.SIGTERM)


def kill(pid: int) -> None:
    """End a process that may have ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


if __name__ == "__main__":
    raise SystemExit(main())
