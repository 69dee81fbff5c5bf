"""Bytes in and out: whole reads, decoding with the offset of a bad byte, durable writes."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from .table import RunLogError

__all__ = ["append_line", "read_bytes", "read_text", "read_utf8", "replace_file"]

_OTHER_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises
    ------
    RunLogError
        For a file that can't be opened.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunLogError(f"{path} can't be read: {error.strerror}.") from error


def read_utf8(path: Path) -> bytes:
    """Return the content of a text file without its byte order mark; it is not decoded yet.

    Raises
    ------
    RunLogError
        For a file that can't be opened, or that is UTF-16 or UTF-32 by its mark.
    """
    content = read_bytes(path)
    if content.startswith(_OTHER_MARKS):
        raise RunLogError(f"{path.name} is UTF-16 or UTF-32 at byte 0; save it as UTF-8.")
    return content.removeprefix(codecs.BOM_UTF8)


def read_text(path: Path) -> str:
    """Return the content of a UTF-8 file as text.

    Raises
    ------
    RunLogError
        As `read_utf8`, and naming the offset and line of the first byte that is not UTF-8.
    """
    content = read_utf8(path)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RunLogError(
            f"{path.name} is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start} "
            f"(line {line}); save it as UTF-8."
        ) from None


def append_line(path: Path, line: bytes) -> None:
    """Append a line with one write and make it durable.

    A torn last line is left as it is, on a line of its own: a reader reports it. The caller holds
    the lock.
    """
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        end = os.lseek(handle, 0, os.SEEK_END)
        if end:
            os.lseek(handle, end - 1, os.SEEK_SET)
            if os.read(handle, 1) != b"\n":
                line = b"\n" + line
        written = os.write(handle, line)
        if written != len(line):
            raise RunLogError(
                f"{path}: only {written} of {len(line)} bytes were written; is the disk full? "
                "The torn line will be reported when the log is read."
            )
        os.fsync(handle)
    finally:
        os.close(handle)
    _sync_folder(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old content or the new, nothing between."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows can't open a folder, and needs no such step
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
