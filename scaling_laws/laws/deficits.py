"""The building blocks of a law: what is lost by finite data, finite size, or pruning.

Each block is one term ``amplitude * T(x; shape)`` of ``score: eta = limit - sum(terms)`` or
``loss = limit + sum(terms)``. In a *local* frame a block's amplitude is its slope at the centre of
the data, ``a T = s (T - 1) / b + const``, which stays smooth when an exponent passes through 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.base import Frame, Law, Values

Array = NDArray[np.float64]

__all__ = ["Decay", "Deficit", "DeficitLaw", "Product", "RectifiedDecay", "ScaledDecay", "Shrink"]


class Deficit(Protocol):
    """One term of a law."""

    @property
    def amplitude(self) -> str:
        """Name of the amplitude."""
        ...

    def basis(
        self, x: Values, p: Values, frame: Frame, slopes: bool = True
    ) -> tuple[Array, Mapping[str, Array]]:
        """Return the term for amplitude 1 and its derivatives in the shapes."""
        ...

    def outward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Turn the kernel's coordinates into printed parameters, in place."""
        ...

    def inward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Turn printed parameters into the kernel's coordinates, in place."""
        ...


def _expm1_over(q: Array, b: Array) -> tuple[Array, Array]:
    """``(e^q - 1) / b`` and ``e^q - 1`` for q proportional to b; the limit q / b where b is 0."""
    e = np.expm1(q)
    return e / b, e


# Below this an exponent is numerically 0: (e^{bu} - 1)/b differs from its limit by b u^2 / 2.
_TINY = 1e-7


def _nonzero(b: Array) -> Array:
    return np.where(np.abs(b) < _TINY, _TINY, b)


def _anchor(frame: Frame, axis: str, report: float | None) -> float:
    """Log distance from the printed reference point to the centre; 0 outside a local frame."""
    return 0.0 if report is None else float(np.log(frame.centre[axis] / report))


@dataclass(frozen=True)
class Decay:
    """``T = u^-b``, ``u`` relative to the geometric mean of the data (to `report` if given)."""

    amplitude: str
    axis: str
    exponent: str
    report: float | None = None

    def basis(
        self, x: Values, p: Values, frame: Frame, slopes: bool = True
    ) -> tuple[Array, Mapping[str, Array]]:
        """Return the term for amplitude 1 and its derivatives in the shapes."""
        u = x[self.axis]
        if not self.local(frame):
            t = np.exp(-p[self.exponent] * u)
            return t, {self.exponent: -u * t} if slopes else {}
        b = _nonzero(p[self.exponent])
        w, e = _expm1_over(-b * u, b)
        return w, {self.exponent: -(u * (e + 1.0) + w) / b} if slopes else {}

    def local(self, frame: Frame) -> bool:
        """Whether the amplitude is a slope here."""
        return frame.local and frame.sign < 0

    def outward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Turn the kernel's coordinates into printed parameters, in place."""
        b = p[self.exponent]
        if self.local(frame):
            flat = b <= 0
            with np.errstate(all="ignore"):
                p[self.amplitude] = np.where(flat, np.inf, p[self.amplitude] / b)
                p[limit] = p[limit] - frame.sign * p[self.amplitude]
        p[self.amplitude] = p[self.amplitude] * np.exp(b * self._shift(frame))

    def inward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Turn printed parameters into the kernel's coordinates, in place."""
        b = p[self.exponent]
        p[self.amplitude] = p[self.amplitude] * np.exp(-b * self._shift(frame))
        if self.local(frame):
            p[limit] = p[limit] + frame.sign * p[self.amplitude]
            p[self.amplitude] = p[self.amplitude] * b

    def _shift(self, frame: Frame) -> float:
        return _anchor(frame, self.axis, self.report) if frame.local else 0.0


