"""A law of general knowledge that more teaching costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.base import Frame, Param, Values
from scaling_laws.laws.joint import Compressed

__all__ = ["Forgetting"]

ForgettingKind = Literal["additive", "multiplicative", "interaction"]


class Forgetting(Compressed):
    """``score = floor + (top - floor) sigmoid(eta)``, ``eta = e - a u^b - c (v^-g - 1)``.

    `Compressed` with its data axis turned round: a student that is taught one task on more examples
    (u, over their geometric mean) forgets more of what it knew besides. For a loss the same is
    added.

    Parameters
    ----------
    kind : {"additive", "multiplicative", "interaction"}
        multiplicative ``a u^b v^-g``; interaction ``a u^b v^-h + c (v^-g - 1)``.
    by, share
        As in `Compressed`.
    """

    def __init__(
        self,
        kind: ForgettingKind = "additive",
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        super().__init__(kind, by, share)
        self.options = {"kind": kind}
        self.formula_text = self.formula_text.replace("u^-b", "u^b")

    def declare(self) -> dict[str, Param]:
        """Return the parameters, with the meaning that they have here."""
        found = super().declare()
        found["e"] = replace(found["e"], meaning="limit of no teaching at the full size")
        found["a"] = replace(found["a"], meaning="what teaching costs, at the centre of the data")
        return found

    def prepare(self, raw: Values, frame: Frame) -> dict[str, NDArray[np.float64]]:
        """Return the logarithms, that of the examples with its sign turned."""
        x = super().prepare(raw, frame)
        return {**x, "examples": -x["examples"]}
