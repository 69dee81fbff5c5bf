"""Files that are whole whenever they are there, and tables named by their hash."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["folder_content", "load_items", "save_items", "write_whole"]

_ABOUT = b"distill"


def write_whole(file: Path, data: bytes) -> None:
    """Write beside the file and put it in place only when all of it is on the disk."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, file)


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
