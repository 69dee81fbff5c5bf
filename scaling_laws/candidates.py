"""Which forms a log admits, by the axes that it varies."""

from __future__ import annotations

from collections.abc import Sequence

from scaling_laws import laws
from scaling_laws.laws import Law
from scaling_laws.runs import RunLog

__all__ = ["admissible_forms"]


def admissible_forms(runs: RunLog, by: Sequence[str] = ()) -> list[Law]:
    """Return every form that the log's axes admit.

    Parameters
    ----------
    runs : RunLog
    by : sequence of str
        Factor columns of every form.

    Raises
    ------
    ValueError
        If the log varies no axis that a form is a function of.
    """
    axes = {a for a in ("examples", "kept", "params", "tokens")
            if a in runs.frame.columns and runs.frame[a].nunique() > 1}  # fmt: skip
    factors = tuple(by)
    if {"examples", "kept"} <= axes:
        kinds = ("additive", "multiplicative", "interaction", "rectified")
        return [laws.Compressed(kind, by=factors) for kind in kinds]
    if {"params", "tokens"} <= axes:
        return [laws.Chinchilla(by=factors)]
    if "kept" in axes:
        return [laws.Collapse(by=factors), laws.Plateau(by=factors)]
    for axis in ("examples", "tokens"):
        if axis in axes:
            return [laws.Power(axis, by=factors), laws.Rectified(axis, by=factors)]
    raise ValueError("the log varies none of examples, kept, params, tokens: name a law.")
