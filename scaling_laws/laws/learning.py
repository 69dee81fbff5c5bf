"""Laws of one axis: a power above a floor, and its rectified form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from scaling_laws.laws.base import Param
from scaling_laws.laws.deficits import Decay, DeficitLaw, RectifiedDecay

__all__ = ["Power", "Rectified"]

LIMIT = Param("limit of infinite {axis}", "{metric}", lower=0.0, soft=-float("inf"), role="limit")
EXPONENT = Param("exponent of {axis}", lower=0.01, upper=3.0, soft=-0.6, search=(0.02, 1.5))


class Power(DeficitLaw):
    """``loss = E + A u^-a``; ``score: eta = E - A u^-a``, ``u = x / geometric mean of x``.

    Parameters
    ----------
    axis : str
        The column it is a function of (``examples`` by default).
    by, share
        See `Law`.

    References
    ----------
    .. [1] J. Kaplan et al., "Scaling laws for neural language models", arXiv 2001.08361, section 1.
    .. [2] R. L. Figueroa et al., "Predicting sample size required for classification performance",
       BMC Med. Inform. Decis. Mak. 12:8, 2012 (the inverse power learning curve).
    """

    formula_text = "E + A u^-a"
    E = LIMIT
    A = Param(
        "what more {axis} can still remove, at the centre of the data", "{metric}", role="amplitude"
    )
    a = EXPONENT

    def __init__(
        self,
        axis: str = "examples",
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        self.axes = (axis,)
        self.deficits = (Decay("A", axis, "a"),)
        super().__init__(by, share, axis=axis)


class Rectified(DeficitLaw):
    """``loss = E + A (1 + d) / (u^a + d)``; ``score: eta = E - A (1 + d) / (u^a + d)``.

    ``d`` is what the pretrained model knew already, in units of the data: the curve is flat until
    the examples exceed it. ``d = 0`` is `Power`.

    Parameters
    ----------
    axis : str
        The column it is a function of (``examples`` by default).
    by, share
        See `Law`.

    References
    ----------
    .. [1] H. Lin et al., "Selecting large language model to fine-tune via rectified scaling law",
       arXiv 2402.02314, Eq. 1.
    """

    formula_text = "E + A (1 + d) / (u^a + d)"
    E = LIMIT
    A = Power.A
    a = EXPONENT
    d = Param(
        "{axis} already known before training, relative to the centre",
        lower=0.0,
        upper=1e4,
        scale="share",
    )

    def __init__(
        self,
        axis: str = "examples",
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        self.axes = (axis,)
        self.deficits = (RectifiedDecay("A", axis, "a", "d"),)
        super().__init__(by, share, axis=axis)
