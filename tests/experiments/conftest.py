"""Jobs that take no time, each leaving one line in a file that all share.

As distill does with its rows, a job leaves out a line that is there; another line tells if it ever
runs twice at the same time. Beside the file, another one has a line for each time that a job began.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.engine import FOLDER
from experiments.jobs import Job, save_jobs

REPOSITORY = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("driver.py")

# Appending a short line is one write: lines of several processes do not mix.
SCRIPT = """
import fcntl, os, sys, time
name, seconds, log = sys.argv[1], float(sys.argv[2]), sys.argv[3]
def write(text, path=log):
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    os.write(handle, f"{text} {devices} {time.time()}\\n".encode())
write(name, f"{log}-begun")
alone = open(f"{log}.{name}", "w")
try:
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back however it ends
except OSError:
    write(f"overlap-of-{name}")
time.sleep(seconds)
while len(sys.argv) > 4 and not os.path.exists(sys.argv[4]):
    time.sleep(.02)
if not os.path.exists(log) or name not in open(log).read().split():
    write(name)
"""


@pytest.fixture
def burn(tmp_path):
    """Return a function of jobs that sleep, wait until a file is there, and write their name."""

    def make(number, seconds=0.0, log=tmp_path / "log", until=None, **options):
        names = [f"job-{i}" for i in range(number)]
        command = [sys.executable, "-S", "-c", SCRIPT]
        end = [] if until is None else [str(until)]
        return [Job(n, (*command, n, str(seconds), str(log), *end), **options) for n in names]

    return make


@pytest.fixture
def written(tmp_path):
    """Return a function that reads which jobs wrote their line."""

    def read(log=tmp_path / "log"):
        return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []

    return read


@pytest.fixture
def begun(written, tmp_path):
    """Return a function that reads which jobs began, a line each time."""
    return lambda: written(tmp_path / "log-begun")


@pytest.fixture
def marked():
    """Return a function that finds the processes of a folder's attempts, by their mark."""
    import psutil

    from experiments.runner import MARK

    def find(folder):
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK, "").startswith(f"{folder}{os.sep}"):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    return find


@pytest.fixture
def start_driver():
    """Return a function that starts a sweep in a process of its own."""

    def start(out, jobs, workers=2, *options):
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
        save_jobs(out / FOLDER / "wanted.json", jobs)
        return subprocess.Popen(
            [sys.executable, str(DRIVER), str(out), str(workers), *options],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    return start


@pytest.fixture
def wait_for():
    """Return a function that waits until something is so."""

    def wait(condition, seconds=150.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.005)

    return wait
