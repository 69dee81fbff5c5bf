"""What a sweep adds to its jobs: the same commands through it and in a shell loop, turn about.

``python -m tests.benchmarks.sweep_overhead [--jobs N] [--seconds S] [--rounds R]``

A stand-in job burns a fixed processor time. What a sweep adds to a job does not depend on the job's
length, so short jobs measure it best; the last column is its share of a job of one minute. Beside
the wall-clock time, which other programs disturb, stands the processor time that all processes
took.
"""

from __future__ import annotations

import argparse
import io
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from experiments.backends.local import Local
from experiments.engine import Sweep
from experiments.jobs import Job
from experiments.table import Table

_BURN = "import sys, time\nwhile time.process_time() < float(sys.argv[1]): sum(range(10000))"
_MINUTE = 60.0


def command(seconds: float) -> list[str]:
    return [sys.executable, "-S", "-c", _BURN, str(seconds)]


def shell_loop(jobs: int, seconds: float) -> None:
    numbers = " ".join(map(str, range(jobs)))
    loop = f"for i in {numbers}; do {shlex.join(command(seconds))}; done"
    subprocess.run(["sh", "-c", loop], check=True)


def sweep(jobs: int, seconds: float) -> None:
    listed = [Job(f"job-{i}", tuple(command(seconds))) for i in range(jobs)]
    with tempfile.TemporaryDirectory() as folder:
        assert Sweep(Path(folder), listed, Local(1), table=Table(io.StringIO())).run()


def measured(do: Callable[[int, float], None], jobs: int, seconds: float) -> tuple[float, float]:
    """Return wall-clock and processor seconds, those of all children included."""

    def processor() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(u.ru_utime + u.ru_stime for u in used)

    wall, cpu = time.perf_counter(), processor()
    do(jobs, seconds)
    return time.perf_counter() - wall, processor() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    times: dict[str, list[tuple[float, float]]] = {"loop": [], "sweep": []}
    for _ in range(options.rounds):
        times["loop"].append(measured(shell_loop, options.jobs, options.seconds))
        times["sweep"].append(measured(sweep, options.jobs, options.seconds))
    print(f"{options.jobs} jobs of {options.seconds:g} s, median of {options.rounds} rounds")
    print(f"{'':12}{'loop s':>9}{'sweep s':>9}{'added s a job':>15}{'of a minute':>13}")
    for place, name in enumerate(("wall", "processor")):
        loop, through = (median(t[place] for t in times[way]) for way in ("loop", "sweep"))
        added = (through - loop) / options.jobs
        print(f"{name:12}{loop:9.2f}{through:9.2f}{added:15.3f}{added / _MINUTE:13.2%}")


if __name__ == "__main__":
    main()
