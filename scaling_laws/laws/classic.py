"""Loss against parameters and tokens: the laws of pretraining."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.base import Axis, Frame, Law, Param, Values
from scaling_laws.laws.centred import CentredLaw, amplitude, exponent, softplus
from scaling_laws.laws.deficits import Decay, DeficitLaw

__all__ = ["Chinchilla", "Kaplan", "Repeated", "compute_optimum"]

Array = NDArray[np.float64]


def compute_optimum(compute: Array, A: Array, B: Array, a: Array, b: Array) -> Array:
    """Return the parameters that minimise ``A / N^a + B / D^b`` at ``compute = 6 N D`` FLOP.

    ``N = G (compute / 6)^(b / (a + b))``, ``G = (a A / (b B))^(1 / (a + b))``: Hoffmann et al.
    2022, Eq. 4.
    """
    log_g = (np.log(a * A) - np.log(b * B)) / (a + b)
    return np.exp(log_g + np.log(compute / 6.0) * b / (a + b))


class Chinchilla(DeficitLaw):
    """``loss = E + A / params^alpha + B / tokens^beta``.

    ``A`` and ``B`` are printed at one parameter and one token, as published.

    References
    ----------
    .. [1] J. Hoffmann et al., "Training compute-optimal large language models", arXiv 2203.15556,
       section 3.3 (approach 3).
    .. [2] T. Besiroglu et al., "Chinchilla scaling: a replication attempt", arXiv 2404.10102.
    """

    formula_text = "E + A params^-alpha + B tokens^-beta"
    axes = (Axis("params", report=1.0), Axis("tokens", report=1.0))
    deficits = (Decay("A", "params", "alpha", report=1.0), Decay("B", "tokens", "beta", report=1.0))

    E = Param("irreducible loss", "{metric}", lower=0.0, soft=-float("inf"), role="limit")
    A = Param("cost of a finite model, at 1 parameter", "{metric}", role="amplitude")
    B = Param("cost of finite data, at 1 token", "{metric}", role="amplitude")
    alpha = Param(
        "exponent of the parameters", lower=0.01, upper=3.0, soft=-0.6, search=(0.02, 1.5)
    )
    beta = Param("exponent of the tokens", lower=0.01, upper=3.0, soft=-0.6, search=(0.02, 1.5))

    def optimum(self, compute: Array, p: Values) -> Array:
        """Return the parameters with the least loss at ``compute = 6 params tokens`` FLOP."""
        return compute_optimum(compute, p["A"], p["B"], p["alpha"], p["beta"])


class Kaplan(Law):
    """``loss = [(Nc / params)^(aN / aD) + Dc / tokens]^aD``: no irreducible loss.

    Parameters are counted without embeddings. With infinite data it is ``(Nc / params)^aN``, with
    an infinite model ``(Dc / tokens)^aD``; the paper fitted those two to other runs than the joint
    law, so their constants are not to be mixed.

    Parameters
    ----------
    of : {"both", "params", "tokens"}
        The joint law, or that of one axis.
    size, data : str
        Columns of the axes.
    by, share
        See `Law`.

    References
    ----------
    .. [1] J. Kaplan et al., "Scaling laws for neural language models", arXiv 2001.08361, Eqs. 1.1,
       1.2, 1.5.
    """

    def __init__(
        self,
        of: str = "both",
        size: str = "params_nonembedding",
        data: str = "tokens",
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        texts = {
            "both": f"[(Nc/{size})^(aN/aD) + Dc/{data}]^aD",
            "params": f"(Nc/{size})^aN",
            "tokens": f"(Dc/{data})^aD",
        }
        if of not in texts:
            raise ValueError(f"of: {of!r} is not one of {', '.join(texts)}.")
        self.of, self.size, self.data = of, size, data
        self.axes = {"both": (size, data), "params": (size,), "tokens": (data,)}[of]
        self.formula_text = texts[of]
        super().__init__(by, share, of=of, size=size, data=data)

    def declare(self) -> dict[str, Param]:
        """Return exponent and scale of the axes used."""
        found: dict[str, Param] = {}
        if self.of != "tokens":
            found["aN"] = exponent("exponent of the parameters", lower=0.005)
            found["Nc"] = Param("parameters at which their term is 1", lower=1.0, upper=1e40,
                                scale="log", search=(1e4, 1e20))  # fmt: skip
        if self.of != "params":
            found["aD"] = exponent("exponent of the tokens", lower=0.005)
            found["Dc"] = Param("tokens at which their term is 1", lower=1.0, upper=1e40,
                                scale="log", search=(1e4, 1e20))  # fmt: skip
        return found

    def prepare(self, raw: Values, frame: Frame) -> dict[str, Array]:
        """Logarithms."""
        return {k: np.log(v) for k, v in raw.items()}

    def _logs(self, x: Values, p: Values) -> tuple[Array, Array, Array]:
        """Log loss, the size's share of the bracket, and the log of the bracket."""
        if self.of == "params":
            size = np.log(p["Nc"]) - x[self.size]
            return p["aN"] * size, np.ones_like(size), size
        data = np.log(p["Dc"]) - x[self.data]
        if self.of == "tokens":
            return p["aD"] * data, np.zeros_like(data), data
        size = p["aN"] / p["aD"] * (np.log(p["Nc"]) - x[self.size])
        soft, share = softplus(size - data)
        return p["aD"] * (data + soft), share, data + soft

    def formula(self, x: Values, **params: Array) -> Array:
        """Return the loss."""
        return np.exp(self._logs(x, params)[0])

    def derivatives(self, x: Values, **params: Array) -> dict[str, Array]:
        """Return the derivatives in the exponents and scales."""
        log_loss, share, bracket = self._logs(x, params)
        loss = np.exp(log_loss)
        found: dict[str, Array] = {}
        if self.of != "tokens":
            size = np.log(params["Nc"]) - x[self.size]
            found["aN"] = loss * share * size
            found["Nc"] = loss * share * params["aN"] / params["Nc"]
        if self.of != "params":
            bend = 0.0 if self.of == "tokens" else share * params["aN"] / params["aD"] * (
                np.log(params["Nc"]) - x[self.size]
            )  # fmt: skip
            found["aD"] = loss * (bracket - bend)
            found["Dc"] = loss * (1.0 - share) * params["aD"] / params["Dc"]
        return found


