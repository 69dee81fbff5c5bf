"""Laws from the literature."""

from __future__ import annotations

from scaling_laws.laws.base import Axis, Param
from scaling_laws.laws.deficits import Decay, DeficitLaw

__all__ = ["Chinchilla"]


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
