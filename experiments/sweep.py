"""The command ``python -m experiments.sweep``: do a grid, see where it stands, fit its law.

Give the same command again to go on after any interruption; nothing is done twice. Exit code 0: all
done; 1: something failed; 2: bad input; 130: stopped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from filelock import FileLock, Timeout

from .backends import Backend
from .engine import FOLDER, LOG, Sweep, SweepError, look
from .jobs import load_jobs
from .rows import RunRows
from .table import View

__all__ = ["app", "main", "make_toy", "status"]

# Every student has it, and it tells more of a student than its answers do.
_METRIC = "task_nll"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class What(StrEnum):
    """Grids, and the question where one stands."""

    tiny = "tiny"
    small = "small"
    paper = "paper"
    status = "status"


class Place(StrEnum):
    """Backends."""

    local = "local"
    ray = "ray"
    slurm = "slurm"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error that a user can mend is a message and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(args=given, prog_name="experiments.sweep", obj=given)
    except (ValueError, OSError, SweepError) as error:
        print(f"sweep: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("Stopped; the same command goes on.", file=sys.stderr)
        raise SystemExit(130) from None


@app.command()
def sweep(
    context: typer.Context,
    what: Annotated[What, typer.Argument(help="Grid to do, or status.")],
    out: Annotated[Path, typer.Option(help="Folder for models, logs and the run log.")],
    backend: Annotated[Place, typer.Option(help="Where jobs run.")] = Place.local,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Jobs at the same time; a processor or a GPU for each, if none."),
    ] = None,
    devices: Annotated[
        str | None, typer.Option(help="GPUs to use, such as 0,1,2,3; all visible ones, if none.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs of a job, in place of the grid's number.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Begin failed jobs again.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost, and write nothing.")
    ] = False,
    hardware: Annotated[str, typer.Option(help="GPU that --dry-run counts with.")] = "H100",
    detach: Annotated[
        bool, typer.Option("--detach", help="Go on without this terminal; see status.")
    ] = False,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting of all chains.", metavar="A.B=C"),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Folder of the teacher (small, paper).")
    ] = None,
    headlines: Annotated[Path | None, typer.Option(help="File of headlines (paper).")] = None,
    traces: Annotated[Path | None, typer.Option(help="File of reasoning (paper).")] = None,
    again: Annotated[
        list[str] | None,
        typer.Option(
            help="Cell that gets a second seed too (small), such as label-n128.",
            metavar="FORMAT-nEXAMPLES",
        ),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            help="Setting of submitit, such as slurm_partition=gpu; timeout_min=MINUTES (or "
            "slurm_time) is needed.",
            metavar="A=B",
        ),
    ] = None,
) -> None:
    """Do a grid of distillation runs, each chain a job, and fit the law of its log."""
    if what is What.status:
        print("\n".join(status(out)))
        return
    if detach:
        _detach(out, context.obj)
        return
    from . import bill, chains

    given = {"teacher": teacher, "headlines": headlines, "traces": traces}
    options: dict[str, Any] = {"overrides": override or ()}
    if again:
        if what is not What.small:
            raise ValueError(f"--again is for the grid small, not {what}.")
        options["again"] = [_cell(text) for text in again]
    if dry_run:
        # The toy's sizes are those of its model, which a dry run makes elsewhere.
        with TemporaryDirectory() as elsewhere:
            runs = _grid(what, Path(elsewhere), given, gpus, options)
            print(bill.show(runs, hardware))
        return
    runs = _grid(what, out, given, gpus, options)
    jobs = [chains.job_of(run, out.absolute() / FOLDER / "configs") for run in runs]
    place = _backend(backend, out, workers, devices, max(job.gpus for job in jobs), slurm or ())
    done = Sweep(out, jobs, place, retry=retry).run()
    if not done:
        raise SystemExit(1)
    print(_law(out / LOG))


def status(out: Path) -> list[str]:
    """Return lines that say where the sweep of a folder stands, from its files alone."""
    folder, rows = out.absolute() / FOLDER, RunRows(out / LOG)
    if not (folder / "jobs.json").exists():
        raise ValueError(f"{out} has no sweep. Name the folder that was given as --out.")
    done, waiting, running, failed, lost = 0, 0, {}, {}, []
    for job in load_jobs(folder / "jobs.json"):
        kind, attempt, end = look(job, folder, rows)
        if kind == "running" and attempt is not None:
            if attempt.alive:
                running[job.name] = attempt.age
            else:
                lost.append(f"  waiting again, or about to begin: {job.name}")
                waiting += 1
        elif kind == "failed" and end is not None:
            failed[job.name] = f"{end.error}; log: {attempt.log if attempt else 'none'}"
        done, waiting = done + (kind == "done"), waiting + (kind == "waiting")
    view = View(done, running, failed, waiting)
    return [
        _owner(folder),
        *view.lines(),
        *lost,
        *(f"  failed: {n}: {e}" for n, e in failed.items()),
    ]


def _owner(folder: Path) -> str:
    try:
        with FileLock(folder / "lock").acquire(timeout=0):
            return "No sweep is at work here; give its command again to go on."
    except Timeout:
        return f"Process {(folder / 'pid').read_text('utf-8')} is at work."


def _detach(out: Path, arguments: Sequence[str]) -> None:
    """Start this command again, without a terminal."""
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    log = out / FOLDER / "sweep.log"
    arguments = [argument for argument in arguments if argument != "--detach"]
    command = [sys.executable, "-m", "experiments.sweep", *arguments]
    # The shell ends at once, and nobody has to wait for what it started.
    start = ["sh", "-c", '"$@" >>"$0" 2>&1 </dev/null & echo $!', str(log), *command]
    shell = subprocess.run(
        start, capture_output=True, text=True, start_new_session=True, check=True
    )
    number = shell.stdout.strip()
    print(f"Process {number} goes on; it writes to {log}. Stop it with: kill {number}")


def _grid(
    what: What, out: Path, given: dict[str, Path | None], gpus: int | None, options: dict[str, Any]
) -> list[Any]:
    from dataclasses import replace

    from . import grids

    wanted = {What.tiny: (), What.small: ("teacher",), What.paper: tuple(given)}[what]
    for name in wanted:
        if given[name] is None:
            raise ValueError(f"{what} needs --{name}.")
    paths = {name: given[name] for name in wanted}
    runs = getattr(grids, what)(out, **paths, **options)
    if what is What.tiny:
        make_toy(out)
    return runs if gpus is None else [replace(run, gpus=gpus) for run in runs]


def _cell(text: str) -> tuple[str, int]:
    """Read what a chain's name says of its format and examples."""
    format, found, examples = text.rpartition("-n")
    if not found or not examples.isdecimal():
        raise ValueError(f"--again {text}: write FORMAT-nEXAMPLES, such as label-n128.")
    return format, int(examples)


