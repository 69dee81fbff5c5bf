"""Published points: data beside this file, one CSV a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from scaling_laws.runs import RunLog, read_runs

__all__ = ["POINTS", "Points", "load_points"]


@dataclass(frozen=True)
class Points:
    """A published table.

    Attributes
    ----------
    name : str
    source : str
    about : str
        What was measured, and what is not stated by the source.
    """

    name: str
    source: str
    about: str


POINTS: Mapping[str, Points] = {
    p.name: p
    for p in (
        Points(
            "headline-f1",
            "NVIDIA AI Blueprints, AI Model Distillation for Financial Data, notebook outputs",
            "F1 against teacher labels on 100 evaluation items after tuning Llama students. The "
            "source states no standard errors; task_f1_se is the binomial size for 100 items, a "
            "guide. Each student trained for the same number of epochs, so optimiser steps grow "
            "with examples.",
        ),
        Points(
            "qwen3-8b-pruned",
            "NVIDIA Model-Optimizer, pruning guide (Apache-2.0)",
            "MMLU, 5-shot, of Qwen3-8B pruned by Minitron, before and after distillation. One "
            "student a size; the 14,042 items of the MMLU test set give the evaluation noise.",
        ),
        Points(
            "nemotron-9b-to-7b",
            "NVIDIA Model-Optimizer, pruning guide (Apache-2.0)",
            "A 9B Nemotron pruned to 7B, against the tokens of distillation; 0 tokens is pruned, "
            "not distilled. One run, one checkpoint a row, so rows share an error. MMLU and "
            "MMLU-Pro are not monotone in tokens. Items are those of the public test sets (14,042 "
            "and 12,032), not stated by the source; the number of AIME items is not stated.",
        ),
    )
}


def load_points(name: str) -> RunLog:
    """Return a published table as a run log.

    Raises
    ------
    KeyError
        For a name that is not in `POINTS`.
    """
    if name not in POINTS:
        raise KeyError(f"points {name!r} are not known; there are {', '.join(POINTS)}.")
    source = files("scaling_laws.presets") / "points" / f"{name}.csv"
    lines = source.read_text(encoding="utf-8").splitlines()
    header, *rows = (line.split(",") for line in lines if line)
    return read_runs([dict(zip(header, map(_cell, row), strict=True)) for row in rows])


def _cell(text: str) -> str | float:
    """Read numbers as numbers, also in columns that are no fields of a run."""
    try:
        return float(text)
    except ValueError:
        return text