@dataclass(frozen=True)
class RectifiedDecay:
    """``T = (1 + d) / (u^b + d)``: flat until the examples exceed what was known before.

    The kernel moves ``q = d / (1 + d)``: ``T = 1 / ((1 - q) u^b + q)``.
    """

    amplitude: str
    axis: str
    exponent: str
    offset: str

    def basis(
        self, x: Values, p: Values, frame: Frame, slopes: bool = True
    ) -> tuple[Array, Mapping[str, Array]]:
        """Return the term for amplitude 1 and its derivatives in the shapes."""
        u, q = x[self.axis], p[self.offset]
        b = _nonzero(p[self.exponent])
        g, e = _expm1_over(b * u, b)  # g = (u^b - 1) / b
        t = 1.0 / (1.0 + (1.0 - q) * b * g)
        local = frame.local and frame.sign < 0
        if not slopes:
            return -g * t if local else t, {}
        e = e + 1.0
        if not local:
            return t, {
                self.exponent: -(1.0 - q) * u * e * t * t,
                self.offset: b * g * t * t,
            }
        # (T - 1) / (b (1 - q)) = -g T: slope -1 at the centre whatever b and q are.
        return -g * t, {
            self.exponent: -t * t * ((u * e - g) / b - (1.0 - q) * g * g),
            self.offset: -g * g * b * t * t,
        }

    def outward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Turn the kernel's coordinates into printed parameters, in place."""
        q = p[self.offset]
        if frame.local and frame.sign < 0:
            rate = p[self.exponent] * (1.0 - q)
            with np.errstate(all="ignore"):
                p[self.amplitude] = np.where(rate <= 0, np.inf, p[self.amplitude] / rate)
                p[limit] = p[limit] - frame.sign * p[self.amplitude]
        p[self.offset] = q / (1.0 - q)

    def inward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Turn printed parameters into the kernel's coordinates, in place."""
        p[self.offset] = p[self.offset] / (1.0 + p[self.offset])
        if frame.local and frame.sign < 0:
            p[limit] = p[limit] + frame.sign * p[self.amplitude]
            p[self.amplitude] = p[self.amplitude] * p[self.exponent] * (1.0 - p[self.offset])


@dataclass(frozen=True)
class Shrink:
    """``T = v^-g - 1``: 0 for the whole model, growing as it is pruned; ``x`` holds ``w = -log v``.

    Local: ``(e^{g (w - w0)} - e^{-g w0}) / g``, still 0 at v = 1.
    """

    amplitude: str
    axis: str
    exponent: str

    def basis(
        self, x: Values, p: Values, frame: Frame, slopes: bool = True
    ) -> tuple[Array, Mapping[str, Array]]:
        """Return the term for amplitude 1 and its derivatives in the shapes."""
        w = x[self.axis]
        if not frame.local:
            g = p[self.exponent]
            return np.expm1(g * w), {self.exponent: w * np.exp(g * w)} if slopes else {}
        g, w0 = _nonzero(p[self.exponent]), self._centre(frame)
        k, e = _expm1_over(g * w, g)
        k = k * np.exp(-g * w0)
        if not slopes:
            return k, {}
        e = (e + 1.0) * np.exp(-g * w0)
        return k, {self.exponent: (w * e - k) / g - w0 * k}

    def _centre(self, frame: Frame) -> float:
        return float(-np.log(frame.centre[self.axis]))

    def outward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Turn the kernel's coordinates into printed parameters, in place."""
        if frame.local:
            g = p[self.exponent]
            with np.errstate(all="ignore"):
                scaled = p[self.amplitude] * np.exp(-g * self._centre(frame)) / g
                p[self.amplitude] = np.where(g <= 0, np.inf, scaled)

    def inward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Turn printed parameters into the kernel's coordinates, in place."""
        if frame.local:
            g = p[self.exponent]
            p[self.amplitude] = p[self.amplitude] * g * np.exp(g * self._centre(frame))


@dataclass(frozen=True)
class ScaledDecay:
    """``T = u^-b v^-h``: what finite data cost, more so for a smaller student."""

    amplitude: str
    axis: str
    exponent: str
    size: str
    size_exponent: str

    def basis(
        self, x: Values, p: Values, frame: Frame, slopes: bool = True
    ) -> tuple[Array, Mapping[str, Array]]:
        """Return the term for amplitude 1 and its derivatives in the shapes."""
        u, w = x[self.axis], x[self.size]
        t = np.exp(p[self.size_exponent] * w - p[self.exponent] * u)
        return t, {self.exponent: -u * t, self.size_exponent: w * t} if slopes else {}

    def outward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Both frames print the same numbers: this term has no smooth limit at exponent 0."""

    def inward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Both frames print the same numbers."""