def _backend(
    place: Place,
    out: Path,
    workers: int | None,
    devices: str | None,
    gpus: int,
    slurm: Sequence[str],
) -> Backend:
    if place is Place.ray:
        from .backends.ray import OnRay

        return OnRay(workers)
    if place is Place.slurm:
        from .backends.slurm import Slurm, settings

        return Slurm(out / FOLDER / "slurm", workers, settings(slurm))
    from .backends.local import Local, processors, visible_devices

    if devices is not None:
        pool: tuple[str, ...] = tuple(part.strip() for part in devices.split(","))
        if "" in pool or len(set(pool)) < len(pool):
            # One without a name would leave its job to the processor, without a word.
            raise ValueError(f"--devices {devices}: write each GPU once, such as 0,1,2,3.")
    else:
        pool = visible_devices() if gpus else ()
    if workers is None:
        workers = max(len(pool) // gpus, 1) if gpus else processors()
    return Local(workers, pool)


def make_toy(out: Path) -> None:
    """Make the toy's headlines and untrained model."""
    from distill.files import write_whole
    from distill.tiny import base_model, easy_headlines

    out.mkdir(parents=True, exist_ok=True)
    examples = easy_headlines()
    lines = [json.dumps(asdict(example)) for example in examples]
    write_whole(out / "easy-headlines.jsonl", "".join(f"{line}\n" for line in lines).encode())
    if not (out / "base").exists():
        base_model(out / "base", examples)


def _law(log: Path) -> str:
    """Fit every form that the students of the grid admit, and say which is best."""
    from .findings.laws import read_law
    from .findings.parts import read

    try:
        choice = read_law(read(log), _METRIC).choice
    except ValueError as why:
        return f"All is done; there is no law of {_METRIC}: {why}"
    return f"{choice}\n\n{choice.best}"


if __name__ == "__main__":
    main()
