"""How far two runs that differ in their seed lie apart, and what the side arms differ by.

Scores with a link of log are compared by logarithms: a difference of .05 is 5 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy.special import chdtri

from scaling_laws.metrics import Metric
from scaling_laws.uncertainty import student_t

from .parts import CELL, LEVEL, Parts

__all__ = ["ARMS", "Arm", "arms", "residual_scale", "run_noise", "taught_apart"]

# Achieved fractions of one size differ by less than this between schedules; sizes by .21.
_NEAR = 0.03


@dataclass(frozen=True)
class Arm:
    """Rows of one kind against others that are alike but for that.

    Parameters
    ----------
    name : str
        What is taken from what.
    first, second : mapping
        Columns and their values.
    same : tuple of str
        Columns in which a pair agrees, beside the size.
    """

    name: str
    first: Mapping[str, str]
    second: Mapping[str, str]
    same: tuple[str, ...]


_ALIKE = ("format", "examples", "seed", "schedule", "method", "origin", "extra")


def _but(name: str) -> tuple[str, ...]:
    return tuple(column for column in _ALIKE if column != name)


ARMS = (
    Arm("one-shot - iterative", {"schedule": "one-shot"}, {"schedule": "iterative"},
        _but("schedule")),
    Arm("LoRA - all weights", {"method": "lora"}, {"method": "full"}, _but("method")),
    Arm("random - inherited weights", {"origin": "scratch"}, {"origin": "pruned"}, _but("origin")),
    Arm("replay - none", {"extra": "replay"}, {"extra": ""}, _but("extra")),
    Arm("taught - only pruned", {"phase": "distilled"}, {"phase": "pruned"}, ("chain_id",)),
)  # fmt: skip
"""The comparisons of the side arms; the last is within a chain."""


def residual_scale(frame: pd.DataFrame, metric: Metric) -> pd.Series[float]:
    """Return a score, or its logarithm where differences count as ratios."""
    score = frame[metric.name].astype(float)
    return score.where(score > 0).map(np.log) if metric.link == "log" else score


def run_noise(parts: Parts) -> pd.DataFrame:
    """Return the sd of a run over seeds: ``metric, scale, kept, sd, low, high, df``.

    ``sd^2 = sum (y - mean of the cell)^2 / df`` over cells with two seeds or more, at each size by
    itself, since students of one chain share its luck; the interval is that of chi-squared.
    """
    frame, rows = parts.done.frame, []
    taught = frame[frame["phase"] == "distilled"]
    for name in parts.done.metrics:
        metric = parts.log.schema.metrics[name]
        table = taught.assign(y=residual_scale(taught, metric)).dropna(subset="y")
        cells = table.groupby(list(CELL), dropna=False)["y"].agg(["count", "var"]).reset_index()
        for kept, part in cells[cells["count"] > 1].groupby("kept"):
            degrees = part["count"].to_numpy(dtype=float) - 1.0
            df = float(degrees.sum())
            square = float(part["var"].to_numpy() @ degrees)
            low, high = (square / chdtri(df, 0.5 * (1.0 - side * LEVEL)) for side in (1, -1))
            scale = "log" if metric.link == "log" else "score"
            sds = (float(np.sqrt(v)) for v in (square / df, low, high))
            rows.append((name, scale, kept, *sds, df))
    columns = ["metric", "scale", "kept", "sd", "low", "high", "df"]
    return pd.DataFrame(rows, columns=columns).astype({"df": int})


def taught_apart(parts: Parts) -> tuple[int, int]:
    """Count the configurations of `run_noise`, and those of them whose runs had other teachers.

    A teacher that was adapted anew is another one where any of its scores in that format is.
    """
    frame = parts.done.frame
    if "chain_id" not in frame:
        return 0, 0
    rows = frame[frame["phase"] == "teacher"].drop_duplicates("chain_id").set_index("chain_id")
    scores = rows[list(parts.done.metrics)].astype(float).apply(tuple, axis=1)
    taught = frame[frame["phase"] == "distilled"]
    cells = taught.assign(teacher=taught["chain_id"].map(scores).map(str))
    found = cells.groupby(list(CELL), dropna=False).agg(
        seeds=("seed", "nunique"), teachers=("teacher", "nunique")
    )
    twice = found[found["seeds"] > 1]
    return len(twice), int((twice["teachers"] > 1).sum())


def arms(parts: Parts, noise: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return every arm's differences, and what is missing where it has none.

    ``first - second`` averaged over n pairs of one size, ``± t_df sd sqrt(2 / n)`` with the `sd` of
    a run at that size: what two runs alike would differ by. Pairs have the seed, and so the
    examples, in common; that they share more than runs of two seeds do makes the interval wide.
    ``answer``: better or worse where the interval leaves out 0, else not decidable.
    """
    tables, missing = [], {}
    for arm in ARMS:
        pairs = _pairs(parts.done.frame, arm)
        if not len(pairs):
            what = _words(arm.first, parts)
            missing[arm.name] = f"no pair of runs: {what}"
            continue
        for name in parts.done.metrics:
            table = _differences(pairs, parts.log.schema.metrics[name], noise)
            tables.append(table.assign(arm=arm.name))
    columns = ["arm", "metric", "scale", "kept", "pairs", "difference", "low", "high", "answer"]
    if not tables:
        return pd.DataFrame(columns=columns), missing
    return pd.concat(tables, ignore_index=True)[columns], missing


