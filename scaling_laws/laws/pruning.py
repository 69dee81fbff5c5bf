"""Pruned and sparse models: what is lost, and what training brings back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.base import Axis, Frame, Law, Param, Values
from scaling_laws.laws.centred import CentredLaw, exponent
from scaling_laws.laws.deficits import Decay, DeficitLaw, Product

__all__ = ["P2", "Pruning", "Sparsity"]

Array = NDArray[np.float64]


class Pruning(Law):
    """``score = floor + (S0 - floor) P0 kept^alpha``: a power of the fraction kept.

    ``S0`` is the unpruned score and ``kept = 1 - r``. The published law has no floor, so it is
    applied to the score above chance. Keep ``alpha`` and refit ``P0`` on one pruned checkpoint
    (`sl.transfer`) to carry it to another model; ``P0`` below 1 is what the first cut costs.

    Parameters
    ----------
    whole : str or float
        Column of the unpruned score of each row's model, or that score.
    floor : float, optional
        Score of a model that knows nothing; `sl.fit` sets it from the metric.
    by, share
        See `Law`.

    References
    ----------
    .. [1] A. Sengupta et al., arXiv 2504.04342 v2.
    """

    P0 = Param("share of the skill left by the first cut", upper=2.0, role="amplitude")
    alpha = Param("exponent of the fraction kept", upper=20.0, search=(0.05, 5.0))

    def __init__(
        self,
        whole: str | float = "score_unpruned",
        floor: float | None = None,
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        self.whole, self.floor = whole, floor
        self.axes = ("kept", whole) if isinstance(whole, str) else ("kept",)
        unpruned = whole if isinstance(whole, str) else f"{whole:g}"
        self.formula_text = f"floor + ({unpruned} - floor) P0 kept^alpha"
        super().__init__(by, share, whole=whole, floor=floor)

    def formula(self, x: Values, **params: Array) -> Array:
        """Return the score."""
        return (self.floor or 0.0) + params["P0"] * self._skill(x, params["alpha"])

    def derivatives(self, x: Values, **params: Array) -> dict[str, Array]:
        """Return the derivatives in ``P0`` and ``alpha``."""
        skill = self._skill(x, params["alpha"])
        return {"P0": skill, "alpha": params["P0"] * skill * np.log(x["kept"])}

    def _skill(self, x: Values, alpha: Array) -> Array:
        whole = x[self.whole] if isinstance(self.whole, str) else self.whole
        return (whole - (self.floor or 0.0)) * x["kept"] ** alpha


class Sparsity(DeficitLaw):
    """``loss = c + (aS kept^bS + cS) params_nonzero^-bN + B tokens^-bD``.

    Weights are made sparse while training; ``kept = 1 - S`` is the share of weights that are not
    zero, ``params_nonzero`` their number. The published ``(aD / D)^bD`` is ``B tokens^-bD`` with
    ``B = aD^bD``; ``aD`` is given below the table. Amplitudes are printed at one of each axis. Not
    a law of structural pruning.

    Parameters
    ----------
    size, data : str
        Columns: weights that are not zero, and training data (tokens, images or steps).
    by, share
        See `Law`.

    References
    ----------
    .. [1] E. Frantar et al., "Scaling laws for sparsely-connected foundation models", arXiv
       2309.08520, Eq. 1.
    """

    limit = "c"
    size_axes = ("kept",)
    c = Param("irreducible loss", "{metric}", soft=-np.inf, role="limit")
    aS = Param("gain of density, at 1 weight", "{metric}", role="amplitude")
    bS = Param("exponent of density", lower=0.01, upper=5.0, search=(0.1, 3.0))
    cS = Param("cost of a finite model at full sparsity, at 1 weight", "{metric}",
               role="amplitude")  # fmt: skip
    bN = exponent("exponent of the weights")
    B = Param("cost of finite data, at 1 token", "{metric}", role="amplitude")
    bD = exponent("exponent of the data")

    def __init__(
        self,
        size: str = "params_nonzero",
        data: str = "tokens",
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        self.axes = (Axis("kept", report=1.0), Axis(size, report=1.0), Axis(data, report=1.0))
        self.deficits = (
            Product("aS", {size: "bN"}, grows=("kept", "bS")),
            Product("cS", {size: "bN"}),
            Decay("B", data, "bD", report=1.0),
        )
        self.formula_text = f"c + (aS kept^bS + cS) {size}^-bN + B {data}^-bD"
        super().__init__(by, share, size=size, data=data)

    def derived(self, natural: Values) -> dict[str, tuple[Array, str]]:
        """Return the data at which their term is 1."""
        with np.errstate(all="ignore"):
            at_one = natural["B"] ** (1.0 / natural["bD"])
        return {"aD": (at_one, "data at which their term is 1")}


class P2(CentredLaw):
    """``loss = L0 + (1/rho)^g (1/N0)^d (N_C / N0^a + D_C / D^b + E)``: recovery after pruning.

    ``rho = 1 - kept`` is the fraction removed, ``N0`` the parameters before pruning, ``D`` the
    recovery tokens, ``L0`` the loss before pruning. ``g`` is negative (-5 to 0): nothing removed,
    nothing lost, ``loss = L0`` at ``kept = 1``. Amplitudes are printed at 1 parameter and 1 token.

    Parameters
    ----------
    before, size, data : str
        Columns: loss before pruning, parameters before pruning, recovery tokens.
    by, share
        See `Law`.

    References
    ----------
    .. [1] X. Chen et al., "P2 law: scaling law for post-training after model pruning", arXiv
       2411.10272.
    """

    g = Param("exponent of the fraction removed, negative", lower=-5.0, upper=-0.01,
              search=(-3.0, -0.1))  # fmt: skip
    d = Param("exponent of the size, common to all", lower=-2.0, upper=2.0, search=(-0.3, 0.7))
    NC = Param("what a larger model saves, at 1 parameter", "{metric}", role="amplitude")
    a = exponent("exponent of the size")
    DC = Param("what recovery tokens win back, at 1 token", "{metric}", role="amplitude")
    b = exponent("exponent of the recovery tokens")
    E = Param("what is lost for good, at 1 parameter", "{metric}", role="amplitude")

    def __init__(
        self,
        before: str = "loss_unpruned",
        size: str = "params_unpruned",
        data: str = "tokens",
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        self.before, self.size, self.data = before, size, data
        self.axes = ("kept", before, Axis(size, report=1.0), Axis(data, report=1.0))
        self.log_axes = (size, data)
        self.formula_text = f"{before} + (1 - kept)^-g {size}^-d (NC {size}^-a + DC {data}^-b + E)"
        super().__init__(by, share, before=before, size=size, data=data)

    def prepare(self, raw: Values, frame: Frame) -> dict[str, Array]:
        """Logarithms of sizes and tokens relative to the centre; the fraction removed as it is."""
        x = super().prepare(raw, frame)
        return {**x, "kept": 1.0 - raw["kept"]}

    def shifts(self, p: Values, centre: Mapping[str, float]) -> dict[str, Array]:
        """Return the factors of the three amplitudes at the centre."""
        common = -p["d"] * centre[self.size]
        return {
            "NC": common - p["a"] * centre[self.size],
            "DC": common - p["b"] * centre[self.data],
            "E": common,
        }

    def _parts(self, x: Values, p: Values) -> tuple[Array, Array, Array, Array]:
        """Return the common factor, the log of the fraction removed, and the two decays."""
        some = x["kept"] > 0
        log_rho = np.log(np.where(some, x["kept"], 1.0))
        factor = np.where(some, np.exp(-p["g"] * log_rho - p["d"] * x[self.size]), 0.0)
        return factor, log_rho, np.exp(-p["a"] * x[self.size]), np.exp(-p["b"] * x[self.data])

    def formula(self, x: Values, **params: Array) -> Array:
        """Return the loss."""
        factor, _, size, data = self._parts(x, params)
        lost = params["NC"] * size + params["DC"] * data + params["E"]
        return x[self.before] + factor * lost

    def derivatives(self, x: Values, **params: Array) -> dict[str, Array]:
        """Return the derivatives in all seven parameters."""
        factor, log_rho, size, data = self._parts(x, params)
        lost = factor * (params["NC"] * size + params["DC"] * data + params["E"])
        return {
            "g": -lost * log_rho,
            "d": -lost * x[self.size],
            "NC": factor * size,
            "a": -factor * params["NC"] * size * x[self.size],
            "DC": factor * data,
            "b": -factor * params["DC"] * data * x[self.data],
            "E": factor * np.ones_like(size),
        }
