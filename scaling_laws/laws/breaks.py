"""Curves that bend: smoothly broken power laws, and power laws bounded on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.base import Axis, Frame, Param, Values
from scaling_laws.laws.centred import CentredLaw, softplus
from scaling_laws.laws.deficits import DeficitLaw

__all__ = ["Bounded", "Broken"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BrokenDecay:
    """``T = x^-c0 prod_i (1 + (x / d_i)^(1/f_i))^(-c_i f_i)``, printed at ``x = 1``.

    The kernel moves ``log d_i`` and ``log f_i``, and the amplitude at the centre of the data.
    """

    amplitude: str
    axis: str
    breaks: int

    def basis(
        self, x: Values, p: Values, frame: Frame, slopes: bool = True
    ) -> tuple[Array, Mapping[str, Array]]:
        """Return the term for amplitude 1 and its derivatives in the shapes."""
        centre = self._centre(frame)
        log_t, d = self._log(x[self.axis] + centre, p)
        if frame.local:
            log_0, d_0 = self._log(np.asarray(centre), p)
            log_t, d = log_t - log_0, {k: d[k] - d_0[k] for k in d}
        t = np.exp(log_t)
        return t, {k: t * v for k, v in d.items()} if slopes else {}

    def _log(self, u: Array, p: Values) -> tuple[Array, dict[str, Array]]:
        """``log T`` at ``log x = u``, and its derivatives in the kernel's coordinates."""
        log_t = -p["c0"] * u
        d: dict[str, Array] = {"c0": -u}
        for i in range(1, self.breaks + 1):
            c, f = p[f"c{i}"], np.exp(p[f"f{i}"])
            z = (u - p[f"d{i}"]) / f
            soft, weight = softplus(z)
            log_t = log_t - c * f * soft
            d[f"c{i}"] = -f * soft
            d[f"d{i}"] = c * weight
            d[f"f{i}"] = -c * f * (soft - weight * z)
        return log_t, d

    def _centre(self, frame: Frame) -> float:
        return float(np.log(frame.centre[self.axis])) if frame.local else 0.0

    def outward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Turn the kernel's coordinates into printed parameters, in place."""
        if frame.local:
            log_0, _ = self._log(np.asarray(self._centre(frame)), p)
            with np.errstate(over="ignore"):
                p[self.amplitude] = p[self.amplitude] * np.exp(-log_0)
        for name in self._scaled():
            p[name] = np.exp(p[name])

    def inward(self, p: dict[str, Array], frame: Frame, limit: str) -> None:
        """Turn printed parameters into the kernel's coordinates, in place."""
        for name in self._scaled():
            p[name] = np.log(p[name])
        if frame.local:
            log_0, _ = self._log(np.asarray(self._centre(frame)), p)
            p[self.amplitude] = p[self.amplitude] * np.exp(log_0)

    def _scaled(self) -> list[str]:
        return [f"{letter}{i}" for i in range(1, self.breaks + 1) for letter in "df"]


_ANYWHERE = (1e-3, 1e18)
# Where the axes of a run log usually lie: a break far outside the data cannot be found.
_USUAL = {
    "examples": (10.0, 1e7), "tokens": (1e7, 1e13), "params": (1e6, 1e12), "kept": (0.02, 1.0),
}  # fmt: skip


