"""Dated facts on hardware: peaks from data sheets, prices from surveys. Data beside this file."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import pandas as pd

from scaling_laws.readers.table import Note

__all__ = ["Hardware", "Price", "hardware", "hardware_table", "peak_flops"]


@dataclass(frozen=True)
class Price:
    """What an hour of one device costs.

    Parameters
    ----------
    low, high : float
        Dollars an hour: the range of offers, not one of them.
    date, source : str
        When, and according to whom.

    Raises
    ------
    ValueError
        For a range that is not positive and rising.
    """

    low: float
    high: float
    date: str = ""
    source: str = "given"

    def __post_init__(self) -> None:
        """Refuse what is no range."""
        if not 0 <= self.low <= self.high < float("inf"):
            raise ValueError(
                f"Price: {self.low} to {self.high} dollars an hour is no range; write the lower "
                "end first."
            )

    @classmethod
    def of(cls, given: Price | float | Sequence[float]) -> Price:
        """Take a price, one number or a pair."""
        if isinstance(given, Price):
            return given
        if isinstance(given, int | float):
            return cls(float(given), float(given))
        if len(given) != 2:
            raise ValueError(f"price = {given!r}; write a number of dollars an hour, or a pair.")
        return cls(float(given[0]), float(given[1]))


@dataclass(frozen=True)
class Hardware:
    """One accelerator.

    Parameters
    ----------
    name : str
    peak_flops : float
        Dense bfloat16 multiply-adds counted as two, FLOP/s.
    bandwidth : float
        Of its memory, bytes/s.
    memory : float
        Bytes.
    price : Price, optional
        For an hour.
    source : str
        Where the numbers are from.
    edition : str
        Of that document; "not stated" where the table does not know which was read.
    date : str
        When the numbers were entered into the table.

    Raises
    ------
    ValueError
        For a number that is not positive.
    """

    name: str
    peak_flops: float
    bandwidth: float
    memory: float
    price: Price | None = None
    source: str = "given"
    edition: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        """Refuse what no device has."""
        for field in ("peak_flops", "bandwidth", "memory"):
            value = getattr(self, field)
            if not 0 < value < float("inf"):
                raise ValueError(f"Hardware {self.name!r}: {field} = {value} is not positive.")

    @property
    def price_notes(self) -> tuple[Note, ...]:
        """Where a price is from that nobody gave."""
        price = self.price
        if price is None or not price.date:
            return ()
        sentence = (
            f"An hour of {self.name} costs ${price.low:.2f} to ${price.high:.2f} ({price.source}, "
            f"{price.date})."
        )
        return (Note("price", "info", sentence),)

    def priced(self, price: Price | float | Sequence[float] | None) -> Hardware:
        """Return the device at another price an hour; None leaves it."""
        return self if price is None else replace(self, price=Price.of(price))


def _rows(name: str) -> list[dict[str, str]]:
    text = (files("scaling_laws.cost") / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def _devices() -> Mapping[str, Hardware]:
    prices = {
        row["name"]: Price(float(row["low"]), float(row["high"]), row["date"], row["source"])
        for row in _rows("prices.csv")
    }
    return {
        row["name"]: Hardware(
            row["name"],
            float(row["peak_flops"]),
            float(row["bandwidth"]),
            float(row["memory"]),
            prices.get(row["name"]),
            row["source"],
            row["edition"],
            row["entered"],
        )
        for row in _rows("hardware.csv")
    }


def hardware(name: str | Hardware) -> Hardware:
    """Return a device of the table, from NVIDIA's data sheets (SXM where there are two).

    Raises
    ------
    KeyError
        For another name; `Hardware` takes any device's own numbers.
    """
    if isinstance(name, Hardware):
        return name
    known = _devices()
    if name.upper() not in known:
        raise KeyError(
            f"hardware {name!r} is not in the table; there are {', '.join(known)}. Write "
            "Hardware(name, peak_flops=, bandwidth=, memory=) with its data sheet's numbers."
        )
    return known[name.upper()]


def hardware_table() -> pd.DataFrame:
    """Return all devices with what dates them: where each number is from, and of when.

    Returns
    -------
    DataFrame
        By name: ``peak_flops`` (FLOP/s), ``bandwidth`` (bytes/s), ``memory`` (bytes), ``source``
        with its ``edition`` ("not stated" where unknown) and the ``date`` of entry; ``price_low``,
        ``price_high`` (dollars an hour), ``price_source``, ``price_date``, missing where no survey
        has it.
    """
    rows: list[dict[str, object]] = []
    for one in _devices().values():
        told: dict[str, object] = {
            "name": one.name, "peak_flops": one.peak_flops, "bandwidth": one.bandwidth,
            "memory": one.memory, "source": one.source, "edition": one.edition, "date": one.date,
        }  # fmt: skip
        if one.price is not None:
            told |= {"price_low": one.price.low, "price_high": one.price.high,
                     "price_source": one.price.source, "price_date": one.price.date}  # fmt: skip
        rows.append(told)
    return pd.DataFrame(rows).set_index("name")


def peak_flops(device_name: str) -> float | None:
    """Return the dense bfloat16 peak of a GPU by the name that its driver gives it, FLOP/s.

    None if the name is not known, or is that of a slower card (PCIe, NVL) of the same chip.
    """
    words = device_name.replace("-", " ").split()
    other_card = "PCIe" in words or "NVL" in words
    for row in _rows("hardware.csv"):
        if row["name"] in words and not (other_card and row["cards"] == "SXM"):
            return float(row["peak_flops"])
    return None
