"""The constants of the latency formulas: where they come from, and how well they are known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scaling_laws.readers.table import Note

from .render import Printed, interval, quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CONSTANTS", "MEANINGS", "Calibration", "calibration"]

Range = tuple[float, float]

CONSTANTS = ("mbu", "mfu", "t0", "ts", "mfu_prefill")

MEANINGS: Mapping[str, str] = {
    "mbu": "share of the memory bandwidth that decoding reaches",
    "mfu": "share of the peak FLOP/s that decoding reaches",
    "t0": "seconds a layer takes beside, a step or prefill",
    "ts": "seconds a sequence takes beside, a step",
    "mfu_prefill": "share of the peak FLOP/s that prefill reaches",
}


@dataclass(frozen=True, repr=False)
class Calibration(Printed):
    """Constants of one kind of server on one kind of hardware.

    Parameters
    ----------
    mbu, mfu : float in (0, 1]
        Utilisation of bandwidth and of FLOPs in decoding.
    t0, ts : float
        Seconds a layer and a sequence take beside.
    prefill : (float, float)
        Range of the utilisation of FLOPs in prefill.
    hardware : str
        Name of the device that was measured.
    source : str
        What was measured, and by whom.
    mfu_prefill : float, optional
        Estimate of the same, where it was measured.
    level : float
        Of the intervals.
    intervals : mapping of str to (float, float)
        By constant; without an entry where none is known.
    unidentified : tuple of str
        Constants that the rows do not fix apart from one another: predictions like the rows stand,
        the constants and other predictions do not.
    residuals : DataFrame or None
        A row a measurement: ``measured_ms``, ``fitted_ms``, ``error`` (fitted / measured - 1).
    notes : tuple of Note

    Raises
    ------
    ValueError
        For a utilisation outside (0, 1] or a negative time.
    """

    mbu: float
    mfu: float
    t0: float
    ts: float
    prefill: tuple[float, float]
    hardware: str
    source: str = "given"
    mfu_prefill: float | None = None
    level: float = 0.9
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, Range])
    unidentified: tuple[str, ...] = ()
    residuals: pd.DataFrame | None = field(default=None, compare=False)
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no server has."""
        for name, value in (("mbu", self.mbu), ("mfu", self.mfu)):
            if not 0 < value <= 1:
                raise ValueError(f"Calibration: {name} = {value} is not in (0, 1].")
        for name, value in (("t0", self.t0), ("ts", self.ts)):
            if not 0 <= value < 1:
                raise ValueError(f"Calibration: {name} = {value} s is not in [0, 1).")
        if len(self.prefill) != 2 or not 0 < self.prefill[0] <= self.prefill[1] <= 1:
            raise ValueError(
                f"Calibration: prefill = {self.prefill} is no range in (0, 1]; write (low, high)."
            )

    @property
    def middle_prefill(self) -> float:
        """Utilisation in prefill: the estimate, or the geometric middle of its range."""
        if self.mfu_prefill is not None:
            return self.mfu_prefill
        return float(np.sqrt(self.prefill[0] * self.prefill[1]))

    @property
    def frame(self) -> pd.DataFrame:
        """A row a constant: ``estimate``, ``low``, ``high``, ``identified``, ``meaning``."""
        values = {"mbu": self.mbu, "mfu": self.mfu, "t0": self.t0, "ts": self.ts}
        values["mfu_prefill"] = self.middle_prefill
        known = dict(self.intervals)
        known.setdefault("mfu_prefill", self.prefill)
        nothing = (float("nan"), float("nan"))
        rows = [
            (values[n], *known.get(n, nothing), n not in self.unidentified, MEANINGS[n])
            for n in CONSTANTS
        ]
        return pd.DataFrame(
            rows,
            columns=["estimate", "low", "high", "identified", "meaning"],
            index=pd.Index(CONSTANTS, name="constant"),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw fitted times against measured ones; returns the Axes.

        Raises
        ------
        ValueError
            If no measured rows came with the constants.
        """
        from scaling_laws.plot.costs import plot_calibration

        return plot_calibration(self, ax)

    def _title(self) -> str:
        return f"Calibration for {self.hardware}: {self.source}"

    def _lines(self) -> Sequence[tuple[str, str]]:
        lines: list[tuple[str, str]] = []
        for name, row in self.frame.iterrows():
            low, high = float(row["low"]), float(row["high"])
            range_ = "no interval known" if np.isnan(low) else interval(low, high)
            fixed = "" if row["identified"] else "not identified; "
            value = quantity(float(row["estimate"]))
            lines.append((str(name), f"{value} ({fixed}{range_}): {row['meaning']}"))
        if self.residuals is not None:
            error = float(self.residuals["error"].abs().mean())
            words = f"{error:.1%} mean error over {len(self.residuals)} measurements"
            lines.append(("fit", words))
        return lines


@cache
def _shipped() -> Mapping[str, Calibration]:
    text = (files("scaling_laws.cost") / "data" / "calibrations.json").read_text(encoding="utf-8")
    out: dict[str, Calibration] = {}
    for row in json.loads(text):
        notes = tuple(Note("calibration", "info", sentence) for sentence in row["notes"])
        out[row["name"]] = Calibration(
            row["mbu"], row["mfu"], row["t0"], row["ts"], tuple(row["prefill"]),
            row["hardware"], row["source"], notes=notes,
        )  # fmt: skip
    return out


def calibration(name: str = "H100/vLLM") -> Calibration:
    """Return constants that come with the package, with their provenance.

    Raises
    ------
    KeyError
        For another name: `calibrate` fits the constants of your own server.
    """
    if name not in _shipped():
        raise KeyError(
            f"calibration {name!r} is not shipped; there are {', '.join(_shipped())}. Fit your own "
            "from measured rows with calibrate."
        )
    return _shipped()[name]


def for_hardware(name: str) -> Calibration:
    """Return the shipped constants that were measured on a device.

    Raises
    ------
    KeyError
        If there are none.
    """
    for one in _shipped().values():
        if one.hardware == name:
            return one
    raise KeyError(
        f"no calibration is shipped for {name!r}, only for "
        f"{', '.join(c.hardware for c in _shipped().values())}. Fit one with calibrate, or pass "
        "calibration=calibration() and take its error on other hardware upon you."
    )
