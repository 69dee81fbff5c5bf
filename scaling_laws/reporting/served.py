"""Latency and price of students over the fractions kept, for the panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.cost import Serving, Shape
from scaling_laws.decide.pruned import Pruning, at_bits, bits_notes, students_of
from scaling_laws.reporting.extent import Scale
from scaling_laws.runs import Note, RunLog

if TYPE_CHECKING:
    from scaling_laws.reporting.findings import Outcome

__all__ = ["Served", "served_of"]

Array = NDArray[np.float64]

_NODES = 121


@dataclass(frozen=True, eq=False)
class Served:
    """What serving a student costs, by level of a factor and fraction kept.

    Attributes
    ----------
    scale : Scale
        Fractions kept; the page takes the nearest.
    factor : str or None
        Whose levels answer at different lengths.
    values : mapping of str to array ``[levels, nodes]``
        ``latency_ms`` and ``price`` (dollars a million requests), each with its range as ``_low``
        and ``_high``; NaN where the student does not fit.
    words : str
        The server and its work.
    notes : tuple of Note
    """

    scale: Scale
    factor: str | None
    values: Mapping[str, Array]
    words: str
    notes: tuple[Note, ...]


def served_of(
    serving: Serving,
    whole: Shape,
    log: RunLog,
    outcomes: Mapping[str, Outcome],
    factors: Mapping[str, tuple[str, ...]],
    pruning: Pruning | None = None,
) -> Served:
    """Return what serving costs at every fraction kept.

    Students are cut as `pruning` says, else as those of the log are; see `students_of`.

    Answers are as long as the log says for each format, else each level of the first factor (median
    of ``tokens_out``); else as long as `serving` says.

    Raises
    ------
    ValueError
        If no law has the axis ``kept``, or the whole model can't be pruned so far.
    """
    scales = [s for one in outcomes.values() for s in one.extent.scales if s.name == "kept"]
    if not scales:
        raise ValueError("serving needs a law of `kept`; leave it out.")
    low, high = min(s.low for s in scales), max(s.high for s in scales)
    scale = Scale("kept", low, high, _NODES, scales[0].seen)
    fit = next(one for one in outcomes.values() if _of_kept(one)).choice.best
    rows = fit.problem.frame
    sizes, notes = students_of(whole, scale.values, rows, pruning)
    bits = [whole.weight_bits if serving.weight_bits is None else serving.weight_bits]
    notes += bits_notes(rows, fit.law.by, bits, "students")
    sizes = at_bits(sizes, serving)
    factor = "format" if "format" in factors else next(iter(factors), None)
    lengths = _lengths(log, factor, factors, serving)
    parts = [serving.evaluate(sizes.assign(tokens_out=n)) for n in lengths]
    values = {
        name: np.stack([part[name].to_numpy(dtype=float) for part in parts])
        for name in ("latency_ms", "latency_ms_low", "latency_ms_high", "price_low", "price_high")
    }
    values["price"] = np.sqrt(values["price_low"] * values["price_high"])
    work = f"batch {serving.batch:g}" if serving.load is None else f"{serving.load:g} requests/s"
    out = " / ".join(f"{n:g}" for n in dict.fromkeys(lengths))
    words = (
        f"{whole.name or 'the model'} pruned, on {serving.replicas} × {serving.gpus} "
        f"{serving.device.name}: {serving.tokens_in:g} tokens in, {out} out, {work}"
    )
    return Served(
        scale, factor if len(lengths) > 1 else None, values, words, (*notes, *serving.notes)
    )


def _of_kept(one: Outcome) -> bool:
    return any(s.name == "kept" for s in one.extent.scales)


def _lengths(
    log: RunLog,
    factor: str | None,
    factors: Mapping[str, tuple[str, ...]],
    serving: Serving,
) -> list[float]:
    if factor is None or "tokens_out" not in log.frame:
        return [serving.tokens_out]
    medians: pd.Series[float] = log.frame.groupby(log.frame[factor].astype(str))[
        "tokens_out"
    ].median()
    found = [float(medians.get(level, np.nan)) for level in factors[factor]]
    return [n if np.isfinite(n) else serving.tokens_out for n in found]
