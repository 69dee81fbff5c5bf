"""What a list of trainings costs together: a cache is filled once for all that share it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from scaling_laws.readers.table import Note

from .render import Printed, interval, quantity
from .tracing import Traces
from .trainings import Range, Training

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Budget", "budget"]


@dataclass(frozen=True, repr=False)
class Budget(Printed):
    """The bill of a list of trainings and traces.

    Parameters
    ----------
    frame : DataFrame
        A row an item: its own numbers, ``cache_gpu_hours`` where it is the first to use a cache,
        else 0.
    gpu_hours : (float, float)
        Of all, each cache once.
    price : (float, float) or None
        None where an item has no price.
    cache_bytes : float
        Disk of all caches.
    notes : tuple of Note
    """

    frame: pd.DataFrame
    gpu_hours: Range
    price: Range | None
    cache_bytes: float
    notes: tuple[Note, ...]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the GPU-hours of each item; returns the Axes."""
        from scaling_laws.plot.costs import plot_budget

        return plot_budget(self, ax)

    def _title(self) -> str:
        return f"Budget of {len(self.frame)} items"

    def _lines(self) -> Sequence[tuple[str, str]]:
        lines = [("GPU-hours", interval(*self.gpu_hours))]
        if self.price is not None:
            lines.append(("dollars", interval(*self.price)))
        if self.cache_bytes:
            lines.append(("caches", quantity(self.cache_bytes, "B")))
        most = self.frame["memory_bytes"].max()
        if most == most:
            lines.append(("most memory", f"{quantity(float(most), 'B')} of a GPU"))
        return lines

    def _table(self) -> pd.DataFrame:
        rows: list[dict[str, str]] = []
        for _, row in self.frame.head(30).iterrows():
            hours = interval(row["gpu_hours_low"], row["gpu_hours_high"])
            rows.append(
                {
                    "item": str(row["name"]),
                    "tokens": quantity(float(row["tokens"])),
                    "GPU-hours": hours,
                    "dollars": interval(row["price_low"], row["price_high"]),
                    "memory": quantity(float(row["memory_bytes"]), "B"),
                }
            )
        return pd.DataFrame(rows)


def budget(items: Iterable[Training | Traces]) -> Budget:
    """Add up trainings and traces.

    Raises
    ------
    ValueError
        For an empty list.
    """
    listed = list(items)
    if not listed:
        raise ValueError("budget: there is nothing to add up.")
    seen: set[tuple[Any, ...]] = set()
    rows: list[pd.DataFrame] = []
    notes: list[Note] = []
    disk = 0.0
    for item in listed:
        row = item.frame.astype(object)
        if isinstance(item, Training):
            if item.cache_key is not None and item.cache_key in seen:
                row = row.assign(**_without_cache(item))
            elif item.cache_key is not None:
                seen.add(item.cache_key)
                disk += item.cache_bytes
        rows.append(row)
        notes += item.notes
    frame = pd.concat(rows, ignore_index=True).infer_objects()
    if "memory_bytes" not in frame:
        frame["memory_bytes"] = float("nan")
    return Budget(
        frame, _sum(frame, ("gpu_hours", "cache_gpu_hours")), _total_price(frame), disk,
        tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _without_cache(item: Training) -> dict[str, float]:
    price = item.hardware.price
    hours = item.gpu_hours
    nothing = float("nan")
    return {
        "cache_gpu_hours_low": 0.0,
        "cache_gpu_hours_high": 0.0,
        "cache_flops": 0.0,
        "cache_bytes": 0.0,
        "price_low": nothing if price is None else hours[0] * price.low,
        "price_high": nothing if price is None else hours[1] * price.high,
    }


def _sum(frame: pd.DataFrame, names: Sequence[str]) -> Range:
    low = sum(float(frame[f"{n}_low"].sum()) for n in names if f"{n}_low" in frame)
    high = sum(float(frame[f"{n}_high"].sum()) for n in names if f"{n}_high" in frame)
    return low, high


def _total_price(frame: pd.DataFrame) -> Range | None:
    return None if frame["price_low"].isna().any() else _sum(frame, ("price",))
