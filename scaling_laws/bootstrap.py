"""Draws of a fit: its own, or under those of the fit that lends it its exponents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from scaling_laws.halfwild import Draws, NoInterval
from scaling_laws.inherited import inherit
from scaling_laws.uncertainty import Kind, as_generator, quantile_pair, resample

if TYPE_CHECKING:
    from scaling_laws.result import Fit

__all__ = ["DRAWS", "Bootstrap", "draw"]

# Draws that every default interval rests on: an error of 2 % of its width on an end.
DRAWS = 1000


@dataclass(frozen=True)
class Bootstrap:
    """Draws of a fit.

    Attributes
    ----------
    parameters : DataFrame
        A row a draw, a column a printed parameter (each clipped to its bounds).
    kind : str
    draws : Draws
        Kernel coordinates and variances.
    """

    parameters: pd.DataFrame
    kind: str
    draws: Draws

    def interval(self, level: float = 0.9) -> pd.DataFrame:
        """Return equal-tailed percentile intervals of the parameters: ``low``, ``high``."""
        low, high = quantile_pair(self.parameters.to_numpy().T.copy(), level)
        return pd.DataFrame({"low": low, "high": high}, index=self.parameters.columns)


def draw(fit: Fit, n: int, rng: Any, kind: Kind = "wild", unit: str | None = None) -> Draws:
    """Return `n` refits; of kind ``wild`` under the draws of what another fit lends.

    Raises
    ------
    NoInterval
        If the log, or that of the lending fit, cannot support an interval.
    """
    base = fit.base
    if base is None or kind != "wild":
        return resample(fit.problem, fit.estimate, n, kind, rng, unit)
    try:
        lent = base.draws if n == DRAWS else draw(base, n, base.seed)
    except NoInterval as why:
        raise NoInterval(f"the fit that lends its exponents has none: {why}") from None
    # A stream of its own: with equal seeds both fits would draw the same noise.
    source = as_generator(rng).spawn(1)[0]
    return inherit(fit.problem, fit.estimate, base.model, base.estimate, lent, source)