@dataclass(frozen=True)
class Product:
    """``T = v^s prod_i x_i^-b_i``, printed at 1 of every axis as the literature does.

    `decays` maps an axis to its exponent; `grows` is a fraction ``v`` and its exponent, if any.
    """

    amplitude: str
    decays: Mapping[str, str]
    grows: tuple[str, str] | None = None

    def basis(
        self, x: Values, p: Values, frame: Frame, slopes: bool = True
    ) -> tuple[Array, Mapping[str, Array]]:
        """Return the term for amplitude 1 and its derivatives in the shapes."""
        # A fraction's axis holds -log v, so that all of them decay alike.
        pairs = [*self.decays.items(), *([self.grows] if self.grows else [])]
        t = np.exp(-sum(p[exponent] * x[axis] for axis, exponent in pairs))
        return t, {exponent: -x[axis] * t for axis, exponent in pairs} if slopes else {}

    def outward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Turn the kernel's coordinates into printed parameters, in place."""
        p[self.amplitude] = p[self.amplitude] * np.exp(self._shift(p, frame))

    def inward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Turn printed parameters into the kernel's coordinates, in place."""
        p[self.amplitude] = p[self.amplitude] * np.exp(-self._shift(p, frame))

    def _shift(self, p: Values, frame: Frame) -> Array:
        total = np.zeros(())
        for axis, exponent in self.decays.items():
            if frame.local:
                total = total + p[exponent] * _anchor(frame, axis, 1.0)
        return total


class DeficitLaw(Law):
    """A limit and what keeps a student from it; subclasses list their `deficits`."""

    output: ClassVar[Literal["eta", "mean"]] = "eta"
    limit: ClassVar[str] = "E"
    deficits: tuple[Deficit, ...] = ()

    def prepare(self, raw: Values, frame: Frame) -> dict[str, Array]:
        """Logarithms relative to the reference point; for a size, ``-log`` of the fraction."""
        x: dict[str, Array] = {}
        for axis in self.axis_list():
            if axis.name in self.size_axes:
                x[axis.name] = -np.log(raw[axis.name] / (axis.report or 1.0))
            else:
                at = axis.report if axis.report and not frame.local else frame.centre[axis.name]
                x[axis.name] = np.log(raw[axis.name] / at)
        return x

    #: Axes that are fractions of a whole model.
    size_axes: tuple[str, ...] = ()

    def evaluate(
        self, x: Values, theta: Values, frame: Frame, slopes: bool = True
    ) -> tuple[Array, dict[str, Array]]:
        """Return ``eta`` and its derivatives in the kernel's coordinates."""
        eta: Array = theta[self.limit]
        d: dict[str, Array] = {self.limit: np.ones((1, 1))}
        for term in self.deficits:
            basis, shapes = term.basis(x, theta, frame, slopes)
            signed = frame.sign * theta[term.amplitude]
            # In place: a large array less is made.
            part = np.asarray(signed * basis)
            part += eta
            eta = part
            if not slopes:
                continue
            d[term.amplitude] = frame.sign * basis
            for name, slope in shapes.items():
                more = signed * slope
                d[name] = d[name] + more if name in d else more
        return eta, d

    def natural(self, theta: Values, frame: Frame) -> dict[str, Array]:
        """Return the printed parameters."""
        p = {k: np.array(v, float) for k, v in theta.items()}
        for term in self.deficits:
            term.outward(p, frame, self.limit)
        return p

    def working(self, natural: Values, frame: Frame) -> dict[str, Array]:
        """Return the kernel's coordinates of printed parameters."""
        p = {k: np.array(v, float) for k, v in natural.items()}
        for term in self.deficits:
            term.inward(p, frame, self.limit)
        return p
