"""What a sweep adds to its jobs: the same commands through it and in a shell loop, turn about.

``python -m tests.benchmarks.sweep_overhead [--jobs N] [--seconds S] [--rounds R]``
``python -m tests.benchmarks.sweep_overhead --chains N [--epochs E] [--rounds R] [--set A.B=C]``

A stand-in job burns a fixed processor time. What a sweep adds to a job does not depend on the job's
length, so short jobs measure it best; ``of a minute`` is its share of a job of one minute.

With ``--chains`` the jobs are ``distill run`` of the toy's chains, alike but for the seed, which
the epochs make about a minute long; each way begins with an empty folder. What the sweep does
before the first job begins, the names of all stages, is in its time; its imports are not.

Beside the wall-clock time, which other programs disturb, stands the processor time that all
processes took.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from experiments.backends.local import Local
from experiments.engine import Sweep
from experiments.jobs import Job
from experiments.table import Table

_BURN = "import sys, time\nwhile time.process_time() < float(sys.argv[1]): sum(range(10000))"
_MINUTE = 60.0
_EPOCHS = 100.0
# What `Local` sets, so that both ways compute alike.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1",
    "CUDA_VISIBLE_DEVICES": "",
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What is done both ways.

    Parameters
    ----------
    name : str
    prepare : callable
        Puts into a folder what jobs read, before the clock runs.
    jobs : callable
        The jobs of a folder.
    """

    name: str
    prepare: Callable[[Path], None]
    jobs: Callable[[Path], list[Job]]


def stand_ins(count: int, seconds: float) -> Work:
    command = (sys.executable, "-S", "-c", _BURN, str(seconds))
    return Work(
        f"{count} jobs of {seconds:g} s",
        lambda folder: None,
        lambda folder: [Job(f"job-{i}", command) for i in range(count)],
    )


def chains(count: int, epochs: float, overrides: Sequence[str] = ()) -> Work:
    from experiments.chains import job_of
    from experiments.grids import tiny
    from experiments.sweep import make_toy

    def jobs(folder: Path) -> list[Job]:
        runs = []
        for seed in range(count):
            own = [f"train.epochs={epochs}", *overrides, f"seed={seed}"]
            runs += tiny(folder, examples=(128,), formats=("label",), overrides=own)
        return [job_of(run, folder / "configs") for run in runs]

    return Work(f"{count} chains of the toy, {epochs:g} epochs", make_toy, jobs)


def shell_loop(folder: Path, work: Work) -> Callable[[], None]:
    """One command after the other until one fails, as a loop over them does."""
    lines = [f"{shlex.join(job.command)} </dev/null\n" for job in work.jobs(folder)]
    (folder / "commands").write_text("".join(lines))
    environment = {**os.environ, **_ENVIRONMENT}

    def do() -> None:
        with (folder / "log").open("wb") as log:
            command = ["sh", "-e", str(folder / "commands")]
            subprocess.run(command, check=True, env=environment, stdout=log, stderr=log)

    return do


def sweep(folder: Path, work: Work) -> Callable[[], None]:
    def do() -> None:
        local = Local(1, threads=1)
        assert Sweep(folder, work.jobs(folder), local, table=Table(io.StringIO())).run()

    return do


def measured(way: Callable[[Path, Work], Callable[[], None]], work: Work) -> tuple[float, float]:
    """Return wall-clock and processor seconds, those of all children included."""

    def processor() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(u.ru_utime + u.ru_stime for u in used)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work.prepare(folder)
        do = way(folder, work)
        wall, cpu = time.perf_counter(), processor()
        do()
        return time.perf_counter() - wall, processor() - cpu


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--chains", type=int, default=0, help="real ones in place of stand-ins")
    parser.add_argument("--epochs", type=float, default=_EPOCHS, help="of a chain")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", dest="overrides")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    if options.chains:
        count = options.chains
        work = chains(count, options.epochs, options.overrides)
    else:
        count = options.jobs
        work = stand_ins(count, options.seconds)
    ways = {"loop": shell_loop, "sweep": sweep}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for i in range(options.rounds):
        # The later one finds more in the system's cache, so they change places.
        for name in sorted(ways, reverse=i % 2 == 1):
            times[name].append(measured(ways[name], work))
    print(f"{work.name}, median of {options.rounds} rounds")
    print(f"{'':12}{'loop s':>9}{'sweep s':>9}{'ratio':>9}{'added s a job':>15}{'of a minute':>13}")
    for place, name in enumerate(("wall", "processor")):
        loop, through = (median(t[place] for t in times[way]) for way in ("loop", "sweep"))
        added = (through - loop) / count
        print(
            f"{name:12}{loop:9.2f}{through:9.2f}{through / loop:9.4f}{added:15.3f}"
            f"{added / _MINUTE:13.2%}"
        )


if __name__ == "__main__":
    main()
