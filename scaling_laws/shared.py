"""Rows that tell of one model: chains that start from the same teacher each log a row for it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .metrics import METRICS
from .readers.table import row_codes

__all__ = ["repeats", "shared_models"]

# What sets the row of one chain apart from that of another, whatever the model is.
_NAMES = ("run_id", "chain_id", "parent_id", "config_hash", "code_version", "seed")
# Models that a chain may share with others: students are taught in their own chain.
_PHASES = ("teacher", "pruned")
# Measured to the microsecond, a duration is that of one training; done again it is another one.
_TIMES = ("wall_s", "cpu_s")
_TRACES = ("examples", "examples_seen", "tokens", "steps")
# A loss of more decimals than anyone types is equal for equal weights only.
_DECIMALS = 6


def shared_models(frame: pd.DataFrame) -> NDArray[np.int64]:
    """Return a number for each row, equal where rows of several chains tell of one model; else -1.

    They do where they are of a teacher, or of a student not yet taught, and agree in every field,
    scores and counts included, but the names of chain and run, the seed of the chain and the
    duration. Where a row has traces of a training and no loss by whose digits to know the model,
    the duration must agree too, and without that the seed.
    """
    codes = np.full(len(frame), -1, np.int64)
    if not {"phase", "chain_id"} <= set(frame.columns):
        return codes
    rows = np.flatnonzero(frame["phase"].isin(_PHASES).to_numpy(dtype=bool))
    part = frame.iloc[rows]
    same = [part[name] for name in part.columns if name not in (*_NAMES, *_TIMES)]
    doubted = _trained(part) & ~_measured(part)
    same += [part[name].where(doubted) for name in _TIMES if name in part]
    if "seed" in part:
        same.append(part["seed"].where(doubted & ~_timed(part)))
    found = row_codes(same, len(part))
    # A row of no chain may be the one that an earlier fit took for all.
    chains = part["chain_id"].groupby(found).transform("nunique", dropna=False).to_numpy()
    codes[rows] = np.where(chains > 1, found, -1)
    return codes


def repeats(codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the rows that tell of a model once more: all but the first of each number."""
    return (codes >= 0) & pd.Series(codes).duplicated().to_numpy()


def _measured(part: pd.DataFrame) -> pd.Series[bool]:
    """Whether a row has a loss to more decimals than a table would."""
    losses = [name for name, m in METRICS.items() if m.link == "log" and name in part]
    values = part[losses].astype(float)
    return (values.notna() & (values != values.round(_DECIMALS))).any(axis=1)


def _timed(part: pd.DataFrame) -> pd.Series[bool]:
    return part.reindex(columns=list(_TIMES)).notna().any(axis=1)


def _trained(part: pd.DataFrame) -> pd.Series[bool]:
    return (part.reindex(columns=list(_TRACES)) > 0).any(axis=1)
