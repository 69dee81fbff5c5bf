"""Laws of one axis of compression, on the score itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.base import Law, Param, Values

__all__ = ["Collapse", "Plateau"]

Array = NDArray[np.float64]


class Collapse(Law):
    """``score = floor + (acc1 - floor) (1 + k0^s) / (1 + (k0 / kept)^s)``.

    General knowledge against the fraction kept: the floored logit is a straight line in log kept,
    up to the factor that makes ``acc1`` the score of the whole model. The half-collapse point is
    solved from ``R(kept) = 1/2``; it is not ``k0``.

    Parameters
    ----------
    floor : float
        Score of a model that knows nothing; `sl.fit` sets it from the metric.
    by, share
        See `Law`.
    """

    formula_text = "floor + (acc1 - floor) (1 + k0^s) / (1 + (k0/kept)^s)"
    axes = ("kept",)
    acc1 = Param("score of the whole model", "{metric}", upper=1.0, role="limit")
    k0 = Param(
        "fraction kept at the middle of the collapse", lower=0.01, upper=3.0, scale="log", soft=None
    )
    s = Param("steepness of the collapse", lower=0.3, upper=200.0, scale="log", search=(0.5, 40.0))

    def __init__(
        self,
        floor: float | None = None,
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        self.floor = floor
        super().__init__(by, share, floor=floor)

    def _retention(self, kept: Array, k0: Array, s: Array) -> tuple[Array, Array, Array]:
        """R and the two logistic weights its derivatives need."""
        a = s * np.log(k0)
        b = a - s * np.log(kept)
        r = np.exp(np.logaddexp(0.0, a) - np.logaddexp(0.0, b))
        return (
            r,
            1.0 / (1.0 + np.exp(-np.clip(a, -500, 500))),
            1.0 / (1.0 + np.exp(-np.clip(b, -500, 500))),
        )

    def formula(self, x: Values, **params: Array) -> Array:
        """Return the score."""
        floor = self.floor or 0.0
        r, _, _ = self._retention(x["kept"], params["k0"], params["s"])
        return floor + (params["acc1"] - floor) * r

    def derivatives(self, x: Values, **params: Array) -> dict[str, Array]:
        """Return the derivatives in ``acc1``, ``k0`` and ``s``."""
        k0, s, kept = params["k0"], params["s"], x["kept"]
        r, sa, sb = self._retention(kept, k0, s)
        span = (params["acc1"] - (self.floor or 0.0)) * r
        return {
            "acc1": r,
            "k0": span * (sa - sb) * s / k0,
            "s": span * (sa * np.log(k0) - sb * (np.log(k0) - np.log(kept))),
        }

    def derived(self, natural: Values) -> dict[str, tuple[Array, str]]:
        """Half-collapse: ``k0 / (1 + 2 k0^s)^(1/s)``, where R is one half."""
        k0, s = natural["k0"], natural["s"]
        log_half = np.log(k0) - np.logaddexp(0.0, np.log(2.0) + s * np.log(k0)) / s
        return {
            "half_point": (
                np.exp(log_half),
                "fraction kept where half of the score above the floor is lost",
            )
        }


class Plateau(Law):
    """``error(v) = e0 [(v^2 + q^2) / (v^2 + p^2)]^(g/2) / [(1 + q^2) / (1 + p^2)]^(g/2)``.

    Plateau - power law - plateau in the fraction kept ``v``, with ``q = p (e1 / e0)^(1/g)``; ``e0``
    is the error of the whole model. For a score the error is ``top - score``.

    Parameters
    ----------
    top : float, optional
        Best score; `sl.fit` sets it from the metric. None: the metric is itself an error.
    by, share
        See `Law`.

    References
    ----------
    .. [1] J. Rosenfeld et al., "On the predictability of pruning across scales", arXiv 2006.10621,
       section 4 (there ``e0`` is the limit of infinite density; here it is the error at density 1).
    """

    formula_text = "e0 [(v^2 + q^2) / (v^2 + p^2)]^(g/2) / [same at v = 1]"
    axes = ("kept",)
    e0 = Param("error of the whole model", "{metric}", lower=1e-9, scale="log", role="amplitude")
    ratio = Param(
        "error of the second plateau over e0, before normalisation",
        lower=1.0,
        upper=1e4,
        scale="log",
        search=(1.2, 100.0),
    )
    p = Param("fraction kept where the second plateau begins", lower=1e-3, upper=1.0, scale="log")
    g = Param(
        "exponent between the plateaus", lower=0.05, upper=10.0, scale="log", search=(0.2, 5.0)
    )

    def __init__(
        self,
        top: float | None = None,
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        self.top = top
        super().__init__(by, share, top=top)

    def _error(self, x: Values, p: Values) -> tuple[Array, dict[str, Array]]:
        v2, g, p2 = x["kept"] ** 2, p["g"], p["p"] ** 2
        log_ratio = np.log(p["ratio"])
        q2 = p2 * np.exp(2.0 * log_ratio / g)
        upper = np.log((v2 + q2) / (1.0 + q2))
        lower = np.log((v2 + p2) / (1.0 + p2))
        error = p["e0"] * np.exp(0.5 * g * (upper - lower))
        dq = q2 * (1.0 / (v2 + q2) - 1.0 / (1.0 + q2))  # d upper / d log q2
        dp = p2 * (1.0 / (v2 + p2) - 1.0 / (1.0 + p2))
        return error, {
            "e0": error / p["e0"],
            "ratio": error * dq / p["ratio"],
            "p": error * g * (dq - dp) / p["p"],
            "g": error * (0.5 * (upper - lower) - dq * log_ratio / g),
        }

    def formula(self, x: Values, **params: Array) -> Array:
        """Return the score, or the error."""
        error, _ = self._error(x, params)
        return error if self.top is None else self.top - error

    def derivatives(self, x: Values, **params: Array) -> dict[str, Array]:
        """Return the derivatives in all four parameters."""
        _, slopes = self._error(x, params)
        return slopes if self.top is None else {k: -v for k, v in slopes.items()}