@dataclass(frozen=True)
class _Worth:
    """What an amount is worth, ``1 + R (1 - exp(-r / R))`` times its base; ``r`` is the excess."""

    log: Array
    by_excess: Array
    by_r: Array


def _worth(log_excess: Array, lasts: Array) -> _Worth:
    """Return the logarithm of the worth, its derivatives in ``log_excess`` and in ``R``."""
    r = np.expm1(log_excess)
    left = np.exp(-r / lasts)
    whole = 1.0 - lasts * np.expm1(-r / lasts)
    return _Worth(
        np.log(whole),
        left * (1.0 + r) / whole,
        (1.0 - left - r / lasts * left) / whole,
    )


class Repeated(CentredLaw):
    """``loss = E + A / N'^alpha + B / D'^beta``: tokens seen again are worth less.

    With U the unique tokens used, ``U = min(tokens, unique_tokens)``, and repetitions
    ``R = tokens / U - 1``, the data are worth ``D' = U + U RD (1 - exp(-R / RD))``. Parameters
    beyond what U can feed decay alike: ``N' = V + V RN (1 - exp(-(N / V - 1) / RN))`` with
    ``V = min(N, (U G)^(beta / alpha) G)``, ``G = (alpha A / (beta B))^(1 / (alpha + beta))``. Below
    one epoch nothing is repeated. ``A`` and ``B`` are printed at 1 parameter and 1 token; the paper
    ties ``alpha = beta``.

    Parameters
    ----------
    by, share
        See `Law`.

    References
    ----------
    .. [1] N. Muennighoff et al., "Scaling data-constrained language models", arXiv 2305.16264,
       section 3.
    """

    formula_text = "E + A N'^-alpha + B D'^-beta"
    axes = (
        Axis("params", report=1.0),
        Axis("tokens", report=1.0),
        Axis("unique_tokens", report=1.0),
    )
    log_axes = ("params", "tokens", "unique_tokens")
    same_centre: ClassVar[Mapping[str, str]] = {"unique_tokens": "tokens"}
    E = Param("irreducible loss", "{metric}", role="amplitude")
    A = amplitude("cost of a finite model, at 1 parameter")
    B = amplitude("cost of finite data, at 1 token")
    alpha = exponent("exponent of the parameters")
    beta = exponent("exponent of the tokens")
    RD = Param("epochs after which a repetition has lost most of its worth", lower=0.01, upper=1e4,
               scale="log", search=(1.0, 100.0))  # fmt: skip
    RN = Param("the same for parameters beyond what the data feed", lower=0.01, upper=1e4,
               scale="log", search=(1.0, 100.0))  # fmt: skip

    def shifts(self, p: Values, centre: Mapping[str, float]) -> dict[str, Array]:
        """Return the factors of A and B at the centre."""
        return {"A": -p["alpha"] * centre["params"], "B": -p["beta"] * centre["tokens"]}

    def formula(self, x: Values, **params: Array) -> Array:
        """Return the loss."""
        size, data, _ = self._terms(x, params)
        return params["E"] + size + data

    def derivatives(self, x: Values, **params: Array) -> dict[str, Array]:
        """Return the derivatives in all seven parameters."""
        return self._terms(x, params)[2]

    def _terms(self, x: Values, p: Values) -> tuple[Array, Array, dict[str, Array]]:
        """Both terms and the derivatives of their sum; sizes are logarithms at the centre."""
        a, b = p["alpha"], p["beta"]
        unique = np.minimum(x["tokens"], x["unique_tokens"])
        data_worth = _worth(x["tokens"] - unique, p["RD"])
        log_data = unique + data_worth.log
        log_g = (np.log(a * p["A"]) - np.log(b * p["B"])) / (a + b)
        fed = b / a * (unique + log_g) + log_g
        starved = fed < x["params"]
        base = np.where(starved, fed, x["params"])
        size_worth = _worth(x["params"] - base, p["RN"])
        log_size = base + size_worth.log
        size, data = p["A"] * np.exp(-a * log_size), p["B"] * np.exp(-b * log_data)
        # Only where the data cannot feed the model does `base` move with the parameters.
        pull = np.where(starved, -a * size * (1.0 - size_worth.by_excess), 0.0)
        by_log_g = pull * (1.0 + b / a)
        return size, data, {
            "E": np.ones_like(size * data),
            "A": size / p["A"] + by_log_g / (p["A"] * (a + b)),
            "B": data / p["B"] - by_log_g / (p["B"] * (a + b)),
            "alpha": -size * log_size
            - pull * b / a**2 * (unique + log_g)
            + by_log_g * (1.0 / a - log_g) / (a + b),
            "beta": -data * log_data
            + pull / a * (unique + log_g)
            - by_log_g * (1.0 / b + log_g) / (a + b),
            "RD": -b * data * data_worth.by_r,
            "RN": -a * size * size_worth.by_r,
        }  # fmt: skip
