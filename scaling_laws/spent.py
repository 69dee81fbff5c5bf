"""What the runs of a log cost, as far as its rows say, in the words of the reproducibility card."""

from __future__ import annotations

import pandas as pd

__all__ = ["spent_words"]

# Column, what one of it is in hours, and what its sum is called.
_HOURS = (
    ("gpu_hours", 1.0, "GPU-hours"),
    ("cpu_s", 1.0 / 3600.0, "CPU-hours"),
    ("wall_s", 1.0 / 3600.0, "hours of wall time"),
)
# Machines that are named; the rest is counted.
_MOST = 6


def spent_words(frame: pd.DataFrame) -> str:
    """Return the hours and tokens of rows, each sum with its column and the rows that have it.

    Parameters
    ----------
    frame : DataFrame
        The rows used: one a run, or one a stage of it.

    Returns
    -------
    str
        ``not logged`` where no row has any of them.
    """
    told = [_sum(frame, name, unit, words) for name, unit, words in _HOURS]
    told.append(_sum(frame, "tokens", 1.0, "training tokens"))
    parts = [part for part in told if part]
    if not parts:
        return "not logged"
    names = sorted(set(frame["machine"].dropna().astype(str))) if "machine" in frame else []
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    where = f"; on {', '.join(names[:_MOST])}{more}" if names else ""
    return f"{'; '.join(parts)}{where}"


def _sum(frame: pd.DataFrame, name: str, unit: float, words: str) -> str:
    if name not in frame.columns:
        return ""
    values = frame[name].dropna().to_numpy(dtype=float)
    if not len(values):
        return ""
    rows = "these rows" if len(values) == len(frame) else f"{len(values)} of {len(frame)} rows"
    total = unit * float(values.sum())
    shown = f"{total:,.0f}" if total >= 1000 else f"{total:.3g}"
    return f"{shown} {words} ({name}) in {rows}"
