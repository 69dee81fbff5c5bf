"""What a sweep shows: lines for what happens, and where it stands, on a terminal or in a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TextIO

__all__ = ["Table", "View", "duration"]

_TERMINAL_S, _FILE_S = 1.0, 60.0
_SHOWN = 16


@dataclass(frozen=True)
class View:
    """Where a sweep stands.

    Parameters
    ----------
    done, waiting : int
    running : mapping of str to float
        Seconds since each running job began.
    failed : mapping of str to str
        Why each failed job failed.
    left : float or None
        Seconds until the end, as far as is known.
    """

    done: int
    running: Mapping[str, float]
    failed: Mapping[str, str]
    waiting: int
    left: float | None = None

    def summary(self) -> str:
        """Return it in one line."""
        counts = f"{self.done} done, {len(self.running)} running, {len(self.failed)} failed"
        left = "" if self.left is None or not self.running else f", {duration(self.left)} left"
        return f"{counts}, {self.waiting} waiting{left}"

    def lines(self) -> list[str]:
        """Return the summary and a line for each running job."""
        shown = [f"  {name}  {duration(s)}" for name, s in list(self.running.items())[:_SHOWN]]
        more = len(self.running) - len(shown)
        return [self.summary(), *shown, *([f"  and {more} more"] if more else [])]


class Table:
    """Shows events as they come, and the state below them.

    On a terminal the state is drawn again every second; in a file it is a line a minute.

    Parameters
    ----------
    stream : text stream, optional
        Standard output if left out.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self._terminal = self.stream.isatty()
        self._drawn, self._next = 0, 0.0

    def event(self, text: str) -> None:
        """Show what happened."""
        self._erase()
        self._write(f"{time.strftime('%H:%M:%S')}  {text}\n")
        self._next = 0.0 if self._terminal else self._next

    def show(self, view: Callable[[], View]) -> None:
        """Show where it stands, if it is time to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (_TERMINAL_S if self._terminal else _FILE_S)
        if not self._terminal:
            self._write(f"{time.strftime('%H:%M:%S')}  {view().summary()}\n")
            return
        lines = view().lines()
        self._erase()
        self._write("".join(f"{line}\n" for line in lines))
        self._drawn = len(lines)

    def close(self, view: View) -> None:
        """Show where it ended."""
        self._erase()
        self._write(f"{time.strftime('%H:%M:%S')}  {view.summary()}\n")

    def _erase(self) -> None:
        if self._drawn:
            self._write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def duration(seconds: float) -> str:
    """Return a time for people: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 36:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
