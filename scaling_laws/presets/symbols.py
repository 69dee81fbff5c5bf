"""What a published constant and a published axis are: digits, unit, error, range."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["Span", "Symbol"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Symbol:
    """A published constant.

    Attributes
    ----------
    text : str
        As printed; its last digit says how it was rounded.
    unit : str
    se, low, high : float or None
        Standard error and interval, only where the source published them.
    level : float
        Of the interval.
    """

    text: str
    unit: str
    se: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = 0.95

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit.

        >>> Symbol("0.40", "1").rounding, Symbol("1.2e5", "1").rounding
        (0.005, 5000.0)
        """
        place = Decimal(self.text).as_tuple().exponent
        return 0.5 * 10.0 ** int(place)

    @property
    def has_error(self) -> bool:
        """Whether the source published one."""
        return self.se is not None or (self.low is not None and self.high is not None)

    def spread(self, z: Array) -> Array:
        """Return the constant ``z`` standard deviations away, its logarithm for a positive one.

        A published interval is met at both ends; with a standard error alone it is even.
        """
        if self.low is not None and self.high is not None:
            reach = NormalDist().inv_cdf(0.5 + 0.5 * self.level)
            down, up = float(np.log(self.value / self.low)), float(np.log(self.high / self.value))
            return self.value * np.exp(np.where(z < 0, down, up) * z / reach)
        return self.value * np.exp((self.se or 0.0) / self.value * z)


@dataclass(frozen=True)
class Span:
    """An axis of a preset.

    Attributes
    ----------
    unit : str
    low, high : float or None
        Ends of the range that was fitted; None where not stated.
    scale : float
        The law sees the value over this.
    """

    unit: str
    low: float | None = None
    high: float | None = None
    scale: float = 1.0

    @property
    def open_ends(self) -> str:
        """Which ends the source does not state, in words; empty where it states both.

        >>> Span("tokens", high=9e9).open_ends
        'lower end'
        """
        missing = [w for w, v in (("lower", self.low), ("upper", self.high)) if v is None]
        return f"{' and '.join(missing)} end{'s' * (len(missing) - 1)}" if missing else ""

    def outside(self, x: Array) -> NDArray[np.bool_]:
        """Return which values lie beyond an end that is stated."""
        below = x < (-np.inf if self.low is None else self.low)
        return below | (x > (np.inf if self.high is None else self.high))

    def __str__(self) -> str:
        if self.low is None and self.high is None:
            return "not stated"
        low, high = ("?" if v is None else f"{v:.4g}" for v in (self.low, self.high))
        return f"{low} to {high}"
