"""Folders that are whole whenever they are there, and the state of a training in one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .files import not_written

__all__ = ["Checkpoint", "latest_checkpoint", "save_checkpoint", "write_folder"]

_UNFINISHED = ".unfinished"


@contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``path``, which must not exist, when all is written.

    Raises
    ------
    StorageError
        If writing fails, such as on a full disk; then nothing is left of it.
    """
    temporary = path.with_name(path.name + _UNFINISHED)
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # of an attempt that was killed
        temporary.mkdir(parents=True)
        yield temporary
        for file in [*temporary.rglob("*"), temporary]:
            _sync(file)
        os.replace(temporary, path)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise not_written(path, error) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@dataclass(frozen=True)
class Checkpoint:
    """A training as it was after a step.

    Parameters
    ----------
    path : Path
        A folder with ``state.json`` and a file of tensors for each name.
    state : mapping
        Numbers and texts, among them ``step``.
    """

    path: Path
    state: Mapping[str, Any]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the tensors saved under a name."""
        return load_file(self.path / f"{name}.safetensors")

    def has(self, name: str) -> bool:
        """Whether tensors were saved under a name."""
        return (self.path / f"{name}.safetensors").exists()


def save_checkpoint(
    folder: Path, state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write the checkpoint of ``state["step"]``, then remove older ones.

    Parameters
    ----------
    folder : Path
        Holds the checkpoints of one training.
    state : mapping
        What JSON can say.
    tensors : mapping of str to mapping of str to Tensor
        Written to one file for each name.
    """
    path = folder / f"step-{state['step']:08d}"
    with write_folder(path) as temporary:
        for name, group in tensors.items():
            save_file(dict(group), temporary / f"{name}.safetensors")
        (temporary / "state.json").write_text(json.dumps(state), encoding="utf-8")
    for other in _checkpoints(folder):
        if other != path:
            shutil.rmtree(other)


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint, if there is one."""
    found = _checkpoints(folder)
    if not found:
        return None
    return Checkpoint(found[-1], json.loads((found[-1] / "state.json").read_text("utf-8")))


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*") if p.suffix != _UNFINISHED)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
