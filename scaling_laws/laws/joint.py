"""Examples x size x format: the laws the library exists for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from scaling_laws.laws.base import Axis, Param
from scaling_laws.laws.deficits import (
    Decay,
    Deficit,
    DeficitLaw,
    RectifiedDecay,
    ScaledDecay,
    Shrink,
)

__all__ = ["Compressed"]

Kind = Literal["additive", "multiplicative", "interaction", "rectified", "size"]

_PARAMS = {
    "e": Param(
        "limit of infinite data at the full size",
        "{metric}",
        lower=0.0,
        soft=-float("inf"),
        role="limit",
    ),
    "a": Param(
        "what more data can still remove, at the centre of the data", "{metric}", role="amplitude"
    ),
    "b": Param("exponent of the data", lower=0.01, upper=3.0, soft=-0.6, search=(0.02, 1.5)),
    "d": Param(
        "data already known before training, relative to the centre",
        lower=0.0,
        upper=1e4,
        scale="share",
    ),
    "h": Param(
        "exponent by which a smaller student needs more data",
        lower=0.0,
        upper=5.0,
        soft=-3.0,
        search=(0.0, 3.0),
    ),
    "c": Param("cost of pruning, per unit of kept^-g - 1", "{metric}", role="amplitude"),
    "g": Param("exponent of the size", lower=0.01, upper=5.0, soft=-3.0, search=(0.05, 4.0)),
}

_USED: dict[str, str] = {
    "additive": "eabcg",
    "multiplicative": "eabg",
    "interaction": "eabhcg",
    "rectified": "eabdcg",
    "size": "ecg",
}


class Compressed(DeficitLaw):
    """``score = floor + (top - floor) sigmoid(eta)``, ``eta = e - a u^-b - c (v^-g - 1)``.

    ``u`` = examples over their geometric mean, ``v`` = fraction kept; for a loss the same deficits
    are added, ``loss = e + a u^-b + c (v^-g - 1)``.

    Parameters
    ----------
    kind : {"additive", "multiplicative", "interaction", "rectified", "size"}
        additive ``a u^-b + c (v^-g - 1)``; multiplicative ``a u^-b v^-g``; interaction
        ``a u^-b v^-h + c (v^-g - 1)``; rectified: additive with ``(1 + d) / (u^b + d)`` for
        ``u^-b``; size: ``c (v^-g - 1)`` alone, for what more examples leave as it is (general
        knowledge under narrow teaching).
    by : str or sequence of str
        Factors such as ``"format"``: ``e``, ``a``, ``c`` are own per level, exponents are shared.
    share : iterable or mapping
        Overrides that by name: ``share=["e"]`` shares the limit too, ``share={"b": False}`` gives
        each level its own exponent.
    size : {"kept", "params"}
        ``params`` where several teachers or off-the-shelf sizes are compared; ``v`` is then
        relative to `full`.
    full : float, optional
        Parameters that count as the full size, needed with ``size="params"``.
    data : str
        The data axis (``examples``).

    Notes
    -----
    The multiplicative form is Zhang et al. 2024 (arXiv 2402.17193, Eq. 1) with a bounded score; the
    rectified data term is Lin et al. 2024 (arXiv 2402.02314, Eq. 1). The joint forms are this
    library's own.
    """

    limit = "e"

    def __init__(
        self,
        kind: Kind = "additive",
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
        size: str = "kept",
        full: float | None = None,
        data: str = "examples",
    ) -> None:
        if kind not in _USED:
            raise ValueError(f"kind: {kind!r} is not one of {', '.join(_USED)}.")
        if size == "params" and full is None:
            raise ValueError(
                'size="params" needs full=, the parameters that count as the full size.'
            )
        self.kind = kind
        self.axes = (Axis(data), Axis(size, report=full if size == "params" else 1.0))
        self.size_axes = (size,)
        self.deficits = _deficits(kind, data, size)
        self.formula_text = _TEXT[kind]
        super().__init__(by, share, kind=kind, size=size, full=full, data=data)

    def declare(self) -> dict[str, Param]:
        """Return the parameters that this kind has."""
        return {name: _PARAMS[name] for name in _USED[self.kind]}


_TEXT = {
    "additive": "e - a u^-b - c (v^-g - 1)",
    "multiplicative": "e - a u^-b v^-g",
    "interaction": "e - a u^-b v^-h - c (v^-g - 1)",
    "rectified": "e - a (1 + d) / (u^b + d) - c (v^-g - 1)",
    "size": "e - c (v^-g - 1)",
}


def _deficits(kind: str, data: str, size: str) -> tuple[Deficit, ...]:
    if kind == "size":
        return (Shrink("c", size, "g"),)
    if kind == "multiplicative":
        return (ScaledDecay("a", data, "b", size, "g"),)
    if kind == "interaction":
        return (ScaledDecay("a", data, "b", size, "h"), Shrink("c", size, "g"))
    if kind == "rectified":
        return (RectifiedDecay("a", data, "b", "d"), Shrink("c", size, "g"))
    return (Decay("a", data, "b"), Shrink("c", size, "g"))