class Broken(DeficitLaw):
    """``loss = a + b x^-c0 prod_i (1 + (x / d_i)^(1/f_i))^(-c_i f_i)``: smooth breaks.

    Before the first break the slope in log-log is ``-c0``; each break at ``d_i`` adds ``-c_i`` to
    it, over a range that grows with ``f_i``. ``b`` is printed at ``x = 1``. For a score the same
    deficit is taken from its limit on the logit scale. Breaks are not ordered: exchanging two of
    them is the same curve.

    Parameters
    ----------
    axis : str
        The column it is a function of (``examples`` by default).
    breaks : int
        Number of breaks, 1 or more.
    between : (float, float), optional
        Bounds of the breaks, in units of the axis: the range of the data is a good choice, and two
        breaks or more need it. Without, breaks are unbounded and first looked for where such data
        usually lie (10 to 1e7 examples).
    by, share
        See `Law`.

    References
    ----------
    .. [1] E. Caballero et al., "Broken neural scaling laws", arXiv 2210.14891, Eq. 1.
    """

    limit = "a"

    def __init__(
        self,
        axis: str = "examples",
        breaks: int = 1,
        between: tuple[float, float] | None = None,
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        if breaks < 1:
            raise ValueError(f"breaks = {breaks}: Broken has one or more; without, use Power.")
        if between is not None and not 0 < between[0] < between[1]:
            raise ValueError(f"between = {between}: give two positive values, the lower first.")
        self.axis, self.breaks = axis, int(breaks)
        self.between = None if between is None else (float(between[0]), float(between[1]))
        self.axes = (Axis(axis, report=1.0),)
        self.deficits = (BrokenDecay("b", axis, self.breaks),)
        bends = " ".join(
            f"(1 + ({axis}/d{i})^(1/f{i}))^(-c{i} f{i})" for i in range(1, self.breaks + 1)
        )
        self.formula_text = f"a + b {axis}^-c0 {bends}"
        super().__init__(by, share, axis=axis, breaks=breaks, between=self.between)

    def declare(self) -> dict[str, Param]:
        """Return limit, amplitude and first slope, then three parameters a break."""
        low, high = self.between or _ANYWHERE
        sought = self.between or _USUAL.get(self.axis)
        found = {
            "a": Param("limit far beyond the last break", "{metric}", soft=-np.inf, role="limit"),
            "b": Param("size of what decays, at 1", "{metric}", role="amplitude"),
            "c0": Param("slope before the first break", lower=-2.0, upper=5.0, search=(-0.2, 1.0)),
        }
        for i in range(1, self.breaks + 1):
            found[f"c{i}"] = Param(
                f"change of slope at break {i}", lower=-10.0, upper=10.0, search=(-1.0, 3.0)
            )
            found[f"d{i}"] = Param(
                f"where break {i} lies", self.axis, lower=low, upper=high, scale="log",
                search=sought,
            )  # fmt: skip
            found[f"f{i}"] = Param(
                f"how gradual break {i} is", lower=1e-3, upper=10.0, scale="log",
                search=(0.03, 2.0),
            )  # fmt: skip
        return found


# Halley's method needs five steps at most from its start, over all that is representable.
_STEPS = 60
_SETTLED = 1e-14


def logit_share(q: Array, a: Array) -> Array:
    """Return ``t`` with ``t + (a - 1) log(1 + e^t) = q``: the logit of ``(L - E) / (L0 - E)``.

    The left side rises with a slope between 1 and a and bends one way only; Halley's method from
    the nearer of its two asymptotes, ``min(q, q/a)`` (a > 1) or ``max(q, q/a)`` (a < 1), triples
    the digits at every step.
    """
    t = np.where(a > 1.0, np.minimum(q, q / a), np.maximum(q, q / a))
    for _ in range(_STEPS):
        soft, weight = softplus(t)
        off = t + (a - 1.0) * soft - q
        slope = 1.0 + (a - 1.0) * weight
        bend = (a - 1.0) * weight * (1.0 - weight)
        step = 2.0 * off * slope / (2.0 * slope**2 - off * bend)
        t = t - step
        # What is not a number stays so, and is not waited for.
        if not np.any(np.abs(step) > _SETTLED * (1.0 + np.abs(t))):
            break
    return t


class Bounded(CentredLaw):
    """``(L - E) / (L0 - L)^a = B x^-c``: a power law bounded on both sides, solved for ``L``.

    ``E < L < L0``: ``L0`` without data, ``E`` with infinitely many. For a score ``L`` is the error
    ``top - score``. With ``a = 1``, ``L = E + (L0 - E) / (1 + x^c / B)``; other ``a`` have no
    closed form: Halley's method on the logit of ``(L - E) / (L0 - E)``, which is the logarithm of
    ``L - E`` where that is small, and derivatives of the implicit function. ``B`` is printed at
    ``x = 1``.

    Parameters
    ----------
    axis : str
        The column it is a function of (``examples`` by default).
    top : float, optional
        Best score; `sl.fit` sets it from the metric. None: the metric is itself a loss or an error.
    by, share
        See `Law`.

    References
    ----------
    .. [1] I. Alabdulmohsin et al., "Revisiting neural scaling laws in language and vision", arXiv
       2209.06640, section 4 (M4).
    """

    formula_text = "L with (L - E) / (L0 - L)^a = B x^-c"
    E = Param("error of infinite {axis}", "{metric}", role="amplitude")
    L0 = Param("error without {axis}", "{metric}", lower=1e-9, role="amplitude", scale="log")
    B = Param("what {axis} remove, at 1", lower=1e-300, role="amplitude", scale="log")
    a = Param(
        "how slowly the first {axis} help", lower=0.02, upper=20.0, scale="log", search=(0.3, 4.0)
    )
    c = Param("exponent of {axis}", lower=0.01, upper=3.0, search=(0.05, 1.5))

    def __init__(
        self,
        axis: str = "examples",
        top: float | None = None,
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        self.axis, self.top = axis, top
        self.axes = (Axis(axis, report=1.0),)
        self.log_axes = (axis,)
        super().__init__(by, share, axis=axis, top=top)

    def shifts(self, p: Values, centre: Mapping[str, float]) -> dict[str, Array]:
        """Return the factor ``x^-c`` of B at the centre."""
        return {"B": -p["c"] * centre[self.axis]}

    def _solved(self, x: Values, p: Values) -> tuple[Array, Array, Array]:
        """Error, logit of its share of the range, and the range."""
        span = np.where(p["L0"] > p["E"], p["L0"] - p["E"], np.nan)
        q = np.log(p["B"]) - p["c"] * x[self.axis] + (p["a"] - 1.0) * np.log(span)
        t = logit_share(q, p["a"])
        return p["E"] + span * softplus(t)[1], t, span

    def formula(self, x: Values, **params: Array) -> Array:
        """Return the score, or the loss."""
        error, _, _ = self._solved(x, params)
        return error if self.top is None else self.top - error

    def derivatives(self, x: Values, **params: Array) -> dict[str, Array]:
        """Return the derivatives of the implicit function."""
        _, t, span = self._solved(x, params)
        a = params["a"]
        soft, share = softplus(t)
        # d error / d q at fixed range; q moves with everything but E and L0 through log(range).
        gain = span * share * (1.0 - share) / (1.0 + (a - 1.0) * share)
        by_span = share + gain * (a - 1.0) / span
        found = {
            "E": 1.0 - by_span,
            "L0": by_span,
            "B": gain / params["B"],
            "a": gain * (np.log(span) - soft),
            "c": -gain * x[self.axis],
        }
        return found if self.top is None else {k: -v for k, v in found.items()}
