"""Published points: data beside this file, one CSV a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import pandas as pd

from scaling_laws.metrics import Metric
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
    runs : bool
        Whether a row is a run, so that `load_points` reads the table.
    metrics : tuple of Metric
        Its scores that are not among `METRICS`.
    """

    name: str
    source: str
    about: str
    runs: bool = True
    metrics: tuple[Metric, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """The table as it was typed in."""
        place = files("scaling_laws.presets") / "points" / f"{self.name}.csv"
        with place.open(encoding="utf-8") as table:
            return pd.read_csv(table)


_HEADLINES = "NVIDIA AI Blueprints, AI Model Distillation for Financial Data"
_PRUNING = "NVIDIA Model-Optimizer, pruning guide (Apache-2.0)"

POINTS: Mapping[str, Points] = {
    p.name: p
    for p in (
        Points(
            "headline-f1",
            f"{_HEADLINES}, notebook outputs",
            "F1 against teacher labels on 100 evaluation items after tuning Llama students. The "
            "source states no standard errors; task_f1_se is the binomial size for 100 items, a "
            "guide. Each student trained for the same number of epochs, so optimiser steps grow "
            "with examples.",
        ),
        Points(
            "headline-f1-untuned",
            f"{_HEADLINES}, notebook outputs",
            "F1 of the students of headline-f1 before tuning, on 100 evaluation items. "
            "beside_examples is the size of the tuned run that a value stands beside; the model "
            "itself has seen no example, so the three values of a student differ by their "
            "evaluation alone; whether its items were the same is not stated. task_f1_se is the "
            "binomial size for 100 items, a guide.",
        ),
        Points(
            "headline-labels",
            _HEADLINES,
            "How often each of the 13 labels occurs in 200,998 headlines: 72 to 1 between the "
            "commonest and the rarest. The F1 of headline-f1 are of students of this task.",
            runs=False,
        ),
        Points(
            "qwen3-8b-pruned",
            _PRUNING,
            "MMLU, 5-shot, of Qwen3-8B pruned by Minitron, before and after distillation. One "
            "student a size; the 14,042 items of the MMLU test set give the evaluation noise.",
        ),
        Points(
            "qwen3-8b-gsm8k",
            _PRUNING,
            "GSM8K of Qwen3-8B pruned to .812, before distillation (0 tokens) and after two "
            "amounts of it. Items are those of the public test set (1,319), not stated by the "
            "source; nor is the score of the whole model.",
            metrics=(
                Metric("gsm8k", "higher", "general", 0.0, 1.0, "logit", "proportion",
                       "GSM8K accuracy"),
            ),
        ),
        Points(
            "nemotron-9b-to-7b",
            _PRUNING,
            "A 9B Nemotron pruned to 7B, against the tokens of distillation; 0 tokens is pruned, "
            "not distilled. One run, one checkpoint a row, so rows share an error. MMLU and "
            "MMLU-Pro are not monotone in tokens. Items are those of the public test sets (14,042 "
            "and 12,032), not stated by the source; the number of AIME items is not stated.",
        ),
    )
}  # fmt: skip


def load_points(name: str) -> RunLog:
    """Return a published table of runs as a run log.

    Raises
    ------
    KeyError
        For a name that is not in `POINTS`.
    ValueError
        For a table whose rows are no runs.
    """
    if name not in POINTS:
        raise KeyError(f"points {name!r} are not known; there are {', '.join(POINTS)}.")
    points = POINTS[name]
    if not points.runs:
        raise ValueError(f"points {name!r} are no runs; POINTS[{name!r}].frame is the table.")
    rows = points.frame.to_dict("records")
    return read_runs([{str(k): v for k, v in row.items()} for row in rows], metrics=points.metrics)
