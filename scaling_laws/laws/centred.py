"""Laws that are no sum of a limit and terms: written on the mean, in logarithms.

The literature prints amplitudes at one parameter, one token or one example, far outside any data.
The kernel moves them at the centre of the data instead, where they are of the size of the curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.base import Frame, Law, Param, Values

__all__ = ["CentredLaw", "amplitude", "exponent", "softplus"]

Array = NDArray[np.float64]


def softplus(z: Array) -> tuple[Array, Array]:
    """Return ``log(1 + e^z)`` and its slope, finite for every z."""
    # One exponential, of what is not above 0, serves both.
    e = np.exp(-np.abs(z))
    return np.maximum(z, 0.0) + np.log1p(e), np.where(z >= 0.0, 1.0, e) / (1.0 + e)


def amplitude(meaning: str, unit: str = "{metric}") -> Param:
    """Declare an amplitude: positive, printed at 1 of its axes."""
    return Param(meaning, unit, lower=1e-300, role="amplitude", scale="log")


def exponent(meaning: str, lower: float = 0.01, upper: float = 3.0) -> Param:
    """Declare the exponent of a power law."""
    return Param(meaning, lower=lower, upper=upper, search=(max(0.05, lower), min(1.5, upper)))


class CentredLaw(Law):
    """A formula of ``x = log(axis / centre)``, with amplitudes that move with the centre.

    Subclasses write `formula` and `derivatives` of logarithms, and say in `shifts` by which factor
    each amplitude is multiplied at the centre.
    """

    #: Axes that enter as logarithms relative to the centre of the data; others stay as they are.
    log_axes: tuple[str, ...] = ()
    #: Axes that share another one's centre.
    same_centre: ClassVar[Mapping[str, str]] = {}

    def shifts(self, p: Values, centre: Mapping[str, float]) -> Mapping[str, Array | float]:
        """Return, per amplitude, the logarithm of its factor at ``centre`` (log of each axis)."""
        return {}

    def log_centre(self, frame: Frame) -> dict[str, float]:
        """Return the logarithm of the reference point: 0 where amplitudes are the printed ones."""
        if not frame.local:
            return dict.fromkeys(self.log_axes, 0.0)
        return {a: float(np.log(frame.centre[self.same_centre.get(a, a)])) for a in self.log_axes}

    def prepare(self, raw: Values, frame: Frame) -> dict[str, Array]:
        """Logarithms relative to the centre of the data."""
        centre = self.log_centre(frame)
        with np.errstate(divide="ignore"):
            return {k: np.log(v) - centre[k] if k in centre else v for k, v in raw.items()}

    def natural(self, theta: Values, frame: Frame) -> dict[str, Array]:
        """Return the printed parameters."""
        p = super().natural(theta, frame)
        with np.errstate(over="ignore"):
            for name, shift in self.shifts(p, self.log_centre(frame)).items():
                p[name] = p[name] * np.exp(-np.asarray(shift))
        return p

    def working(self, natural: Values, frame: Frame) -> dict[str, Array]:
        """Return the kernel's coordinates of printed parameters."""
        p = {k: np.asarray(v, float) for k, v in natural.items()}
        for name, shift in self.shifts(p, self.log_centre(frame)).items():
            p[name] = p[name] * np.exp(np.asarray(shift))
        return super().working(p, frame)
