"""Places where attempts run: processes of this machine, a Ray cluster, a Slurm cluster.

All share the file system of the sweep's folder: what an attempt did is read from its files, and a
backend only starts it, knows whether it still may be running, and stops it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from experiments.jobs import Attempt

__all__ = ["Backend", "State"]

State = Literal["running", "ended"]
"""Whether it may still be running; when it is not, the attempt's files say how it ended."""


class Backend(Protocol):
    """What a sweep asks of a place."""

    name: str
    interval: float
    """Seconds between two questions."""

    def room(self, waiting: Sequence[int]) -> int:
        """Return how many of the waiting jobs, given by their GPUs, can be taken now in order."""
        ...

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """Start attempts."""
        ...

    def adopt(self, attempt: Attempt) -> bool:
        """Take over an attempt of an earlier sweep; False if it does not run any more."""
        ...

    def poll(self, attempt: Attempt) -> State:
        """Say what an attempt that was taken is doing, and close it if it ended without a word."""
        ...

    def cancel(self, attempt: Attempt) -> None:
        """Ask a running attempt to end; `poll` says when it has."""
        ...

    def close(self) -> None:
        """Give back what was taken beside the attempts."""
        ...
