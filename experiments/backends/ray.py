"""Jobs on a Ray cluster: a task each, and a placement group for those of several GPUs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from experiments.backends import State
from experiments.backends.local import job_environment
from experiments.jobs import Attempt

__all__ = ["OnRay"]


class OnRay:
    """Tasks of the cluster that ``RAY_ADDRESS`` names; of this machine alone, if it names none.

    A task ends with the sweep that submitted it, and its job with the task: the next sweep begins
    it again, where its checkpoints are. All machines share the file system of the sweep's folder.

    Parameters
    ----------
    workers : int, optional
        Jobs given to Ray at the same time; all, if left out: Ray has a queue of its own.
    """

    name = "ray"
    interval = 0.1

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers
        self._tasks: dict[Path, Any] = {}
        self._gangs: dict[Path, Any] = {}
        if not ray.is_initialized():
            ray.init(log_to_driver=False)

    def room(self, waiting: Sequence[int]) -> int:
        """Return how many more may be given to Ray."""
        free = len(waiting) if self.workers is None else self.workers - len(self._tasks)
        return min(len(waiting), free)

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """Submit a task for each."""
        for attempt in attempts:
            gpus = attempt.job.gpus
            attempt.put(backend=self.name)
            options: dict[str, Any] = {"num_cpus": max(gpus, 1), "num_gpus": gpus}
            if gpus > 1:
                # Reserved as one and on one machine, before those that need less take its parts.
                gang = placement_group([{"CPU": gpus, "GPU": gpus}], strategy="STRICT_PACK")
                self._gangs[attempt.folder] = gang
                options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(gang)
            environment = job_environment(attempt, 1)
            if gpus == 0:
                environment["CUDA_VISIBLE_DEVICES"] = ""
            if "PYTHONPATH" in os.environ:
                environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
            task = _task().options(**options)
            self._tasks[attempt.folder] = task.remote(
                attempt.runner("--lifeline"), environment, os.getcwd()
            )

    def adopt(self, attempt: Attempt) -> bool:
        """Wait for the end of a job whose task ended with its sweep; no task outlives that."""
        if not attempt.alive:
            return False
        attempt.ask_to_stop()
        self._tasks[attempt.folder] = None
        return True

    def poll(self, attempt: Attempt) -> State:
        """Look at the task; what a lost machine ran is gone when its signs of life have ended."""
        task, lost = self._tasks[attempt.folder], True
        if task is not None:
            ready, _ = ray.wait([task], timeout=0)
            if not ready:
                return "running"
            try:
                ray.get(task)
                lost = False
            except RayError:
                lost = True
        if not attempt.ended:
            if lost and attempt.alive:
                return "running"
            attempt.close("gone" if lost else "the process that ran it was killed")
        del self._tasks[attempt.folder]
        if attempt.folder in self._gangs:
            remove_placement_group(self._gangs.pop(attempt.folder))
        return "ended"

    def cancel(self, attempt: Attempt) -> None:
        """Take a task out of the queue; a runner that began looks for the wish to stop itself."""
        if attempt.claim is None:
            attempt.close("stopped")
            ray.cancel(self._tasks[attempt.folder])

    def close(self) -> None:
        """Give back what was reserved; the connection is the caller's or ends with the process."""
        for gang in self._gangs.values():
            remove_placement_group(gang)
        self._gangs.clear()


def _task() -> Any:
    """Return the task; made here, so that machines of the cluster need not have this module."""

    @ray.remote(max_retries=0)
    def run(command: list[str], environment: dict[str, str], folder: str) -> None:
        # The pipe closes however this process ends, and the runner ends the job then.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, env={**os.environ, **environment}, cwd=folder
        ) as process:
            while process.poll() is None:
                try:
                    process.wait(0.5)  # in parts, so that Ray can interrupt it
                except subprocess.TimeoutExpired:
                    continue

    return run
