"""Files that are whole whenever they are there, and tables named by their hash."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = [
    "StorageError",
    "folder_content",
    "load_items",
    "not_written",
    "save_items",
    "write_text",
    "write_whole",
]

_ABOUT = b"distill"


class StorageError(OSError):
    """Something could not be written; what was there before still is."""


def not_written(path: Path, error: Exception) -> StorageError:
    """Return the error that says what could not be written, why, and what room there is."""
    there = next(parent for parent in path.absolute().parents if parent.exists())
    free = shutil.disk_usage(there).free / 1e6
    return StorageError(
        f"{path} could not be written: {error} ({free:,.0f} MB are free). Nothing that was there "
        "is lost: make room and give the same command again."
    )


def write_whole(file: Path, data: bytes) -> None:
    """Write beside the file and put it in place only when all of it is on the disk.

    Raises
    ------
    StorageError
        If writing fails, such as on a full disk; an older file of that name is left as it was, and
        nothing is left of the new one.
    """
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except OSError as error:
        raise not_written(file, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text as `write_whole` writes bytes."""
    write_whole(path, text.encode())


def folder_content(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Return the SHA-256 of every file under a folder, by its path in it."""
    root = Path(folder)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def save_items(
    items: pd.DataFrame, folder: str | os.PathLike[str], kind: str, about: Mapping[str, Any]
) -> tuple[Path, str]:
    """Write a table, and what it is about, to one Parquet file named by its SHA-256.

    Returns
    -------
    (Path, str)
        ``folder/kind-sha.parquet`` and the SHA-256 of the file.
    """
    table = pa.Table.from_pandas(items, preserve_index=False)
    metadata = {
        **(table.schema.metadata or {}),
        _ABOUT: json.dumps({"kind": kind, **about}).encode(),
    }
    stream = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), stream, compression="zstd")
    checksum = hashlib.sha256(stream.getvalue()).hexdigest()
    path = Path(folder) / f"{kind}-{checksum[:16]}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, stream.getvalue())
    return path, checksum


def load_items(
    path: str | os.PathLike[str], kind: str, sha256: str | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read what `save_items` wrote: the table and what it is about.

    Raises
    ------
    ValueError
        If the file does not have the hash that is given, or is of another kind.
    """
    path = Path(path)
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise ValueError(f"{path} has SHA-256 {found}, not {sha256}: it was altered since.")
    table = pq.read_table(io.BytesIO(data))
    about = json.loads((table.schema.metadata or {}).get(_ABOUT, b"{}"))
    if about.get("kind") != kind:
        raise ValueError(f"{path} is of the kind {about.get('kind')!r}, not {kind!r}.")
    return table.to_pandas(), about