def _words(kind: Mapping[str, str], parts: Parts) -> str:
    """Say how many rows of a kind there are."""
    frame = parts.done.frame
    here = np.logical_and.reduce([frame[k] == v for k, v in kind.items()])
    said = ", ".join(f"{k} {v}" for k, v in kind.items())
    return f"{int(here.sum())} rows with {said}, and none beside them that is alike but for that."


def _pairs(frame: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """Return a row a pair, columns of the second with the suffix ``_2``; nearest sizes meet."""
    if not {*arm.same, *arm.first} <= {*frame.columns}:
        return frame.iloc[:0]
    sides = []
    for kind in (arm.first, arm.second):
        wanted = kind if "phase" in kind else {"phase": "distilled", **kind}
        rows = frame[np.logical_and.reduce([frame[k] == v for k, v in wanted.items()])]
        sides.append(rows.dropna(subset=["kept", *arm.same]).sort_values("kept"))
    first, second = sides
    if not len(first) or not len(second):
        return frame.iloc[:0]
    second = second.assign(kept_2=second["kept"])
    found = pd.merge_asof(
        first, second, on="kept", by=list(arm.same), suffixes=("", "_2"), direction="nearest",
        tolerance=cast(Any, _NEAR),
    )  # fmt: skip
    return found.dropna(subset="kept_2")


def _differences(pairs: pd.DataFrame, metric: Metric, noise: pd.DataFrame) -> pd.DataFrame:
    """Return a row a size of one arm and metric."""
    other = pairs.filter(regex="_2$").rename(columns=lambda c: c.removesuffix("_2"))
    gap = residual_scale(pairs, metric) - residual_scale(other, metric)
    better = 1.0 if metric.direction == "higher" else -1.0
    rows = []
    for kept, size in gap.dropna().groupby(pairs["kept_2"]):
        n, mean = len(size), float(size.mean())
        half = _half(noise, metric.name, float(kept), n)
        low, high = mean - half, mean + half
        told = {True: "better", False: "worse"}
        sure = low > 0 or high < 0
        answer = told[better * mean > 0] if sure else "not decidable"
        scale = "log" if metric.link == "log" else "score"
        rows.append((metric.name, scale, kept, n, mean, low, high, answer))
    columns = ["metric", "scale", "kept", "pairs", "difference", "low", "high", "answer"]
    return pd.DataFrame(rows, columns=columns)


def _half(noise: pd.DataFrame, metric: str, kept: float, n: int) -> float:
    """Return half of the interval of a difference; NaN where no run was repeated at that size."""
    away = (noise["kept"] - kept).abs()
    rows = noise[(noise["metric"] == metric) & (away <= _NEAR)]
    if not len(rows):
        return float("nan")
    nearest = rows.loc[away[rows.index].idxmin()]
    return student_t(nearest["df"], LEVEL) * nearest["sd"] * float(np.sqrt(2.0 / n))
