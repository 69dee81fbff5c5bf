"""Jobs as processes of this machine, with threads of their own and GPUs from a pool."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from experiments.backends import State
from experiments.jobs import Attempt
from experiments.runner import MARK, remnants

__all__ = ["Local", "job_environment", "processors", "visible_devices"]


class Local:
    """Processes that go on if this one is killed, and are found again.

    Parameters
    ----------
    workers : int
        Jobs at the same time.
    devices : sequence of str
        GPUs as ``CUDA_VISIBLE_DEVICES`` names them; each serves one job at a time.
    threads : int, optional
        Threads of a job; the processors divided by the workers, if left out.
    """

    name = "local"
    interval = 0.05

    def __init__(
        self, workers: int, devices: Sequence[str] = (), threads: int | None = None
    ) -> None:
        self.workers, self.devices = workers, tuple(devices)
        self.threads = threads or max(1, processors() // workers)
        self._own: dict[Path, subprocess.Popen[bytes]] = {}
        self._taken: dict[Path, tuple[str, ...]] = {}

    def room(self, waiting: Sequence[int]) -> int:
        """Return how many of the waiting jobs find a worker and GPUs, the first ones first.

        A job that waits for GPUs holds back those behind it, which need fewer: else it might wait
        until the end.
        """
        free, workers = len(self._free()), self.workers - len(self._taken)
        for count, gpus in enumerate(waiting):
            if gpus > len(self.devices):
                raise ValueError(
                    f"A job needs {gpus} GPUs, and {len(self.devices)} are given here. Name more "
                    "with --devices, or ask for fewer with --gpus."
                )
            if count == workers or gpus > free:
                return count
            free -= gpus
        return len(waiting)

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """Start each in a session of its own, which no signal of this terminal reaches."""
        for attempt in attempts:
            folder, gpus = attempt.folder, attempt.job.gpus
            devices = self._free()[:gpus]
            attempt.put(backend=self.name, host=socket.gethostname(), devices=devices)
            self._own[folder] = subprocess.Popen(
                attempt.runner(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={
                    **os.environ,
                    # Of several processes, one for each GPU, every one has as many threads.
                    **job_environment(attempt, max(1, self.threads // max(1, gpus))),
                    "CUDA_VISIBLE_DEVICES": ",".join(devices),
                },
            )
            self._taken[folder] = devices

    def adopt(self, attempt: Attempt) -> bool:
        """Take over a runner that outlived its sweep."""
        claim = attempt.claim
        host = socket.gethostname() if claim is None else claim.get("host", "")
        if host != socket.gethostname() and attempt.alive:
            raise ValueError(
                f"{attempt.job.name} runs on {host}. Go on there, or stop it there with SIGTERM to "
                f"process {claim['pid'] if claim else '?'}."
            )
        if not self._runs(attempt):
            return False
        self._taken[attempt.folder] = tuple(attempt.place.get("devices", ()))
        return True

    def poll(self, attempt: Attempt) -> State:
        """Look at the process; one that left nothing behind was killed."""
        own = self._own.get(attempt.folder)
        if self._runs(attempt) if own is None else own.poll() is None:
            return "running"
        if not attempt.ended:
            attempt.close("the process that ran it was killed")
        self._own.pop(attempt.folder, None)
        del self._taken[attempt.folder]
        return "ended"

    def cancel(self, attempt: Attempt) -> None:
        """Send SIGTERM to the runner, which ends the job."""
        own, claim = self._own.get(attempt.folder), attempt.claim
        if own is not None:
            own.terminate()
        elif claim is not None and attempt.alive:
            os.kill(claim["pid"], signal.SIGTERM)

    def close(self) -> None:
        """Leave the jobs alone."""

    def _free(self) -> tuple[str, ...]:
        taken = {device for devices in self._taken.values() for device in devices}
        return tuple(device for device in self.devices if device not in taken)

    def _runs(self, attempt: Attempt) -> bool:
        """Whether there is a process of it."""
        if attempt.claim is None:
            # Started by a sweep that was killed in that moment; what it started claims it first.
            return bool(remnants(attempt.folder))
        return attempt.alive


def job_environment(attempt: Attempt, threads: int) -> dict[str, str]:
    """Return what an attempt's environment has more: its mark, and threads that do not spin."""
    return {
        MARK: str(attempt.folder),
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # idle threads that spin starve the other jobs
        "PYTHONUNBUFFERED": "1",
    }


def processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_devices() -> tuple[str, ...]:
    """Return the GPUs of this machine that this process may use."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        parts = (part.strip() for part in named.split(","))
        # As CUDA reads it: what comes after -1 is hidden.
        return tuple(part for part in takewhile(lambda part: part != "-1", parts) if part)
    import torch

    return tuple(str(i) for i in range(torch.cuda.device_count()))
