"""Where two published ways of fine-tuning break even, and what rounding leaves of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.laws import FineTuning
from scaling_laws.presets.catalogue import printed_crossovers
from scaling_laws.presets.preset import Preset
from scaling_laws.runs import Note

__all__ = ["Crossover", "crossover_of"]

Array = NDArray[np.float64]

_SIZES = (1e9, 4e9, 16e9)
_EXAMPLES = np.logspace(0, 15, 3001)


@dataclass(frozen=True, eq=False)
class Crossover:
    """``examples = H params^g``: where the reducible losses of two ways of fine-tuning are equal.

    ``H = (A1 / A2)^(1 / (b1 - b2))``, ``g = (a2 - a1) / (b1 - b2)``.

    Attributes
    ----------
    first, second : Preset
    H, g : float
        From the published constants.
    H_range, g_range : (float, float)
        What their rounding alone permits; infinite where the exponents cannot be told apart.
    printed : (float, float) or None
        H and g as the paper prints them, from constants it did not round.
    """

    first: Preset
    second: Preset
    H: float
    g: float
    H_range: tuple[float, float]
    g_range: tuple[float, float]
    printed: tuple[float, float] | None

    def at(self, params: float | Iterable[float] = _SIZES) -> pd.DataFrame:
        """Return the break-even examples of models of these sizes.

        Columns ``params``, ``examples`` (by ``H params^g``), ``low`` and ``high`` (by rounding
        alone), ``printed`` (by the paper's H and g) and ``equal_loss``: the fewest examples, up to
        1e15, at which the whole losses are equal, limits included; NaN where they never are.
        """
        sizes = np.atleast_1d(np.asarray(params, float))
        low, high = np.array([_extremes(self.first, self.second, x)[0] for x in sizes]).T
        paper = np.full(len(sizes), np.nan)
        if self.printed is not None:
            paper = self.printed[0] * sizes ** self.printed[1]
        return pd.DataFrame(
            {
                "params": sizes,
                "examples": self.H * sizes**self.g,
                "low": low,
                "high": high,
                "printed": paper,
                "equal_loss": [_equal_loss(self.first, self.second, x) for x in sizes],
            }
        )

    @property
    def frame(self) -> pd.DataFrame:
        """`at` 1, 4 and 16 billion parameters."""
        return self.at()

    @property
    def notes(self) -> tuple[Note, ...]:
        """What the crossover leaves out, and what to beware of in either preset.

        A note that both have is given once; of the others each names its preset.
        """
        e1, e2 = self.first.values["E"], self.second.values["E"]
        return (
            Note(
                "limits_left_out",
                "warning",
                f"H and g compare what more data remove; the limits E ({e1:g} and {e2:g}) are left "
                "out. equal_loss takes them in.",
            ),
            *self._of_the_presets(),
        )

    def _of_the_presets(self) -> Iterator[Note]:
        common = [note for note in self.first.notes if note in self.second.notes]
        yield from common
        for preset in (self.first, self.second):
            for note in preset.notes:
                if note not in common:
                    yield replace(note, sentence=f"{preset.name}: {note.sentence}")

    def __repr__(self) -> str:
        from scaling_laws.show_presets import crossover_text

        return crossover_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_presets import crossover_html

        return crossover_html(self)


def crossover_of(first: Preset, second: Preset) -> Crossover:
    """Return the crossover of two presets.

    Raises
    ------
    ValueError
        For a preset of another law, or two with equal exponents.
    """
    for one in (first, second):
        if not isinstance(one.law, FineTuning):
            raise ValueError(f"{one.name} is {one.law.name}; a crossover is one of FineTuning.")
    p, q = first.values, second.values
    difference = p["beta"] - q["beta"]
    if difference == 0:
        raise ValueError(f"{first.name} and {second.name} fall alike with data: they never cross.")
    _, h, g = _extremes(first, second, 1.0)
    printed = printed_crossovers()
    return Crossover(
        first,
        second,
        float(np.exp(np.log(p["A"] / q["A"]) / difference)),
        (q["alpha"] - p["alpha"]) / difference,
        h,
        g,
        printed.get((first.name, second.name)),
    )


def _corners(preset: Preset) -> tuple[Array, Array, Array]:
    """Return A, alpha and beta as rounding permits: every corner of the box, ``[8]`` each."""
    names = ("A", *(str(preset.rules.get(k, k)) for k in ("alpha", "beta")))
    ends = [
        (s.value - s.rounding, s.value + s.rounding) for s in (preset.symbols[n] for n in names)
    ]
    a, alpha, beta = np.array(list(product(*ends))).T
    return a, alpha, beta


def _extremes(
    first: Preset, second: Preset, params: float
) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """Return the ends of the crossing at a size, of H and of g, over all that rounding permits.

    Each is monotone in every constant while the exponents differ, so its ends are at corners.
    """
    (a1, x1, b1), (a2, x2, b2) = (
        tuple(c[:, None] if i == 0 else c[None] for c in _corners(one))
        for i, one in enumerate((first, second))
    )
    difference = b1 - b2
    if difference.min() <= 0 <= difference.max():
        return (0.0, np.inf), (0.0, np.inf), (-np.inf, np.inf)
    log_h = (np.log(a1) - np.log(a2)) / difference
    g = (x2 - x1) / difference
    with np.errstate(over="ignore"):
        crossing = np.exp(log_h + g * np.log(params))
        h = np.exp(log_h)
    return _ends(crossing), _ends(h), _ends(g)


def _ends(values: Array) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _equal_loss(first: Preset, second: Preset, params: float) -> float:
    """Fewest examples at which the losses are equal, from a grid of 200 a decade."""

    def loss(one: Preset) -> Array:
        p = one.values
        return p["E"] + p["A"] * params ** -p["alpha"] * _EXAMPLES ** -p["beta"]

    gap = loss(first) - loss(second)
    change = np.flatnonzero(np.sign(gap[1:]) != np.sign(gap[:-1]))
    if not len(change):
        return np.nan
    i = int(change[0])
    share = gap[i] / (gap[i] - gap[i + 1])
    return float(np.exp(np.log(_EXAMPLES[i]) + share * np.log(_EXAMPLES[i + 1] / _EXAMPLES[i])))
