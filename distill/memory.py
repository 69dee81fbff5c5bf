"""The end of memory, told with the settings to lower."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

__all__ = ["OutOfMemory", "ends_memory", "explained", "lower_batch"]


class OutOfMemory(RuntimeError):
    """Memory ended; the message says which settings to lower."""


def ends_memory(error: BaseException) -> bool:
    """Whether an error says that memory ended."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # PyTorch has no class of its own for the end of a CPU's memory.
    return type(error) in (RuntimeError, torch.AcceleratorError) and "memory" in str(error).lower()


@contextmanager
def explained(say: Callable[[], Exception]) -> Iterator[None]:
    """Turn the end of memory into the error that `say` makes; others pass as they are."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ends_memory(error):
            raise
        raise say() from error


def lower_batch(what: str, batch: int) -> OutOfMemory:
    """Return the error of a step that runs a model over batches without training it."""
    return OutOfMemory(
        f"out of memory while {what}. Lower evaluate.batch, now {batch} (scores do not depend on "
        "it beyond rounding), or set model.dtype=bfloat16. What was finished is kept: give the "
        "same command again."
    )
