"""Jobs on a Slurm cluster, as arrays; submitit writes the scripts and asks Slurm how they stand."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit
import yaml
from submitit.helpers import CommandFunction

from experiments.backends import State
from experiments.backends.local import job_environment
from experiments.jobs import Attempt

__all__ = ["Slurm", "settings"]

_NOT_ITS_FAULT = ("NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "REVOKED", "REQUEUED", "PENDING")
_HINTS = {
    "TIMEOUT": "; write --slurm timeout_min=MORE, or just --retry: it goes on from its checkpoint",
    "OUT_OF_MEMORY": "; write --slurm mem_gb=MORE, and --retry",
}
_NOT_YET = ("RUNNING", "COMPLETING", "UNKNOWN")
# Slurm's accounting may lag so many seconds behind.
_LAG_S = 120.0
_LIMITS = ("timeout_min", "slurm_time")


def settings(parts: Sequence[str]) -> dict[str, Any]:
    """Return the settings of submitit that a command line names, each ``NAME=VALUE``.

    Raises
    ------
    ValueError
        For a part without ``=``, a name or value that submitit does not take, or no time limit.
    """
    found: dict[str, Any] = {}
    for part in parts:
        name, equals, text = part.partition("=")
        if not name or not equals:
            raise ValueError(f"--slurm {part}: write NAME=VALUE, such as slurm_partition=gpu.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"--slurm {part}: the value is not YAML: {error}") from None
        # YAML reads 12:00:00 as a number of base 60, which Slurm would take for minutes.
        found[name] = text if isinstance(value, int) and ":" in text else value
    if all(found.get(name) is None for name in _LIMITS):
        raise ValueError(
            "--backend slurm needs a time limit, for submitit asks for 5 minutes where none is "
            "given: write --slurm timeout_min=MINUTES or --slurm slurm_time=DAYS-HOURS:MINUTES."
        )
    try:
        submitit.AutoExecutor(Path(), cluster="debug").update_parameters(**found)
    except (AssertionError, NameError) as error:
        raise ValueError(f"--slurm: {error}") from None
    return found


class Slurm:
    """Array jobs that go on without the sweep, and are found again by their number.

    All nodes share the file system of the sweep's folder.

    Parameters
    ----------
    folder : Path
        For submitit's scripts and logs.
    workers : int, optional
        Elements of an array that run at the same time; as many as Slurm lets, if left out.
    parameters : mapping
        Of submitit, such as ``slurm_partition`` and ``timeout_min``.
    cluster : {"slurm", "local", "debug"}
        As submitit names them.

    Raises
    ------
    ValueError
        Where Slurm's commands are not found.
    """

    name = "slurm"
    interval = 5.0

    def __init__(
        self,
        folder: Path,
        workers: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        cluster: str = "slurm",
    ) -> None:
        if cluster == "slurm" and submitit.SlurmExecutor.affinity() < 0:
            raise ValueError(
                "--backend slurm: there is no srun here; go to a machine of the cluster."
            )
        self.folder, self.parameters, self.cluster = folder, dict(parameters or {}), cluster
        if workers is not None:
            self.parameters["slurm_array_parallelism"] = workers
        self._jobs: dict[Path, submitit.Job[Any] | None] = {}

    def room(self, waiting: Sequence[int]) -> int:
        """Return all: Slurm has a queue of its own."""
        return len(waiting)

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """Submit an array for each number of GPUs."""
        groups: dict[int, list[Attempt]] = defaultdict(list)
        for attempt in attempts:
            groups[attempt.job.gpus].append(attempt)
        for gpus, group in groups.items():
            executor = submitit.AutoExecutor(self.folder, cluster=self.cluster)
            threads = max(gpus, 1)
            wanted = {"gpus_per_node": gpus, "cpus_per_task": threads, "name": "sweep"}
            executor.update_parameters(**{**wanted, **self.parameters})
            with executor.batch():
                jobs = [
                    executor.submit(
                        CommandFunction(_command(attempt), verbose=False, cwd=os.getcwd())
                    )
                    for attempt in group
                ]
            for attempt, job in zip(group, jobs, strict=True):
                attempt.put(backend=self.name, job_id=job.job_id)
                self._jobs[attempt.folder] = job

    def adopt(self, attempt: Attempt) -> bool:
        """Ask Slurm by number; one whose number was not written yet, by its signs of life."""
        number = attempt.place.get("job_id")
        if number is None:
            self._jobs[attempt.folder] = None
            return attempt.alive
        kind = submitit.SlurmJob if self.cluster == "slurm" else submitit.LocalJob
        job: submitit.Job[Any] = kind(self.folder, number)
        self._jobs[attempt.folder] = job
        return attempt.alive or not job.done(force_check=True)

    def poll(self, attempt: Attempt) -> State:
        """Ask Slurm, and believe signs of life first: its accounting may lag behind."""
        job = self._jobs[attempt.folder]
        over = (job is None or job.done()) and not attempt.alive
        if attempt.ended:
            return "ended" if job is None or not attempt.interrupted else self._judge(attempt, job)
        if not over:
            return "running"
        # A runner that ends well has said so: one that did not was killed, and the one that Slurm
        # began in its place left at once, since an attempt is done by one runner only.
        fine = (*_NOT_ITS_FAULT, "COMPLETED")
        state = "UNKNOWN" if job is None else job.state.split()[0]
        why = f"Slurm: {state}{_HINTS.get(state, '')}"
        attempt.close("gone" if job is None or state in fine else why)
        return "ended"

    def _judge(self, attempt: Attempt, job: submitit.Job[Any]) -> State:
        """Let Slurm say whether it took the machine away, where a signal ended an attempt."""
        state = (job.get_info(mode="force").get("State") or "UNKNOWN").split()[0]
        since = time.time() - (attempt.folder / "exit.json").stat().st_mtime
        if state in _NOT_YET and since < _LAG_S:
            return "running"
        if state in _NOT_ITS_FAULT:
            attempt.put(**attempt.place, lost=state)
            job.cancel(check=False)  # one that waits to begin again would find nothing to do
        return "ended"

    def cancel(self, attempt: Attempt) -> None:
        """Take it out of the queue; a runner that began looks for the wish to stop itself."""
        job = self._jobs[attempt.folder]
        if attempt.claim is None:
            attempt.close("stopped")
            if job is not None:
                job.cancel(check=False)

    def close(self) -> None:
        """Leave the jobs alone."""


def _command(attempt: Attempt) -> list[str]:
    """Return the runner's command with what its environment has more than Slurm's."""
    added = [f"{name}={value}" for name, value in job_environment(attempt, 1).items()]
    return ["env", *added, *attempt.runner()]
