"""How fits of several metrics are drawn together: one weight a run, correlated normals.

In one draw all metrics see the same Webb weight of each run (or chain, or configuration), so that
residuals which go together stay together; the normal part of the half-wild bootstrap carries the
correlation of the standardised residuals of the runs that the metrics share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.bootstrap import DRAWS
from scaling_laws.halfwild import Draws, half_wild
from scaling_laws.pairing import paired_runs
from scaling_laws.problem import Problem
from scaling_laws.result import Fit

__all__ = ["Coupling", "couple"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Coupling:
    """How the rows of several fits belong together.

    Attributes
    ----------
    mix : array [metrics, metrics]
        Lower triangular, ``mix mix^T`` the correlation of residuals.
    places : mapping
        Metric -> place of each of its rows in the union of all.
    width : int
        Rows of the union.
    seed : int
    """

    mix: Array
    places: Mapping[str, NDArray[np.intp]]
    width: int
    seed: int

    def draws(self, name: str, one: Fit, ordered: Fit) -> Draws:
        """Draw refits of a form of a metric; `ordered` is the fit whose rows `places` lists."""
        if len(self.places) == 1 or one.base is not None:
            # Alone; or its draws hold those of the fit that lends its exponents.
            return one.draws
        at = pd.Series(self.places[name], index=ordered.problem.frame.index)
        places = at.reindex(one.problem.frame.index).to_numpy(dtype=np.intp)
        rule = one.draws.pooling
        unit = "run" if rule is None else rule.unit
        columns = places if unit == "run" else _first_of_unit(one.problem, places)
        number = list(self.places).index(name)
        source = _Shared(self.seed, self.mix[number, : number + 1], columns, self.width)
        return half_wild(one.problem, one.estimate, DRAWS, source, unit)


def couple(fits: Mapping[str, Fit], seed: int) -> Coupling:
    """Match the rows of the fits.

    Raises
    ------
    ValueError
        For fits that share no row.
    """
    places = _places(fits)
    width = 1 + max(int(own.max()) for own in places.values())
    mix = np.asarray(np.linalg.cholesky(_correlation(fits, places)), float)
    return Coupling(mix, places, width, seed)


class _Shared(np.random.Generator):
    """Random numbers of one metric: weights common to all, normals correlated with the others'.

    `columns` says which run of the union of all logs a column of an array belongs to.
    """

    def __init__(self, seed: int, mix: Array, columns: NDArray[np.intp], width: int) -> None:
        super().__init__(np.random.PCG64(np.random.SeedSequence((seed, 1, len(mix)))))
        self._seed, self._mix, self._columns, self._width = seed, mix, columns, width
        self._calls = 0

    def _is_shared(self, size: Any) -> bool:
        shape = cast("tuple[int, ...]", size) if isinstance(size, tuple) else ()
        return len(shape) > 1 and shape[1] == len(self._columns)

    def _source(self, factor: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, 2, self._calls, factor))

    def standard_normal(self, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return normals, correlated with those that other metrics get for the same runs."""
        if not self._is_shared(size):
            return cast(Any, super().standard_normal)(size, *args, **kwargs)
        self._calls += 1
        whole = (size[0], self._width, *size[2:])
        out = np.zeros(size)
        for factor, share in enumerate(self._mix):
            if share != 0.0:
                out += share * self._source(factor).standard_normal(whole)[:, self._columns]
        return out

    def choice(self, a: Any, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return the weights that every metric gets for the same runs."""
        if not self._is_shared(size):
            return cast(Any, super().choice)(a, size, *args, **kwargs)
        return np.random.default_rng((self._seed, 3)).choice(a, (size[0], self._width))[
            :, self._columns
        ]


def _places(fits: Mapping[str, Fit]) -> dict[str, NDArray[np.intp]]:
    """Place of each row in the union of all rows; refuse fits that share none."""
    frames = [one.problem.frame for one in fits.values()]
    places = dict(zip(fits, paired_runs(frames, frames[0].columns), strict=True))
    first, *others = places
    for name in others:
        if not np.isin(places[first], places[name]).any():
            raise ValueError(
                f"{first} and {name} are fitted to different logs: no run has both; fit them to "
                "one log that holds both scores, or ask about one at a time."
            )
    return places


def _correlation(fits: Mapping[str, Fit], places: Mapping[str, NDArray[np.intp]]) -> Array:
    """Correlation of standardised residuals over the runs that two metrics share."""
    z: dict[str, pd.Series[float]] = {}
    for name, one in fits.items():
        residual = one.residuals["z"].loc[one.problem.frame.index]
        z[name] = pd.Series(residual.to_numpy(dtype=float), index=pd.Index(places[name]))
    table = pd.DataFrame(z)
    # Each is divided by its root mean square over the shared runs; no mean is taken out.
    out = np.eye(len(fits))
    names = list(fits)
    for i, a in enumerate(names):
        for j in range(i):
            pair = table[[a, names[j]]].dropna().to_numpy()
            size = np.sqrt((pair**2).sum(0).prod())
            out[i, j] = out[j, i] = float(pair.prod(1).sum() / size) if size > 0 else 0.0
    # Pairs over different runs need not fit together; a little of the identity repairs that.
    least = float(np.linalg.eigvalsh(out).min())
    short = max(1e-6 - least, 0.0)
    return (out + short * np.eye(len(out))) / (1.0 + short)


def _first_of_unit(problem: Problem, places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Let a unit take the numbers of its first row in the union."""
    first = np.full(int(problem.unit.max()) + 1, np.iinfo(np.intp).max, np.intp)
    np.minimum.at(first, problem.unit, places)
    return first
