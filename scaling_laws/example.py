"""The log that comes with the library: real distillation runs of a small model."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from scaling_laws.runs import RunLog, read_runs

__all__ = ["EXAMPLE", "load_example"]

EXAMPLE = "smollm2-135m.jsonl"


def load_example() -> RunLog:
    """Return the log of real runs: SmolLM2-135M, pruned and distilled on synthetic headlines.

    A row a model: the teacher (kept 1), students at four sizes, before and after teaching, over
    numbers of examples, formats, schedules and seeds. ``kept`` counts parameters outside the
    embedding. How they were made and what they say: ``experiments/README.md`` of the source.

    Returns
    -------
    RunLog
    """
    return read_runs(_path())


def _path() -> Path:
    """Return the file: in the package, or where the package's copy is made from."""
    packaged = Path(str(files("scaling_laws").joinpath("data", EXAMPLE)))
    if packaged.exists():
        return packaged
    return Path(__file__).parents[1] / "experiments" / "results" / EXAMPLE
