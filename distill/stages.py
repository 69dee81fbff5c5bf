"""Steps of a chain that are done once: each has a folder named by all that determines it.

Chains with a first part in common share it, and a chain that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from filelock import FileLock

from .config import hash_of
from .files import write_text

__all__ = ["Stage", "Stages"]

_DONE = "done.json"
# What an attempt that was stopped can be continued from.
_CONTINUED = {"checkpoints", "cache", ".lock"}


@dataclass(frozen=True)
class Stage:
    """A finished step.

    Parameters
    ----------
    key : str
        Kind and hash of all that determines it.
    path : Path
        Its folder; a step that makes a model has it in ``model``.
    result : mapping
        What it found, as JSON has it.
    """

    key: str
    path: Path
    result: Mapping[str, Any]

    @property
    def model(self) -> Path:
        """Folder of the model that it made."""
        return self.path / "model"


class Stages:
    """Finished and unfinished steps in a folder.

    Parameters
    ----------
    folder : Path
    accelerator : Accelerator
        The processes that run together; others may use the same folder at the same time.
    """

    def __init__(self, folder: Path, accelerator: Accelerator) -> None:
        self.folder, self.accelerator = folder, accelerator

    def run(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        make: Callable[[Path], Mapping[str, Any]],
        *,
        together: bool = False,
    ) -> Stage:
        """Return a step, doing it first if that was not done yet.

        Parameters
        ----------
        kind : str
            First part of its name.
        inputs : mapping
            All that determines the outcome, as JSON has it.
        make : callable
            Does it in the folder that it is given, where an earlier attempt may have left
            checkpoints, and returns the result.
        together : bool
            All processes do it; else the first one does, and the others wait.
        """
        key = f"{kind}-{hash_of(inputs)}"
        path = self.folder / key
        main = self.accelerator.is_main_process
        if main:
            path.mkdir(parents=True, exist_ok=True)
        # Another run that needs the same step waits for it here.
        with FileLock(path / ".lock") if main else nullcontext():
            if main and not (path / _DONE).exists():
                _clear(path)
            self.accelerator.wait_for_everyone()
            if not (path / _DONE).exists():
                result = make(path) if main or together else None
                if main:
                    content = {"kind": kind, "inputs": inputs, "result": result}
                    write_text(path / _DONE, json.dumps(content, indent=1, allow_nan=False))
            if main:
                shutil.rmtree(path / "checkpoints", ignore_errors=True)
            self.accelerator.wait_for_everyone()
        done = json.loads((path / _DONE).read_text("utf-8"))
        return Stage(key, path, done["result"])

    def same(self, name: str, mark: str) -> bool:
        """Return whether a mark is the one that a name had here first; remember it if it had none.

        The first process looks and remembers; for others all is as it should be.
        """
        if not self.accelerator.is_main_process:
            return True
        file = self.folder.with_name("given") / name
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, mark)
        return file.read_text("utf-8") == mark


def _clear(path: Path) -> None:
    """Remove what a stopped attempt left that the next one makes anew."""
    for left in path.iterdir():
        if left.name in _CONTINUED:
            continue
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
